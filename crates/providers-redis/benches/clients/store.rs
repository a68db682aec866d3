//! The store itself beside bare Redis: memory of a million rows, writes, and reads through its reader.
//!
//! Bare is what Redis can do: the same bytes under the same keys, spelled beforehand, sent by SET in one pipeline
//! by one thread while another reads the replies; or asked for by MGET with nothing decoded.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use bytes::Bytes;
use provender_codec::RowFormat;
use provender_core::model::JoinKey;
use provender_core::provider::{OnlineReader, OnlineStore};
use provender_core::request::{ReadPlan, ViewLayout, ViewRead};
use provender_core::{BatchStream, Context, ValueType};
use provender_providers_redis::RedisOnlineStore;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::Reader;
use crate::floor::Exclusive;
use crate::servers::{Cluster, Server};

const EVENT_US: i64 = 1_767_225_600_000_000;
const ROWS_PER_BATCH: i64 = 65_536;

fn layout(n_features: usize, ttl_us: Option<i64>) -> ViewLayout {
    ViewLayout {
        project: "bench".to_owned(),
        view: format!("view_{n_features}"),
        version: 1,
        join_keys: vec![JoinKey {
            name: "id".to_owned(),
            value_type: ValueType::Int64,
        }],
        features: (0..n_features)
            .map(|number| (format!("f{number}"), ValueType::Float64))
            .collect(),
        tie_breakers: Vec::new(),
        ttl_us,
    }
}

/// All rows, in no order of their keys, as of `event_us`.
fn batches(layout: &ViewLayout, n_rows: i64, event_us: i64) -> Vec<RecordBatch> {
    let schema = Arc::new(layout.write_schema());
    let mut random = SmallRng::seed_from_u64(event_us.cast_unsigned());
    let starts = (0..n_rows).step_by(ROWS_PER_BATCH as usize);
    starts
        .map(|start| {
            let n = ROWS_PER_BATCH.min(n_rows - start) as usize;
            let ids = (start..start + n as i64).map(|row| row * 611_953 % n_rows);
            let mut columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_iter_values(ids)),
                Arc::new(TimestampMicrosecondArray::from(vec![event_us; n]).with_timezone("UTC")),
                Arc::new(
                    TimestampMicrosecondArray::from(vec![event_us + 1; n]).with_timezone("UTC"),
                ),
                Arc::new(BooleanArray::from(vec![false; n])),
            ];
            for _ in 0..layout.features.len() {
                let values = (0..n).map(|_| random.random::<f64>());
                columns.push(Arc::new(Float64Array::from_iter_values(values)));
            }
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        })
        .collect()
}

/// A SET for every row, in pieces of about a megabyte.
fn spelled(
    layout: &ViewLayout,
    batches: &[RecordBatch],
    key: impl Fn(i64, &[u8]) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let format = RowFormat::new(layout).unwrap();
    let mut pieces = vec![Vec::new()];
    for batch in batches {
        let ids: &Int64Array = batch.column(0).as_any().downcast_ref().unwrap();
        let encoder = format.encoder(batch).unwrap();
        for row in 0..encoder.n_rows() {
            let (mut bytes, mut value) = (Vec::new(), Vec::new());
            encoder.append_key(row, &mut bytes);
            encoder.append(row, &mut value).unwrap();
            let key = key(ids.value(row), &bytes);
            if pieces.last().is_some_and(|piece| piece.len() > 1 << 20) {
                pieces.push(Vec::new());
            }
            let piece = pieces.last_mut().unwrap();
            write!(piece, "*3\r\n$3\r\nSET\r\n${}\r\n", key.len()).unwrap();
            piece.extend_from_slice(&key);
            write!(piece, "\r\n${}\r\n", value.len()).unwrap();
            piece.extend_from_slice(&value);
            piece.extend_from_slice(b"\r\n");
        }
    }
    pieces
}

/// A key as long as the store's.
fn usual_key(_: i64, bytes: &[u8]) -> Vec<u8> {
    [b"{pv:", bytes, b"}QWERTYUIOP"].concat()
}

/// Seconds of a bare pipelined SET of rows.
fn bare(port: u16, pieces: &[Vec<u8>], n_rows: usize) -> f64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut replies = stream.try_clone().unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // "+OK\r\n" each.
            let (mut n_missing, mut buffer) = (n_rows * 5, vec![0; 1 << 16]);
            while n_missing > 0 {
                let n_read = replies.read(&mut buffer).unwrap();
                assert!(n_read > 0 && !buffer[..n_read].contains(&b'-'));
                n_missing -= n_read;
            }
        });
        for piece in pieces {
            stream.write_all(piece).unwrap();
        }
    });
    started.elapsed().as_secs_f64()
}

