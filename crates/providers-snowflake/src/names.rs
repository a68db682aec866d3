//! How names are spelled in Snowflake, and how Provender shows them.
//!
//! Snowflake reads a name that stands in no quotes as upper case, and everybody else writes such a name in
//! lower case. So what Provender makes is called as if it had been written without quotes, as far as the name
//! that was written can be told from the one that is there, and such names are shown in lower case again.

use std::collections::BTreeSet;

use arrow_schema::Schema;

/// The name that Snowflake gives to what is made under a name: `orders` is `ORDERS`, and whatever has capital
/// letters or would need quotes stays as it is.
pub(crate) fn made(name: &str) -> String {
    match is_plain(name, |letter| letter.is_ascii_lowercase()) {
        true => name.to_ascii_uppercase(),
        false => name.to_owned(),
    }
}

/// A name as Provender shows it: `AMOUNT` is `amount`. One that has small letters or would need quotes stays as
/// it is.
pub(crate) fn shown(name: &str) -> String {
    match is_plain(name, |letter| letter.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase(),
        false => name.to_owned(),
    }
}

/// The names of a new table's columns: all as they are made, or, if one would be shown otherwise than it is
/// written or two differ only in case, all as they are written.
pub(crate) fn made_columns(schema: &Schema) -> Vec<String> {
    all_or_none(schema, made, shown)
}

/// The names of columns as Provender shows them. Those of a table that was made as it was written stay.
pub(crate) fn shown_columns(schema: &Schema) -> Vec<String> {
    all_or_none(schema, shown, made)
}

/// All names in another spelling, unless one could have come from the opposite one or two differ only in case.
fn all_or_none(
    schema: &Schema,
    spell: fn(&str) -> String,
    opposite: fn(&str) -> String,
) -> Vec<String> {
    let names = schema.fields().iter().map(|field| field.name());
    let n_different = names.clone().map(|it| it.to_lowercase());
    let n_different = n_different.collect::<BTreeSet<_>>().len();
    let is_clear =
        n_different == schema.fields().len() && names.clone().all(|it| opposite(it) == *it);
    match is_clear {
        true => names.map(|name| spell(name)).collect(),
        false => names.cloned().collect(),
    }
}

/// Whether a name of letters of one case needs no quotes.
fn is_plain(name: &str, is_letter: impl Fn(char) -> bool) -> bool {
    let mut rest = name.chars();
    let starts = rest
        .next()
        .is_some_and(|first| is_letter(first) || first == '_');
    starts && rest.all(|it| is_letter(it) || it.is_ascii_digit() || it == '_' || it == '$')
}

#[cfg(test)]
mod tests {
    use arrow_schema::{DataType, Field};

    use super::*;

    fn schema(names: &[&str]) -> Schema {
        let field = |name: &&str| Field::new(*name, DataType::Utf8, true);
        Schema::new(names.iter().map(field).collect::<Vec<_>>())
    }

    #[test]
    fn plain_names_are_upper_case_in_snowflake_and_lower_case_here() {
        for (name, in_snowflake) in [
            ("orders", "ORDERS"),
            ("_a1$", "_A1$"),
            ("two words", "two words"),
            ("Mixed", "Mixed"),
            ("1a", "1a"),
            ("größe", "größe"),
            ("_", "_"),
            ("", ""),
        ] {
            assert_eq!(made(name), in_snowflake);
            assert_eq!(shown(in_snowflake), name);
            assert_eq!(made_columns(&schema(&[name, "x"])), [in_snowflake, "X"]);
            assert_eq!(shown_columns(&schema(&[in_snowflake, "X"])), [name, "x"]);
        }
    }

    #[test]
    fn columns_are_spelled_otherwise_together_or_not_at_all() {
        for names in [
            ["a", "A", "x"],
            ["ab", "Ab", "x"],
            ["Ab", "aB", "x"],
            ["ID", "b", "C d"],
        ] {
            assert_eq!(made_columns(&schema(&names)), names);
            assert_eq!(shown_columns(&schema(&names)), names);
        }
        // Nothing tells these from lower-case ones.
        assert_eq!(made_columns(&schema(&["ID", "Mixed"])), ["ID", "Mixed"]);
        assert_eq!(shown_columns(&schema(&["ID", "Mixed"])), ["id", "Mixed"]);
    }
}
