//! Entities as they are typed on the command line: `origin=JFK,dest=LAX`.
//!
//! Decides how values are quoted, and what text is which value of a declared type. Which columns there
//! have to be is the store's business; here only names that nobody declared are refused.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow_cast::base64::{BASE64_STANDARD, Engine};
use arrow_json::ReaderBuilder;
use arrow_schema::{Field, Schema};
use provender_core::names::did_you_mean;
use provender_core::time::format_instant;
use provender_core::{Error, Result, ValueType, codes};

use super::text::convert;
use crate::errors::{Failure, usage};

/// A name and its value; `None` is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// Reads `name=value,name=value`. A value between double quotes may hold anything, with `""` for one;
/// `null` without quotes is null.
///
/// # Errors
/// Wrong usage for a part without a name or `=`, an open quote, and a name that stands twice.
pub(crate) fn pairs(option: &str, text: &str) -> Result<Vec<Pair>, Failure> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((name, value)) = rest.split_once('=') else {
            return Err(misspelt(
                option,
                format_args!("{rest:?} has no = between name and value"),
            ));
        };
        let name = name.trim();
        if name.is_empty() || name.contains(',') {
            return Err(misspelt(
                option,
                format_args!("{text:?} has a part without name or without ="),
            ));
        }
        if pairs.iter().any(|known| known.name == name) {
            return Err(misspelt(
                option,
                format_args!("{text:?} names {name:?} twice"),
            ));
        }
        let (value, after) = match value.strip_prefix('"') {
            None => {
                let (value, after) = value.split_once(',').unwrap_or((value, ""));
                ((value != "null").then(|| value.to_owned()), after)
            }
            Some(quoted) => {
                let (value, after) = unquote(quoted).ok_or_else(|| {
                    misspelt(
                        option,
                        format_args!("the quotes in {text:?} are not closed before the comma"),
                    )
                })?;
                (Some(value), after)
            }
        };
        pairs.push(Pair {
            name: name.to_owned(),
            value,
        });
        rest = after;
    }
    Ok(pairs)
}

/// The text up to the closing quote, and what stands after the comma that follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        value.push_str(before);
        rest = match after.chars().next() {
            Some('"') => {
                value.push('"');
                &after[1..]
            }
            Some(',') => return Some((value, &after[1..])),
            None => return Some((value, "")),
            Some(_) => return None,
        };
    }
}

fn misspelt(option: &str, why: std::fmt::Arguments<'_>) -> Failure {
    usage(
        format!("{option}: {why}"),
        "write name=value,name=value; a value with commas goes between double quotes",
    )
}

/// Says of a row where it was typed.
type Place<'a> = &'a dyn Fn(usize) -> String;

/// Where a mistake is: entities count from 1.
fn nth_entity(row: usize) -> String {
    format!("entity {}", row + 1)
}

/// Rows of the columns that any of them names, of their declared types, in the declared order.
///
/// # Errors
/// `InvalidArgument`: `P406` for a name that is not declared and for a value that its type cannot
/// hold, `P402` for a row that lacks a name which others have.
pub(crate) fn typed(declared: &Schema, rows: &[Vec<Pair>]) -> Result<RecordBatch> {
    typed_of(declared, rows, &nth_entity)
}

/// The same values in `n_rows` rows; `option` is where they were typed, for messages.
///
/// # Errors
/// As [`typed`].
pub(crate) fn repeated(
    declared: &Schema,
    option: &str,
    pairs: &[Pair],
    n_rows: usize,
) -> Result<RecordBatch> {
    // Columns follow from rows, so that there is one even where none is wanted.
    let rows = vec![pairs.to_vec(); n_rows.max(1)];
    let batch = typed_of(declared, &rows, &|_| option.to_owned())?;
    Ok(batch.slice(0, n_rows))
}

fn typed_of(declared: &Schema, rows: &[Vec<Pair>], place: Place<'_>) -> Result<RecordBatch> {
    let names = || declared.fields().iter().map(|field| field.name().as_str());
    for (row, pairs) in rows.iter().enumerate() {
        if let Some(pair) = pairs
            .iter()
            .find(|pair| !names().any(|name| name == pair.name))
        {
            return Err(unknown(&pair.name, &place(row), names()));
        }
    }
    let named = |name: &str| {
        let has = |pairs: &Vec<Pair>| pairs.iter().any(|pair| pair.name == name);
        rows.iter().any(has)
    };
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    let wanted = declared.fields().iter();
    for field in wanted.filter(|field| named(field.name())) {
        let mut values = Vec::with_capacity(rows.len());
        for (row, pairs) in rows.iter().enumerate() {
            let pair = pairs.iter().find(|pair| pair.name == *field.name());
            let pair = pair.ok_or_else(|| lacking(field.name(), &place(row)))?;
            values.push(pair.value.as_deref());
        }
        columns.push(column(field, &values, place)?);
        fields.push(field.clone());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(
        |error| Error::new(&codes::INTERNAL, "typed entities do not make rows").source(error),
    )
}

fn unknown<'a>(name: &str, place: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let near = did_you_mean(name, known.clone());
    let known: Vec<&str> = known.collect();
    let all = match known.as_slice() {
        [] => "the request needs neither keys nor fields".to_owned(),
        known => format!("it takes {}", known.join(", ")),
    };
    Error::new(
        &codes::BAD_REQUEST,
        format!("{place} names {name:?}, which the request does not take"),
    )
    .help(if near.is_empty() { all } else { near })
    .context("field", name)
}

