use provender_conformance::oracle::Value;
use provender_core::request::ViewRows;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::generate::{Case, layout_of, pack, rows_of};
use crate::RowFormat;

/// Asserts that row j of the answer is `rows[j]` of the case, `None` for no row.
fn assert_answers(case: &Case, rows: &[Option<usize>], features: &[usize], answer: &ViewRows) {
    assert_eq!(answer.unreadable, []);
    assert_eq!(answer.event_times.len(), rows.len());
    for (at, row) in rows.iter().enumerate() {
        let event_us = row.map(|row| case.event_us(row));
        let found = Value::read(&answer.event_times, at).unwrap();
        assert_eq!(found.instant_us().unwrap(), event_us);
    }
    assert_eq!(answer.features.len(), features.len());
    for (column, feature) in answer.features.iter().zip(features) {
        let (name, value_type) = &case.layout.features[*feature];
        assert_eq!(*column.data_type(), value_type.to_arrow());
        assert_eq!(column.len(), rows.len());
        for (at, row) in rows.iter().enumerate() {
            let expected = row.map_or(Value::Null, |row| case.value(row, *feature));
            let found = Value::read(column.as_ref(), at).unwrap();
            assert!(
                found.is_identical(&expected),
                "{name} {value_type}: {found:?}, not {expected:?}"
            );
        }
    }
}

#[test]
fn random_rows_come_back_bit_for_bit() {
    for seed in 0..1_200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let case = Case::random(&mut rng);
        let packed = case.packed();
        let n_features = case.layout.features.len();
        let all: Vec<usize> = (0..n_features).collect();
        // Any choice of rows, in any order, absent ones between them.
        let asked: Vec<Option<usize>> = (0..rng.random_range(0..20))
            .map(|_| {
                rng.random_bool(0.8)
                    .then(|| rng.random_range(0..packed.len()))
            })
            .collect();
        let held = asked
            .iter()
            .map(|row| row.filter(|row| !case.is_tombstone(*row)))
            .collect::<Vec<_>>();
        let bytes: Vec<Option<&[u8]>> = asked
            .iter()
            .map(|row| row.map(|row| packed[row].as_slice()))
            .collect();
        let answer = case.format.decoder(&all).unwrap().decode(&bytes).unwrap();
        assert_answers(&case, &held, &all, &answer);
        if n_features == 0 {
            continue;
        }
        let some: Vec<usize> = (0..rng.random_range(0..6))
            .map(|_| *all.choose(&mut rng).unwrap())
            .collect();
        let answer = case.format.decoder(&some).unwrap().decode(&bytes).unwrap();
        assert_answers(&case, &held, &some, &answer);
    }
}

#[test]
fn rows_are_the_same_wherever_they_are_appended() {
    for seed in 0..100 {
        let case = Case::random(&mut StdRng::seed_from_u64(seed));
        let encoder = case.format.encoder(&case.batch).unwrap();
        let packed = case.packed();
        let mut out = b"before".to_vec();
        for row in (0..encoder.n_rows()).rev() {
            let start = out.len();
            encoder.append(row, &mut out).unwrap();
            assert_eq!(out[start..], packed[row]);
            // Which rows surround it, and whether its batch is a slice, does not show either.
            let alone = case.batch.slice(row, 1);
            assert_eq!(pack(&case.format, &alone), [packed[row].clone()]);
        }
        assert!(out.starts_with(b"before"));
    }
}

#[test]
fn null_and_empty_values_are_told_apart() {
    let layout = layout_of(&[
        ("s", "string"),
        ("b", "binary"),
        ("l", "list<int8>"),
        ("m", "map<string, int8>"),
        ("t", "struct<a: string>"),
    ]);
    let format = RowFormat::new(&layout).unwrap();
    let fields = |value: Value| Value::Struct(vec![("a".to_owned(), value)]);
    let columns = [
        vec![Value::Null, Value::String(String::new())],
        vec![Value::Null, Value::Binary(Vec::new())],
        vec![Value::Null, Value::List(Vec::new())],
        vec![Value::Null, Value::Map(Vec::new())],
        vec![fields(Value::Null), fields(Value::String(String::new()))],
    ];
    let packed = pack(&format, &rows_of(&layout, &columns));
    let rows: Vec<_> = packed.iter().map(|row| Some(row.as_slice())).collect();
    let answer = format
        .decoder(&[0, 1, 2, 3, 4])
        .unwrap()
        .decode(&rows)
        .unwrap();
    assert_eq!(answer.unreadable, []);
    for (column, values) in answer.features.iter().zip(&columns) {
        for (row, value) in values.iter().enumerate() {
            let found = Value::read(column.as_ref(), row).unwrap();
            assert!(found.is_identical(value), "{found:?}, not {value:?}");
        }
    }
}

#[test]
fn columns_without_nulls_have_no_bitmap() {
    let layout = layout_of(&[("a", "float64"), ("s", "string"), ("l", "list<int64>")]);
    let format = RowFormat::new(&layout).unwrap();
    let columns = [
        vec![Value::Float64(1.0); 9],
        vec![Value::String("x".to_owned()); 9],
        vec![Value::List(vec![Value::Int(1)]); 9],
    ];
    let packed = pack(&format, &rows_of(&layout, &columns));
    let rows: Vec<_> = packed.iter().map(|row| Some(row.as_slice())).collect();
    let answer = format.decoder(&[0, 1, 2]).unwrap().decode(&rows).unwrap();
    for column in &answer.features {
        assert!(column.nulls().is_none());
    }
    assert!(arrow_array::Array::nulls(&answer.event_times).is_none());
}
