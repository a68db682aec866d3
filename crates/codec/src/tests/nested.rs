//! Arrays that the generator does not make: nulls above values that are not, and shared children.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Float32Array, Int64Array, ListArray, StringArray,
    StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field};
use provender_conformance::oracle::Value;
use provender_core::ValueType;

use super::generate::{layout_of, pack, rows_of};
use crate::RowFormat;
use crate::encode::{Column, Values};

/// Packs and reads one column of the type; both must hold the same values.
fn assert_round_trip(value_type: &str, column: ArrayRef) -> Vec<Vec<u8>> {
    let layout = layout_of(&[("f", value_type)]);
    let format = RowFormat::new(&layout).unwrap();
    let nulls = vec![Value::Null; column.len()];
    let batch = rows_of(&layout, &[nulls]);
    let mut columns = batch.columns().to_vec();
    columns[4] = column.clone();
    let batch = arrow_array::RecordBatch::try_new(batch.schema(), columns).unwrap();
    let packed = pack(&format, &batch);
    let rows: Vec<_> = packed.iter().map(|row| Some(row.as_slice())).collect();
    let answer = format.decoder(&[0]).unwrap().decode(&rows).unwrap();
    assert_eq!(answer.unreadable, []);
    for row in 0..column.len() {
        let expected = Value::read(column.as_ref(), row).unwrap();
        let found = Value::read(answer.features[0].as_ref(), row).unwrap();
        assert!(found.is_identical(&expected), "{found:?}, not {expected:?}");
    }
    packed
}

#[test]
fn what_stands_under_a_null_is_not_packed() {
    let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let secret = StringArray::from(vec!["secret"; 3]);
    let numbers = Int64Array::from(vec![0x0123_4567_89AB_CDEF; 3]);
    let structs = StructArray::new(
        vec![field("a", DataType::Utf8), field("b", DataType::Int64)].into(),
        vec![Arc::new(secret), Arc::new(numbers)],
        Some(NullBuffer::from(vec![true, false, true])),
    );
    let lists = ListArray::new(
        field("item", structs.data_type().clone()),
        OffsetBuffer::from_lengths([0, 2, 1]),
        Arc::new(structs),
        Some(NullBuffer::from(vec![true, true, false])),
    );
    let packed = assert_round_trip("list<struct<a: string, b: int64>>", Arc::new(lists));
    let n_secrets = |row: &[u8]| row.windows(6).filter(|bytes| *bytes == b"secret").count();
    assert_eq!(n_secrets(&packed[1]), 1);
    assert_eq!(n_secrets(&packed[2]), 0);
    assert!(packed[2].len() < packed[1].len());
}

#[test]
fn sliced_lists_and_embeddings_are_read_at_their_offsets() {
    let items = Int64Array::from(
        (0..20)
            .map(|n| (n % 5 > 0).then_some(n))
            .collect::<Vec<_>>(),
    );
    let lists = ListArray::new(
        Arc::new(Field::new("item", DataType::Int64, true)),
        OffsetBuffer::from_lengths([3, 0, 7, 5]),
        Arc::new(items.slice(2, 15)),
        Some(NullBuffer::from(vec![true, true, false, true])),
    );
    assert_round_trip("list<int64>", Arc::new(lists.slice(1, 3)));

    let numbers = Float32Array::from(
        (0..12)
            .map(|n| (n != 7).then_some(n as f32))
            .collect::<Vec<_>>(),
    );
    let embeddings = FixedSizeListArray::new(
        Arc::new(Field::new("item", DataType::Float32, true)),
        3,
        Arc::new(numbers),
        Some(NullBuffer::from(vec![true, true, true, false])),
    );
    assert_round_trip("embedding<3>", Arc::new(embeddings.slice(1, 3)));
}

#[test]
fn null_keys_of_maps_are_refused() {
    // Safe code cannot make such an array, but one may come from elsewhere.
    let keys = StringArray::from(vec![Some("a"), None]);
    let values = Int64Array::from(vec![1, 2]);
    let bind = |array, value_type: ValueType| Box::new(Column::bind(array, &value_type).unwrap());
    let map = Column {
        nulls: None,
        values: Values::Map {
            offsets: &[0, 1, 2],
            keys: bind(&keys, ValueType::String),
            values: bind(&values, ValueType::Int64),
        },
        null_width: 4,
    };
    let mut out = Vec::new();
    assert!(map.append_heap(0, &mut out).is_ok());
    assert!(map.append_heap(1, &mut out).is_err());
}

#[test]
fn embeddings_without_nulls_take_four_bytes_a_number() {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let numbers = Float32Array::from(vec![Some(1.0), Some(-0.0), None, Some(f32::NAN)]);
    let embeddings = FixedSizeListArray::new(item, 2, Arc::new(numbers), None);
    let packed = assert_round_trip("embedding<2>", Arc::new(embeddings));
    let header = 18 + 1 + 4;
    assert_eq!(packed[0].len(), header + 8);
    assert_eq!(packed[1].len(), header + 1 + 1 + 8);
}
