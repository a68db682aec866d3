//! The types of values, as definitions write them and as Arrow holds them.

mod arrow;
mod casts;
#[cfg(test)]
mod tests;
mod text;

pub use casts::CastRule;
use serde::{Deserialize, Serialize};

/// The type of a feature, key or request field. Written as text: `int64`, `list<string>`,
/// `struct<a: int64, b: string>`, `map<string, float64>`, `decimal(10,2)`, `embedding<128>`. A struct's
/// field whose name is more than letters, digits and `_` stands in quotes: `struct<"two words": int64>`,
/// with `\` before a quote or a `\` of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum ValueType {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    /// Precision (1 to 38) and scale (0 to precision).
    Decimal(u8, i8),
    String,
    Binary,
    /// Days since the epoch.
    Date,
    /// Microseconds since the epoch, UTC.
    Timestamp,
    /// UTF-8 text that is JSON; a string with Arrow's extension name `arrow.json`.
    Json,
    List(Box<ValueType>),
    Struct(Vec<(String, ValueType)>),
    Map(Box<ValueType>, Box<ValueType>),
    /// A fixed-size list of float32.
    Embedding(i32),
}

impl ValueType {
    /// Whether join keys can have this type.
    pub fn is_key_type(&self) -> bool {
        self.is_integer()
            || matches!(
                self,
                Self::String | Self::Binary | Self::Bool | Self::Date | Self::Timestamp
            )
    }

    /// Whether this is a whole number of any width, signed or not.
    pub fn is_integer(&self) -> bool {
        self.integer_range().is_some()
    }

    fn integer_range(&self) -> Option<(i128, i128)> {
        Some(match self {
            Self::Int8 => (i8::MIN.into(), i8::MAX.into()),
            Self::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Self::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Self::Int64 => (i64::MIN.into(), i64::MAX.into()),
            Self::UInt8 => (0, u8::MAX.into()),
            Self::UInt16 => (0, u16::MAX.into()),
            Self::UInt32 => (0, u32::MAX.into()),
            Self::UInt64 => (0, u64::MAX.into()),
            _ => return None,
        })
    }

    /// Whether this is float32 or float64.
    pub fn is_float(&self) -> bool {
        matches!(self, Self::Float32 | Self::Float64)
    }
}
