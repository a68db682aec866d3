//! The feature store: plans and applies definitions, and builds training sets, over any provider.
//!
//! This crate decides what follows from definitions whatever the vendor: what `apply` would change
//! and what that breaks, which views and columns a request means and what its output columns are
//! called, how answers of several stores become one table, and how on-demand features are computed
//! from them.
//!
//! It knows traits, never a vendor, and neither YAML nor SQL: definitions come read and checked from
//! `provender-definitions`, and whatever an offline store does not do itself, `provender-engine`
//! does over the store's `scan`.

mod apply;
mod asked;
mod cast;
mod cells;
mod checkpoints;
mod cleanup;
mod dataset;
mod delete;
mod describe;
mod doctor;
mod explain;
mod historical;
mod import;
mod maintain;
mod materialize;
mod on_demand;
mod online;
mod plan;
mod push;
mod request;
mod rows;
mod spine;
mod status;
mod stores;
mod training;
mod verify;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

pub use apply::Applied;
pub use dataset::{
    ColumnRole, CreateDataset, Dataset, DatasetColumn, DatasetDiff, DatasetDifference,
    DatasetRequest, DatasetSpine, DiffPart, Recreation, RowDiff, Split, SplitOptions, SplitRule,
    Statistics, StoredSpine, StoredTable, UsedDefinition, UsedDefinitions, UsedSource,
    version_text,
};
pub use delete::{Delete, DeleteSummary};
pub use describe::{DescribedFeature, DescribedSource, Description, ListedObject};
pub use doctor::Finding;
pub use import::Import;
pub use materialize::{Materialize, MaterializeRange, MaterializedView, Progress, ProgressFn};
pub use online::{OnlineCall, OnlineQuery, OnlineRequest};
pub use plan::{FieldChange, Plan, PlanAction, PlanEntry};
use provender_core::provider::{Commit, Providers, Registry, Resources, Revision};
use provender_core::{Catalog, Context, Error, Result, codes};
use provender_definitions::ProjectConfig;
pub use provender_engine::spill;
pub use push::{Push, PushSummary, PushTarget};
pub use request::{HistoricalRequest, Selection};
pub use status::ViewStatus;
use stores::Stores;
pub use verify::{Difference, VerifiedView, Verify};

/// A project: its configuration, its registry and its stores. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct FeatureStore {
    inner: Arc<Inner>,
}

struct Inner {
    config: ProjectConfig,
    stores: Stores,
    registry: Arc<dyn Registry>,
    /// The newest catalog seen, so that a revision is read from the registry once.
    catalog: RwLock<Option<Arc<Catalog>>>,
}

impl FeatureStore {
    /// Opens the registry now; an offline store is opened when it is first used, once. Plug-ins of the
    /// configuration are the caller's to load: what they offer is among `providers`.
    ///
    /// # Errors
    /// `InvalidArgument` (`P204`, `P203`) for an unknown type or bad options of the registry, and
    /// what opening it says.
    pub async fn open(cx: &Context, config: ProjectConfig, providers: Providers) -> Result<Self> {
        let block = config.registry.provider_config("registry", &config);
        let registry = providers.open_registry(cx, block).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                stores: Stores::new(config.clone(), providers),
                config,
                registry,
                catalog: RwLock::new(None),
            }),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &ProjectConfig {
        &self.inner.config
    }

    /// The project's name.
    pub fn project(&self) -> &str {
        &self.inner.config.project
    }

    /// The applied definitions of the newest revision. Asks the registry for the revision, and for
    /// the definitions only if it has moved.
    ///
    /// # Errors
    /// `Unavailable` (`P304`), `DataLoss` (`P303`), and `InvalidArgument` (`P406`) for a context of
    /// another project.
    pub async fn catalog(&self, cx: &Context) -> Result<Arc<Catalog>> {
        self.check_context(cx)?;
        let revision = self.registry().revision(cx).await?;
        if let Some(known) = self.cached_catalog()
            && known.revision == revision
        {
            return Ok(known);
        }
        let snapshot = self.registry().snapshot(cx, None).await?;
        let catalog = Arc::new(Catalog::from_snapshot(&snapshot)?);
        let mut cached = self
            .inner
            .catalog
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // A slower call must not put an older revision in the place of a newer one.
        if cached
            .as_ref()
            .is_none_or(|known| known.revision < catalog.revision)
        {
            *cached = Some(catalog.clone());
        }
        Ok(catalog)
    }

    /// The newest commits, newest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable` (`P304`).
    pub async fn history(&self, cx: &Context, limit: usize) -> Result<Vec<Commit>> {
        self.check_context(cx)?;
        self.registry().history(cx, Revision(0), limit).await
    }

    fn cached_catalog(&self) -> Option<Arc<Catalog>> {
        self.inner
            .catalog
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn registry(&self) -> &Arc<dyn Registry> {
        &self.inner.registry
    }

    /// The limits for a call's work on this machine.
    pub(crate) fn resources(&self, cx: &Context) -> Resources {
        self.stores().resources().within(cx)
    }

    pub(crate) fn stores(&self) -> &Stores {
        &self.inner.stores
    }

    /// The newest catalog, of a project that has applied something.
    pub(crate) async fn applied_catalog(&self, cx: &Context) -> Result<Arc<Catalog>> {
        let catalog = self.catalog(cx).await?;
        if catalog.revision == Revision(0) {
            return Err(Error::new(
                &codes::NOT_APPLIED,
                format!("nothing has been applied to project {:?}", self.project()),
            )
            .help("run `provender apply`"));
        }
        Ok(catalog)
    }

    /// Every registry call takes its project from the context, so one of another project would
    /// quietly read and write there.
    pub(crate) fn check_context(&self, cx: &Context) -> Result<()> {
        cx.check()?;
        if cx.project() != self.project() {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "the call is made for project {:?}, and this is the store of project {:?}",
                    cx.project(),
                    self.project()
                ),
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for FeatureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureStore")
            .field("project", &self.project())
            .field("registry", &self.registry().info().display_name)
            .finish_non_exhaustive()
    }
}
