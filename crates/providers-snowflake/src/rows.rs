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
            cast_value(column, &kind.value_type(), true).map_err(|failure| {
                Error::new(
                    &codes::BAD_ROW,
                    format!("column {:?}: {failure}", field.name()),
                )
                .context("column", field.name().clone())
            })
        })
        .collect()
}
