//! From init to a training set.

use crate::run::Folder;

const WEATHER: &str = "\
origin,time_hour,temp,wind_speed
JFK,2013-01-01T05:00:00Z,39.02,12.5
JFK,2013-01-01T06:00:00Z,39.92,
LGA,2013-01-01T05:00:00Z,41.0,8.25
";

const DEFINITIONS: &str = "
entities:
  - name: airport
    join_keys: [{name: origin, type: string}]
sources:
  - {name: weather, table: weather, timestamp: time_hour}
feature_views:
  - name: airport_weather
    entities: [airport]
    source: weather
    ttl: 3h
    owner: flights-ml
    features:
      - {name: temp, type: float64}
      - {name: wind_speed, type: float64}
feature_services:
  - {name: delay, features: [airport_weather]}
";

const SPINE: &str = "\
flight,origin,event_timestamp
1,JFK,2013-01-01T05:30:00Z
007,LGA,2013-01-01T09:00:00Z
3,JFK,2013-01-01T06:00:00Z
";

/// A project with a table of weather and definitions over it, not applied.
pub fn weather() -> Folder {
    let folder = Folder::project();
    std::fs::remove_file(folder.path().join("features/example.yaml")).unwrap();
    folder.file("features/weather.yaml", DEFINITIONS);
    folder.file("weather.csv", WEATHER);
    folder.file("spine.csv", SPINE);
    folder
        .run(&["import", "weather", "weather.csv"])
        .exits(0)
        .complains("imported 3 rows into table weather");
    folder
}

/// The same, applied.
pub fn applied() -> Folder {
    let folder = weather();
    folder.run(&["apply"]).exits(0);
    folder
}

#[test]
fn the_example_works_as_init_makes_it() {
    let folder = Folder::project();
    folder
        .run(&["plan"])
        .exits(0)
        .says("+ feature_view station_weather@1")
        .says("+ feature_service example@1");
    folder
        .run(&["apply"])
        .exits(0)
        .complains("applied as revision 1");
    let csv = "station_id,event_timestamp\nnorth,2026-01-01T10:00:00Z\nwest,2026-01-01T10:00:00Z\n";
    let args = [
        "historical",
        "--service",
        "example",
        "--spine",
        "-",
        "--output",
        "csv",
    ];
    let ran = folder.run_with_stdin(&args, csv).exits(0);
    assert_eq!(
        ran.stdout.lines().collect::<Vec<_>>(),
        [
            "station_id,event_timestamp,temperature,mean_temperature_1d,readings_1d,temperature_fahrenheit",
            "north,2026-01-01T10:00:00Z,3.5,3.5,1,38.3",
            "west,2026-01-01T10:00:00Z,,,0,",
        ]
    );
}

