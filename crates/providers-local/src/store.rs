//! The online store: what it offers, and which module does it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use provender_core::provider::{
    OnlineCapabilities, OnlineReader, OnlineStore, Provider, ProviderConfig, ProviderInfo,
    ViewVersion,
};
use provender_core::request::{OnlineStats, ReadPlan, ViewLayout, WriteSummary};
use provender_core::time::now_us;
use provender_core::{BatchStream, Context, Error, Result, codes};

use crate::config::LocalConfig;
use crate::environment::DATA_FILE;
use crate::error::{io_error, not_a_folder};
use crate::names::{self, FolderName};
use crate::read::LocalReader;
use crate::resident::Budget;
use crate::slot::Slot;
use crate::sweep::{self, SweepSummary};
use crate::{blocking, folders, write};

/// What copies of rows in memory may take, unless set.
const CACHE_BYTES: u64 = 64 << 20;
/// The part of `limits.memory` that they take at most, unless set.
const MEMORY_SHARE: u64 = 16;

/// Online rows in a folder of this machine, which several processes may use at once. Cheap to make and
/// to keep; all stores of a process on one folder share what they have open.
#[derive(Clone)]
pub struct LocalOnlineStore {
    root: PathBuf,
    map_size: Option<u64>,
    /// What copies of rows in memory may take.
    budget: Arc<Budget>,
    /// What work here may hold.
    memory_bytes: u64,
}

impl fmt::Debug for LocalOnlineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalOnlineStore")
            .field("path", &self.root)
            .finish_non_exhaustive()
    }
}

impl LocalOnlineStore {
    /// Opens a store. Nothing is made: the folder comes into being with the first write.
    ///
    /// # Errors
    /// `P203` for an empty path, `P902` for a path that is something else than a folder.
    pub fn open(options: &LocalConfig, config: &ProviderConfig) -> Result<Self> {
        if options.path.as_os_str().is_empty() {
            return Err(Error::new(
                &codes::BAD_CONFIG,
                format!("{} (type {}): path is empty", config.block, crate::SCHEME),
            )
            .help("leave it out for .provender/online"));
        }
        let store = Self::at(&config.base_path.join(&options.path), options.map_size)?;
        let memory_bytes = config.resources.memory_limit_bytes;
        let cache_bytes = CACHE_BYTES.min(memory_bytes / MEMORY_SHARE);
        Ok(Self {
            memory_bytes,
            budget: Budget::new(options.cache_size.unwrap_or(cache_bytes)),
            ..store
        })
    }

    /// Opens a store in the folder `path`, whose views may each grow to `map_size` bytes.
    ///
    /// # Errors
    /// `P902` for a path that is something else than a folder.
    pub fn at(path: &Path, map_size: Option<u64>) -> Result<Self> {
        let root = std::path::absolute(path).map_err(|error| io_error("open", path, error))?;
        if let Some(blocking) = root.ancestors().find(|folder| folder.exists())
            && !blocking.is_dir()
        {
            return Err(not_a_folder(blocking));
        }
        Ok(Self {
            root,
            map_size,
            budget: Budget::new(CACHE_BYTES),
            memory_bytes: u64::MAX,
        })
    }

    pub(crate) fn slot(&self, view: &ViewVersion) -> Arc<Slot> {
        Slot::of(&self.root, view, self.map_size, &self.budget)
    }

    /// Deletes a view's expired rows as if it were `now_us`, if a sweep is due then: half the ttl after
    /// the last one (or after the view's first write), at least a minute and at most a day. Compacts the
    /// file if that left it mostly empty. Every write ends with this.
    ///
    /// # Errors
    /// As [`OnlineStore::write`].
    pub async fn sweep(
        &self,
        cx: &Context,
        layout: &ViewLayout,
        now_us: i64,
    ) -> Result<SweepSummary> {
        let Some(ttl_us) = layout.ttl_us else {
            return Ok(SweepSummary::default());
        };
        let slot = self.slot(&layout.view_version());
        blocking::run(cx, move |cx| sweep::sweep_if_due(cx, &slot, ttl_us, now_us)).await
    }

    /// Compacts a view's file if it is over 1 MiB and more than half of its pages hold nothing; answers
    /// whether it did. The view's writers wait meanwhile, its readers do not.
    ///
    /// # Errors
    /// As [`OnlineStore::write`].
    pub async fn compact_if_sparse(&self, cx: &Context, view: &ViewVersion) -> Result<bool> {
        let slot = self.slot(view);
        blocking::run(cx, move |_| sweep::compact_if_sparse(&slot)).await
    }

    /// The views in a project's folder. Blocks.
    fn list(&self, project: &str) -> Result<Vec<ViewVersion>> {
        let folder = self.root.join(names::project_folder(project));
        let mut views = Vec::new();
        for name in folders::names(&folder)? {
            let (view, version) = match names::parse_view_folder(&name) {
                FolderName::View(view, version) => (view, version),
                FolderName::Hashed(version) => {
                    let file = folder.join(&name).join(names::NAME_FILE);
                    match std::fs::read_to_string(&file) {
                        Ok(view) => (view, version),
                        // It is being removed.
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(io_error("read", &file, error)),
                    }
                }
                FolderName::Foreign => continue,
            };
            if !folders::generations(&folder.join(&name))?.is_empty() {
                views.push(ViewVersion {
                    project: project.to_owned(),
                    view,
                    version,
                });
            }
        }
        views.sort_by(|a, b| (&a.view, a.version).cmp(&(&b.view, b.version)));
        Ok(views)
    }

