//! Many streams at once, the server beside the floor in alternating rounds.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{self, Exchange};
use crate::data::{self, USUAL};
use crate::measure::{Sample, Usage};
use crate::report::{Report, figure, line, median, table};
use crate::servers::Server;
use crate::{Options, Outcome};

/// The share of the floor's throughput that is wanted.
const GOAL: f64 = 0.6;

/// Measures, and prints a table.
pub(crate) async fn run(
    floor: &Server,
    ours: &Server,
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    let mut samples: [Vec<Sample>; 2] = Default::default();
    for round in 0..options.rounds {
        for turn in 0..2 {
            let which = (turn + round) % 2;
            let (name, server) = [("floor", floor), ("provender", ours)][which];
            let sample = measured(server, options).await?;
            let of = json!({"server": name, "streams": options.streams, "round": round});
            report.sample("throughput", &of, &sample)?;
            samples[which].push(sample);
        }
    }
    let [floor, ours] = &samples;
    let ratio = median(
        floor
            .iter()
            .zip(ours)
            .map(|(floor, ours)| ours.rate() / floor.rate()),
    );
    let mut lines = vec![line([
        "server",
        "answers/s",
        "p50 us",
        "p99 us",
        "CPU us of an answer",
        "of the floor",
        "goal",
    ])];
    for (name, samples) in [("floor", floor), ("provender", ours)] {
        let of = |what: fn(&Sample) -> f64| median(samples.iter().map(what));
        let is_ours = name != "floor";
        lines.push(vec![
            name.to_owned(),
            figure(of(Sample::rate)),
            figure(of(Sample::p50_us)),
            figure(median(samples.iter().filter_map(Sample::p99_us))),
            figure(of(Sample::server_cpu_us)),
            figure(ratio.filter(|_| is_ours)),
            if is_ours {
                format!(">= {GOAL}")
            } else {
                "-".to_owned()
            },
        ]);
    }
    let title = format!(
        "Throughput: {} streams over {} connections, {USUAL}; medians of {} rounds",
        options.streams, options.connections, options.rounds
    );
    table(&title, 1, &lines);
    report.record("throughput_summary", &json!({"ratio": ratio, "goal": GOAL}))
}

/// Keeps all streams at work for a while. The client has threads of its own.
pub(crate) async fn measured(server: &Server, options: &Options) -> Outcome<Sample> {
    let (address, n_keys) = (server.address.clone(), options.keys);
    let (n_streams, n_connections) = (options.streams, options.connections);
    let counts_from = Instant::now() + Duration::from_secs_f64(options.seconds / 5.0 + 0.1);
    let ends = counts_from + Duration::from_secs_f64(options.seconds);
    let client = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let mut streams = JoinSet::new();
            let mut clients = Vec::new();
            for _ in 0..n_connections {
                clients.push(client::connect(&address).await?);
            }
            for number in 0..n_streams {
                let client = clients[number % n_connections].clone();
                let requests = data::requests(USUAL, n_keys, number as u64)?;
                streams.spawn(async move {
                    let schema = requests[0].schema();
                    let mut exchange = Exchange::open(client, USUAL, schema).await?;
                    let mut calls_us = Vec::new();
                    for keys in requests.iter().cycle() {
                        let before = Instant::now();
                        exchange.ask(keys).await?;
                        let now = Instant::now();
                        if now >= ends {
                            break;
                        }
                        if before >= counts_from {
                            calls_us.push((now - before).as_secs_f64() * 1e6);
                        }
                    }
                    Outcome::Ok(calls_us)
                });
            }
            let mut calls_us = Vec::new();
            while let Some(stream) = streams.join_next().await {
                calls_us.extend(stream??);
            }
            Outcome::Ok(calls_us)
        })
    });
    tokio::time::sleep_until(counts_from.into()).await;
    let usage = Usage::now(&[server])?;
    let calls_us = client.await??;
    usage.sample(calls_us, &[server])
}
