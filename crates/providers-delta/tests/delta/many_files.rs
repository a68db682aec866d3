//! A table of ten thousand files is planned in little memory.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use provender_core::request::{ColumnRange, OfflineRequest, Scan, SourceRef};

use crate::support::*;

const N_FILES: usize = 10_000;
const N_FEATURES: usize = 20;
/// Half of them are asked of a scan, as views do.
const N_ASKED: usize = 10;
const LIMIT_KIB: u64 = 300 * 1024;
const FOLDER: &str = "PROVENDER_TEST_MANY_FILES";

/// Rows as the table has them; statistics are kept of every column.
fn rows() -> RecordBatch {
    let names: Vec<String> = (0..N_FEATURES).map(|n| format!("feature_{n}")).collect();
    let value = || Arc::new(Float64Array::from(vec![0.25, 1234.5])) as ArrayRef;
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("time_hour", weather("x", 0, 2).column(1).clone()),
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
    ];
    columns.extend(names.iter().map(|name| (name.as_str(), value())));
    batch(columns)
}

/// Gives a table of one file many more, each an entry of its own in the log, a hundred to a commit.
fn multiply(table: &Path) {
    let log = table.join("_delta_log");
    let first = fs::read_to_string(log.join(format!("{:020}.json", 0))).unwrap();
    let add = first.lines().find(|line| line.contains("\"add\"")).unwrap();
    let path = data_files(table)[0].clone();
    let name = path.file_name().unwrap().to_str().unwrap();
    for commit in 1..=N_FILES / 100 {
        let mut text = String::new();
        for file in 0..100 {
            // The first file of all is there already.
            if commit == 1 && file == 0 {
                continue;
            }
            let other = format!("part-{commit:05}-{file:05}.parquet");
            fs::hard_link(&path, table.join(&other)).unwrap();
            writeln!(text, "{}", add.replace(name, &other)).unwrap();
        }
        fs::write(log.join(format!("{commit:020}.json")), text).unwrap();
    }
}

/// The most memory that this process held so far.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The process that the next test measures; alone it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn planning_process() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let store = open(Path::new(&folder)).await;
    let before = peak_kib();
    let mut scan = all(SourceRef::table("many"));
    let columns = |n_features: usize| {
        let features = (0..n_features).map(|n| format!("feature_{n}"));
        let keys = ["id", "time_hour"].map(str::to_owned);
        Some(keys.into_iter().chain(features).collect())
    };
    scan.columns = columns(N_ASKED);
    scan.ranges = vec![ColumnRange {
        column: "time_hour".to_owned(),
        min_us: Some(0),
        max_us: None,
    }];
    let streams = store.scan(&cx(), scan.clone()).await.unwrap();
    let planned = peak_kib();
    assert!(!streams.is_empty());
    drop(streams);
    // As a join reads it, and all of it.
    let whole = Scan {
        columns: columns(N_FEATURES),
        ..scan.clone()
    };
    let rows = store.open_rows(&cx(), whole).await.unwrap();
    let opened = peak_kib();
    assert!(rows.is_some());
    drop(rows);
    let request = OfflineRequest::Scan(scan.clone());
    let plan = store.explain(&cx(), &request).await.unwrap();
    assert!(!plan.is_empty());
    let n_rows: usize = read(&*store, scan)
        .await
        .unwrap()
        .iter()
        .map(RecordBatch::num_rows)
        .sum();
    let at_end = peak_kib();
    println!("measured {before} {planned} {opened} {at_end} {n_rows}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files_are_planned_in_less_than_300_mb() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(&*store, "many", rows()).await.unwrap();
    multiply(&folder.path().join("data/many"));
    let measure = |n_more: u64| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "many_files::planning_process", "--nocapture"])
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        let line = said
            .lines()
            .find_map(|line| line.split_once("measured "))
            .unwrap();
        let numbers: Vec<u64> = line.1.split(' ').map(|n| n.parse().unwrap()).collect();
        println!("KiB before, planned, opened, read: {:?}", &numbers[..4]);
        assert_eq!(numbers[4], 2 * (N_FILES as u64 + n_more));
        numbers[2]
    };
    let from_commits = measure(0);
    // The next append sums the log up, or one soon after it does.
    for _ in 0..10 {
        append(&*store, "many", rows()).await.unwrap();
    }
    let checkpoints = fs::read_dir(folder.path().join("data/many/_delta_log"))
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().contains("checkpoint.parquet")
        })
        .count();
    assert!(checkpoints > 0);
    let from_checkpoint = measure(10);
    for peak in [from_commits, from_checkpoint] {
        assert!(peak < LIMIT_KIB, "planning took {peak} KiB");
    }
}
