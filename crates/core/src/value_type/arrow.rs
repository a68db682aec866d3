//! How Arrow holds values of a type, and which type an Arrow type is.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};

use super::ValueType;
use crate::time::{instant_type, is_time_type};

impl ValueType {
    /// How Arrow holds values of this type.
    pub fn to_arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt8 => DataType::UInt8,
            Self::UInt16 => DataType::UInt16,
            Self::UInt32 => DataType::UInt32,
            Self::UInt64 => DataType::UInt64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::String | Self::Json => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp => instant_type(),
            Self::List(item) => DataType::List(Arc::new(item.to_field("item"))),
            Self::Struct(fields) => DataType::Struct(
                fields
                    .iter()
                    .map(|(name, value_type)| value_type.to_field(name))
                    .collect::<Fields>(),
            ),
            Self::Map(key, value) => {
                let entries = Fields::from(vec![
                    key.to_field("key").with_nullable(false),
                    value.to_field("value"),
                ]);
                DataType::Map(
                    Arc::new(Field::new("entries", DataType::Struct(entries), false)),
                    false,
                )
            }
            Self::Embedding(size) => DataType::FixedSizeList(
                Arc::new(Field::new("item", DataType::Float32, true)),
                *size,
            ),
        }
    }

    /// A nullable field of this type; JSON carries its extension name.
    pub fn to_field(&self, name: impl Into<String>) -> Field {
        let field = Field::new(name, self.to_arrow(), true);
        if matches!(self, Self::Json) {
            let name = ("ARROW:extension:name".to_owned(), "arrow.json".to_owned());
            let metadata = ("ARROW:extension:metadata".to_owned(), String::new());
            return field.with_metadata([name, metadata].into());
        }
        field
    }

    /// The value type that holds every value of an Arrow type, if there is one. String and binary
    /// views, large variants and dictionaries are the plain type.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        Self::convert(data_type).filter(|found| found.is_spelt(0))
    }

    fn convert(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8 => Self::Int8,
            DataType::Int16 => Self::Int16,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::UInt8 => Self::UInt8,
            DataType::UInt16 => Self::UInt16,
            DataType::UInt32 => Self::UInt32,
            DataType::UInt64 => Self::UInt64,
            DataType::Float16 | DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s)
                if *s >= 0 =>
            {
                Self::Decimal(*p, *s)
            }
            DataType::Decimal256(p, s) if *p <= 38 && *s >= 0 => Self::Decimal(*p, *s),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::String,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Binary,
            DataType::Date32 => Self::Date,
            other if is_time_type(other) => Self::Timestamp,
            DataType::Dictionary(_, value) => Self::convert(value)?,
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => {
                Self::List(Box::new(Self::convert(item.data_type())?))
            }
            DataType::FixedSizeList(item, size) if *item.data_type() == DataType::Float32 => {
                Self::Embedding(*size)
            }
            DataType::FixedSizeList(item, _) => {
                Self::List(Box::new(Self::convert(item.data_type())?))
            }
            DataType::Struct(fields) => Self::Struct(
                fields
                    .iter()
                    .map(|field| Some((field.name().clone(), Self::convert(field.data_type())?)))
                    .collect::<Option<_>>()?,
            ),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => Self::Map(
                    Box::new(Self::convert(fields[0].data_type())?),
                    Box::new(Self::convert(fields[1].data_type())?),
                ),
                _ => return None,
            },
            _ => return None,
        })
    }
}
