//! A server over stores in memory, and short ways to call it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use provender_conformance::memory::{MemoryOfflineStore, MemoryOnlineStore, MemoryRegistry};
use provender_conformance::{Table, Tables};
use provender_core::model::{Relation, SourceVersion};
use provender_core::provider::{
    Author, Factory, OfflineCapabilities, OfflineStore, OnlineStore, Provider, ProviderInfo,
    Providers, Registry, Resources,
};
use provender_core::request::{
    LatestPerKey, OfflineRequest, OfflineWrite, PointInTimeJoin, Scan, SourceRef, Spine, WindowsAt,
    WriteSummary,
};
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_definitions::{ProjectConfig, ServerConfig, StoreBlock, parse_definitions};
use provender_server::{Limits, Server};
use provender_store::{FeatureStore, Materialize, MaterializeRange};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

pub const HOUR: i64 = 3_600_000_000;

type Hook = dyn Fn(Scan) -> BoxFuture<'static, Result<Option<Vec<BatchStream>>>> + Send + Sync;

/// A store in memory whose scans tests can replace, and which takes `SELECT * FROM t` for a table.
#[derive(Debug)]
pub struct TestStore {
    pub inner: MemoryOfflineStore,
    pub on_scan: OnScan,
    pub write_delay: Mutex<Duration>,
    pub n_writes: AtomicUsize,
}

#[derive(Default)]
pub struct OnScan(Mutex<Option<Arc<Hook>>>);

impl std::fmt::Debug for OnScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnScan")
    }
}

impl OnScan {
    pub fn set<F>(&self, hook: F)
    where
        F: Fn(Scan) -> BoxFuture<'static, Result<Option<Vec<BatchStream>>>> + Send + Sync + 'static,
    {
        *self.0.lock().unwrap() = Some(Arc::new(hook));
    }
}

fn as_table(source: &SourceRef) -> SourceRef {
    let mut source = source.clone();
    if let Relation::Query(sql) = &source.relation
        && let Some(table) = sql.strip_prefix("SELECT * FROM ")
    {
        source.relation = Relation::Table(table.to_owned());
    }
    source
}

#[async_trait]
impl Provider for TestStore {
    fn info(&self) -> ProviderInfo {
        self.inner.info()
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.inner.check(cx).await
    }
}

#[async_trait]
impl OfflineStore for TestStore {
    fn capabilities(&self) -> OfflineCapabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.sql_sources = true;
        capabilities
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        self.inner.schema(cx, &as_table(source)).await
    }

    async fn scan(&self, cx: &Context, mut scan: Scan) -> Result<Vec<BatchStream>> {
        let hook = self.on_scan.0.lock().unwrap().clone();
        if let Some(hook) = hook
            && let Some(answer) = hook(scan.clone()).await?
        {
            return Ok(answer);
        }
        scan.source = as_table(&scan.source);
        self.inner.scan(cx, scan).await
    }

    async fn point_in_time_join(
        &self,
        cx: &Context,
        join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream> {
        self.inner.point_in_time_join(cx, join, spine).await
    }

    async fn latest(&self, cx: &Context, latest: LatestPerKey) -> Result<BatchStream> {
        self.inner.latest(cx, latest).await
    }

    async fn windows(&self, cx: &Context, windows: WindowsAt) -> Result<BatchStream> {
        self.inner.windows(cx, windows).await
    }

    async fn write(
        &self,
        cx: &Context,
        write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        let delay = *self.write_delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let written = self.inner.write(cx, write, rows).await?;
        self.n_writes.fetch_add(1, Ordering::SeqCst);
        Ok(written)
    }

    async fn delete(&self, cx: &Context, source: &SourceRef, keys: RecordBatch) -> Result<()> {
        self.inner.delete(cx, source, keys).await
    }

    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String> {
        self.inner.explain(cx, request).await
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        self.inner.pin(cx, source).await
    }
}

type Opened<T> = Mutex<BTreeMap<String, Arc<T>>>;
static ONLINE: Opened<MemoryOnlineStore> = Mutex::new(BTreeMap::new());
static STORES: Opened<TestStore> = Mutex::new(BTreeMap::new());
static REGISTRIES: Opened<MemoryRegistry> = Mutex::new(BTreeMap::new());
static N_SERVERS: AtomicUsize = AtomicUsize::new(0);

fn opened<T>(all: &Opened<T>, id: &Value) -> Result<Arc<T>> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(id.as_str().unwrap_or_default())
        .cloned()
        .ok_or_else(|| Error::new(&codes::OFFLINE_UNAVAILABLE, "the store is not there"))
}

fn keep<T>(all: &Opened<T>, id: &str, value: &Arc<T>) -> StoreBlock {
    all.lock().unwrap().insert(id.to_owned(), value.clone());
    StoreBlock {
        scheme: "memory".to_owned(),
        options: serde_json::Map::from_iter([("id".to_owned(), id.into())]),
    }
}

