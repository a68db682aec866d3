//! Values of simple types as numbers or bytes that compare like them.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, PrimitiveArray};
use provender_core::time::UTC;
use provender_core::{Result, ValueType};

use crate::error::defect;

/// A column whose values can be compared: numbers (of any simple type) or bytes.
pub(super) enum Ordinals {
    Numbers(Vec<i64>),
    Wide(Vec<i128>),
    Bytes(ArrayRef),
}

impl Ordinals {
    /// A row's number; 0 of bytes.
    pub(super) fn number(&self, row: usize) -> i128 {
        match self {
            Self::Numbers(numbers) => numbers[row].into(),
            Self::Wide(numbers) => numbers[row],
            Self::Bytes(_) => 0,
        }
    }
}

/// Whether the values of a type have numbers of 64 bits.
pub(super) fn is_narrow(value_type: &ValueType) -> bool {
    !matches!(value_type, ValueType::UInt64 | ValueType::Decimal(..))
}

/// Reads a column of exactly `value_type`. Numbers keep the order of values, NaN greatest; each value
/// has one number, except that all NaN are one value. Values at nulls are arbitrary.
pub(super) fn ordinals(column: &ArrayRef, value_type: &ValueType) -> Result<Ordinals> {
    fn integers<T: ArrowPrimitiveType<Native: Into<N>>, N>(column: &ArrayRef) -> Vec<N> {
        let values = column.as_primitive::<T>().values();
        values.iter().map(|&value| value.into()).collect()
    }
    Ok(match value_type {
        ValueType::UInt64 => Ordinals::Wide(integers::<UInt64Type, _>(column)),
        ValueType::Decimal(..) => Ordinals::Wide(integers::<Decimal128Type, _>(column)),
        ValueType::Int8 => Ordinals::Numbers(integers::<Int8Type, _>(column)),
        ValueType::Int16 => Ordinals::Numbers(integers::<Int16Type, _>(column)),
        ValueType::Int32 => Ordinals::Numbers(integers::<Int32Type, _>(column)),
        ValueType::Int64 => Ordinals::Numbers(integers::<Int64Type, _>(column)),
        ValueType::UInt8 => Ordinals::Numbers(integers::<UInt8Type, _>(column)),
        ValueType::UInt16 => Ordinals::Numbers(integers::<UInt16Type, _>(column)),
        ValueType::UInt32 => Ordinals::Numbers(integers::<UInt32Type, _>(column)),
        ValueType::Date => Ordinals::Numbers(integers::<Date32Type, _>(column)),
        ValueType::Timestamp => Ordinals::Numbers(integers::<TimestampMicrosecondType, _>(column)),
        ValueType::Bool => {
            let values = column.as_boolean().values();
            Ordinals::Numbers(values.iter().map(i64::from).collect())
        }
        ValueType::Float32 => {
            let values = column.as_primitive::<Float32Type>().values();
            Ordinals::Numbers(values.iter().map(|&v| i64::from(ordinal_f32(v))).collect())
        }
        ValueType::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            Ordinals::Numbers(values.iter().map(|&v| ordinal_f64(v)).collect())
        }
        ValueType::String | ValueType::Json | ValueType::Binary => Ordinals::Bytes(column.clone()),
        other => return Err(defect(format!("values of type {other} are not ordered"))),
    })
}

/// The bytes of a string or binary value.
pub(super) fn bytes(column: &ArrayRef, row: usize) -> &[u8] {
    match column.as_string_opt::<i32>() {
        Some(strings) => strings.value(row).as_bytes(),
        None => column.as_binary::<i32>().value(row),
    }
}

