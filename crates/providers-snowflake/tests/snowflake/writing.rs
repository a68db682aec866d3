//! Writing and deleting: what is stored, that it is stored once, and what is refused.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int8Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema};
use futures::StreamExt;
use provender_core::provider::OfflineStore;
use provender_core::request::{OfflineWrite, SourceRef, Spine, WriteMode};
use provender_core::{BatchStream, ValueType};
use provender_engine::cast::cast_value;
use serde_json::json;

use crate::support::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns
        .into_iter()
        .map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    batch(vec![
        ("n", Arc::new(Int64Array::from_iter_values(range.clone()))),
        (
            "s",
            Arc::new(StringArray::from_iter_values(
                range.map(|n| format!("row {n}")),
            )),
        ),
    ])
}

async fn write(
    store: &dyn OfflineStore,
    request: OfflineWrite,
    rows: RecordBatch,
) -> provender_core::Result<provender_core::request::WriteSummary> {
    let stream = BatchStream::from_batches(rows.schema(), vec![rows]);
    store.write(&cx(), request, stream).await
}

#[tokio::test]
async fn values_come_back_as_they_were_written() {
    if let Some(account) = Account::under_test() {
        values(&account).await;
    }
}

async fn values(account: &Account) {
    for tag in [json!({}), json!({"realism": true, "ts_scale": 6})] {
        let store = account.open(tag).await;
        let table = unique("values");
        let rows = batch(vec![
            ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("i8", Arc::new(Int8Array::from(vec![Some(i8::MIN), None]))),
            (
                "i64",
                Arc::new(Int64Array::from(vec![Some(i64::MIN), None])),
            ),
            (
                "u64",
                Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])),
            ),
            (
                "f32",
                Arc::new(Float32Array::from(vec![Some(f32::MIN_POSITIVE), None])),
            ),
            (
                "f64",
                Arc::new(Float64Array::from(vec![Some(5e-324), None])),
            ),
            (
                "nan",
                Arc::new(Float64Array::from(vec![
                    Some(f64::NAN),
                    Some(f64::NEG_INFINITY),
                ])),
            ),
            (
                "dec",
                Arc::new(
                    Decimal128Array::from(vec![Some(-10_i128.pow(37)), None])
                        .with_precision_and_scale(38, 10)
                        .unwrap(),
                ),
            ),
            (
                "text",
                Arc::new(StringArray::from(vec![
                    Some("'\"\\ \n ä 🦆 ; -- ? :1 {}"),
                    Some(""),
                ])),
            ),
            (
                "bin",
                Arc::new(BinaryArray::from_opt_vec(vec![
                    Some(&[0, 255, 10][..]),
                    None,
                ])),
            ),
            ("day", Arc::new(Date32Array::from(vec![Some(-1), None]))),
            (
                "at",
                Arc::new(
                    TimestampMicrosecondArray::from(vec![Some(-1), None]).with_timezone("UTC"),
                ),
            ),
        ]);
        assert_eq!(
            append(&*store, &table, rows.clone())
                .await
                .unwrap()
                .n_applied,
            2
        );
        let found = read(&*store, all(SourceRef::table(&table))).await.unwrap();
        let first = usize::from(found["bool"].is_null(0));
        for (field, written) in rows.schema().fields().iter().zip(rows.columns()) {
            let value_type = ValueType::from_arrow(field.data_type()).unwrap();
            let back = cast_value(&found[field.name().as_str()], &value_type, true).unwrap();
            for (row, at) in [(0, first), (1, 1 - first)] {
                assert_eq!(
                    format!("{:?}", written.slice(row, 1)),
                    format!("{:?}", back.slice(at, 1)),
                    "{}",
                    field.name()
                );
            }
        }
    }
}

