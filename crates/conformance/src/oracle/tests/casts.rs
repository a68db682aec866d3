//! Casts to declared types, and when a value that does not fit fails a request.

use provender_core::ValueType;
use provender_core::error::{Error, codes};
use provender_core::time::DAY_US;

use super::super::{Value, cast, check_point_in_time_join_error};
use super::{K, at, features, int, join, rows, spine, text, view};
use crate::Tables;

#[test]
fn casts_keep_values_or_fail() {
    let float = Value::Float64;
    for (value, to, expected) in [
        (int(127), ValueType::Int8, Some("127")),
        (int(128), ValueType::Int8, None),
        (int(-1), ValueType::UInt64, None),
        (float(2.0), ValueType::Int64, Some("2")),
        (float(2.5), ValueType::Int64, None),
        (float(f64::NAN), ValueType::Int64, None),
        (float(1e300), ValueType::Int64, None),
        (float(1.5), ValueType::Float32, Some("1.5f32")),
        (float(0.1), ValueType::Float32, None),
        (float(1e300), ValueType::Float32, None),
        (float(f64::INFINITY), ValueType::Float32, Some("inff32")),
        (
            int(1 << 53),
            ValueType::Float64,
            Some("9007199254740992.0f64"),
        ),
        (int((1 << 53) + 1), ValueType::Float64, None),
        (Value::Decimal(1_200, 2), ValueType::Int64, Some("12")),
        (Value::Decimal(1_250, 2), ValueType::Int64, None),
        (
            Value::Decimal(1_250, 2),
            ValueType::Decimal(10, 1),
            Some("decimal 125e-1"),
        ),
        (Value::Decimal(1_251, 2), ValueType::Decimal(10, 1), None),
        (Value::Decimal(1_251, 2), ValueType::Decimal(3, 2), None),
        (int(12), ValueType::Decimal(4, 2), Some("decimal 1200e-2")),
        (
            Value::Date(-1),
            ValueType::Timestamp,
            Some("-86400000000us"),
        ),
        (at(-DAY_US), ValueType::Date, Some("day -1")),
        (at(-1), ValueType::Date, None),
        (text("1"), ValueType::Int64, None),
        (K, ValueType::Int64, Some("null")),
        (
            Value::List(vec![int(1), K]),
            ValueType::List(Box::new(ValueType::Float64)),
            Some("[1.0f64, null]"),
        ),
        (Value::List(vec![float(1.0)]), ValueType::Embedding(2), None),
    ] {
        let got = cast(&value, &to);
        let text = got.as_ref().ok().map(|value| format!("{value:?}"));
        assert_eq!(text.as_deref(), expected, "{value:?} to {to}");
        if let Err(why) = got {
            assert_eq!(why, format!("{value:?} does not fit {to}"));
        }
    }
}

#[test]
fn failing_is_right_only_where_a_value_does_not_fit() {
    let tables = rows(&[[text("a"), at(10), K, int(300)]]);
    let mut view = view();
    view.features[0].value_type = ValueType::Int8;
    let join = join(view);
    let spine = spine(&[(text("a"), at(10))]);
    assert_eq!(features(&join, &tables, &spine), ["300 does not fit int8"]);
    let misfit = Error::new(&codes::CHECKED_CAST, "300 does not fit");
    let check = |tables: &Tables, error: &Error| {
        check_point_in_time_join_error(&join, tables, &spine, error)
    };
    assert_eq!(check(&tables, &misfit), Ok(()));
    let overflow = Error::new(&codes::SUM_OVERFLOW, "too much");
    assert!(check(&tables, &overflow).is_err());
    let small = rows(&[[text("a"), at(10), K, int(3)]]);
    let why = check(&small, &misfit).unwrap_err();
    assert!(
        why.starts_with("expected an answer, got the error [P501"),
        "{why}"
    );
}