/// A column of `value_type` from its numbers.
pub(super) fn from_numbers(
    numbers: impl Iterator<Item = Option<i128>>,
    value_type: &ValueType,
) -> Result<ArrayRef> {
    fn integers<T>(numbers: impl Iterator<Item = Option<i128>>) -> PrimitiveArray<T>
    where
        T: ArrowPrimitiveType<Native: TryFrom<i128>>,
    {
        numbers
            .map(|number| number.and_then(|number| T::Native::try_from(number).ok()))
            .collect()
    }
    Ok(match value_type {
        ValueType::Int8 => Arc::new(integers::<Int8Type>(numbers)),
        ValueType::Int16 => Arc::new(integers::<Int16Type>(numbers)),
        ValueType::Int32 => Arc::new(integers::<Int32Type>(numbers)),
        ValueType::Int64 => Arc::new(integers::<Int64Type>(numbers)),
        ValueType::UInt8 => Arc::new(integers::<UInt8Type>(numbers)),
        ValueType::UInt16 => Arc::new(integers::<UInt16Type>(numbers)),
        ValueType::UInt32 => Arc::new(integers::<UInt32Type>(numbers)),
        ValueType::UInt64 => Arc::new(integers::<UInt64Type>(numbers)),
        ValueType::Date => Arc::new(integers::<Date32Type>(numbers)),
        ValueType::Timestamp => {
            Arc::new(integers::<TimestampMicrosecondType>(numbers).with_timezone(UTC))
        }
        ValueType::Decimal(precision, scale) => Arc::new(
            numbers
                .collect::<PrimitiveArray<Decimal128Type>>()
                .with_precision_and_scale(*precision, *scale)
                .map_err(crate::error::arrow)?,
        ),
        ValueType::Bool => {
            let mut builder = BooleanBuilder::new();
            numbers.for_each(|number| builder.append_option(number.map(|number| number != 0)));
            Arc::new(builder.finish())
        }
        ValueType::Float32 => Arc::new(
            numbers
                .map(|n| n.map(|n| value_f32(n as i32)))
                .collect::<PrimitiveArray<Float32Type>>(),
        ),
        ValueType::Float64 => Arc::new(
            numbers
                .map(|n| n.map(|n| value_f64(n as i64)))
                .collect::<PrimitiveArray<Float64Type>>(),
        ),
        other => return Err(defect(format!("values of type {other} are no numbers"))),
    })
}

/// A column of strings or bytes.
pub(super) fn from_bytes<'a>(
    values: impl Iterator<Item = Option<&'a [u8]>>,
    value_type: &ValueType,
) -> ArrayRef {
    if *value_type == ValueType::Binary {
        let mut builder = BinaryBuilder::new();
        values.for_each(|value| builder.append_option(value));
        return Arc::new(builder.finish());
    }
    let mut builder = StringBuilder::new();
    values
        .for_each(|value| builder.append_option(value.map(|value| String::from_utf8_lossy(value))));
    Arc::new(builder.finish())
}

/// Makes zeros with a sign the same as those without, for which distinct counts take them.
pub(super) fn merge_zeros(numbers: &mut [i64], value_type: &ValueType) {
    let negative_zero = match value_type {
        ValueType::Float64 => ordinal_f64(-0.0),
        ValueType::Float32 => i64::from(ordinal_f32(-0.0)),
        _ => return,
    };
    for number in numbers {
        if *number == negative_zero {
            *number = 0;
        }
    }
}

fn ordinal_f64(value: f64) -> i64 {
    let value = if value.is_nan() {
        f64::NAN.abs()
    } else {
        value
    };
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn value_f64(ordinal: i64) -> f64 {
    f64::from_bits((ordinal ^ (((ordinal >> 63) as u64) >> 1) as i64) as u64)
}

fn ordinal_f32(value: f32) -> i32 {
    let value = if value.is_nan() {
        f32::NAN.abs()
    } else {
        value
    };
    let bits = value.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

fn value_f32(ordinal: i32) -> f32 {
    f32::from_bits((ordinal ^ (((ordinal >> 31) as u32) >> 1) as i32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_keep_their_order_and_bits() {
        let ascending = [
            f64::NEG_INFINITY,
            -1.5,
            -0.0,
            0.0,
            1e-300,
            2.0,
            f64::INFINITY,
            f64::NAN,
        ];
        let numbers = ascending.map(ordinal_f64);
        assert!(
            numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "{numbers:?}"
        );
        for value in ascending {
            assert_eq!(
                value_f64(ordinal_f64(value)).to_bits(),
                value.abs().copysign(value).to_bits()
            );
            let single = value as f32;
            assert_eq!(value_f32(ordinal_f32(single)).to_bits(), single.to_bits());
        }
        assert_eq!(ordinal_f64(-f64::NAN), ordinal_f64(f64::NAN));
        let mut zeros = [ordinal_f64(-0.0), 0, 1];
        merge_zeros(&mut zeros, &ValueType::Float64);
        assert_eq!(zeros, [0, 0, 1]);
    }
}