    /// What `provender doctor` shows. Blocks.
    fn examine(&self, cx: &Context) -> Result<Vec<String>> {
        let place = self.root.display();
        if !self.root.exists() {
            return Ok(vec![format!(
                "the folder {place} does not exist yet; the first write makes it"
            )]);
        }
        let mut findings = Vec::new();
        let probe = folders::fresh(&self.root, ".probe-");
        match std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)) {
            Ok(()) => {}
            Err(error) => findings.push(format!("{place} can only be read: {error}")),
        }
        let views = self.list(cx.project())?;
        let (mut n_rows, mut n_bytes) = (0, 0);
        for view in &views {
            cx.check()?;
            let slot = self.slot(view);
            let Some(environment) = slot.open()? else {
                continue;
            };
            environment.check_whole(&|| cx.check().is_ok())?;
            if let Some(why) = environment.read_only() {
                findings.push(format!(
                    "{}@{} can only be read: {why}",
                    view.view, view.version
                ));
            }
            let wanted = self.map_size.unwrap_or(0);
            let map_bytes = environment.map_bytes();
            let stats = stats(&slot)?;
            n_rows += stats.n_rows.unwrap_or(0);
            let bytes = stats.n_bytes.unwrap_or(0);
            n_bytes += bytes;
            if map_bytes < wanted || bytes > map_bytes / 10 * 8 {
                findings.push(format!(
                    "{}@{} may grow to {map_bytes} bytes and has {bytes}; see the option map_size",
                    view.view, view.version
                ));
            }
        }
        let noun = if views.len() == 1 { "view" } else { "views" };
        findings.push(format!(
            "{} {noun} with {n_rows} rows and {n_bytes} bytes in {place}, all sound",
            views.len()
        ));
        Ok(findings)
    }
}

/// How much is held of a view. Blocks.
fn stats(slot: &Slot) -> Result<OnlineStats> {
    let held = slot.look_or_open(|environment, txn| {
        let n_rows = environment
            .rows
            .len(txn)
            .map_err(|error| environment.failure("read", error))?;
        let n_bytes = environment
            .data_file()?
            .metadata()
            .map_err(|error| io_error("read", &environment.folder.join(DATA_FILE), error))?
            .len();
        Ok((n_rows, n_bytes))
    })?;
    let (n_rows, n_bytes) = held.unwrap_or((0, 0));
    Ok(OnlineStats {
        n_rows: Some(n_rows),
        n_bytes: Some(n_bytes),
    })
}

#[async_trait]
impl Provider for LocalOnlineStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: crate::SCHEME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            display_name: format!("online rows in {}", self.root.display()),
        }
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        let store = self.clone();
        blocking::run(cx, move |cx| store.examine(cx)).await
    }
}

#[async_trait]
impl OnlineStore for LocalOnlineStore {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut capabilities = OnlineCapabilities::default();
        capabilities.expiry = true;
        capabilities.shared = true;
        capabilities
    }

    async fn prepare(&self, cx: &Context, plan: Arc<ReadPlan>) -> Result<Arc<dyn OnlineReader>> {
        let reader = LocalReader::new(&plan, |read| self.slot(&read.layout.view_version()))?;
        reader.open(cx).await?;
        Ok(Arc::new(reader))
    }

    async fn write(
        &self,
        cx: &Context,
        view: &ViewLayout,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        let slot = self.slot(&view.view_version());
        let chunk_bytes = write::chunk_bytes(cx.memory_within(self.memory_bytes));
        let summary = write::write(cx, &slot, view, rows, chunk_bytes).await?;
        // The rows are written; what a sweep meets is no failure of the write.
        if summary.n_rows > 0
            && let Err(error) = self.sweep(cx, view, now_us()).await
        {
            tracing::warn!(%error, view = %view.view, version = view.version, "expired rows were not deleted");
        }
        Ok(summary)
    }

    async fn delete(&self, cx: &Context, view: &ViewLayout, keys: RecordBatch) -> Result<()> {
        write::delete(cx, &self.slot(&view.view_version()), view, &keys).await
    }

    async fn views(&self, cx: &Context) -> Result<Vec<ViewVersion>> {
        let store = self.clone();
        blocking::run(cx, move |cx| store.list(cx.project())).await
    }

    async fn stats(&self, cx: &Context, view: &ViewVersion) -> Result<OnlineStats> {
        let slot = self.slot(view);
        blocking::run(cx, move |_| stats(&slot)).await
    }

    async fn drop_view(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        let slot = self.slot(view);
        blocking::run(cx, move |_| slot.drop_rows()).await
    }
}
