//! How calls are counted: some tasks, each one call after the other, for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{ROW_BYTES, Reader};

/// What calls took: medians of wall time, and processor time per call.
pub(crate) struct Measured {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) calls_per_s: f64,
    /// Of this process, with its threads.
    pub(crate) own_cpu_us: f64,
    /// Of the servers.
    pub(crate) redis_cpu_us: f64,
}

/// Counts for `seconds`, after a quarter of that uncounted.
pub(crate) async fn measure(
    reader: &Arc<dyn Reader>,
    requests: &Arc<Vec<Vec<Bytes>>>,
    n_tasks: usize,
    seconds: f64,
    servers: &[u32],
) -> Measured {
    let counts_from = Instant::now() + Duration::from_secs_f64(seconds / 4.0);
    let ends = counts_from + Duration::from_secs_f64(seconds);
    let tasks: Vec<_> = (0..n_tasks)
        .map(|task| {
            let (reader, requests) = (Arc::clone(reader), Arc::clone(requests));
            tokio::spawn(async move {
                let mut took_us = Vec::new();
                let mut number = task * 7;
                loop {
                    let keys = &requests[number % requests.len()];
                    number += 1;
                    let started = Instant::now();
                    let found = reader.read(keys).await.unwrap();
                    assert_eq!(found, (keys.len() * ROW_BYTES, keys.len()));
                    let now = Instant::now();
                    if now >= ends {
                        return took_us;
                    }
                    if started >= counts_from {
                        took_us.push((now - started).as_secs_f64() * 1e6);
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep_until(counts_from.into()).await;
    let before = (cpu_s(std::process::id()), all_cpu_s(servers));
    tokio::time::sleep_until(ends.into()).await;
    let after = (cpu_s(std::process::id()), all_cpu_s(servers));
    let mut took_us = Vec::new();
    for task in tasks {
        took_us.extend(task.await.unwrap());
    }
    took_us.sort_by(f64::total_cmp);
    let n_calls = took_us.len() as f64;
    Measured {
        p50_us: took_us[took_us.len() / 2],
        p99_us: took_us[took_us.len() * 99 / 100],
        calls_per_s: n_calls / seconds,
        own_cpu_us: (after.0 - before.0) * 1e6 / n_calls,
        redis_cpu_us: (after.1 - before.1) * 1e6 / n_calls,
    }
}

fn all_cpu_s(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| cpu_s(*pid)).sum()
}

/// Processor time that a process has taken, as the kernel's scheduler counts it.
fn cpu_s(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.expect("the process runs, on Linux").flatten();
    let nanoseconds = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}
