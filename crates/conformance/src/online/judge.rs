//! Calls of a store, and the comparison of what it answers with what is right.

use std::sync::Arc;

use arrow_array::Array;
use provender_core::model::JoinKey;
use provender_core::provider::{OnlineReader, OnlineStore};
use provender_core::request::{ReadPlan, ViewLayout, ViewRead, ViewRows, WriteSummary};
use provender_core::time::instant_type;
use provender_core::{BatchStream, Context, ValueType};

use super::{ensure, works};
use crate::generate::{OnlineStep, key_batch, write_batch};
use crate::oracle::{LatestRows, OnlineRow, Value};

/// Version 1 of a view.
pub(super) fn layout(
    cx: &Context,
    view: &str,
    keys: &[ValueType],
    features: &[ValueType],
) -> ViewLayout {
    let features = features.iter().enumerate();
    ViewLayout {
        project: cx.project().to_owned(),
        view: view.to_owned(),
        version: 1,
        join_keys: join_keys(keys),
        features: features
            .map(|(at, value_type)| (format!("f{at}"), value_type.clone()))
            .collect(),
        tie_breakers: Vec::new(),
        ttl_us: None,
    }
}

/// Keys `k0`, `k1` and so on.
pub(super) fn join_keys(types: &[ValueType]) -> Vec<JoinKey> {
    let types = types.iter().enumerate();
    types
        .map(|(at, value_type)| JoinKey {
            name: format!("k{at}"),
            value_type: value_type.clone(),
        })
        .collect()
}

/// A live row without created time.
pub(super) fn row(key: Vec<Value>, event_us: i64, features: Vec<Value>) -> OnlineRow {
    OnlineRow {
        key,
        event_us,
        created_us: None,
        ties: Vec::new(),
        is_tombstone: false,
        features,
    }
}

/// A tombstone; its features are values that nobody may see.
pub(super) fn tombstone(key: Vec<Value>, event_us: i64, features: Vec<Value>) -> OnlineRow {
    OnlineRow {
        is_tombstone: true,
        ..row(key, event_us, features)
    }
}

pub(super) fn int(value: i128) -> Value {
    Value::Int(value)
}

pub(super) fn string(value: &str) -> Value {
    Value::String(value.to_owned())
}

/// What a store holds after these rows were written in order.
pub(super) fn latest(rows: &[OnlineRow]) -> LatestRows {
    let mut expected = LatestRows::default();
    for row in rows {
        expected.write(row.clone());
    }
    expected
}

/// Writes one batch.
pub(super) async fn write(
    store: &dyn OnlineStore,
    cx: &Context,
    layout: &ViewLayout,
    rows: &[OnlineRow],
) -> Result<WriteSummary, String> {
    write_batches(store, cx, layout, &[rows.to_vec()]).await
}

/// Writes batches in one call.
pub(super) async fn write_batches(
    store: &dyn OnlineStore,
    cx: &Context,
    layout: &ViewLayout,
    batches: &[Vec<OnlineRow>],
) -> Result<WriteSummary, String> {
    let batches = batches
        .iter()
        .map(|rows| write_batch(layout, rows))
        .collect::<Result<Vec<_>, _>>()?;
    let n_rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    let stream = BatchStream::from_batches(Arc::new(layout.write_schema()), batches);
    let summary = works("write", store.write(cx, layout, stream).await)?;
    ensure(summary.n_rows == n_rows as u64, || {
        format!("a write of {n_rows} rows took in {}", summary.n_rows)
    })?;
    ensure(summary.n_applied <= summary.n_rows, || {
        format!("a write applied more rows than it took in: {summary:?}")
    })?;
    Ok(summary)
}

/// Deletes keys.
pub(super) async fn delete(
    store: &dyn OnlineStore,
    cx: &Context,
    layout: &ViewLayout,
    keys: &[Vec<Value>],
) -> Result<(), String> {
    let keys = key_batch(&layout.join_keys, keys)?;
    works("delete", store.delete(cx, layout, keys).await)
}

