//! Keys that are deleted: everywhere, or online in order.

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use provender_conformance::Table;
use provender_conformance::memory::OnlineCall;
use provender_core::{BatchStream, Error, ErrorKind, Result};
use provender_store::{Delete, DeleteSummary, PushTarget};
use std::sync::Arc;

use crate::push::{applied, held, push};
use crate::support::{
    DEFINITIONS, Project, TestStore, all_tables, batch, floats, hours, ints, strings, text,
};

async fn delete(
    project: &Project,
    view: &str,
    from: PushTarget,
    keys: RecordBatch,
) -> Result<DeleteSummary> {
    delete_stream(project, view, from, Table::of(keys).stream()).await
}

async fn delete_stream(
    project: &Project,
    view: &str,
    from: PushTarget,
    keys: BatchStream,
) -> Result<DeleteSummary> {
    let delete = Delete {
        view: view.to_owned(),
        from,
    };
    project.store.delete(&project.cx, &delete, keys).await
}

async fn refused(project: &Project, view: &str, from: PushTarget, keys: RecordBatch) -> Error {
    delete(project, view, from, keys).await.unwrap_err()
}

fn origins(values: &[&str]) -> RecordBatch {
    batch(&[("origin", strings(values))])
}

fn column(project: &Project, table: &str, column: &str) -> Vec<String> {
    let rows = project.offline.inner.tables()[table].one_batch().unwrap();
    text(&rows, column)
}

/// Weather of two airports, online and in the table.
async fn push_weather(project: &Project, view: &str, hour: i64) {
    let rows = batch(&[
        ("origin", strings(&["JFK", "LGA"])),
        ("time", hours(&[hour, hour])),
        ("temp", floats(&[1.0, 2.0])),
        ("wind", ints(&[1, 2])),
    ]);
    push(project, view, PushTarget::Online, rows).await.unwrap();
}

/// Another view of the weather by airport, and one by airport and time.
fn more_views() -> String {
    DEFINITIONS
        .replace(
            "sources:",
            "  - {name: hour_of_airport, join_keys: [{name: place, type: string}, {name: hour, type: timestamp}]}
  - {name: place, join_keys: [{name: place, type: string}]}
sources:
  - {name: places, table: weather, timestamp: time, columns: {place: origin, hour: time}}",
        )
        .replace(
            "on_demand_feature_views:",
            "  - name: place_wind
    entities: [place]
    source: places
    features: [{name: wind, type: int64}]
  - name: hourly_wind
    entities: [hour_of_airport]
    source: places
    features: [{name: wind, type: int64}]
on_demand_feature_views:",
        )
}

#[tokio::test]
async fn erasure_takes_the_rows_of_the_table_and_all_online_rows_of_the_same_keys() {
    let project = Project::new(all_tables()).await;
    project.apply(&more_views()).await;
    push_weather(&project, "airport_weather", 5).await;
    project
        .apply(&more_views().replace("ttl: 3h", "ttl: 4h"))
        .await;
    push_weather(&project, "airport_weather", 6).await;
    let place = batch(&[
        ("place", strings(&["JFK", "LGA"])),
        ("time", hours(&[5, 5])),
        ("wind", ints(&[1, 2])),
    ]);
    push(&project, "place_wind", PushTarget::Online, place)
        .await
        .unwrap();
    let hourly = batch(&[
        ("place", strings(&["JFK"])),
        ("hour", hours(&[5])),
        ("time", hours(&[5])),
        ("wind", ints(&[1])),
    ]);
    push(&project, "hourly_wind", PushTarget::Online, hourly)
        .await
        .unwrap();

    let summary = delete(
        &project,
        "airport_weather",
        PushTarget::Both,
        origins(&["JFK", "BOS"]),
    )
    .await
    .unwrap();
    assert_eq!(summary.n_keys, 2);
    assert_eq!(summary.offline.as_deref(), Some("weather"));
    assert!(summary.online.contains(&project.view("airport_weather", 2)));
    assert!(summary.online.contains(&project.view("place_wind", 1)));
    assert!(!summary.online.contains(&project.view("hourly_wind", 1)));
    assert_eq!(
        summary.notes,
        ["view hourly_wind@1 derives from the deleted rows; materialise it again"]
    );
    assert_eq!(column(&project, "weather", "origin"), ["LGA"]);
    assert_eq!(held(&project, "airport_weather", 2), ["LGA at 6: 2 2"]);
    assert_eq!(held(&project, "place_wind", 1), ["LGA at 5: 2"]);
    assert_eq!(held(&project, "hourly_wind", 1).len(), 1);
    assert_eq!(column(&project, "airports", "faa").len(), 3);
}

