//! Writing and deleting, by the warehouse and straight into storage.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use provender_core::BatchStream;
use provender_core::model::SourceVersion;
use provender_core::request::{OfflineWrite, Scan, SourceRef, WriteMode};
use serde_json::json;

use crate::support::*;

fn every_type() -> RecordBatch {
    let instants = vec![Some(i64::from(i32::MAX) * 1_000_000 + 1), Some(-1), None];
    batch(vec![
        (
            "b",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])) as ArrayRef,
        ),
        (
            "i8",
            Arc::new(Int8Array::from(vec![Some(-128), Some(127), None])),
        ),
        (
            "i64",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None])),
        ),
        (
            "f32",
            Arc::new(Float32Array::from(vec![Some(0.1), Some(f32::NAN), None])),
        ),
        (
            "f64",
            Arc::new(Float64Array::from(vec![
                Some(5e-324),
                Some(f64::NEG_INFINITY),
                Some(-0.0),
            ])),
        ),
        (
            "d",
            Arc::new(
                Decimal128Array::from(vec![Some(-5), Some(10_i128.pow(38) - 1), None])
                    .with_precision_and_scale(38, 2)
                    .unwrap(),
            ),
        ),
        (
            "s",
            Arc::new(StringArray::from(vec![
                Some("it's \"a\" \\ \u{1}\n\u{7f}é😀 :rows"),
                Some(""),
                None,
            ])),
        ),
        (
            "bin",
            Arc::new(BinaryArray::from_opt_vec(vec![
                Some(b"\0\xff"),
                Some(b""),
                None,
            ])),
        ),
        (
            "day",
            Arc::new(Date32Array::from(vec![Some(-1), Some(19_000), None])),
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(instants).with_timezone("UTC")),
        ),
    ])
}

async fn in_written_order(
    store: &dyn provender_core::provider::OfflineStore,
    table: &str,
) -> RecordBatch {
    let rows = read(store, all(SourceRef::table(table))).await.unwrap();
    let order = rows.column_by_name("i64").unwrap();
    let options = arrow_schema::SortOptions {
        descending: false,
        nulls_first: false,
    };
    let order = datafusion::arrow::compute::sort_to_indices(order, Some(options), None).unwrap();
    datafusion::arrow::compute::take_record_batch(&rows, &order).unwrap()
}

pub async fn values(workspace: &Workspace) {
    let rows = every_type();
    for execution in ["warehouse", "direct"] {
        let store = workspace
            .with(json!({"execution": execution, "insert_bytes": 100}))
            .open()
            .await;
        let table = format!("every_{execution}");
        write(&*store, request(&table, WriteMode::Overwrite), rows.clone())
            .await
            .unwrap();
        // Whoever wrote them, both read the same.
        for reading in ["warehouse", "direct"] {
            let store = workspace.open_as(reading).await;
            let found = in_written_order(&*store, &table).await;
            assert_eq!(found.num_columns(), rows.num_columns());
            for (at, field) in rows.schema().fields().iter().enumerate() {
                let (found, written) = (found.column(at).to_data(), rows.column(at).to_data());
                assert_eq!(
                    format!("{:?}", arrow_array::make_array(found)),
                    format!("{:?}", arrow_array::make_array(written)),
                    "{} written {execution}, read {reading}",
                    field.name()
                );
            }
        }
    }
}

#[tokio::test]
async fn every_value_comes_back_as_it_was_written() {
    if let Some(workspace) = Workspace::stand_in(json!({})).await {
        values(&workspace).await;
    }
}

pub async fn overwriting(workspace: &Workspace) {
    for execution in ["warehouse", "direct"] {
        let store = workspace.open_as(execution).await;
        let table = format!("over_{execution}");
        for n in [5, 3] {
            write(&*store, request(&table, WriteMode::Overwrite), numbered(n))
                .await
                .unwrap();
            assert_eq!(n_rows(&*store, &table).await, usize::try_from(n).unwrap());
        }
        // Rows of other columns replace these, too.
        write(&*store, request(&table, WriteMode::Overwrite), every_type())
            .await
            .unwrap();
        let schema = store
            .schema(&cx(), &SourceRef::table(&*table))
            .await
            .unwrap();
        assert_eq!(schema.field(0).name(), "b");
        let none = numbered(0);
        write(&*store, request(&table, WriteMode::Overwrite), none)
            .await
            .unwrap();
        assert_eq!(n_rows(&*store, &table).await, 0);
    }
}

#[tokio::test]
async fn rows_are_replaced_in_one_step() {
    if let Some(workspace) = Workspace::stand_in(json!({})).await {
        overwriting(&workspace).await;
        assert_eq!(workspace.n_left().await, 0);
    }
}

