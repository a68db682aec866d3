//! Each rule of the semantics on rows written by hand.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use provender_core::ValueType;
use provender_core::error::{Error, codes};
use provender_core::model::AggregateFunction;
use provender_core::request::{
    ColumnRange, FeatureColumn, KeyColumn, LatestPerKey, PointInTimeJoin, SourceRef, TimedSource,
    ViewJoin, WindowAggregate, WindowsAt,
};
use provender_core::time::{DAY_US, instant_type};

use super::*;
use crate::generate::build;
use crate::{SpineTable, Table, Tables};

/// Null, short enough for tables of rows.
const K: Value = Value::Null;

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn int(value: i128) -> Value {
    Value::Int(value)
}

fn at(us: i64) -> Value {
    Value::Timestamp(us)
}

fn table(columns: &[(&str, DataType)], rows: &[&[Value]]) -> Table {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    let arrays = columns.iter().enumerate().map(|(column, (_, data_type))| {
        let values: Vec<Value> = rows.iter().map(|row| row[column].clone()).collect();
        build(data_type, &values).unwrap()
    });
    let arrays = arrays.collect();
    Table::of(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap())
}

/// A table `t` of key `k`, event time `ts`, created time `created` and whole number `v`.
fn rows(rows: &[[Value; 4]]) -> Tables {
    let columns = [
        ("k", DataType::Utf8),
        ("ts", instant_type()),
        ("created", instant_type()),
        ("v", DataType::Int64),
    ];
    let rows: Vec<&[Value]> = rows.iter().map(|row| row.as_slice()).collect();
    Tables::from([("t".to_owned(), table(&columns, &rows))])
}

/// The same of a value column of any type, all rows of key `a` and created at null.
fn values(data_type: DataType, rows: &[(i64, Value)]) -> Tables {
    let columns = [
        ("k", DataType::Utf8),
        ("ts", instant_type()),
        ("created", instant_type()),
        ("v", data_type),
    ];
    let rows: Vec<[Value; 4]> = rows
        .iter()
        .map(|(us, value)| [text("a"), at(*us), K, value.clone()])
        .collect();
    let rows: Vec<&[Value]> = rows.iter().map(|row| row.as_slice()).collect();
    Tables::from([("t".to_owned(), table(&columns, &rows))])
}

fn spine(rows: &[(Value, Value)]) -> SpineTable {
    let columns = [
        ("k", DataType::Utf8),
        ("time", instant_type()),
        ("row", DataType::Int64),
    ];
    let rows: Vec<[Value; 3]> = rows
        .iter()
        .enumerate()
        .map(|(row, (key, time))| [key.clone(), time.clone(), int(row as i128)])
        .collect();
    let rows: Vec<&[Value]> = rows.iter().map(|row| row.as_slice()).collect();
    SpineTable {
        table: table(&columns, &rows),
        timestamp: "time".to_owned(),
        row_number: "row".to_owned(),
    }
}

fn source() -> TimedSource {
    TimedSource {
        source: SourceRef::table("t"),
        timestamp: "ts".to_owned(),
        created_timestamp: Some("created".to_owned()),
        tie_breakers: Vec::new(),
    }
}

fn key() -> KeyColumn {
    KeyColumn {
        spine: "k".to_owned(),
        column: "k".to_owned(),
        value_type: ValueType::String,
    }
}

fn feature(column: &str, value_type: ValueType) -> FeatureColumn {
    FeatureColumn {
        column: column.to_owned(),
        output: column.to_owned(),
        value_type,
        checked: false,
    }
}

fn view() -> ViewJoin {
    ViewJoin {
        name: "view".to_owned(),
        source: source(),
        keys: vec![key()],
        ttl_us: None,
        features: vec![feature("v", ValueType::Int64)],
        aggregations: Vec::new(),
    }
}

fn join(view: ViewJoin) -> PointInTimeJoin {
    PointInTimeJoin {
        views: vec![view],
        as_known: false,
    }
}

/// What each spine row may get: the acceptable rows of features, as text.
fn features(join: &PointInTimeJoin, tables: &Tables, spine: &SpineTable) -> Vec<String> {
    let answers = point_in_time_join(join, tables, spine).unwrap();
    let texts = answers.iter().map(|views| {
        let rows: Vec<String> = views[0]
            .features
            .iter()
            .map(|row| {
                let cells: Vec<String> = row
                    .iter()
                    .map(|cell| match cell {
                        Ok(value) => format!("{value:?}"),
                        Err(why) => why.clone(),
                    })
                    .collect();
                cells.join("+")
            })
            .collect();
        rows.join(" or ")
    });
    texts.collect()
}

