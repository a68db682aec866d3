//! Casts between whole numbers, floats and decimals: a value fits if it comes back the same.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_schema::DataType;
use provender_core::{CastRule, ValueType};

use super::CastFailure;

/// Below this a whole number of 15 digits comes back from float64 whatever the scale, and so does
/// one of 6 digits from float32: the guarantees DBL_DIG and FLT_DIG of IEEE 754.
const EXACT_F64: i128 = 1_000_000_000_000_000;
const EXACT_F32: i128 = 1_000_000;
/// The greatest powers of ten that the floats hold exactly. A division by them of a number held
/// exactly is rounded once, hence correctly.
const POWER_F64: i8 = 22;
const POWER_F32: i8 = 10;

/// One value of a numeric column of any Arrow type.
enum Number {
    Int(i128),
    F32(f32),
    F64(f64),
    Decimal(i128, i8),
    /// Beyond 128 bits, so it fits nothing.
    Wide(String),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::F32(value) => write!(f, "{value:?}"),
            Self::F64(value) => write!(f, "{value:?}"),
            Self::Decimal(value, scale) => {
                let scale = usize::try_from(*scale).unwrap_or_default();
                let digits = format!("{:0>1$}", value.unsigned_abs(), scale + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                let sign = if *value < 0 { "-" } else { "" };
                let point = if scale > 0 { "." } else { "" };
                write!(f, "{sign}{whole}{point}{fraction}")
            }
            Self::Wide(text) => f.write_str(text),
        }
    }
}

pub(super) fn to_number(column: &ArrayRef, to: &ValueType) -> Result<ArrayRef, CastFailure> {
    let found = column.data_type();
    let plain = found.is_integer() || found.is_floating();
    if plain && !matches!(to, ValueType::Decimal(_, _)) && to.cast_from(found) == CastRule::Lossless
    {
        return Ok(arrow_cast::cast(column, &to.to_arrow())?);
    }
    Ok(match to {
        ValueType::Int8 => integers::<Int8Type>(column, to)?,
        ValueType::Int16 => integers::<Int16Type>(column, to)?,
        ValueType::Int32 => integers::<Int32Type>(column, to)?,
        ValueType::Int64 => integers::<Int64Type>(column, to)?,
        ValueType::UInt8 => integers::<UInt8Type>(column, to)?,
        ValueType::UInt16 => integers::<UInt16Type>(column, to)?,
        ValueType::UInt32 => integers::<UInt32Type>(column, to)?,
        ValueType::UInt64 => integers::<UInt64Type>(column, to)?,
        ValueType::Float32 => Arc::new(converted::<Float32Type>(column, to, Number::to_f32)?),
        ValueType::Float64 => Arc::new(converted::<Float64Type>(column, to, Number::to_f64)?),
        ValueType::Decimal(precision, scale) => {
            let fit = |number: &Number| number.to_decimal(*precision, *scale);
            let values = converted::<Decimal128Type>(column, to, fit)?;
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        _ => return Err(no_cast(column, to)),
    })
}

fn no_cast(column: &ArrayRef, to: &ValueType) -> CastFailure {
    CastFailure::whole(format!("{} cannot become {to}", column.data_type()))
}

fn integers<T>(column: &ArrayRef, to: &ValueType) -> Result<ArrayRef, CastFailure>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    let fit = |number: &Number| number.to_whole().and_then(|whole| whole.try_into().ok());
    Ok(Arc::new(converted::<T>(column, to, fit)?))
}

fn converted<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    to: &ValueType,
    fit: impl Fn(&Number) -> Option<T::Native>,
) -> Result<PrimitiveArray<T>, CastFailure> {
    let read = reader(column).ok_or_else(|| no_cast(column, to))?;
    let mut values = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        if column.is_null(row) {
            values.push(T::Native::default());
            continue;
        }
        let number = read(row);
        match fit(&number) {
            Some(value) => values.push(value),
            None => return Err(CastFailure::misfit(row, number, to)),
        }
    }
    let nulls = column.nulls().cloned();
    Ok(PrimitiveArray::try_new(values.into(), nulls)?)
}

type Reader<'a> = Box<dyn Fn(usize) -> Number + 'a>;

