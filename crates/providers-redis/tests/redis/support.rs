//! Stores, layouts and rows of these tests.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use provender_core::model::JoinKey;
use provender_core::provider::{OnlineReader, OnlineStore};
use provender_core::request::{OnlineRows, ReadPlan, ViewLayout, ViewRead, WriteSummary};
use provender_core::{BatchStream, Context, ErrorKind, Result, ValueType};
use provender_providers_redis::RedisOnlineStore;
use serde_json::{Value, json};

use crate::servers::{Cluster, Sentinel, Server};

/// Calls of tests that expect nothing to fail.
pub fn cx() -> Context {
    Context::new("p").with_timeout(Duration::from_secs(30))
}

pub fn open(options: Value) -> RedisOnlineStore {
    RedisOnlineStore::from_options(options).unwrap()
}

pub fn on(server: &Server) -> RedisOnlineStore {
    open(json!({"url": server.url()}))
}

pub fn on_cluster(cluster: &Cluster) -> RedisOnlineStore {
    open(cluster_options(cluster))
}

pub fn cluster_options(cluster: &Cluster) -> Value {
    json!({"urls": urls(&cluster.addresses())})
}

pub fn on_sentinel(sentinel: &Sentinel) -> RedisOnlineStore {
    open(sentinel_options(sentinel))
}

pub fn sentinel_options(sentinel: &Sentinel) -> Value {
    json!({
        "urls": urls(&sentinel.addresses()),
        "sentinel": {"master": crate::servers::PRIMARY_NAME},
    })
}

fn urls(addresses: &str) -> Vec<String> {
    let each = addresses.split(',');
    each.map(|address| format!("redis://{address}")).collect()
}

/// A view with a string key, a number and a text.
pub fn layout(view: &str) -> ViewLayout {
    ViewLayout {
        project: "p".to_owned(),
        view: view.to_owned(),
        version: 1,
        join_keys: vec![JoinKey {
            name: "id".to_owned(),
            value_type: ValueType::String,
        }],
        features: vec![
            ("value".to_owned(), ValueType::Int64),
            ("label".to_owned(), ValueType::String),
        ],
        tie_breakers: Vec::new(),
        ttl_us: None,
    }
}

/// A key, an event time that is the value as well, and the text that belongs to them.
pub fn row(key: &str, value: i64) -> (String, i64, String) {
    (key.to_owned(), value, label(key, value))
}

pub fn label(key: &str, value: i64) -> String {
    format!("{key} at {value}")
}

pub fn batch(layout: &ViewLayout, rows: &[(String, i64, String)]) -> RecordBatch {
    let n_rows = rows.len();
    let values = || rows.iter().map(|(_, value, _)| *value);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(values()).with_timezone("UTC")),
        Arc::new(TimestampMicrosecondArray::new_null(n_rows).with_timezone("UTC")),
        Arc::new(BooleanArray::from(vec![false; n_rows])),
        Arc::new(Int64Array::from_iter_values(values())),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.2))),
    ];
    RecordBatch::try_new(Arc::new(layout.write_schema()), columns).unwrap()
}

pub fn keys(layout: &ViewLayout, keys: &[String]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(keys));
    RecordBatch::try_new(Arc::new(layout.key_schema()), vec![column]).unwrap()
}

pub async fn try_write(
    cx: &Context,
    store: &RedisOnlineStore,
    layout: &ViewLayout,
    rows: &[(String, i64, String)],
) -> Result<WriteSummary> {
    let schema = Arc::new(layout.write_schema());
    let rows = BatchStream::from_batches(schema, vec![batch(layout, rows)]);
    store.write(cx, layout, rows).await
}

pub async fn write(store: &RedisOnlineStore, layout: &ViewLayout, rows: &[(String, i64, String)]) {
    try_write(&cx(), store, layout, rows).await.unwrap();
}

pub async fn reader(store: &RedisOnlineStore, layout: &ViewLayout) -> Arc<dyn OnlineReader> {
    let plan = ReadPlan {
        keys: layout.join_keys.clone(),
        views: vec![ViewRead {
            layout: Arc::new(layout.clone()),
            key_columns: vec![0],
            features: vec![0, 1],
        }],
    };
    store.prepare(&cx(), Arc::new(plan)).await.unwrap()
}

/// One answer per key: event time, value and text.
pub fn answers(rows: &OnlineRows) -> Vec<Option<(i64, i64, String)>> {
    let view = &rows.views[0];
    let values = view.features[0].as_primitive::<Int64Type>();
    let labels = view.features[1].as_string::<i32>();
    (0..view.event_times.len())
        .map(|row| {
            view.event_times.is_valid(row).then(|| {
                (
                    view.event_times.value(row),
                    values.value(row),
                    labels.value(row).to_owned(),
                )
            })
        })
        .collect()
}

/// The values of keys, none of which may be unreadable or mixed.
pub async fn read(
    store: &RedisOnlineStore,
    layout: &ViewLayout,
    wanted: &[String],
) -> Vec<Option<i64>> {
    let reader = reader(store, layout).await;
    let rows = reader.read(&cx(), &keys(layout, wanted)).await.unwrap();
    assert_eq!(rows.views[0].unreadable, Vec::new());
    let found = wanted.iter().zip(answers(&rows));
    found
        .map(|(key, found)| {
            found.map(|(event, value, text)| {
                assert_eq!((event, text), (value, label(key, value)));
                value
            })
        })
        .collect()
}

pub fn numbered(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("key-{i:06}")).collect()
}

/// Rows of one value for many keys.
pub fn rows(keys: &[String], value: i64) -> Vec<(String, i64, String)> {
    keys.iter().map(|key| row(key, value)).collect()
}

/// What a call may answer while Redis is away.
pub fn is_away(error: &provender_core::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded
    )
}

/// Tries until it works: for what needs a moment after a server is up again.
pub async fn soon<T, F>(mut work: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T>>,
{
    let deadline = std::time::Instant::now() + crate::servers::PATIENCE;
    loop {
        match work().await {
            Ok(done) => return done,
            Err(error) => {
                assert!(std::time::Instant::now() < deadline, "{error:?}");
                assert!(is_away(&error), "{error:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
