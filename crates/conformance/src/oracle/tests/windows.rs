//! Which rows and keys a window holds, in joins and at a time.

use arrow_schema::DataType;
use provender_core::model::AggregateFunction;
use provender_core::request::WindowsAt;

use super::super::{Value, check_windows, point_in_time_join};
use super::{K, aggregated, at, int, join, key, rows, source, spine, table, text, window};

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
