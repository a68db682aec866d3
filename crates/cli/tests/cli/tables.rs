//! Looking after tables, and columns that come later.

use crate::flow::{applied, weather};

#[test]
fn optimise_and_vacuum_say_what_they_did() {
    let folder = weather();
    for _ in 0..3 {
        folder.run(&["import", "weather", "weather.csv"]).exits(0);
    }
    folder
        .run(&["table", "optimise", "weather"])
        .exits(0)
        .complains("optimised table weather: 4 files (")
        .complains(") became 1 (");
    folder
        .run(&["table", "optimize", "weather", "--target-size", "64MiB"])
        .exits(0)
        .complains("table weather has nothing to optimise: 1 file");
    folder
        .run(&["table", "optimise", "weather", "--target-size", "big"])
        .exits(2)
        .complains("--target-size \"big\" is no size: it does not start with a whole number");
    folder
        .run(&[
            "table",
            "optimise",
            "weather",
            "--order-by",
            "origin,time_hour",
            "--output",
            "json",
        ])
        .exits(0)
        .says("\"n_files\": 1");
    folder
        .run(&["table", "vacuum", "weather"])
        .exits(0)
        .complains("vacuumed table weather: removed 0 files (0 B)");
    folder
        .run(&["table", "vacuum", "weather", "--keep", "1h"])
        .exits(1)
        .complains("error[P515]: table \"weather\" keeps replaced files for 7d, and 1h is shorter");
    let dry = [
        "table",
        "vacuum",
        "weather",
        "--keep",
        "0",
        "--force",
        "--dry-run",
    ];
    let planned = folder
        .run(&dry)
        .exits(0)
        .complains("would remove")
        .complains("nothing was removed");
    assert!(planned.stdout.lines().count() >= 4, "{planned:?}");
    assert!(
        planned
            .stdout
            .lines()
            .all(|line| line.ends_with(".parquet"))
    );
    folder
        .run(&["table", "vacuum", "weather", "--keep", "0", "--force"])
        .exits(0)
        .complains("1 file left");
    folder.run(&dry).exits(0).complains("would remove 0 files");
    folder
        .run(&["table", "vacuum", "wether"])
        .exits(1)
        .complains("error[P120]")
        .complains("did you mean \"weather\"?");
}

#[test]
fn vacuum_after_delete_erases_the_key_from_the_disk() {
    let folder = applied();
    let args = [
        "delete",
        "airport_weather",
        "--entity",
        "origin=LGA",
        "--yes",
    ];
    folder.run(&args).exits(0);
    let args = [
        "table",
        "vacuum",
        "weather",
        "--keep",
        "0",
        "--force",
        "--forget-history",
    ];
    folder.run(&args).exits(0).complains("of its log");
    let mut folders = vec![folder.path().join("data/weather")];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(3).any(|at| at == b"LGA"), "{path:?}");
        }
    }
}

#[test]
fn new_columns_are_imported_when_asked() {
    let folder = weather();
    let more = "origin,time_hour,gust\nJFK,2013-01-01T07:00:00Z,20.5\n";
    folder
        .run_with_stdin(&["import", "weather", "-"], more)
        .exits(1)
        .complains("column \"gust\" is new")
        .complains("--add-columns");
    folder
        .run_with_stdin(&["import", "weather", "-", "--add-columns"], more)
        .exits(0)
        .complains("imported 1 row into table weather");
    folder.run(&["import", "weather", "weather.csv"]).exits(0);
}
