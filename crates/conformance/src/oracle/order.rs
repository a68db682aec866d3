//! Which of two values is greater, and which values are one.

use std::cmp::Ordering;

use super::Value;

/// Orders two values of one type: null lowest, false before true, strings and binary byte by byte,
/// -0.0 before 0.0, and every NaN after all other floats and equal to every NaN.
pub fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) | (Value::Decimal(a, _), Value::Decimal(b, _)) => a.cmp(b),
        (Value::Float32(a), Value::Float32(b)) => float_order((*a).into(), (*b).into()),
        (Value::Float64(a), Value::Float64(b)) => float_order(*a, *b),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Binary(a), Value::Binary(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        // Lists, structs and maps have no order; no request compares them.
        _ => Ordering::Equal,
    }
}

/// Whether two values of one type, neither null, count as one: as [`order`], but 0.0 is -0.0.
pub fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float32(a), Value::Float32(b)) => a == b || (a.is_nan() && b.is_nan()),
        (Value::Float64(a), Value::Float64(b)) => a == b || (a.is_nan() && b.is_nan()),
        _ => order(a, b) == Ordering::Equal,
    }
}

fn float_order(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.total_cmp(&b),
    }
}
