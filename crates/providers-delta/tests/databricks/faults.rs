//! What goes wrong on the way: starting warehouses, throttling, lost answers, links that expired,
//! callers that go away, statements that somebody cancels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use futures::StreamExt;
use provender_core::request::{
    FeatureColumn, KeyColumn, PointInTimeJoin, SourceRef, Spine, SpineRows, TimedSource, ViewJoin,
};
use provender_core::{BatchStream, Context, ValueType};
use serde_json::{Value, json};

use crate::support::*;

/// A join over a table of `k`, `at` and `f`, and a spine of so many rows.
pub fn spine_of(table: &str, n_rows: i64) -> (PointInTimeJoin, Spine) {
    let (join, rows) = join_over(table);
    let n_batches = usize::try_from(n_rows).unwrap().div_ceil(10);
    (join, spine_rows(rows.take(n_batches)))
}

/// The same with a spine that does not end.
fn endless_spine(table: &str) -> (PointInTimeJoin, Spine) {
    let (join, rows) = join_over(table);
    (join, spine_rows(rows))
}

fn spine_rows(rows: impl Iterator<Item = RecordBatch> + Send + 'static) -> Spine {
    let mut rows = rows.peekable();
    let schema = rows.peek().unwrap().schema();
    Spine::Rows(SpineRows {
        rows: BatchStream::new(schema, futures::stream::iter(rows.map(Ok))),
        timestamp: "t".to_owned(),
        row_number: "row".to_owned(),
    })
}

fn join_over(
    table: &str,
) -> (
    PointInTimeJoin,
    impl Iterator<Item = RecordBatch> + Send + 'static,
) {
    let join = PointInTimeJoin {
        views: vec![ViewJoin {
            name: "v".to_owned(),
            source: TimedSource {
                source: SourceRef::table(table),
                timestamp: "at".to_owned(),
                created_timestamp: None,
                tie_breakers: Vec::new(),
            },
            keys: vec![KeyColumn {
                spine: "k".to_owned(),
                column: "k".to_owned(),
                value_type: ValueType::Int64,
            }],
            ttl_us: None,
            features: vec![FeatureColumn {
                column: "f".to_owned(),
                output: "f".to_owned(),
                value_type: ValueType::Float64,
                checked: false,
            }],
            aggregations: Vec::new(),
        }],
        as_known: false,
    };
    let rows = (0..).map(|at: i64| {
        let numbers = at * 10..at * 10 + 10;
        let times = numbers.clone().map(|n| n * 1_000_000);
        RecordBatch::try_from_iter([
            (
                "k",
                Arc::new(Int64Array::from_iter_values(numbers.clone())) as ArrayRef,
            ),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
            ),
            ("row", Arc::new(Int64Array::from_iter_values(numbers))),
        ])
        .unwrap()
    });
    (join, rows)
}

fn n_statements(state: &Value, text: &str, in_state: &str) -> usize {
    let all = state["statements"].as_array().unwrap().iter();
    all.filter(|one| one["sql"].as_str().unwrap().contains(text) && one["state"] == in_state)
        .count()
}

#[tokio::test]
async fn a_starting_warehouse_is_waited_for() {
    let Some(workspace) = Workspace::stand_in(json!({"pending": 6})).await else {
        return;
    };
    let store = workspace.open().await;
    append(&*store, "t", numbered(3)).await.unwrap();
    assert_eq!(n_rows(&*store, "t").await, 3);
}

#[tokio::test]
async fn a_warehouse_that_does_not_start_in_time_is_named() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open().await;
    append(&*store, "t", numbered(3)).await.unwrap();
    workspace.set(json!({"pending": 1_000_000})).await;
    let cx = Context::new("test").with_timeout(Duration::from_millis(700));
    let error = store
        .scan(&cx, all(SourceRef::table("t")))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P905", "{error}");
    assert!(
        error
            .message()
            .contains("SQL warehouse abc123 had not begun the statement"),
        "{error}"
    );
    assert!(error.help_text().unwrap().contains("serverless"), "{error}");
    // What was asked for was cancelled before the error was told.
    assert_eq!(workspace.count("cancel").await, 1);
}

#[tokio::test]
async fn throttled_and_unavailable_requests_are_repeated() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open().await;
    append(&*store, "t", numbered(3)).await.unwrap();
    workspace
        .set(json!({"throttle": 2, "unavailable": 1}))
        .await;
    let begun = Instant::now();
    assert_eq!(n_rows(&*store, "t").await, 3);
    // Retry-After says a second, twice.
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(workspace.count("throttle").await, 2);
    assert_eq!(workspace.count("unavailable").await, 1);
}

