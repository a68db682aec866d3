//! The benchmark of the Arrow Flight front end, which `benches/flight/run.sh` of the repository starts.
//!
//! Decides what is measured beside what, and runs the servers as processes of their own: the floor from
//! this binary, ours as `provender serve`. Started without a folder to work in, as `cargo bench` does
//! it, it only says where the benchmark is.
#![allow(clippy::print_stdout, clippy::print_stderr)]
// Counts of calls and bytes are far below what a float64 holds.
#![allow(clippy::cast_precision_loss)]

mod client;
mod data;
mod floor;
mod hostile;
mod hot_path;
mod isolation;
mod measure;
mod project;
mod redis;
#[path = "../../../crates/providers-redis/tests/servers/mod.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unused)]
mod redis_servers;
mod report;
mod servers;
mod stages;
mod startup;
mod throughput;

use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::data::{SHAPES, Shape};
use crate::project::Project;
use crate::report::Report;
use crate::servers::Server;

/// What goes wrong ends the benchmark.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Latency of one client, beside the floor.
    Hot,
    /// Many streams, beside the floor.
    Throughput,
    /// Online reads while a training set is made.
    Isolation,
    /// Online reads while a plug-in hangs.
    Hostile,
    /// Start and memory.
    Startup,
}

/// Measures the Arrow Flight front end beside Flight itself.
#[derive(Debug, Parser)]
#[command(name = "run.sh", args_override_self = true)]
struct Options {
    /// Keys in the online store, each with 10 and with 50 float64 features
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Feature rows that the training set is made of
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// Rows of its spine; a tenth of the feature rows unless given
    #[arg(long)]
    labels: Option<u64>,
    /// Rounds; medians are over them
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Streams at once
    #[arg(long, default_value_t = 32)]
    streams: usize,
    /// Connections that they share
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Keys and features of the calls of one client, by commas
    #[arg(long, value_delimiter = ',', default_values_t = SHAPES)]
    shapes: Vec<Shape>,
    /// What is measured, by commas
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "hot,throughput,isolation,hostile,startup"
    )]
    parts: Vec<Part>,
    /// Serves from a Redis of its own instead of the embedded store, and measures that beside bare Redis
    #[arg(long)]
    redis: bool,
    /// The `provender` to measure, instead of a build of this checkout
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where data (kept) and the project (made anew) lie [in the cache]
    #[arg(long)]
    work: Option<PathBuf>,
    /// JSON lines are added to it [results.jsonl in --work]
    #[arg(long)]
    results: Option<PathBuf>,
    /// Serves the floor, and nothing else
    #[arg(long, hide = true)]
    floor: bool,
    /// What the floor asks of Redis
    #[arg(long, hide = true)]
    floor_redis: Option<floor::Asks>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn labels(&self) -> u64 {
        self.labels.unwrap_or(self.rows / 10).max(1)
    }

    fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

fn main() -> Outcome<ExitCode> {
    // `cargo test` and `cargo bench` have arguments of their own.
    let told = ["--work", "--floor", "--help"];
    if !std::env::args().any(|given| told.iter().any(|told| given.starts_with(told))) {
        println!("benches/flight/run.sh runs this benchmark");
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = Options::parse();
    if options.floor {
        floor::serve(options.floor_redis.take())?;
        return Ok(ExitCode::SUCCESS);
    }
    let (Some(work), Some(binary)) = (&options.work, &options.binary) else {
        return Err("without run.sh it needs --work and --binary".into());
    };
    let is_possible = options.keys >= 1_000 && options.rows >= 1_000 && options.rounds > 0;
    if options.shapes.iter().any(|shape| !SHAPES.contains(shape)) {
        return Err("the floor has no answers of this shape".into());
    }
    if !is_possible || options.streams == 0 || options.connections == 0 || options.seconds <= 0.0 {
        return Err("it takes a thousand keys and rows, and one of everything else".into());
    }
    let results = options.results.clone();
    let mut report = Report::new(
        &results.unwrap_or(work.join("results.jsonl")),
        profile(binary),
    )?;
    let asked = format!(
        "{} keys, {} feature rows, {} labels, {} rounds of {} s",
        options.keys,
        options.rows,
        options.labels(),
        options.rounds,
        options.seconds
    );
    report.describe(&asked)?;

    // Other code makes other data, and those lie elsewhere.
    let mut generator = DefaultHasher::new();
    include_str!("data.rs").hash(&mut generator);
    let sizes = format!("{}-{}-{}", options.keys, options.rows, options.labels());
    let work = work.join(format!("{sizes}-{:08x}", generator.finish() >> 32));
    eprintln!(
        "making data and filling the online store in {}",
        work.display()
    );
    let redis = options.redis.then(redis_servers::Server::start);
    let url = redis.as_ref().map(redis_servers::Server::url);
    let project = Project::make(&work, &options, url.as_deref())?;
    let shapes = hot_path::prepare(&project, &options)?;

    // Of one thread, as the client of a prediction service has it: no answer waits for another thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let measured = runtime.block_on(async {
        let (mut ended, mut interrupted) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        tokio::select! {
            outcome = measure(&project, &shapes, redis.as_ref(), binary, &options, &mut report) => outcome,
            // Servers end with what holds them.
            _ = ended.recv() => Err("the benchmark was ended".into()),
            _ = interrupted.recv() => Err("the benchmark was ended".into()),
        }
    });
    runtime.shutdown_background();
    measured?;
    Ok(if report.end()? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(
    project: &Project,
    shapes: &[hot_path::Prepared],
    redis: Option<&redis_servers::Server>,
    binary: &Path,
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    let folder = &project.folder;
    let log = folder.with_file_name("serve.log");
    if options.has(Part::Startup) {
        eprintln!("start");
        startup::run(binary, folder, &log, options, report).await?;
    }
    let floor = Server::floor(None)?;
    let ours = Server::provender(binary, folder, &log)?;
    if let Some(redis) = redis {
        eprintln!("Redis");
        return redis::run(redis, &floor, &ours, options, report).await;
    }
    if options.has(Part::Hot) {
        eprintln!("hot path");
        hot_path::run(shapes, &floor, &ours, options, report).await?;
    }
    if options.has(Part::Throughput) {
        eprintln!("throughput");
        throughput::run(&floor, &ours, options, report).await?;
    }
    if options.has(Part::Isolation) {
        eprintln!("isolation");
        isolation::run(&ours, options, report).await?;
    }
    drop(ours);
    if options.has(Part::Hostile) {
        eprintln!("a plug-in that hangs");
        hostile::run(binary, folder, &log, options, report).await?;
    }
    Ok(())
}

/// How a binary was built, by the folder that it lies in.
fn profile(binary: &Path) -> String {
    let folder = binary.parent().and_then(Path::file_name);
    match folder.and_then(|name| name.to_str()) {
        Some("debug") => "dev".to_owned(),
        Some(name) => name.to_owned(),
        None => "unknown".to_owned(),
    }
}
