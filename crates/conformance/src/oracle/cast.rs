//! Values as declared types, one value at a time.

use provender_core::ValueType;
use provender_core::time::DAY_US;

use super::Value;

/// The value as the declared type holds it. A value fits if casting it back gives the same value
/// (times are floored to microseconds before).
///
/// # Errors
/// A text that names value and type if the value does not fit, or if there is no such cast.
pub fn cast(value: &Value, to: &ValueType) -> Result<Value, String> {
    cast_fitting(value, to).ok_or_else(|| format!("{value:?} does not fit {to}"))
}

fn cast_fitting(value: &Value, to: &ValueType) -> Option<Value> {
    Some(match (to, value) {
        (_, Value::Null) => Value::Null,
        (ValueType::Bool, Value::Bool(_))
        | (ValueType::String | ValueType::Json, Value::String(_))
        | (ValueType::Binary, Value::Binary(_))
        | (ValueType::Date, Value::Date(_))
        | (ValueType::Timestamp, Value::Timestamp(_))
        | (ValueType::Float32, Value::Float32(_))
        | (ValueType::Float64, Value::Float64(_)) => value.clone(),
        (ValueType::Timestamp, Value::Date(days)) => {
            Value::Timestamp(i64::from(*days).checked_mul(DAY_US)?)
        }
        (ValueType::Date, Value::Timestamp(us)) => {
            if us.rem_euclid(DAY_US) != 0 {
                return None;
            }
            Value::Date(i32::try_from(us.div_euclid(DAY_US)).ok()?)
        }
        (ValueType::Float64, Value::Float32(float)) => Value::Float64((*float).into()),
        (ValueType::Float32, Value::Float64(float)) => {
            let narrow = *float as f32;
            let back = f64::from(narrow);
            if back != *float && !(back.is_nan() && float.is_nan()) {
                return None;
            }
            Value::Float32(narrow)
        }
        (ValueType::Float64, Value::Int(int)) => {
            let float = *int as f64;
            (float as i128 == *int).then_some(Value::Float64(float))?
        }
        (ValueType::Float32, Value::Int(int)) => {
            let float = *int as f32;
            (float as i128 == *int).then_some(Value::Float32(float))?
        }
        (ValueType::Float64, Value::Decimal(unscaled, scale)) => {
            let float: f64 = decimal_text(*unscaled, *scale).parse().ok()?;
            (unscaled_of(float, *scale)? == *unscaled).then_some(Value::Float64(float))?
        }
        (ValueType::Float32, Value::Decimal(unscaled, scale)) => {
            let float: f32 = decimal_text(*unscaled, *scale).parse().ok()?;
            (unscaled_of(float.into(), *scale)? == *unscaled).then_some(Value::Float32(float))?
        }
        (ValueType::Decimal(precision, scale), Value::Decimal(unscaled, from_scale)) => {
            decimal(rescale(*unscaled, *from_scale, *scale)?, *precision, *scale)?
        }
        (ValueType::Decimal(precision, scale), Value::Int(int)) => {
            decimal(rescale(*int, 0, *scale)?, *precision, *scale)?
        }
        (ValueType::Decimal(precision, scale), Value::Float32(_) | Value::Float64(_)) => {
            let float = match value {
                Value::Float32(float) => f64::from(*float),
                Value::Float64(float) => *float,
                _ => return None,
            };
            let unscaled = unscaled_of(float, *scale)?;
            if decimal_text(unscaled, *scale).parse::<f64>().ok()? != float {
                return None;
            }
            decimal(unscaled, *precision, *scale)?
        }
        (to, Value::Int(int)) if to.is_integer() => integer(*int, to)?,
        (to, Value::Decimal(unscaled, scale)) if to.is_integer() => {
            integer(rescale(*unscaled, *scale, 0)?, to)?
        }
        (to, Value::Float32(float)) if to.is_integer() => whole((*float).into(), to)?,
        (to, Value::Float64(float)) if to.is_integer() => whole(*float, to)?,
        (ValueType::List(item), Value::List(items)) => Value::List(
            items
                .iter()
                .map(|value| cast_fitting(value, item))
                .collect::<Option<_>>()?,
        ),
        (ValueType::Embedding(size), Value::List(items)) => {
            if i32::try_from(items.len()) != Ok(*size) {
                return None;
            }
            Value::List(
                items
                    .iter()
                    .map(|value| cast_fitting(value, &ValueType::Float32))
                    .collect::<Option<_>>()?,
            )
        }
        (ValueType::Struct(fields), Value::Struct(values)) => {
            if fields.len() != values.len() {
                return None;
            }
            Value::Struct(
                fields
                    .iter()
                    .zip(values)
                    .map(|((name, to), (_, value))| Some((name.clone(), cast_fitting(value, to)?)))
                    .collect::<Option<_>>()?,
            )
        }
        (ValueType::Map(key_type, value_type), Value::Map(entries)) => Value::Map(
            entries
                .iter()
                .map(|(key, value)| {
                    Some((
                        cast_fitting(key, key_type)?,
                        cast_fitting(value, value_type)?,
                    ))
                })
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

fn integer(int: i128, to: &ValueType) -> Option<Value> {
    let fits = match to {
        ValueType::Int8 => i8::try_from(int).is_ok(),
        ValueType::Int16 => i16::try_from(int).is_ok(),
        ValueType::Int32 => i32::try_from(int).is_ok(),
        ValueType::Int64 => i64::try_from(int).is_ok(),
        ValueType::UInt8 => u8::try_from(int).is_ok(),
        ValueType::UInt16 => u16::try_from(int).is_ok(),
        ValueType::UInt32 => u32::try_from(int).is_ok(),
        ValueType::UInt64 => u64::try_from(int).is_ok(),
        _ => false,
    };
    fits.then_some(Value::Int(int))
}

fn whole(float: f64, to: &ValueType) -> Option<Value> {
    if float.fract() != 0.0 || !(-1e30..=1e30).contains(&float) {
        return None;
    }
    integer(float as i128, to)
}

fn decimal(unscaled: i128, precision: u8, scale: i8) -> Option<Value> {
    let limit = 10_i128.checked_pow(precision.into())?;
    (unscaled.abs() < limit).then_some(Value::Decimal(unscaled, scale))
}

/// The unscaled number at another scale, if no digit is lost.
pub(crate) fn rescale(unscaled: i128, from: i8, to: i8) -> Option<i128> {
    if to >= from {
        let factor = 10_i128.checked_pow(u32::try_from(to - from).ok()?)?;
        return unscaled.checked_mul(factor);
    }
    let factor = 10_i128.checked_pow(u32::try_from(from - to).ok()?)?;
    (unscaled % factor == 0).then_some(unscaled / factor)
}

/// The decimal as text such as `-12e-1`, which every float type reads to its nearest value.
pub(crate) fn decimal_text(unscaled: i128, scale: i8) -> String {
    format!("{unscaled}e{}", -i32::from(scale))
}

/// The decimal of a scale that is nearest to a float, unscaled.
fn unscaled_of(float: f64, scale: i8) -> Option<i128> {
    if !float.is_finite() {
        return None;
    }
    let digits = usize::try_from(scale).ok()?;
    format!("{float:.digits$}").replace('.', "").parse().ok()
}