fn providers() -> Providers {
    let mut providers = Providers::default();
    providers.register(Factory {
        scheme: "memory",
        description: "in memory",
        options_schema: || Value::Bool(true),
        offline: Some(|_, config| {
            async move {
                let store: Arc<dyn OfflineStore> = opened(&STORES, &config.options["id"])?;
                Ok(store)
            }
            .boxed()
        }),
        online: Some(|_, config| {
            async move {
                let store: Arc<dyn OnlineStore> = opened(&ONLINE, &config.options["id"])?;
                Ok(store)
            }
            .boxed()
        }),
        registry: Some(|_, config| {
            async move {
                let registry: Arc<dyn Registry> = opened(&REGISTRIES, &config.options["id"])?;
                Ok(registry)
            }
            .boxed()
        }),
    });
    providers
}

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

pub fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

pub fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

pub fn now_us() -> i64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_micros() as i64
}

pub fn instants(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// Hours before now, as timestamps.
pub fn hours_ago(values: &[i64]) -> ArrayRef {
    let now = now_us();
    instants(values.iter().map(|hours| now - hours * HOUR))
}

pub fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter(columns.iter().cloned()).unwrap()
}

pub fn names(rows: &RecordBatch) -> Vec<String> {
    let schema = rows.schema();
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

/// A column as text, `-` for null.
pub fn text(rows: &RecordBatch, column: &str) -> Vec<String> {
    let column = rows
        .column_by_name(column)
        .unwrap_or_else(|| panic!("no column {column} in {:?}", names(rows)));
    let options = arrow_cast::display::FormatOptions::default().with_null("-");
    let shown = arrow_cast::display::ArrayFormatter::try_new(column.as_ref(), &options).unwrap();
    (0..column.len())
        .map(|row| shown.value(row).to_string())
        .collect()
}

pub fn together(batches: &[RecordBatch]) -> RecordBatch {
    arrow_select::concat::concat_batches(&batches[0].schema(), batches).unwrap()
}

pub fn keys(values: &[&str]) -> RecordBatch {
    batch(&[("origin", strings(values))])
}

/// A spine of `n` rows that go through three airports.
pub fn spine(n: usize) -> RecordBatch {
    let airports = ["JFK", "LGA", "EWR"];
    let origin: StringArray = (0..n).map(|row| Some(airports[row % 3])).collect();
    let now = now_us();
    batch(&[
        ("label", ints(&(0..n as i64).collect::<Vec<_>>())),
        ("origin", Arc::new(origin)),
        (
            "time_hour",
            instants((0..n as i64).map(|row| now - (row % 7) * HOUR / 7)),
        ),
    ])
}

pub fn all_tables() -> Tables {
    let weather = batch(&[
        ("origin", strings(&["JFK", "JFK", "LGA"])),
        ("time", hours_ago(&[2, 1, 1])),
        ("temp", floats(&[10.0, 20.0, 25.0])),
        ("wind", ints(&[1, 2, 3])),
    ]);
    let airports = batch(&[
        ("faa", strings(&["JFK", "LGA", "EWR"])),
        ("known_at", hours_ago(&[99, 99, 99])),
        ("alt", ints(&[13, 21, 18])),
    ]);
    let season = batch(&[("since", hours_ago(&[50])), ("name", strings(&["autumn"]))]);
    let labels = batch(&[
        ("origin", strings(&["LGA", "JFK"])),
        ("event_timestamp", hours_ago(&[0, 0])),
    ]);
    [
        ("weather", weather),
        ("airports", airports),
        ("season", season),
        ("labels", labels),
    ]
    .into_iter()
    .map(|(name, rows)| (name.to_owned(), Table::of(rows)))
    .collect()
}

pub const DEFINITIONS: &str = "
entities:
  - {name: airport, join_keys: [{name: origin, type: string}]}
sources:
  - {name: weather, table: weather, timestamp: time}
  - {name: airports, table: airports, timestamp: known_at, columns: {origin: faa}}
  - {name: season, table: season, timestamp: since}
feature_views:
  - name: airport_weather
    entities: [airport]
    source: weather
    ttl: 3h
    features: [{name: temp, type: float64}, {name: wind, type: int64}]
  - name: airport_facts
    entities: [airport]
    source: airports
    features: [{name: alt, type: int64}]
  - name: season
    source: season
    features: [{name: name, type: string}]
on_demand_feature_views:
  - name: feel
    inputs: [airport_weather]
    request: [{name: humidity, type: float64}]
    features: [{name: mugginess, type: float64, sql: temp * humidity}]
feature_services:
  - name: model
    features: [airport_weather, airport_facts, feel]
  - name: plain
    features: [airport_weather, airport_facts]
  - name: global
    features: [season]
  - name: both_ends
    features:
      - airport_facts
      - {view: airport_facts, as: dest_facts, join_keys: {origin: dest}}
";

/// The command of an online read.
pub fn online(service: &str, entities: Value) -> Value {
    json!({"op": "online", "service": service, "entities": entities})
}
