//! Newer-wins: rows compare as the kit's rule compares their values.

use std::cmp::Ordering;

use provender_conformance::generate::build;
use provender_conformance::oracle::{self, Value};
use provender_core::{ErrorKind, ValueType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::generate::{Case, layout_of, maybe, pack, rows_of, value_type};
use crate::encode::Column;
use crate::tie::TieColumn;
use crate::{RowFormat, RowOrder, is_tombstone, order};

/// The bytes of tie breakers of the types, one row each.
fn tie_bytes(types: &[ValueType], rows: &[Vec<Value>]) -> Vec<Vec<u8>> {
    let mut bytes = vec![Vec::new(); rows.len()];
    for (at, value_type) in types.iter().enumerate() {
        let values: Vec<Value> = rows.iter().map(|row| row[at].clone()).collect();
        let column = build(&value_type.to_arrow(), &values).unwrap();
        let bound = Column::bind(column.as_ref(), value_type).unwrap();
        let ties = TieColumn::new(value_type, bound);
        for (row, bytes) in bytes.iter_mut().enumerate() {
            ties.append(row, bytes);
        }
    }
    bytes
}

#[test]
fn tie_breakers_compare_as_their_values_do() {
    for seed in 0..1_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let types: Vec<ValueType> = (0..rng.random_range(1..4))
            .map(|_| value_type(&mut rng, 2))
            .collect();
        let rows: Vec<Vec<Value>> = (0..12)
            .map(|_| {
                types
                    .iter()
                    .map(|value_type| maybe(&mut rng, value_type, 0.15))
                    .collect()
            })
            .collect();
        let bytes = tie_bytes(&types, &rows);
        for (a, a_bytes) in rows.iter().zip(&bytes) {
            for (b, b_bytes) in rows.iter().zip(&bytes) {
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
fn widened_columns_keep_the_order_of_rows_held() {
    let narrow = tie_bytes(&[ValueType::Int8], &[vec![Value::Int(-7)]]);
    let wide = tie_bytes(
        &[ValueType::Int64],
        &[
            vec![Value::Int(-8)],
            vec![Value::Int(-7)],
            vec![Value::Int(300)],
        ],
    );
    assert!(wide[0] < narrow[0]);
    assert_eq!(wide[1], narrow[0]);
    assert!(wide[2] > narrow[0]);
    let unsigned = tie_bytes(&[ValueType::UInt64], &[vec![Value::Int(u64::MAX.into())]]);
    assert!(unsigned[0] > wide[2]);
    let single = tie_bytes(&[ValueType::Float32], &[vec![Value::Float32(0.1)]]);
    let double = tie_bytes(
        &[ValueType::Float64],
        &[
            vec![Value::Float64(0.1)],
            vec![Value::Float64(0.1_f32.into())],
        ],
    );
    assert!(double[0] < single[0]);
    assert_eq!(double[1], single[0]);
}

#[test]
fn headers_hold_the_order_of_rows() {
    for seed in 0..300 {
        let case = Case::random(&mut StdRng::seed_from_u64(seed));
        for (row, packed) in case.packed().iter().enumerate() {
            let order = order(packed).unwrap();
            assert_eq!(order.event_us, case.event_us(row));
            assert_eq!(order.created_us, case.created_us(row));
            assert_eq!(order.ties.is_empty(), case.layout.tie_breakers.is_empty());
            assert_eq!(is_tombstone(packed), case.is_tombstone(row));
        }
    }
}

#[test]
fn newer_is_by_event_then_created_then_ties() {
    let at = |event_us, created_us, ties| RowOrder {
        event_us,
        created_us,
        ties,
    };
    let ascending = [
        at(i64::MIN, Some(i64::MAX), b"\xFF"),
        at(-1, None, b""),
        at(-1, None, b"\x00"),
        at(-1, Some(i64::MIN), b""),
        at(-1, Some(-1), b"a"),
        at(-1, Some(-1), b"b"),
        at(-1, Some(0), b"a"),
        at(0, None, b""),
    ];
    for pair in ascending.windows(2) {
        assert!(pair[0] < pair[1], "{pair:?}");
    }
}

#[test]
fn tie_breakers_beyond_65535_bytes_are_refused() {
    let mut layout = layout_of(&[("a", "int8")]);
    layout.tie_breakers = vec![ValueType::Int8, ValueType::String];
    let format = RowFormat::new(&layout).unwrap();
    let one = |len: usize| {
        let plain = rows_of(&layout_of(&[("a", "int8")]), &[vec![Value::Int(1)]]);
        let mut columns = plain.columns().to_vec();
        let text = Value::String("x".repeat(len));
        columns.insert(4, build(&ValueType::String.to_arrow(), &[text]).unwrap());
        columns.insert(
            4,
            build(&ValueType::Int8.to_arrow(), &[Value::Int(1)]).unwrap(),
        );
        arrow_array::RecordBatch::try_new(layout.write_schema().into(), columns).unwrap()
    };
    // 10 bytes of the number, a tag and a terminator of 2 bytes.
    let fits = one(65_535 - 13);
    let packed = pack(&format, &fits);
    assert_eq!(order(&packed[0]).unwrap().ties.len(), 65_535);

    let batch = one(65_535 - 12);
    let mut out = b"kept".to_vec();
    let error = format
        .encoder(&batch)
        .unwrap()
        .append(0, &mut out)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(
        error.message(),
        "row 0 for view \"v\" has tie breakers of more than 65535 bytes: number 1 goes beyond"
    );
    assert_eq!(out, b"kept");
}
