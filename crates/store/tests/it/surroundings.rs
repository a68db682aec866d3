//! Lists, descriptions, imports and the doctor.

use provender_conformance::Table;
use provender_core::ErrorKind;
use provender_core::provider::ObjectKind;
use provender_core::request::WriteMode;
use provender_store::Import;

use crate::support::{DEFINITIONS, Project, all_tables, batch, ints};

#[tokio::test]
async fn list_tells_everything_in_a_line() {
    let project = Project::new(all_tables()).await;
    assert!(project.store.list(&project.cx).await.unwrap().is_empty());
    project.apply(DEFINITIONS).await;
    let lines: Vec<String> = project
        .store
        .list(&project.cx)
        .await
        .unwrap()
        .into_iter()
        .map(|o| format!("{} {} {:?} {}", o.kind.name(), o.name, o.version, o.summary))
        .collect();
    assert_eq!(
        lines,
        [
            "entity airport None origin string",
            "entity route None origin string, dest string",
            "source airports None table airports, by known_at",
            "source departures None table departures, by at",
            "source weather None table weather, by time",
            "feature_view airport_facts Some(1) airport: 1 feature from airports",
            "feature_view airport_weather Some(1) airport: 2 features from weather, ttl 3h",
            "feature_view route_delay Some(1) route: 2 features from departures",
            "on_demand_feature_view comfort Some(1) 1 feature from feel@1, airport_facts@1",
            "on_demand_feature_view feel Some(1) 2 features from airport_weather@1, the request",
            "feature_service delay_model Some(1) 6 features of 4 views",
        ]
    );
}

#[tokio::test]
async fn describe_finds_any_kind_by_name() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    project
        .apply(&DEFINITIONS.replace("ttl: 3h", "ttl: 4h"))
        .await;
    let describe = async |name: &str| project.store.describe(&project.cx, name, None).await;

    let view = describe("airport_weather").await.unwrap();
    assert_eq!(view.versions, [1, 2]);
    assert_eq!((view.version, view.ttl.as_deref()), (Some(2), Some("4h")));
    assert_eq!(view.used_by, ["feel@2", "delay_model@2"]);
    assert_eq!(view.features[1].from, "column wind");
    assert_eq!(
        describe("airport_weather@1").await.unwrap().ttl.as_deref(),
        Some("3h")
    );

    let service = describe("delay_model").await.unwrap();
    assert_eq!(service.kind, ObjectKind::FeatureService);
    let keys: Vec<&str> = service.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(keys, ["origin", "dest"]);
    assert_eq!(service.features[2].name, "dest_airport__alt");
    assert_eq!(service.features[2].from, "airport_facts@1:alt");
    assert_eq!(
        service.uses,
        [
            "airport_weather@2",
            "airport_facts@1",
            "route_delay@1",
            "comfort@2"
        ]
    );

    let on_demand = describe("feel").await.unwrap();
    assert_eq!(on_demand.request[0].name, "humidity");
    assert_eq!(on_demand.features[0].from, "temp - wind");
    assert_eq!(
        describe("airport").await.unwrap().used_by,
        ["airport_facts@1", "airport_weather@2"]
    );
    assert_eq!(
        describe("weather")
            .await
            .unwrap()
            .source
            .unwrap()
            .table
            .as_deref(),
        Some("weather")
    );

    let json = serde_json::to_value(describe("airport_weather").await.unwrap()).unwrap();
    assert_eq!(json["features"][0]["type"], "float64");
    assert_eq!(json["description"], "hourly weather");

    let error = describe("airport_wether").await.unwrap_err();
    assert_eq!(error.code(), "P401");
    assert_eq!(
        error.to_string(),
        "nothing named \"airport_wether\" is applied; did you mean \"airport_weather\"?"
    );
    let error = describe("airport_weather@9").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has no version 9; known are 1, 2"),
        "{error}"
    );
}

#[tokio::test]
async fn import_makes_appends_and_refuses() {
    let project = Project::new(all_tables()).await;
    let rows = || Table::of(batch(&[("a", ints(&[1, 2]))])).stream();
    let mut import = Import {
        table: "new".to_owned(),
        store: Some("other".to_owned()),
        mode: WriteMode::Append,
        partition_by: Vec::new(),
    };
    for _ in 0..2 {
        let summary = project
            .store
            .import(&project.cx, &import, rows())
            .await
            .unwrap();
        assert_eq!(summary.n_rows, 2);
    }
    assert_eq!(project.other.inner.tables()["new"].n_rows(), 4);
    assert!(!project.offline.inner.tables().contains_key("new"));

    import.partition_by = vec!["b".to_owned()];
    let error = project
        .store
        .import(&project.cx, &import, rows())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P406");
    assert_eq!(
        error.to_string(),
        "table \"new\" cannot be partitioned by \"b\": the rows have no such column; did you mean \"a\"?"
    );
    import.store = Some("nowhere".to_owned());
    let error = project
        .store
        .import(&project.cx, &import, rows())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P106");
    import.store = Some("broken".to_owned());
    let error = project
        .store
        .import(&project.cx, &import, rows())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn import_needs_a_store_that_writes() {
    let mut store = crate::support::TestStore::new(all_tables());
    store.capabilities.write = false;
    let project = Project::over(store, crate::support::TestStore::new(all_tables())).await;
    let import = Import {
        table: "new".to_owned(),
        store: None,
        mode: WriteMode::Append,
        partition_by: Vec::new(),
    };
    let rows = Table::of(batch(&[("a", ints(&[1]))])).stream();
    let error = project
        .store
        .import(&project.cx, &import, rows)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P801");
}

#[tokio::test]
async fn doctor_examines_registry_stores_and_sources() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let findings = project.store.doctor(&project.cx).await;
    let subjects: Vec<(&str, bool)> = findings
        .iter()
        .map(|f| (f.subject.as_str(), f.ok))
        .collect();
    assert_eq!(
        subjects,
        [
            ("registry (memory)", true),
            ("offline_store (memory)", true),
            ("offline_stores.broken (memory)", false),
            ("offline_stores.other (memory)", true),
            ("online_store (memory)", true),
            ("online_stores.broken (memory)", false),
            ("online_stores.other (memory)", true),
            ("feature view airport_facts@1", true),
            ("feature view airport_weather@1", true),
            ("feature view route_delay@1", true),
        ]
    );
    assert!(findings[2].error.is_some());
}
