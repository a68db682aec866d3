//! A server over stores in memory, and short ways to call it.

use arrow_array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket};
use futures::{Stream, StreamExt, TryStreamExt};
use provender_conformance::Tables;
use provender_conformance::memory::{MemoryOfflineStore, MemoryOnlineStore, MemoryRegistry};
use provender_core::provider::{Author, Resources};
use provender_core::{Context, Result};
use provender_definitions::{ProjectConfig, ServerConfig, parse_definitions};
use provender_server::{Limits, Server};
use provender_store::{FeatureStore, Materialize, MaterializeRange};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

mod rows;
mod stores;

pub use rows::*;
use stores::{N_SERVERS, ONLINE, REGISTRIES, STORES, keep, providers};
pub use stores::{OnScan, TestStore};

/// A server that runs, and the stores behind it.
pub struct Served {
    pub cx: Context,
    pub store: FeatureStore,
    pub offline: Arc<TestStore>,
    pub online: MemoryOnlineStore,
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub stop: Option<oneshot::Sender<()>>,
    pub serving: tokio::task::JoinHandle<Result<()>>,
    /// The folder of spilled rows.
    pub spill: tempfile::TempDir,
}

/// How a server of a test differs from any other.
pub struct Setup {
    pub limits: Limits,
    pub config: ServerConfig,
    pub memory: u64,
    pub variables: BTreeMap<String, String>,
    pub tables: Tables,
    pub definitions: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits {
                background_threads: 2,
                ..Limits::default()
            },
            config: ServerConfig {
                flight: "127.0.0.1:0".to_owned(),
                metrics: Some("127.0.0.1:0".to_owned()),
                ..ServerConfig::default()
            },
            memory: 256 << 20,
            variables: BTreeMap::new(),
            tables: all_tables(),
            definitions: DEFINITIONS.to_owned(),
        }
    }
}

impl Setup {
    /// The server, applied and materialised, once it listens.
    pub async fn serve(self) -> Served {
        let spill = tempfile::tempdir().unwrap();
        let (offline, online, store) = self.open(spill.path().to_owned()).await;
        let cx = Context::new("flights");
        let loaded = parse_definitions(&[("features/all.yaml", &self.definitions)]).unwrap();
        let plan = store.plan(&cx, &loaded).await.unwrap();
        let author = Author {
            name: "ann".to_owned(),
            message: "a test".to_owned(),
        };
        store.apply(&cx, &plan, &author).await.unwrap();
        let views = ["airport_weather", "airport_facts", "season"];
        let materialize = Materialize {
            views: Some(views.map(str::to_owned).to_vec()),
            range: MaterializeRange::Explicit {
                start_us: 0,
                end_us: now_us() + HOUR,
            },
        };
        store
            .materialize(&cx, &materialize, Arc::new(|_| {}))
            .await
            .unwrap();
        let variables = self.variables;
        let read = move |name: &str| variables.get(name).cloned();
        let server = Server::bind(store.clone(), self.limits, &read)
            .await
            .unwrap();
        let address = server.address().unwrap();
        let metrics = server.metrics_address().unwrap().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async move {
            let _ = stopped.await;
        }));
        Served {
            cx,
            store,
            offline,
            online,
            address,
            metrics,
            stop: Some(stop),
            serving,
            spill,
        }
    }

    /// The stores alone.
    pub async fn open(&self, spill: PathBuf) -> (Arc<TestStore>, MemoryOnlineStore, FeatureStore) {
        let number = N_SERVERS.fetch_add(1, Ordering::SeqCst);
        let offline = Arc::new(TestStore {
            inner: MemoryOfflineStore::new(self.tables.clone()),
            on_scan: OnScan::default(),
            write_delay: Mutex::default(),
            n_writes: AtomicUsize::new(0),
            memory: Mutex::default(),
        });
        let online = MemoryOnlineStore::new();
        let registry = Arc::new(MemoryRegistry::new());
        let config = ProjectConfig {
            project: "flights".to_owned(),
            base_path: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/server"),
            offline_store: keep(&STORES, &format!("off{number}"), &offline),
            offline_stores: BTreeMap::new(),
            online_store: keep(&ONLINE, &format!("on{number}"), &Arc::new(online.clone())),
            online_stores: BTreeMap::new(),
            registry: keep(&REGISTRIES, &format!("reg{number}"), &registry),
            plugins: Vec::new(),
            server: self.config.clone(),
            limits: Resources {
                memory_limit_bytes: self.memory,
                spill_path: Some(spill),
                n_threads: 2,
            },
        };
        let store = FeatureStore::open(&Context::new("flights"), config, providers())
            .await
            .unwrap();
        (offline, online, store)
    }
}

pub async fn serve() -> Served {
    Setup::default().serve().await
}

pub type Client = FlightServiceClient<Channel>;