#[tokio::test]
async fn versions_that_are_still_applied_lose_the_keys_too() {
    let project = applied().await;
    push_weather(&project, "airport_weather", 5).await;
    let pinned = DEFINITIONS.replace("ttl: 3h", "ttl: 4h").replace(
        "      - airport_weather\n      - {view",
        "      - airport_weather@1\n      - {view",
    );
    project.apply(&pinned).await;
    push_weather(&project, "airport_weather", 6).await;
    let summary = delete(
        &project,
        "airport_weather",
        PushTarget::Online,
        origins(&["LGA"]),
    )
    .await
    .unwrap();
    assert_eq!(
        summary.online,
        [
            project.view("airport_weather", 1),
            project.view("airport_weather", 2)
        ]
    );
    assert_eq!((summary.offline, summary.notes.len()), (None, 0));
    for version in [1, 2] {
        assert_eq!(held(&project, "airport_weather", version).len(), 1);
    }
    assert_eq!(column(&project, "weather", "origin").len(), 4);
}

#[tokio::test]
async fn keys_are_renamed_to_the_table_s_columns_and_offline_alone_leaves_online() {
    let project = applied().await;
    let facts = batch(&[
        ("origin", strings(&["JFK"])),
        ("known_at", hours(&[0])),
        ("alt", ints(&[13])),
    ]);
    push(&project, "airport_facts", PushTarget::Online, facts)
        .await
        .unwrap();
    let summary = delete(
        &project,
        "airport_facts",
        PushTarget::Offline,
        origins(&["JFK"]),
    )
    .await
    .unwrap();
    assert_eq!(summary.offline.as_deref(), Some("airports"));
    assert!(summary.online.is_empty());
    assert_eq!(column(&project, "airports", "faa"), ["LGA", "EWR"]);
    assert_eq!(held(&project, "airport_facts", 1).len(), 1);
}

#[tokio::test]
async fn keys_come_in_any_number_of_batches_and_columns_in_any_order() {
    let project = applied().await;
    let one = |dest: &str| batch(&[("dest", strings(&[dest])), ("origin", strings(&["JFK"]))]);
    let batches: Vec<RecordBatch> = (0..50)
        .map(|at| one(["LGA", "EWR", "BOS"][at % 3]))
        .collect();
    let keys = BatchStream::from_batches(batches[0].schema(), batches);
    let summary = delete_stream(&project, "route_delay", PushTarget::Both, keys)
        .await
        .unwrap();
    assert_eq!(summary.n_keys, 50);
    assert_eq!(column(&project, "departures", "origin"), ["LGA"]);
}

#[tokio::test]
async fn wrong_columns_and_null_keys_delete_nothing() {
    let project = applied().await;
    push_weather(&project, "airport_weather", 5).await;
    let null: ArrayRef = Arc::new(StringArray::from(vec![Some("JFK"), None]));
    for (keys, code, expected) in [
        (
            batch(&[("origin", null)]),
            "P409",
            "row 1 of the keys of view \"airport_weather\": \"origin\" is null; nothing was deleted; mend the row and delete again",
        ),
        (
            batch(&[("orgin", strings(&["JFK"]))]),
            "P406",
            "keys of view \"airport_weather\" lack origin (join key, string); did you mean \"orgin\"?",
        ),
        (
            batch(&[("origin", strings(&["JFK"])), ("temp", ints(&[1]))]),
            "P406",
            "keys of view \"airport_weather\" have no column temp; give the join keys alone (origin), or with time for a delete in order",
        ),
        (
            batch(&[("origin", ints(&[1]))]),
            "P406",
            "keys of view \"airport_weather\" have origin as int64, which is expected as string; cast the column to string",
        ),
    ] {
        let error = refused(&project, "airport_weather", PushTarget::Both, keys).await;
        assert_eq!((error.code(), error.to_string().as_str()), (code, expected));
    }
    assert_eq!(column(&project, "weather", "origin").len(), 4);
    assert_eq!(held(&project, "airport_weather", 1).len(), 2);
    assert_eq!(project.online.n_calls(OnlineCall::Delete), 0);
}