pub async fn misfits(workspace: &Workspace) {
    for execution in ["warehouse", "direct"] {
        let store = workspace.open_as(execution).await;
        let table = format!("fits_{execution}");
        write(&*store, request(&table, WriteMode::Overwrite), numbered(2))
            .await
            .unwrap();
        // Columns may be left out, in any order and case.
        let fewer = batch(vec![("K", Arc::new(Int64Array::from(vec![7])) as ArrayRef)]);
        append(&*store, &table, fewer).await.unwrap();
        assert_eq!(keys(&*store, &table).await, [0, 1, 7]);
        let other = batch(vec![(
            "k",
            Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
        )]);
        let error = append(&*store, &table, other).await.unwrap_err();
        assert_eq!(error.code(), "P505", "{error}");
        assert!(error.message().contains("\"k\""), "{error}");
        let more = batch(vec![("z", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
        let error = append(&*store, &table, more).await.unwrap_err();
        assert_eq!(error.code(), "P505", "{error}");
        // A value that does not fit leaves the table as it was.
        let large = batch(vec![(
            "k",
            Arc::new(UInt64Array::from(vec![1, u64::MAX])) as ArrayRef,
        )]);
        append(&*store, &table, large).await.unwrap_err();
        assert_eq!(keys(&*store, &table).await, [0, 1, 7]);
    }
}

#[tokio::test]
async fn rows_that_do_not_fit_are_told_and_change_nothing() {
    if let Some(workspace) = Workspace::stand_in(json!({})).await {
        misfits(&workspace).await;
    }
}

pub async fn deleting(workspace: &Workspace) {
    for execution in ["warehouse", "direct"] {
        let store = workspace.open_as(execution).await;
        let table = format!("gone_{execution}");
        let rows = batch(vec![
            (
                "k",
                Arc::new(Int64Array::from(vec![
                    Some(1),
                    Some(2),
                    None,
                    Some(3),
                    Some(1),
                ])) as ArrayRef,
            ),
            (
                "s",
                Arc::new(StringArray::from(vec![
                    Some("a"),
                    Some("a"),
                    Some("a"),
                    None,
                    Some("b"),
                ])),
            ),
        ]);
        write(&*store, request(&table, WriteMode::Overwrite), rows)
            .await
            .unwrap();
        let source = SourceRef::table(&*table);
        let pairs = batch(vec![
            (
                "K",
                Arc::new(Int64Array::from(vec![Some(1), Some(3), Some(9)])) as ArrayRef,
            ),
            (
                "s",
                Arc::new(StringArray::from(vec![Some("a"), None, Some("a")])),
            ),
        ]);
        store.delete(&cx(), &source, pairs).await.unwrap();
        assert_eq!(n_rows(&*store, &table).await, 3);
        let nulls = batch(vec![(
            "k",
            Arc::new(Int64Array::from(vec![None::<i64>, Some(2)])) as ArrayRef,
        )]);
        store.delete(&cx(), &source, nulls).await.unwrap();
        assert_eq!(keys(&*store, &table).await, [1]);
        let none = batch(vec![(
            "zz",
            Arc::new(Int64Array::from(vec![1])) as ArrayRef,
        )]);
        let error = store.delete(&cx(), &source, none).await.unwrap_err();
        assert_eq!(error.code(), "P121", "{error}");
        let keys = batch(vec![("k", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
        let error = store
            .delete(&cx(), &query("SELECT 1 AS k"), keys)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "P801", "{error}");
    }
}

#[tokio::test]
async fn keys_are_deleted_with_all_their_rows() {
    if let Some(workspace) = Workspace::stand_in(json!({})).await {
        deleting(&workspace).await;
    }
}

#[tokio::test]
async fn a_write_with_an_id_counts_once() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    // Whatever the execution: an external table's log remembers ids.
    for execution in ["warehouse", "auto"] {
        let store = workspace.open_as(execution).await;
        let table = format!("once_{execution}");
        let once = OfflineWrite {
            id: Some("push-1".to_owned()),
            ..request(&table, WriteMode::Append)
        };
        for n_applied in [2, 0] {
            let written = write(&*store, once.clone(), numbered(2)).await.unwrap();
            assert_eq!(written.n_applied, n_applied);
            assert!(matches!(written.version, Some(SourceVersion::Number(_))));
        }
        assert_eq!(n_rows(&*store, &table).await, 2);
    }
    // A managed table's does not: its files are Unity Catalog's.
    let store = workspace.with(json!({"location": null})).open().await;
    let once = OfflineWrite {
        id: Some("push-1".to_owned()),
        ..request("managed", WriteMode::Append)
    };
    let error = write(&*store, once, numbered(2)).await.unwrap_err();
    assert_eq!(error.code(), "P801", "{error}");
    assert!(
        error.message().contains("is managed by Unity Catalog"),
        "{error}"
    );
    assert!(
        error.help_text().unwrap().contains("external Delta table"),
        "{error}"
    );
    append(&*store, "managed", numbered(2)).await.unwrap();
    assert_eq!(n_rows(&*store, "managed").await, 2);
}

#[tokio::test]
async fn a_write_that_fails_in_the_middle_changes_nothing() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    for execution in ["warehouse", "direct"] {
        let store = workspace
            .with(json!({"execution": execution, "insert_bytes": 50}))
            .open()
            .await;
        let table = format!("half_{execution}");
        append(&*store, &table, numbered(1)).await.unwrap();
        let rows = numbered(9);
        let failing = futures::stream::iter([
            Ok(rows.clone()),
            Err(provender_core::Error::new(
                &provender_core::codes::INTERNAL,
                "the rows end early",
            )),
        ]);
        let stream = BatchStream::new(rows.schema(), failing);
        let failed = store
            .write(&cx(), request(&table, WriteMode::Append), stream)
            .await;
        assert_eq!(failed.unwrap_err().message(), "the rows end early");
        assert_eq!(n_rows(&*store, &table).await, 1);
        assert_eq!(workspace.n_left().await, 0);
    }
}

#[tokio::test]
async fn lists_go_straight_into_external_tables() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let lists = ListArray::from_iter_primitive::<arrow_array::types::Float32Type, _, _>([
        Some(vec![Some(1.5), None]),
        None,
        Some(vec![]),
    ]);
    let rows = batch(vec![
        ("k", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        ("l", Arc::new(lists)),
    ]);
    let partitioned = OfflineWrite {
        partition_by: vec!["k".to_owned()],
        ..request("lists", WriteMode::Append)
    };
    let store = workspace.open_as("auto").await;
    write(&*store, partitioned, rows).await.unwrap();
    for reading in ["warehouse", "direct"] {
        let store = workspace.open_as(reading).await;
        let scan = Scan {
            columns: Some(vec!["l".to_owned()]),
            ..all(SourceRef::table("lists"))
        };
        let found = read(&*store, scan).await.unwrap();
        let shown = |row| arrow_cast::display::array_value_to_string(found.column(0), row).unwrap();
        let mut all: Vec<String> = (0..3).map(shown).collect();
        all.sort();
        assert_eq!(all, ["", "[1.5, ]", "[]"], "{reading}");
    }
}

/// A name that needs column mapping keeps files from being written directly, whatever the execution.
#[tokio::test]
async fn lists_maps_and_structs_are_written_through_a_warehouse() {
    use arrow_array::builder::{
        BinaryBuilder, Int64Builder, ListBuilder, MapBuilder, StringBuilder,
    };
    use arrow_array::cast::AsArray;
    use arrow_array::types::Date32Type;
    use arrow_array::{Float64Array, StructArray};

    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let days = [Some(vec![Some(-1), None]), None, Some(vec![])];
    let mut bytes = ListBuilder::new(BinaryBuilder::new());
    bytes.append_value([Some(b"\0'"), None]);
    bytes.append_null();
    bytes.append_value(std::iter::empty::<Option<&[u8]>>());
    let lists = ListBuilder::new(Int64Builder::new());
    let mut maps = MapBuilder::new(None, StringBuilder::new(), lists);
    maps.keys().append_value("it's \"\\\" é\n");
    maps.values().append_value([Some(i64::MIN), None]);
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    maps.append(true).unwrap();
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("[1]"), None, Some("")]));
    let doubles: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 0.0, 5e-324]));
    let parts = StructArray::try_from(vec![("text", texts), ("number", doubles)]).unwrap();
    let rows = batch(vec![
        ("k", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        (
            "temp °C",
            Arc::new(ListArray::from_iter_primitive::<Date32Type, _, _>(days)),
        ),
        ("bytes", Arc::new(bytes.finish())),
        ("map", Arc::new(maps.finish())),
        ("parts", Arc::new(parts)),
    ]);
    for execution in ["warehouse", "auto"] {
        let table = format!("nested_{execution}");
        let store = workspace.open_as(execution).await;
        append(&*store, &table, rows.clone()).await.unwrap();
        let found = read(&*store, all(SourceRef::table(&table))).await.unwrap();
        let shown = |column: &str, k: i64| {
            let keys = found.column_by_name("k").unwrap();
            let keys = keys.as_primitive::<arrow_array::types::Int64Type>();
            let row = keys.values().iter().position(|key| *key == k).unwrap();
            let values = found.column_by_name(column).unwrap();
            arrow_cast::display::array_value_to_string(values, row).unwrap()
        };
        for (column, expected) in [
            ("temp °C", ["[1969-12-31, ]", "", "[]"]),
            ("bytes", ["[0027, ]", "", "[]"]),
            (
                "map",
                ["{it's \"\\\" é\n: [-9223372036854775808, ]}", "", "{}"],
            ),
            (
                "parts",
                [
                    "{text: [1], number: NaN}",
                    "{text: , number: 0.0}",
                    "{text: , number: 5e-324}",
                ],
            ),
        ] {
            for (k, expected) in (1..).zip(expected) {
                assert_eq!(shown(column, k), expected, "{execution}: {column} of {k}");
            }
        }
    }
}
