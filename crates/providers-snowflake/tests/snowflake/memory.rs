//! A result ten times as large as the memory limit.

use std::process::Command;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use futures::StreamExt;
use provender_core::Context;
use provender_core::provider::Resources;
use serde_json::json;

use crate::support::*;

const LIMIT_BYTES: u64 = 32 << 20;
const N_COLUMNS: u64 = 8;
/// What the stand-in computes, and how often it answers each chunk of that.
const N_MADE: u64 = 120_000;
const N_CHUNK_ROWS: u64 = 20_000;
const N_REPEATS: u64 = 56;

/// The part that is measured, in a process of its own.
#[tokio::test]
async fn measured_part() {
    let Ok(url) = std::env::var("PROVENDER_MEASURED_PART") else {
        return;
    };
    let resources = Resources {
        memory_limit_bytes: LIMIT_BYTES,
        ..resources()
    };
    let tag = json!({"chunk_rows": N_CHUNK_ROWS, "repeat": N_REPEATS});
    let store = open_with(options(&url, &tag), resources).await.unwrap();
    let cx = Context::new("test").with_timeout(Duration::from_secs(100));
    // What a session and its first result need is there before, however small the results are.
    let small = query("SELECT RANGE::FLOAT AS x FROM RANGE(0, 10)");
    read(&*store, all(small)).await.unwrap();
    let before = peak_bytes();
    let columns: Vec<String> = (0..N_COLUMNS)
        .map(|at| format!("(RANGE * {at} + 0.5)::FLOAT AS c{at}"))
        .collect();
    let source = query(&format!(
        "SELECT {} FROM RANGE(0, {N_MADE}) ORDER BY RANGE",
        columns.join(", ")
    ));
    let (mut n_rows, mut n_bytes) = (0, 0);
    for mut stream in store.scan(&cx, all(source)).await.unwrap() {
        while let Some(batch) = stream.batches.next().await {
            let batch = batch.unwrap();
            n_bytes += batch.get_array_memory_size() as u64;
            let first = match n_rows < N_CHUNK_ROWS {
                true => n_rows,
                // The first part comes once, and the chunks behind it again and again.
                false => (n_rows - N_CHUNK_ROWS) % (N_MADE - N_CHUNK_ROWS) + N_CHUNK_ROWS,
            };
            let last = batch["c1"].as_primitive::<Float64Type>().values().last();
            n_rows += batch.num_rows() as u64;
            let end = first + batch.num_rows() as u64;
            assert_eq!(last, Some(&(end as f64 - 0.5)));
        }
    }
    assert_eq!(n_rows, N_CHUNK_ROWS + (N_MADE - N_CHUNK_ROWS) * N_REPEATS);
    assert!(n_bytes > 10 * LIMIT_BYTES, "{n_bytes}");
    let grown = peak_bytes() - before;
    println!("{n_bytes} bytes were read; the process grew by {grown}");
    assert!(grown < LIMIT_BYTES, "{grown} of {n_bytes}");
}

/// The most memory that this process has had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

#[tokio::test]
async fn a_result_ten_times_the_limit_is_streamed_within_it() {
    let Some(url) = stand_in() else { return };
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::measured_part", "--nocapture"])
        .env("PROVENDER_MEASURED_PART", url)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
}
