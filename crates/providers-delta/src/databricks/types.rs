//! Which Arrow type a Databricks column is answered as, and which Databricks type holds an Arrow one.
//!
//! Types are read from their SQL text, as both the statement API and Unity Catalog tell them.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use provender_core::time::instant_type;
use provender_core::{Error, Result, ValueType, codes};

use super::statement::ManifestColumn;

/// The columns of a result.
///
/// # Errors
/// `P504` that names a column whose type is not known.
pub(crate) fn schema(columns: &[ManifestColumn]) -> Result<SchemaRef> {
    let fields = columns
        .iter()
        .map(|column| {
            field(&column.name, &column.type_text).ok_or_else(|| {
                Error::new(
                    &codes::OFFLINE_DATA,
                    format!(
                        "column {:?} is of the unknown type {:?}",
                        column.name, column.type_text
                    ),
                )
                .help("cast it in a query")
            })
        })
        .collect::<Result<Vec<Field>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// A column of a type as SQL spells it; `None` for one that is not known.
pub(crate) fn field(name: &str, type_text: &str) -> Option<Field> {
    let mut rest = type_text.trim();
    let field = read_field(name, &mut rest)?;
    rest.trim().is_empty().then_some(field)
}

fn read_field(name: &str, rest: &mut &str) -> Option<Field> {
    let text = rest.trim_start();
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    *rest = after;
    let word = word.to_ascii_lowercase();
    let data_type = match word.as_str() {
        "boolean" => DataType::Boolean,
        "tinyint" | "byte" => DataType::Int8,
        "smallint" | "short" => DataType::Int16,
        "int" | "integer" => DataType::Int32,
        "bigint" | "long" => DataType::Int64,
        "float" | "real" => DataType::Float32,
        "double" => DataType::Float64,
        "date" => DataType::Date32,
        "binary" => DataType::Binary,
        "timestamp" | "timestamp_ltz" => instant_type(),
        "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "void" | "null" => DataType::Null,
        "decimal" | "dec" | "numeric" => {
            let numbers = arguments(rest);
            let precision = numbers.first().copied().unwrap_or(10);
            let scale = numbers.get(1).copied().unwrap_or(0);
            let is_known = (1..=38).contains(&precision) && (0..=precision).contains(&scale);
            is_known.then_some(DataType::Decimal128(precision as u8, scale as i8))?
        }
        "string" => {
            // A collation may follow, which decides nothing here.
            if let Some(after) = strip_word(rest, "collate") {
                let end = after.find([',', '>', ')']).unwrap_or(after.len());
                *rest = &after[end..];
            }
            DataType::Utf8
        }
        "varchar" | "char" | "character" => {
            arguments(rest);
            DataType::Utf8
        }
        // Shown as text.
        "interval" => {
            let end = rest.find([',', '>', ')']).unwrap_or(rest.len());
            *rest = &rest[end..];
            DataType::Utf8
        }
        "variant" => return Some(ValueType::Json.to_field(name)),
        "array" => {
            eat(rest, '<')?;
            let item = read_field("element", rest)?;
            eat(rest, '>')?;
            DataType::List(Arc::new(item))
        }
        "map" => {
            eat(rest, '<')?;
            let key = read_field("key", rest)?.with_nullable(false);
            eat(rest, ',')?;
            let value = read_field("value", rest)?;
            eat(rest, '>')?;
            let entries = DataType::Struct(vec![key, value].into());
            DataType::Map(Arc::new(Field::new("key_value", entries, false)), false)
        }
        "struct" => DataType::Struct(struct_fields(rest)?),
        _ => return None,
    };
    Some(Field::new(name, data_type, true))
}

fn struct_fields(rest: &mut &str) -> Option<Fields> {
    eat(rest, '<')?;
    let mut fields = Vec::new();
    loop {
        let text = rest.trim_start();
        let (name, after) = match text.strip_prefix('`') {
            Some(quoted) => {
                let end = end_of_quoted(quoted)?;
                (quoted[..end].replace("``", "`"), &quoted[end + 1..])
            }
            None => {
                let end = text.find(':')?;
                (text[..end].trim().to_owned(), &text[end..])
            }
        };
        *rest = after;
        eat(rest, ':')?;
        fields.push(read_field(&name, rest)?);
        if let Some(after) = strip_word(rest, "not") {
            *rest = after;
            *rest = strip_word(rest, "null")?;
        }
        if eat(rest, ',').is_none() {
            eat(rest, '>')?;
            return Some(fields.into());
        }
    }
}

/// Where the closing backtick of a quoted name stands.
fn end_of_quoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'`', Some(b'`')) => at += 2,
            (b'`', _) => return Some(at),
            _ => at += 1,
        }
    }
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let start = text.get(..word.len())?;
    start
        .eq_ignore_ascii_case(word)
        .then(|| &text[word.len()..])
}