/// Makes a store do a step of a history.
pub(super) async fn perform(
    store: &dyn OnlineStore,
    cx: &Context,
    layout: &ViewLayout,
    step: &OnlineStep,
) -> Result<(), String> {
    match step {
        OnlineStep::Write(batches) => {
            write_batches(store, cx, layout, batches).await?;
            Ok(())
        }
        OnlineStep::Delete(keys) => delete(store, cx, layout, keys).await,
    }
}

/// Prepares a read of one view by its own keys.
pub(super) async fn prepare(
    store: &dyn OnlineStore,
    cx: &Context,
    layout: &ViewLayout,
    features: &[usize],
) -> Result<Arc<dyn OnlineReader>, String> {
    let plan = plan(layout, features);
    works("prepare", store.prepare(cx, Arc::new(plan)).await)
}

/// A plan of one view by its own keys.
pub(super) fn plan(layout: &ViewLayout, features: &[usize]) -> ReadPlan {
    // What reads is told only what reads need.
    let layout = ViewLayout {
        tie_breakers: Vec::new(),
        ..layout.clone()
    };
    ReadPlan {
        keys: layout.join_keys.clone(),
        views: vec![ViewRead {
            key_columns: (0..layout.join_keys.len()).collect(),
            features: features.to_vec(),
            layout: Arc::new(layout),
        }],
    }
}

/// Reads keys with a reader of one view.
pub(super) async fn read(
    reader: &dyn OnlineReader,
    cx: &Context,
    layout: &ViewLayout,
    keys: &[Vec<Value>],
) -> Result<ViewRows, String> {
    let keys = key_batch(&layout.join_keys, keys)?;
    let mut rows = works("read", reader.read(cx, &keys).await)?;
    ensure(rows.views.len() == 1, || {
        format!("one view was asked, {} answered", rows.views.len())
    })?;
    Ok(rows.views.remove(0))
}

/// Reads all features of keys and compares them with the oracle.
pub(super) async fn check(
    store: &dyn OnlineStore,
    cx: &Context,
    layout: &ViewLayout,
    keys: &[Vec<Value>],
    expected: &LatestRows,
) -> Result<(), String> {
    let features: Vec<usize> = (0..layout.features.len()).collect();
    let reader = prepare(store, cx, layout, &features).await?;
    check_reader(reader.as_ref(), cx, layout, &features, keys, expected).await
}

/// Reads keys with a reader of one view and compares them with the oracle.
pub(super) async fn check_reader(
    reader: &dyn OnlineReader,
    cx: &Context,
    layout: &ViewLayout,
    features: &[usize],
    keys: &[Vec<Value>],
    expected: &LatestRows,
) -> Result<(), String> {
    let rows = read(reader, cx, layout, keys).await?;
    judge(&rows, layout, features, keys, |key| vec![expected.get(key)])
}

