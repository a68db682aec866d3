//! Projects over stores in memory, and short ways to write tables down.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use futures::future::BoxFuture;
use provender_conformance::memory::{MemoryOfflineStore, MemoryOnlineStore, MemoryRegistry};
use provender_conformance::{Table, Tables};
use provender_core::model::SourceVersion;
use provender_core::provider::{
    Author, Factory, OfflineCapabilities, OfflineStore, OnlineStore, Provider, ProviderInfo,
    Providers, Resources, Revision, ViewVersion,
};
use provender_core::request::{
    LatestPerKey, OfflineRequest, OfflineWrite, PointInTimeJoin, Scan, SourceRef, Spine, WindowsAt,
    WriteSummary,
};
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_definitions::{Loaded, ProjectConfig, ServerConfig, StoreBlock, parse_definitions};
use provender_store::{Applied, FeatureStore, HistoricalRequest, Plan, Selection};

/// Microseconds in an hour.
pub const HOUR: i64 = 3_600_000_000;

/// A store in memory that counts what it is asked and can claim and do more than scan.
#[derive(Debug)]
pub struct TestStore {
    pub inner: MemoryOfflineStore,
    pub capabilities: OfflineCapabilities,
    pub n_schemas: AtomicUsize,
    pub n_joins: AtomicUsize,
    pub joins: Mutex<Vec<PointInTimeJoin>>,
    /// What it does wrong.
    pub defect: Option<Defect>,
    /// What happens before each scan.
    pub before_scan: Hook,
}

type BeforeScan = dyn Fn(&Scan) -> BoxFuture<'static, Result<()>> + Send + Sync;

/// Something that happens in the middle of other work, and may make it fail.
#[derive(Default)]
pub struct Hook(Mutex<Option<Arc<BeforeScan>>>);

