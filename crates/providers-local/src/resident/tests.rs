#![allow(clippy::unwrap_used)]
use std::path::Path;

use arrow_array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use provender_core::model::JoinKey;
use provender_core::provider::{OnlineReader, OnlineStore, ProviderConfig, Resources};
use provender_core::request::{ReadPlan, ViewLayout, ViewRead, ViewRows};
use provender_core::{BatchStream, Context, ValueType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::{LocalConfig, LocalOnlineStore};

fn layout() -> ViewLayout {
    ViewLayout {
        project: "p".to_owned(),
        view: "v".to_owned(),
        version: 1,
        join_keys: vec![JoinKey {
            name: "id".to_owned(),
            value_type: ValueType::String,
        }],
        features: vec![("value".to_owned(), ValueType::Int64)],
        tie_breakers: Vec::new(),
        ttl_us: None,
    }
}

/// Key, event time, whether it is a tombstone.
type Write = (String, i64, bool);

async fn write(store: &LocalOnlineStore, rows: &[Write]) {
    let times = |times: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0))),
        times(rows.iter().map(|row| Some(row.1)).collect()),
        times(vec![None; rows.len()]),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.2)))),
        Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|row| row.1 * 7),
        )),
    ];
    let schema = Arc::new(layout().write_schema());
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let rows = BatchStream::new(schema, futures::stream::iter([Ok(batch)]));
    store
        .write(&Context::new("p"), &layout(), rows)
        .await
        .unwrap();
}

fn keys(keys: &[String]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(keys));
    RecordBatch::try_new(Arc::new(layout().key_schema()), vec![column]).unwrap()
}

async fn reader(store: &LocalOnlineStore) -> Arc<dyn OnlineReader> {
    let plan = ReadPlan {
        keys: layout().join_keys,
        views: vec![ViewRead {
            layout: Arc::new(layout()),
            key_columns: vec![0],
            features: vec![0],
        }],
    };
    store
        .prepare(&Context::new("p"), Arc::new(plan))
        .await
        .unwrap()
}

async fn read(reader: &dyn OnlineReader, wanted: &[String]) -> ViewRows {
    let answer = reader.read(&Context::new("p"), &keys(wanted)).await;
    answer.unwrap().views.remove(0)
}

fn store(path: &Path, cache_size: u64) -> LocalOnlineStore {
    let options = LocalConfig {
        path: path.to_owned(),
        cache_size: Some(cache_size),
        ..LocalConfig::default()
    };
    let config = ProviderConfig {
        scheme: "local".to_owned(),
        block: "online_store".to_owned(),
        options: serde_json::Map::new(),
        base_path: path.to_owned(),
        resources: Resources::default(),
    };
    LocalOnlineStore::open(&options, &config).unwrap()
}

/// Whether reads are answered from a copy now.
fn is_resident(store: &LocalOnlineStore) -> bool {
    let environment = store.slot(&layout().view_version()).current().unwrap();
    let txn = environment.read_txn().unwrap_or_else(|_| unreachable!());
    environment.resident.rows(txn.id()).is_some()
}

