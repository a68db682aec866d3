//! Past states: what a pin names stays readable after rows came, went and were replaced.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use provender_core::BatchStream;
use provender_core::model::SourceVersion;
use provender_core::provider::OfflineStore;
use provender_core::request::{SourceRef, WriteMode};
use serde_json::json;

use crate::support::*;

fn rows(values: &[(i64, f64)]) -> RecordBatch {
    let times: Vec<i64> = (0..values.len() as i64).collect();
    RecordBatch::try_from_iter([
        (
            "k",
            Arc::new(values.iter().map(|row| row.0).collect::<Int64Array>()) as ArrayRef,
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        ),
        (
            "f",
            Arc::new(
                values
                    .iter()
                    .map(|row| Some(row.1))
                    .collect::<Float64Array>(),
            ),
        ),
    ])
    .unwrap()
}

fn at(table: &str, version: &SourceVersion) -> SourceRef {
    SourceRef {
        version: Some(version.clone()),
        ..SourceRef::table(table)
    }
}

/// The features that a join finds for the keys 0, 1 and 2.
async fn joined(store: &dyn OfflineStore, source: SourceRef) -> Vec<Option<f64>> {
    let (mut join, spine) = crate::properties::spine_of("", 10);
    join.views[0].source.source = source;
    let answer = store.point_in_time_join(&cx(), join, spine).await.unwrap();
    let batches = answer.collect().await.unwrap();
    let batch = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    let features = batch.column(0).as_primitive::<Float64Type>();
    (0..3)
        .map(|row| features.is_valid(row).then(|| features.value(row)))
        .collect()
}

#[tokio::test]
async fn pinned_states_outlive_changes_and_are_joined() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let mut options = account.options(&json!({}));
    options.insert("time_travel".to_owned(), true.into());
    let store = open_with(options, resources()).await.unwrap();
    assert!(store.capabilities().versions);
    let name = unique("past");
    let table = SourceRef::table(&name);

    append(&*store, &name, rows(&[(0, 0.5), (1, 1.5)]))
        .await
        .unwrap();
    let first = store.pin(&cx(), &table).await.unwrap();
    append(&*store, &name, rows(&[(2, 2.5), (2, 12.5), (5, 0.0)]))
        .await
        .unwrap();
    let second = store.pin(&cx(), &table).await.unwrap();
    let keys = RecordBatch::try_from_iter([("k", Arc::new(Int64Array::from(vec![0])) as ArrayRef)])
        .unwrap();
    store.delete(&cx(), &table, keys).await.unwrap();
    let third = store.pin(&cx(), &table).await.unwrap();
    // With the columns that it has, the table stays the one that it was.
    let replaced = rows(&[(2, 9.5)]);
    let stream = BatchStream::from_batches(replaced.schema(), vec![replaced]);
    store
        .write(&cx(), request(&name, WriteMode::Overwrite), stream)
        .await
        .unwrap();

    for (version, n_rows) in [(&first, 2), (&second, 5), (&third, 4)] {
        let batch = read(&*store, all(at(&name, version))).await.unwrap();
        assert_eq!(batch.num_rows(), n_rows, "{version:?}");
    }
    assert_eq!(n_rows(&*store, &name).await, 1);
    assert_eq!(
        joined(&*store, at(&name, &first)).await,
        [Some(0.5), Some(1.5), None]
    );
    let now = joined(&*store, at(&name, &second)).await;
    assert_eq!(now, [Some(0.5), Some(1.5), Some(12.5)]);
    assert_eq!(
        joined(&*store, table.clone()).await,
        [None, None, Some(9.5)]
    );
    // A state that was named before is named again as it is.
    let again = store.pin(&cx(), &at(&name, &first)).await.unwrap();
    assert_eq!(again, first);

    let SourceVersion::TimestampUs(us) = first else {
        panic!("{first:?}");
    };
    let before = SourceVersion::TimestampUs(us - 86_400_000_000);
    let error = failure(&*store, all(at(&name, &before))).await;
    assert_eq!(error.code(), "P506");
    let error = failure(&*store, all(at(&name, &SourceVersion::Number(3)))).await;
    assert_eq!(
        error.to_string(),
        format!("table {name:?} has no version numbers in Snowflake; name a time instead")
    );
    let error = store
        .pin(&cx(), &query("SELECT 1 AS \"k\""))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P801");
}

#[tokio::test]
async fn without_time_travel_no_state_is_named() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let mut options = account.options(&json!({}));
    options.insert("time_travel".to_owned(), false.into());
    let store = open_with(options, resources()).await.unwrap();
    assert!(!store.capabilities().versions);
    let error = store.pin(&cx(), &SourceRef::table("t")).await.unwrap_err();
    assert_eq!(error.code(), "P801");
    let error = failure(&*store, all(at("t", &SourceVersion::TimestampUs(0)))).await;
    assert_eq!(error.code(), "P801");
}
