use std::sync::Arc;

use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::types::Float32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array,
    DictionaryArray, FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, LargeStringArray, ListArray, NullArray, PrimitiveArray, StringArray,
    StringViewArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt8Array, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, Field};
use datafusion::arrow::datatypes::{Float16Type, Int32Type};
use provender_core::request::SourceRef;
use provender_core::time::instant_type;

use crate::support::*;

/// Columns, and what they come back as where that differs.
fn round_trips() -> Vec<(&'static str, ArrayRef, Option<ArrayRef>)> {
    let struct_of = |value: ArrayRef| {
        StructArray::from(vec![(
            Arc::new(Field::new("x", value.data_type().clone(), true)),
            value,
        )])
    };
    let strings = vec![Some("a"), None, Some("é 𝄞\u{0}")];
    let us = |values: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
    };
    // The years 1700 and 2200, and a microsecond before the epoch.
    let instants = vec![
        Some(-8_520_336_000_000_000),
        None,
        Some(7_258_118_400_000_001),
    ];
    let embedding = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        vec![
            Some(vec![Some(1.0), Some(2.0)]),
            None,
            Some(vec![None, Some(f32::NAN)]),
        ],
        2,
    );
    let floats = ListArray::from_iter_primitive::<Float32Type, _, _>(vec![
        Some(vec![Some(1.0), Some(2.0)]),
        None,
        Some(vec![None, Some(f32::NAN)]),
    ]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(1);
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    vec![
        (
            "bool",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            None,
        ),
        (
            "int8",
            Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)])),
            None,
        ),
        (
            "int16",
            Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)])),
            None,
        ),
        (
            "int32",
            Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])),
            None,
        ),
        (
            "int64",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
            None,
        ),
        (
            "uint8",
            Arc::new(UInt8Array::from(vec![Some(0), None, Some(255)])),
            Some(Arc::new(Int64Array::from(vec![Some(0), None, Some(255)]))),
        ),
        (
            "uint32",
            Arc::new(UInt32Array::from(vec![Some(0), None, Some(u32::MAX)])),
            Some(Arc::new(Int64Array::from(vec![
                Some(0),
                None,
                Some(i64::from(u32::MAX)),
            ]))),
        ),
        (
            "uint64",
            Arc::new(UInt64Array::from(vec![
                Some(0),
                None,
                Some(i64::MAX as u64),
            ])),
            Some(Arc::new(Int64Array::from(vec![
                Some(0),
                None,
                Some(i64::MAX),
            ]))),
        ),
        (
            "float16",
            Arc::new(PrimitiveArray::<Float16Type>::from_iter([
                arrow_cast::cast(&Float32Array::from(vec![1.5]), &DataType::Float16)
                    .map(|a| {
                        a.as_any()
                            .downcast_ref::<PrimitiveArray<Float16Type>>()
                            .unwrap()
                            .value(0)
                    })
                    .ok(),
                None,
                None,
            ])),
            Some(Arc::new(Float32Array::from(vec![Some(1.5), None, None]))),
        ),
        (
            "float32",
            Arc::new(Float32Array::from(vec![Some(f32::NAN), None, Some(-0.0)])),
            None,
        ),
        (
            "float64",
            Arc::new(Float64Array::from(vec![
                Some(f64::INFINITY),
                None,
                Some(f64::NAN),
            ])),
            None,
        ),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from(vec![Some(-12_345), None, Some(10_i128.pow(37))])
                    .with_precision_and_scale(38, 2)
                    .unwrap(),
            ),
            None,
        ),
        ("string", Arc::new(StringArray::from(strings.clone())), None),
        (
            "large_string",
            Arc::new(LargeStringArray::from(strings.clone())),
            Some(Arc::new(StringArray::from(strings.clone()))),
        ),
        (
            "string_view",
            Arc::new(StringViewArray::from(strings.clone())),
            Some(Arc::new(StringArray::from(strings.clone()))),
        ),
        (
            "dictionary",
            Arc::new(
                strings
                    .iter()
                    .copied()
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
            Some(Arc::new(StringArray::from(strings.clone()))),
        ),
        (
            "binary",
            Arc::new(BinaryArray::from(vec![
                Some(&b"\xff\x00"[..]),
                None,
                Some(b""),
            ])),
            None,
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![Some(-98_615), None, Some(84_006)])),
            None,
        ),
        ("timestamp", us(instants.clone()), None),
        (
            "timestamp_without_zone",
            Arc::new(TimestampMicrosecondArray::from(instants.clone())),
            Some(us(instants.clone())),
        ),
        (
            "timestamp_elsewhere",
            Arc::new(TimestampMicrosecondArray::from(instants.clone()).with_timezone("+02:00")),
            Some(us(instants)),
        ),
        (
            "nanoseconds",
            Arc::new(TimestampNanosecondArray::from(vec![
                Some(-1),
                None,
                Some(1_999),
            ])),
            Some(us(vec![Some(-1), None, Some(1)])),
        ),
        (
            "milliseconds",
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(-1),
                None,
                Some(7),
            ])),
            Some(us(vec![Some(-1_000), None, Some(7_000)])),
        ),
        ("embedding", Arc::new(embedding), Some(Arc::new(floats))),
        (
            "struct",
            Arc::new(struct_of(Arc::new(TimestampNanosecondArray::from(vec![
                Some(-1),
                None,
                Some(2_000),
            ])))),
            Some(Arc::new(struct_of(us(vec![Some(-1), None, Some(2)])))),
        ),
        ("map", Arc::new(map.finish()), None),
    ]
}

