//! Applying a plan: one commit of the registry, or nothing.

use provender_core::provider::{Author, Revision};
use provender_core::{Context, Error, Result, codes};

use crate::FeatureStore;
use crate::plan::Plan;

impl FeatureStore {
    /// Applies a plan in one step and answers the new revision; an empty plan commits nothing and
    /// answers the plan's own.
    ///
    /// # Errors
    /// `Conflict` (`P301`) if the registry moved since the plan was made, with what was committed
    /// meanwhile; nothing of the plan is applied then. `InvalidArgument` (`P406`) for a plan of
    /// another project.
    pub async fn apply(&self, cx: &Context, plan: &Plan, author: &Author) -> Result<Revision> {
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
        if plan.is_empty() {
            return Ok(plan.base);
        }
        let revision = self
            .registry()
            .commit(cx, plan.base, plan.changes(), author)
            .await?;
        for view in plan.dropped() {
            // The commit stands whatever happens here, and versions are never used again, so
            // intervals that could not be forgotten mislead nobody.
            if let Err(error) = self.registry().forget_intervals(cx, view).await {
                tracing::warn!(view = view.view, version = view.version, %error, "intervals of a deleted view were not forgotten");
            }
        }
        Ok(revision)
    }
}
