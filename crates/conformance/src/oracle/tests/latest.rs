//! The latest row of each key.

use arrow_schema::DataType;
use provender_core::ValueType;
use provender_core::request::{ColumnRange, LatestPerKey};
use provender_core::time::instant_type;

use super::super::{Value, check_latest, latest};
use super::{K, at, feature, int, key, rows, source, table, text};

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