#[tokio::test]
async fn a_lost_answer_repeats_reads_and_never_inserts() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open().await;
    append(&*store, "t", numbered(3)).await.unwrap();
    workspace.set(json!({"lost_answer": 1})).await;
    assert_eq!(n_rows(&*store, "t").await, 3);
    assert_eq!(workspace.count("lost_answer").await, 1);
    // Of an insert nobody knows whether it ran, and it did.
    workspace
        .set(json!({"lost_answer": 1, "lost_text": "INSERT INTO"}))
        .await;
    let error = append(&*store, "t", numbered(2)).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(
        error.help_text().unwrap().contains("query history"),
        "{error}"
    );
    assert_eq!(n_rows(&*store, "t").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_expired_or_fail_are_asked_for_anew() {
    let Some(workspace) = Workspace::stand_in(json!({"chunk_rows": 50})).await else {
        return;
    };
    let store = workspace.open().await;
    append(&*store, "t", numbered(1_000)).await.unwrap();
    let expected: Vec<i64> = (0..1_000).collect();
    for fault in [
        json!({"stale_links": 4}),
        json!({"link_unavailable": 3}),
        json!({"link_cut": 3}),
        // By their own account they have ended when they come.
        json!({"link_ttl": 3}),
    ] {
        workspace.set(fault.clone()).await;
        if fault.get("link_ttl").is_some() {
            workspace.set(json!({"link_ttl": 7})).await;
        }
        assert_eq!(keys(&*store, "t").await, expected, "{fault}");
    }
    for (fault, n) in [("stale_links", 4), ("link_unavailable", 3), ("link_cut", 3)] {
        assert_eq!(workspace.count(fault).await, n, "{fault}");
    }
    // A link is read slowly, and the next ones have expired meanwhile.
    workspace.set(json!({"link_ttl": 6})).await;
    let store = workspace
        .with(json!({"parallel_downloads": 1}))
        .open()
        .await;
    let mut n_rows = 0;
    for mut stream in store.scan(&cx(), all(SourceRef::table("t"))).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        while let Some(batch) = stream.batches.next().await {
            n_rows += batch.unwrap().num_rows();
        }
    }
    assert_eq!(n_rows, 1_000);
    assert_eq!(workspace.count("link_with_token").await, 0);
    workspace
        .set(json!({"link_ttl": 900, "stale_links": 1_000_000}))
        .await;
    let error = failure(&*store, all(SourceRef::table("t"))).await;
    assert_eq!(error.code(), "P503", "{error}");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_its_statement() {
    let Some(workspace) = Workspace::stand_in(json!({"slow": "forever"})).await else {
        return;
    };
    let store = workspace.open().await;
    let forever = query("SELECT 1 AS forever");
    let is_running = |n| move |state: &Value| n_statements(state, "forever", "RUNNING") == n;
    let is_cancelled = |n| move |state: &Value| n_statements(state, "forever", "CANCELED") == n;
    // Dropped.
    let waiting = store.clone();
    let source = forever.clone();
    let task = tokio::spawn(async move { waiting.schema(&cx(), &source).await });
    workspace.until("it runs", is_running(1)).await;
    task.abort();
    workspace.until("it is cancelled", is_cancelled(1)).await;
    // Cancelled.
    let cx = Context::new("test");
    let (waiting, given) = (store.clone(), cx.clone());
    let source = forever.clone();
    let task = tokio::spawn(async move { waiting.schema(&given, &source).await });
    workspace.until("it runs", is_running(1)).await;
    cx.cancel();
    let error = task.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "P906", "{error}");
    workspace.until("it is cancelled", is_cancelled(2)).await;
    // Out of time.
    let cx = Context::new("test").with_timeout(Duration::from_millis(1_500));
    let error = store.schema(&cx, &forever).await.unwrap_err();
    assert_eq!(error.code(), "P905", "{error}");
    workspace.until("it is cancelled", is_cancelled(3)).await;
}

#[tokio::test]
async fn a_statement_that_somebody_cancels_is_told_as_that() {
    let Some(workspace) = Workspace::stand_in(json!({"cancel": "stopped"})).await else {
        return;
    };
    let store = workspace.open().await;
    let error = failure(&*store, all(query("SELECT 1 AS stopped"))).await;
    assert_eq!(error.code(), "P906", "{error}");
    assert!(
        error.message().contains("was cancelled in Databricks"),
        "{error}"
    );
}

