#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray};

use super::*;

fn encoder(types: &[ValueType]) -> KeyEncoder {
    let keys: Vec<KeyColumn> = types
        .iter()
        .enumerate()
        .map(|(number, value_type)| KeyColumn {
            spine: format!("k{number}"),
            column: format!("k{number}"),
            value_type: value_type.clone(),
        })
        .collect();
    KeyEncoder::new(&keys).unwrap()
}

/// Rows get one number exactly if their texts are the same, null ones none.
fn check(types: &[ValueType], columns: &[ArrayRef], texts: &[Option<String>]) {
    let encoder = encoder(types);
    let names = ["k0", "k1", "k2"];
    let keys = encoder
        .encode(&names[..types.len()], columns, texts.len())
        .unwrap();
    let mut table = encoder.table();
    let mut known: HashMap<String, u32> = HashMap::new();
    for (row, text) in texts.iter().enumerate() {
        let number = table.find_or_insert(&keys, row);
        match text {
            None => assert_eq!(number, NO_KEY, "row {row}"),
            Some(text) => {
                let next = known.len() as u32;
                assert_eq!(
                    number,
                    *known.entry(text.clone()).or_insert(next),
                    "{text:?}"
                );
            }
        }
    }
    assert_eq!(table.len(), known.len());
    // All at once, and of some rows alone, by a table for any keys and by one for these.
    let of_rows = encoder.table_of(std::slice::from_ref(&keys));
    for mut at_once in [encoder.table(), of_rows] {
        let is_close = at_once.len() > 0;
        let mut numbers = vec![7; texts.len()];
        at_once.number_all(&keys, |row| row % 3 != 1, &mut numbers);
        for (row, &number) in numbers.iter().enumerate() {
            let expected = match row % 3 {
                1 => NO_KEY,
                _ => at_once.find_or_insert(&keys, row),
            };
            assert_eq!(number, expected, "row {row}");
        }
        at_once.number_all(&keys, |_| true, &mut numbers);
        assert!(is_close || at_once.len() == known.len());
        let mut by_text: HashMap<&str, u32> = HashMap::new();
        for (text, &number) in texts.iter().zip(&numbers) {
            let Some(text) = text else {
                assert_eq!(number, NO_KEY);
                continue;
            };
            assert!((number as usize) < at_once.len());
            assert_eq!(*by_text.entry(text).or_insert(number), number, "{text:?}");
        }
        let apart: HashSet<u32> = by_text.values().copied().collect();
        assert_eq!(apart.len(), known.len());
        at_once.settle();
        let mut found = Vec::new();
        at_once.find_all(&keys, &mut found);
        assert_eq!(found, numbers);
        for (row, &number) in numbers.iter().enumerate() {
            assert_eq!(number, at_once.find_or_insert(&keys, row), "row {row}");
        }
    }
    let mut found = Vec::new();
    for _ in 0..2 {
        table.find_all(&keys, &mut found);
        for (text, &number) in texts.iter().zip(&found) {
            assert_eq!(
                number,
                text.as_ref().map_or(NO_KEY, |text| known[text]),
                "{text:?}"
            );
        }
        table.settle();
    }
    let parts = |salt: u64| (0..texts.len()).map(move |row| (salt, row));
    for (salt, row) in parts(0).chain(parts(7)) {
        assert_eq!(keys.partition(row, salt, 5).is_none(), texts[row].is_none());
    }
}

#[test]
fn strings_of_any_length_with_zero_bytes_are_told_apart() {
    let mut values: Vec<Option<String>> = vec![None, Some(String::new())];
    for length in [1, 2, 14, 15, 16, 17, 24, 31, 32, 33, 38, 39, 40, 41, 300] {
        for fill in ["\0", "a", "\u{7f}"] {
            values.push(Some(fill.repeat(length)));
            values.push(Some(format!("{}\0", fill.repeat(length - 1))));
        }
    }
    values.extend((0..5_000).map(|n| Some(format!("driver-{}", n % 700))));
    values.push(None);
    let column: ArrayRef = Arc::new(values.iter().map(Option::as_deref).collect::<StringArray>());
    check(&[ValueType::String], &[column], &values);
}

