//! Which rows of an interval come online.

use std::sync::{Arc, Mutex};

use arrow_array::{ArrayRef, RecordBatch};
use provender_conformance::oracle::{OnlineRow, Value};
use provender_conformance::{Table, Tables};
use provender_core::provider::{Interval, OfflineStore, Registry};
use provender_core::request::{OfflineWrite, WriteMode};
use provender_core::time::now_us;
use provender_core::{Error, Result};
use provender_store::{Materialize, MaterializeRange, MaterializedView, Progress, ProgressFn};

use crate::support::{
    DEFINITIONS, Defect, HOUR, Project, TestStore, all_tables, batch, hours, ints, strings, tables,
};

/// From an hour, excluded, to an hour, included.
pub fn explicit(start: i64, end: i64) -> MaterializeRange {
    MaterializeRange::Explicit {
        start_us: start * HOUR,
        end_us: end * HOUR,
    }
}

/// From where the last run ended to an hour.
pub fn incremental(end: i64) -> MaterializeRange {
    MaterializeRange::Incremental {
        end_us: Some(end * HOUR),
    }
}

pub fn request(views: &[&str], range: MaterializeRange) -> Materialize {
    let views = views.iter().map(|&view| view.to_owned()).collect();
    Materialize {
        views: Some(views),
        range,
    }
}

pub async fn materialize(
    project: &Project,
    request: &Materialize,
) -> Result<Vec<MaterializedView>> {
    let silent: ProgressFn = Arc::new(|_| {});
    project
        .store
        .materialize(&project.cx, request, silent)
        .await
}

pub async fn run(project: &Project, view: &str, range: MaterializeRange) -> MaterializedView {
    let mut done = materialize(project, &request(&[view], range))
        .await
        .unwrap();
    assert_eq!(done.len(), 1);
    done.remove(0)
}

pub async fn refused(project: &Project, request: &Materialize) -> Error {
    materialize(project, request).await.unwrap_err()
}

/// The rows held online: key, hour of the event, features.
pub fn held(project: &Project, view: &str) -> Vec<String> {
    let rows = project.online.rows(&project.view(view, 1));
    rows.iter().map(shown).collect()
}