async fn write(store: &RedisOnlineStore, layout: &ViewLayout, batches: &[RecordBatch]) -> f64 {
    let schema = Arc::new(layout.write_schema());
    let rows = BatchStream::from_batches(schema, batches.to_vec());
    let started = Instant::now();
    let summary = store
        .write(&Context::new("bench"), layout, rows)
        .await
        .unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(summary.n_rows, n_rows as u64);
    seconds
}

fn used_bytes(server: &Server) -> f64 {
    let info = server.wire().run("INFO memory").text();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.unwrap().trim().parse().unwrap()
}

fn on(server: &Server) -> RedisOnlineStore {
    RedisOnlineStore::from_options(json!({"url": server.url()})).unwrap()
}

/// Rows a second, of the store and of bare Redis, in the same run.
pub(crate) async fn writes(rounds: usize, n_rows: i64) {
    let layout = layout(10, None);
    let first = batches(&layout, n_rows, EVENT_US);
    let newer = batches(&layout, n_rows, EVENT_US + 1_000_000);
    let (bare_first, bare_newer) = (
        spelled(&layout, &first, usual_key),
        spelled(&layout, &newer, usual_key),
    );
    let n = n_rows as usize;
    let tell = |what: &str, seconds: f64| {
        let rate = n_rows as f64 / seconds;
        println!(
            "{}",
            json!({"what": "writes", "of": what, "rows_per_s": rate})
        );
    };
    for round in 0..rounds {
        let turns = ["bare", "store", "cluster"];
        for turn in 0..turns.len() {
            match turns[(turn + round) % turns.len()] {
                "bare" => {
                    let server = Server::start();
                    tell("bare, empty", bare(server.port(), &bare_first, n));
                    tell("bare, over existing", bare(server.port(), &bare_newer, n));
                }
                "store" => {
                    let server = Server::start();
                    server.wire().run("CONFIG SET slowlog-log-slower-than 1000");
                    let store = on(&server);
                    tell("store, empty", write(&store, &layout, &first).await);
                    tell("store, over existing", write(&store, &layout, &newer).await);
                    tell("store, again", write(&store, &layout, &newer).await);
                    tell("store, older", write(&store, &layout, &first).await);
                    tell_scripts("store", &[&server]);
                }
                _ => {
                    let cluster = Cluster::start(3, false);
                    for node in &cluster.nodes {
                        node.wire().run("CONFIG SET slowlog-log-slower-than 1000");
                    }
                    let addresses = cluster.addresses();
                    let urls = addresses
                        .split(',')
                        .map(|address| format!("redis://{address}"));
                    let options = json!({"urls": urls.collect::<Vec<_>>()});
                    let store = RedisOnlineStore::from_options(options).unwrap();
                    tell(
                        "store on a cluster, empty",
                        write(&store, &layout, &first).await,
                    );
                    tell(
                        "store on a cluster, over existing",
                        write(&store, &layout, &newer).await,
                    );
                    tell_scripts("cluster", &cluster.nodes.iter().collect::<Vec<_>>());
                }
            }
        }
    }
}

/// How long scripts took: on average, and those of more than a millisecond, as Redis itself tells. The latter
/// count time for which Redis had no processor, too.
fn tell_scripts(of: &str, servers: &[&Server]) {
    let (mut n_calls, mut us, mut n_slow, mut longest_us) = (0.0, 0.0, 0, 0);
    for server in servers {
        let mut wire = server.wire();
        let stats = wire.run("INFO commandstats").text();
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
        for pair in line.unwrap_or_default().split(',') {
            match pair.split_once('=') {
                Some(("calls", n)) => n_calls += n.parse::<f64>().unwrap(),
                Some(("usec", n)) => us += n.parse::<f64>().unwrap(),
                _ => {}
            }
        }
        for entry in wire.run("SLOWLOG GET 128").items() {
            let entry = entry.items();
            if entry[3].clone().items()[0].text().starts_with("EVAL") {
                n_slow += 1;
                longest_us = longest_us.max(entry[2].number());
            }
        }
    }
    println!(
        "{}",
        json!({"what": "scripts", "of": of, "mean_us": us / n_calls, "calls": n_calls, "over_1_ms": n_slow, "longest_us": longest_us})
    );
}

