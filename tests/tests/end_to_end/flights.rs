//! All departures of New York 2013, from raw tables to a training set and to latest values.

use std::fs;
use std::path::Path;

use crate::product::{provender, python, repository};
use crate::redis_servers::Server as Redis;

/// A copy of the example without anything it produced.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let example = repository().join("examples/nyc-flights");
    fs::copy(
        example.join("provender.yaml"),
        folder.path().join("provender.yaml"),
    )
    .unwrap();
    fs::create_dir(folder.path().join("features")).unwrap();
    for file in fs::read_dir(example.join("features")).unwrap() {
        let file = file.unwrap();
        fs::copy(
            file.path(),
            folder.path().join("features").join(file.file_name()),
        )
        .unwrap();
    }
    for table in ["weather", "airports", "planes", "flights"] {
        let raw = example.join(format!("raw/{table}.parquet"));
        provender(folder.path(), ["import", table, raw.to_str().unwrap()]);
    }
    folder
}

fn train(project: &Path, out: &Path, options: &[&str]) {
    let spine = repository().join("examples/nyc-flights/raw/flights.parquet");
    let mut args = vec![
        "historical",
        "--service",
        "departure_delay",
        "--timestamp",
        "time_hour",
    ];
    args.extend([
        "--spine",
        spine.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    args.extend(options);
    provender(project, args);
}

#[test]
fn training_set_of_all_departures_equals_an_independent_computation() {
    let project = project();
    let plan = provender(project.path(), ["plan"]);
    assert!(
        plan.contains("+ feature_service departure_delay@1"),
        "{plan}"
    );
    provender(project.path(), ["apply", "--yes"]);
    assert!(provender(project.path(), ["plan"]).contains("nothing to change"));

    let out = project.path().join("training.parquet");
    train(project.path(), &out, &[]);
    let raw = repository().join("examples/nyc-flights/raw");
    if let Some(verdict) = python("check_flights.py", [&raw, &out]) {
        assert!(
            verdict.starts_with("336776 rows x 38 columns agree"),
            "{verdict}"
        );
        println!("{verdict}");
    }

    // The same again under a memory limit that makes both sides spill.
    let config = project.path().join("provender.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}limits: {{memory: 48MiB}}\n")).unwrap();
    let spilled = project.path().join("spilled.parquet");
    train(project.path(), &spilled, &[]);
    if let Some(verdict) = python("check_flights.py", [&raw, &spilled]) {
        assert!(
            verdict.starts_with("336776 rows x 38 columns agree"),
            "{verdict}"
        );
    }
}

#[test]
fn latest_values_at_the_end_of_the_year_equal_an_independent_computation() {
    let project = project();
    latest_values_are_right(&project, Expired::Held);
}

/// What a store does with rows whose ttl has passed.
#[derive(Clone, Copy, PartialEq)]
enum Expired {
    Held,
    Dropped,
}

#[test]
fn latest_values_in_redis_equal_an_independent_computation() {
    let redis = Redis::start();
    let project = project();
    let config = project.path().join("provender.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let url = redis.url();
    fs::write(
        &config,
        format!("{text}online_store: {{type: redis, url: '{url}'}}\n"),
    )
    .unwrap();
    latest_values_are_right(&project, Expired::Dropped);
    let n_held = redis.wire().run("DBSIZE").number();
    assert!(n_held > 5_000, "Redis holds {n_held} keys");
    assert!(!project.path().join(".provender/online").exists());
    // Once more, over what is held.
    let again = ["materialize", "2012-12-31", "2014-01-01"];
    provender(project.path(), again);
    let verified = provender(project.path(), ["verify", "--full"]);
    assert!(verified.contains("airport_weather@1"), "{verified}");
}

fn latest_values_are_right(project: &tempfile::TempDir, expired: Expired) {
    const INSTANT: &str = "2014-01-01T00:00:00Z";
    provender(project.path(), ["apply", "--yes"]);
    provender(
        project.path(),
        ["materialize-incremental", "--end", INSTANT],
    );

    let verified = provender(project.path(), ["verify", "--full"]);
    for view in [
        "airport_facts@1",
        "airport_weather@1",
        "plane@1",
        "route_delay@1",
    ] {
        let line = verified.lines().find(|line| line.starts_with(view));
        let line = line.unwrap_or_else(|| panic!("nothing of {view}: {verified}"));
        // The newest weather is older than its ttl by now.
        if view == "airport_weather@1" && expired == Expired::Dropped {
            assert!(line.contains("none of 3 keys: all expired"), "{verified}");
        } else {
            assert!(line.contains(" 100.00% of "), "{verified}");
        }
    }

    let raw = repository().join("examples/nyc-flights/raw");
    let (keys, answers) = (
        project.path().join("keys.csv"),
        project.path().join("answers.parquet"),
    );
    let script = "check_flights_online.py";
    let mode = |mode: &str| Path::new(mode).to_owned();
    if python(script, [&mode("keys"), &raw, &keys]).is_none() {
        return;
    }
    let mut args = vec!["online", "--service", "departure_delay", "--status"];
    args.extend(["--entities", keys.to_str().unwrap()]);
    args.extend(["--out", answers.to_str().unwrap()]);
    provender(project.path(), args);
    let verdict = python(
        script,
        [
            &mode("check"),
            &raw,
            &answers,
            &mode(INSTANT),
            &mode(match expired {
                Expired::Held => "held",
                Expired::Dropped => "dropped",
            }),
        ],
    )
    .unwrap();
    assert!(verdict.contains("x 24 columns agree"), "{verdict}");
    println!("{verdict}");
}
