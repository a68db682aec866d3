//! Keys: unique, in order, and the same wherever they come from.

use std::cmp::Ordering;

use arrow_array::ArrayRef;
use provender_conformance::generate::build;
use provender_conformance::oracle::{self, Value};
use provender_core::ValueType;
use provender_core::model::JoinKey;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::generate::{Case, key_type, maybe};
use crate::KeyFormat;

fn keys(types: &[ValueType]) -> Vec<JoinKey> {
    let keys = types.iter().enumerate();
    keys.map(|(index, value_type)| JoinKey {
        name: format!("k{index}"),
        value_type: value_type.clone(),
    })
    .collect()
}

/// The bytes of each row's key; `None` where a key is null.
fn key_bytes(types: &[ValueType], rows: &[Vec<Value>]) -> Vec<Option<Vec<u8>>> {
    let columns: Vec<ArrayRef> = types
        .iter()
        .enumerate()
        .map(|(at, value_type)| {
            let values: Vec<Value> = rows.iter().map(|row| row[at].clone()).collect();
            build(&value_type.to_arrow(), &values).unwrap()
        })
        .collect();
    let format = KeyFormat::new(&keys(types)).unwrap();
    let bound = format.bind(&columns, rows.len()).unwrap();
    (0..bound.n_rows())
        .map(|row| {
            let mut out = b"p".to_vec();
            match bound.append(row, &mut out) {
                true => Some(out.split_off(1)),
                false => {
                    assert_eq!(out, b"p");
                    None
                }
            }
        })
        .collect()
}

#[test]
fn keys_compare_as_their_values_do() {
    for seed in 0..1_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let types: Vec<ValueType> = (0..rng.random_range(1..4))
            .map(|_| key_type(&mut rng))
            .collect();
        let rows: Vec<Vec<Value>> = (0..16)
            .map(|_| {
                types
                    .iter()
                    .map(|value_type| maybe(&mut rng, value_type, 0.05))
                    .collect()
            })
            .collect();
        let bytes = key_bytes(&types, &rows);
        for (a, a_bytes) in rows.iter().zip(&bytes) {
            assert_eq!(a_bytes.is_none(), a.iter().any(Value::is_null));
            for (b, b_bytes) in rows.iter().zip(&bytes) {
                let (Some(a_bytes), Some(b_bytes)) = (a_bytes, b_bytes) else {
                    continue;
                };
                let pairs = a.iter().zip(b);
                let expected = pairs
                    .map(|(a, b)| oracle::order(a, b))
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal);
                assert_eq!(a_bytes.cmp(b_bytes), expected, "{types:?}: {a:?} to {b:?}");
            }
        }
    }
}

#[test]
fn encoders_and_bound_keys_agree() {
    for seed in 0..200 {
        let case = Case::random(&mut StdRng::seed_from_u64(seed));
        let encoder = case.format.encoder(&case.batch).unwrap();
        let format = KeyFormat::new(&case.layout.join_keys).unwrap();
        let columns = &case.batch.columns()[..case.layout.join_keys.len()];
        let bound = format.bind(columns, case.batch.num_rows()).unwrap();
        for row in 0..encoder.n_rows() {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            encoder.append_key(row, &mut a);
            assert!(bound.append(row, &mut b));
            assert_eq!(a, b);
        }
    }
}

#[test]
fn global_views_have_one_empty_key() {
    let format = KeyFormat::new(&[]).unwrap();
    let bound = format.bind(&[], 2).unwrap();
    assert_eq!(bound.n_rows(), 2);
    let mut out = Vec::new();
    assert!(bound.append(1, &mut out));
    assert!(!bound.append(2, &mut out));
    assert!(out.is_empty());
}

#[test]
fn other_columns_are_refused_by_name() {
    let format = KeyFormat::new(&keys(&[ValueType::String, ValueType::Int64])).unwrap();
    let text = build(&ValueType::String.to_arrow(), &[Value::Null]).unwrap();
    let said = |columns: &[ArrayRef]| match format.bind(columns, 1) {
        Ok(_) => panic!("bound"),
        Err(error) => {
            assert_eq!(error.code(), "P406");
            error.message().to_owned()
        }
    };
    assert_eq!(
        said(&[text.clone(), text.clone()]),
        "join key \"k1\" is declared int64, but its column is Utf8"
    );
    assert_eq!(
        said(std::slice::from_ref(&text)),
        "expected 2 join key columns, found 1"
    );
    let two = build(&ValueType::Int64.to_arrow(), &[Value::Null, Value::Null]).unwrap();
    assert_eq!(
        said(&[text, two]),
        "join key \"k1\" has 2 rows instead of 1"
    );
    let error = KeyFormat::new(&keys(&[ValueType::Float64])).unwrap_err();
    assert_eq!(error.code(), "P109");
    assert_eq!(error.message(), "join key \"k0\" cannot have type float64");
}
