//! Filling the online store and checking it: materialize, status, verify.

use std::time::Duration;

use provender_core::Context;
use provender_core::provider::{ProviderConfig, Registry, Resources};
use serde_json::Value;

use crate::run::{Folder, Ran};

const WEATHER: &str = "\
origin,time_hour,temp,wind_speed
JFK,2013-01-01T05:00:00Z,39.02,12.5
JFK,2013-01-01T06:00:00Z,39.92,
LGA,2013-01-01T05:00:00Z,41.0,8.25
";

const FLIGHTS: &str = "\
gate,left_at,delay
1,2013-01-01T05:30:00Z,10
1,2013-01-01T06:30:00Z,20
2,2013-01-01T06:00:00Z,-5
";

const DEFINITIONS: &str = "
entities:
  - name: airport
    join_keys: [{name: origin, type: string}]
  - name: gate
    join_keys: [{name: gate, type: int64}]
sources:
  - {name: weather, table: weather, timestamp: time_hour}
  - {name: flights, table: flights, timestamp: left_at}
feature_views:
  - name: airport_weather
    entities: [airport]
    source: weather
    features:
      - {name: temp, type: float64}
      - {name: wind_speed, type: float64}
  - name: fresh_weather
    entities: [airport]
    source: weather
    ttl: 3h
    features:
      - {name: fresh_temp, type: float64, column: temp}
  - name: gate_delay
    entities: [gate]
    source: flights
    aggregations:
      - {feature: flights_1d, function: count, window: 1d}
      - {feature: mean_delay_1d, function: mean, column: delay, window: 1d}
  - name: last_flight
    source: flights
    features:
      - {name: last_delay, type: int64, column: delay}
  - name: kept_offline
    entities: [airport]
    source: weather
    online: false
    features:
      - {name: cold, type: float64, column: temp}
on_demand_feature_views:
  - name: wind
    inputs: [airport_weather]
    request: [{name: factor, type: float64}]
    features:
      - {name: gust, type: float64, sql: wind_speed * factor}
feature_services:
  - {name: weather_now, features: [airport_weather]}
  - {name: gusts, features: [wind]}
  - {name: both, features: [airport_weather, gate_delay]}
";

/// A project with weather and flights, applied, nothing of it online.
pub fn applied() -> Folder {
    let folder = Folder::project();
    std::fs::remove_file(folder.path().join("features/example.yaml")).unwrap();
    folder.file("features/all.yaml", DEFINITIONS);
    folder.file("weather.csv", WEATHER);
    folder.file("flights.csv", FLIGHTS);
    folder.run(&["import", "weather", "weather.csv"]).exits(0);
    folder.run(&["import", "flights", "flights.csv"]).exits(0);
    folder.run(&["apply"]).exits(0);
    folder
}

/// The same with everything online, as of 2013-01-01T12:00:00Z.
pub fn materialized() -> Folder {
    let folder = applied();
    folder
        .run(&["materialize-incremental", "--end", "2013-01-01T12:00:00Z"])
        .exits(0);
    folder
}

pub fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// The object of an array whose `view` is this one.
fn of_view<'a>(rows: &'a Value, view: &str) -> &'a Value {
    let rows = rows.as_array().unwrap();
    rows.iter().find(|row| row["view"] == view).unwrap()
}

#[test]
fn materialize_tells_each_view_on_stderr_and_results_only_when_asked() {
    let folder = applied();
    let ran = folder
        .run(&["materialize", "2013-01-01", "2013-01-01T12:00:00Z"])
        .exits(0)
        .complains("airport_weather@1: 2 rows of (2013-01-01T00:00:00Z, 2013-01-01T12:00:00Z] (")
        .complains("gate_delay@1: 2 rows of (")
        .complains("last_flight@1: 1 row of (");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    assert!(!ran.stderr.contains("kept_offline"), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 4, "{ran:?}");
    let ran = folder
        .run(&[
            "materialize",
            "2013-01-01",
            "2013-01-01T05:00:00Z",
            "--views",
            "airport_weather@1,last_flight",
            "--output",
            "json",
        ])
        .exits(0);
    let rows = json(&ran);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let weather = of_view(&rows, "airport_weather");
    assert_eq!(weather["version"], 1);
    assert_eq!(weather["start"], "2013-01-01T00:00:00Z");
    assert_eq!(weather["end"], "2013-01-01T05:00:00Z");
    assert_eq!(weather["rows"], 2);
    // JFK's row of six o'clock is newer and stays; LGA's is replaced by itself.
    assert_eq!(weather["changed"], 1);
    assert_eq!(weather["skipped"], Value::Null);
    assert_eq!(of_view(&rows, "last_flight")["rows"], 0);
}

