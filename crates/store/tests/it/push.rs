//! Rows that are pushed: into tables, online, and both.

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow_schema::Schema;
use provender_conformance::Table;
use provender_conformance::memory::OnlineCall;
use provender_conformance::oracle::{OnlineRow, Value};
use provender_core::{BatchStream, Error, ErrorKind, Result, codes};
use provender_store::{Push, PushSummary, PushTarget};
use std::sync::Arc;

use crate::support::{
    DEFINITIONS, HOUR, Project, TestStore, all_tables, batch, floats, hours, ints, strings, text,
};

pub async fn push(
    project: &Project,
    view: &str,
    to: PushTarget,
    rows: RecordBatch,
) -> Result<PushSummary> {
    push_with_id(project, view, to, None, rows).await
}

async fn push_with_id(
    project: &Project,
    view: &str,
    to: PushTarget,
    id: Option<&str>,
    rows: RecordBatch,
) -> Result<PushSummary> {
    let push = Push {
        view: view.to_owned(),
        to,
        id: id.map(str::to_owned),
    };
    let rows = Table::of(rows).stream();
    project.store.push(&project.cx, &push, rows).await
}

pub async fn refused(project: &Project, view: &str, to: PushTarget, rows: RecordBatch) -> Error {
    push(project, view, to, rows).await.unwrap_err()
}

/// Rows held online: key, hour, created hour, features.
pub fn held(project: &Project, view: &str, version: u32) -> Vec<String> {
    let rows = project.online.rows(&project.view(view, version));
    rows.iter().map(shown).collect()
}

fn shown(row: &OnlineRow) -> String {
    let values = |values: &[Value]| {
        let texts: Vec<String> = values.iter().map(value).collect();
        texts.join(" ")
    };
    let what = if row.is_tombstone {
        "tombstone".to_owned()
    } else {
        values(&row.features)
    };
    format!(
        "{} at {}: {what}",
        values(&row.key),
        row.event_us as f64 / HOUR as f64
    )
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Float64(value) => value.to_string(),
        Value::String(value) => value.clone(),
        other => format!("{other:?}"),
    }
}

pub fn table(project: &Project, name: &str) -> RecordBatch {
    project.offline.inner.tables()[name].one_batch().unwrap()
}

/// One row of weather, columns in no order of the definitions.
fn jfk(hour: i64, temp: f64) -> RecordBatch {
    batch(&[
        ("wind", ints(&[7])),
        ("temp", floats(&[temp])),
        ("time", hours(&[hour])),
        ("origin", strings(&["JFK"])),
    ])
}

pub async fn applied() -> Project {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    project
}

async fn is_pushed(project: &Project, view: &str) -> bool {
    let status = project.store.status(&project.cx).await.unwrap();
    status.iter().any(|one| one.view.view == view && one.pushed)
}

#[tokio::test]
async fn a_push_to_both_reaches_the_table_and_the_online_store() {
    let project = applied().await;
    let summary = push(&project, "airport_weather", PushTarget::Both, jfk(10, 50.5))
        .await
        .unwrap();
    assert_eq!(summary.view, project.view("airport_weather", 1));
    assert_eq!(summary.n_rows, 1);
    assert_eq!(summary.offline.unwrap().n_applied, 1);
    assert_eq!(summary.online.unwrap().n_applied, 1);
    let weather = table(&project, "weather");
    assert_eq!(text(&weather, "temp").last().unwrap(), "50.5");
    assert_eq!(text(&weather, "WIND").last().unwrap(), "7");
    assert_eq!(held(&project, "airport_weather", 1), ["JFK at 10: 50.5 7"]);
    assert!(is_pushed(&project, "airport_weather").await);
    assert!(!is_pushed(&project, "airport_facts").await);
}

#[tokio::test]
async fn online_and_offline_alone_leave_the_other_as_it_was() {
    let project = applied().await;
    let before = table(&project, "weather");
    let rows = jfk(10, 50.5);
    let summary = push(&project, "airport_weather@1", PushTarget::Online, rows)
        .await
        .unwrap();
    assert!(summary.offline.is_none());
    assert_eq!(table(&project, "weather"), before);
    let summary = push(&project, "airport_facts", PushTarget::Offline, {
        batch(&[
            ("origin", strings(&["BOS"])),
            ("known_at", hours(&[3])),
            ("alt", ints(&[20])),
        ])
    })
    .await
    .unwrap();
    assert!(summary.online.is_none());
    assert_eq!(text(&table(&project, "airports"), "faa")[3], "BOS");
    assert!(held(&project, "airport_facts", 1).is_empty());
    assert!(!is_pushed(&project, "airport_facts").await);
}

