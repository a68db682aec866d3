//! Online reads from Redis: the server beside the bare read of the same bytes and beside the floor, in
//! alternating rounds, everything on this machine.
//!
//! Bare is a pipeline of one GET for each row's key over a connection of its own, spelled beforehand, with its
//! replies read and nothing decoded: what Redis itself takes. One MGET of the same keys takes less, and stands beside.

use std::collections::HashMap;
use std::time::Instant;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{self, Exchange};
use crate::data::{self, SHAPES, Shape, USUAL};
use crate::floor::Asks;
use crate::measure::{Sample, measure};
use crate::report::{Report, figure, line, median, table};
use crate::servers::{Server, process_cpu_s};
use crate::throughput;
use crate::{Options, Outcome, redis_servers};

/// The share that is wanted of the throughput of a floor that asks Redis for the same rows, and so has its
/// share of the processors counted in.
const GOAL: f64 = 0.7;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Bare,
    Mget,
    Floor,
    Ours,
}

const ALL: [What; 4] = [What::Bare, What::Mget, What::Floor, What::Ours];

/// What is wanted of p50, given the bare read's and the floor's.
fn goal_us(shape: Shape, bare_us: f64, floor_us: f64) -> Option<f64> {
    match (shape.n_keys, shape.n_features) {
        (1, 10) => Some(bare_us + floor_us + 60.0),
        (100, 10) => Some(1.8 * bare_us),
        (100, 50) => Some(2.4 * bare_us),
        _ => None,
    }
}

/// What is wanted of p99.
fn goal_p99_us(shape: Shape, bare_us: f64) -> Option<f64> {
    (shape == USUAL).then_some(2.5 * bare_us)
}

/// Measures, and prints two tables.
pub(crate) async fn run(
    redis: &redis_servers::Server,
    floor: &Server,
    ours: &Server,
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    let floor_client = client::connect(&floor.address).await?;
    let our_client = client::connect(&ours.address).await?;
    let mut wire = redis.wire();
    let ends = ends_of_keys(&mut wire);
    let mut samples: HashMap<(Shape, What), Vec<Sample>> = HashMap::new();
    let shapes = || {
        SHAPES
            .into_iter()
            .filter(|shape| options.shapes.contains(shape))
    };
    for round in 0..options.rounds {
        for shape in shapes() {
            let requests = data::requests(shape, options.keys, 1)?;
            let end = &ends[&shape.n_features];
            for turn in 0..ALL.len() {
                let what = ALL[(turn + round) % ALL.len()];
                let sample = match what {
                    What::Bare | What::Mget => {
                        let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).await?;
                        stream.set_nodelay(true)?;
                        let spelled: Vec<Vec<u8>> = requests
                            .iter()
                            .map(|request| {
                                let drivers = request.column(0).as_primitive::<Int64Type>();
                                spell(drivers.values(), end, what == What::Mget)
                            })
                            .collect();
                        let mut reply = Vec::new();
                        measure(options.seconds, &[], async |number: usize| {
                            stream.write_all(&spelled[number % spelled.len()]).await?;
                            read_all(&mut stream, shape.n_keys, &mut reply).await
                        })
                        .await?
                    }
                    What::Floor | What::Ours => {
                        let (server, client) = match what {
                            What::Ours => (ours, &our_client),
                            _ => (floor, &floor_client),
                        };
                        let schema = requests[0].schema();
                        let mut exchange = Exchange::open(client.clone(), shape, schema).await?;
                        measure(options.seconds, &[server], async |number: usize| {
                            let answer = exchange.ask(&requests[number % requests.len()]).await?;
                            std::hint::black_box(answer);
                            Ok(())
                        })
                        .await?
                    }
                };
                let of = json!({"shape": shape.to_string(), "what": format!("{what:?}"), "round": round});
                report.sample("redis", &of, &sample)?;
                samples.entry((shape, what)).or_default().push(sample);
            }
        }
    }
    let mut lines = vec![line([
        "keys x features",
        "bare p50",
        "MGET p50",
        "floor p50",
        "ours p50",
        "goal",
        "ours / bare",
        "bare p99",
        "ours p99",
        "goal",
        "ours CPU",
    ])];
    for shape in shapes() {
        let of = |what| samples.get(&(shape, what)).map_or(&[][..], Vec::as_slice);
        let p50 = |what| median(of(what).iter().map(Sample::p50_us));
        let p99 = |what| median(of(what).iter().filter_map(Sample::p99_us));
        let ratio = of(What::Bare).iter().zip(of(What::Ours));
        let ratio = median(ratio.map(|(bare, ours)| ours.p50_us() / bare.p50_us()));
        let goal = p50(What::Bare).zip(p50(What::Floor));
        let goal = goal.and_then(|(bare, floor)| goal_us(shape, bare, floor));
        lines.push(vec![
            shape.to_string(),
            figure(p50(What::Bare)),
            figure(p50(What::Mget)),
            figure(p50(What::Floor)),
            figure(p50(What::Ours)),
            figure(goal),
            figure(ratio),
            figure(p99(What::Bare)),
            figure(p99(What::Ours)),
            figure(p99(What::Bare).and_then(|bare| goal_p99_us(shape, bare))),
            figure(median(of(What::Ours).iter().map(Sample::server_cpu_us))),
        ]);
    }
    table(
        &format!(
            "DoExchange from Redis: one client, one call after the other; us, medians of {} rounds",
            options.rounds
        ),
        1,
        &lines,
    );
    let asks = Asks {
        port: redis.port(),
        end: ends[&USUAL.n_features].clone(),
    };
    throughput(redis, floor, ours, &asks, options, report).await
}

