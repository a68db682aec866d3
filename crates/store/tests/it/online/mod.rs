//! Online reads over stores in memory.

mod doubles;
mod random;
mod reads;
mod refusals;
mod statuses;
mod versions;

use arrow_array::{
    ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
    new_null_array,
};
use provender_conformance::Tables;
use provender_core::provider::{Interval, OnlineStore, Registry};
use provender_core::request::ViewLayout;
use provender_core::time::now_us;
use provender_core::{BatchStream, Result};
use provender_store::{FeatureStore, OnlineRequest, Selection};
use std::sync::Arc;

use crate::support::{
    DEFINITIONS, HOUR, Project, all_tables, batch, floats, hours, ints, strings, tables,
};

/// Views with other kinds of keys, beside those of all tests.
const MORE: &str = "
  - name: plane_facts
    entities: [plane]
    source: planes
    features: [{name: seats, type: int64}]
  - name: fuel
    source: fuel
    features: [{name: price, type: float64}]
  - name: traffic
    source: fuel
    aggregations: [{feature: n_prices, function: count, window: 1d}]
  - name: airport_notes
    entities: [airport]
    source: airports
    online_store: other
    features: [{name: height, type: int64, column: alt}]
on_demand_feature_views:
";

fn definitions() -> String {
    DEFINITIONS
        .replace("on_demand_feature_views:\n", &MORE[1..])
        .replace(
            "sources:\n",
            "  - {name: plane, join_keys: [{name: tail, type: int64}]}
sources:
  - {name: planes, table: planes, timestamp: seen}
  - {name: fuel, table: fuel, timestamp: at}
",
        )
}

fn more_tables() -> Tables {
    let mut all = all_tables();
    all.extend(tables(&[
        (
            "planes",
            batch(&[
                ("tail", ints(&[1])),
                ("seen", hours(&[0])),
                ("seats", ints(&[9])),
            ]),
        ),
        (
            "fuel",
            batch(&[("at", hours(&[0])), ("price", floats(&[1.0]))]),
        ),
    ]));
    all
}

/// A project with all definitions applied and nothing online.
async fn project() -> Project {
    let project = Project::new(more_tables()).await;
    project.apply(&definitions()).await;
    project
}

/// The instant so many hours ago.
fn ago(hours: i64) -> i64 {
    now_us() - hours * HOUR
}

/// Writes latest rows into the online store of a view.
async fn put(
    project: &Project,
    view: &str,
    version: u32,
    keys: Vec<ArrayRef>,
    events: &[i64],
    features: Vec<ArrayRef>,
) {
    let catalog = project.store.catalog(&project.cx).await.unwrap();
    let (_, definition) = catalog.feature_view(view, Some(version)).unwrap();
    let layout = ViewLayout::of("flights", version, &definition).unwrap();
    let times = TimestampMicrosecondArray::from(events.to_vec()).with_timezone("UTC");
    let schema = Arc::new(layout.write_schema());
    let created = new_null_array(schema.field(keys.len()).data_type(), events.len());
    let mut columns = keys;
    columns.push(Arc::new(times));
    columns.push(created);
    columns.push(Arc::new(BooleanArray::new_null(events.len())));
    columns.extend(features);
    let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let store = match definition.online_store.as_deref() {
        Some("other") => &project.other_online,
        _ => &project.online,
    };
    let rows = BatchStream::from_batches(schema, vec![rows]);
    store.write(&project.cx, &layout, rows).await.unwrap();
}

/// Records that a version was materialised.
async fn fill(project: &Project, view: &str, version: u32) {
    let interval = Interval {
        start_us: None,
        end_us: 0,
    };
    let view = project.view(view, version);
    let recorded = project
        .registry
        .record_interval(&project.cx, &view, interval)
        .await;
    recorded.unwrap();
}

/// Fresh weather at JFK, old weather at LGA, weather without values at EWR; heights of JFK and LGA;
/// departures from JFK to LGA.
async fn filled() -> Project {
    let project = project().await;
    let temp = Arc::new(arrow_array::Float64Array::from(vec![
        Some(20.0),
        Some(5.0),
        None,
    ]));
    let wind = Arc::new(arrow_array::Int64Array::from(vec![Some(2), Some(1), None]));
    put(
        &project,
        "airport_weather",
        1,
        vec![strings(&["JFK", "LGA", "EWR"])],
        &[ago(1), ago(5), ago(1)],
        vec![temp, wind],
    )
    .await;
    put(
        &project,
        "airport_facts",
        1,
        vec![strings(&["JFK", "LGA"])],
        &[0, 0],
        vec![ints(&[13, 21])],
    )
    .await;
    put(
        &project,
        "route_delay",
        1,
        vec![strings(&["JFK"]), strings(&["LGA"])],
        &[ago(1)],
        vec![ints(&[12]), ints(&[2])],
    )
    .await;
    project
}

fn features(list: &str) -> OnlineRequest {
    OnlineRequest::new(Selection::features(list).unwrap())
}

fn service(name: &str) -> OnlineRequest {
    OnlineRequest::new(Selection::service(name).unwrap())
}

fn with_status(mut request: OnlineRequest) -> OnlineRequest {
    request.status = true;
    request
}

async fn read_of(
    store: &FeatureStore,
    project: &Project,
    request: &OnlineRequest,
    input: &RecordBatch,
) -> Result<RecordBatch> {
    let query = store.prepare_online(&project.cx, request).await?;
    let call = query.bind(&input.schema())?;
    let answer = call.read(&project.cx, input).await?;
    assert_eq!(answer.schema_ref(), query.schema());
    assert_eq!(answer.num_rows(), input.num_rows());
    Ok(answer)
}

async fn read(
    project: &Project,
    request: &OnlineRequest,
    input: &RecordBatch,
) -> Result<RecordBatch> {
    read_of(&project.store, project, request, input).await
}

/// Rows without columns, as for views that are all global.
fn rows(n_rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    let schema = Arc::new(arrow_schema::Schema::empty());
    RecordBatch::try_new_with_options(schema, Vec::new(), &options).unwrap()
}

fn origins(values: &[Option<&str>]) -> RecordBatch {
    batch(&[(
        "origin",
        Arc::new(arrow_array::StringArray::from(values.to_vec())) as ArrayRef,
    )])
}