fn eat(rest: &mut &str, letter: char) -> Option<()> {
    *rest = rest.trim_start().strip_prefix(letter)?;
    Some(())
}

/// Numbers in parentheses, if they follow.
fn arguments(rest: &mut &str) -> Vec<i64> {
    let Some((inside, after)) = rest
        .trim_start()
        .strip_prefix('(')
        .and_then(|text| text.split_once(')'))
    else {
        return Vec::new();
    };
    let numbers = inside
        .split(',')
        .filter_map(|text| text.trim().parse().ok())
        .collect();
    *rest = after;
    numbers
}

/// Whether a type has others inside.
pub(crate) fn is_nested(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => is_nested(value),
        other => other.is_nested(),
    }
}

/// The Databricks type that holds every value of a type that Delta stores (see `schema::stored`).
pub(crate) fn sql_type(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Utf8 => "STRING".to_owned(),
        DataType::Binary => "BINARY".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::List(item) => format!("ARRAY<{}>", sql_type(item.data_type())?),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => format!(
                "MAP<{},{}>",
                sql_type(fields[0].data_type())?,
                sql_type(fields[1].data_type())?
            ),
            _ => return None,
        },
        DataType::Struct(fields) => {
            let fields: Option<Vec<String>> = fields
                .iter()
                .map(|field| {
                    let name = field.name().replace('`', "``");
                    Some(format!("`{name}`:{}", sql_type(field.data_type())?))
                })
                .collect();
            format!("STRUCT<{}>", fields?.join(","))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn types_are_read_from_their_text() {
        let read = |text: &str| field("c", text).map(|field| field.data_type().clone());
        assert_eq!(read("BIGINT"), Some(DataType::Int64));
        assert_eq!(read("decimal(10, 2)"), Some(DataType::Decimal128(10, 2)));
        assert_eq!(read("DECIMAL"), Some(DataType::Decimal128(10, 0)));
        assert_eq!(read("timestamp"), Some(instant_type()));
        assert_eq!(read("varchar(7)"), Some(DataType::Utf8));
        assert_eq!(read("STRING COLLATE UTF8_LCASE"), Some(DataType::Utf8));
        assert_eq!(read("interval day to second"), Some(DataType::Utf8));
        assert_eq!(
            read("TIMESTAMP_NTZ"),
            Some(DataType::Timestamp(TimeUnit::Microsecond, None))
        );
        let nested =
            read("struct<a b:int,`x:``y`:array<map<string,decimal(3,1)>>, z: string not null>")
                .unwrap();
        let DataType::Struct(fields) = &nested else {
            unreachable!("{nested}")
        };
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["a b", "x:`y", "z"]);
        assert_eq!(
            sql_type(fields[1].data_type()).unwrap(),
            "ARRAY<MAP<STRING,DECIMAL(3,1)>>"
        );
        assert_eq!(
            sql_type(&nested).and_then(|text| read(&text)),
            Some(nested.clone())
        );
        for unknown in [
            "",
            "geometry",
            "array<int",
            "map<int>",
            "decimal(99,1)",
            "int int",
        ] {
            assert_eq!(read(unknown), None, "{unknown}");
        }
        let json = field("v", "variant").unwrap();
        assert_eq!(ValueType::Json.to_field("v"), json);
    }
}