/// Compares a view's rows with those that may be answered for each key; `None` is no row.
pub(super) fn judge<'a>(
    rows: &ViewRows,
    layout: &ViewLayout,
    features: &[usize],
    keys: &[Vec<Value>],
    accepted: impl Fn(&[Value]) -> Vec<Option<&'a OnlineRow>>,
) -> Result<(), String> {
    let n_rows = keys.len();
    let view = format!("view {}@{}", layout.view, layout.version);
    if let Some((at, reason)) = rows.unreadable.first() {
        return Err(format!("{view}: row {at} is unreadable: {reason}"));
    }
    ensure(*rows.event_times.data_type() == instant_type(), || {
        let found = rows.event_times.data_type();
        format!("{view}: event times are of the type {found}")
    })?;
    ensure(rows.features.len() == features.len(), || {
        let n_found = rows.features.len();
        format!(
            "{view}: {} features asked, {n_found} answered",
            features.len()
        )
    })?;
    ensure(rows.event_times.len() == n_rows, || {
        let n_found = rows.event_times.len();
        format!("{view}: {n_rows} keys asked, {n_found} event times answered")
    })?;
    for (&feature, column) in features.iter().zip(&rows.features) {
        let (name, value_type) = &layout.features[feature];
        ensure(*column.data_type() == value_type.to_arrow(), || {
            let found = column.data_type();
            format!("{view}: feature {name} ({value_type}) is of the type {found}")
        })?;
        ensure(column.len() == n_rows, || {
            let n_found = column.len();
            format!("{view}: {n_rows} keys asked, {n_found} values of {name} answered")
        })?;
    }
    for (at, key) in keys.iter().enumerate() {
        let mut found = vec![Value::read(&rows.event_times, at)?];
        for column in &rows.features {
            found.push(Value::read(column.as_ref(), at)?);
        }
        let accepted: Vec<Vec<Value>> = accepted(key)
            .into_iter()
            .map(|row| expected_cells(row, features))
            .collect();
        let is_right = accepted
            .iter()
            .any(|row| row.iter().zip(&found).all(|(a, b)| a.is_identical(b)));
        ensure(is_right, || {
            let rows: Vec<String> = accepted.iter().map(|row| clip(row)).collect();
            format!(
                "{view}, key {} (row {at} of {n_rows}): {}expected [event time, features...] {}, got {}",
                describe(layout, key),
                first_difference(layout, features, &accepted, &found),
                rows.join(" or "),
                clip(&found)
            )
        })?;
    }
    Ok(())
}

/// The newest of these rows of a key, several if they tie fully: what may be held once all of them are
/// written in any order.
pub(super) fn winners<'a>(rows: &'a [OnlineRow], key: &[Value]) -> Vec<Option<&'a OnlineRow>> {
    let of_key = rows
        .iter()
        .filter(|row| crate::generate::is_same_key(&row.key, key));
    let mut winners: Vec<&OnlineRow> = Vec::new();
    for row in of_key {
        if winners
            .first()
            .is_some_and(|held| row.newness(held).is_gt())
        {
            winners.clear();
        }
        if winners.first().is_none_or(|held| row.newness(held).is_eq()) {
            winners.push(row);
        }
    }
    if winners.is_empty() {
        return vec![None];
    }
    let live = winners.into_iter();
    live.map(|row| (!row.is_tombstone).then_some(row)).collect()
}

fn expected_cells(row: Option<&OnlineRow>, features: &[usize]) -> Vec<Value> {
    let mut cells = vec![row.map_or(Value::Null, |row| Value::Timestamp(row.event_us))];
    for &feature in features {
        cells.push(row.map_or(Value::Null, |row| row.features[feature].clone()));
    }
    cells
}

/// The first cell that differs from the only row that is right, since great rows are cut.
fn first_difference(
    layout: &ViewLayout,
    features: &[usize],
    accepted: &[Vec<Value>],
    found: &[Value],
) -> String {
    let [expected] = accepted else {
        return String::new();
    };
    let mut cells = expected.iter().zip(found).enumerate();
    let Some((at, (expected, found))) = cells.find(|(_, (a, b))| !a.is_identical(b)) else {
        return String::new();
    };
    let name = match at.checked_sub(1) {
        Some(at) => &layout.features[features[at]].0,
        None => "the event time",
    };
    let text = |cell: &Value| cut(format!("{cell:?}"), 80);
    format!("{name} should be {}, is {}; ", text(expected), text(found))
}

fn describe(layout: &ViewLayout, key: &[Value]) -> String {
    let parts = layout.join_keys.iter().zip(key);
    let parts: Vec<String> = parts
        .map(|(join_key, value)| format!("{}={}", join_key.name, cut(format!("{value:?}"), 200)))
        .collect();
    format!("({})", parts.join(", "))
}

fn clip(cells: &[Value]) -> String {
    cut(format!("{cells:?}"), 400)
}

fn cut(text: String, n_chars: usize) -> String {
    match text.char_indices().nth(n_chars) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}
