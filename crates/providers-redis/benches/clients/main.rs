//! The crates `redis` and `fred` side by side on the read path of an online store, above a floor that
//! speaks the protocol itself: what a call takes, of processor time on either side, and of memory. And the store
//! itself beside bare Redis.
//!
//! It decides nothing, and the crates' part knows nothing of the store. Its rows are 110 bytes, as packed rows of ten
//! numbers are, under keys as long as those of the store. `benches/redis/run.sh` of the repository runs it and
//! makes tables of what it prints: one JSON object a line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

mod floor;
mod measure;
mod peers;
#[path = "../../tests/servers/mod.rs"]
#[allow(unused_imports)]
mod servers;
mod store;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use measure::{Measured, measure};
use servers::{Cluster, Server};

const N_ROWS: u64 = 100_000;
const ROW_BYTES: usize = 110;

/// What a read answers: the bytes of all values, which it has looked at, and how many there were.
type Answer = Result<(usize, usize), Box<dyn std::error::Error + Send + Sync>>;

/// One way of asking for rows.
trait Reader: Send + Sync {
    /// Reads rows; each value is looked at, as a decoder would.
    fn read<'a>(&'a self, keys: &'a [Bytes]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;
}

/// A reader that connects.
type Opening = Pin<Box<dyn Future<Output = Arc<dyn Reader>> + Send>>;

/// What a reader is called, and how it connects.
struct Candidate {
    name: &'static str,
    open: fn(Vec<u16>) -> Opening,
}

macro_rules! candidates {
    ($($name:literal => $open:path),+ $(,)?) => {
        [$(Candidate { name: $name, open: |ports| Box::pin(async move { Arc::new($open(ports).await) as Arc<dyn Reader> }) }),+]
    };
}

fn alone() -> Vec<Candidate> {
    candidates! {
        "floor MGET" => floor::Exclusive::mget,
        "floor GET" => floor::Exclusive::get,
        "floor MGET, multiplexed" => floor::Multiplexed::mget,
        "redis MGET" => peers::Redis::mget,
        "redis GET" => peers::Redis::get,
        "redis MGET+EXISTS" => peers::Redis::mget_exists,
        "fred MGET" => peers::Fred::mget,
        "fred GET" => peers::Fred::get,
    }
    .into()
}

fn clustered() -> Vec<Candidate> {
    candidates! {
        "redis MGET" => peers::RedisCluster::mget,
        "fred GET" => peers::FredCluster::get,
        "floor GET" => floor::Routed::get,
    }
    .into()
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1).cloned()
    };
    // Cargo runs benchmarks for a look at times, with arguments of its own.
    let Some(what) = option("--what") else {
        println!("benches/redis/run.sh runs this benchmark");
        return;
    };
    let seconds = option("--seconds").map_or(1.0, |text| text.parse().expect("a number"));
    let rounds = option("--rounds").map_or(3, |text| text.parse().expect("a number"));
    let n_rows = option("--rows").map_or(1_000_000, |text| text.parse().expect("a number"));
    let only = option("--only");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match what.as_str() {
            "reads" => reads(rounds, seconds, only.as_deref()).await,
            "cluster" => cluster(rounds, seconds).await,
            "restart" => restart().await,
            "store-reads" => store::reads(rounds, seconds).await,
            "store-writes" => store::writes(rounds, n_rows).await,
            "store-memory" => store::memory(n_rows).await,
            "calls" => {
                let n_keys = option("--keys").map_or(100, |text| text.parse().expect("a number"));
                let n_calls = option("--calls").map_or(0, |text| text.parse().expect("a number"));
                calls(&only.expect("--only"), n_keys, n_calls).await;
            }
            other => panic!("{other:?} is nothing that is measured"),
        }
    });
}

/// The key of a row, as the store spells those of a 64-bit join key.
fn key(row: u64) -> Bytes {
    let mut bytes = b"{pv:".to_vec();
    bytes.extend_from_slice(&(row | 1 << 63).to_be_bytes());
    bytes.extend_from_slice(b"}QWERTYUIOP");
    bytes.into()
}

fn fill(server: &Server, mine: impl Fn(&[u8]) -> bool) {
    let mut wire = server.wire();
    let mut random = SmallRng::seed_from_u64(1);
    for row in 0..N_ROWS {
        let mut value = vec![0; ROW_BYTES];
        random.fill(value.as_mut_slice());
        let key = key(row);
        if mine(&key) {
            wire.ask(&[b"SET", &key, &value]);
        }
    }
}