#[tokio::test]
async fn a_retry_counts_once_online_and_offline_with_an_id() {
    let project = applied().await;
    for _ in 0..2 {
        let rows = jfk(10, 50.5);
        push_with_id(
            &project,
            "airport_weather",
            PushTarget::Both,
            Some("a"),
            rows,
        )
        .await
        .unwrap();
    }
    assert_eq!(table(&project, "weather").num_rows(), 5);
    assert_eq!(held(&project, "airport_weather", 1), ["JFK at 10: 50.5 7"]);
    for _ in 0..2 {
        let rows = jfk(11, 1.0);
        push(&project, "airport_weather", PushTarget::Offline, rows)
            .await
            .unwrap();
    }
    assert_eq!(table(&project, "weather").num_rows(), 7);
}

#[tokio::test]
async fn an_older_row_does_not_win_and_no_rows_change_nothing() {
    let project = applied().await;
    for hour in [10, 8] {
        let rows = jfk(hour, 0.5 + hour as f64);
        let summary = push(&project, "airport_weather", PushTarget::Online, rows)
            .await
            .unwrap();
        assert_eq!(summary.online.unwrap().n_applied, u64::from(hour == 10));
    }
    assert_eq!(held(&project, "airport_weather", 1), ["JFK at 10: 10.5 7"]);

    let project = applied().await;
    let none = jfk(1, 1.0).slice(0, 0);
    let summary = push(&project, "airport_weather", PushTarget::Both, none)
        .await
        .unwrap();
    assert_eq!(
        (summary.n_rows, summary.offline, summary.online),
        (0, None, None)
    );
    assert!(!is_pushed(&project, "airport_weather").await);
}

#[tokio::test]
async fn columns_are_exactly_those_of_the_view() {
    let project = applied().await;
    let rows = batch(&[("origin", strings(&["JFK"])), ("temp", floats(&[1.0]))]);
    let error = refused(&project, "airport_weather", PushTarget::Both, rows).await;
    assert_eq!(
        (error.code(), error.kind()),
        ("P406", ErrorKind::InvalidArgument)
    );
    assert_eq!(
        error.to_string(),
        "rows for view \"airport_weather\" lack time (event time, timestamp), wind (feature, int64); \
         name the columns as the definitions do; every feature must be there, null where there is no value"
    );
    let rows = batch(&[
        ("origin", strings(&["JFK"])),
        ("time", hours(&[1])),
        ("temp", floats(&[1.0])),
        ("WIND", ints(&[1])),
    ]);
    let error = refused(&project, "airport_weather", PushTarget::Both, rows).await;
    assert_eq!(
        error.message(),
        "rows for view \"airport_weather\" lack wind (feature, int64), and have WIND instead"
    );
    let rows = batch(&[
        ("origin", strings(&["JFK"])),
        ("time", hours(&[1])),
        ("temp", floats(&[1.0])),
        ("wind", ints(&[1])),
        ("tempo", ints(&[1])),
    ]);
    let error = refused(&project, "airport_weather", PushTarget::Both, rows).await;
    assert_eq!(
        error.to_string(),
        "view \"airport_weather\" takes no column tempo; did you mean \"temp\"?"
    );
    let rows = batch(&[
        ("origin", ints(&[1])),
        ("time", hours(&[1])),
        ("temp", floats(&[1.0])),
        ("wind", ints(&[1])),
    ]);
    let error = refused(&project, "airport_weather", PushTarget::Both, rows).await;
    assert_eq!(
        error.to_string(),
        "rows for view \"airport_weather\" have origin as int64, which is expected as join key, string; \
         cast the column to string"
    );
}

#[tokio::test]
async fn the_schema_names_every_column_under_its_type() {
    let project = applied().await;
    let schema = async |view: &str| {
        let schema = project.store.push_schema(&project.cx, view).await.unwrap();
        let fields = schema.fields().iter();
        let fields: Vec<String> = fields
            .map(|field| format!("{}: {}", field.name(), field.data_type()))
            .collect();
        fields.join(", ")
    };
    assert_eq!(
        schema("airport_weather").await,
        "origin: Utf8, time: Timestamp(µs, \"UTC\"), temp: Float64, wind: Int64"
    );
    assert_eq!(
        schema("route_delay").await,
        "origin: Utf8, dest: Utf8, at: Timestamp(µs, \"UTC\"), recorded: Timestamp(µs, \"UTC\"), delay: Int64"
    );
}