#[test]
fn definitions_become_a_training_set() {
    let folder = weather();
    let plan = folder.run(&["plan"]).exits(0);
    for line in [
        "project test: changes against an empty registry",
        "+ entity airport\n",
        "+ feature_view airport_weather@1",
        "+ feature_service delay@1",
        "to make, 0 to change, 0 to delete",
    ] {
        assert!(plan.stdout.contains(line), "{line}: {plan:?}");
    }
    assert!(plan.stderr.is_empty(), "{plan:?}");
    folder.run(&["plan", "--detailed-exitcode"]).exits(3);
    folder
        .run(&["apply", "--message", "first weather"])
        .exits(0)
        .complains("applied as revision 1");
    folder
        .run(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("nothing to change");
    let args = [
        "historical",
        "--service",
        "delay",
        "--spine",
        "spine.csv",
        "--out",
    ];
    folder
        .run(&[&args[..], &["train.parquet"]].concat())
        .exits(0)
        .complains("wrote 3 rows of 5 columns to train.parquet");
    folder.run(&[&args[..], &["train.csv"]].concat()).exits(0);
    assert_eq!(
        folder.read("train.csv"),
        "flight,origin,event_timestamp,temp,wind_speed\n\
         1,JFK,2013-01-01T05:30:00Z,39.02,12.5\n\
         007,LGA,2013-01-01T09:00:00Z,,\n\
         3,JFK,2013-01-01T06:00:00Z,39.92,\n"
    );
    folder
        .run(&[
            "historical",
            "--features",
            "airport_weather@1:temp",
            "--spine",
            "train.parquet",
        ])
        .exits(1)
        .complains("error[P404]");
    let history = folder.run(&["history"]).exits(0);
    for text in [
        "revision 1  ",
        "  ann@test\n",
        "    first weather\n",
        "  put feature_view airport_weather@1\n",
    ] {
        assert!(history.stdout.contains(text), "{text}: {history:?}");
    }
}

#[test]
fn changes_are_shown_with_their_details() {
    let folder = applied();
    folder.file(
        "features/weather.yaml",
        DEFINITIONS
            .replace("ttl: 3h", "ttl: 6h")
            .replace("owner: flights-ml", "owner: weather-team"),
    );
    let plan = folder
        .run(&["plan", "--detailed-exitcode"])
        .exits(3)
        .says("~ feature_view airport_weather@1 -> airport_weather@2\n")
        .says("3h -> 6h");
    assert!(plan.stdout.contains("to change, 0 to delete"), "{plan:?}");
    let json = folder.run(&["plan", "--output", "json"]).exits(0);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let entries = value["entries"].as_array().unwrap();
    let view = entries
        .iter()
        .find(|e| e["name"] == "airport_weather")
        .unwrap();
    assert_eq!(view["action"], "new_version");
    assert_eq!(view["to_version"], 2);
}

#[test]
fn deletes_are_refused_without_a_terminal_unless_confirmed() {
    let folder = applied();
    folder.file(
        "features/weather.yaml",
        DEFINITIONS.split("feature_services:").next().unwrap(),
    );
    folder
        .run(&["plan"])
        .exits(0)
        .says("- feature_service delay@1")
        .says("1 to delete");
    folder
        .run(&["apply"])
        .exits(1)
        .says("- feature_service delay@1")
        .complains("error[P307]: the plan deletes 1 definition")
        .complains("help: confirm when asked, or pass --yes");
    folder.run(&["describe", "delay"]).exits(0);
    folder.run(&["apply", "--yes"]).exits(0);
    folder
        .run(&["describe", "delay"])
        .exits(1)
        .complains("error[P401]");
}

#[test]
fn breaking_changes_are_marked() {
    let folder = applied();
    folder.file(
        "features/weather.yaml",
        DEFINITIONS.replace("      - {name: wind_speed, type: float64}\n", ""),
    );
    folder
        .run(&["plan"])
        .exits(0)
        .says("  ! breaks: service delay loses column wind_speed")
        .says("1 break of services");
}

#[test]
fn applied_definitions_are_listed_and_described() {
    let folder = applied();
    folder
        .run(&["list"])
        .exits(0)
        .says("airport_weather")
        .says("delay")
        .says("flights-ml");
    let views = folder
        .run(&["list", "feature_views", "--output", "json"])
        .exits(0);
    let value: serde_json::Value = serde_json::from_str(&views.stdout).unwrap();
    assert_eq!(value.as_array().unwrap().len(), 1);
    assert_eq!(value[0]["name"], "airport_weather");
    assert_eq!(value[0]["version"], 1);
    folder
        .run(&["describe", "airport_weather@1"])
        .exits(0)
        .says("feature_view airport_weather@1")
        .says("origin (string)")
        .says("3h")
        .says("column wind_speed");
    folder
        .run(&["describe", "airport_wether"])
        .exits(1)
        .complains("did you mean \"airport_weather\"?");
    folder
        .run(&["doctor"])
        .exits(0)
        .says("ok      registry (sqlite)")
        .says("ok      offline_store (delta)")
        .says("ok      online_store (local)");
}

#[test]
fn doctor_exits_with_1_when_something_fails() {
    let folder = applied();
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    folder
        .run(&["doctor"])
        .exits(1)
        .says("FAILED  feature view airport_weather@1")
        .says("error[P120]");
    let folder = Folder::project();
    folder.file(
        "provender.yaml",
        "registry: {type: sqlite, path: /proc/nowhere/r.db}\n",
    );
    folder
        .run(&["doctor"])
        .exits(1)
        .says("FAILED  registry (sqlite)");
}

#[test]
fn unknown_services_and_features_have_hints() {
    let folder = applied();
    folder
        .run(&["historical", "--service", "dela", "--spine", "spine.csv"])
        .exits(1)
        .complains("error[P401]: there is no feature service \"dela\"")
        .complains("help: did you mean \"delay\"?");
    folder
        .run(&["historical", "--service", "delay@9", "--spine", "spine.csv"])
        .exits(1)
        .complains("has no version 9");
    folder
        .run(&[
            "historical",
            "--features",
            "airport_weather:tmp",
            "--spine",
            "spine.csv",
        ])
        .exits(1)
        .complains("temp");
}

#[test]
fn every_mistake_in_the_definitions_is_told_with_its_place() {
    let folder = weather();
    folder.file(
        "features/weather.yaml",
        DEFINITIONS
            .replace("entities: [airport]", "entities: [airprt]")
            .replace("ttl: 3h", "ttl: 0h"),
    );
    folder
        .run(&["plan"])
        .exits(1)
        .complains("features/weather.yaml:")
        .complains("error[P106]")
        .complains("error[P108]")
        .complains("2 errors");
}

#[test]
fn import_appends_overwrites_and_refuses_other_columns() {
    let folder = weather();
    folder
        .run(&[
            "import",
            "weather",
            "weather.csv",
            "--overwrite",
            "--output",
            "json",
        ])
        .exits(0)
        .says("\"n_rows\": 3");
    folder
        .run_with_stdin(&["import", "weather", "-"], "origin,other\nJFK,1\n")
        .exits(1)
        .complains("error[P505]");
    folder.file("late.csv", format!("{WEATHER}EWR,yesterday,1,2\n"));
    folder
        .run(&[
            "import",
            "weather",
            "late.csv",
            "--schema",
            "time_hour:timestamp",
        ])
        .exits(1)
        .complains("late.csv, line 5: \"yesterday\" in column \"time_hour\" is no timestamp");
    folder
        .run(&["import", "weather", "nowhere.csv"])
        .exits(1)
        .complains("error[P407]: nowhere.csv cannot be read");
}

#[test]
fn environments_overlay_the_configuration() {
    let folder = weather();
    folder.file(
        "provender.prod.yaml",
        "registry: {type: sqlite, path: prod.db}\n",
    );
    folder.run(&["--env", "prod", "apply"]).exits(0);
    assert!(folder.entries().contains(&"prod.db".to_owned()));
    folder.run(&["plan", "--detailed-exitcode"]).exits(3);
    folder
        .run(&["plan", "--detailed-exitcode", "--env", "prod"])
        .exits(0);
    folder
        .run(&["--env", "prd", "plan"])
        .exits(1)
        .complains("did you mean --env prod?");
}
