//! The project that is served: its files, its online store filled, and the same reads in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use provender_core::Context;
use provender_core::provider::{Author, Providers};
use provender_definitions::{load_config, load_definitions};
use provender_store::{
    FeatureStore, Materialize, MaterializeRange, OnlineCall, OnlineRequest, Selection,
};
use tokio::runtime::Runtime;

use crate::data::{self, END_US, START_US, Shape};
use crate::{Options, Outcome};

/// The project as it is in the repository.
const TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/flight/project");
const FILES: [&str; 2] = ["provender.yaml", "features/driver.yaml"];

/// A project beside its data, and its feature store in this process.
pub(crate) struct Project {
    pub(crate) folder: PathBuf,
    cx: Context,
    store: FeatureStore,
    /// The store's own tasks run on it.
    runtime: Runtime,
}

impl Project {
    /// Makes the data, unless they are there, and a project whose online store holds them: the embedded one,
    /// or the Redis of a URL.
    pub(crate) fn make(work: &Path, options: &Options, redis: Option<&str>) -> Outcome<Self> {
        let raw = work.join("raw");
        std::fs::create_dir_all(&raw)?;
        let n_keys = options.keys;
        data::write_latest(&raw.join("narrow.parquet"), n_keys, 10)?;
        data::write_latest(&raw.join("wide.parquet"), n_keys, 50)?;
        data::write_history(&raw.join("history.parquet"), options.rows, n_keys)?;
        data::write_labels(&raw.join("labels.parquet"), options.labels(), n_keys)?;

        let folder = work.join("project");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        for file in FILES {
            let copy = folder.join(file);
            std::fs::create_dir_all(copy.parent().ok_or("a file has no folder")?)?;
            std::fs::copy(Path::new(TEMPLATE).join(file), copy)?;
        }
        if let Some(url) = redis {
            let file = folder.join(FILES[0]);
            let text = std::fs::read_to_string(&file)?;
            let online = "online_store: {type: local, path: online}";
            let text = text.replace(
                online,
                &format!("online_store: {{type: redis, url: '{url}'}}"),
            );
            std::fs::write(file, text)?;
        }
        let runtime = Runtime::new()?;
        let config = load_config(&folder, None, &|_| None).map_err(first)?;
        let cx = Context::new(config.project.as_str());
        let mut providers = Providers::default();
        providers.register(provender_providers_registry::sqlite_factory());
        providers.register(provender_providers_delta::factory());
        providers.register(provender_providers_local::factory());
        providers.register(provender_providers_redis::factory());
        let store = runtime.block_on(FeatureStore::open(&cx, config, providers))?;
        let project = Self {
            folder,
            cx,
            store,
            runtime,
        };
        project.fill()?;
        Ok(project)
    }

    /// Applies the definitions and materialises the views.
    fn fill(&self) -> Outcome<()> {
        let loaded = load_definitions(&self.store.config().base_path).map_err(first)?;
        let author = Author {
            name: "benchmark".to_owned(),
            message: String::new(),
        };
        let request = Materialize {
            views: None,
            range: MaterializeRange::Explicit {
                start_us: START_US - 1_000_000,
                end_us: END_US,
            },
        };
        self.runtime.block_on(async {
            let plan = self.store.plan(&self.cx, &loaded).await.map_err(first)?;
            self.store.apply(&self.cx, &plan, &author).await?;
            let done = self.store.materialize(&self.cx, &request, Arc::new(|_| {}));
            done.await?;
            Ok(())
        })
    }

    /// The read that the server makes for a shape, prepared and bound.
    pub(crate) fn call(&self, shape: Shape, keys: &RecordBatch) -> Outcome<OnlineCall> {
        let request = OnlineRequest::new(Selection::service(shape.service())?);
        let query = self.store.prepare_online(&self.cx, &request);
        Ok(self.runtime.block_on(query)?.bind(&keys.schema())?)
    }

    /// What reads are made with.
    pub(crate) fn context(&self) -> Context {
        self.cx.clone()
    }
}

/// The first of many mistakes.
fn first(errors: Vec<provender_core::Error>) -> Box<dyn std::error::Error + Send + Sync> {
    match errors.into_iter().next() {
        Some(error) => error.into(),
        None => "nothing is wrong, and yet it failed".into(),
    }
}