/// Several batches, the last of which is wrong.
fn two_batches(bad: RecordBatch) -> BatchStream {
    let schema = Schema::new(
        bad.schema()
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect::<Vec<_>>(),
    );
    let schema = Arc::new(schema);
    let good = jfk(10, 50.5).project(&[3, 2, 1, 0]).unwrap();
    let batches = [good, bad].map(|batch| batch.with_schema(schema.clone()).unwrap());
    BatchStream::from_batches(schema, batches.into())
}

#[tokio::test]
async fn a_bad_row_at_the_end_writes_nothing_anywhere() {
    let project = applied().await;
    let before = table(&project, "weather");
    let origin: ArrayRef = Arc::new(StringArray::from(vec![Some("JFK"), None]));
    let no_key = batch(&[
        ("origin", origin),
        ("time", hours(&[1, 2])),
        ("temp", floats(&[1.0, 2.0])),
        ("wind", ints(&[1, 2])),
    ]);
    let time: ArrayRef = Arc::new(
        arrow_array::TimestampMicrosecondArray::from(vec![None, Some(1)]).with_timezone("UTC"),
    );
    let no_time = batch(&[
        ("origin", strings(&["JFK", "JFK"])),
        ("time", time),
        ("temp", floats(&[1.0, 2.0])),
        ("wind", ints(&[1, 2])),
    ]);
    for (bad, expected) in [
        (
            no_key,
            "row 2 for view \"airport_weather\" has no key: \"origin\" is null; \
             nothing was written; mend the row and push again",
        ),
        (
            no_time,
            "row 1 for view \"airport_weather\" has no event time: \"time\" is null; \
             nothing was written; mend the row and push again",
        ),
    ] {
        let push = Push {
            view: "airport_weather".to_owned(),
            to: PushTarget::Both,
            id: None,
        };
        let rows = two_batches(bad);
        let error = project
            .store
            .push(&project.cx, &push, rows)
            .await
            .unwrap_err();
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            ("P409", expected)
        );
    }
    assert_eq!(table(&project, "weather"), before);
    assert_eq!(project.online.n_calls(OnlineCall::Write), 0);
    assert!(!is_pushed(&project, "airport_weather").await);
}

#[tokio::test]
async fn values_are_cast_without_loss_or_refused_with_their_key() {
    let project = applied().await;
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let rows = batch(&[
        ("origin", strings(&["JFK"])),
        ("time", hours(&[1])),
        ("temp", ints(&[3])),
        ("wind", narrow),
    ]);
    push(&project, "airport_weather", PushTarget::Both, rows)
        .await
        .unwrap();
    assert_eq!(held(&project, "airport_weather", 1), ["JFK at 1: 3 7"]);
    let rows = batch(&[
        ("origin", strings(&["JFK", "LGA"])),
        ("time", hours(&[1, 1])),
        ("temp", floats(&[1.0, 1.0])),
        ("wind", floats(&[1.0, 2.5])),
    ]);
    let error = refused(&project, "airport_weather", PushTarget::Online, rows).await;
    assert_eq!(error.code(), "P409");
    assert_eq!(
        error.message(),
        "row 1 (key origin=LGA) for view \"airport_weather\": the value 2.5 of \"wind\" does not fit int64"
    );
}

#[tokio::test]
async fn windows_are_pushed_offline_alone_by_the_source_s_columns() {
    let project = applied().await;
    let rows = || {
        batch(&[
            ("delay", ints(&[5])),
            ("at", hours(&[3])),
            ("recorded", hours(&[4])),
            ("dest", strings(&["LGA"])),
            ("origin", strings(&["JFK"])),
        ])
    };
    for to in [PushTarget::Online, PushTarget::Both] {
        let error = refused(&project, "route_delay", to, rows()).await;
        assert_eq!(
            (error.code(), error.kind()),
            ("P607", ErrorKind::FailedPrecondition)
        );
        assert_eq!(
            error.to_string(),
            "view \"route_delay\" has aggregations, whose online values are windows over all rows of a key; \
             push the rows to offline, and materialise the view"
        );
    }
    push(&project, "route_delay", PushTarget::Offline, rows())
        .await
        .unwrap();
    let departures = table(&project, "departures");
    assert_eq!(text(&departures, "delay")[4], "5");
    assert_eq!(text(&departures, "dest")[4], "LGA");
}

