//! The store: what each method of the contract does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use provender_core::provider::{
    OnlineCapabilities, OnlineReader, OnlineStore, Provider, ProviderInfo, ViewVersion,
};
use provender_core::request::{OnlineRows, OnlineStats, ReadPlan, ViewLayout, WriteSummary};
use provender_core::{BatchStream, Context, Error, Result, codes};

use crate::file;
use crate::rows::{Rows, check_columns, check_nulls, read, refused};

type Views = BTreeMap<ViewVersion, Rows>;

/// Latest rows in memory; each view's file is written before a call is done.
pub struct LedgerOnlineStore {
    folder: PathBuf,
    views: Arc<Mutex<Views>>,
}

impl fmt::Debug for LedgerOnlineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerOnlineStore")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

fn lock(views: &Mutex<Views>) -> MutexGuard<'_, Views> {
    views.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LedgerOnlineStore {
    /// Opens a folder and reads what is there.
    ///
    /// # Errors
    /// `P903` if it cannot be read or made, `P604` for a damaged file.
    pub fn open(folder: PathBuf) -> Result<Self> {
        let views = file::load(&folder)?.into_iter().collect();
        Ok(Self {
            folder,
            views: Arc::new(Mutex::new(views)),
        })
    }
}

#[async_trait]
impl Provider for LedgerOnlineStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: "ledger".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            display_name: format!("ledger in {}", self.folder.display()),
        }
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        cx.check()?;
        let n_views = lock(&self.views).len();
        Ok(vec![format!(
            "{n_views} views in {}",
            self.folder.display()
        )])
    }
}

#[async_trait]
impl OnlineStore for LedgerOnlineStore {
    fn capabilities(&self) -> OnlineCapabilities {
        // Rows never expire here, and another process would not see what this one holds.
        OnlineCapabilities::default()
    }

    async fn prepare(&self, cx: &Context, plan: Arc<ReadPlan>) -> Result<Arc<dyn OnlineReader>> {
        cx.check()?;
        for view in &plan.views {
            let layout = &view.layout;
            let keys = view.key_columns.iter().map(|&at| plan.keys.get(at));
            let types = keys.map(|key| key.map(|key| &key.value_type));
            let declared = layout.join_keys.iter().map(|key| Some(&key.value_type));
            if !types.eq(declared) {
                return Err(refused(layout, "the plan's keys are not those of the view"));
            }
            if view.features.iter().any(|&at| at >= layout.features.len()) {
                return Err(refused(
                    layout,
                    "the plan asks for a feature that is not there",
                ));
            }
        }
        Ok(Arc::new(LedgerReader {
            plan,
            views: Arc::clone(&self.views),
        }))
    }

    async fn write(
        &self,
        cx: &Context,
        view: &ViewLayout,
        mut rows: BatchStream,
    ) -> Result<WriteSummary> {
        cx.check()?;
        check_columns(view, &rows.schema, &view.write_schema())?;
        let mut batches = Vec::new();
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            check_nulls(view, &batch)?;
            batches.push(batch);
        }
        cx.check()?;
        let version = view.view_version();
        let mut views = lock(&self.views);
        let held = views
            .entry(version.clone())
            .or_insert_with(|| Rows::new(view));
        if held.n_keys() != view.join_keys.len() || held.n_ties() != view.tie_breakers.len() {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "view {}@{} is held with other columns",
                    view.view, view.version
                ),
            ));
        }
        let mut summary = WriteSummary::default();
        for batch in batches {
            summary.n_rows += batch.num_rows() as u64;
            summary.n_applied += held.write(&batch)?;
        }
        if summary.n_applied > 0 {
            file::save(&self.folder, &version, held)?;
        }
        if held.len() == 0 {
            views.remove(&version);
        }
        Ok(summary)
    }

    async fn delete(&self, cx: &Context, view: &ViewLayout, keys: RecordBatch) -> Result<()> {
        cx.check()?;
        check_columns(view, &keys.schema(), &view.key_schema())?;
        let version = view.view_version();
        let mut views = lock(&self.views);
        if let Some(rows) = views.get_mut(&version) {
            rows.delete(&keys)?;
            file::save(&self.folder, &version, rows)?;
            if rows.len() == 0 {
                views.remove(&version);
            }
        }
        Ok(())
    }

    async fn views(&self, cx: &Context) -> Result<Vec<ViewVersion>> {
        cx.check()?;
        let views = lock(&self.views);
        let mine = views.keys().filter(|view| view.project == cx.project());
        Ok(mine.cloned().collect())
    }

    async fn stats(&self, cx: &Context, view: &ViewVersion) -> Result<OnlineStats> {
        cx.check()?;
        let n_rows = lock(&self.views).get(view).map_or(0, Rows::len) as u64;
        Ok(OnlineStats {
            n_rows: Some(n_rows),
            n_bytes: None,
        })
    }

    async fn drop_view(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        cx.check()?;
        lock(&self.views).remove(view);
        file::remove(&self.folder, view)
    }
}

struct LedgerReader {
    plan: Arc<ReadPlan>,
    views: Arc<Mutex<Views>>,
}

#[async_trait]
impl OnlineReader for LedgerReader {
    async fn read(&self, cx: &Context, keys: &RecordBatch) -> Result<OnlineRows> {
        cx.check()?;
        let views = lock(&self.views);
        let answers = self.plan.views.iter().map(|view| {
            let version = view.layout.view_version();
            read(views.get(&version), view, keys)
        });
        Ok(OnlineRows {
            views: answers.collect::<Result<_>>()?,
        })
    }
}
