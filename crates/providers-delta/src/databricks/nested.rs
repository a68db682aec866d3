//! Lists, maps and structs that a warehouse sends as JSON text, which most do.
//!
//! Numbers are read from their text, so that none loses a digit. Bytes have no one spelling in JSON, so
//! values that hold bytes are refused.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use arrow_json::ReaderBuilder;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use provender_core::{Error, Result, codes};

/// A column of JSON texts as the values of a nested column.
///
/// # Errors
/// `P504` for types that hold bytes, and for a text that is no such value.
pub(crate) fn from_json(texts: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let misfit = |why: String| {
        Error::new(
            &codes::OFFLINE_DATA,
            format!(
                "column {:?} is {} and comes as {}: {why}",
                field.name(),
                field.data_type(),
                texts.data_type()
            ),
        )
        .help("read the table directly (execution: direct), or take the column apart in a query")
    };
    if holds_bytes(field.data_type()) {
        return Err(misfit("bytes have no one spelling in JSON".to_owned()));
    }
    read(texts, field.data_type()).map_err(|error| misfit(error.to_string()))
}

fn read(texts: &ArrayRef, data_type: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    let texts = cast(texts, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let schema = Arc::new(Schema::new(vec![Field::new("v", data_type.clone(), true)]));
    // Greater than the number of rows, so that one batch takes them all.
    let mut decoder = ReaderBuilder::new(schema)
        .with_batch_size(texts.len() + 1)
        .build_decoder()?;
    for text in texts {
        for part in ["{\"v\":", text.unwrap_or("null"), "}\n"] {
            decoder.decode(part.as_bytes())?;
        }
    }
    let found = decoder.flush()?.map(|batch| batch.column(0).clone());
    match found {
        Some(found) if found.len() == texts.len() => Ok(found),
        None if texts.is_empty() => Ok(arrow_array::new_empty_array(data_type)),
        _ => Err(ArrowError::JsonError("a text is not one value".to_owned())),
    }
}

fn holds_bytes(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary => true,
        DataType::List(item) | DataType::Map(item, _) => holds_bytes(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_bytes(field.data_type())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow_array::StringArray;
    use arrow_cast::display::array_value_to_string;

    use super::super::types;
    use super::*;

    #[test]
    fn values_are_read_to_the_last_digit_or_refused() {
        let read = |data_type: &str, texts: Vec<Option<&str>>| {
            let field = types::field("c", data_type).unwrap();
            let texts: ArrayRef = Arc::new(StringArray::from(texts));
            from_json(&texts, &field)
        };
        for (data_type, text, expected) in [
            ("array<double>", "[0.1,5e-324,null]", "[0.1, 5e-324, ]"),
            ("array<double>", r#"["NaN","-Infinity"]"#, "[NaN, -inf]"),
            ("array<float>", "[0.10000000149011612]", "[0.1]"),
            (
                "array<bigint>",
                "[9223372036854775807]",
                "[9223372036854775807]",
            ),
            (
                "array<decimal(38,2)>",
                "[-123456789012345678901234567890123456.78]",
                "[-123456789012345678901234567890123456.78]",
            ),
            ("map<string,array<int>>", r#"{"é\n":[1]}"#, "{é\n: [1]}"),
            (
                "struct<`a b`:string,t:timestamp,d:date>",
                r#"{"a b":"x","t":"2024-01-01T00:00:00.000001Z","d":"2024-02-29"}"#,
                "{a b: x, t: 2024-01-01T00:00:00.000001Z, d: 2024-02-29}",
            ),
        ] {
            let found = read(data_type, vec![None, Some(text)]).unwrap();
            assert!(found.is_null(0) && found.len() == 2);
            assert_eq!(array_value_to_string(&found, 1).unwrap(), expected);
        }
        assert_eq!(read("array<int>", vec![]).unwrap().len(), 0);
        for (data_type, text, expected) in [
            ("array<binary>", r#"["00"]"#, "bytes have no one spelling"),
            (
                "map<string,struct<b:binary>>",
                "{}",
                "bytes have no one spelling",
            ),
            ("array<int>", "[1", "is list"),
            ("array<int>", r#"["x"]"#, "failed to parse"),
            ("array<int>", "[1]}\n{\"v\":[2]", "a text is not one value"),
        ] {
            let error = read(data_type, vec![Some(text)]).unwrap_err();
            assert_eq!(error.code(), "P504", "{text}");
            let message = error.message().to_lowercase();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
