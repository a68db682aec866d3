//! Types that a file of text does not carry: those of `--schema name:type,...`, or those that the
//! definitions give the columns that are expected.

use arrow_schema::Schema;
use provender_core::ValueType;

use crate::errors::{Failure, usage};

/// Types by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeclaredTypes {
    columns: Vec<(String, ValueType)>,
    /// Whether the definitions say so. Then a column that the file lacks is for others to miss.
    by_definition: bool,
}

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
        Ok(Self {
            columns,
            by_definition: false,
        })
    }

    /// The types that the definitions give columns, wherever a file has them.
    pub(crate) fn by_definition(schema: &Schema) -> Self {
        let typed = |field: &arrow_schema::FieldRef| {
            let value_type = ValueType::from_arrow(field.data_type())?;
            Some((field.name().clone(), value_type))
        };
        Self {
            columns: schema.fields().iter().filter_map(typed).collect(),
            by_definition: true,
        }
    }

    pub(crate) fn is_by_definition(&self) -> bool {
        self.by_definition
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// What to do about a value of a column that is not of the column's type.
    pub(crate) fn advice(&self, column: &str) -> String {
        if self.by_definition {
            "mend the value; the column's type is the one of its definition".to_owned()
        } else {
            format!("mend the value, or say what the column holds: --schema {column}:string")
        }
    }

    /// The declared type of a column.
    pub(crate) fn get(&self, column: &str) -> Option<&ValueType> {
        self.columns
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, value_type)| value_type)
    }

    /// The declared columns and their types, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &ValueType)> {
        self.columns
            .iter()
            .map(|(name, value)| (name.as_str(), value))
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
