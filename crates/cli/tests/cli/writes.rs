//! Rows that are brought and keys that are erased: push and delete.

use serde_json::Value;

use crate::latest::{applied, json, materialized};
use crate::run::{Folder, Ran};

const ROWS: &str = "\
origin,time_hour,temp,wind_speed
JFK,2013-01-01T09:00:00Z,50,3.5
EWR,2013-01-01T09:00:00Z,,4
";

fn push(folder: &Folder, args: &[&str]) -> Ran {
    folder.run(&[&["push", "airport_weather", "rows.csv"][..], args].concat())
}

fn read(folder: &Folder, origin: &str) -> String {
    let entity = format!("origin={origin}");
    let args = [
        "online",
        "--service",
        "weather_now",
        "--output",
        "csv",
        "--entity",
        &entity,
    ];
    let ran = folder.run(&args).exits(0);
    ran.stdout.lines().last().unwrap().to_owned()
}

/// The rows of the offline table of an origin, by time.
fn offline(folder: &Folder, origin: &str) -> Vec<String> {
    let sql = format!(
        "SELECT origin, time_hour AS event_timestamp, temp AS t FROM weather WHERE origin = '{origin}' ORDER BY time_hour"
    );
    let args = [
        "historical",
        "--features",
        "last_flight",
        "--spine-sql",
        &sql,
        "--output",
        "csv",
    ];
    let ran = folder.run(&args).exits(0);
    ran.stdout.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn pushed_rows_are_served_at_once_and_only_newer_ones_win() {
    let folder = materialized();
    folder.file("rows.csv", ROWS);
    let ran = push(&folder, &["--to", "online"])
        .exits(0)
        .complains("pushed 2 rows to airport_weather@1: online 2 (");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    // 50 without a point is a float64 by definition.
    assert_eq!(read(&folder, "JFK"), "JFK,50.0,3.5");
    assert_eq!(read(&folder, "EWR"), "EWR,,4.0");
    assert_eq!(offline(&folder, "EWR"), [""; 0]);
    folder.file(
        "rows.csv",
        "temp,wind_speed,time_hour,origin\n-1,-1,2013-01-01T08:00:00Z,JFK\n",
    );
    push(&folder, &["--to", "online"])
        .exits(0)
        .complains("online 0, of 1 newer ones are held (");
    assert_eq!(read(&folder, "JFK"), "JFK,50.0,3.5");
    let status = json(&folder.run(&["status", "--output", "json"]).exits(0));
    let weather = &status.as_array().unwrap()[0];
    assert_eq!(weather["view"], "airport_weather");
    assert_eq!(weather["pushed"], true);
    assert_eq!(weather["rows"], 3);
    // What was pushed since is counted apart.
    let views = folder
        .run(&[
            "verify",
            "--views",
            "airport_weather",
            "--full",
            "--output",
            "json",
        ])
        .exits(0);
    assert!(
        json(&views)[0]["n_newer"].as_u64().unwrap() >= 1,
        "{views:?}"
    );
}

#[test]
fn a_push_with_an_id_counts_once_offline() {
    let folder = applied();
    folder.file("rows.csv", ROWS);
    let args = ["--to", "both", "--id", "first", "--output", "json"];
    let ran = push(&folder, &args)
        .exits(0)
        .complains("pushed 2 rows to airport_weather@1: offline 2, online 2 (");
    let summary = json(&ran);
    assert_eq!(summary["view"], "airport_weather");
    assert_eq!(summary["version"], 1);
    assert_eq!(summary["n_rows"], 2);
    assert_eq!(summary["offline"]["n_applied"], 2);
    assert_eq!(offline(&folder, "JFK").len(), 3);
    push(&folder, &args)
        .exits(0)
        .complains("offline already there from a push of this id, online 2 (");
    assert_eq!(offline(&folder, "JFK").len(), 3);
    // Without an id, rows are rows.
    push(&folder, &["--to", "offline"])
        .exits(0)
        .complains("pushed 2 rows to airport_weather@1: offline 2 (");
    assert_eq!(offline(&folder, "JFK").len(), 4);
}

#[test]
fn json_lines_are_read_as_what_the_definitions_say() {
    let folder = applied();
    let rows = "{\"origin\": \"JFK\", \"time_hour\": \"2013-01-01T09:00:00Z\", \"temp\": 50, \"wind_speed\": null}\n";
    folder
        .run_with_stdin(&["push", "airport_weather", "-", "--to", "online"], rows)
        .exits(0)
        .complains("pushed 1 row");
    assert_eq!(read(&folder, "JFK"), "JFK,50.0,");
}

#[test]
fn rows_that_do_not_fit_are_refused_whole() {
    let folder = applied();
    let tries = [
        (
            "origin,time_hour,temp\nJFK,2013-01-01T09:00:00Z,1\n",
            "P406",
            "wind_speed",
        ),
        (
            "origin,time_hour,temp,wind_speed,wnd\nJFK,2013-01-01T09:00:00Z,1,2,3\n",
            "P406",
            "wnd",
        ),
        (
            "origin,time_hour,temp,wind_speed\nJFK,2013-01-01T09:00:00Z,1,2\n,2013-01-01T09:00:00Z,1,2\n",
            "P409",
            "row 1",
        ),
        (
            "origin,time_hour,temp,wind_speed\nJFK,noon,1,2\n",
            "P407",
            "line 2: \"noon\" in column \"time_hour\" is no timestamp",
        ),
    ];
    for (rows, code, message) in tries {
        folder.file("rows.csv", rows);
        push(&folder, &["--to", "both"])
            .exits(1)
            .complains(&format!("error[{code}]"))
            .complains(message);
    }
    assert_eq!(read(&folder, "JFK"), "JFK,,");
    assert_eq!(offline(&folder, "JFK").len(), 2);
    folder.file("rows.csv", ROWS);
    folder
        .run(&["push", "airport_wether", "rows.csv", "--to", "online"])
        .exits(1)
        .complains("error[P401]")
        .complains("did you mean \"airport_weather\"?");
    folder.file(
        "kept.csv",
        "origin,time_hour,cold\nJFK,2013-01-01T09:00:00Z,1\n",
    );
    folder
        .run(&["push", "kept_offline", "kept.csv", "--to", "online"])
        .exits(1)
        .complains("error[P601]");
    folder.file(
        "gates.csv",
        "gate,left_at,delay\n1,2013-01-01T09:00:00Z,1\n",
    );
    folder
        .run(&["push", "gate_delay", "gates.csv", "--to", "online"])
        .exits(1)
        .complains("error[P607]");
    folder
        .run(&["push", "gate_delay", "gates.csv", "--to", "offline"])
        .exits(0);
}

#[test]
fn deletes_are_refused_unless_confirmed() {
    let folder = materialized();
    folder.file("keys.csv", "origin\nJFK\n");
    let args = ["delete", "airport_weather", "--entities", "keys.csv"];
    let ran = folder
        .run(&args)
        .exits(1)
        .complains("error[P307]: all rows of the keys in keys.csv from airport_weather, online and offline, would be erased")
        .complains("help: confirm when asked, or pass --yes");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    assert_eq!(read(&folder, "JFK"), "JFK,39.92,");
    assert_eq!(offline(&folder, "JFK").len(), 2);
    folder
        .run(&["delete", "airport_weather", "--yes"])
        .exits(2)
        .complains("no entity is named");
    folder
        .run(&["delete", "airport_weather", "--entity", "gate=1", "--yes"])
        .exits(1)
        .complains("error[P406]");
    folder
        .run(&[
            "delete",
            "airport_wether",
            "--entity",
            "origin=JFK",
            "--yes",
        ])
        .exits(1)
        .complains("error[P401]");
}

#[test]
fn deleted_keys_are_gone_online_and_offline() {
    let folder = materialized();
    folder.file("keys.csv", "origin\nJFK\n");
    let args = [
        "delete",
        "airport_weather",
        "--entities",
        "keys.csv",
        "--yes",
        "--output",
        "json",
    ];
    let ran = folder
        .run(&args)
        .exits(0)
        .complains("erased 1 key of airport_weather: online from airport_weather@1")
        .complains("; offline from table weather (");
    let summary = json(&ran);
    assert_eq!(summary["n_keys"], 1);
    assert_eq!(summary["offline"], "weather");
    let online: Vec<&str> = summary["online"]
        .as_array()
        .unwrap()
        .iter()
        .map(|view| view.as_str().unwrap())
        .collect();
    assert!(online.contains(&"airport_weather@1"), "{summary}");
    assert!(summary["notes"].is_array(), "{summary}");
    assert_eq!(read(&folder, "JFK"), "JFK,,");
    assert_eq!(read(&folder, "LGA"), "LGA,41.0,8.25");
    assert_eq!(offline(&folder, "JFK"), [""; 0]);
    assert_eq!(offline(&folder, "LGA").len(), 1);
    folder.run(&["verify", "--full"]).exits(0);
}

#[test]
fn keys_can_be_erased_from_one_store_alone() {
    let folder = materialized();
    let args = [
        "delete",
        "airport_weather",
        "--entity",
        "origin=LGA",
        "--yes",
        "--from",
    ];
    let ran = folder
        .run(&[&args[..], &["online", "--output", "json"]].concat())
        .exits(0);
    assert_eq!(json(&ran)["offline"], Value::Null);
    assert_eq!(read(&folder, "LGA"), "LGA,,");
    assert_eq!(offline(&folder, "LGA").len(), 1);
    folder
        .run(&[
            "delete",
            "airport_weather",
            "--entity",
            "origin=JFK",
            "--yes",
            "--from",
            "offline",
        ])
        .exits(0)
        .complains("erased 1 key of airport_weather: offline from table weather");
    assert_eq!(read(&folder, "JFK"), "JFK,39.92,");
    assert_eq!(offline(&folder, "JFK"), [""; 0]);
}
