//! The row that a point-in-time join takes for a spine row, and answers that are refused.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use provender_core::ValueType;
use provender_core::error::{Error, codes};
use provender_core::request::KeyColumn;
use provender_core::time::{DAY_US, instant_type};

use super::super::{
    Value, check_point_in_time_join, check_point_in_time_join_error, point_in_time_join,
};
use super::{K, at, feature, features, int, join, rows, spine, table, text, view};
use crate::Tables;

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
