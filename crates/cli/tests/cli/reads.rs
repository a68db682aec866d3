//! Reading online: entities typed and from files, statuses, formats, mistakes.

use serde_json::Value;

use crate::latest::{json, materialized};
use crate::run::{Folder, Ran};

fn online(folder: &Folder, args: &[&str]) -> Ran {
    folder.run(&[&["online"][..], args].concat())
}

#[test]
fn entities_are_answered_in_their_order_duplicates_included() {
    let folder = materialized();
    let ran = online(
        &folder,
        &[
            "--service",
            "weather_now",
            "--entity",
            "origin=LGA",
            "--entity",
            "origin=JFK",
            "--entity",
            "origin=",
            "--entity",
            "origin=null",
            "--entity",
            "origin=LGA",
        ],
    )
    .exits(0);
    assert!(ran.stderr.is_empty(), "{ran:?}");
    let lines: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["origin", "temp", "wind_speed"]);
    assert_eq!(lines[1], ["LGA", "41.0", "8.25"]);
    assert_eq!(lines[2], ["JFK", "39.92", "null"]);
    assert_eq!(lines[3], ["null", "null"]);
    assert_eq!(lines[4], ["null", "null", "null"]);
    assert_eq!(lines[5], lines[1]);
    assert_eq!(ran.stdout.lines().last(), Some("5 rows, 3 columns"));
}

#[test]
fn statuses_say_whether_and_from_when_a_value_is() {
    let folder = materialized();
    let ran = online(
        &folder,
        &[
            "--features",
            "airport_weather:wind_speed,fresh_weather",
            "--entity",
            "origin=JFK",
            "--entity",
            "origin=EWR",
            "--status",
            "--output",
            "json",
        ],
    )
    .exits(0);
    let rows = json(&ran);
    let columns: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    assert_eq!(columns.len(), 7, "{columns:?}");
    assert_eq!(rows[0]["airport_weather__status"], "NULL_VALUE");
    assert_eq!(
        rows[0]["airport_weather__event_timestamp"],
        "2013-01-01T06:00:00Z"
    );
    assert_eq!(rows[0]["fresh_weather__status"], "OUTSIDE_MAX_AGE");
    assert_eq!(rows[0]["fresh_temp"], Value::Null);
    assert_eq!(rows[1]["airport_weather__status"], "NOT_FOUND");
    assert_eq!(rows[1]["airport_weather__event_timestamp"], Value::Null);
}

#[test]
fn windows_count_to_the_end_of_the_last_run_and_unseen_keys_are_zero() {
    let folder = materialized();
    let args = [
        "--features",
        "gate_delay",
        "--entity",
        "gate=1",
        "--entity",
        "gate=9",
        "--output",
        "csv",
    ];
    let ran = online(&folder, &args).exits(0);
    assert_eq!(
        ran.stdout,
        "gate,flights_1d,mean_delay_1d\n1,2,15.0\n9,0,\n"
    );
}

#[test]
fn global_views_need_no_entity() {
    let folder = materialized();
    online(&folder, &["--features", "last_flight", "--output", "csv"]).exits(0);
    let ran = online(&folder, &["--features", "last_flight", "--output", "csv"]);
    assert_eq!(ran.stdout, "last_delay\n20\n");
    online(
        &folder,
        &["--features", "last_flight", "--entity", "origin=JFK"],
    )
    .exits(1)
    .complains("entity 1 names \"origin\", which the request does not take");
}

#[test]
fn fields_of_the_request_stand_among_the_keys_or_apply_to_all() {
    let folder = materialized();
    let service = ["--service", "gusts", "--output", "csv", "--entity"];
    let csv = "origin,gust\nLGA,16.5\n";
    let args = [&service[..], &["origin=LGA,factor=2"]].concat();
    assert_eq!(online(&folder, &args).exits(0).stdout, csv);
    let args = [&service[..], &["origin=LGA", "--request", "factor=2"]].concat();
    assert_eq!(online(&folder, &args).exits(0).stdout, csv);
    online(&folder, &[&service[..], &["origin=LGA"]].concat())
        .exits(1)
        .complains("error[P402]")
        .complains("\"factor\"");
    let args = [&service[..], &["origin=LGA", "--request", "factor=fast"]].concat();
    online(&folder, &args)
        .exits(1)
        .complains("error[P406]: --request: \"fast\" for \"factor\" is no float64");
    let args = [&service[..], &["origin=LGA", "--request", "fctor=2"]].concat();
    online(&folder, &args)
        .exits(1)
        .complains("--request names \"fctor\"")
        .complains("did you mean \"factor\"?");
    let twice = ["origin=LGA,factor=1", "--request", "factor=2"];
    online(&folder, &[&service[..], &twice].concat())
        .exits(1)
        .complains("error[P404]");
}