impl Hook {
    pub fn set(
        &self,
        hook: impl Fn(&Scan) -> BoxFuture<'static, Result<()>> + Send + Sync + 'static,
    ) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn run(&self, scan: &Scan) -> Result<()> {
        let hook = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match hook {
            Some(hook) => hook(scan).await,
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

/// A breach of the provider's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    DropsLastRow,
    AddsRow,
    RenamesColumn,
}

impl TestStore {
    pub fn new(tables: Tables) -> Self {
        let inner = MemoryOfflineStore::new(tables);
        Self {
            capabilities: inner.capabilities(),
            inner,
            n_schemas: AtomicUsize::new(0),
            n_joins: AtomicUsize::new(0),
            joins: Mutex::new(Vec::new()),
            defect: None,
            before_scan: Hook::default(),
        }
    }

    /// Claims point-in-time joins and spines of its own.
    pub fn joining(tables: Tables) -> Self {
        let mut store = Self::new(tables);
        store.capabilities.point_in_time_join = true;
        store.capabilities.sql_spine = true;
        store
    }

    /// The answer, with the defect if there is one.
    async fn spoilt(&self, answer: BatchStream) -> Result<BatchStream> {
        let Some(defect) = self.defect else {
            return Ok(answer);
        };
        let schema = answer.schema.clone();
        let all = Table::collect(answer).await?.one_batch().unwrap();
        let n_rows = all.num_rows();
        Ok(match defect {
            Defect::DropsLastRow => {
                BatchStream::from_batches(schema, vec![all.slice(0, n_rows - 1)])
            }
            Defect::AddsRow => {
                BatchStream::from_batches(schema, vec![all.clone(), all.slice(0, 1)])
            }
            Defect::RenamesColumn => {
                let columns = all.columns().iter().cloned();
                let renamed = RecordBatch::try_from_iter(
                    columns
                        .enumerate()
                        .map(|(at, column)| (format!("x{at}"), column)),
                )
                .unwrap();
                BatchStream::from_batches(renamed.schema(), vec![renamed])
            }
        })
    }
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
        self.capabilities.clone()
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        self.n_schemas.fetch_add(1, Ordering::SeqCst);
        self.inner.schema(cx, source).await
    }

    async fn scan(&self, cx: &Context, scan: Scan) -> Result<Vec<BatchStream>> {
        self.before_scan.run(&scan).await?;
        self.inner.scan(cx, scan).await
    }

    async fn point_in_time_join(
        &self,
        cx: &Context,
        join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream> {
        self.n_joins.fetch_add(1, Ordering::SeqCst);
        self.joins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(join.clone());
        let scanned = Arc::new(MemoryOfflineStore::new(self.inner.tables()));
        let resources = Resources::default();
        let answer = match spine {
            Spine::Rows(rows) => {
                provender_engine::point_in_time_join(cx, &resources, scanned, join, rows).await?
            }
            Spine::Sql(spine) => sql_join(cx, scanned, join, &spine).await?,
        };
        self.spoilt(answer).await
    }

    async fn latest(&self, cx: &Context, latest: LatestPerKey) -> Result<BatchStream> {
        if !self.capabilities.latest {
            return self.inner.latest(cx, latest).await;
        }
        let scanned = Arc::new(MemoryOfflineStore::new(self.inner.tables()));
        let resources = Resources::default();
        let answer = provender_engine::latest(cx, &resources, scanned, latest).await?;
        self.spoilt(answer).await
    }

    async fn windows(&self, cx: &Context, windows: WindowsAt) -> Result<BatchStream> {
        if !self.capabilities.windows {
            return self.inner.windows(cx, windows).await;
        }
        let scanned = Arc::new(MemoryOfflineStore::new(self.inner.tables()));
        let resources = Resources::default();
        let answer = provender_engine::windows(cx, &resources, scanned, windows).await?;
        self.spoilt(answer).await
    }

    async fn write(
        &self,
        cx: &Context,
        write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        self.inner.write(cx, write, rows).await
    }

    async fn delete(&self, cx: &Context, source: &SourceRef, keys: RecordBatch) -> Result<()> {
        self.inner.delete(cx, source, keys).await
    }

    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String> {
        match request {
            OfflineRequest::Scan(scan) => Ok(format!(
                "scan of {} for {}",
                scan.source.describe(),
                scan.columns.clone().unwrap_or_default().join(", ")
            )),
            other => self.inner.explain(cx, other).await,
        }
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        self.inner.pin(cx, source).await
    }
}

/// A join over a spine of the store itself, answered in reverse order of rows, as is allowed.
async fn sql_join(
    cx: &Context,
    store: Arc<MemoryOfflineStore>,
    join: PointInTimeJoin,
    spine: &provender_core::request::SqlSpine,
) -> Result<BatchStream> {
    use provender_core::model::Relation;
    use provender_core::request::SpineRows;
    let Relation::Table(table) = &spine.relation else {
        return Err(Error::new(&codes::UNSUPPORTED, "no SQL here"));
    };
    let rows = store.tables()[table].one_batch().unwrap();
    let backwards = Int64Array::from_iter_values((0..rows.num_rows() as i64).rev());
    let rows = arrow_select::take::take_record_batch(&rows, &backwards).unwrap();
    let mut given: Vec<(String, ArrayRef)> = Vec::new();
    let schema = rows.schema();
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        given.push((field.name().clone(), column.clone()));
    }
    let n_rows = rows.num_rows() as i64;
    given.push((
        "row".into(),
        Arc::new(Int64Array::from_iter_values(0..n_rows)),
    ));
    let given = RecordBatch::try_from_iter(given).unwrap();
    let spine = SpineRows {
        rows: BatchStream::from_batches(given.schema(), vec![given]),
        timestamp: spine.timestamp.clone(),
        row_number: "row".to_owned(),
    };
    let resources = Resources::default();
    let answer = provender_engine::point_in_time_join(cx, &resources, store, join, spine).await?;
    let answer = Table::collect(answer).await?.one_batch().unwrap();
    let mut fields = schema.fields().to_vec();
    fields.extend(answer.schema().fields().iter().cloned());
    let schema = Arc::new(arrow_schema::Schema::new(fields));
    let mut columns = rows.columns().to_vec();
    columns.extend(answer.columns().iter().cloned());
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    Ok(BatchStream::from_batches(schema, vec![batch]))
}

/// A project whose stores tests can reach into.
pub struct Project {
    pub cx: Context,
    pub store: FeatureStore,
    pub registry: Arc<MemoryRegistry>,
    /// The project's offline store, and one named `other`.
    pub offline: Arc<TestStore>,
    pub other: Arc<TestStore>,
    /// The project's online store, and one named `other`. Clones share what they hold.
    pub online: MemoryOnlineStore,
    pub other_online: MemoryOnlineStore,
}

type Opened<T> = Mutex<BTreeMap<String, Arc<T>>>;
static ONLINE: Opened<MemoryOnlineStore> = Mutex::new(BTreeMap::new());
static STORES: Opened<TestStore> = Mutex::new(BTreeMap::new());
static REGISTRIES: Opened<MemoryRegistry> = Mutex::new(BTreeMap::new());
static N_PROJECTS: AtomicUsize = AtomicUsize::new(0);

fn opened<T>(all: &Opened<T>, id: &serde_json::Value) -> Result<Arc<T>> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(id.as_str().unwrap_or_default())
        .cloned()
        .ok_or_else(|| Error::new(&codes::OFFLINE_UNAVAILABLE, "the store is not there"))
}