#[tokio::test]
async fn a_view_that_is_not_online_takes_rows_offline_alone() {
    let project = Project::new(all_tables()).await;
    project
        .apply(&DEFINITIONS.replace("ttl: 3h", "ttl: 3h\n    online: false"))
        .await;
    let error = refused(&project, "airport_weather", PushTarget::Both, jfk(1, 1.0)).await;
    assert_eq!(error.code(), "P601");
    assert!(error.to_string().contains("`online: false`"), "{error}");
    push(
        &project,
        "airport_weather",
        PushTarget::Offline,
        jfk(1, 1.0),
    )
    .await
    .unwrap();
    assert_eq!(table(&project, "weather").num_rows(), 5);
}

#[tokio::test]
async fn a_store_that_does_not_write_is_told_before_anything_is_read() {
    let mut store = TestStore::new(all_tables());
    store.capabilities.write = false;
    let project = Project::over(store, TestStore::new(all_tables())).await;
    project.apply(DEFINITIONS).await;
    let error = refused(&project, "airport_weather", PushTarget::Both, jfk(1, 1.0)).await;
    assert_eq!(error.code(), "P801");
    assert_eq!(
        error.to_string(),
        "tables in memory does not support writing tables; \
         write the table with the store's own tools, or push to online alone"
    );
    assert!(held(&project, "airport_weather", 1).is_empty());
}

#[tokio::test]
async fn a_push_whose_online_half_fails_is_made_good_by_the_same_id() {
    let project = applied().await;
    project.online.fail(OnlineCall::Write, 0, 1, || {
        Error::new(&codes::ONLINE_UNAVAILABLE, "the online store is away")
    });
    let once = || {
        let rows = jfk(10, 50.5);
        push_with_id(
            &project,
            "airport_weather",
            PushTarget::Both,
            Some("x"),
            rows,
        )
    };
    let error = once().await.unwrap_err();
    assert_eq!(error.code(), "P602");
    assert_eq!(
        error.message(),
        "the rows are in the offline store, and not all online: the online store is away"
    );
    assert!(!is_pushed(&project, "airport_weather").await);
    once().await.unwrap();
    assert_eq!(table(&project, "weather").num_rows(), 5);
    assert_eq!(held(&project, "airport_weather", 1), ["JFK at 10: 50.5 7"]);
    assert!(is_pushed(&project, "airport_weather").await);
}

#[tokio::test]
async fn one_name_for_two_columns_is_refused() {
    let project = Project::new(all_tables()).await;
    let definitions = "
entities:
  - {name: airport, join_keys: [{name: origin, type: string}]}
sources:
  - {name: airports, table: airports, timestamp: known_at, columns: {origin: faa}}
feature_views:
  - name: airport_facts
    entities: [airport]
    source: airports
    features: [{name: known_at, type: int64, column: alt}]
";
    project.apply(definitions).await;
    let rows = batch(&[("origin", strings(&["JFK"])), ("known_at", hours(&[1]))]);
    let error = refused(&project, "airport_facts", PushTarget::Online, rows).await;
    assert_eq!(error.code(), "P404");
    let error = project
        .store
        .push_schema(&project.cx, "airport_facts")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "view \"airport_facts\" cannot be pushed to: \"known_at\" would be both column \"known_at\" and column \"alt\" of source \"airports\"; rename the feature"
    );
}

#[tokio::test]
async fn views_are_named_with_or_without_version() {
    let project = applied().await;
    let rows = || jfk(1, 1.0);
    for (view, code, expected) in [
        (
            "airport_wether",
            "P401",
            "did you mean \"airport_weather\"?",
        ),
        ("airport_weather@9", "P401", "has no version 9"),
        ("airport_weather@x", "P406", "write view or view@2"),
        (
            "feel",
            "P406",
            "is an on-demand feature view, which holds no rows",
        ),
    ] {
        let error = refused(&project, view, PushTarget::Online, rows()).await;
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(expected), "{error}");
    }
    project
        .apply(&DEFINITIONS.replace("ttl: 3h", "ttl: 4h"))
        .await;
    push(&project, "airport_weather@2", PushTarget::Online, rows())
        .await
        .unwrap();
    assert_eq!(held(&project, "airport_weather", 2).len(), 1);
}