#[test]
fn files_of_entities_have_the_declared_types_and_no_other_columns() {
    let folder = materialized();
    folder.file("keys.csv", "gate,origin\n1,LGA\n,JFK\n2,\n");
    folder.file(
        "keys.jsonl",
        "{\"gate\": 1, \"origin\": \"LGA\"}\n{\"origin\": \"JFK\"}\n{\"gate\": 2}\n",
    );
    let read = |file: &str| {
        let args = ["--service", "both", "--entities", file, "--output", "csv"];
        online(&folder, &args).exits(0).stdout
    };
    let csv = read("keys.csv");
    assert_eq!(
        csv,
        "origin,gate,temp,wind_speed,flights_1d,mean_delay_1d\n\
         LGA,1,41.0,8.25,2,15.0\n\
         JFK,,39.92,,,\n\
         ,2,,,1,-5.0\n"
    );
    assert_eq!(read("keys.jsonl"), csv);
    // Numbers that are a string key stay what is written.
    folder.file("codes.csv", "origin\n007\n");
    let args = ["--service", "weather_now", "--output", "csv", "--entities"];
    let ran = online(&folder, &[&args[..], &["codes.csv"]].concat()).exits(0);
    assert_eq!(ran.stdout, "origin,temp,wind_speed\n007,,\n");
    let piped = folder
        .run_with_stdin(&[&["online"][..], &args, &["-"]].concat(), "origin\nLGA\n")
        .exits(0);
    assert_eq!(piped.stdout, "origin,temp,wind_speed\nLGA,41.0,8.25\n");
    folder.file("more.csv", "origin,note\nLGA,x\n");
    online(&folder, &[&args[..], &["more.csv"]].concat())
        .exits(1)
        .complains("error[P406]")
        .complains("\"note\"");
    folder.file("bad.csv", "gate\none\n");
    online(
        &folder,
        &["--features", "gate_delay", "--entities", "bad.csv"],
    )
    .exits(1)
    .complains("bad.csv, line 2: \"one\" in column \"gate\" is no int64")
    .complains("the column's type is the one of its definition");
    folder.file("none.csv", "origin\n");
    let ran = online(&folder, &[&args[..], &["none.csv"]].concat()).exits(0);
    assert_eq!(ran.stdout, "origin,temp,wind_speed\n");
}

#[test]
fn answers_go_to_files_and_every_format() {
    let folder = materialized();
    let args = ["--service", "weather_now", "--entity", "origin=LGA"];
    for out in ["a.parquet", "a.arrow", "a.jsonl", "a.csv"] {
        let ran = online(&folder, &[&args[..], &["--out", out]].concat())
            .exits(0)
            .complains(&format!("wrote 1 row of 3 columns to {out}"));
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
    assert_eq!(
        folder.read("a.csv"),
        "origin,temp,wind_speed\nLGA,41.0,8.25\n"
    );
    for (format, magic) in [("parquet", &b"PAR1"[..]), ("arrow", b"\xff\xff\xff\xff")] {
        let args = [&["online"][..], &args, &["--output", format]].concat();
        let output = folder.command(&args).output().unwrap();
        assert!(output.stdout.starts_with(magic), "{format}");
    }
    online(&folder, &[&args[..], &["--full-feature-names"]].concat())
        .exits(0)
        .says("airport_weather__temp");
    online(&folder, &[&args[..], &["-v"]].concat())
        .exits(0)
        .complains("reading weather_now@1");
}

#[test]
fn requests_that_do_not_fit_say_what_is_wrong() {
    let folder = materialized();
    for (args, code, message) in [
        (
            &["--service", "weather_nw", "--entity", "origin=JFK"][..],
            "error[P401]",
            "did you mean \"weather_now\"?",
        ),
        (
            &[
                "--features",
                "airport_weather:tmp",
                "--entity",
                "origin=JFK",
            ],
            "error[P401]",
            "temp",
        ),
        (
            &["--service", "weather_now"],
            "error[P402]",
            "weather_now@1 has the keys origin, and no entity is named",
        ),
        (
            &["--service", "both", "--entity", "origin=JFK"],
            "error[P402]",
            "\"gate\"",
        ),
        (
            &[
                "--service",
                "both",
                "--entity",
                "origin=JFK,gate=1",
                "--entity",
                "gate=1",
            ],
            "error[P402]",
            "entity 2 has no \"origin\", which another one has",
        ),
        (
            &["--service", "both", "--entity", "origin=JFK,gate=A1"],
            "error[P406]",
            "entity 1: \"A1\" for \"gate\" is no int64",
        ),
        (
            &["--service", "weather_now", "--entity", "orgin=JFK"],
            "error[P406]",
            "did you mean \"origin\"?",
        ),
        (
            &["--features", "kept_offline", "--entity", "origin=JFK"],
            "error[P601]",
            "kept_offline",
        ),
        (
            &["--service", "weather_now", "--entities", "nowhere.csv"],
            "error[P407]",
            "nowhere.csv cannot be read",
        ),
    ] {
        let ran = online(&folder, args)
            .exits(1)
            .complains(code)
            .complains(message);
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
}

#[test]
fn nothing_online_is_not_found_and_no_error() {
    let folder = crate::latest::applied();
    let args = [
        "--service",
        "weather_now",
        "--entity",
        "origin=JFK",
        "--status",
    ];
    let ran = online(&folder, &[&args[..], &["--output", "csv"]].concat()).exits(0);
    assert_eq!(
        ran.stdout,
        "origin,temp,wind_speed,airport_weather__status,airport_weather__event_timestamp\n\
         JFK,,,NOT_FOUND,\n"
    );
}

#[test]
fn long_files_of_entities_are_answered_as_they_are_read() {
    let folder = materialized();
    let mut keys = "origin,factor\n".to_owned();
    for row in 0..20_000 {
        keys.push_str(&format!(
            "{},{row}\n",
            if row % 2 == 0 { "LGA" } else { "XXX" }
        ));
    }
    folder.file("keys.csv", keys);
    let args = [
        "--service",
        "gusts",
        "--entities",
        "keys.csv",
        "--out",
        "gusts.csv",
    ];
    online(&folder, &args)
        .exits(0)
        .complains("wrote 20,000 rows of 2 columns to gusts.csv");
    let gusts = folder.read("gusts.csv");
    let lines: Vec<&str> = gusts.lines().collect();
    assert_eq!(lines.len(), 20_001);
    assert_eq!(lines[1], "LGA,0.0");
    assert_eq!(lines[19_999], "LGA,164983.5");
    assert_eq!(lines[20_000], "XXX,");
}