fn window(function: AggregateFunction, column: Option<&str>, window_us: i64) -> ViewJoin {
    let mut view = view();
    view.features.clear();
    view.aggregations = vec![WindowAggregate {
        function,
        column: column.map(str::to_owned),
        window_us,
        output: "w".to_owned(),
        value_type: ValueType::Int64,
    }];
    view
}

fn aggregated(view: ViewJoin, tables: &Tables, t: i64) -> String {
    let spine = spine(&[(text("a"), at(t))]);
    let answers = point_in_time_join(&join(view), tables, &spine).unwrap();
    match &answers[0][0].aggregations[0] {
        Expected::AnyOf(values) => {
            let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            values.join(" or ")
        }
        Expected::Near { value, .. } => format!("near {value}"),
        Expected::Overflow => "overflow".to_owned(),
    }
}

fn over(function: AggregateFunction, data_type: DataType, values_: &[Value]) -> String {
    let rows: Vec<(i64, Value)> = values_
        .iter()
        .enumerate()
        .map(|(row, value)| (row as i64, value.clone()))
        .collect();
    let input = ValueType::from_arrow(&data_type);
    let mut view = window(function, Some("v"), 1_000);
    view.aggregations[0].value_type = function.result_type(input.as_ref()).unwrap();
    aggregated(view, &values(data_type, &rows), 100)
}

#[test]
fn newest_row_at_or_before_the_time_wins() {
    let tables = rows(&[
        [text("a"), at(10), K, int(1)],
        [text("a"), at(20), K, int(2)],
        [text("b"), at(15), K, int(3)],
    ]);
    let spine = spine(&[
        (text("a"), at(9)),
        (text("a"), at(10)),
        (text("a"), at(19)),
        (text("a"), at(20)),
        (text("b"), at(99)),
        (text("c"), at(99)),
        (text("a"), at(20)),
    ]);
    assert_eq!(
        features(&join(view()), &tables, &spine),
        ["null", "1", "1", "2", "3", "null", "2"]
    );
}

#[test]
fn ttl_includes_both_ends() {
    let tables = rows(&[[text("a"), at(100), K, int(1)]]);
    let mut view = view();
    view.ttl_us = Some(50);
    let spine = spine(&[99, 100, 150, 151].map(|us| (text("a"), at(us))));
    assert_eq!(
        features(&join(view.clone()), &tables, &spine),
        ["null", "1", "1", "null"]
    );
    view.ttl_us = Some(i64::MAX);
    let tables = rows(&[[text("a"), at(i64::MIN + 1), K, int(1)]]);
    let spine = self::spine(&[(text("a"), at(-1)), (text("a"), at(0)), (text("a"), at(1))]);
    assert_eq!(
        features(&join(view), &tables, &spine),
        ["1", "1", "null"],
        "lengths do not wrap around"
    );
}

#[test]
fn created_time_breaks_ties_with_null_lowest() {
    let tables = rows(&[
        [text("a"), at(10), K, int(1)],
        [text("a"), at(10), at(-5), int(2)],
        [text("b"), at(10), at(7), int(3)],
        [text("b"), at(10), at(8), int(4)],
        [text("b"), at(9), at(99), int(5)],
    ]);
    let spine = spine(&[(text("a"), at(10)), (text("b"), at(10))]);
    assert_eq!(features(&join(view()), &tables, &spine), ["2", "4"]);
}

#[test]
fn tie_breakers_decide_next_with_null_lowest() {
    let tables = rows(&[
        [text("a"), at(10), at(1), K],
        [text("a"), at(10), at(1), int(-3)],
        [text("a"), at(10), at(0), int(9)],
    ]);
    let mut view = view();
    view.source.tie_breakers = vec!["v".to_owned()];
    let spine = spine(&[(text("a"), at(10))]);
    assert_eq!(features(&join(view), &tables, &spine), ["-3"]);
}