fn keep<T>(all: &Opened<T>, id: &str, value: &Arc<T>) -> StoreBlock {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(id.to_owned(), value.clone());
    StoreBlock {
        scheme: "memory".to_owned(),
        options: serde_json::Map::from_iter([("id".to_owned(), id.into())]),
    }
}

fn keep_online(id: &str, store: &MemoryOnlineStore) -> StoreBlock {
    keep(&ONLINE, id, &Arc::new(store.clone()))
}

fn providers() -> Providers {
    let mut providers = Providers::default();
    providers.register(
        Factory::new("memory", "in memory", || serde_json::Value::Bool(true))
            .offline(|_, config| async move {
                let store: Arc<dyn OfflineStore> = opened(&STORES, &config.options["id"])?;
                Ok(store)
            })
            .online(|_, config| async move {
                let store: Arc<dyn OnlineStore> = opened(&ONLINE, &config.options["id"])?;
                Ok(store)
            })
            .registry(|_, config| async move {
                let registry: Arc<dyn provender_core::provider::Registry> =
                    opened(&REGISTRIES, &config.options["id"])?;
                Ok(registry)
            }),
    );
    providers
}

impl Project {
    pub async fn new(tables: Tables) -> Self {
        Self::over(TestStore::new(tables), TestStore::new(Tables::new())).await
    }

    pub async fn over(offline: TestStore, other: TestStore) -> Self {
        let number = N_PROJECTS.fetch_add(1, Ordering::SeqCst);
        let (offline, other) = (Arc::new(offline), Arc::new(other));
        let registry = Arc::new(MemoryRegistry::new());
        let other_block = keep(&STORES, &format!("other{number}"), &other);
        let (online, other_online) = (MemoryOnlineStore::new(), MemoryOnlineStore::new());
        let online_block = keep_online(&format!("online{number}"), &online);
        let other_online_block = keep_online(&format!("other_online{number}"), &other_online);
        let missing = StoreBlock {
            scheme: "memory".to_owned(),
            options: serde_json::Map::from_iter([("id".to_owned(), "nowhere".into())]),
        };
        let config = ProjectConfig {
            project: "flights".to_owned(),
            base_path: PathBuf::from("."),
            offline_store: keep(&STORES, &format!("main{number}"), &offline),
            offline_stores: BTreeMap::from([
                ("other".to_owned(), other_block),
                ("broken".to_owned(), missing.clone()),
            ]),
            online_store: online_block,
            online_stores: BTreeMap::from([
                ("other".to_owned(), other_online_block),
                ("broken".to_owned(), missing),
            ]),
            registry: keep(&REGISTRIES, &format!("registry{number}"), &registry),
            plugins: Vec::new(),
            server: ServerConfig::default(),
            limits: Resources {
                n_threads: 4,
                ..Resources::default()
            },
        };
        let cx = Context::new("flights");
        let store = FeatureStore::open(&cx, config, providers()).await.unwrap();
        Self {
            cx,
            store,
            registry,
            offline,
            other,
            online,
            other_online,
        }
    }

