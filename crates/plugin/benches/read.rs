//! What an online read costs more behind the ABI: 100 keys x 20 float64 from memory, native and through
//! the structure of functions, of a library that says its calls return at once and of one that does
//! not, alternated in one run. Prints medians; decides nothing.
//!
//!     cargo bench -p provender-plugin --bench read
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use async_trait::async_trait;
use provender_core::model::JoinKey;
use provender_core::provider::{
    Factory, OnlineCapabilities, OnlineReader, OnlineStore, Provider, ProviderConfig, ProviderInfo,
    Resources, ViewVersion, unsupported,
};
use provender_core::request::{
    OnlineRows, OnlineStats, ReadPlan, ViewLayout, ViewRead, ViewRows, WriteSummary,
};
use provender_core::{BatchStream, Context, Result, ValueType};
use provender_plugin::export::{Exports, ThreadPerCall, plugin};
use provender_plugin::load::Loaded;

const N_KEYS: usize = 100;
const N_FEATURES: usize = 20;

/// Rows that are there, copied out for each read.
#[derive(Debug)]
struct Ready;

impl Ready {
    fn refusal<T>(&self) -> Result<T> {
        Err(unsupported(&self.info(), "anything but reads"))
    }
}

struct ReadyReader(Vec<f64>);

#[async_trait]
impl Provider for Ready {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: "ready".to_owned(),
            version: "0".to_owned(),
            display_name: "rows in memory".to_owned(),
        }
    }

    async fn check(&self, _: &Context) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl OnlineStore for Ready {
    fn capabilities(&self) -> OnlineCapabilities {
        OnlineCapabilities::default()
    }

    async fn prepare(&self, _: &Context, _: Arc<ReadPlan>) -> Result<Arc<dyn OnlineReader>> {
        let values = (0..N_KEYS).map(|row| row as f64).collect();
        Ok(Arc::new(ReadyReader(values)))
    }

    async fn write(&self, _: &Context, _: &ViewLayout, _: BatchStream) -> Result<WriteSummary> {
        self.refusal()
    }

    async fn delete(&self, _: &Context, _: &ViewLayout, _: RecordBatch) -> Result<()> {
        self.refusal()
    }

    async fn views(&self, _: &Context) -> Result<Vec<ViewVersion>> {
        self.refusal()
    }

    async fn stats(&self, _: &Context, _: &ViewVersion) -> Result<OnlineStats> {
        self.refusal()
    }

    async fn drop_view(&self, _: &Context, _: &ViewVersion) -> Result<()> {
        self.refusal()
    }
}

#[async_trait]
impl OnlineReader for ReadyReader {
    async fn read(&self, _: &Context, keys: &RecordBatch) -> Result<OnlineRows> {
        let times = vec![1_600_000_000_000_000; keys.num_rows()];
        let features =
            (0..N_FEATURES).map(|_| Arc::new(Float64Array::from(self.0.clone())) as ArrayRef);
        Ok(OnlineRows {
            views: vec![ViewRows {
                event_times: TimestampMicrosecondArray::from(times).with_timezone("UTC"),
                features: features.collect(),
                unreadable: Vec::new(),
            }],
        })
    }
}

fn factory() -> Factory {
    Factory::new("ready", "Rows in memory", || serde_json::json!({}))
        .online(|_, _| async { Ok(Arc::new(Ready) as Arc<dyn OnlineStore>) })
}

fn read_plan() -> Arc<ReadPlan> {
    let key = JoinKey {
        name: "k".to_owned(),
        value_type: ValueType::Int64,
    };
    let features = (0..N_FEATURES).map(|i| (format!("f{i}"), ValueType::Float64));
    let layout = ViewLayout {
        project: "p".to_owned(),
        view: "v".to_owned(),
        version: 1,
        join_keys: vec![key.clone()],
        features: features.collect(),
        tie_breakers: Vec::new(),
        ttl_us: None,
    };
    Arc::new(ReadPlan {
        keys: vec![key],
        views: vec![ViewRead {
            layout: Arc::new(layout),
            key_columns: vec![0],
            features: (0..N_FEATURES).collect(),
        }],
    })
}

async fn p50_us(reader: &dyn OnlineReader, cx: &Context, keys: &RecordBatch) -> f64 {
    let mut times = Vec::with_capacity(5_000);
    for _ in 0..5_000 {
        let start = Instant::now();
        let rows = reader.read(cx, keys).await.unwrap();
        assert_eq!(rows.views[0].features.len(), N_FEATURES);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    // As in a server: a task on one of the runtime's own threads.
    tokio::spawn(measure()).await.unwrap();
}

/// The reader behind the ABI, of a library that says whether its calls return at once.
async fn behind(cx: &Context, prompt: u32) -> Arc<dyn OnlineReader> {
    let mut exported = plugin(Exports {
        name: "ready".to_owned(),
        version: "0".to_owned(),
        factories: vec![factory()],
        spawn: Arc::new(ThreadPerCall),
    });
    exported.prompt = prompt;
    // SAFETY: the structure was made by the export side, which leaks what it points at.
    let loaded = unsafe { Loaded::new("this process".to_owned(), exported) }.unwrap();
    let config = ProviderConfig {
        scheme: "ready".to_owned(),
        block: "online_store".to_owned(),
        options: serde_json::Map::new(),
        base_path: PathBuf::from("."),
        resources: Resources::default(),
    };
    let store = loaded.open_online(cx, config).await.unwrap();
    store.prepare(cx, read_plan()).await.unwrap()
}

async fn measure() {
    let cx = Context::new("p");
    let readers = [
        ("native", Ready.prepare(&cx, read_plan()).await.unwrap()),
        ("behind the ABI", behind(&cx, 1).await),
        ("on its own threads", behind(&cx, 0).await),
    ];
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..N_KEYS as i64));
    let keys = RecordBatch::try_from_iter_with_nullable([("k", column, true)]).unwrap();
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..9 {
        for ((_, reader), times) in readers.iter().zip(&mut rounds) {
            times.push(p50_us(&**reader, &cx, &keys).await);
        }
    }
    let medians = rounds.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!("{N_KEYS} keys x {N_FEATURES} float64, p50 of a read, median of 9 rounds");
    for ((name, _), median) in readers.iter().zip(medians) {
        println!(
            "{name:<20} {median:8.1} us   {:+.1} us",
            median - medians[0]
        );
    }
}