#[test]
fn full_ties_accept_any_tied_row_but_never_a_mixture() {
    let columns = [
        ("k", DataType::Utf8),
        ("ts", instant_type()),
        ("v", DataType::Int64),
        ("u", DataType::Int64),
    ];
    let rows: [&[Value]; 2] = [
        &[text("a"), at(10), int(1), int(10)],
        &[text("a"), at(10), int(2), K],
    ];
    let tables = Tables::from([("t".to_owned(), table(&columns, &rows))]);
    let mut view = view();
    view.source.created_timestamp = None;
    view.features.push(feature("u", ValueType::Int64));
    let spine = spine(&[(text("a"), at(10))]);
    let join = join(view);
    assert_eq!(features(&join, &tables, &spine), ["1+10 or 2+null"]);
    let check = |v: i64, u: Option<i64>| {
        let schema = Schema::new(vec![
            Field::new("v", DataType::Int64, true),
            Field::new("u", DataType::Int64, true),
        ]);
        let columns: Vec<arrow_array::ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![v])),
            Arc::new(Int64Array::from(vec![u])),
        ];
        let answer = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        check_point_in_time_join(&join, &tables, &spine, &answer)
    };
    assert_eq!(check(1, Some(10)), Ok(()));
    assert_eq!(check(2, None), Ok(()));
    assert_eq!(
        check(2, Some(10)),
        Err("spine row 0, view \"view\": features [\"v\", \"u\"]: \
             expected one of [[Ok(1), Ok(10)], [Ok(2), Ok(null)]], got [2, 10]"
            .to_owned())
    );
}

#[test]
fn nulls_in_keys_and_times_match_nothing() {
    let tables = rows(&[
        [K, at(10), K, int(1)],
        [text("a"), K, K, int(2)],
        [text("b"), at(10), K, int(3)],
        [text(""), at(10), K, int(4)],
    ]);
    let spine = spine(&[
        (K, at(99)),
        (text("a"), at(99)),
        (text("b"), K),
        (text(""), at(99)),
    ]);
    assert_eq!(
        features(&join(view()), &tables, &spine),
        ["null", "null", "null", "4"]
    );
}

#[test]
fn null_feature_of_the_winner_stays_null() {
    let tables = rows(&[[text("a"), at(10), K, int(1)], [text("a"), at(11), K, K]]);
    let spine = spine(&[(text("a"), at(11))]);
    assert_eq!(features(&join(view()), &tables, &spine), ["null"]);
}

#[test]
fn as_known_demands_a_created_time_up_to_the_time() {
    let tables = rows(&[
        [text("a"), at(10), at(30), int(1)],
        [text("a"), at(11), at(40), int(2)],
        [text("a"), at(12), K, int(3)],
    ]);
    let mut join = join(view());
    let spine = spine(&[29, 30, 39, 40].map(|us| (text("a"), at(us))));
    assert_eq!(features(&join, &tables, &spine), ["3", "3", "3", "3"]);
    join.as_known = true;
    assert_eq!(features(&join, &tables, &spine), ["null", "1", "1", "2"]);
    join.views[0].source.created_timestamp = None;
    let error = point_in_time_join(&join, &tables, &spine).unwrap_err();
    assert_eq!(error, "as_known needs a created timestamp of view \"view\"");
    let refused = Error::new(&codes::CREATED_REQUIRED, "no created timestamp");
    let verdict = check_point_in_time_join_error(&join, &tables, &spine, &refused);
    assert_eq!(verdict, Ok(()));
}

#[test]
fn view_without_keys_holds_one_global_row() {
    let tables = rows(&[[K, at(10), K, int(1)], [text("b"), at(20), K, int(2)]]);
    let mut view = view();
    view.keys.clear();
    let spine = spine(&[(K, at(15)), (text("a"), at(25)), (text("a"), K)]);
    assert_eq!(features(&join(view), &tables, &spine), ["1", "2", "null"]);
}

#[test]
fn several_keys_match_on_all_of_them() {
    let columns = [
        ("k", DataType::Utf8),
        ("ts", instant_type()),
        ("v", DataType::Int64),
    ];
    let rows: [&[Value]; 2] = [&[text("a"), at(10), int(1)], &[text("a"), at(11), int(2)]];
    let tables = Tables::from([("t".to_owned(), table(&columns, &rows))]);
    let mut view = view();
    view.source.created_timestamp = None;
    view.keys.push(KeyColumn {
        spine: "row".to_owned(),
        column: "v".to_owned(),
        value_type: ValueType::Int64,
    });
    // The second key is the spine's row number: rows 1 and 2 exist, row 0 does not.
    let spine = spine(&[20, 20, 20].map(|us| (text("a"), at(us))));
    assert_eq!(features(&join(view), &tables, &spine), ["null", "1", "2"]);
}