    /// A view's version of this project.
    pub fn view(&self, view: &str, version: u32) -> ViewVersion {
        ViewVersion {
            project: "flights".to_owned(),
            view: view.to_owned(),
            version,
        }
    }

    pub async fn plan(&self, definitions: &str) -> Plan {
        self.store.plan(&self.cx, &load(definitions)).await.unwrap()
    }

    pub async fn plan_errors(&self, definitions: &str) -> Vec<Error> {
        self.store
            .plan(&self.cx, &load(definitions))
            .await
            .unwrap_err()
    }

    /// Plans and applies.
    pub async fn apply(&self, definitions: &str) -> Plan {
        let plan = self.plan(definitions).await;
        self.commit(&plan).await.unwrap();
        plan
    }

    pub async fn commit(&self, plan: &Plan) -> Result<Revision> {
        Ok(self.apply_plan(plan).await?.revision)
    }

    /// Applies a plan, and answers what was cleaned up as well.
    pub async fn apply_plan(&self, plan: &Plan) -> Result<Applied> {
        let author = Author {
            name: "ann".to_owned(),
            message: "a test".to_owned(),
        };
        self.store.apply(&self.cx, plan, &author).await
    }

    pub async fn historical(
        &self,
        request: &HistoricalRequest,
        spine: &RecordBatch,
    ) -> Result<RecordBatch> {
        let spine = Table::of(spine.clone()).stream();
        let answer = self.store.historical(&self.cx, request, spine).await?;
        let schema = answer.schema.clone();
        let batches = answer.collect().await?;
        Ok(arrow_select::concat::concat_batches(&schema, &batches).unwrap())
    }
}

pub fn load(definitions: &str) -> Loaded {
    parse_definitions(&[("features/all.yaml", definitions)]).unwrap()
}

pub fn request(features: &str) -> HistoricalRequest {
    HistoricalRequest::new(Selection::features(features).unwrap())
}

pub fn service(name: &str) -> HistoricalRequest {
    HistoricalRequest::new(Selection::service(name).unwrap())
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

/// Hours since the epoch, as timestamps.
pub fn hours(values: &[i64]) -> ArrayRef {
    let us = values.iter().map(|hours| hours * HOUR);
    Arc::new(TimestampMicrosecondArray::from_iter_values(us).with_timezone("UTC"))
}

pub fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter(columns.iter().cloned()).unwrap()
}

pub fn tables(all: &[(&str, RecordBatch)]) -> Tables {
    all.iter()
        .map(|(name, rows)| ((*name).to_owned(), Table::of(rows.clone())))
        .collect()
}

/// A column as text, `-` for null.
pub fn text(rows: &RecordBatch, column: &str) -> Vec<String> {
    let column = rows.column_by_name(column).unwrap_or_else(|| {
        panic!("no column {column} in {:?}", names(rows));
    });
    let column = arrow_cast::cast(column, &arrow_schema::DataType::Utf8).unwrap();
    let column = column.as_any().downcast_ref::<StringArray>().unwrap();
    column
        .iter()
        .map(|value| value.unwrap_or("-").to_owned())
        .collect()
}