#[tokio::test]
async fn copied_rows_answer_as_lmdb_does_through_writes_deletes_and_drops() {
    let folder = tempfile::tempdir().unwrap();
    let copied = store(&folder.path().join("copied"), 1 << 30);
    let plain = store(&folder.path().join("plain"), 0);
    let (from_copy, from_lmdb) = (reader(&copied).await, reader(&plain).await);
    let mut rng = StdRng::seed_from_u64(11);
    // Keys of every kind of length: empty, short, and longer than LMDB takes.
    let all: Vec<String> = (0..300)
        .map(|n| match n {
            0 => String::new(),
            _ if n % 50 == 0 => format!("{n:0>600}"),
            _ => format!("{n}"),
        })
        .collect();
    let mut n_resident = 0;
    for round in 0..60 {
        match rng.random_range(0..10) {
            0 => {
                let some: Vec<String> = all.iter().step_by(7).cloned().collect();
                for store in [&copied, &plain] {
                    let (cx, layout) = (Context::new("p"), layout());
                    store.delete(&cx, &layout, keys(&some)).await.unwrap();
                }
            }
            1 if round > 20 => {
                for store in [&copied, &plain] {
                    let view = layout().view_version();
                    store.drop_view(&Context::new("p"), &view).await.unwrap();
                }
            }
            _ => {
                let rows: Vec<Write> = (0..rng.random_range(1..40))
                    .map(|_| {
                        let key = all[rng.random_range(0..all.len())].clone();
                        (key, rng.random_range(0..1_000), rng.random_bool(0.1))
                    })
                    .collect();
                write(&copied, &rows).await;
                write(&plain, &rows).await;
            }
        }
        if rng.random_bool(0.7) {
            copied.slot(&layout().view_version()).copy_rows();
        }
        for _ in 0..3 {
            let wanted: Vec<String> = (0..50)
                .map(|_| all[rng.random_range(0..all.len())].clone())
                .collect();
            let (one, other) = (
                read(&*from_copy, &wanted).await,
                read(&*from_lmdb, &wanted).await,
            );
            assert_eq!(one.event_times, other.event_times);
            assert_eq!(&one.features[0], &other.features[0]);
            assert_eq!(one.unreadable, other.unreadable);
        }
        let is_open = copied.slot(&layout().view_version()).current().is_some();
        if is_open && is_resident(&copied) {
            n_resident += 1;
        }
    }
    assert!(n_resident > 10, "{n_resident}");
}

#[tokio::test]
async fn view_that_is_read_a_lot_and_not_written_is_copied_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 1 << 30);
    let rows: Vec<Write> = (0..100).map(|n| (n.to_string(), n, false)).collect();
    let wanted: Vec<String> = rows.iter().map(|row| row.0.clone()).collect();
    write(&store, &rows).await;
    let reader = reader(&store).await;
    let started = Instant::now();
    let expected = read(&*reader, &wanted).await;
    assert!(!is_resident(&store));
    while !is_resident(&store) {
        assert!(started.elapsed() < Duration::from_secs(60));
        let answer = read(&*reader, &wanted).await;
        assert_eq!(answer.event_times, expected.event_times);
        tokio::task::yield_now().await;
    }
    assert!(started.elapsed() + Duration::from_millis(2) >= STILL);
    let answer = read(&*reader, &wanted).await;
    assert_eq!(&answer.features[0], &expected.features[0]);
    {
        let environment = store.slot(&layout().view_version()).current().unwrap();
        let txn = environment.read_txn().unwrap_or_else(|_| unreachable!());
        assert!(environment.resident.rows(txn.id()).unwrap().are_sound());
    }
    write(&store, &[("0".to_owned(), 1_000, false)]).await;
    assert!(!is_resident(&store));
    assert_eq!(read(&*reader, &wanted).await.event_times.value(0), 1_000);
}

#[tokio::test]
async fn copies_stay_within_the_budget_and_give_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<Write> = (0..1_000).map(|n| (n.to_string(), n, false)).collect();
    let small = store(&folder.path().join("small"), 20_000);
    write(&small, &rows).await;
    let _open = reader(&small).await;
    small.slot(&layout().view_version()).copy_rows();
    assert!(!is_resident(&small));

    let large = store(&folder.path().join("large"), 1 << 20);
    write(&large, &rows).await;
    let _open = reader(&large).await;
    let slot = large.slot(&layout().view_version());
    for _ in 0..20 {
        slot.copy_rows();
        assert!(is_resident(&large));
    }
    let budget = slot.current().unwrap().resident.budget.clone();
    let used = budget.used_bytes.load(Ordering::Relaxed);
    assert!((1..=1 << 20).contains(&used), "{used}");
    let view = layout().view_version();
    large.drop_view(&Context::new("p"), &view).await.unwrap();
    assert_eq!(budget.used_bytes.load(Ordering::Relaxed), 0);
}