#[test]
fn incremental_goes_on_where_the_last_run_ended() {
    let folder = applied();
    folder
        .run(&["materialize-incremental", "--end", "2013-01-01T05:30:00Z"])
        .exits(0)
        .complains("airport_weather@1: 2 rows of (the beginning, 2013-01-01T05:30:00Z]");
    folder
        .run(&["materialize-incremental", "--views", "airport_weather"])
        .exits(0)
        .complains("airport_weather@1: 1 row of (2013-01-01T05:30:00Z, 20");
    let again = folder
        .run(&[
            "materialize-incremental",
            "--end",
            "2013-01-01T05:30:00Z",
            "--output",
            "csv",
        ])
        .exits(0);
    assert!(
        again
            .stdout
            .starts_with("view,version,start,end,rows,changed,seconds,skipped,lost\n"),
        "{again:?}"
    );
}

#[test]
fn views_that_cannot_be_materialized_are_named() {
    let folder = applied();
    let range = ["2013-01-01", "2013-01-02", "--views"];
    let run = |view| folder.run(&[&["materialize"][..], &range, &[view]].concat());
    run("airport_wether")
        .exits(1)
        .complains("error[P401]")
        .complains("did you mean \"airport_weather\"?");
    run("airport_weather@7").exits(1).complains("error[P401]");
    run("wind").exits(1).complains("on-demand feature view");
    run("kept_offline")
        .exits(1)
        .complains("error[P601]")
        .complains("kept_offline");
    // Nothing was recorded by any of them.
    let status = json(&folder.run(&["status", "--output", "json"]).exits(0));
    for view in status.as_array().unwrap() {
        assert_eq!(view["end"], Value::Null, "{view}");
    }
}

#[test]
fn a_second_run_of_a_view_is_refused_while_the_first_holds_its_lease() {
    let folder = applied();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cx = Context::new("test");
    let (registry, lease) = runtime.block_on(async {
        let config = ProviderConfig {
            scheme: "sqlite".to_owned(),
            block: "registry".to_owned(),
            options: serde_json::Map::default(),
            resources: Resources::default(),
            base_path: folder.path().to_owned(),
        };
        let factory = provender_providers_registry::sqlite_factory();
        let registry: std::sync::Arc<dyn Registry> =
            factory.open_registry(&cx, config).await.unwrap();
        let lease = registry
            .acquire_lease(
                &cx,
                "materialize/last_flight@1",
                "somebody",
                Duration::from_secs(600),
            )
            .await
            .unwrap();
        (registry, lease)
    });
    folder
        .run(&["materialize-incremental"])
        .exits(1)
        .complains("error[P305]: last_flight@1 was not materialised")
        .complains("somebody")
        .complains("airport_weather@1: 2 rows of (the beginning,");
    runtime
        .block_on(registry.release_lease(&cx, &lease))
        .unwrap();
    folder
        .run(&["materialize-incremental"])
        .exits(0)
        .complains("last_flight@1: 1 row of (the beginning,");
}

#[test]
fn status_shows_interval_age_rows_and_size() {
    let folder = applied();
    folder
        .run(&["status"])
        .exits(0)
        .says("airport_weather@1  yes     never");
    let folder = materialized();
    let ran = folder.run(&["status"]).exits(0);
    let line = |view: &str| {
        let line = ran.stdout.lines().find(|line| line.starts_with(view));
        line.unwrap_or_else(|| panic!("{view}: {ran:?}")).to_owned()
    };
    let weather = line("airport_weather@1");
    assert!(
        weather.contains("yes     (the beginning, 2013-01-01T12:00:00Z]  "),
        "{weather}"
    );
    assert!(weather.contains("d "), "{weather}");
    assert!(
        line("kept_offline@1").contains("  no      never"),
        "{ran:?}"
    );
    assert!(ran.stderr.is_empty(), "{ran:?}");
    let rows = json(&folder.run(&["status", "--output", "json"]).exits(0));
    let weather = of_view(&rows, "airport_weather");
    assert_eq!(weather["version"], 1);
    assert_eq!(weather["online"], true);
    assert_eq!(weather["pushed"], false);
    assert_eq!(weather["start"], Value::Null);
    assert_eq!(weather["end"], "2013-01-01T12:00:00Z");
    assert_eq!(weather["rows"], 2);
    assert!(weather["freshness_us"].as_i64().unwrap() > 0);
    assert!(weather["bytes"].is_u64(), "{weather}");
    assert_eq!(of_view(&rows, "kept_offline")["online"], false);
    folder
        .run(&["status", "--output", "csv"])
        .exits(0)
        .says("view,version,online,start,end,freshness_us,pushed,rows,bytes,lost,note\n")
        .says("airport_weather,1,true,,2013-01-01T12:00:00Z,");
}