fn shown(row: &OnlineRow) -> String {
    let key: Vec<String> = row.key.iter().map(value).collect();
    let features: Vec<String> = row.features.iter().map(value).collect();
    let time = row.event_us as f64 / HOUR as f64;
    format!("{} at {time}: {}", key.join("-"), features.join(" "))
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

/// The recorded intervals, in hours.
pub async fn recorded(project: &Project, view: &str) -> Vec<(Option<i64>, i64)> {
    let view = project.view(view, 1);
    let intervals = project
        .registry
        .intervals(&project.cx, &view)
        .await
        .unwrap();
    intervals
        .iter()
        .map(|interval| {
            (
                interval.start_us.map(|us| us / HOUR),
                interval.end_us / HOUR,
            )
        })
        .collect()
}

pub async fn append(project: &Project, table: &str, rows: RecordBatch) {
    let write = OfflineWrite {
        table: table.to_owned(),
        mode: WriteMode::Append,
        partition_by: Vec::new(),
        id: None,
    };
    let rows = Table::of(rows).stream();
    project
        .offline
        .write(&project.cx, write, rows)
        .await
        .unwrap();
}

pub async fn applied(tables: Tables, definitions: &str) -> Project {
    let project = Project::new(tables).await;
    project.apply(definitions).await;
    project
}

#[tokio::test]
async fn an_interval_excludes_its_start_and_includes_its_end() {
    for (start_us, end_us, expected) in [
        (HOUR, 2 * HOUR, vec!["JFK at 2: 20 2", "LGA at 2: 25 3"]),
        (HOUR - 1, HOUR, vec!["JFK at 1: 10 1"]),
        (HOUR, 2 * HOUR - 1, vec![]),
        (0, 9 * HOUR, vec!["JFK at 9: 90 9", "LGA at 2: 25 3"]),
        (i64::MIN, i64::MAX, vec!["JFK at 9: 90 9", "LGA at 2: 25 3"]),
    ] {
        let project = applied(all_tables(), DEFINITIONS).await;
        let range = MaterializeRange::Explicit { start_us, end_us };
        let done = run(&project, "airport_weather", range).await;
        assert_eq!(held(&project, "airport_weather"), expected);
        assert_eq!(done.view, project.view("airport_weather", 1));
        assert_eq!(done.summary.n_rows, expected.len() as u64);
        assert_eq!(done.summary.n_applied, expected.len() as u64);
        let interval = Interval {
            start_us: Some(start_us),
            end_us,
        };
        assert_eq!((done.interval, done.skipped), (interval, None));
    }
}

#[tokio::test]
async fn an_interval_without_rows_is_recorded_too() {
    let project = applied(all_tables(), DEFINITIONS).await;
    run(&project, "airport_weather", explicit(20, 30)).await;
    assert!(held(&project, "airport_weather").is_empty());
    assert_eq!(
        recorded(&project, "airport_weather").await,
        [(Some(20), 30)]
    );
}

#[tokio::test]
async fn incremental_runs_go_on_from_the_last_end() {
    let project = applied(all_tables(), DEFINITIONS).await;
    let done = run(&project, "airport_weather", incremental(1)).await;
    assert_eq!(done.interval.start_us, None);
    assert_eq!(held(&project, "airport_weather"), ["JFK at 1: 10 1"]);
    let done = run(&project, "airport_weather", incremental(5)).await;
    assert_eq!(done.interval.start_us, Some(HOUR));
    assert_eq!(done.summary.n_rows, 2);
    assert_eq!(
        held(&project, "airport_weather"),
        ["JFK at 2: 20 2", "LGA at 2: 25 3"]
    );
    assert_eq!(recorded(&project, "airport_weather").await, [(None, 5)]);

    let done = run(&project, "airport_weather", incremental(5)).await;
    assert_eq!(done.interval.end_us, 5 * HOUR);
    assert_eq!(done.summary.n_rows, 0);
    let why = done.skipped.unwrap();
    assert!(
        why.starts_with("already materialised to 1970-01-01T05:00:00Z"),
        "{why}"
    );
    let before = now_us();
    let range = MaterializeRange::Incremental { end_us: None };
    let done = run(&project, "airport_weather", range).await;
    assert!(done.interval.end_us >= before && done.interval.end_us <= now_us());
    assert_eq!(done.summary.n_rows, 1);
}

#[tokio::test]
async fn an_explicit_range_runs_again_and_changes_nothing() {
    let project = applied(all_tables(), DEFINITIONS).await;
    run(&project, "airport_weather", incremental(9)).await;
    let before = held(&project, "airport_weather");
    for range in [explicit(0, 9), explicit(0, 1), explicit(1, 2)] {
        let done = run(&project, "airport_weather", range).await;
        assert_eq!(done.skipped, None);
        assert!(done.summary.n_rows > 0);
        assert_eq!(held(&project, "airport_weather"), before);
    }
    assert_eq!(recorded(&project, "airport_weather").await, [(None, 9)]);
}

const LATE: &str = "
entities:
  - {name: route, join_keys: [{name: origin, type: string}, {name: dest, type: string}]}
sources:
  - {name: known, table: departures, timestamp: at, created_timestamp: recorded}
  - {name: patient, table: departures, timestamp: at, lookback: 2h}
  - {name: plain, table: departures, timestamp: at}
feature_views:
  - {name: known, entities: [route], source: known, features: [{name: delay, type: int64}]}
  - {name: patient, entities: [route], source: patient, features: [{name: delay, type: int64}]}
  - {name: plain, entities: [route], source: plain, features: [{name: delay, type: int64}]}
";

fn departure(dest: &str, at: i64, recorded: i64, delay: i64) -> RecordBatch {
    batch(&[
        ("origin", strings(&["JFK"])),
        ("dest", strings(&[dest])),
        ("at", hours(&[at])),
        ("recorded", hours(&[recorded])),
        ("delay", ints(&[delay])),
    ])
}

#[tokio::test]
async fn late_rows_are_found_by_created_time_or_by_lookback() {
    let tables = tables(&[("departures", departure("LGA", 1, 1, 10))]);
    let project = applied(tables, LATE).await;
    let views = ["known", "patient", "plain"];
    materialize(&project, &request(&views, incremental(5)))
        .await
        .unwrap();
    // Known after the first run: two hours late, one hour late, and on its very end.
    append(&project, "departures", departure("LGA", 3, 6, 30)).await;
    append(&project, "departures", departure("EWR", 4, 6, 40)).await;
    append(&project, "departures", departure("BOS", 1, 6, 50)).await;
    let done = materialize(&project, &request(&views, incremental(6)))
        .await
        .unwrap();
    assert!(
        done.iter()
            .all(|view| view.interval.start_us == Some(5 * HOUR))
    );
    assert_eq!(
        held(&project, "known"),
        ["JFK-BOS at 1: 50", "JFK-EWR at 4: 40", "JFK-LGA at 3: 30"]
    );
    // Two hours before 5 is 3, which is excluded as every start is.
    assert_eq!(
        held(&project, "patient"),
        ["JFK-EWR at 4: 40", "JFK-LGA at 1: 10"]
    );
    assert_eq!(held(&project, "plain"), ["JFK-LGA at 1: 10"]);

    // A late row never takes the place of a newer one.
    append(&project, "departures", departure("LGA", 2, 7, 20)).await;
    let done = run(&project, "known", incremental(7)).await;
    assert_eq!((done.summary.n_rows, done.summary.n_applied), (1, 0));
    assert_eq!(held(&project, "known")[2], "JFK-LGA at 3: 30");
    // A row that becomes known after the end, of an event after the end, waits.
    append(&project, "departures", departure("LGA", 9, 9, 90)).await;
    run(&project, "known", incremental(8)).await;
    assert_eq!(held(&project, "known")[2], "JFK-LGA at 3: 30");
    run(&project, "known", incremental(9)).await;
    assert_eq!(held(&project, "known")[2], "JFK-LGA at 9: 90");
}

#[tokio::test]
async fn windows_are_as_of_the_end_and_drain() {
    let project = applied(all_tables(), DEFINITIONS).await;
    run(&project, "route_delay", incremental(2)).await;
    assert_eq!(
        held(&project, "route_delay"),
        [
            "JFK-EWR at 2: 1 1",
            "JFK-LGA at 2: 12 2",
            "LGA-EWR at 2: 100 1"
        ]
    );
    // t - w < event time: at 4 the departure at 1 has left three hours, the ones at 2 have not.
    run(&project, "route_delay", incremental(4)).await;
    assert_eq!(
        held(&project, "route_delay"),
        [
            "JFK-EWR at 4: 1 1",
            "JFK-LGA at 4: 8 2",
            "LGA-EWR at 4: 100 1"
        ]
    );
    let done = run(&project, "route_delay", incremental(30)).await;
    assert_eq!(done.summary.n_applied, 3);
    assert_eq!(
        held(&project, "route_delay"),
        [
            "JFK-EWR at 30: - 0",
            "JFK-LGA at 30: - 0",
            "LGA-EWR at 30: - 0"
        ]
    );
    let rows = project.online.rows(&project.view("route_delay", 1));
    assert!(
        rows.iter()
            .all(|row| row.created_us.is_none() && !row.is_tombstone)
    );
    // Nothing is left to drain.
    let done = run(&project, "route_delay", incremental(60)).await;
    assert_eq!(done.summary.n_rows, 0);
}

#[tokio::test]
async fn windows_drain_after_a_gap_and_a_backfill_leaves_no_old_values() {
    let project = applied(all_tables(), DEFINITIONS).await;
    run(&project, "route_delay", explicit(0, 2)).await;
    run(&project, "route_delay", explicit(50, 60)).await;
    let drained = [
        "JFK-EWR at 60: - 0",
        "JFK-LGA at 60: - 0",
        "LGA-EWR at 60: - 0",
    ];
    assert_eq!(held(&project, "route_delay"), drained);
    // A route whose only row came late: as of 2 it has a departure, as of what is online none.
    append(&project, "departures", departure("BOS", 2, 70, 7)).await;
    run(&project, "route_delay", explicit(0, 2)).await;
    let now = held(&project, "route_delay");
    assert_eq!(now[0], "JFK-BOS at 60: - 0");
    assert_eq!(now[1..], drained);
}

#[tokio::test]
async fn an_end_in_the_future_is_read_to_and_recorded_to_now() {
    let project = applied(all_tables(), DEFINITIONS).await;
    let before = now_us();
    let end_us = before + 1_000 * HOUR;
    let range = MaterializeRange::Explicit {
        start_us: 0,
        end_us,
    };
    let forecast = batch(&[
        ("origin", strings(&["EWR"])),
        ("time", hours(&[before / HOUR + 10])),
        ("temp", crate::support::floats(&[1.5])),
        ("WIND", ints(&[4])),
    ]);
    append(&project, "weather", forecast).await;
    let done = run(&project, "airport_weather", range).await;
    assert_eq!(done.interval.end_us, end_us);
    assert_eq!(held(&project, "airport_weather").len(), 3);
    let view = project.view("airport_weather", 1);
    let recorded = project
        .registry
        .intervals(&project.cx, &view)
        .await
        .unwrap();
    assert!(recorded[0].end_us >= before && recorded[0].end_us <= now_us());

    // What arrives until then is found by the next run.
    let arrived = batch(&[
        ("origin", strings(&["LGA"])),
        ("time", hours(&[before / HOUR + 5])),
        ("temp", crate::support::floats(&[2.5])),
        ("WIND", ints(&[5])),
    ]);
    append(&project, "weather", arrived).await;
    let range = MaterializeRange::Incremental {
        end_us: Some(end_us),
    };
    run(&project, "airport_weather", range).await;
    let rows = held(&project, "airport_weather");
    assert!(rows[2].ends_with(": 2.5 5"), "{rows:?}");

    // Of what lies ahead wholly nothing is known yet.
    let range = MaterializeRange::Explicit {
        start_us: end_us,
        end_us: end_us + HOUR,
    };
    let before = project
        .registry
        .intervals(&project.cx, &view)
        .await
        .unwrap();
    run(&project, "airport_weather", range).await;
    let after = project
        .registry
        .intervals(&project.cx, &view)
        .await
        .unwrap();
    assert_eq!(before, after);
}

#[tokio::test]
async fn tie_breakers_reach_the_store() {
    let definitions = "
entities: [{name: airport, join_keys: [{name: origin, type: string}]}]
sources: [{name: s, table: t, timestamp: at, created_timestamp: made, tie_breakers: [seq, tag]}]
feature_views:
  - {name: v, entities: [airport], source: s, features: [{name: x, type: int64}]}
";
    let row = |made: i64, seq: i64, tag: &str, x: i64| {
        let columns: [(&str, ArrayRef); 6] = [
            ("origin", strings(&["JFK"])),
            ("at", hours(&[1])),
            ("made", hours(&[made])),
            ("seq", ints(&[seq])),
            ("tag", strings(&[tag])),
            ("x", ints(&[x])),
        ];
        batch(&columns)
    };
    let project = applied(tables(&[("t", row(1, 5, "b", 50))]), definitions).await;
    run(&project, "v", incremental(1)).await;
    let held = |project: &Project| {
        let rows = project.online.rows(&project.view("v", 1));
        let ties: Vec<String> = rows[0].ties.iter().map(value).collect();
        (ties.join(" "), value(&rows[0].features[0]))
    };
    assert_eq!(held(&project), ("5 b".to_owned(), "50".to_owned()));
    // Equal times: the lower tie breakers lose, the greater win.
    for (seq, tag, x, expected) in [(4, "z", 40, "50"), (5, "a", 45, "50"), (5, "c", 60, "60")] {
        append(&project, "t", row(1, seq, tag, x)).await;
        run(&project, "v", explicit(0, 1)).await;
        assert_eq!(held(&project).1, expected);
    }
}

#[tokio::test]
async fn views_are_chosen_by_name_or_all_that_are_online() {
    let project = applied(all_tables(), DEFINITIONS).await;
    let offline = DEFINITIONS.replace(
        "source: airports\n",
        "source: airports\n    online: false\n",
    );
    // The service holds airport_weather@1 and the newest has another ttl.
    let held = offline.replace("      - airport_weather\n", "      - airport_weather@1\n");
    let newer = held.replace("ttl: 3h", "ttl: 4h");
    project.apply(&newer).await;
    let all = Materialize {
        views: None,
        range: incremental(9),
    };
    let names = |done: Vec<MaterializedView>| -> Vec<String> {
        let versions = done.into_iter().map(|done| done.view);
        versions
            .map(|view| format!("{}@{}", view.view, view.version))
            .collect()
    };
    assert_eq!(
        names(materialize(&project, &all).await.unwrap()),
        ["airport_weather@1", "airport_weather@2", "route_delay@1"]
    );
    let some = [
        "route_delay",
        "airport_weather@1",
        "airport_weather",
        "route_delay@1",
    ];
    assert_eq!(
        names(
            materialize(&project, &request(&some, explicit(0, 1)))
                .await
                .unwrap()
        ),
        ["route_delay@1", "airport_weather@1", "airport_weather@2"]
    );
}

#[tokio::test]
async fn wrong_requests_are_refused_before_anything_is_done() {
    let project = Project::new(all_tables()).await;
    let error = refused(&project, &request(&["airport_weather"], explicit(0, 1))).await;
    assert_eq!(error.code(), "P306");
    let offline = DEFINITIONS.replace(
        "source: airports\n",
        "source: airports\n    online: false\n",
    );
    project.apply(&offline).await;
    for (views, code, text) in [
        (
            vec!["route_delay", "airport_wether"],
            "P401",
            "there is no feature view \"airport_wether\"; did you mean \"airport_weather\"?",
        ),
        (
            vec!["airport_weather@7"],
            "P401",
            "feature view \"airport_weather\" has no version 7; known are 1",
        ),
        (
            vec!["airport_facts"],
            "P601",
            "view \"airport_facts\" has `online: false`, so it cannot be materialised",
        ),
        (
            vec!["feel"],
            "P406",
            "\"feel\" is an on-demand feature view",
        ),
        (vec!["delay_model"], "P401", "is a feature service"),
        (vec!["route_delay@x"], "P406", "names no view"),
        (vec![""], "P406", "names no view"),
    ] {
        let error = refused(&project, &request(&views, explicit(0, 1))).await;
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let error = refused(&project, &request(&["route_delay"], explicit(1, 1))).await;
    assert_eq!(error.code(), "P406");
    assert!(
        error.to_string().starts_with(
            "the start 1970-01-01T01:00:00Z is not before the end 1970-01-01T01:00:00Z"
        ),
        "{error}"
    );
    assert!(recorded(&project, "route_delay").await.is_empty());
}

#[tokio::test]
async fn a_store_that_finds_the_newest_rows_itself_is_asked_and_checked() {
    for defect in [None, Some(Defect::RenamesColumn)] {
        let mut store = TestStore::new(all_tables());
        store.capabilities.latest = true;
        store.capabilities.windows = true;
        store.defect = defect;
        let project = Project::over(store, TestStore::new(Tables::new())).await;
        project.apply(DEFINITIONS).await;
        project
            .offline
            .before_scan
            .set(|_| unreachable!("nothing is scanned"));
        for (view, n_rows) in [("airport_weather", 2), ("route_delay", 3)] {
            let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
            let sink = seen.clone();
            let answer = project
                .store
                .materialize(
                    &project.cx,
                    &request(&[view], incremental(9)),
                    Arc::new(move |progress| sink.lock().unwrap().push(progress)),
                )
                .await;
            if defect.is_none() {
                assert_eq!(answer.unwrap()[0].summary.n_applied, n_rows);
                let reading = Progress::Reading {
                    view: project.view(view, 1),
                    n_rows,
                };
                assert!(seen.lock().unwrap().contains(&reading));
            } else {
                let error = answer.unwrap_err();
                assert_eq!(error.code(), "P802");
                assert!(
                    error
                        .message()
                        .contains("tables in memory was asked for the columns [__key_0: Utf8, ")
                        && error.message().contains("answered [x0: Utf8, "),
                    "{error}"
                );
                assert!(held(&project, view).is_empty());
                assert!(recorded(&project, view).await.is_empty());
            }
        }
    }
}
