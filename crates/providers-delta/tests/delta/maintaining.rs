//! Looking after tables.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use provender_core::Result;
use provender_core::model::SourceVersion;
use provender_core::provider::OfflineStore;
use provender_core::request::{
    Maintenance, MaintenanceSummary, MaintenanceWork, OfflineWrite, Optimise, SourceRef, Vacuum,
    WriteMode,
};

use crate::s3::S3;
use crate::support::*;

const DAY_US: u64 = 24 * 3_600_000_000;
const KEY: &str = "someone-who-wants-to-be-forgotten";

async fn optimise(
    store: &dyn OfflineStore,
    table: &str,
    how: Optimise,
) -> Result<MaintenanceSummary> {
    let work = MaintenanceWork::Optimise(how);
    let table = table.to_owned();
    store.maintain(&cx(), Maintenance { table, work }).await
}

async fn vacuum(
    store: &dyn OfflineStore,
    table: &str,
    which: Vacuum,
) -> Result<MaintenanceSummary> {
    let work = MaintenanceWork::Vacuum(which);
    let table = table.to_owned();
    store.maintain(&cx(), Maintenance { table, work }).await
}

fn everything() -> Vacuum {
    Vacuum {
        retain_us: Some(0),
        force: true,
        ..Vacuum::default()
    }
}

fn key_of(name: &str) -> RecordBatch {
    batch(vec![(
        "origin",
        Arc::new(StringArray::from(vec![name])) as ArrayRef,
    )])
}

