//! The decoder on hand-made columns of every form that Snowflake sends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, Decimal128Array, FixedSizeListArray, Float32Array, Int8Array, Int16Array,
    Int32Array, Int64Array, StringArray, StructArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};
use provender_core::time::instant_type;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::decode::decode_column;

fn sent(column: &ArrayRef, metadata: &[(&str, String)]) -> Field {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    Field::new("c", column.data_type().clone(), true).with_metadata(metadata)
}

/// A number that uses so many bits, or none.
fn number(rng: &mut StdRng, bits: u32) -> Option<i64> {
    let value: i64 = rng.random::<i64>() >> (64 - bits);
    let edges = [-1 << (bits - 1), !(-1 << (bits - 1)), 0, -1];
    match rng.random_range(0..8) {
        0 => None,
        1 | 2 => Some(edges[rng.random_range(0..4)]),
        _ => Some(value),
    }
}

#[test]
fn numbers_are_the_same_in_every_width_and_as_decimals() {
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..2_000 {
        let bits = [8, 16, 32, 64][rng.random_range(0..4)];
        let n_rows = rng.random_range(0..20);
        let values: Vec<Option<i64>> = (0..n_rows).map(|_| number(&mut rng, bits)).collect();
        let scale = rng.random_range(0..=18_i8);
        let to = DataType::Decimal128(38, scale);
        let mut forms: Vec<(ArrayRef, Field)> = Vec::new();
        let narrow: ArrayRef = match bits {
            8 => Arc::new(
                values
                    .iter()
                    .map(|v| v.map(|v| v as i8))
                    .collect::<Int8Array>(),
            ),
            16 => Arc::new(
                values
                    .iter()
                    .map(|v| v.map(|v| v as i16))
                    .collect::<Int16Array>(),
            ),
            32 => Arc::new(
                values
                    .iter()
                    .map(|v| v.map(|v| v as i32))
                    .collect::<Int32Array>(),
            ),
            _ => Arc::new(values.iter().copied().collect::<Int64Array>()),
        };
        let field = sent(&narrow, &[("scale", scale.to_string())]);
        forms.push((narrow, field));
        let wide: ArrayRef = Arc::new(
            values
                .iter()
                .map(|v| v.map(i128::from))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(38, scale)
                .unwrap(),
        );
        let field = sent(&wide, &[]);
        forms.push((wide, field));
        for (column, field) in forms {
            let decoded = decode_column(&column, &field, &to).unwrap();
            assert_eq!(*decoded.data_type(), to);
            let found: Vec<Option<i128>> =
                decoded.as_primitive::<Decimal128Type>().iter().collect();
            assert_eq!(
                found,
                values.iter().map(|v| v.map(i128::from)).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_chunk_may_have_another_scale_as_long_as_no_digit_is_lost() {
    let column: ArrayRef = Arc::new(Int16Array::from(vec![Some(1250), None]));
    let field = sent(&column, &[("scale", "3".to_owned())]);
    let decoded = decode_column(&column, &field, &DataType::Decimal128(10, 2)).unwrap();
    assert_eq!(decoded.as_primitive::<Decimal128Type>().value(0), 125);
    let decoded = decode_column(&column, &field, &DataType::Decimal128(10, 5)).unwrap();
    assert_eq!(decoded.as_primitive::<Decimal128Type>().value(0), 125_000);
    let why = decode_column(&column, &field, &DataType::Decimal128(10, 1)).unwrap_err();
    assert_eq!(why, "the value of row 0 does not fit NUMBER(10,1)");
    let field = sent(&column, &[("scale", "many".to_owned())]);
    let why = decode_column(&column, &field, &DataType::Decimal128(10, 1)).unwrap_err();
    assert_eq!(why, "its scale \"many\" is none");
}

fn structs(parts: Vec<(&str, ArrayRef)>, nulls: NullBuffer) -> ArrayRef {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = parts
        .into_iter()
        .map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array))
        .unzip();
    Arc::new(StructArray::new(fields.into(), arrays, Some(nulls)))
}

#[test]
fn times_are_the_same_as_integers_and_as_structs_with_and_without_zone() {
    let mut rng = StdRng::seed_from_u64(8);
    for _ in 0..2_000 {
        let n_rows = rng.random_range(1..20);
        let scale: u32 = rng.random_range(0..=9);
        // Scaled values, down to the year 1500 or so and up to 2500, in whatever digits there are.
        let reach = 16_000_000_000_i64.saturating_mul(10_i64.pow(scale.min(8)));
        let values: Vec<Option<i64>> = (0..n_rows)
            .map(|_| {
                rng.random_bool(0.9)
                    .then(|| rng.random_range(-reach..reach))
            })
            .collect();
        let expected: Vec<Option<i64>> = values
            .iter()
            .map(|value| {
                value.map(|value| match scale {
                    0..=6 => value * 10_i64.pow(6 - scale),
                    _ => value.div_euclid(10_i64.pow(scale - 6)),
                })
            })
            .collect();
        let nulls = NullBuffer::from(values.iter().map(Option::is_some).collect::<Vec<_>>());
        let unit = 10_i64.pow(scale);
        let epochs: Vec<i64> = values
            .iter()
            .map(|v| v.unwrap_or(5).div_euclid(unit))
            .collect();
        let fractions: Vec<i32> = values
            .iter()
            .map(|v| (v.unwrap_or(7).rem_euclid(unit) * 10_i64.pow(9 - scale)) as i32)
            .collect();
        let epochs: ArrayRef = Arc::new(Int64Array::from(epochs));
        let fractions: ArrayRef = Arc::new(Int32Array::from(fractions));
        let zones: ArrayRef = Arc::new(Int32Array::from(vec![rng.random_range(0..2880); n_rows]));
        let whole: ArrayRef = Arc::new(values.iter().copied().collect::<Int64Array>());
        let forms = [
            whole.clone(),
            structs(
                vec![("epoch", epochs.clone()), ("fraction", fractions.clone())],
                nulls.clone(),
            ),
            structs(
                vec![
                    ("epoch", epochs),
                    ("fraction", fractions),
                    ("timezone", zones.clone()),
                ],
                nulls.clone(),
            ),
            structs(vec![("epoch", whole), ("timezone", zones)], nulls),
        ];
        for column in forms {
            let field = sent(&column, &[("scale", scale.to_string())]);
            let decoded = decode_column(&column, &field, &instant_type()).unwrap();
            assert_eq!(*decoded.data_type(), instant_type());
            let found: Vec<Option<i64>> = decoded
                .as_primitive::<TimestampMicrosecondType>()
                .iter()
                .collect();
            assert_eq!(
                found,
                expected,
                "{} digits as {}",
                scale,
                column.data_type()
            );
        }
    }
    let far: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
    let why = decode_column(&far, &sent(&far, &[]), &instant_type()).unwrap_err();
    assert_eq!(why, "the time of row 0 is beyond the range of microseconds");
}

#[test]
fn times_of_day_are_texts_of_the_digits_they_need() {
    for (value, scale, expected) in [
        (0, 0, "00:00:00"),
        (86_399_999_999_999, 9, "23:59:59.999999999"),
        (36_672_500, 3, "10:11:12.5"),
    ] {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(value), None]));
        let metadata = [
            ("logicalType", "TIME".to_owned()),
            ("scale", scale.to_string()),
        ];
        let decoded = decode_column(&column, &sent(&column, &metadata), &DataType::Utf8).unwrap();
        assert_eq!(decoded.as_string::<i32>().value(0), expected);
        assert!(decoded.is_null(1));
    }
    let column: ArrayRef = Arc::new(Int32Array::from(vec![-1]));
    let metadata = [("logicalType", "TIME".to_owned())];
    assert!(decode_column(&column, &sent(&column, &metadata), &DataType::Utf8).is_err());
}