#[test]
fn negative_and_extreme_numbers_are_told_apart() {
    let mut values: Vec<Option<i64>> =
        vec![None, Some(i64::MIN), Some(i64::MAX), Some(0), Some(-1)];
    values.extend((-3_000..3_000).map(|n| Some(n * 1_000_003)));
    values.extend((-3_000..3_000).map(|n| Some(n << 40)));
    let texts: Vec<Option<String>> = values.iter().map(|v| v.map(|v| v.to_string())).collect();
    let column: ArrayRef = Arc::new(Int64Array::from(values.clone()));
    check(&[ValueType::Int64], &[column], &texts);

    let narrow: Int32Array = values.iter().map(|v| v.map(|v| v as i32)).collect();
    let texts: Vec<Option<String>> = narrow.iter().map(|v| v.map(|v| v.to_string())).collect();
    check(&[ValueType::Int32], &[Arc::new(narrow.clone())], &texts);
    // A narrower column than declared is the same key.
    check(&[ValueType::Int64], &[Arc::new(narrow)], &texts);
}

#[test]
fn numbers_that_were_counted_up_are_found_beside_far_ones() {
    for first in [0, -500, i64::MIN, i64::MAX - 2_000, 1 << 40] {
        let near = (0..2_000).filter(|n| n % 3 > 0);
        let mut values: Vec<Option<i64>> = near.map(|n| Some(first + n)).collect();
        values.extend([None, Some(first ^ (1 << 50)), Some(first ^ i64::MIN)]);
        let texts: Vec<Option<String>> = values.iter().map(|v| v.map(|v| v.to_string())).collect();
        check(
            &[ValueType::Int64],
            &[Arc::new(Int64Array::from(values.clone()))],
            &texts,
        );

        let encoder = encoder(&[ValueType::Int64]);
        let encoded = |values: Vec<Option<i64>>| {
            let n_rows = values.len();
            let column: ArrayRef = Arc::new(Int64Array::from(values));
            encoder.encode(&["k0"], &[column], n_rows).unwrap()
        };
        let keys = encoded(values.clone());
        let mut table = encoder.table();
        for row in 0..values.len() {
            table.find_or_insert(&keys, row);
        }
        table.settle();
        let mut found = Vec::new();
        let others = [3, 999, 1_998, -1, 5_000].map(|n| Some(first.wrapping_add(n)));
        table.find_all(&encoded(others.to_vec()), &mut found);
        assert_eq!(found, [NO_KEY; 5], "from {first}");
    }
}