/// Bytes of a row.
pub(crate) async fn memory(n_rows: i64) {
    let far_off = Some(100 * 365 * 86_400_000_000);
    let tell = |what: &str, bytes: f64| {
        let per_row = bytes / n_rows as f64;
        println!(
            "{}",
            json!({"what": "memory", "of": what, "bytes_per_row": per_row})
        );
    };
    for (what, ttl_us) in [("store", None), ("store, with a ttl", far_off)] {
        let layout = layout(10, ttl_us);
        let server = Server::start();
        let before = used_bytes(&server);
        write(&on(&server), &layout, &batches(&layout, n_rows, EVENT_US)).await;
        tell(what, used_bytes(&server) - before);
    }
    let layout = layout(10, None);
    let rows = batches(&layout, n_rows, EVENT_US);
    let short = |id: i64, _: &[u8]| format!("{id:010}").into_bytes();
    let pieces = spelled(&layout, &rows, short);
    let server = Server::start();
    let before = used_bytes(&server);
    bare(server.port(), &pieces, n_rows as usize);
    tell("bare, keys of 10 bytes", used_bytes(&server) - before);
}

/// The store's reader beside the bare read of the same bytes.
pub(crate) async fn reads(rounds: usize, seconds: f64) {
    const N_ROWS: i64 = 100_000;
    let server = Server::start();
    let store = on(&server);
    for (n_keys, n_features) in [(1, 10), (100, 10), (500, 10), (100, 50)] {
        let layout = layout(n_features, None);
        server.wire().run("FLUSHALL");
        write(&store, &layout, &batches(&layout, N_ROWS, EVENT_US)).await;
        let mut keys = server.wire().keys();
        keys.retain(|key| key.starts_with(b"{"));
        assert_eq!(keys.len(), N_ROWS as usize);
        let plan = ReadPlan {
            keys: layout.join_keys.clone(),
            views: vec![ViewRead {
                key_columns: vec![0],
                features: (0..n_features).collect(),
                layout: Arc::new(layout.clone()),
            }],
        };
        let cx = Context::new("bench");
        let reader = store.prepare(&cx, Arc::new(plan)).await.unwrap();
        let floor = Exclusive::mget(vec![server.port()]).await;
        let mut random = SmallRng::seed_from_u64(3);
        let bare_requests: Vec<Vec<Bytes>> = (0..256)
            .map(|_| {
                let mut one = || keys[random.random_range(0..keys.len())].clone().into();
                (0..n_keys).map(|_| one()).collect()
            })
            .collect();
        let schema = Arc::new(layout.key_schema());
        let requests: Vec<RecordBatch> = (0..256)
            .map(|_| {
                let ids = (0..n_keys).map(|_| random.random_range(0..N_ROWS));
                let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
                RecordBatch::try_new(Arc::clone(&schema), vec![ids]).unwrap()
            })
            .collect();
        for round in 0..rounds {
            for turn in 0..2 {
                let is_bare = (turn + round) % 2 == 0;
                let found = if is_bare {
                    timed(seconds, async |number| {
                        let keys = &bare_requests[number % bare_requests.len()];
                        assert_eq!(floor.read(keys).await.unwrap().1, n_keys);
                    })
                    .await
                } else {
                    timed(seconds, async |number| {
                        check(&reader, &cx, &requests[number % requests.len()]).await;
                    })
                    .await
                };
                let of = if is_bare { "bare" } else { "store" };
                let mut line = json!({"what": "store reads", "of": of, "keys": n_keys, "features": n_features});
                if let (Value::Object(line), Value::Object(found)) = (&mut line, found) {
                    line.extend(found);
                }
                println!("{line}");
            }
        }
    }
}

async fn check(reader: &Arc<dyn OnlineReader>, cx: &Context, keys: &RecordBatch) {
    let found = reader.read(cx, keys).await.unwrap();
    assert_eq!(found.views[0].event_times.null_count(), 0);
}

async fn timed(seconds: f64, mut call: impl AsyncFnMut(usize)) -> Value {
    let counts_from = Instant::now();
    let mut took_us = Vec::new();
    let mut number = 0;
    while counts_from.elapsed().as_secs_f64() < seconds * 1.25 {
        let started = Instant::now();
        call(number).await;
        number += 1;
        // The first fifth does not count.
        if (started - counts_from).as_secs_f64() > seconds / 4.0 {
            took_us.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    took_us.sort_by(f64::total_cmp);
    json!({
        "p50_us": took_us[took_us.len() / 2],
        "p99_us": took_us[took_us.len() * 99 / 100],
        "calls": took_us.len(),
    })
}