#[test]
fn verify_agrees_until_the_offline_table_is_changed() {
    let folder = materialized();
    folder
        .run(&["verify"])
        .exits(0)
        .says("airport_weather@1  2013-01-01T12:00:00Z  100.00% of 2 keys")
        .says("gate_delay@1")
        .says("100.00% of 1 key");
    // A row that comes late and was never materialised.
    folder.file(
        "late.csv",
        "origin,time_hour,temp,wind_speed\nJFK,2013-01-01T07:00:00Z,50.5,1.5\n",
    );
    folder.run(&["import", "weather", "late.csv"]).exits(0);
    let ran = folder
        .run(&["verify", "--views", "airport_weather", "--seed", "7"])
        .exits(1)
        .says("50.00% of 2 keys")
        .says("origin=JFK")
        .says("row of 2013-01-01T06:00:00Z  row of 2013-01-01T07:00:00Z")
        .complains(
            "1 key online differs from the offline store; --seed 7 compares the same keys again",
        );
    assert!(!ran.stdout.contains("gate_delay"), "{ran:?}");
    let ran = folder
        .run(&["verify", "--full", "--output", "json", "--limit", "1"])
        .exits(1)
        .complains("keys online differ from the offline store");
    assert!(!ran.stderr.contains("--seed"), "{ran:?}");
    let views = json(&ran);
    let weather = of_view(&views, "airport_weather");
    assert_eq!(weather["n_keys"], 2);
    assert_eq!(weather["n_agree"], 1);
    assert_eq!(weather["n_differ"], 1);
    assert_eq!(weather["n_newer"], 0);
    assert_eq!(weather["share"], 0.5);
    let differences = weather["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{weather}");
    assert_eq!(differences[0]["key"], "origin=JFK");
    assert_eq!(of_view(&views, "gate_delay")["n_differ"], 0);
    // Materialising the range again mends it.
    folder
        .run(&["materialize", "2013-01-01", "2013-01-01T12:00:00Z"])
        .exits(0);
    folder.run(&["verify", "--full"]).exits(0);
    // A value that changed at its own time is told by its feature.
    folder.file("late.csv", WEATHER.replace("41.0", "14.0"));
    folder
        .run(&["import", "weather", "late.csv", "--overwrite"])
        .exits(0);
    folder
        .run(&["verify", "--views", "airport_weather"])
        .exits(1)
        .says("origin=LGA  temp     41.0")
        .says("14.0");
}

#[test]
fn verify_says_when_there_is_nothing_to_compare() {
    let folder = applied();
    folder.run(&["verify"]).exits(0);
    folder
        .run(&["verify", "--views", "airport_wether"])
        .exits(1)
        .complains("error[P401]");
}

#[test]
fn apply_drops_the_online_data_of_what_is_gone() {
    let folder = materialized();
    let without = DEFINITIONS.replace(
        "  - name: last_flight
    source: flights
    features:
      - {name: last_delay, type: int64, column: delay}
",
        "",
    );
    folder.file("features/all.yaml", without);
    let ran = folder
        .run(&["apply", "--yes", "--output", "json"])
        .exits(0)
        .complains("dropped online data of last_flight@1");
    let applied = json(&ran);
    assert_eq!(applied["revision"], 2);
    assert_eq!(applied["dropped"][0]["view"], "last_flight");
    let status = folder.run(&["status"]).exits(0);
    assert!(!status.stdout.contains("last_flight"), "{status:?}");
    assert!(status.stdout.contains("airport_weather@1"), "{status:?}");
}