async fn channel(address: SocketAddr) -> Channel {
    Endpoint::new(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// A client with a connection of its own.
pub async fn connect(address: SocketAddr) -> Client {
    FlightServiceClient::new(channel(address).await).max_decoding_message_size(64 << 20)
}

impl Served {
    pub async fn channel(&self) -> Channel {
        channel(self.address).await
    }

    pub async fn client(&self) -> Client {
        connect(self.address).await
    }

    pub async fn get(&self, command: Value) -> std::result::Result<RecordBatch, Status> {
        get(&mut self.client().await, command).await
    }

    pub async fn refused(&self, command: Value) -> Status {
        self.get(command.clone())
            .await
            .err()
            .unwrap_or_else(|| panic!("{command} was answered"))
    }

    pub async fn exchange(
        &self,
        command: Value,
        batches: Vec<RecordBatch>,
    ) -> std::result::Result<Vec<RecordBatch>, Status> {
        let input = messages(&command, batches).await;
        let input = futures::stream::iter(input);
        let answer = self.client().await.do_exchange(input).await?.into_inner();
        batches_of(answer).await
    }

    pub async fn put(
        &self,
        command: Value,
        batches: Vec<RecordBatch>,
    ) -> std::result::Result<Vec<Value>, Status> {
        let input = futures::stream::iter(messages(&command, batches).await);
        let mut answer = self.client().await.do_put(input).await?.into_inner();
        let mut acknowledged = Vec::new();
        while let Some(result) = answer.message().await? {
            acknowledged.push(serde_json::from_slice(&result.app_metadata).unwrap());
        }
        Ok(acknowledged)
    }

    pub async fn act(&self, name: &str, body: Value) -> std::result::Result<Vec<Value>, Status> {
        act(&mut self.client().await, name, body).await
    }

    /// The text of the metrics.
    pub async fn metrics(&self) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.metrics).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// The value of a series of the metrics; 0 if it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
            .unwrap_or_default()
    }

    /// Waits until a series has a value.
    pub async fn until(&self, series: &str, value: f64) {
        until(&format!("{series} is {value}"), || async {
            (self.metric(series).await - value).abs() < 0.5
        })
        .await;
    }

    pub async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        (&mut self.serving).await.unwrap().unwrap();
    }
}

/// Whether this process runs one test alone, which memory is measured in. Otherwise it starts a process
/// that does, and waits for it.
pub fn is_alone(test: &str) -> bool {
    const ALONE: &str = "PROVENDER_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        // A backtrace keeps the program's debug information in memory.
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let (out, errors) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(
        run.status.success() && out.contains("1 passed"),
        "{out}\n{errors}"
    );
    println!("{out}");
    false
}

/// Memory of this process, in MiB. The clients are in it too.
pub fn rss() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        / 1024
}

/// Waits for something that happens soon, up to many times what it should take.
pub async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    for _ in 0..600 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to be that {what}");
}

pub async fn act(
    client: &mut Client,
    name: &str,
    body: Value,
) -> std::result::Result<Vec<Value>, Status> {
    let mut answer = client
        .do_action(Action::new(name, body.to_string()))
        .await?
        .into_inner();
    let mut lines = Vec::new();
    while let Some(line) = answer.message().await? {
        lines.push(serde_json::from_slice(&line.body).unwrap());
    }
    Ok(lines)
}

pub fn ticket(command: &Value) -> Ticket {
    Ticket {
        ticket: command.to_string().into(),
    }
}

pub fn descriptor(command: &Value) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.to_string())
}

pub async fn get(client: &mut Client, command: Value) -> std::result::Result<RecordBatch, Status> {
    let answer = client.do_get(ticket(&command)).await?.into_inner();
    let stream = FlightRecordBatchStream::new_from_flight_data(answer.map_err(FlightError::from));
    collect(stream).await
}

async fn collect(mut stream: FlightRecordBatchStream) -> std::result::Result<RecordBatch, Status> {
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        batches.push(batch.map_err(status_of)?);
    }
    let schema = stream.schema().expect("a schema").clone();
    Ok(arrow_select::concat::concat_batches(&schema, &batches).unwrap())
}

pub async fn batches_of(
    answer: impl Stream<Item = std::result::Result<FlightData, Status>> + Send + 'static,
) -> std::result::Result<Vec<RecordBatch>, Status> {
    let stream = FlightRecordBatchStream::new_from_flight_data(answer.map_err(FlightError::from));
    stream.map_err(status_of).try_collect().await
}

pub fn status_of(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("{other}"),
    }
}

/// What the stock client sends for a command and batches, each of which has the schema of the first.
pub async fn messages(command: &Value, batches: Vec<RecordBatch>) -> Vec<FlightData> {
    let schema = batches[0].schema();
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_flight_descriptor(Some(descriptor(command)))
        .with_max_flight_data_size(32 << 20)
        .build(futures::stream::iter(batches.into_iter().map(Ok)))
        .map(std::result::Result::unwrap)
        .collect()
        .await
}

/// Asserts a status and that its message has some texts.
pub fn assert_status(status: &Status, code: Code, texts: &[&str]) {
    assert_eq!(status.code(), code, "{status}");
    for text in texts {
        assert!(
            status.message().contains(text),
            "{text:?} is not in {:?}",
            status.message()
        );
    }
    let ours = status
        .metadata()
        .get("provender-code")
        .expect("a code of ours");
    assert!(status.message().contains(ours.to_str().unwrap()));
}
