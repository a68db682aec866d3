//! Tables whose columns change.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use provender_core::provider::OfflineStore;
use provender_core::request::{SourceRef, WriteMode, WriteSummary};

use crate::support::*;

async fn extend(
    store: &dyn OfflineStore,
    table: &str,
    rows: RecordBatch,
) -> provender_core::Result<WriteSummary> {
    store
        .write(&cx(), request(table, WriteMode::Extend), stream(vec![rows]))
        .await
}

fn with_gusts(id: i32, gust: f64) -> RecordBatch {
    batch(vec![
        ("gust", Arc::new(Float64Array::from(vec![gust])) as ArrayRef),
        ("id", Arc::new(Int32Array::from(vec![id]))),
    ])
}

#[tokio::test]
async fn new_columns_are_added_when_asked_and_null_in_older_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let old = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("x", Arc::new(StringArray::from(vec!["a"]))),
    ]);
    append(&*store, "t", old.clone()).await.unwrap();
    let error = append(&*store, "t", with_gusts(2, 7.5)).await.unwrap_err();
    assert_eq!(error.code(), "P505");
    assert!(
        error.message().contains("column \"gust\" is new"),
        "{error}"
    );
    assert!(
        error.help_text().unwrap().contains("--add-columns"),
        "{error}"
    );

    extend(&*store, "t", with_gusts(2, 7.5)).await.unwrap();
    // Rows without the column, and with it, are appended as ever; again nothing is new.
    append(&*store, "t", old).await.unwrap();
    extend(&*store, "t", with_gusts(3, 8.5)).await.unwrap();
    assert_eq!(
        lines(&*store, all(SourceRef::table("t"))).await,
        ["1,a,", "1,a,", "2,,7.5", "3,,8.5"]
    );
    let past = at("t", provender_core::model::SourceVersion::Number(0));
    assert_eq!(lines(&*store, all(past)).await, ["1,a"]);
    // Filters and statistics know that older files have none.
    let of = query("SELECT count(*) FROM t WHERE gust IS NULL");
    assert_eq!(lines(&*store, all(of)).await, ["2"]);

    // A type that does not fit is refused, also beside a new column.
    let wrong = batch(vec![
        ("id", Arc::new(StringArray::from(vec!["x"])) as ArrayRef),
        ("more", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let error = extend(&*store, "t", wrong).await.unwrap_err();
    assert!(
        error.message().contains("column \"id\" is Int64"),
        "{error}"
    );
    // Without a table it is made.
    extend(&*store, "new", with_gusts(1, 1.0)).await.unwrap();
    assert_eq!(
        lines(&*store, all(SourceRef::table("new"))).await,
        ["1.0,1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_add_columns_at_once_lose_neither_rows_nor_columns() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(
        &*store,
        "t",
        batch(vec![(
            "id",
            Arc::new(Int64Array::from(vec![0])) as ArrayRef,
        )]),
    )
    .await
    .unwrap();
    let tasks: Vec<_> = (0..6_i64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let name = format!("c{}", n % 3);
                let rows = batch(vec![
                    ("id", Arc::new(Int64Array::from(vec![n + 1])) as ArrayRef),
                    (name.as_str(), Arc::new(Int64Array::from(vec![n]))),
                ]);
                extend(&*store, "t", rows).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let of = query("SELECT id, coalesce(c0, c1, c2) FROM t");
    assert_eq!(
        lines(&*store, all(of)).await,
        ["0,", "1,0", "2,1", "3,2", "4,3", "5,4", "6,5"]
    );
}
