//! Layouts, rows, and the naive map that says what is right.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use provender_core::model::JoinKey;
use provender_core::provider::{OnlineReader, OnlineStore};
use provender_core::request::{OnlineRows, ReadPlan, ViewLayout, ViewRead, WriteSummary};
use provender_core::{BatchStream, Context, Result, ValueType};
use provender_providers_local::LocalOnlineStore;

pub const HOUR: i64 = 3_600_000_000;

pub fn cx() -> Context {
    Context::new("p")
}

/// A view with a string key, a number, a text, and one tie breaker.
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
        tie_breakers: vec![ValueType::Int64],
        ttl_us: None,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: String,
    pub event: i64,
    pub created: Option<i64>,
    pub tie: Option<i64>,
    pub tombstone: bool,
    pub value: i64,
    pub label: String,
}

pub fn row(key: impl Into<String>, event: i64, value: i64) -> Row {
    Row {
        key: key.into(),
        event,
        created: None,
        tie: None,
        tombstone: false,
        value,
        label: String::new(),
    }
}

impl Row {
    pub fn order(&self) -> (i64, Option<i64>, Option<i64>) {
        (self.event, self.created, self.tie)
    }

    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}

/// What the store should hold: the newest row of each key, whatever the order of writes.
#[derive(Clone, Debug, Default)]
pub struct Model(pub BTreeMap<String, Row>);

impl Model {
    /// Answers whether the row changed something.
    pub fn write(&mut self, row: &Row) -> bool {
        match self.0.get(&row.key) {
            Some(held) if held.order() > row.order() => false,
            _ => {
                self.0.insert(row.key.clone(), row.clone());
                true
            }
        }
    }

    pub fn read(&self, key: &str) -> Option<(i64, i64)> {
        let row = self.0.get(key).filter(|row| !row.tombstone);
        row.map(|row| (row.event, row.value))
    }
}

pub fn batch(layout: &ViewLayout, rows: &[Row]) -> RecordBatch {
    let times = |times: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.key))),
        times(rows.iter().map(|r| Some(r.event)).collect()),
        times(rows.iter().map(|r| r.created).collect()),
        Arc::new(BooleanArray::from_iter(
            rows.iter().map(|r| Some(r.tombstone)),
        )),
        Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.tie))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.value))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.label))),
    ];
    RecordBatch::try_new(Arc::new(layout.write_schema()), columns).unwrap()
}

pub fn keys(layout: &ViewLayout, keys: &[String]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(keys));
    RecordBatch::try_new(Arc::new(layout.key_schema()), vec![column]).unwrap()
}

pub fn store(path: &Path) -> LocalOnlineStore {
    LocalOnlineStore::at(path, None).unwrap()
}

pub async fn try_write(
    store: &LocalOnlineStore,
    layout: &ViewLayout,
    rows: &[Row],
) -> Result<WriteSummary> {
    let stream =
        BatchStream::from_batches(Arc::new(layout.write_schema()), vec![batch(layout, rows)]);
    store.write(&cx(), layout, stream).await
}

pub async fn write(store: &LocalOnlineStore, layout: &ViewLayout, rows: &[Row]) -> WriteSummary {
    try_write(store, layout, rows).await.unwrap()
}

pub fn plan(layout: &ViewLayout) -> Arc<ReadPlan> {
    Arc::new(ReadPlan {
        keys: layout.join_keys.clone(),
        views: vec![ViewRead {
            layout: Arc::new(layout.clone()),
            key_columns: vec![0],
            features: vec![0],
        }],
    })
}

pub async fn reader(store: &LocalOnlineStore, layout: &ViewLayout) -> Arc<dyn OnlineReader> {
    store.prepare(&cx(), plan(layout)).await.unwrap()
}

/// One answer per key: event time and value.
pub fn answers(rows: &OnlineRows) -> Vec<Option<(i64, i64)>> {
    let view = &rows.views[0];
    let values = view.features[0].as_primitive::<Int64Type>();
    (0..view.event_times.len())
        .map(|row| {
            view.event_times
                .is_valid(row)
                .then(|| (view.event_times.value(row), values.value(row)))
        })
        .collect()
}

pub async fn try_read(
    store: &LocalOnlineStore,
    layout: &ViewLayout,
    wanted: &[String],
) -> Result<OnlineRows> {
    let reader = store.prepare(&cx(), plan(layout)).await?;
    reader.read(&cx(), &keys(layout, wanted)).await
}

pub async fn read(
    store: &LocalOnlineStore,
    layout: &ViewLayout,
    wanted: &[String],
) -> Vec<Option<(i64, i64)>> {
    let rows = try_read(store, layout, wanted).await.unwrap();
    assert_eq!(rows.views[0].unreadable, Vec::new());
    answers(&rows)
}

/// Reads every key of the model, and one that is not there.
pub async fn agrees(store: &LocalOnlineStore, layout: &ViewLayout, model: &Model) {
    let mut wanted: Vec<String> = model.0.keys().cloned().collect();
    wanted.push("nobody".to_owned());
    let found = read(store, layout, &wanted).await;
    for (key, found) in wanted.iter().zip(found) {
        assert_eq!(found, model.read(key), "{key:?}");
    }
}

/// The file of a view's generation.
pub fn data_file(root: &Path, layout: &ViewLayout, generation: u32) -> std::path::PathBuf {
    root.join(&layout.project)
        .join(format!("{}@{}", layout.view, layout.version))
        .join(format!("{generation:04}"))
        .join("data.mdb")
}

pub fn numbered(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("key-{i:06}")).collect()
}
