//! Stores that join themselves, spines that a store holds, and stores that break their contract.

use std::sync::atomic::Ordering;

use provender_core::model::Relation;
use provender_core::request::SqlSpine;

use crate::support::{
    DEFINITIONS, Defect, Project, TestStore, all_tables, batch, hours, ints, names, request,
    service, strings, text,
};
use provender_conformance::{Table, Tables};

fn spine() -> arrow_array::RecordBatch {
    batch(&[
        ("id", ints(&[0, 1, 2])),
        ("origin", strings(&["JFK", "LGA", "SFO"])),
        ("dest", strings(&["LGA", "EWR", "JFK"])),
        ("when", hours(&[3, 2, 3])),
    ])
}

fn with_labels() -> Tables {
    let mut tables = all_tables();
    tables.insert("labels".to_owned(), Table::of(spine()));
    tables
}

async fn joining() -> Project {
    let project = Project::over(
        TestStore::joining(with_labels()),
        TestStore::new(Tables::new()),
    )
    .await;
    project.apply(DEFINITIONS).await;
    project
}

#[tokio::test]
async fn a_store_that_joins_is_asked_once_for_all_its_views() {
    let project = joining().await;
    let features = "airport_weather,airport_facts,comfort";
    let rows = project
        .historical(&request(features), &spine())
        .await
        .unwrap();
    assert_eq!(project.offline.n_joins.load(Ordering::SeqCst), 1);
    let joins = project.offline.joins.lock().unwrap();
    assert_eq!(
        joins[0].views.len(),
        2,
        "the inputs of comfort are the views asked for"
    );
    assert_eq!(text(&rows, "temp"), ["20.0", "25.0", "-"]);
    assert_eq!(text(&rows, "comfort"), ["193.0", "241.0", "-"]);
}

#[tokio::test]
async fn windows_need_their_own_capability() {
    let project = joining().await;
    let rows = project
        .historical(&service("delay_model"), &spine())
        .await
        .unwrap();
    assert_eq!(
        project.offline.n_joins.load(Ordering::SeqCst),
        0,
        "the engine joins"
    );
    assert_eq!(text(&rows, "n_departures"), ["2", "1", "0"]);
}

#[tokio::test]
async fn a_store_that_breaks_its_contract_is_told_so() {
    for (defect, expected) in [
        (
            Defect::DropsLastRow,
            "tables in memory answered 2 rows to a spine of 3 rows",
        ),
        (
            Defect::AddsRow,
            "tables in memory answered 4 rows to a spine of 3 rows",
        ),
        (
            Defect::RenamesColumn,
            "tables in memory was asked for the columns [f0_0: Float64]",
        ),
    ] {
        let mut store = TestStore::joining(all_tables());
        store.defect = Some(defect);
        let project = Project::over(store, TestStore::new(Tables::new())).await;
        project.apply(DEFINITIONS).await;
        let error = project
            .historical(&request("airport_weather:temp"), &spine())
            .await
            .unwrap_err();
        assert_eq!(error.code(), "P802", "{defect:?}: {error}");
        assert!(error.to_string().contains(expected), "{defect:?}: {error}");
    }
}

#[tokio::test]
async fn a_spine_of_the_store_is_joined_there_if_it_can() {
    let labels = SqlSpine {
        relation: Relation::Table("labels".to_owned()),
        timestamp: String::new(),
    };
    let scanning = Project::new(with_labels()).await;
    scanning.apply(DEFINITIONS).await;
    for (project, n_joins) in [(joining().await, 1), (scanning, 0)] {
        let answer = project
            .store
            .historical_sql(
                &project.cx,
                &request("airport_weather:temp,comfort"),
                labels.clone(),
            )
            .await
            .unwrap();
        let rows = Table::collect(answer).await.unwrap().one_batch().unwrap();
        assert_eq!(
            names(&rows),
            ["id", "origin", "dest", "when", "temp", "comfort"]
        );
        let ids = text(&rows, "id");
        let temps = text(&rows, "temp");
        let comforts = text(&rows, "comfort");
        let mut all: Vec<_> = (0..3)
            .map(|row| (&ids[row], &temps[row], &comforts[row]))
            .collect();
        all.sort();
        let expected = [
            ("0", "20.0", "193.0"),
            ("1", "25.0", "241.0"),
            ("2", "-", "-"),
        ];
        for (found, expected) in all.iter().zip(expected) {
            assert_eq!(
                (found.0.as_str(), found.1.as_str(), found.2.as_str()),
                expected
            );
        }
        assert_eq!(project.offline.n_joins.load(Ordering::SeqCst), n_joins);
    }
}

#[tokio::test]
async fn a_spine_of_sql_needs_a_store_with_sql() {
    let project = joining().await;
    let spine = |relation: Relation| SqlSpine {
        relation,
        timestamp: "when".to_owned(),
    };
    let query = spine(Relation::Query("SELECT 1".to_owned()));
    let error = project
        .store
        .historical_sql(&project.cx, &request("airport_weather"), query)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P801");
    assert!(
        error
            .to_string()
            .contains("does not support SQL for spines"),
        "{error}"
    );
    let table = spine(Relation::Table("lables".to_owned()));
    let error = project
        .store
        .historical_sql(&project.cx, &request("airport_weather"), table)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P120");
    assert!(
        error.to_string().contains("did you mean \"labels\"?"),
        "{error}"
    );
}

#[tokio::test]
async fn explain_says_who_joins_what() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let schema = spine().schema();
    let text = project
        .store
        .explain_historical(&project.cx, &service("delay_model"), &schema)
        .await
        .unwrap();
    for part in [
        "spine: 4 columns, timestamp \"when\"",
        "offline_store (tables in memory): joined on this machine over scans of the store",
        "  view airport_weather\n    source: table weather\n    time: time\n    keys: spine.origin = origin (string)\n    ttl: 3h\n    columns: temp as float64, WIND as int64\n    | scan of table \"weather\" for origin, time, temp, WIND",
        "view dest_airport",
        "keys: spine.dest = faa (string)",
        "sum(delay) over 3h as int64, count(*) over 1d as int64",
        "computed on demand, in this order: feel.chill, comfort.comfort",
        "comfort float64",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let project = joining().await;
    let text = project
        .store
        .explain_historical(&project.cx, &request("airport_weather"), &schema)
        .await
        .unwrap();
    assert!(text.contains("joined by the store itself"), "{text}");
}
