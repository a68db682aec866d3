//! Formats, places that cannot be written to, and readers that go away.

use std::fs::File;
use std::process::Stdio;

use crate::flow::applied;
use crate::run::{Folder, Ran};

const HISTORICAL: [&str; 5] = ["historical", "--service", "delay", "--spine", "spine.csv"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&HISTORICAL[..], more].concat()
}

#[test]
fn every_format_can_be_had_from_stdout() {
    let folder = applied();
    folder
        .run(&HISTORICAL)
        .exits(0)
        .says("origin")
        .says("3 rows, 5 columns");
    folder
        .run(&with(&["--limit", "1"]))
        .exits(0)
        .says("3 rows (1 shown), 5 columns");
    let csv = folder.run(&with(&["--output", "csv"])).exits(0);
    assert_eq!(csv.stdout.lines().count(), 4);
    assert!(csv.stderr.is_empty(), "{csv:?}");
    let json = folder.run(&with(&["--output", "json"])).exits(0);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(value[1]["flight"], "007");
    assert_eq!(value[1]["temp"], serde_json::Value::Null);
    for (format, magic) in [("parquet", &b"PAR1"[..]), ("arrow", b"\xff\xff\xff\xff")] {
        let output = folder
            .command(&with(&["--output", format]))
            .output()
            .unwrap();
        assert!(output.stdout.starts_with(magic), "{format}");
    }
}

#[test]
fn what_is_written_can_be_a_spine_again() {
    let folder = applied();
    for out in ["a.parquet", "a.arrow", "a.arrows", "a.jsonl", "a.csv"] {
        folder.run(&with(&["--out", out])).exits(0);
        let args = [
            "historical",
            "--features",
            "airport_weather:temp",
            "--full-feature-names",
        ];
        let again = folder
            .run(&[&args[..], &["--spine", out, "--output", "csv"]].concat())
            .exits(0);
        assert!(
            again.stdout.starts_with(
                "flight,origin,event_timestamp,temp,wind_speed,airport_weather__temp\n"
            ),
            "{out}: {again:?}"
        );
    }
}

#[test]
fn explain_shows_how_and_builds_nothing() {
    let folder = applied();
    folder
        .run(&with(&["--explain"]))
        .exits(0)
        .says("view airport_weather")
        .says("ttl: 3h");
}

#[test]
fn explain_takes_a_sql_spine_too() {
    let folder = applied();
    let sql = "SELECT origin, time_hour AS event_timestamp FROM weather";
    folder
        .run(&[
            "historical",
            "--service",
            "delay",
            "--spine-sql",
            sql,
            "--explain",
        ])
        .exits(0)
        .says("spine: 2 columns, timestamp \"event_timestamp\"")
        .says("view airport_weather");
}

#[test]
fn sql_spines_run_in_the_offline_store() {
    let folder = applied();
    let sql = "SELECT origin, time_hour AS event_timestamp FROM weather ORDER BY origin, time_hour";
    let args = [
        "historical",
        "--service",
        "delay",
        "--spine-sql",
        sql,
        "--output",
        "csv",
    ];
    let ran = folder.run(&args).exits(0);
    assert_eq!(ran.stdout.lines().count(), 4, "{ran:?}");
    assert!(
        ran.stdout.contains("LGA,2013-01-01T05:00:00Z,41.0,8.25"),
        "{ran:?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_nothing_panics() {
    let folder = applied();
    for more in [
        &["--out", "/dev/full"][..],
        &["--out", "/dev/full", "--output", "csv"],
        &["--out", "/dev/full", "--output", "arrow"],
    ] {
        folder
            .run(&with(more))
            .exits(1)
            .complains("error[P901]: there is no space left to write /dev/full");
    }
    for args in [
        &HISTORICAL[..],
        &["list"],
        &["plan"],
        &["explain"],
        &["completions", "bash"],
        &["schema", "store"],
    ] {
        let output = folder
            .command(args)
            .stdout(File::options().write(true).open("/dev/full").unwrap())
            .output()
            .unwrap();
        Ran::of(&output)
            .exits(1)
            .complains("error[P901]: there is no space left to write standard output");
    }
    let help = folder
        .command(&["--help"])
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    Ran::of(&help).exits(1);
}

#[test]
fn places_that_cannot_be_written_to_are_named_before_any_work() {
    let folder = applied();
    let before = folder.entries();
    for path in ["/proc/x/out.parquet", "nowhere/out.csv"] {
        folder
            .run(&with(&["--out", path]))
            .exits(1)
            .complains(&format!("error[P902]: cannot write {path}"));
    }
    // A failure later on leaves nothing behind either.
    folder
        .run(&[
            "historical",
            "--service",
            "dela",
            "--spine",
            "spine.csv",
            "--out",
            "t.csv",
        ])
        .exits(1);
    assert_eq!(folder.entries(), before);
}

#[test]
fn a_reader_that_goes_away_is_no_error_to_speak_of() {
    let folder = applied();
    let mut spine = "origin,event_timestamp\n".to_owned();
    for row in 0..20_000 {
        spine.push_str(&format!("JFK,2013-01-01T05:{:02}:00Z\n", row % 60));
    }
    folder.file("spine.csv", spine);
    for args in [with(&["--output", "csv"]), vec!["schema", "definitions"]] {
        let mut child = folder
            .command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert_eq!(ran.code, 141, "{ran:?}");
        assert!(ran.stderr.is_empty(), "{ran:?}");
    }
    let mut help = folder
        .command(&["historical", "--help"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(help.stdout.take());
    let ran = Ran::of(&help.wait_with_output().unwrap());
    assert!(ran.stderr.is_empty(), "{ran:?}");
}

#[cfg(unix)]
#[test]
fn a_file_size_limit_is_an_error_and_no_kill() {
    let folder = applied();
    let mut spine = "origin,event_timestamp,note\n".to_owned();
    for row in 0..20_000 {
        spine.push_str(&format!("JFK,2013-01-01T05:00:00Z,note {row}\n"));
    }
    folder.file("spine.csv", spine);
    let before = folder.entries();
    let output = std::process::Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", "ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_provender"))
        .args(with(&["--out", "train.csv"]))
        .output()
        .unwrap();
    Ran::of(&output)
        .exits(1)
        .complains("error[P901]: there is no space left to write train.csv: File too large");
    assert_eq!(folder.entries(), before);
}

#[test]
fn verbose_adds_causes() {
    let folder = Folder::new();
    folder.file(
        "provender.yaml",
        "registry: {type: sqlite, path: /proc/nowhere/r.db}\n",
    );
    let quiet = folder.run(&["list"]).exits(1).complains("error[P");
    assert!(!quiet.stderr.contains("caused by"), "{quiet:?}");
    assert!(
        quiet.stderr.ends_with("(-v shows the cause)\n"),
        "{quiet:?}"
    );
    folder
        .run(&["-v", "list"])
        .exits(1)
        .complains("  caused by: ");
}

#[cfg(unix)]
#[test]
fn an_interrupted_command_exits_with_130_and_leaves_nothing() {
    let folder = applied();
    let before = folder.entries();
    // It waits for a spine that never comes.
    let child = folder
        .command(&[
            "historical",
            "--service",
            "delay",
            "--spine",
            "-",
            "--out",
            "t.parquet",
        ])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let killed = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let output = wait_open(child);
    Ran::of(&output).exits(130).complains("interrupted");
    assert_eq!(folder.entries(), before);
}

/// Waits while the child's stdin stays open.
#[cfg(unix)]
fn wait_open(mut child: std::process::Child) -> std::process::Output {
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    output
}
