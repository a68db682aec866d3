//! Applying a plan: one commit of the registry, or nothing; and then the online data of what is gone.

use provender_core::provider::{Author, Revision, ViewVersion};
use provender_core::{Catalog, Context, Error, Result, codes};
use serde::Serialize;

use crate::FeatureStore;
use crate::plan::Plan;
use crate::stores::Role;

/// What applying did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The registry's revision: the new one, or the plan's own if there was nothing to apply.
    pub revision: Revision,
    /// Versions of views whose online data were dropped, since nothing applied needs them any more.
    pub dropped: Vec<ViewVersion>,
    /// What could not be cleaned up, as sentences; the next apply tries again.
    pub warnings: Vec<String>,
}

impl FeatureStore {
    /// Applies a plan in one step. An empty plan commits nothing. Then, whether or not anything was
    /// committed, drops the online data of versions that are no longer applied, so that a clean-up
    /// which was interrupted is made up for; what fails there is a warning, since the commit stands.
    ///
    /// # Errors
    /// `Conflict` (`P301`) if the registry moved since the plan was made, with what was committed
    /// meanwhile; nothing of the plan is applied then. `InvalidArgument` (`P406`) for a plan of
    /// another project.
    pub async fn apply(&self, cx: &Context, plan: &Plan, author: &Author) -> Result<Applied> {
        self.check_context(cx)?;
        if plan.project != self.project() {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "the plan was made for project {:?}, and this is project {:?}",
                    plan.project,
                    self.project()
                ),
            )
            .help("plan again in this project"));
        }
        let mut applied = Applied {
            revision: plan.base,
            dropped: Vec::new(),
            warnings: Vec::new(),
        };
        if !plan.is_empty() {
            let before = self.catalog_at(cx, plan.base).await;
            applied.revision = self
                .registry()
                .commit(cx, plan.base, plan.changes(), author)
                .await?;
            self.forget(cx, plan, before, &mut applied).await;
        }
        if applied.revision > Revision(0) {
            self.clean_up(cx, &mut applied).await;
        }
        Ok(applied)
    }

    /// The definitions that a plan was made against; `None` if they cannot be read any more.
    async fn catalog_at(&self, cx: &Context, revision: Revision) -> Option<Catalog> {
        if revision == Revision(0) {
            return Some(Catalog::default());
        }
        let snapshot = self.registry().snapshot(cx, Some(revision)).await.ok()?;
        Catalog::from_snapshot(&snapshot).ok()
    }

    /// Forgets progress that no longer stands for anything: of versions that the plan deleted, and of
    /// those that it moved to another online store, which is filled from the beginning.
    async fn forget(
        &self,
        cx: &Context,
        plan: &Plan,
        before: Option<Catalog>,
        applied: &mut Applied,
    ) {
        let mut gone: Vec<ViewVersion> = plan.dropped().to_vec();
        match (self.catalog(cx).await, before) {
            (Ok(after), Some(before)) => gone.extend(self.moved(&before, &after)),
            (Err(error), _) => applied.warnings.push(format!(
                "which views moved to another online store is not known: {error}"
            )),
            (Ok(_), None) => {}
        }
        for view in gone {
            if let Err(error) = self.forget_online_state(cx, &view).await {
                applied.warnings.push(format!(
                    "progress of {}@{} was not forgotten: {error}",
                    view.view, view.version
                ));
            }
        }
    }

    /// Versions that stay and whose online store is another one now.
    fn moved(&self, before: &Catalog, after: &Catalog) -> Vec<ViewVersion> {
        let mut moved = Vec::new();
        for (name, versions) in &after.feature_views {
            for (&version, view) in versions {
                let old = before.feature_views.get(name);
                let Some(old) = old.and_then(|versions| versions.get(&version)) else {
                    continue;
                };
                let stores = (old.online_store.as_deref(), view.online_store.as_deref());
                if !self.is_same_online_store(stores.0, stores.1) {
                    moved.push(self.view_version(name, version));
                }
            }
        }
        moved
    }

    /// Whether two names mean one online store: the same name, or blocks that say the same.
    pub(crate) fn is_same_online_store(&self, a: Option<&str>, b: Option<&str>) -> bool {
        let block = |name| self.stores().block(Role::Online, name).ok();
        a == b
            || match (block(a), block(b)) {
                (Some(a), Some(b)) => a.scheme == b.scheme && a.options == b.options,
                _ => false,
            }
    }
}
