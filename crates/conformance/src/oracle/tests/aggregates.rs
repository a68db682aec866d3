//! What each function makes of the values of a window.

use arrow_schema::DataType;
use provender_core::model::AggregateFunction;

use super::super::Value;
use super::{K, aggregated, at, int, over, rows, text, window};

#[test]
fn sums_of_integers_are_exact_and_overflow() {
    let sum = |values: &[Value]| over(AggregateFunction::Sum, DataType::Int64, values);
    let max = int(i64::MAX.into());
    assert_eq!(sum(&[int(1), K, int(-3)]), "-2");
    assert_eq!(sum(&[max.clone(), int(1)]), "overflow");
    assert_eq!(
        sum(&[max, int(1), int(-1)]),
        i64::MAX.to_string(),
        "the total decides, not a running total"
    );
    let unsigned = [int(u64::MAX.into())];
    assert_eq!(
        over(AggregateFunction::Sum, DataType::UInt64, &unsigned),
        "overflow"
    );
}

#[test]
fn sums_of_decimals_keep_their_scale() {
    let decimal = |unscaled| Value::Decimal(unscaled, 2);
    let sum = |values: &[Value]| over(AggregateFunction::Sum, DataType::Decimal128(38, 2), values);
    assert_eq!(sum(&[decimal(150), decimal(-25)]), "decimal 125e-2");
    let greatest = 10_i128.pow(38) - 1;
    assert_eq!(sum(&[decimal(greatest), decimal(1)]), "overflow");
    assert_eq!(sum(&vec![decimal(greatest); 5]), "overflow");
}

#[test]
fn mean_and_stddev_are_of_the_sample() {
    let ints = [int(2), int(4), K, int(9)];
    assert_eq!(
        over(AggregateFunction::Mean, DataType::Int64, &ints),
        "near 5"
    );
    let spread = [int(1), int(3)];
    assert_eq!(
        over(AggregateFunction::Stddev, DataType::Int64, &spread),
        format!("near {}", 2.0_f64.sqrt())
    );
    assert_eq!(
        over(AggregateFunction::Stddev, DataType::Int64, &[int(1), K]),
        "null"
    );
    let halves = [Value::Decimal(5, 1), Value::Decimal(15, 1)];
    assert_eq!(
        over(AggregateFunction::Mean, DataType::Decimal128(5, 1), &halves),
        "near 1"
    );
}

#[test]
fn nan_is_the_greatest_and_zeros_are_ordered() {
    let floats = [
        Value::Float64(0.0),
        Value::Float64(-f64::NAN),
        Value::Float64(f64::INFINITY),
        Value::Float64(-0.0),
    ];
    let over = |function, values: &[Value]| over(function, DataType::Float64, values);
    assert_eq!(over(AggregateFunction::Min, &floats), "-0.0f64");
    assert!(over(AggregateFunction::Max, &floats).starts_with("NaN"));
    assert_eq!(over(AggregateFunction::Max, &floats[2..]), "inff64");
    let nans = [Value::Float64(f64::NAN), Value::Float64(-f64::NAN)];
    assert!(over(AggregateFunction::Min, &nans).contains(" or "));
}

#[test]
fn count_distinct_counts_equal_values_once() {
    let floats = [
        Value::Float64(0.0),
        Value::Float64(-0.0),
        Value::Float64(f64::NAN),
        Value::Float64(-f64::NAN),
        Value::Float64(1.0),
        K,
    ];
    let count =
        |data_type, values: &[Value]| over(AggregateFunction::CountDistinct, data_type, values);
    assert_eq!(count(DataType::Float64, &floats), "3");
    let texts = [text("a"), text("A"), text("a"), text("")];
    assert_eq!(count(DataType::Utf8View, &texts), "3");
}

#[test]
fn last_is_the_newest_value_that_is_not_null() {
    let tables = rows(&[
        [text("a"), at(10), at(1), int(1)],
        [text("a"), at(10), at(2), int(2)],
        [text("a"), at(11), at(9), K],
    ]);
    let last = || window(AggregateFunction::Last, Some("v"), 100);
    assert_eq!(aggregated(last(), &tables, 20), "2");
    let tables = rows(&[
        [text("a"), at(10), at(1), int(1)],
        [text("a"), at(10), at(1), K],
        [text("a"), at(10), at(1), int(3)],
    ]);
    assert_eq!(aggregated(last(), &tables, 20), "1 or 3");
}
