use std::sync::Arc;

use arrow_array::{Int64Array, StringArray, TimestampMillisecondArray};
use provender_core::model::SourceVersion;
use provender_core::request::SourceRef;

use crate::support::*;

#[tokio::test]
async fn keys_are_erased_null_to_null() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let rows = batch(vec![
        (
            "a",
            Arc::new(StringArray::from(vec![
                Some("x"),
                Some("x"),
                None,
                Some("y"),
                None,
            ])),
        ),
        (
            "B",
            Arc::new(Int64Array::from(vec![
                Some(1),
                Some(2),
                Some(1),
                None,
                None,
            ])),
        ),
    ]);
    append(&*store, "t", rows).await.unwrap();
    let source = SourceRef::table("t");
    let keys = batch(vec![
        (
            "a",
            Arc::new(StringArray::from(vec![Some("x"), None, Some("q")])),
        ),
        (
            "b",
            Arc::new(Int64Array::from(vec![Some(2), None, Some(1)])),
        ),
    ]);
    store.delete(&cx(), &source, keys).await.unwrap();
    assert_eq!(
        lines(&*store, all(source.clone())).await,
        [",1", "x,1", "y,"]
    );
    let keys = batch(vec![(
        "a",
        Arc::new(StringArray::from(vec![None, Some("y")])),
    )]);
    store.delete(&cx(), &source, keys).await.unwrap();
    assert_eq!(lines(&*store, all(source.clone())).await, ["x,1"]);
    assert_eq!(n_rows(&*store, at("t", SourceVersion::Number(0))).await, 5);
    let none = batch(vec![("a", Arc::new(StringArray::from(vec!["nobody"])))]);
    store.delete(&cx(), &source, none).await.unwrap();
    assert_eq!(
        store.pin(&cx(), &source).await.unwrap(),
        SourceVersion::Number(2)
    );
}

#[tokio::test]
async fn many_keys_and_partitions_are_erased() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut write = request("t", provender_core::request::WriteMode::Append);
    write.partition_by = vec!["origin".to_owned()];
    let rows = vec![weather("JFK", 0, 3000), weather("LGA", 0, 3000)];
    store.write(&cx(), write, stream(rows)).await.unwrap();
    let keys = batch(vec![(
        "temp",
        Arc::new(Int64Array::from_iter_values(0..2500)),
    )]);
    store
        .delete(&cx(), &SourceRef::table("t"), keys)
        .await
        .unwrap();
    assert_eq!(n_rows(&*store, SourceRef::table("t")).await, 1000);
    let hours = (2500..3000).map(|hour| hour * 3_600_000);
    let keys = batch(vec![
        ("origin", Arc::new(StringArray::from(vec!["LGA"; 500]))),
        (
            "time_hour",
            Arc::new(TimestampMillisecondArray::from_iter_values(hours)),
        ),
    ]);
    store
        .delete(&cx(), &SourceRef::table("t"), keys)
        .await
        .unwrap();
    let found = lines(
        &*store,
        all(query("SELECT origin, COUNT(*) AS n FROM t GROUP BY origin")),
    )
    .await;
    assert_eq!(found, ["JFK,500"]);
}

#[tokio::test]
async fn what_cannot_be_erased_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(&*store, "t", weather("JFK", 0, 1)).await.unwrap();
    let keys = || batch(vec![("origin", Arc::new(StringArray::from(vec!["JFK"])))]);
    let error = store
        .delete(&cx(), &query("SELECT * FROM t"), keys())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P801");
    let past = at("t", SourceVersion::Number(0));
    let error = store.delete(&cx(), &past, keys()).await.unwrap_err();
    assert!(error.message().contains("past version"), "{error}");
    let wrong = batch(vec![("orign", Arc::new(StringArray::from(vec!["JFK"])))]);
    let error = store
        .delete(&cx(), &SourceRef::table("t"), wrong)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P121");
    let wrong = batch(vec![("temp", Arc::new(StringArray::from(vec!["JFK"])))]);
    let error = store
        .delete(&cx(), &SourceRef::table("t"), wrong)
        .await
        .unwrap_err();
    assert!(
        error
            .message()
            .contains("cannot be compared with keys of Utf8"),
        "{error}"
    );
    let error = store
        .delete(&cx(), &SourceRef::table("tt"), keys())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P120");
    assert_eq!(n_rows(&*store, SourceRef::table("t")).await, 1);
}
