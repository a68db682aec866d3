//! `--schema name:type,...`: types that a file of text does not carry.

use provender_core::ValueType;

use crate::errors::{Failure, usage};

/// Types by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeclaredTypes(Vec<(String, ValueType)>);

impl DeclaredTypes {
    /// Reads `name:type,...`; commas inside of `<>` and `()` belong to the type.
    ///
    /// # Errors
    /// Wrong usage for a part without a type, or a type that does not exist.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut columns: Vec<(String, ValueType)> = Vec::new();
        for part in split_outside(text) {
            let Some((name, value_type)) = part.split_once(':') else {
                return Err(usage(
                    format!("--schema: {part:?} names no type"),
                    "write column:type, for example --schema flight:string,price:decimal(10,2)",
                ));
            };
            let value_type = value_type.trim().parse().map_err(Failure::Usage)?;
            let name = name.trim().to_owned();
            if columns.iter().any(|(known, _)| *known == name) {
                return Err(usage(
                    format!("--schema names column {name:?} twice"),
                    "give each column one type",
                ));
            }
            columns.push((name, value_type));
        }
        Ok(Self(columns))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The declared type of a column.
    pub(crate) fn get(&self, column: &str) -> Option<&ValueType> {
        self.0
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, value_type)| value_type)
    }

    /// The declared columns and their types, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &ValueType)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

fn split_outside(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn commas_inside_of_types_do_not_split() {
        let declared = DeclaredTypes::parse("a:decimal(10,2), b:map<string,int64>").unwrap();
        assert_eq!(declared.get("a"), Some(&ValueType::Decimal(10, 2)));
        assert!(matches!(declared.get("b"), Some(ValueType::Map(..))));
        assert_eq!(DeclaredTypes::parse("").unwrap(), DeclaredTypes::default());
        assert!(DeclaredTypes::parse("a").is_err());
        assert!(DeclaredTypes::parse("a:int65").is_err());
        assert!(DeclaredTypes::parse("a:int8,a:int8").is_err());
    }
}