fn requests(n_keys: usize) -> Vec<Vec<Bytes>> {
    let mut random = SmallRng::seed_from_u64(2);
    let mut request = || {
        (0..n_keys)
            .map(|_| key(random.random_range(0..N_ROWS)))
            .collect()
    };
    (0..256).map(|_| request()).collect()
}

async fn reads(rounds: usize, seconds: f64, only: Option<&str>) {
    let server = Server::start();
    fill(&server, |_| true);
    let candidates = alone();
    for round in 0..rounds {
        for (n_keys, n_tasks) in [(1, 1), (100, 1), (500, 1), (1, 32), (100, 32)] {
            let requests = Arc::new(requests(n_keys));
            for number in 0..candidates.len() {
                // Rounds begin with another, so that a slow minute does not always meet the same one.
                let candidate = &candidates[(number + round) % candidates.len()];
                if only.is_some_and(|only| !candidate.name.contains(only)) {
                    continue;
                }
                let reader = (candidate.open)(vec![server.port()]).await;
                let pids = [server.pid()];
                let found = measure(&reader, &requests, n_tasks, seconds, &pids).await;
                tell("alone", candidate.name, n_keys, n_tasks, &found);
            }
        }
    }
}

async fn cluster(rounds: usize, seconds: f64) {
    let cluster = Cluster::start(3, false);
    for (number, node) in cluster.nodes.iter().enumerate() {
        fill(node, |key| cluster.owner_of_at_start(key) == number);
    }
    let ports: Vec<u16> = cluster.nodes.iter().map(Server::port).collect();
    let pids: Vec<u32> = cluster.nodes.iter().map(Server::pid).collect();
    let candidates = clustered();
    for round in 0..rounds {
        for (n_keys, n_tasks) in [(1, 1), (100, 1), (100, 32)] {
            let requests = Arc::new(requests(n_keys));
            for number in 0..candidates.len() {
                let candidate = &candidates[(number + round) % candidates.len()];
                let reader = (candidate.open)(ports.clone()).await;
                let found = measure(&reader, &requests, n_tasks, seconds, &pids).await;
                tell("cluster", candidate.name, n_keys, n_tasks, &found);
            }
        }
    }
}

/// Kills the server, asks for a second, starts it again, and asks until it answers.
async fn restart() {
    const GIVEN: Duration = Duration::from_millis(250);
    for candidate in alone() {
        if !candidate.name.ends_with(" MGET") {
            continue;
        }
        let mut server = Server::start();
        let reader = (candidate.open)(vec![server.port()]).await;
        let keys = [key(0)];
        reader.read(&keys).await.unwrap();
        server.kill();
        let (mut slowest, mut n_failed, mut n_late) = (Duration::ZERO, 0, 0);
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            let started = Instant::now();
            match tokio::time::timeout(GIVEN, reader.read(&keys)).await {
                Ok(Ok(_)) => panic!("nobody can have answered"),
                Ok(Err(_)) => n_failed += 1,
                Err(_) => n_late += 1,
            }
            slowest = slowest.max(started.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.start_again();
        let up = Instant::now();
        let mut back = None;
        while up.elapsed() < Duration::from_secs(10) && back.is_none() {
            if let Ok(Ok(_)) = tokio::time::timeout(GIVEN, reader.read(&keys)).await {
                back = Some(up.elapsed().as_secs_f64() * 1_000.0);
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        println!(
            "{}",
            json!({
                "what": "restart", "reader": candidate.name, "back_ms": back,
                "slowest_while_down_ms": slowest.as_secs_f64() * 1_000.0,
                "failed_while_down": n_failed, "without_answer_while_down": n_late,
            })
        );
    }
}

/// So many calls and nothing else, for those who count from outside what they take.
async fn calls(only: &str, n_keys: usize, n_calls: usize) {
    let server = Server::start();
    fill(&server, |_| true);
    let candidates = alone();
    let mut candidates = candidates.iter();
    let candidate = candidates.find(|candidate| candidate.name == only);
    let reader = (candidate.expect("a reader of this name").open)(vec![server.port()]).await;
    let requests = requests(n_keys);
    for number in 0..n_calls {
        let found = reader
            .read(&requests[number % requests.len()])
            .await
            .unwrap();
        assert_eq!(found.0, n_keys * ROW_BYTES);
    }
}

fn tell(what: &str, reader: &str, n_keys: usize, n_tasks: usize, found: &Measured) {
    println!(
        "{}",
        json!({
            "what": what, "reader": reader, "keys": n_keys, "tasks": n_tasks,
            "p50_us": found.p50_us, "p99_us": found.p99_us, "calls_per_s": found.calls_per_s,
            "own_cpu_us": found.own_cpu_us, "redis_cpu_us": found.redis_cpu_us,
        })
    );
}