#[test]
fn times_are_floored_on_both_sides() {
    let zone = Some(Arc::from("America/New_York"));
    let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, zone);
    let columns = [
        ("k", DataType::Utf8),
        ("ts", nanoseconds),
        ("created", DataType::Date32),
        ("v", DataType::Int64),
    ];
    // The second row's time is 37 ns after -1 us, which is -1 us; the created times are midnights.
    let rows: [&[Value]; 2] = [
        &[text("a"), at(-2), Value::Date(0), int(1)],
        &[text("a"), at(-1), Value::Date(1), int(2)],
    ];
    let tables = Tables::from([("t".to_owned(), table(&columns, &rows))]);
    let mut join = join(view());
    let spine = spine(&[-2, -1, 0, DAY_US - 1, DAY_US].map(|us| (text("a"), at(us))));
    assert_eq!(features(&join, &tables, &spine), ["1", "2", "2", "2", "2"]);
    join.as_known = true;
    assert_eq!(
        features(&join, &tables, &spine),
        ["null", "null", "1", "1", "2"]
    );
}

#[test]
fn windows_exclude_their_start_and_include_their_end() {
    let tables = rows(&[
        [text("a"), at(10), K, int(1)],
        [text("a"), at(10), K, int(1)],
        [text("a"), at(20), K, K],
        [text("b"), at(20), K, int(1)],
        [text("a"), K, K, int(1)],
    ]);
    let count = |t| aggregated(window(AggregateFunction::Count, None, 10), &tables, t);
    assert_eq!(
        [9, 10, 19, 20, 29, 30].map(count),
        ["0", "2", "2", "1", "1", "0"],
        "duplicates count, and nothing but time and key decides"
    );
    let count = |t| aggregated(window(AggregateFunction::Count, Some("v"), 11), &tables, t);
    assert_eq!([20, 21].map(count), ["2", "0"], "nulls are skipped");
}

#[test]
fn empty_windows_count_zero_for_keys_and_times_that_are_there() {
    let tables = rows(&[[text("a"), at(10), K, int(1)]]);
    let spine = spine(&[(text("new"), at(10)), (K, at(10)), (text("a"), K)]);
    for (function, column, expected) in [
        (AggregateFunction::Count, None, "0"),
        (AggregateFunction::CountDistinct, Some("v"), "0"),
        (AggregateFunction::Sum, Some("v"), "null"),
        (AggregateFunction::Last, Some("v"), "null"),
    ] {
        let join = join(window(function, column, 10));
        let answers = point_in_time_join(&join, &tables, &spine).unwrap();
        let texts: Vec<String> = answers
            .iter()
            .map(|views| format!("{:?}", views[0].aggregations[0]))
            .collect();
        let null = "AnyOf([null])";
        assert_eq!(texts, [&format!("AnyOf([{expected}])"), null, null]);
    }
}

#[test]
fn as_known_holds_in_windows() {
    let tables = rows(&[
        [text("a"), at(10), at(10), int(1)],
        [text("a"), at(11), at(20), int(1)],
        [text("a"), at(12), K, int(1)],
    ]);
    let mut join = join(window(AggregateFunction::Count, None, 1_000));
    join.as_known = true;
    let spine = spine(&[15, 20].map(|us| (text("a"), at(us))));
    let answers = point_in_time_join(&join, &tables, &spine).unwrap();
    assert!(answers[0][0].aggregations[0].accepts(&int(1)));
    assert!(answers[1][0].aggregations[0].accepts(&int(2)));
}

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

#[test]
fn answers_of_another_shape_are_refused() {
    let tables = rows(&[[text("a"), at(10), K, int(1)]]);
    let spine = spine(&[(text("a"), at(10))]);
    let join = join(view());
    let answer = |name: &str, data_type: DataType, values: &[Value]| {
        let answer = table(&[(name, data_type)], &values.chunks(1).collect::<Vec<_>>());
        check_point_in_time_join(&join, &tables, &spine, &answer.one_batch().unwrap())
    };
    assert_eq!(answer("v", DataType::Int64, &[int(1)]), Ok(()));
    for (name, data_type, values, expected) in [
        (
            "w",
            DataType::Int64,
            vec![int(1)],
            "expected the columns [\"v\"], got [\"w\"]",
        ),
        (
            "v",
            DataType::Int32,
            vec![int(1)],
            "column \"v\": expected the type Int64, got Int32",
        ),
        (
            "v",
            DataType::Int64,
            vec![int(1), int(1)],
            "expected 1 rows, one per spine row, got 2",
        ),
        (
            "v",
            DataType::Int64,
            vec![K],
            "spine row 0, view \"view\": features [\"v\"]: expected one of [[Ok(1)]], got [null]",
        ),
    ] {
        assert_eq!(answer(name, data_type, &values), Err(expected.to_owned()));
    }
}