fn lacking(name: &str, place: &str) -> Error {
    Error::new(
        &codes::MISSING_SPINE_COLUMN,
        format!("{place} has no {name:?}, which another one has"),
    )
    .help(format!("add {name}=VALUE; {name}=null is null"))
    .context("field", name)
}

/// One column of values of a declared type.
fn column(field: &Field, values: &[Option<&str>], place: Place<'_>) -> Result<ArrayRef> {
    let value_type = ValueType::from_arrow(field.data_type()).ok_or_else(|| {
        Error::new(
            &codes::UNSUPPORTED,
            format!(
                "{:?} cannot be typed: it is {}",
                field.name(),
                field.data_type()
            ),
        )
    })?;
    let misfit = |row: usize| {
        let value = values[row].unwrap_or_default();
        misfit(field.name(), &value_type, &place(row), value)
    };
    match &value_type {
        ValueType::Binary => {
            let mut bytes = BinaryBuilder::new();
            for (row, value) in values.iter().enumerate() {
                let decoded = value.map(|text| BASE64_STANDARD.decode(text)).transpose();
                bytes.append_option(decoded.map_err(|_| misfit(row))?);
            }
            Ok(Arc::new(bytes.finish()))
        }
        ValueType::List(_)
        | ValueType::Struct(_)
        | ValueType::Map(..)
        | ValueType::Embedding(_) => nested(field, values).map_err(misfit),
        other => {
            let texts: Vec<Option<Cow<'_, str>>> = values
                .iter()
                .map(|value| value.map(|text| spelt(other, text)))
                .collect();
            let texts: StringArray = texts.iter().map(Option::as_deref).collect();
            convert(&texts, other).map_err(|wrong| misfit(wrong.row))
        }
    }
}

/// Whole microseconds are a time too.
fn spelt<'a>(value_type: &ValueType, text: &'a str) -> Cow<'a, str> {
    match (value_type, text.parse::<i64>()) {
        (ValueType::Timestamp, Ok(us)) => format_instant(us).into(),
        _ => text.into(),
    }
}

/// Values of JSON text, by the rules of JSON lines; the error is the row that does not fit.
fn nested(field: &Field, values: &[Option<&str>]) -> Result<ArrayRef, usize> {
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let decode = |values: &[Option<&str>]| -> Option<ArrayRef> {
        let mut lines = String::new();
        for value in values {
            // Parsed first, so that no text can end the line that it stands in.
            let value: serde_json::Value = serde_json::from_str(value.unwrap_or("null")).ok()?;
            lines.push_str(&serde_json::json!({ field.name(): value }).to_string());
            lines.push('\n');
        }
        let reader = ReaderBuilder::new(schema.clone()).with_batch_size(values.len() + 1);
        let mut decoder = reader.with_strict_mode(true).build_decoder().ok()?;
        decoder.decode(lines.as_bytes()).ok()?;
        let batch = decoder.flush().ok()??;
        (batch.num_rows() == values.len()).then(|| batch.column(0).clone())
    };
    decode(values).ok_or_else(|| {
        let fits = |row: &usize| decode(&values[*row..=*row]).is_some();
        (0..values.len()).find(|row| !fits(row)).unwrap_or_default()
    })
}