pub fn names(rows: &RecordBatch) -> Vec<String> {
    let schema = rows.schema();
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

/// `action kind name from->to`, for each entry of a plan.
pub fn entries(plan: &Plan) -> Vec<String> {
    let number = |version: Option<u32>| version.map_or("-".to_owned(), |v| v.to_string());
    plan.entries
        .iter()
        .map(|entry| {
            format!(
                "{:?} {} {} {}->{}",
                entry.action,
                entry.kind.name(),
                entry.name,
                number(entry.from_version),
                number(entry.to_version)
            )
        })
        .collect()
}

/// What breaks, by the name of the entry it lies at.
pub fn breaks(plan: &Plan) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in &plan.entries {
        for sentence in &entry.breaks {
            found.push((entry.name.clone(), sentence.clone()));
        }
    }
    found
}

/// The codes of errors, counted.
pub fn codes_of(errors: &[Error]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for error in errors {
        *counts.entry(error.code().to_owned()).or_default() += 1;
    }
    counts
}

/// Hourly weather at two airports.
pub fn weather() -> RecordBatch {
    batch(&[
        ("origin", strings(&["JFK", "JFK", "LGA", "JFK"])),
        ("time", hours(&[1, 2, 2, 9])),
        ("temp", floats(&[10.0, 20.0, 25.0, 90.0])),
        ("WIND", ints(&[1, 2, 3, 9])),
    ])
}

/// Positions of airports, known since the epoch.
pub fn airports() -> RecordBatch {
    batch(&[
        ("faa", strings(&["JFK", "LGA", "EWR"])),
        ("known_at", hours(&[0, 0, 0])),
        ("alt", ints(&[13, 21, 18])),
    ])
}

/// Departures of a route, with the time at which they were recorded.
pub fn departures() -> RecordBatch {
    batch(&[
        ("origin", strings(&["JFK", "JFK", "JFK", "LGA"])),
        ("dest", strings(&["LGA", "LGA", "EWR", "EWR"])),
        ("at", hours(&[1, 2, 2, 2])),
        ("recorded", hours(&[1, 8, 2, 2])),
        ("delay", ints(&[4, 8, 1, 100])),
    ])
}

pub fn all_tables() -> Tables {
    tables(&[
        ("weather", weather()),
        ("airports", airports()),
        ("departures", departures()),
    ])
}

pub const DEFINITIONS: &str = "
entities:
  - {name: airport, join_keys: [{name: origin, type: string}]}
  - {name: route, join_keys: [{name: origin, type: string}, {name: dest, type: string}]}
sources:
  - {name: weather, table: weather, timestamp: time}
  - {name: airports, table: airports, timestamp: known_at, columns: {origin: faa}}
  - {name: departures, table: departures, timestamp: at, created_timestamp: recorded}
feature_views:
  - name: airport_weather
    entities: [airport]
    source: weather
    ttl: 3h
    description: hourly weather
    features: [{name: temp, type: float64}, {name: wind, type: int64}]
  - name: airport_facts
    entities: [airport]
    source: airports
    features: [{name: alt, type: int64}]
  - name: route_delay
    entities: [route]
    source: departures
    aggregations:
      - {feature: delay_sum, function: sum, column: delay, window: 3h}
      - {feature: n_departures, function: count, window: 1d}
on_demand_feature_views:
  - name: feel
    inputs: [airport_weather]
    request: [{name: humidity, type: float64}]
    features:
      - {name: chill, type: float64, sql: temp - wind}
      - {name: mugginess, type: float64, sql: temp * humidity}
  - name: comfort
    inputs: [feel, airport_facts]
    features:
      - {name: comfort, type: float64, sql: chill * 10 + alt}
feature_services:
  - name: delay_model
    features:
      - airport_weather
      - {view: airport_facts, as: dest_airport, join_keys: {origin: dest}}
      - route_delay
      - comfort
";