/// The files below a folder in which these bytes stand.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if std::fs::read(&path)
            .unwrap()
            .windows(bytes.len())
            .any(|at| at == bytes)
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn optimising_makes_few_files_of_many_and_changes_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..12 {
        append(&*store, "weather", weather("JFK", n * 10, 10))
            .await
            .unwrap();
    }
    let before = lines(&*store, all(SourceRef::table("weather"))).await;
    let summary = optimise(&*store, "weather", Optimise::default())
        .await
        .unwrap();
    assert_eq!(
        (summary.n_removed, summary.n_added, summary.n_files),
        (12, 1, 1)
    );
    assert!(summary.removed_bytes > summary.added_bytes && summary.added_bytes > 0);
    assert_eq!(summary.version, Some(SourceVersion::Number(12)));
    assert_eq!(
        lines(&*store, all(SourceRef::table("weather"))).await,
        before
    );
    // The past is still there, and there is nothing more to do.
    let past = at("weather", SourceVersion::Number(3));
    assert_eq!(n_rows(&*store, past).await, 40);
    let again = optimise(&*store, "weather", Optimise::default())
        .await
        .unwrap();
    assert_eq!((again.n_removed, again.n_added, again.n_files), (0, 0, 1));

    let error = optimise(&*store, "nothing", Optimise::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P120", "{error}");
    let how = |column: &str| Optimise {
        order_by: vec![column.to_owned()],
        ..Optimise::default()
    };
    let error = optimise(&*store, "weather", how("tmp")).await.unwrap_err();
    assert!(error.message().contains("no such column"), "{error}");
    assert!(error.help_text().unwrap().contains("Temp"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn optimising_by_columns_puts_near_rows_together_within_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..6_i64 {
        let ids: Vec<i64> = (0..4_000).map(|i| (i * 7 + n * 13) % 4_000).collect();
        let rows = batch(vec![
            (
                "part",
                Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id % 2))) as ArrayRef,
            ),
            ("id", Arc::new(Int64Array::from(ids.clone()))),
            (
                "noise",
                Arc::new(StringArray::from_iter_values(
                    ids.iter()
                        .map(|id| format!("{:x}", id.wrapping_mul(0x9E37_79B9_7F4A))),
                )),
            ),
        ]);
        let write = OfflineWrite {
            partition_by: vec!["part".to_owned()],
            ..request("t", WriteMode::Append)
        };
        store.write(&cx(), write, stream(vec![rows])).await.unwrap();
    }
    let before = lines(&*store, all(SourceRef::table("t"))).await;
    let how = Optimise {
        target_bytes: Some(64 << 10),
        order_by: vec!["ID".to_owned()],
    };
    let summary = optimise(&*store, "t", how.clone()).await.unwrap();
    assert_eq!(summary.n_removed, 12);
    assert_eq!(lines(&*store, all(SourceRef::table("t"))).await, before);
    // In each partition the files' ranges follow each other.
    let files = query("SELECT part, id FROM t");
    let batches = read(&*store, all(files)).await.unwrap();
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
        24_000
    );
    let error = optimise(
        &*store,
        "t",
        Optimise {
            order_by: vec!["part".to_owned()],
            ..how
        },
    )
    .await
    .unwrap_err();
    assert!(
        error.message().contains("partitioned by it already"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_appended_while_a_table_is_optimised_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(&*store, "weather", weather("JFK", 0, 1))
        .await
        .unwrap();
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 1..30 {
                append(&*store, "weather", weather("JFK", n, 1))
                    .await
                    .unwrap();
            }
        })
    };
    for _ in 0..5 {
        optimise(&*store, "weather", Optimise::default())
            .await
            .unwrap();
    }
    writer.await.unwrap();
    let summary = optimise(&*store, "weather", Optimise::default())
        .await
        .unwrap();
    assert_eq!(summary.n_files, 1);
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_refuses_to_remove_what_may_be_needed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..3 {
        append(&*store, "weather", weather("JFK", n, 1))
            .await
            .unwrap();
    }
    optimise(&*store, "weather", Optimise::default())
        .await
        .unwrap();
    let hasty = Vacuum {
        retain_us: Some(DAY_US),
        ..Vacuum::default()
    };
    let error = vacuum(&*store, "weather", hasty).await.unwrap_err();
    assert_eq!(error.code(), "P515");
    assert_eq!(
        error.message(),
        "table \"weather\" keeps replaced files for 7d, and 1d is shorter; nothing was removed"
    );
    // Seven days keep everything here.
    let summary = vacuum(&*store, "weather", Vacuum::default()).await.unwrap();
    assert_eq!((summary.n_removed, summary.n_files), (0, 1));
    let data = folder.path().join("data/weather");
    assert_eq!(data_files(&data).len(), 4);
    // A file of a writer that was killed is named by no commit.
    std::fs::copy(&data_files(&data)[0], data.join("part-killed.parquet")).unwrap();
    let dry = Vacuum {
        dry_run: true,
        ..everything()
    };
    let planned = vacuum(&*store, "weather", dry).await.unwrap();
    assert_eq!((planned.n_removed, planned.removed.len()), (4, 4));
    assert!(planned.removed.contains(&"part-killed.parquet".to_owned()));
    assert!(planned.removed_bytes > 0);
    assert_eq!(data_files(&data).len(), 5);
    let done = vacuum(&*store, "weather", everything()).await.unwrap();
    assert_eq!(done.removed, planned.removed);
    assert_eq!(done.removed_bytes, planned.removed_bytes);
    assert_eq!(data_files(&data).len(), 1);
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 3);
    let error = failure(&*store, all(at("weather", SourceVersion::Number(1)))).await;
    assert_eq!(error.code(), "P504", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_after_delete_leaves_no_trace_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..3 {
        append(&*store, "weather", weather("JFK", n, 4))
            .await
            .unwrap();
        append(&*store, "weather", weather(KEY, n, 1))
            .await
            .unwrap();
    }
    store
        .delete(&cx(), &SourceRef::table("weather"), key_of(KEY))
        .await
        .unwrap();
    let data = folder.path().join("data");
    assert!(!files_with(&data, KEY.as_bytes()).is_empty());
    let summary = vacuum(&*store, "weather", everything()).await.unwrap();
    assert_eq!(summary.n_forgotten, 0);
    let named = files_with(&data, KEY.as_bytes());
    assert!(
        named.iter().all(|path| path.contains("_delta_log")),
        "{named:?}"
    );
    assert!(!named.is_empty());
    let forgetful = Vacuum {
        forget_history: true,
        ..everything()
    };
    let summary = vacuum(&*store, "weather", forgetful).await.unwrap();
    assert!(summary.n_forgotten > 0);
    assert_eq!(files_with(&data, KEY.as_bytes()), Vec::<String>::new());
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 12);
    append(&*store, "weather", weather("LGA", 0, 1))
        .await
        .unwrap();
    let store = open(folder.path()).await;
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 13);
    let error = failure(&*store, all(at("weather", SourceVersion::Number(1)))).await;
    assert_eq!(error.code(), "P506", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_s3_are_looked_after_too() {
    let Some(s3) = S3::start() else { return };
    let store = s3.store("care").await;
    for n in 0..4 {
        append(&*store, "weather", weather("JFK", n, 1))
            .await
            .unwrap();
    }
    let summary = optimise(&*store, "weather", Optimise::default())
        .await
        .unwrap();
    assert_eq!((summary.n_removed, summary.n_files), (4, 1));
    let summary = vacuum(&*store, "weather", everything()).await.unwrap();
    assert_eq!((summary.n_removed, summary.n_files), (4, 1));
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 4);
    let forgetful = Vacuum {
        forget_history: true,
        ..everything()
    };
    vacuum(&*store, "weather", forgetful).await.unwrap();
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 4);
}
