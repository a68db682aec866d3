//! Datasets over the flights: kept, built again after everything moved on, and cut off in the middle.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::product::{binary, provender, repository};

/// The flights' project with its tables imported and its definitions applied.
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
        let to = folder.path().join("features").join(file.file_name());
        fs::copy(file.path(), to).unwrap();
    }
    for table in ["weather", "airports", "planes", "flights"] {
        provender(folder.path(), ["import", table, &raw(table)]);
    }
    provender(folder.path(), ["apply", "--yes"]);
    folder
}

fn raw(table: &str) -> String {
    let path = repository().join(format!("examples/nyc-flights/raw/{table}.parquet"));
    path.to_str().unwrap().to_owned()
}

fn create(folder: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .current_dir(folder)
        .args([
            "dataset",
            "create",
            "delays",
            "--service",
            "departure_delay",
        ])
        .args(["--timestamp", "time_hour", "--spine", &raw("flights")])
        .args(options);
    command
}

fn told(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    format!("{stdout}{}", String::from_utf8_lossy(&output.stderr))
}

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.current_dir(folder).args(args).output().unwrap()
}

/// Fails the test unless the command does with this code; answers what it said.
fn fails(output: &Output, code: &str) -> String {
    let told = told(output);
    assert!(!output.status.success(), "{told}");
    assert!(told.contains(&format!("error[{code}]")), "{told}");
    told
}

fn manifest(folder: &Path, name: &str) -> serde_json::Value {
    let shown = provender(folder, ["dataset", "show", name, "--output", "json"]);
    serde_json::from_str(&shown).unwrap()
}

#[test]
fn dataset_of_all_departures_comes_out_the_same_after_everything_moved_on() {
    let project = project();
    let folder = project.path();
    let made = create(folder, &["--split", "random:0.8,0.1,0.1", "--seed", "7"]);
    let made = { made }.output().unwrap();
    assert!(made.status.success(), "{}", told(&made));
    assert!(
        told(&made).contains("made dataset delays@1 of 336,776 rows and 39 columns"),
        "{}",
        told(&made)
    );
    let first = manifest(folder, "delays");
    assert_eq!(first["n_rows"], 336_776);
    assert_eq!(first["sources"][0]["version"]["number"], 0);
    let command = first["command"].as_str().unwrap();
    assert!(command.starts_with("provender dataset create delays --service departure_delay"));

    let out = folder.join("first.csv");
    let args = [
        "dataset",
        "recreate",
        "delays",
        "--out",
        out.to_str().unwrap(),
    ];
    provender(folder, args);

    // New rows in a table and in a query's table, other definitions, the same name.
    provender(folder, ["import", "weather", &raw("weather")]);
    let flights = raw("flights");
    provender(folder, ["import", "flights", &flights]);
    for file in fs::read_dir(folder.join("features")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("ttl: 3h", "ttl: 1h")).unwrap();
    }
    provender(folder, ["apply", "--yes"]);
    fails(&create(folder, &[]).output().unwrap(), "P421");
    let second = create(folder, &["--new-version"]).output().unwrap();
    assert!(second.status.success(), "{}", told(&second));

    let again = folder.join("again.csv");
    let args = [
        "dataset",
        "recreate",
        "delays@1",
        "--out",
        again.to_str().unwrap(),
    ];
    let told_again = told(&run(folder, &args));
    let hash = first["hash"].as_str().unwrap();
    assert!(
        told_again.contains("the same 336,776 rows, bit for bit, ") && told_again.contains(hash),
        "{told_again}"
    );
    assert!(
        fs::read(&out).unwrap() == fs::read(&again).unwrap(),
        "the files differ"
    );

    let diff = provender(folder, ["dataset", "diff", "delays@1", "delays@2"]);
    for expected in [
        [
            "definitions",
            "feature_view airport_weather",
            "version",
            "1",
            "2",
        ],
        [
            "definitions",
            "feature_view airport_weather",
            "ttl",
            "3h",
            "1h",
        ],
        ["sources", "weather", "version", "version 0", "version 1"],
    ] {
        let has = |line: &str| expected.iter().all(|text| line.contains(text));
        assert!(diff.lines().any(has), "no {expected:?} in {diff}");
    }
    assert!(!diff.contains("spine  "), "{diff}");

    // What vacuum removes is named.
    for file in fs::read_dir(folder.join("data/weather")).unwrap() {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            fs::remove_file(path).unwrap();
        }
    }
    let args = ["dataset", "recreate", "delays@1", "--out", "gone.csv"];
    let told_gone = fails(&run(folder, &args), "P506");
    assert!(
        told_gone.contains(
            "dataset \"delays@1\" cannot be recreated: source \"weather\" (table \"weather\") cannot be read at version 0 any more"
        ),
        "{told_gone}"
    );
    assert!(!folder.join("gone.csv").exists());
}

#[test]
fn killed_create_leaves_no_dataset_and_nothing_in_the_way() {
    let project = project();
    let folder = project.path();
    let mut n_killed = 0;
    for wait_ms in [100, 300, 600, 900, 1_500, 2_500] {
        let mut child = create(folder, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(wait_ms));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        n_killed += 1;
        let list = provender(folder, ["dataset", "list", "--output", "json"]);
        assert_eq!(list.trim(), "[]");
    }
    println!("{n_killed} kills hit a run");
    assert!(n_killed > 0);
    let list = provender(folder, ["dataset", "list", "--output", "json"]);
    if list.trim() == "[]" {
        let made = create(folder, &[]).output().unwrap();
        assert!(made.status.success(), "{}", told(&made));
    }
    let again = run(folder, &["dataset", "recreate", "delays", "--limit", "1"]);
    assert!(again.status.success(), "{}", told(&again));
}