/// Many streams: the floor, the floor that asks Redis for the same rows, and the server.
async fn throughput(
    redis: &redis_servers::Server,
    floor: &Server,
    ours: &Server,
    asks: &Asks,
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    let asking = Server::floor(Some(asks))?;
    let servers = [
        ("floor", floor),
        ("floor and Redis", &asking),
        ("provender", ours),
    ];
    let redis_cpu_s = || process_cpu_s(&redis.pid().to_string());
    let mut samples: [Vec<(Sample, f64)>; 3] = Default::default();
    for round in 0..options.rounds {
        for turn in 0..servers.len() {
            let which = (turn + round) % servers.len();
            let (name, server) = servers[which];
            let before = redis_cpu_s()?;
            let started = Instant::now();
            let sample = throughput::measured(server, options).await?;
            let redis_cores = (redis_cpu_s()? - before) / started.elapsed().as_secs_f64();
            let of = json!({"server": name, "round": round, "redis_cores": redis_cores});
            report.sample("redis_throughput", &of, &sample)?;
            samples[which].push((sample, redis_cores));
        }
    }
    let [floors, askings, own] = &samples;
    let ratio = |others: &[(Sample, f64)]| {
        let pairs = own.iter().zip(others);
        median(pairs.map(|((own, _), (other, _))| own.rate() / other.rate()))
    };
    let (of_floor, of_both) = (ratio(floors), ratio(askings));
    report.record(
        "redis_throughput_summary",
        &json!({"ratio": of_both, "of_floor_alone": of_floor, "goal": GOAL}),
    )?;
    let mut lines = vec![line([
        "server",
        "answers/s",
        "p50 us",
        "p99 us",
        "CPU us of an answer",
        "Redis' CPU us",
        "ours / it",
        "goal",
    ])];
    let all = [
        (floors, of_floor, false),
        (askings, of_both, true),
        (own, None, false),
    ];
    for ((name, _), (samples, ratio, is_judged)) in servers.iter().zip(all) {
        let of = |what: fn(&Sample) -> f64| median(samples.iter().map(|(sample, _)| what(sample)));
        let redis_us = samples
            .iter()
            .map(|(sample, cores)| cores * 1e6 / sample.rate());
        lines.push(vec![
            (*name).to_owned(),
            figure(of(Sample::rate)),
            figure(of(Sample::p50_us)),
            figure(median(
                samples.iter().filter_map(|(sample, _)| sample.p99_us()),
            )),
            figure(of(Sample::server_cpu_us)),
            figure(median(redis_us)),
            figure(ratio),
            if is_judged {
                format!(">= {GOAL}")
            } else {
                "-".to_owned()
            },
        ]);
    }
    let title = format!(
        "Throughput from Redis: {} streams over {} connections, {USUAL}; medians of {} rounds",
        options.streams, options.connections, options.rounds
    );
    table(&title, 1, &lines);
    Ok(())
}

/// What the keys of a view's rows end with, by how many features its rows have.
fn ends_of_keys(wire: &mut redis_servers::Wire) -> HashMap<usize, Vec<u8>> {
    let mut ends = HashMap::new();
    for key in wire.keys() {
        if let Some(at) = key.iter().rposition(|byte| *byte == b'}')
            && key.starts_with(b"{")
        {
            ends.entry(key[at..].to_vec()).or_insert(key);
        }
    }
    let sizes = ends.into_iter().map(|(end, key)| {
        let row = wire.ask(&[b"GET", &key]).bytes();
        (if row.len() > 300 { 50 } else { 10 }, end)
    });
    sizes.collect()
}

/// Asks for the rows of drivers.
pub(crate) fn spell(drivers: &[i64], end: &[u8], is_mget: bool) -> Vec<u8> {
    let mut request = Vec::new();
    if is_mget {
        request = format!("*{}\r\n$4\r\nMGET\r\n", drivers.len() + 1).into_bytes();
    }
    for driver in drivers {
        if !is_mget {
            request.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
        }
        let mut key = b"{pv:".to_vec();
        key.extend_from_slice(&(driver.cast_unsigned() ^ 1 << 63).to_be_bytes());
        key.extend_from_slice(end);
        request.extend_from_slice(format!("${}\r\n", key.len()).as_bytes());
        request.extend_from_slice(&key);
        request.extend_from_slice(b"\r\n");
    }
    request
}

/// Reads the replies for some keys, all of whose rows are there.
pub(crate) async fn read_all(
    stream: &mut TcpStream,
    n_keys: usize,
    reply: &mut Vec<u8>,
) -> Outcome<()> {
    reply.clear();
    let (mut at, mut n_values) = (0, 0);
    while n_values < n_keys {
        if stream.read_buf(reply).await? == 0 {
            return Err("Redis closed the connection".into());
        }
        while n_values < n_keys {
            let rest = &reply[at..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                break;
            };
            let count: usize = std::str::from_utf8(&rest[1..end - 1])?.parse()?;
            // The head of MGET's list.
            if rest[0] == b'*' {
                at += end + 1;
                continue;
            }
            if rest.len() < end + 3 + count {
                break;
            }
            std::hint::black_box(rest[end + 1]);
            at += end + 3 + count;
            n_values += 1;
        }
    }
    Ok(())
}
