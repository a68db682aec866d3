//! What room values of a type take: in the fixed part of a row, and as nulls in nested values.

use provender_core::{Error, Result, ValueType, codes};

/// Deeper types are refused, so that neither encoding nor decoding can exhaust a stack.
const MAX_NESTING: usize = 64;

/// The bytes of a type's slot if its values have a fixed width; `None` if they lie in the heap.
pub(crate) fn fixed_width(value_type: &ValueType) -> Option<usize> {
    Some(match value_type {
        ValueType::Bool | ValueType::Int8 | ValueType::UInt8 => 1,
        ValueType::Int16 | ValueType::UInt16 => 2,
        ValueType::Int32 | ValueType::UInt32 | ValueType::Float32 | ValueType::Date => 4,
        ValueType::Int64 | ValueType::UInt64 | ValueType::Float64 | ValueType::Timestamp => 8,
        ValueType::Decimal(_, _) => 16,
        _ => return None,
    })
}

/// The zero bytes that stand for a null inside a nested value. No value of the type takes fewer
/// bytes, so that memory for n items is reserved only where the row holds bytes for n items.
pub(crate) fn null_width(value_type: &ValueType) -> usize {
    match value_type {
        ValueType::Embedding(size) => embedding_size(*size).saturating_mul(4),
        ValueType::Struct(fields) => fields
            .iter()
            .map(|(_, field)| null_width(field))
            .fold(0, usize::saturating_add),
        other => fixed_width(other).unwrap_or(4),
    }
}

/// The numbers of an embedding.
pub(crate) fn embedding_size(size: i32) -> usize {
    usize::try_from(size).unwrap_or_default()
}

/// The bytes of a bitmap over n values.
pub(crate) fn bitmap_len(n: usize) -> usize {
    n.div_ceil(8)
}

/// Whether a bit of a bitmap is set; false beyond its end.
#[inline]
pub(crate) fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap
        .get(index / 8)
        .is_some_and(|byte| (byte >> (index % 8)) & 1 == 1)
}

/// Accepts the types that rows can hold.
///
/// # Errors
/// `InvalidArgument` (`P109`) for a struct without fields, an embedding without numbers, a decimal
/// that Arrow cannot hold, and types that are nested too deeply or unknown here.
pub(crate) fn check(value_type: &ValueType, what: &str) -> Result<()> {
    problem(value_type, 0).map_or(Ok(()), |problem| {
        Err(Error::new(
            &codes::BAD_TYPE,
            format!("{what} has a type that online rows cannot hold: {problem}"),
        ))
    })
}

fn problem(value_type: &ValueType, depth: usize) -> Option<&'static str> {
    if depth > MAX_NESTING {
        return Some("it is nested too deeply");
    }
    if u32::try_from(null_width(value_type)).is_err() {
        return Some("one value of it takes more than 4 GiB");
    }
    match value_type {
        ValueType::List(item) => problem(item, depth + 1),
        ValueType::Map(key, value) => problem(key, depth + 1).or_else(|| problem(value, depth + 1)),
        ValueType::Struct(fields) if fields.is_empty() => Some("a struct has no fields"),
        ValueType::Struct(fields) => fields
            .iter()
            .find_map(|(_, field)| problem(field, depth + 1)),
        ValueType::Embedding(size) if *size <= 0 => Some("an embedding has no numbers"),
        ValueType::Decimal(precision, scale)
            if !(1..=38).contains(precision) || i16::from(*scale) > i16::from(*precision) =>
        {
            Some("a decimal's precision is 1 to 38 and its scale 0 to the precision")
        }
        ValueType::String
        | ValueType::Binary
        | ValueType::Json
        | ValueType::Embedding(_)
        | ValueType::Decimal(_, _) => None,
        other if fixed_width(other).is_some() => None,
        _ => Some("it is not known to this version"),
    }
}
