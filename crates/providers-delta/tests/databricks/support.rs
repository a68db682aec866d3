use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, RecordBatch};
use provender_conformance::Table;
use provender_core::model::Relation;
use provender_core::provider::{OfflineStore, ProviderConfig, Providers, Resources};
use provender_core::request::{
    OfflineWrite, PointInTimeJoin, Scan, SourceRef, Spine, WriteMode, WriteSummary,
};
use provender_core::{BatchStream, Context, Error, Result};
use serde_json::{Map, Value, json};

use crate::stand_in::StandIn;

/// The workspace that all tests share.
static STAND_IN: OnceLock<Option<StandIn>> = OnceLock::new();

/// A name that no other test of this or another run has.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{what}_{}_{next}", std::process::id())
}

pub fn cx() -> Context {
    Context::new("test").with_timeout(std::time::Duration::from_secs(120))
}

pub fn resources() -> Resources {
    Resources {
        memory_limit_bytes: 256 << 20,
        spill_path: None,
        n_threads: 2,
    }
}

pub async fn open_options(options: Map<String, Value>) -> Result<Arc<dyn OfflineStore>> {
    let mut providers = Providers::default();
    providers.register(provender_providers_delta::databricks::factory());
    let config = ProviderConfig {
        scheme: "databricks".to_owned(),
        block: "offline_store".to_owned(),
        options,
        base_path: PathBuf::from("."),
        resources: resources(),
    };
    providers.open_offline(&cx(), config).await
}

/// A schema of a workspace, and the login that a test has for itself.
#[derive(Clone)]
pub struct Workspace {
    pub options: Map<String, Value>,
    /// What the stand-in calls the login; `None` in a real workspace.
    pub name: Option<String>,
}

impl Workspace {
    /// A login and schema of the stand-in; `None` if there is none.
    pub async fn stand_in(settings: Value) -> Option<Self> {
        let standin = STAND_IN.get_or_init(StandIn::databricks).as_ref()?;
        let name = unique("case");
        let options = json!({
            "endpoint": standin.url,
            "token": format!("dapi-{name}"),
            "warehouse_id": "abc123",
            "catalog": "sail",
            "schema": name,
            "location": format!("s3://lake/{name}"),
            "execution": "warehouse",
            "storage": {"endpoint": standin.s3, "allow_http": true, "region": "us-east-1"},
        });
        let workspace = Self {
            options: options.as_object().unwrap().clone(),
            name: Some(name),
        };
        workspace.set(settings).await;
        Some(workspace)
    }

    /// The workspace of `PROVENDER_TEST_DATABRICKS_*`, or a printed line that says that none is named.
    pub fn real() -> Option<Self> {
        let mut options = Map::new();
        for name in [
            "host",
            "warehouse_id",
            "catalog",
            "schema",
            "token",
            "client_id",
            "client_secret",
            "location",
        ] {
            let variable = format!("PROVENDER_TEST_DATABRICKS_{}", name.to_uppercase());
            if let Ok(value) = std::env::var(variable) {
                options.insert(name.to_owned(), value.into());
            }
        }
        if !options.contains_key("host") {
            println!("skipped: PROVENDER_TEST_DATABRICKS_HOST is not set");
            return None;
        }
        assert!(
            options.contains_key("schema"),
            "PROVENDER_TEST_DATABRICKS_SCHEMA names a schema for the tests alone"
        );
        Some(Self {
            options,
            name: None,
        })
    }

    /// The same with other options.
    pub fn with(&self, other: Value) -> Self {
        let mut changed = self.clone();
        for (name, value) in other.as_object().unwrap() {
            match value {
                Value::Null => changed.options.remove(name),
                value => changed.options.insert(name.clone(), value.clone()),
            };
        }
        changed
    }

    pub async fn try_open(&self) -> Result<Arc<dyn OfflineStore>> {
        open_options(self.options.clone()).await
    }

    pub async fn open(&self) -> Arc<dyn OfflineStore> {
        self.try_open().await.unwrap()
    }

    pub async fn open_as(&self, execution: &str) -> Arc<dyn OfflineStore> {
        self.with(json!({"execution": execution})).open().await
    }

    /// A table's whole name.
    pub fn full(&self, table: &str) -> String {
        let part = |name: &str| self.options[name].as_str().unwrap().to_owned();
        format!("{}.{}.{table}", part("catalog"), part("schema"))
    }

    async fn post(&self, path: &str, mut body: Value) {
        let Some(name) = &self.name else { return };
        body["name"] = json!(name);
        let url = self.options["endpoint"].as_str().unwrap();
        let client = reqwest::Client::new();
        let sent = client.post(format!("{url}/standin/{path}")).json(&body);
        assert!(sent.send().await.unwrap().status().is_success());
    }

    /// Says how the stand-in answers this login from now on.
    pub async fn set(&self, settings: Value) {
        self.post("set", settings).await;
    }

    pub async fn revoke_tokens(&self) {
        self.post("revoke", json!({})).await;
    }

    /// What happened under this login.
    pub async fn state(&self) -> Value {
        let url = self.options["endpoint"].as_str().unwrap();
        let name = self.name.as_ref().unwrap();
        let answer = reqwest::get(format!("{url}/standin/state?name={name}")).await;
        answer.unwrap().json().await.unwrap()
    }