#[test]
fn latest_takes_each_keys_winner_inside_of_the_ranges() {
    let tables = rows(&[
        [text("a"), at(10), at(50), int(1)],
        [text("a"), at(11), at(99), int(2)],
        [text("b"), at(12), K, int(3)],
        [K, at(12), at(1), int(4)],
        [text("c"), K, at(1), int(5)],
        [text("d"), at(30), at(1), int(6)],
    ]);
    let mut request = LatestPerKey {
        source: source(),
        keys: vec![key()],
        features: vec![feature("v", ValueType::Int64)],
        ranges: Vec::new(),
    };
    let keys = |request: &LatestPerKey| -> Vec<String> {
        let answers = latest(request, &tables).unwrap();
        let texts = answers
            .iter()
            .map(|key| format!("{:?} {:?}", key.keys[0], key.rows[0][2]));
        texts.collect()
    };
    assert_eq!(
        keys(&request),
        ["\"a\" Ok(2)", "\"b\" Ok(3)", "\"d\" Ok(6)"]
    );
    request.ranges = vec![ColumnRange {
        column: "ts".to_owned(),
        min_us: Some(10),
        max_us: Some(12),
    }];
    assert_eq!(keys(&request), ["\"a\" Ok(2)", "\"b\" Ok(3)"]);
    request.ranges.push(ColumnRange {
        column: "created".to_owned(),
        min_us: None,
        max_us: Some(98),
    });
    assert_eq!(keys(&request), ["\"a\" Ok(1)"]);

    let columns = [
        ("k", DataType::Utf8),
        ("ts", instant_type()),
        ("created", instant_type()),
        ("v", DataType::Int64),
    ];
    let check = |rows: &[&[Value]]| {
        let answer = table(&columns, rows).one_batch().unwrap();
        check_latest(&request, &tables, &answer)
    };
    let right: &[Value] = &[text("a"), at(10), at(50), int(1)];
    let unasked: &[Value] = &[text("b"), at(12), K, int(3)];
    assert_eq!(check(&[right]), Ok(()));
    for (rows, expected) in [
        (vec![right, right], "key [\"a\"] is answered twice"),
        (vec![], "key [\"a\"] is not answered"),
        (
            vec![right, unasked],
            "key [\"b\"] has no row in the asked ranges",
        ),
    ] {
        assert_eq!(check(&rows), Err(expected.to_owned()));
    }
}

#[test]
fn windows_answer_active_keys_and_drained_windows() {
    let tables = rows(&[
        [text("a"), at(10), K, int(1)],
        [text("a"), at(20), K, int(2)],
        [text("b"), at(10), K, int(3)],
        [text("c"), at(31), K, int(4)],
        [K, at(20), K, int(5)],
    ]);
    let request = WindowsAt {
        source: source(),
        keys: vec![key()],
        aggregations: window(AggregateFunction::Sum, Some("v"), 10).aggregations,
        at_us: 30,
        active_after_us: 10,
    };
    let columns = [("k", DataType::Utf8), ("w", DataType::Int64)];
    let check = |request: &WindowsAt, rows: &[&[Value]]| {
        let answer = table(&columns, rows).one_batch().unwrap();
        check_windows(request, &tables, &answer)
    };
    // Key a was active after 10, but its window (20, 30] is drained.
    assert_eq!(check(&request, &[&[text("a"), K]]), Ok(()));
    assert_eq!(
        check(&request, &[&[text("a"), int(2)]]).unwrap_err(),
        "key [\"a\"]: sum \"w\" over 10us: expected AnyOf([null]), got 2"
    );
    assert_eq!(
        check(&request, &[]).unwrap_err(),
        "key [\"a\"] is not answered"
    );
    let longer = WindowsAt {
        active_after_us: 9,
        at_us: 19,
        ..request
    };
    let rows: [&[Value]; 2] = [&[text("b"), int(3)], &[text("a"), int(1)]];
    assert_eq!(check(&longer, &rows), Ok(()), "keys come in any order");
}
