//! How calls are measured: one after the other, for a while, after a fifth of that while uncounted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;
use crate::servers::{Server, machine_cpu_s, process_cpu_s};

/// Calls that are made even if they take longer than there is time.
const MIN_CALLS: usize = 5;
/// Of fewer calls p99 would be the slowest, which says something else.
const MIN_CALLS_P99: usize = 100;

/// What a while of calls came to.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Sorted.
    pub(crate) calls_us: Vec<f64>,
    pub(crate) seconds: f64,
    /// Processor time of the servers.
    pub(crate) server_cpu_s: f64,
    /// How many cores other processes kept busy.
    pub(crate) noise: f64,
}

impl Sample {
    pub(crate) fn p50_us(&self) -> f64 {
        self.calls_us[self.calls_us.len() / 2]
    }

    /// None of too few calls.
    pub(crate) fn p99_us(&self) -> Option<f64> {
        let n = self.calls_us.len();
        (n >= MIN_CALLS_P99).then(|| self.calls_us[n * 99 / 100])
    }

    /// Answers in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.calls_us.len() as f64 / self.seconds
    }

    /// The servers' processor time for one answer.
    pub(crate) fn server_cpu_us(&self) -> f64 {
        self.server_cpu_s * 1e6 / self.calls_us.len() as f64
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "n_calls": self.calls_us.len(),
            "seconds": self.seconds,
            "p50_us": self.p50_us(),
            "p99_us": self.p99_us(),
            "calls_per_s": self.rate(),
            "server_cpu_us": self.server_cpu_us(),
            "noise": self.noise,
        })
    }
}

/// Processor time up to now.
pub(crate) struct Usage {
    at: Instant,
    servers_s: f64,
    own_s: f64,
    machine_s: f64,
}

impl Usage {
    pub(crate) fn now(servers: &[&Server]) -> Outcome<Self> {
        let servers_s = servers.iter().map(|server| server.cpu_s());
        Ok(Self {
            at: Instant::now(),
            servers_s: servers_s.sum::<Outcome<f64>>()?,
            own_s: process_cpu_s("self")?,
            machine_s: machine_cpu_s()?,
        })
    }

    /// A sample of calls that were made since.
    pub(crate) fn sample(&self, mut calls_us: Vec<f64>, servers: &[&Server]) -> Outcome<Sample> {
        let now = Self::now(servers)?;
        if calls_us.is_empty() {
            return Err("no call was counted".into());
        }
        calls_us.sort_by(f64::total_cmp);
        let seconds = (now.at - self.at).as_secs_f64();
        let server_cpu_s = now.servers_s - self.servers_s;
        let others_s = now.machine_s - self.machine_s - server_cpu_s - (now.own_s - self.own_s);
        Ok(Sample {
            calls_us,
            seconds,
            server_cpu_s,
            noise: (others_s / seconds).max(0.0),
        })
    }
}

/// Makes calls for `seconds`; each is given its number.
pub(crate) async fn measure(
    seconds: f64,
    servers: &[&Server],
    mut call: impl AsyncFnMut(usize) -> Outcome<()>,
) -> Outcome<Sample> {
    let mut number = 0;
    let counts_from = Instant::now() + Duration::from_secs_f64(seconds / 5.0);
    while Instant::now() < counts_from || number == 0 {
        call(number).await?;
        number += 1;
    }
    let usage = Usage::now(servers)?;
    let mut calls_us = Vec::new();
    let mut before = Instant::now();
    let ends = before + Duration::from_secs_f64(seconds);
    while before < ends || calls_us.len() < MIN_CALLS {
        call(number).await?;
        number += 1;
        let now = Instant::now();
        calls_us.push((now - before).as_secs_f64() * 1e6);
        before = now;
    }
    usage.sample(calls_us, servers)
}