    /// Waits until what happened under this login is as a test expects.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        for _ in 0..600 {
            if is_so(&self.state().await) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{what}: {}", self.state().await);
    }

    /// Tables of Provender's own that are there.
    pub async fn n_left(&self) -> usize {
        let state = self.state().await;
        let schema = format!("{}.provender_tmp", self.options["schema"].as_str().unwrap());
        let tables = state["tables"].as_array().unwrap();
        let is_left = |table: &&Value| table.as_str().unwrap().contains(&schema);
        tables.iter().filter(is_left).count()
    }

    /// How often something happened under this login.
    pub async fn count(&self, what: &str) -> u64 {
        self.state().await["counts"][what].as_u64().unwrap_or(0)
    }

    /// Runs a statement as another user of the workspace would.
    pub async fn sql(&self, statement: &str) {
        let option = |name: &str| self.options[name].as_str().unwrap().to_owned();
        let body = json!({
            "statement": statement, "warehouse_id": "abc123", "catalog": option("catalog"),
            "schema": option("schema"), "format": "ARROW_STREAM", "disposition": "EXTERNAL_LINKS",
        });
        let client = reqwest::Client::new();
        let url = format!("{}/api/2.0/sql/statements", option("endpoint"));
        let mut answer: Value = client
            .post(&url)
            .bearer_auth("dapi-other")
            .json(&body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        while answer["status"]["state"] == "RUNNING" {
            let id = answer["statement_id"].as_str().unwrap();
            let look = client.get(format!("{url}/{id}")).bearer_auth("dapi-other");
            answer = look.send().await.unwrap().json().await.unwrap();
        }
        assert_eq!(
            answer["status"]["state"], "SUCCEEDED",
            "{statement}: {answer}"
        );
    }
}

pub fn request(table: &str, mode: WriteMode) -> OfflineWrite {
    OfflineWrite {
        table: table.to_owned(),
        mode,
        partition_by: Vec::new(),
        id: None,
    }
}

pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter();
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .unwrap()
}

/// Rows of `k` (0, 1, 2, ...), `at` (a second apart) and `f` (as `k`).
pub fn numbered(n_rows: i64) -> RecordBatch {
    use arrow_array::{Float64Array, Int64Array, TimestampMicrosecondArray};
    batch(vec![
        ("k", Arc::new(Int64Array::from_iter_values(0..n_rows)) as _),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values((0..n_rows).map(|n| n * 1_000_000))
                    .with_timezone("UTC"),
            ),
        ),
        (
            "f",
            Arc::new(Float64Array::from_iter_values(
                (0..n_rows).map(|n| n as f64),
            )),
        ),
    ])
}

pub async fn write(
    store: &dyn OfflineStore,
    write: OfflineWrite,
    rows: RecordBatch,
) -> Result<WriteSummary> {
    let stream = BatchStream::from_batches(rows.schema(), vec![rows]);
    store.write(&cx(), write, stream).await
}

pub async fn append(
    store: &dyn OfflineStore,
    table: &str,
    rows: RecordBatch,
) -> Result<WriteSummary> {
    write(store, request(table, WriteMode::Append), rows).await
}

pub fn query(sql: &str) -> SourceRef {
    SourceRef {
        relation: Relation::Query(sql.to_owned()),
        filter: None,
        version: None,
    }
}

pub fn all(source: SourceRef) -> Scan {
    Scan {
        source,
        columns: None,
        ranges: Vec::new(),
    }
}

pub async fn read(store: &dyn OfflineStore, scan: Scan) -> Result<RecordBatch> {
    let mut batches = Vec::new();
    let mut schema = None;
    for stream in store.scan(&cx(), scan).await? {
        schema = Some(stream.schema.clone());
        batches.extend(stream.collect().await?);
    }
    let table = Table {
        schema: schema.expect("a stream"),
        batches,
    };
    Ok(table.one_batch().unwrap())
}

pub async fn failure(store: &dyn OfflineStore, scan: Scan) -> Error {
    read(store, scan).await.expect_err("should fail")
}

pub async fn n_rows(store: &dyn OfflineStore, table: &str) -> usize {
    let rows = read(store, all(SourceRef::table(table))).await;
    rows.unwrap().num_rows()
}

/// The whole numbers of a table's column `k`, sorted.
pub async fn keys(store: &dyn OfflineStore, table: &str) -> Vec<i64> {
    use arrow_array::cast::AsArray;
    let scan = Scan {
        columns: Some(vec!["k".to_owned()]),
        ..all(SourceRef::table(table))
    };
    let rows = read(store, scan).await.unwrap();
    let column = rows
        .column(0)
        .as_primitive::<arrow_array::types::Int64Type>();
    let mut keys: Vec<i64> = column.iter().flatten().collect();
    keys.sort_unstable();
    keys
}

/// The join by the store, or by the engine over the scans of one that does not join.
pub async fn joined(
    store: &Arc<dyn OfflineStore>,
    join: PointInTimeJoin,
    spine: Spine,
) -> Result<BatchStream> {
    match spine {
        Spine::Rows(rows) if !store.capabilities().point_in_time_join => {
            provender_engine::point_in_time_join(&cx(), &resources(), store.clone(), join, rows)
                .await
        }
        spine => store.point_in_time_join(&cx(), join, spine).await,
    }
}