#[tokio::test]
async fn every_type_comes_back_with_equal_values() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let columns = round_trips();
    let rows = batch(
        columns
            .iter()
            .map(|(name, column, _)| (*name, column.clone()))
            .collect(),
    );
    let summary = append(&*store, "types", rows.clone()).await.unwrap();
    assert_eq!((summary.n_rows, summary.n_applied), (3, 3));
    // Twice: an append casts to the columns that the first write made.
    append(&*store, "types", rows).await.unwrap();
    let read = read(&*store, all(SourceRef::table("types"))).await.unwrap();
    assert_eq!(read.iter().map(|b| b.num_rows()).sum::<usize>(), 6);
    for batch in &read {
        for start in (0..batch.num_rows()).step_by(3) {
            for (name, written, expected) in &columns {
                let found = batch.column_by_name(name).unwrap().slice(start, 3);
                let expected = expected.as_ref().unwrap_or(written);
                let expected = if found.data_type() == expected.data_type() {
                    expected.clone()
                } else {
                    // Nested fields are named by Delta.
                    arrow_cast::cast(expected, found.data_type()).unwrap()
                };
                assert_eq!(&found.to_data(), &expected.to_data(), "{name}");
            }
        }
    }
    let schema = store
        .schema(&cx(), &SourceRef::table("types"))
        .await
        .unwrap();
    assert_eq!(
        schema.field_with_name("nanoseconds").unwrap().data_type(),
        &instant_type()
    );
    assert_eq!(
        schema.field_with_name("dictionary").unwrap().data_type(),
        &DataType::Utf8
    );
}

#[tokio::test]
async fn types_that_delta_lacks_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let rows = batch(vec![
        ("ok", Arc::new(Int64Array::from(vec![1]))),
        ("midnight", Arc::new(Date64Array::from(vec![1]))),
        ("clock", Arc::new(Time64MicrosecondArray::from(vec![1]))),
        ("nothing", Arc::new(NullArray::new(1))),
    ]);
    let error = append(&*store, "t", rows).await.unwrap_err();
    assert_eq!(error.code(), "P507");
    let text = error.to_string();
    for name in [
        "\"midnight\" is Date64",
        "\"clock\" is Time64",
        "\"nothing\" is Null",
        "cast the column",
    ] {
        assert!(text.contains(name), "{text}");
    }
    let rows = batch(vec![("n", Arc::new(UInt64Array::from(vec![u64::MAX])))]);
    let error = append(&*store, "t", rows).await.unwrap_err();
    assert_eq!(error.code(), "P501");
    assert!(
        error.message().contains("column \"n\" holds a value"),
        "{error}"
    );
    assert!(
        !folder.path().join("data").exists(),
        "nothing may be left behind"
    );
}

#[tokio::test]
async fn text_of_empty_partitions_is_refused_and_others_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let rows = |text: Vec<Option<&str>>| {
        let n = text.len() as i64;
        batch(vec![
            ("p", Arc::new(StringArray::from(text))),
            (
                "d",
                Arc::new(Date32Array::from_iter_values((0..n).map(|d| d as i32))),
            ),
            ("n", Arc::new(Int64Array::from_iter_values(0..n))),
        ])
    };
    let mut write = request("parts", provender_core::request::WriteMode::Append);
    write.partition_by = vec!["P".to_owned(), "d".to_owned()];
    let good = rows(vec![Some("a=b/c d%"), None, Some("é")]);
    store
        .write(&cx(), write.clone(), stream(vec![good]))
        .await
        .unwrap();
    assert_eq!(
        lines(&*store, all(SourceRef::table("parts"))).await,
        [",1970-01-02,1", "a=b/c d%,1970-01-01,0", "é,1970-01-03,2"]
    );
    let error = store
        .write(&cx(), write, stream(vec![rows(vec![Some("")])]))
        .await
        .unwrap_err();
    assert!(error.message().contains("empty text"), "{error}");
    assert_eq!(n_rows(&*store, SourceRef::table("parts")).await, 3);
}