#[tokio::test]
async fn a_store_that_does_not_delete_is_told_before_anything_happens() {
    let mut store = TestStore::new(all_tables());
    store.capabilities.delete = false;
    let project = Project::over(store, TestStore::new(all_tables())).await;
    project.apply(DEFINITIONS).await;
    push_weather(&project, "airport_weather", 5).await;
    let keys = || origins(&["JFK"]);
    let error = refused(&project, "airport_weather", PushTarget::Both, keys()).await;
    assert_eq!(
        (error.code(), error.kind()),
        ("P801", ErrorKind::Unsupported)
    );
    assert_eq!(
        error.to_string(),
        "tables in memory does not support deleting keys; \
         delete the rows in the table with the store's own tools, and use the online part alone"
    );
    assert_eq!(held(&project, "airport_weather", 1).len(), 2);
    delete(&project, "airport_weather", PushTarget::Online, keys())
        .await
        .unwrap();
    assert_eq!(held(&project, "airport_weather", 1), ["LGA at 5: 2 2"]);
}

#[tokio::test]
async fn a_delete_with_an_event_time_obeys_the_order_of_rows() {
    let project = applied().await;
    push_weather(&project, "airport_weather", 5).await;
    let keys = || {
        batch(&[
            ("time", hours(&[6, 4, 6])),
            ("origin", strings(&["JFK", "LGA", "EWR"])),
        ])
    };
    for from in [PushTarget::Both, PushTarget::Offline] {
        let error = refused(&project, "airport_weather", from, keys()).await;
        assert_eq!(
            error.to_string(),
            "the keys of view \"airport_weather\" carry time, which makes a delete in order, and only the online store has an order to keep; \
             delete from online alone, or leave time out to erase the keys everywhere"
        );
    }
    let summary = delete(&project, "airport_weather", PushTarget::Online, keys())
        .await
        .unwrap();
    assert_eq!(summary.online, [project.view("airport_weather", 1)]);
    let expected = [
        "EWR at 6: tombstone",
        "JFK at 6: tombstone",
        "LGA at 5: 2 2",
    ];
    assert_eq!(held(&project, "airport_weather", 1), expected);
    // Older rows stay deleted, newer ones are rows again.
    push_weather(&project, "airport_weather", 5).await;
    assert_eq!(held(&project, "airport_weather", 1), expected);
    push_weather(&project, "airport_weather", 7).await;
    assert_eq!(held(&project, "airport_weather", 1)[1], "JFK at 7: 1 1");
}

#[tokio::test]
async fn deletes_in_order_of_windows_are_refused_and_erasure_is_not() {
    let project = applied().await;
    let keys = batch(&[
        ("origin", strings(&["JFK"])),
        ("dest", strings(&["LGA"])),
        ("at", hours(&[6])),
    ]);
    let error = refused(&project, "route_delay", PushTarget::Online, keys.clone()).await;
    assert_eq!(error.code(), "P607");
    let keys = keys.project(&[0, 1]).unwrap();
    delete(&project, "route_delay", PushTarget::Online, keys)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_view_without_online_rows_is_refused_from_online_alone() {
    let project = Project::new(all_tables()).await;
    project
        .apply(&DEFINITIONS.replace("ttl: 3h", "ttl: 3h\n    online: false"))
        .await;
    let keys = || origins(&["JFK"]);
    let error = refused(&project, "airport_weather", PushTarget::Online, keys()).await;
    assert_eq!(error.code(), "P601");
    let summary = delete(&project, "airport_weather", PushTarget::Both, keys())
        .await
        .unwrap();
    assert!(summary.online.is_empty());
    assert_eq!(column(&project, "weather", "origin"), ["LGA"]);
}

#[tokio::test]
async fn a_global_view_has_no_keys_to_find_rows_of_a_table_by() {
    let definitions = "
entities: []
sources:
  - {name: weather, table: weather, timestamp: time}
feature_views:
  - name: anywhere
    entities: []
    source: weather
    features: [{name: temp, type: float64}]
";
    let project = Project::new(all_tables()).await;
    project.apply(definitions).await;
    let row = batch(&[("time", hours(&[5])), ("temp", floats(&[1.0]))]);
    push(&project, "anywhere", PushTarget::Online, row)
        .await
        .unwrap();
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(1));
    let schema = Arc::new(arrow_schema::Schema::empty());
    let keys = RecordBatch::try_new_with_options(schema, Vec::new(), &options).unwrap();
    let error = refused(&project, "anywhere", PushTarget::Both, keys.clone()).await;
    assert_eq!(error.code(), "P509");
    assert!(error.message().contains("has no join keys"), "{error}");
    delete(&project, "anywhere", PushTarget::Online, keys)
        .await
        .unwrap();
    assert!(held(&project, "anywhere", 1).is_empty());
}

#[tokio::test]
async fn the_schema_has_the_join_keys() {
    let project = applied().await;
    let schema = project
        .store
        .delete_schema(&project.cx, "route_delay")
        .await
        .unwrap();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["origin", "dest"]);
}