#[test]
fn columns_side_by_side_do_not_run_into_each_other() {
    let words = [
        "",
        "a",
        "ab",
        "b",
        "ba",
        "\0",
        "a\0",
        "\0a",
        "a longer word than fifteen bytes",
    ];
    let flags = [None, Some(false), Some(true)];
    let numbers = [None, Some(-1), Some(0), Some(1), Some(256), Some(i64::MIN)];
    let (mut text, mut other, mut flag, mut number) = (vec![], vec![], vec![], vec![]);
    for a in words {
        for b in words {
            for f in flags {
                for n in numbers {
                    text.push((!a.starts_with("ba")).then_some(a));
                    other.push(Some(b));
                    flag.push(f);
                    number.push(n);
                }
            }
        }
    }
    let spelled = |parts: Vec<Option<String>>| -> Option<String> {
        let parts: Option<Vec<String>> = parts.into_iter().collect();
        parts.map(|parts| format!("{parts:?}"))
    };
    let rows = 0..text.len();
    let text_of = |row: usize| text[row].map(str::to_owned);
    let other_of = |row: usize| other[row].map(str::to_owned);
    let flag_of = |row: usize| flag[row].map(|flag| flag.to_string());
    let number_of = |row: usize| number[row].map(|number: i64| number.to_string());
    let texts: ArrayRef = Arc::new(StringArray::from(text.clone()));
    let others: ArrayRef = Arc::new(StringArray::from(other.clone()));
    let flags: ArrayRef = Arc::new(BooleanArray::from(flag.clone()));
    let numbers: ArrayRef = Arc::new(Int64Array::from(number.clone()));

    let expected: Vec<_> = rows
        .clone()
        .map(|row| spelled(vec![text_of(row), other_of(row)]))
        .collect();
    check(
        &[ValueType::String, ValueType::String],
        &[texts.clone(), others],
        &expected,
    );
    let expected: Vec<_> = rows
        .clone()
        .map(|row| spelled(vec![text_of(row), number_of(row)]))
        .collect();
    check(
        &[ValueType::String, ValueType::Int64],
        &[texts, numbers.clone()],
        &expected,
    );
    let expected: Vec<_> = rows
        .clone()
        .map(|row| spelled(vec![number_of(row), flag_of(row)]))
        .collect();
    check(
        &[ValueType::Int64, ValueType::Bool],
        &[numbers.clone(), flags.clone()],
        &expected,
    );
    let expected: Vec<_> = rows
        .map(|row| spelled(vec![number_of(row), number_of(row), flag_of(row)]))
        .collect();
    let types = [ValueType::Int64, ValueType::Int64, ValueType::Bool];
    check(&types, &[numbers.clone(), numbers, flags], &expected);
}

#[test]
fn no_columns_are_one_key() {
    check(&[], &[], &[Some(String::new()), Some(String::new())]);
}

#[test]
fn keys_close_to_each_other_are_numbered_by_their_distance() {
    let encoder = encoder(&[ValueType::Int64]);
    let encoded = |values: &[i64]| {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        encoder.encode(&["k0"], &[column], values.len()).unwrap()
    };
    let n_close = |values: &[i64]| match encoder.table_of(&[encoded(values)]) {
        KeyTable::Words { close, .. } => close.n_keys,
        _ => unreachable!(),
    };
    let close: Vec<i64> = (0..20_000).map(|n| 500 + n * 7_919 % 1_500).collect();
    assert_eq!(n_close(&close), 1_500);
    // Every other one, and some of them far away or at either end.
    let with = |others: &[i64]| -> Vec<i64> {
        let even = close.iter().map(|key| key & !1);
        even.chain(others.iter().copied()).collect()
    };
    for far in [i64::MIN, -1, 1 << 40, i64::MAX] {
        assert_eq!(n_close(&with(&[far, far])), 1_499, "{far}");
    }
    // Neither in one place nor dense, and too few rows for their numbers.
    let scattered: Vec<i64> = (0..20_000).map(|n: i64| n.wrapping_mul(1 << 45)).collect();
    let thin: Vec<i64> = (0..20_000).map(|n| n * 7_919 % 15_000 * 3).collect();
    for values in [&scattered[..], &thin[..], &[], &[0, -1], &[7, 1 << 40]] {
        assert_eq!(n_close(values), 0);
    }
    assert_eq!(n_close(&[i64::MIN]), 1);

    let values = with(&[i64::MIN, 1 << 40]);
    let mut table = encoder.table_of(&[encoded(&values)]);
    let mut numbers = vec![0; values.len()];
    table.number_all(&encoded(&values), |_| true, &mut numbers);
    table.settle();
    assert_eq!(table.len(), 1_501);
    let mut found = Vec::new();
    let others = [499, 501, 1_999, 0];
    let some = [&[500, 1_998, i64::MIN, 1 << 40][..], &others].concat();
    table.find_all(&encoded(&some), &mut found);
    assert_eq!(found[..4], [0, 1_498, 1_499, 1_500]);
    assert_eq!(found[4..], [NO_KEY; 4]);
}