#[tokio::test]
async fn many_rows_go_in_batches_and_become_visible_at_once() {
    let Some(url) = stand_in() else { return };
    let name = unique("batches");
    let mut options = options(url, &json!({"name": name}));
    options.insert("insert_bytes".to_owned(), 2_000.into());
    let store = open_with(options, resources()).await.unwrap();
    append(&*store, &name, numbers(0..500)).await.unwrap();
    assert_eq!(n_rows(&*store, &name).await, 500);
    let log = state(&name).await;
    let statements: Vec<&str> = log["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["sql"].as_str().unwrap())
        .collect();
    let into_table = format!(
        "INSERT INTO \"TESTS\".\"PUBLIC\".\"{}\"",
        name.to_uppercase()
    );
    assert_eq!(
        statements
            .iter()
            .filter(|sql| sql.starts_with(&into_table))
            .count(),
        1
    );
    assert!(
        statements
            .iter()
            .filter(|sql| sql.starts_with("INSERT"))
            .count()
            > 5
    );
    assert!(
        statements.iter().all(|sql| !sql.contains("row 1")),
        "values are no part of statements"
    );
    assert_eq!(log["temporary"], json!([]));
}

#[tokio::test]
async fn a_spine_is_uploaded_as_keys_times_and_row_numbers_alone() {
    let Some(url) = stand_in() else { return };
    let name = unique("spined");
    let mut options = options(url, &json!({"name": name}));
    options.insert("inline_rows".to_owned(), 0.into());
    let store = open_with(options, resources()).await.unwrap();
    append(&*store, &name, crate::properties::rows_of(10))
        .await
        .unwrap();
    let (join, spine) = crate::properties::spine_of(&name, 10);
    let Spine::Rows(mut spine) = spine else {
        panic!("{spine:?}");
    };
    let mut fields = spine.rows.schema.fields().to_vec();
    fields.push(Arc::new(Field::new("note", DataType::Utf8, true)));
    let schema = Arc::new(Schema::new(fields));
    let with_note = schema.clone();
    let batches = spine.rows.batches.map(move |batch| {
        let batch = batch?;
        let notes: ArrayRef = Arc::new(StringArray::from(vec!["private"; batch.num_rows()]));
        let columns = [batch.columns(), &[notes]].concat();
        Ok(RecordBatch::try_new(with_note.clone(), columns).unwrap())
    });
    spine.rows = BatchStream::new(schema, batches);
    let answer = store
        .point_in_time_join(&cx(), join, Spine::Rows(spine))
        .await
        .unwrap();
    answer.collect().await.unwrap();
    let log = state(&name).await;
    let statements: Vec<&str> = (log["statements"].as_array().unwrap().iter())
        .map(|statement| statement["sql"].as_str().unwrap())
        .collect();
    let uploads: Vec<&&str> = statements
        .iter()
        .filter(|sql| sql.starts_with("INSERT INTO \"TESTS\".\"PUBLIC\".\"PROVENDER_TMP_"))
        .collect();
    assert_eq!(uploads.len(), 1, "{statements:#?}");
    assert!(
        uploads[0].contains("(\"r\", \"t\", \"k0\") SELECT ") && !uploads[0].contains("f.value[3]"),
        "{uploads:?}"
    );
    assert!(
        statements.iter().all(|sql| !sql.contains("note")),
        "{statements:#?}"
    );
}

#[tokio::test]
async fn a_write_with_an_id_counts_once_also_when_its_answer_was_lost() {
    if stand_in().is_none() {
        return;
    }
    for fault in ["lost_answer", "unavailable", "throttle", "expire"] {
        let name = unique(fault);
        let n_faults = if fault == "expire" { 1 } else { 4 };
        let store = open(json!({"name": name, fault: n_faults})).await.unwrap();
        let request = OfflineWrite {
            id: Some("batch 'one'".to_owned()),
            ..request(&name, WriteMode::Append)
        };
        let first = write(&*store, request.clone(), numbers(0..10))
            .await
            .unwrap();
        assert_eq!((first.n_rows, first.n_applied), (10, 10), "{fault}");
        let again = write(&*store, request, numbers(0..10)).await.unwrap();
        assert_eq!(again.n_applied, 0, "{fault}");
        assert_eq!(n_rows(&*store, &name).await, 10, "{fault}");
    }
}

#[tokio::test]
async fn changes_wait_for_other_transactions_and_say_so_in_the_end() {
    if stand_in().is_none() {
        return;
    }
    let table = unique("locked");
    let locked = |n_times: u32, after: u32| async move {
        let name = unique("locks");
        open(json!({"name": name, "locked": n_times, "locked_after": after}))
            .await
            .unwrap()
    };
    // The two tables that a write makes, what it notes, adds and commits: each in turn is refused once.
    for after in 0..5 {
        let name = unique("locked");
        let store = locked(1, after).await;
        let request = OfflineWrite {
            id: Some("one".to_owned()),
            ..request(&name, WriteMode::Append)
        };
        let done = write(&*store, request, numbers(0..10)).await.unwrap();
        assert_eq!((done.n_rows, done.n_applied), (10, 10), "{after}");
        assert_eq!(n_rows(&*store, &name).await, 10, "{after}");
    }
    append(&*locked(0, 0).await, &table, numbers(0..10))
        .await
        .unwrap();
    let key = numbers(3..4).project(&[0]).unwrap();
    let source = SourceRef::table(&table);
    let store = locked(3, 0).await;
    store.delete(&cx(), &source, key.clone()).await.unwrap();
    assert_eq!(n_rows(&*store, &table).await, 9);
    let store = locked(1000, 0).await;
    let cx = cx();
    let (deleted, appended) = tokio::join!(
        store.delete(&cx, &source, key),
        append(&*store, &table, numbers(0..1)),
    );
    for error in [deleted.unwrap_err(), appended.unwrap_err()] {
        assert_eq!(error.code(), "P503", "{error:?}");
        assert!(error.is_retryable());
        assert!(format!("{error:?}").contains(&table), "{error:?}");
    }
    assert_eq!(n_rows(&*store, &table).await, 9);
}

#[tokio::test]
async fn what_could_not_be_rolled_back_is_not_gone_on_with() {
    if stand_in().is_none() {
        return;
    }
    let table = unique("open");
    let name = unique("plain");
    let plain = open(json!({"name": name})).await.unwrap();
    append(&*plain, &table, numbers(0..10)).await.unwrap();
    let (mut n_rows_wanted, mut n_failed) = (10, 0);
    // Before the transaction, in it, and never.
    for after in 0..6 {
        let name = unique("open");
        let faults = json!({"name": name, "locked": 1, "locked_after": after, "kept_open": 1});
        let store = open(faults).await.unwrap();
        let request = OfflineWrite {
            id: Some(format!("write {after}")),
            ..request(&table, WriteMode::Append)
        };
        match write(&*store, request, numbers(0..10)).await {
            Ok(done) => n_rows_wanted += done.n_applied,
            Err(error) => {
                assert_eq!(error.code(), "P503", "{error:?}");
                assert!(format!("{error:?}").contains(&table), "{error:?}");
                n_failed += 1;
            }
        }
        assert_eq!(
            n_rows(&*plain, &table).await as u64,
            n_rows_wanted,
            "{after}"
        );
    }
    assert!((1..6).contains(&n_failed), "{n_failed}");
}

#[tokio::test]
async fn two_writers_of_one_id_count_once() {
    if let Some(account) = Account::under_test() {
        two_writers(&account).await;
    }
}

async fn two_writers(account: &Account) {
    let store = account.open(json!({})).await;
    let name = unique("twice");
    append(&*store, &name, numbers(0..1)).await.unwrap();
    let request = OfflineWrite {
        id: Some("same".to_owned()),
        ..request(&name, WriteMode::Append)
    };
    let (a, b) = tokio::join!(
        write(&*store, request.clone(), numbers(1..5)),
        write(&*store, request.clone(), numbers(1..5)),
    );
    let n_applied = a.unwrap().n_applied + b.unwrap().n_applied;
    assert_eq!(n_applied, 4);
    assert_eq!(n_rows(&*store, &name).await, 5);
}

#[tokio::test]
async fn overwriting_replaces_rows_and_columns() {
    if let Some(account) = Account::under_test() {
        overwriting(&account).await;
    }
}

async fn overwriting(account: &Account) {
    let store = account.open(json!({})).await;
    let name = unique("over");
    append(&*store, &name, numbers(0..10)).await.unwrap();
    write(&*store, request(&name, WriteMode::Overwrite), numbers(5..8))
        .await
        .unwrap();
    assert_eq!(n_rows(&*store, &name).await, 3);
    let other = batch(vec![("x", Arc::new(Float64Array::from(vec![1.5])))]);
    write(&*store, request(&name, WriteMode::Overwrite), other)
        .await
        .unwrap();
    let found = read(&*store, all(SourceRef::table(&name))).await.unwrap();
    assert_eq!(
        (found.num_rows(), found.schema().field(0).name().as_str()),
        (1, "x")
    );
}

#[tokio::test]
async fn overwriting_with_other_columns_is_one_statement_and_nothing_before_it_is_seen() {
    if stand_in().is_none() {
        return;
    }
    let name = unique("replaced");
    let store = open(json!({"name": name})).await.unwrap();
    append(&*store, &name, numbers(0..10)).await.unwrap();
    let other = |rows: i64| {
        let column: Float64Array = (0..rows).map(|row| Some(row as f64)).collect();
        batch(vec![("x", Arc::new(column))])
    };
    // A stream that fails half way leaves the table as it was.
    let rows = vec![
        Ok(other(5)),
        Err(provender_core::Error::new(
            &provender_core::codes::BAD_ROW,
            "a bad row",
        )),
    ];
    let stream = BatchStream::new(other(1).schema(), futures::stream::iter(rows));
    let error = store
        .write(&cx(), request(&name, WriteMode::Overwrite), stream)
        .await
        .unwrap_err();
    assert_eq!(error.message(), "a bad row");
    assert_eq!(n_rows(&*store, &name).await, 10);

    let with_id = OfflineWrite {
        id: Some("once".to_owned()),
        ..request(&name, WriteMode::Overwrite)
    };
    for n_applied in [5, 0] {
        let written = write(&*store, with_id.clone(), other(5)).await.unwrap();
        assert_eq!(written.n_applied, n_applied);
    }
    assert_eq!(n_rows(&*store, &name).await, 5);
    let none = write(&*store, request(&name, WriteMode::Overwrite), numbers(0..0))
        .await
        .unwrap();
    assert_eq!(none.n_rows, 0);
    assert_eq!(n_rows(&*store, &name).await, 0);
    let log = state(&name).await;
    let changes: Vec<&str> = (log["statements"].as_array().unwrap().iter())
        .map(|statement| statement["sql"].as_str().unwrap())
        .filter(|sql| sql.contains(&format!("\"{}\"", name.to_uppercase())))
        .filter(|sql| !sql.contains("PROVENDER_WRITES"))
        .filter(|sql| !sql.starts_with("SELECT"))
        .collect();
    let replacing = changes
        .iter()
        .filter(|sql| sql.starts_with("CREATE OR REPLACE TABLE"));
    assert_eq!(replacing.count(), 2, "{changes:#?}");
    assert!(
        !changes.iter().any(|sql| sql.starts_with("DELETE")),
        "{changes:#?}"
    );
    assert_eq!(log["temporary"], json!([]));
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused_by_column_and_nothing_is_changed() {
    if let Some(account) = Account::under_test() {
        misfits(&account).await;
    }
}

async fn misfits(account: &Account) {
    let store = account.open(json!({})).await;
    let name = unique("fit");
    append(&*store, &name, numbers(0..1)).await.unwrap();
    let other = batch(vec![
        ("n", Arc::new(StringArray::from(vec!["x"]))),
        ("new", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let error = append(&*store, &name, other).await.unwrap_err();
    assert_eq!(error.code(), "P505");
    assert_eq!(
        error.message(),
        format!(
            "the rows do not fit table {name:?}: its column \"n\" is fixed, and the rows' is Utf8; it has no column \"new\""
        )
    );
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)])]);
    let lists = batch(vec![("l", Arc::new(lists))]);
    let error = append(&*store, &unique("lists"), lists).await.unwrap_err();
    assert_eq!(error.code(), "P507");
    assert!(error.message().contains("column \"l\" is List"), "{error}");
    let part = batch(vec![("S", Arc::new(StringArray::from(vec!["only"])))]);
    append(&*store, &name, part).await.unwrap();
    assert_eq!(n_rows(&*store, &name).await, 2);
}

#[tokio::test]
async fn keys_are_deleted_null_ones_too() {
    if let Some(account) = Account::under_test() {
        deleting(&account).await;
    }
}

async fn deleting(account: &Account) {
    let store = account.open(json!({})).await;
    let name = unique("erase");
    let rows = batch(vec![
        (
            "k",
            Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(1)])),
        ),
        ("o", Arc::new(StringArray::from(vec!["a", "b", "c", "z'"]))),
    ]);
    append(&*store, &name, rows).await.unwrap();
    let keys = batch(vec![
        (
            "k",
            Arc::new(Int64Array::from(vec![Some(1), None, Some(7)])),
        ),
        ("o", Arc::new(StringArray::from(vec!["z'", "c", "a"]))),
    ]);
    store
        .delete(&cx(), &SourceRef::table(&name), keys.clone())
        .await
        .unwrap();
    assert_eq!(n_rows(&*store, &name).await, 2);
    let error = store
        .delete(&cx(), &query("SELECT 1 AS \"k\""), keys)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P801");
}