#[tokio::test]
async fn spines_leave_no_table_behind() {
    let Some(workspace) = Workspace::stand_in(json!({"chunk_rows": 20})).await else {
        return;
    };
    let store = workspace
        .with(json!({"inline_rows": 5, "insert_bytes": 2_000}))
        .open()
        .await;
    append(&*store, "t", numbered(50)).await.unwrap();
    // Read to its end.
    let (join, spine) = spine_of("t", 200);
    let answer = store.point_in_time_join(&cx(), join, spine).await.unwrap();
    assert_eq!(workspace.n_left().await, 1);
    let rows = answer.collect().await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 200);
    assert_eq!(workspace.n_left().await, 0);
    // No value of the spine is part of a statement.
    let state = workspace.state().await;
    let inserts = state["statements"].as_array().unwrap().iter();
    let inserts: Vec<&Value> = inserts
        .filter(|one| {
            one["sql"]
                .as_str()
                .unwrap()
                .starts_with("INSERT INTO `sail`")
        })
        .collect();
    assert!(
        inserts.len() > 3 && inserts.iter().all(|one| one["parameters"] == 1),
        "{inserts:?}"
    );
    let is_gone = |state: &Value| {
        let tables = state["tables"].as_array().unwrap().iter();
        let own = format!("{}.provender_tmp", workspace.name.as_ref().unwrap());
        !tables
            .into_iter()
            .any(|table| table.as_str().unwrap().contains(&own))
    };
    // Dropped half read.
    let (join, spine) = spine_of("t", 200);
    let mut answer = store.point_in_time_join(&cx(), join, spine).await.unwrap();
    answer.batches.next().await.unwrap().unwrap();
    drop(answer);
    workspace.until("the table is gone", is_gone).await;
    // Failing in the middle.
    workspace.set(json!({"cancel": "pv_spine"})).await;
    let (join, spine) = spine_of("t", 200);
    let error = store
        .point_in_time_join(&cx(), join, spine)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P906", "{error}");
    assert_eq!(workspace.n_left().await, 0);
    workspace.set(json!({"cancel": null})).await;
    // Cancelled while it is uploaded.
    let cx = Context::new("test");
    let (join, spine) = endless_spine("t");
    let (waiting, given) = (store.clone(), cx.clone());
    let task = tokio::spawn(async move { waiting.point_in_time_join(&given, join, spine).await });
    workspace
        .until("it is uploaded", |state| {
            !is_gone(state) && n_statements(state, "INSERT INTO `sail`", "SUCCEEDED") > 20
        })
        .await;
    cx.cancel();
    assert_eq!(task.await.unwrap().unwrap_err().code(), "P906");
    workspace.until("the table is gone", is_gone).await;
}

#[tokio::test]
async fn a_conflicting_writer_is_waited_out() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open().await;
    append(&*store, "t", numbered(1)).await.unwrap();
    workspace.set(json!({"conflict": 2})).await;
    append(&*store, "t", numbered(2)).await.unwrap();
    assert_eq!(workspace.count("conflict").await, 2);
    assert_eq!(n_rows(&*store, "t").await, 3);
}

#[tokio::test]
async fn tables_of_killed_processes_are_dropped_and_no_others() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let workspace = workspace.with(json!({"inline_rows": 5}));
    let store = workspace.open().await;
    append(&*store, "t", numbered(50)).await.unwrap();
    // How this process names them.
    let (join, spine) = spine_of("t", 200);
    let answer = store.point_in_time_join(&cx(), join, spine).await.unwrap();
    let state = workspace.state().await;
    let tables = state["tables"].as_array().unwrap().iter();
    let mut own = tables.filter_map(|table| {
        let start = format!("{}.provender_tmp_", workspace.name.as_ref().unwrap());
        Some(table.as_str()?.split_once(&start)?.1.to_owned())
    });
    let own = own.next().unwrap();
    drop(answer);
    let mut parts = own.rsplitn(4, '_');
    let (_, now_us, pid, place) = (parts.next(), parts.next(), parts.next(), parts.next());
    let (now_us, place) = (now_us.unwrap(), place.unwrap());
    assert_eq!(pid, Some(&*std::process::id().to_string()));
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    let gone = ended.id();
    ended.wait().unwrap();
    let week_ago = now_us.parse::<i64>().unwrap() - 8 * 86_400_000_000;
    let me = std::process::id();
    let left = [
        format!("provender_tmp_{place}_{gone}_{now_us}_0"),
        format!("provender_tmp_elsewhere_1_{me}_{week_ago}_0"),
    ];
    let kept = [
        format!("provender_tmp_{place}_{me}_{now_us}_7"),
        format!("provender_tmp_elsewhere_1_{gone}_{now_us}_0"),
        "provender_tmp_mine".to_owned(),
    ];
    for table in left.iter().chain(&kept) {
        let full = workspace.full(table).replace('.', "`.`");
        workspace
            .sql(&format!("CREATE TABLE `{full}` (k BIGINT) USING DELTA"))
            .await;
    }
    let is_there = |state: &Value, table: &String| {
        let mut tables = state["tables"].as_array().unwrap().iter();
        tables.any(|known| *known == json!(workspace.full(table)))
    };
    assert!(
        left.iter()
            .chain(&kept)
            .all(|table| workspace.full(table).len() < 255)
    );
    // The first upload of another process, which a store that is opened anew is like.
    let (join, spine) = spine_of("t", 200);
    let store = workspace.open().await;
    let answer = store.point_in_time_join(&cx(), join, spine).await.unwrap();
    answer.collect().await.unwrap();
    workspace
        .until("they are dropped", |state| {
            !left.iter().any(|table| is_there(state, table))
        })
        .await;
    let state = workspace.state().await;
    assert!(kept.iter().all(|table| is_there(&state, table)), "{state}");
}
