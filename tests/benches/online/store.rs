//! What is measured: `FeatureStore` and the embedded online store below it.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{ArrayRef, RecordBatch};
use provender_core::provider::{
    Author, OnlineReader, OnlineStore, ProviderConfig, Providers, Resources,
};
use provender_core::request::{ReadPlan, ViewLayout, ViewRead, WriteMode};
use provender_core::{BatchStream, Context};
use provender_definitions::{load_config, load_definitions};
use provender_store::{
    FeatureStore, Import, Materialize, MaterializeRange, OnlineRequest, Selection,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::Outcome;
use crate::data::{self, END_US, START_US};
use crate::measure::Calls;

/// A project.
pub(crate) struct Store {
    cx: Context,
    store: FeatureStore,
    runtime: Runtime,
}

impl Store {
    /// Opens a project.
    pub(crate) fn open(project: &Path) -> Outcome<Self> {
        let config = load_config(project, None, &|_| None).map_err(first)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.limits.n_threads.max(1))
            .enable_all()
            .build()?;
        let cx = Context::new(config.project.as_str());
        let mut providers = Providers::default();
        providers.register(provender_providers_registry::sqlite_factory());
        providers.register(provender_providers_delta::factory());
        providers.register(provender_providers_local::factory());
        let store = runtime.block_on(FeatureStore::open(&cx, config, providers))?;
        Ok(Self { cx, store, runtime })
    }

    /// Applies the project's definitions.
    pub(crate) fn apply(&self) -> Outcome<Value> {
        let started = Instant::now();
        let loaded = load_definitions(&self.store.config().base_path).map_err(first)?;
        let plan = self.runtime.block_on(self.store.plan(&self.cx, &loaded));
        let author = Author {
            name: "benchmark".to_owned(),
            message: String::new(),
        };
        let plan = plan.map_err(first)?;
        let applied = self.store.apply(&self.cx, &plan, &author);
        self.runtime.block_on(applied)?;
        Ok(json!({"seconds": started.elapsed().as_secs_f64()}))
    }

    /// What the online store holds of a view.
    pub(crate) fn layout(&self, view: &str) -> Outcome<ViewLayout> {
        let catalog = self.runtime.block_on(self.store.catalog(&self.cx))?;
        let (version, found) = catalog.feature_view(view, None)?;
        Ok(ViewLayout::of(self.store.project(), version, &found)?)
    }

    /// Writes the narrow view's rows to a table of the offline store.
    pub(crate) fn import(&self, table: String, n_drivers: u64) -> Outcome<Value> {
        let (schema, batches) = data::offline_batches(10, n_drivers)?;
        let import = Import {
            table,
            store: None,
            mode: WriteMode::Overwrite,
            partition_by: Vec::new(),
        };
        let rows = BatchStream::from_batches(schema, batches);
        let started = Instant::now();
        self.runtime
            .block_on(self.store.import(&self.cx, &import, rows))?;
        Ok(json!({"seconds": started.elapsed().as_secs_f64(), "n_rows": n_drivers}))
    }

    /// Materialises all rows of a view.
    pub(crate) fn materialize(&self, view: &str) -> Outcome<Value> {
        let request = Materialize {
            views: Some(vec![view.to_owned()]),
            range: MaterializeRange::Explicit {
                start_us: START_US - 1_000_000,
                end_us: END_US,
            },
        };
        let started = Instant::now();
        let done =
            self.runtime
                .block_on(self.store.materialize(&self.cx, &request, Arc::new(|_| {})))?;
        Ok(json!({
            "seconds": started.elapsed().as_secs_f64(),
            "n_rows": done.iter().map(|view| view.summary.n_rows).sum::<u64>(),
            "n_applied": done.iter().map(|view| view.summary.n_applied).sum::<u64>(),
        }))
    }

    /// Writes a view's rows to an embedded store of its own.
    pub(crate) fn write(&self, view: &str, path: &Path, n_drivers: u64) -> Outcome<Value> {
        let layout = self.layout(view)?;
        let (schema, batches) = data::online_batches(&layout, n_drivers)?;
        let mut options = serde_json::Map::new();
        options.insert("path".to_owned(), json!(path));
        let config = ProviderConfig {
            scheme: "local".to_owned(),
            block: "online_store".to_owned(),
            options,
            base_path: path.to_owned(),
            resources: Resources::default(),
        };
        self.runtime.block_on(async {
            let store = open_local(&self.cx, config).await?;
            let rows = BatchStream::from_batches(schema, batches);
            let started = Instant::now();
            let summary = store.write(&self.cx, &layout, rows).await?;
            let seconds = started.elapsed().as_secs_f64();
            Ok(json!({"seconds": seconds, "n_rows": summary.n_rows, "n_applied": summary.n_applied}))
        })
    }

    /// Reads through the feature store, prepared once.
    pub(crate) fn read(
        &self,
        view: &str,
        requests: &[RecordBatch],
        seconds: f64,
    ) -> Outcome<Value> {
        self.runtime.block_on(async {
            let request = OnlineRequest::new(Selection::service(&format!("{view}_service"))?);
            let query = self.store.prepare_online(&self.cx, &request).await?;
            let call = query.bind(&requests[0].schema())?;
            let mut calls = Calls::new(seconds);
            while let Some(number) = calls.next() {
                let answer = call
                    .read(&self.cx, &requests[number % requests.len()])
                    .await?;
                std::hint::black_box(&answer);
                drop(answer);
                calls.done();
            }
            calls.answer()
        })
    }

    /// Reads through the online store's reader.
    pub(crate) fn read_bare(
        &self,
        view: &str,
        requests: &[RecordBatch],
        seconds: f64,
    ) -> Outcome<Value> {
        let reader = self.reader(view)?;
        self.runtime.block_on(async {
            let mut calls = Calls::new(seconds);
            while let Some(number) = calls.next() {
                let answer = reader
                    .read(&self.cx, &requests[number % requests.len()])
                    .await?;
                std::hint::black_box(&answer);
                drop(answer);
                calls.done();
            }
            calls.answer()
        })
    }

    /// The features of some drivers, read through the feature store.
    pub(crate) fn values(&self, view: &str, drivers: Vec<i64>) -> Outcome<Value> {
        let input = data::request(drivers)?;
        let answer = self.runtime.block_on(async {
            let request = OnlineRequest::new(Selection::service(&format!("{view}_service"))?);
            let query = self.store.prepare_online(&self.cx, &request).await?;
            query.bind(&input.schema())?.read(&self.cx, &input).await
        })?;
        Ok(json!({"columns": columns(&answer.columns()[1..])}))
    }

    /// The features of some drivers, read through the online store's reader.
    pub(crate) fn values_bare(&self, view: &str, drivers: Vec<i64>) -> Outcome<Value> {
        let reader = self.reader(view)?;
        let request = data::request(drivers)?;
        let answer = self.runtime.block_on(reader.read(&self.cx, &request))?;
        Ok(json!({"columns": columns(&answer.views[0].features)}))
    }

    /// The reader of the online store, without the feature store.
    fn reader(&self, view: &str) -> Outcome<Arc<dyn OnlineReader>> {
        let layout = Arc::new(self.layout(view)?);
        let plan = Arc::new(ReadPlan {
            keys: layout.join_keys.clone(),
            views: vec![ViewRead {
                key_columns: (0..layout.join_keys.len()).collect(),
                features: (0..layout.features.len()).collect(),
                layout,
            }],
        });
        let config = self.store.config();
        let config = config.online_store.provider_config("online_store", config);
        Ok(self.runtime.block_on(async {
            let store = open_local(&self.cx, config).await?;
            store.prepare(&self.cx, plan).await
        })?)
    }
}

async fn open_local(
    cx: &Context,
    config: ProviderConfig,
) -> provender_core::Result<Arc<dyn OnlineStore>> {
    let mut providers = Providers::default();
    providers.register(provender_providers_local::factory());
    providers.open_online(cx, config).await
}

fn columns(features: &[ArrayRef]) -> Vec<Vec<Option<f64>>> {
    let features = features.iter();
    features
        .map(|column| column.as_primitive::<Float64Type>().iter().collect())
        .collect()
}

/// The first of many mistakes.
fn first(errors: Vec<provender_core::Error>) -> Box<dyn std::error::Error> {
    match errors.into_iter().next() {
        Some(error) => error.into(),
        None => "nothing is wrong, and yet it failed".into(),
    }
}