#[test]
fn vectors_keep_their_items_also_when_sliced() {
    let item = Arc::new(Field::new("element", DataType::Float32, true));
    let items: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let nulls = NullBuffer::from(vec![true, false, true]);
    let column: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, items, Some(nulls)));
    let to = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, true)), 2);
    let sliced = column.slice(1, 2);
    let decoded = decode_column(&sliced, &sent(&sliced, &[]), &to).unwrap();
    assert_eq!(*decoded.data_type(), to);
    assert!(decoded.is_null(0));
    let last = decoded.as_fixed_size_list().value(1);
    assert_eq!(
        last.as_primitive::<arrow_array::types::Float32Type>()
            .values(),
        &[5.0, 6.0]
    );
    let other = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, true)), 3);
    assert_eq!(
        decode_column(&column, &sent(&column, &[]), &other).unwrap_err(),
        "it has 2 items, not 3"
    );
}

#[test]
fn vectors_of_whole_numbers_stay_whole() {
    let item = Arc::new(Field::new("element", DataType::Int32, true));
    let items: ArrayRef = Arc::new(Int32Array::from(vec![1, -2, i32::MAX, i32::MIN]));
    let column: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, items, None));
    let to = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Int32, true)), 2);
    let decoded = decode_column(&column, &sent(&column, &[]), &to).unwrap();
    assert_eq!(*decoded.data_type(), to);
    let values = decoded.as_fixed_size_list().values().clone();
    let values = values.as_primitive::<arrow_array::types::Int32Type>();
    assert_eq!(values.values(), &[1, -2, i32::MAX, i32::MIN]);
}

#[test]
fn unknown_forms_are_named_and_nulls_fit_everything() {
    let column: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    for to in [
        DataType::Decimal128(38, 0),
        instant_type(),
        DataType::Float64,
        DataType::Boolean,
    ] {
        let why = decode_column(&column, &sent(&column, &[]), &to).unwrap_err();
        assert_eq!(why, "it is sent in the unknown form Utf8");
    }
    let nulls: ArrayRef = Arc::new(arrow_array::NullArray::new(3));
    let decoded = decode_column(&nulls, &sent(&nulls, &[]), &instant_type()).unwrap();
    assert_eq!((decoded.len(), decoded.null_count()), (3, 3));
}