fn misfit(name: &str, value_type: &ValueType, place: &str, value: &str) -> Error {
    let help = match value_type {
        ValueType::Timestamp => {
            "write RFC 3339, for example 2013-01-01T05:00:00Z, or whole microseconds since 1970"
        }
        ValueType::Date => "write an ISO date, for example 2013-01-01",
        ValueType::Bool => "write true or false",
        ValueType::Binary => "write base64",
        ValueType::List(_)
        | ValueType::Struct(_)
        | ValueType::Map(..)
        | ValueType::Embedding(_) => {
            "write JSON between double quotes, with \"\" for one, or use a file"
        }
        _ => "write a number that the type holds; null is null",
    };
    Error::new(
        &codes::BAD_REQUEST,
        format!("{place}: {value:?} for {name:?} is no {value_type}"),
    )
    .help(help)
    .context("field", name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Date32Type, Int32Type, TimestampMicrosecondType};

    use super::*;

    fn entity(text: &str) -> Vec<Pair> {
        pairs("--entity", text).unwrap()
    }

    fn short(text: &str) -> Vec<(String, Option<String>)> {
        let pairs = entity(text).into_iter();
        pairs.map(|pair| (pair.name, pair.value)).collect()
    }

    fn schema(types: &str) -> Schema {
        let fields = types.split(' ').map(|field| {
            let (name, value_type) = field.split_once(':').unwrap();
            value_type.parse::<ValueType>().unwrap().to_field(name)
        });
        Schema::new(fields.collect::<Vec<_>>())
    }

    #[test]
    fn values_may_be_empty_null_or_quoted() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            short("origin=JFK, dest=LAX"),
            [
                ("origin".to_owned(), some("JFK")),
                ("dest".to_owned(), some("LAX"))
            ]
        );
        assert_eq!(
            short(r#"a=,b=null,c="null",d="x, ""y""=z",e=1=2"#),
            [
                ("a".to_owned(), some("")),
                ("b".to_owned(), None),
                ("c".to_owned(), some("null")),
                ("d".to_owned(), some(r#"x, "y"=z"#)),
                ("e".to_owned(), some("1=2")),
            ]
        );
        assert!(entity("").is_empty());
    }

    #[test]
    fn misspelt_entities_are_wrong_usage() {
        for text in [
            "JFK",
            "a=1,b",
            "=1",
            "a=1,a=2",
            r#"a="x"#,
            r#"a="x"y,b=2"#,
            ",a=1",
        ] {
            assert!(
                matches!(pairs("--entity", text), Err(Failure::Usage(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn text_becomes_values_of_the_declared_types() {
        let schema = schema("i:int32 s:string t:timestamp d:date b:binary y:bool l:list<int64>");
        let rows = [
            entity(r#"l="[1, 2]",i=-7,s=,t=2013-01-01T05:00:00+01:00,d=2013-01-01,b=AAH/,y=true"#),
            entity("l=null,i=null,s=null,t=1500000,d=null,b=,y=null"),
        ];
        let batch = typed(&schema, &rows).unwrap();
        assert_eq!(batch.schema().as_ref(), &schema);
        let column = |index: usize| batch.column(index);
        assert_eq!(column(0).as_primitive::<Int32Type>().value(0), -7);
        assert_eq!(column(1).as_string::<i32>().value(0), "");
        let times = column(2).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.values().as_ref(), &[1_357_012_800_000_000, 1_500_000]);
        assert_eq!(column(3).as_primitive::<Date32Type>().value(0), 15_706);
        assert_eq!(column(4).as_binary::<i32>().value(0), &[0, 1, 255]);
        assert_eq!(column(4).as_binary::<i32>().value(1), &[] as &[u8]);
        assert!(column(5).as_boolean().value(0));
        assert_eq!(column(6).as_list::<i32>().value(0).len(), 2);
        for index in [0, 1, 3, 5, 6] {
            assert!(column(index).is_null(1), "{index}");
        }
    }

    #[test]
    fn values_that_do_not_fit_name_entity_field_and_type() {
        let schema = schema("i:int8 t:timestamp d:date b:binary y:bool l:list<int64>");
        for (text, message) in [
            ("i=300", "entity 2: \"300\" for \"i\" is no int8"),
            ("i=", "entity 2: \"\" for \"i\" is no int8"),
            ("t=noon", "entity 2: \"noon\" for \"t\" is no timestamp"),
            (
                "d=2013-02-30",
                "entity 2: \"2013-02-30\" for \"d\" is no date",
            ),
            ("b=?", "entity 2: \"?\" for \"b\" is no binary"),
            ("y=maybe", "entity 2: \"maybe\" for \"y\" is no bool"),
            ("l=[1}{", "entity 2: \"[1}{\" for \"l\" is no list<int64>"),
        ] {
            let name = &text[..1];
            let error =
                typed(&schema, &[entity(&format!("{name}=null")), entity(text)]).unwrap_err();
            assert_eq!(error.code(), "P406", "{text}");
            assert_eq!(error.message(), message);
        }
    }

    #[test]
    fn names_that_nobody_takes_or_that_one_row_lacks_are_refused() {
        let schema = schema("origin:string dest:string");
        let error = typed(&schema, &[entity("orgin=JFK")]).unwrap_err();
        assert_eq!(error.code(), "P406");
        assert!(error.help_text().unwrap().contains("origin"), "{error}");
        let rows = [entity("origin=JFK,dest=LAX"), entity("origin=JFK")];
        let error = typed(&schema, &rows).unwrap_err();
        assert_eq!(error.code(), "P402");
        assert!(
            error.message().starts_with("entity 2 has no \"dest\""),
            "{error}"
        );
        // What all lack is for the store to miss.
        let batch = typed(&schema, &rows[1..]).unwrap();
        assert_eq!((batch.num_columns(), batch.num_rows()), (1, 1));
    }

    #[test]
    fn values_are_repeated_and_no_columns_still_have_rows() {
        let schema = schema("heading:float64");
        let batch = repeated(&schema, "--request", &entity("heading=220"), 3).unwrap();
        assert_eq!((batch.num_columns(), batch.num_rows()), (1, 3));
        let error = repeated(&schema, "--request", &entity("heading=x"), 1).unwrap_err();
        assert!(error.message().starts_with("--request: \"x\""), "{error}");
        let batch = repeated(&schema, "--request", &[], 2).unwrap();
        assert_eq!((batch.num_columns(), batch.num_rows()), (0, 2));
        let batch = repeated(&schema, "--request", &entity("heading=220"), 0).unwrap();
        assert_eq!((batch.num_columns(), batch.num_rows()), (1, 0));
    }
}
