//! How rows travel to Snowflake: as one JSON text that a placeholder stands for.
//!
//! Every value is a string or null in an array of arrays, and the statement turns it into the
//! column's type. So no value is ever part of a statement's text, no digit is lost on the way, and
//! Snowflake compiles one short statement however many rows there are.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field};
use provender_core::time::format_instant;
use provender_core::{Error, Result, ValueType, codes};
use provender_dialects::{Dialect, RowTexts, decimal_text, float_text, hex_text};
use provender_engine::cast::cast_value;

use crate::session::Statement;
use crate::session::protocol::RowType;
use crate::types::{column_type, is_json};

/// How a value of one column is written, and what the statement makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Number(u8, i8),
    Float,
    Text,
    Boolean,
    Binary,
    Date,
    Time,
    /// The type's name without digits.
    Timestamp(&'static str),
    Variant,
    Object,
    Array,
    Vector(i32),
}

impl Kind {
    /// The kind of an existing column; `None` for one that rows cannot be added to.
    pub(crate) fn of_column(column: &RowType, answered: &Field) -> Option<Self> {
        Some(match column.type_name.to_ascii_lowercase().as_str() {
            "fixed" => match answered.data_type() {
                DataType::Decimal128(precision, scale) => Self::Number(*precision, *scale),
                _ => return None,
            },
            "real" => Self::Float,
            "text" => Self::Text,
            "boolean" => Self::Boolean,
            "binary" => Self::Binary,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp_ntz" => Self::Timestamp("TIMESTAMP_NTZ"),
            "timestamp_ltz" => Self::Timestamp("TIMESTAMP_LTZ"),
            "timestamp_tz" => Self::Timestamp("TIMESTAMP_TZ"),
            // A structured type is not made of JSON without saying its parts.
            "variant" => Self::Variant,
            "object" if column.is_unstructured() => Self::Object,
            "array" if column.is_unstructured() => Self::Array,
            "vector" => match answered.data_type() {
                DataType::FixedSizeList(item, size) if *item.data_type() == DataType::Float32 => {
                    Self::Vector(*size)
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    /// The kind of a new column for values of an Arrow type, and the value type that they are made
    /// first; `None` where [`column_type`] has none.
    pub(crate) fn of_field(field: &Field) -> Option<(Self, ValueType)> {
        column_type(field)?;
        if is_json(field.metadata()) {
            return Some((Self::Variant, ValueType::Json));
        }
        let value_type = ValueType::from_arrow(field.data_type())?;
        let kind = match &value_type {
            ValueType::Bool => Self::Boolean,
            ValueType::Decimal(precision, scale) => Self::Number(*precision, *scale),
            ValueType::Float32 | ValueType::Float64 => Self::Float,
            ValueType::String => Self::Text,
            ValueType::Binary => Self::Binary,
            ValueType::Date => Self::Date,
            ValueType::Timestamp => Self::Timestamp("TIMESTAMP_NTZ"),
            ValueType::Embedding(size) => Self::Vector(*size),
            ValueType::Int8 | ValueType::UInt8 => Self::Number(3, 0),
            ValueType::Int16 | ValueType::UInt16 => Self::Number(5, 0),
            ValueType::Int32 | ValueType::UInt32 => Self::Number(10, 0),
            ValueType::Int64 => Self::Number(19, 0),
            ValueType::UInt64 => Self::Number(20, 0),
            _ => return None,
        };
        Some((kind, value_type))
    }

    /// The expression that makes the column's value of the text at a place of the row.
    fn expression(&self, at: usize) -> String {
        let text = format!("f.value[{at}]::VARCHAR");
        match self {
            Self::Number(precision, scale) => format!("{text}::NUMBER({precision},{scale})"),
            Self::Float => format!("{text}::FLOAT"),
            Self::Text => text,
            Self::Boolean => format!("{text}::BOOLEAN"),
            Self::Binary => format!("TO_BINARY({text}, 'HEX')"),
            Self::Date => format!("DATEADD(day, {text}::NUMBER(10,0), '1970-01-01'::DATE)"),
            Self::Time => format!("{text}::TIME"),
            Self::Timestamp("TIMESTAMP_NTZ") => {
                format!("TO_TIMESTAMP_NTZ({text}::NUMBER(38,0), 6)")
            }
            // The session's zone is UTC.
            Self::Timestamp(kind) => format!("TO_TIMESTAMP_NTZ({text}::NUMBER(38,0), 6)::{kind}"),
            Self::Variant => format!("PARSE_JSON({text})"),
            Self::Object => format!("PARSE_JSON({text})::OBJECT"),
            Self::Array => format!("PARSE_JSON({text})::ARRAY"),
            Self::Vector(size) => format!("PARSE_JSON({text})::VECTOR(FLOAT, {size})"),
        }
    }

    /// The type that values are made before they are written.
    pub(crate) fn value_type(&self) -> ValueType {
        match self {
            Self::Number(precision, scale) => ValueType::Decimal(*precision, *scale),
            Self::Float => ValueType::Float64,
            Self::Text | Self::Time => ValueType::String,
            Self::Boolean => ValueType::Bool,
            Self::Binary => ValueType::Binary,
            Self::Date => ValueType::Date,
            Self::Timestamp(_) => ValueType::Timestamp,
            Self::Variant | Self::Object | Self::Array => ValueType::Json,
            Self::Vector(size) => ValueType::Embedding(*size),
        }
    }

    /// Why Snowflake would not hold a value, or would hold another one; the array is of [`Self::value_type`].
    fn misfit(&self, array: &dyn Array, row: usize) -> Option<String> {
        // Beyond four digits, what becomes of a year depends on how it is read.
        const YEARS: &str = "is outside of the years 1 to 9999";
        match self {
            Self::Date => {
                let day = array.as_primitive::<Date32Type>().value(row);
                let is_held = (-719_162..2_932_897).contains(&day);
                (!is_held).then(|| format!("day {day} from 1970-01-01 {YEARS}"))
            }
            Self::Timestamp(_) => {
                let us = array.as_primitive::<TimestampMicrosecondType>().value(row);
                let is_held = (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&us);
                (!is_held).then(|| format!("{} {YEARS}", format_instant(us)))
            }
            Self::Vector(_) => {
                let items = array.as_fixed_size_list().value(row);
                let items = items.as_primitive_opt::<Float32Type>()?;
                let is_held = items.iter().all(|item| item.is_some_and(f32::is_finite));
                (!is_held).then(|| "an item of the vector is null or no finite number".to_owned())
            }
            Self::Variant | Self::Object | Self::Array => {
                let text = array.as_string::<i32>().value(row);
                let parsed = serde_json::from_str::<serde_json::Value>(text);
                parsed
                    .err()
                    .map(|error| format!("the text is no JSON that Snowflake holds: {error}"))
            }
            _ => None,
        }
    }

    /// A value as text; the array is of [`Self::value_type`].
    fn text(&self, array: &dyn Array, row: usize) -> String {
        match self {
            Self::Number(_, scale) => {
                decimal_text(array.as_primitive::<Decimal128Type>().value(row), *scale)
            }
            Self::Float => float_text(array.as_primitive::<Float64Type>().value(row)),
            Self::Text | Self::Time | Self::Variant | Self::Object | Self::Array => {
                array.as_string::<i32>().value(row).to_owned()
            }
            Self::Boolean => array.as_boolean().value(row).to_string(),
            Self::Binary => hex_text(array.as_binary::<i32>().value(row)),
            Self::Date => array.as_primitive::<Date32Type>().value(row).to_string(),
            Self::Timestamp(_) => array
                .as_primitive::<TimestampMicrosecondType>()
                .value(row)
                .to_string(),
            Self::Vector(_) => {
                let items = array.as_fixed_size_list().value(row);
                let texts: Vec<String> = match items.data_type() {
                    DataType::Float32 => items
                        .as_primitive::<Float32Type>()
                        .iter()
                        .map(|item| item.map_or("null".to_owned(), |item| float_text(item.into())))
                        .collect(),
                    _ => items
                        .as_primitive::<Int32Type>()
                        .iter()
                        .map(|item| item.map_or("null".to_owned(), |item| item.to_string()))
                        .collect(),
                };
                format!("[{}]", texts.join(","))
            }
        }
    }
}

/// The columns of rows that travel.
#[derive(Clone, Debug)]
pub(crate) struct RowShape {
    pub names: Vec<String>,
    pub kinds: Vec<Kind>,
}

impl RowShape {
    /// `SELECT` of the rows that the statement's one placeholder holds, columns under the names.
    pub(crate) fn select(&self) -> Result<String> {
        let columns = self
            .kinds
            .iter()
            .zip(&self.names)
            .enumerate()
            .map(|(at, (kind, name))| {
                Ok(format!(
                    "{} AS {}",
                    kind.expression(at),
                    Dialect::Snowflake.quote(name)?
                ))
            });
        let columns = columns.collect::<Result<Vec<_>>>()?.join(", ");
        Ok(format!(
            "SELECT {columns} FROM TABLE(FLATTEN(INPUT => PARSE_JSON(?))) AS f"
        ))
    }

    /// The statement that adds such rows to a table, given as SQL.
    pub(crate) fn insert(&self, table: &str, rows: &str) -> Result<Statement> {
        let names = self.names.iter().map(|name| Dialect::Snowflake.quote(name));
        let names = names.collect::<Result<Vec<_>>>()?.join(", ");
        Ok(Statement {
            sql: format!("INSERT INTO {table} ({names}) {}", self.select()?),
            bindings: vec![rows.to_owned()],
            is_describe: false,
        })
    }
}

/// Adds one row of columns that are of the kinds' value types.
pub(crate) fn push(texts: &mut RowTexts, kinds: &[Kind], columns: &[ArrayRef], row: usize) {
    let cells = kinds.iter().zip(columns);
    texts.push(cells.map(|(kind, column)| {
        column
            .is_valid(row)
            .then(|| kind.text(column.as_ref(), row))
    }));
}

/// The columns of a batch as the kinds' value types.
///
/// # Errors
/// `P409` for a value that the column cannot hold.
pub(crate) fn cast_columns(batch: &RecordBatch, kinds: &[Kind]) -> Result<Vec<ArrayRef>> {
    let schema = batch.schema();
    batch
        .columns()
        .iter()
        .zip(kinds)
        .zip(schema.fields())
        .map(|((column, kind), field)| {
            let bad = |why: String| {
                let message = format!("column {:?}: {why}", field.name());
                Error::new(&codes::BAD_ROW, message).context("column", field.name().clone())
            };
            let cast = cast_value(column, &kind.value_type(), true);
            let cast = cast.map_err(|failure| bad(failure.to_string()))?;
            for row in 0..cast.len() {
                if cast.is_valid(row)
                    && let Some(why) = kind.misfit(cast.as_ref(), row)
                {
                    return Err(bad(format!("row {row}: {why}")));
                }
            }
            Ok(cast)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow_array::{Date32Array, FixedSizeListArray, StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::types::Columns;

    /// The kind of a column that is described so.
    fn kind_of(description: serde_json::Value) -> Option<Kind> {
        let rowtype: RowType = serde_json::from_value(description).unwrap();
        let columns = Columns::new(vec![rowtype]);
        Kind::of_column(&columns.rowtype[0], columns.answered.field(0))
    }

    #[test]
    fn rows_are_made_for_plain_types_and_not_for_structured_ones() {
        let text = serde_json::json!({"type": "text"});
        for (type_name, kind) in [
            ("object", Some(Kind::Object)),
            ("array", Some(Kind::Array)),
            ("variant", Some(Kind::Variant)),
            ("map", None),
            ("geography", None),
        ] {
            let plain = serde_json::json!({"name": "c", "type": type_name});
            assert_eq!(kind_of(plain), kind, "{type_name}");
            let structured = serde_json::json!({"name": "c", "type": type_name, "fields": [text]});
            let kind = kind.filter(|kind| *kind == Kind::Variant);
            assert_eq!(kind_of(structured), kind, "structured {type_name}");
        }
        let vector = |item: &str| {
            let item = serde_json::json!({"type": item});
            serde_json::json!({"name": "c", "type": "vector", "vectorDimension": 3, "fields": [item]})
        };
        assert_eq!(kind_of(vector("real")), Some(Kind::Vector(3)));
        assert_eq!(kind_of(vector("fixed")), None);
    }

    #[test]
    fn values_that_snowflake_would_not_keep_are_refused_by_column() {
        let vector = |items: [Option<f32>; 2]| -> ArrayRef {
            let rows = [Some(items)];
            Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, 2))
        };
        let at = |us: i64| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![us])) };
        let day = |day: i32| -> ArrayRef { Arc::new(Date32Array::from(vec![day])) };
        let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        let check = |kind: Kind, column: ArrayRef| {
            let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
            let cast = cast_columns(&batch, &[kind]);
            cast.map_err(|error| error.message().to_owned())
        };
        let ntz = || Kind::Timestamp("TIMESTAMP_NTZ");
        for (kind, good) in [
            (ntz(), at(-62_135_596_800_000_000)),
            (ntz(), at(253_402_300_799_999_999)),
            (Kind::Date, day(-719_162)),
            (Kind::Date, day(2_932_896)),
            (Kind::Vector(2), vector([Some(1.0), Some(-0.0)])),
            (Kind::Variant, text(" [1e300, null]")),
        ] {
            check(kind, good).unwrap();
        }
        for (kind, bad, message) in [
            (
                ntz(),
                at(253_402_300_800_000_000),
                "+10000-01-01T00:00:00Z is outside of the years 1 to 9999",
            ),
            (
                ntz(),
                at(-62_135_596_800_000_001),
                "0000-12-31T23:59:59.999999Z is outside of the years 1 to 9999",
            ),
            (
                Kind::Date,
                day(2_932_897),
                "day 2932897 from 1970-01-01 is outside of the years 1 to 9999",
            ),
            (
                Kind::Vector(2),
                vector([Some(1.0), None]),
                "an item of the vector is null or no finite number",
            ),
            (
                Kind::Vector(2),
                vector([Some(f32::NAN), None]),
                "an item of the vector is null or no finite number",
            ),
            (
                Kind::Object,
                text("{1}"),
                "the text is no JSON that Snowflake holds: ",
            ),
            (
                Kind::Variant,
                text("[1e400]"),
                "the text is no JSON that Snowflake holds: number out of range",
            ),
        ] {
            let message = format!("column \"c\": row 0: {message}");
            let told = check(kind, bad).unwrap_err();
            assert!(told.starts_with(&message), "{told}");
        }
    }
}
