//! What crosses the interface is given back: live bytes of the process, counted by its allocator, do
//! not grow with the number of calls, whether they work, fail, are cancelled, or are half read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(unused)]
#[path = "plugin/doubles.rs"]
mod doubles;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, new_null_array};
use futures::StreamExt;
use provender_conformance::generate::JoinCase;
use provender_core::model::JoinKey;
use provender_core::provider::{OfflineStore, OnlineStore};
use provender_core::request::{ReadPlan, Scan, SourceRef, ViewLayout, ViewRead};
use provender_core::{BatchStream, Context, ValueType};
use serde_json::json;

use crate::doubles::{config, hold, reference};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: everything is the system allocator's; the count changes nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const N_ROWS: usize = 200;

fn layout() -> ViewLayout {
    ViewLayout {
        project: "p".to_owned(),
        view: "v".to_owned(),
        version: 1,
        join_keys: vec![JoinKey {
            name: "k".to_owned(),
            value_type: ValueType::String,
        }],
        features: vec![
            ("text".to_owned(), ValueType::String),
            ("number".to_owned(), ValueType::Float64),
        ],
        tie_breakers: Vec::new(),
        ttl_us: None,
    }
}

fn keys() -> RecordBatch {
    let keys = StringArray::from_iter_values((0..N_ROWS).map(|i| format!("key {i}")));
    let keys: ArrayRef = Arc::new(keys);
    RecordBatch::try_from_iter_with_nullable([("k", keys, true)]).unwrap()
}

/// Rows of the layout, with a text too long to be held inline anywhere.
fn rows(layout: &ViewLayout) -> BatchStream {
    let schema = Arc::new(layout.write_schema());
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match (field.name().as_str(), field.data_type()) {
            ("k", _) => keys().column(0).clone(),
            ("text", _) => Arc::new(StringArray::from(vec!["a long text ".repeat(20); N_ROWS])),
            ("number", _) => Arc::new(Float64Array::from(vec![1.5; N_ROWS])),
            ("__event_timestamp", _) => {
                let times = arrow_array::TimestampMicrosecondArray::from(vec![1_000; N_ROWS]);
                Arc::new(times.with_data_type(field.data_type().clone()))
            }
            (_, arrow_schema::DataType::Boolean) => {
                Arc::new(arrow_array::BooleanArray::from(vec![false; N_ROWS]))
            }
            (_, other) => new_null_array(other, N_ROWS),
        }
    });
    let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
    BatchStream::from_batches(schema, vec![batch])
}

/// One of everything, through to the end and broken off.
async fn round(online: &dyn OnlineStore, offline: &dyn OfflineStore, table: &str) {
    let cx = Context::new("p");
    let layout = layout();
    online.write(&cx, &layout, rows(&layout)).await.unwrap();
    let plan = Arc::new(ReadPlan {
        keys: layout.join_keys.clone(),
        views: vec![ViewRead {
            layout: Arc::new(layout.clone()),
            key_columns: vec![0],
            features: vec![0, 1],
        }],
    });
    let reader = online.prepare(&cx, plan).await.unwrap();
    let answer = reader.read(&cx, &keys()).await.unwrap();
    assert_eq!(answer.views[0].event_times.len(), N_ROWS);
    // A write that fails in the middle of its rows, and keys of another shape.
    let schema = Arc::new(layout.write_schema());
    let failing = futures::stream::iter([Err(provender_core::Error::new(
        &provender_core::codes::CHECKED_CAST,
        "a value does not fit",
    ))]);
    let failing = BatchStream::new(schema, failing);
    assert!(online.write(&cx, &layout, failing).await.is_err());
    // A cancelled call.
    let gone = Context::new("p");
    gone.cancel();
    assert!(online.views(&gone).await.is_err());
    // A call whose caller goes away.
    drop(tokio::time::timeout(Duration::ZERO, online.views(&cx)).await);
    let scan = || Scan {
        source: SourceRef::table(table),
        columns: None,
        ranges: Vec::new(),
    };
    for stream in offline.scan(&cx, scan()).await.unwrap() {
        stream
            .batches
            .for_each(|batch| async move { drop(batch.unwrap()) })
            .await;
    }
    // Streams that nobody reads to their end, or at all.
    for mut stream in offline.scan(&cx, scan()).await.unwrap() {
        drop(stream.batches.next().await);
    }
    drop(offline.scan(&cx, scan()).await.unwrap());
    assert!(
        offline
            .schema(&cx, &SourceRef::table("nowhere"))
            .await
            .is_err()
    );
}

/// Live bytes once threads that are ending have ended.
async fn settled() -> isize {
    let mut last = isize::MAX;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let live = LIVE.load(Ordering::Relaxed);
        if live == last {
            break;
        }
        last = live;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_every_kind_leave_nothing_behind() {
    let case = JoinCase::random(3).unwrap();
    let table = case.tables.keys().next().unwrap().clone();
    hold("leaks", case.tables.clone(), case.scan);
    let cx = Context::new("p");
    let library = reference();
    let options = json!({"name": "leaks"});
    let online = library
        .open_online(&cx, config("memory", "online_store", options))
        .await
        .unwrap();
    let offline = library
        .open_offline(&cx, config("reference", "leaks", json!({})))
        .await
        .unwrap();
    for _ in 0..50 {
        round(&*online, &*offline, &table).await;
    }
    let before = settled().await;
    let n_rounds = 500;
    for _ in 0..n_rounds {
        round(&*online, &*offline, &table).await;
    }
    let after = settled().await;
    // A single buffer of a round that stayed would be far more; this is for tables that grew.
    let per_round = (after - before) / n_rounds;
    assert!(per_round < 100, "{per_round} bytes of each round stay");
    assert_eq!(library.n_open(), 0);
}