fn reader(column: &ArrayRef) -> Option<Reader<'_>> {
    fn with<'a, T: ArrowPrimitiveType>(
        column: &'a ArrayRef,
        read: impl Fn(T::Native) -> Number + 'a,
    ) -> Option<Reader<'a>> {
        let values = column.as_primitive_opt::<T>()?;
        Some(Box::new(move |row| read(values.value(row))))
    }
    match column.data_type() {
        DataType::Int8 => with::<Int8Type>(column, |value| Number::Int(value.into())),
        DataType::Int16 => with::<Int16Type>(column, |value| Number::Int(value.into())),
        DataType::Int32 => with::<Int32Type>(column, |value| Number::Int(value.into())),
        DataType::Int64 => with::<Int64Type>(column, |value| Number::Int(value.into())),
        DataType::UInt8 => with::<UInt8Type>(column, |value| Number::Int(value.into())),
        DataType::UInt16 => with::<UInt16Type>(column, |value| Number::Int(value.into())),
        DataType::UInt32 => with::<UInt32Type>(column, |value| Number::Int(value.into())),
        DataType::UInt64 => with::<UInt64Type>(column, |value| Number::Int(value.into())),
        DataType::Float16 => with::<Float16Type>(column, |value| Number::F32(value.to_f32())),
        DataType::Float32 => with::<Float32Type>(column, Number::F32),
        DataType::Float64 => with::<Float64Type>(column, Number::F64),
        DataType::Decimal32(_, scale) => {
            let scale = *scale;
            with::<Decimal32Type>(column, move |value| Number::Decimal(value.into(), scale))
        }
        DataType::Decimal64(_, scale) => {
            let scale = *scale;
            with::<Decimal64Type>(column, move |value| Number::Decimal(value.into(), scale))
        }
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            with::<Decimal128Type>(column, move |value| Number::Decimal(value, scale))
        }
        DataType::Decimal256(_, scale) => {
            let scale = *scale;
            with::<Decimal256Type>(column, move |value| match value.to_i128() {
                Some(value) => Number::Decimal(value, scale),
                None => Number::Wide(format!("{value}e-{scale}")),
            })
        }
        _ => None,
    }
}

impl Number {
    fn to_whole(&self) -> Option<i128> {
        // Casts from floats saturate, so what is beyond 128 bits does not come back the same.
        match *self {
            Self::Int(value) => Some(value),
            Self::F32(value) => Some(value as i128).filter(|whole| *whole as f32 == value),
            Self::F64(value) => Some(value as i128).filter(|whole| *whole as f64 == value),
            Self::Decimal(value, scale) => rescaled(value, scale, 0),
            Self::Wide(_) => None,
        }
    }

    fn to_f64(&self) -> Option<f64> {
        match *self {
            Self::Int(value) => Some(value as f64).filter(|float| *float as i128 == value),
            Self::F32(value) => Some(value.into()),
            Self::F64(value) => Some(value),
            Self::Decimal(value, scale) => {
                if value.abs() < EXACT_F64 && (0..=POWER_F64).contains(&scale) {
                    return Some(value as f64 / 10_f64.powi(scale.into()));
                }
                let float: f64 = format!("{value}e{}", -i16::from(scale)).parse().ok()?;
                (nearest(float, scale)? == value).then_some(float)
            }
            Self::Wide(_) => None,
        }
    }

    fn to_f32(&self) -> Option<f32> {
        match *self {
            Self::Int(value) => Some(value as f32).filter(|float| *float as i128 == value),
            Self::F32(value) => Some(value),
            Self::F64(value) if value.is_nan() => Some(value as f32),
            Self::F64(value) => Some(value as f32).filter(|float| f64::from(*float) == value),
            Self::Decimal(value, scale) => {
                if value.abs() < EXACT_F32 && (0..=POWER_F32).contains(&scale) {
                    return Some(value as f32 / 10_f32.powi(scale.into()));
                }
                let float: f32 = format!("{value}e{}", -i16::from(scale)).parse().ok()?;
                (nearest(float, scale)? == value).then_some(float)
            }
            Self::Wide(_) => None,
        }
    }

    fn to_decimal(&self, precision: u8, scale: i8) -> Option<i128> {
        let value = match *self {
            Self::Int(value) => rescaled(value, 0, scale)?,
            Self::Decimal(value, from) => rescaled(value, from, scale)?,
            Self::F64(float) => {
                let power = 10_f64.powi(scale.into());
                let near = (float * power).round();
                if (0..=POWER_F64).contains(&scale)
                    && near.abs() < EXACT_F64 as f64
                    && near / power == float
                {
                    near as i128
                } else {
                    let near = nearest(float, scale)?;
                    let back: f64 = format!("{near}e{}", -i16::from(scale)).parse().ok()?;
                    Some(near).filter(|_| back == float)?
                }
            }
            Self::F32(float) => {
                let near = nearest(float, scale)?;
                let back: f32 = format!("{near}e{}", -i16::from(scale)).parse().ok()?;
                Some(near).filter(|_| back == float)?
            }
            Self::Wide(_) => return None,
        };
        let limit = 10_u128.checked_pow(precision.into())?;
        (value.unsigned_abs() < limit).then_some(value)
    }
}

/// The decimal of `to` digits after the point that equals the one of `from` digits.
fn rescaled(value: i128, from: i8, to: i8) -> Option<i128> {
    let shift = i32::from(to) - i32::from(from);
    if value == 0 || shift == 0 {
        return Some(value);
    }
    // Beyond 38 digits nothing but zero can be shifted.
    let power = 10_i128.checked_pow(shift.unsigned_abs())?;
    if shift > 0 {
        value.checked_mul(power)
    } else {
        (value % power == 0).then_some(value / power)
    }
}

/// The decimal of `scale` digits that is nearest to a float, by the exact digits of the float.
fn nearest(float: impl fmt::Display, scale: i8) -> Option<i128> {
    let text = format!("{float:.*}", usize::try_from(scale).ok()?);
    text.replace('.', "").parse().ok()
}
