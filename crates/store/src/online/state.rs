//! What the registry knows about online data: which versions of views hold rows that can be served.
//!
//! A version is *filled* once a materialisation of it has finished or a push has reached it. Rows of a run
//! that was killed half way do not count, so that a service never moves to a version which is still
//! being filled. Pushes leave their mark as an interval beside the view's own, under a name that no
//! view can have; the checkpoint of a store that can lose rows is kept likewise.

use provender_core::provider::{Interval, OnlineStore, ViewVersion};
use provender_core::{Context, Result};

use crate::FeatureStore;

/// What a view's name is followed by where pushes leave their mark; no view's name holds a colon.
const PUSHED: &str = ":pushed";

impl FeatureStore {
    /// A version of a view of this project.
    pub(crate) fn view_version(&self, view: &str, version: u32) -> ViewVersion {
        ViewVersion {
            project: self.project().to_owned(),
            view: view.to_owned(),
            version,
        }
    }

    /// Whether a version was materialised or pushed to, and so has rows to serve.
    ///
    /// # Errors
    /// `Unavailable` (`P304`).
    pub(crate) async fn is_filled(&self, cx: &Context, view: &ViewVersion) -> Result<bool> {
        let materialised = self.registry().intervals(cx, view).await?;
        Ok(!materialised.is_empty() || self.is_pushed(cx, view).await?)
    }

    /// Whether rows were ever pushed to a version's online store.
    ///
    /// # Errors
    /// `Unavailable` (`P304`).
    pub(crate) async fn is_pushed(&self, cx: &Context, view: &ViewVersion) -> Result<bool> {
        let mark = self.registry().intervals(cx, &mark_of(view)).await?;
        Ok(!mark.is_empty())
    }

    /// Records that rows were pushed to a version's online store and are durable there. A mark that is
    /// there already is left alone, so that pushes do not write to the registry each time. With the first
    /// push of a version that was never materialised comes its first checkpoint, so that a store which is
    /// emptied is noticed though nothing is ever materialised.
    ///
    /// # Errors
    /// `Unavailable` (`P304`), and what the store says.
    pub(crate) async fn mark_pushed(
        &self,
        cx: &Context,
        online: &dyn OnlineStore,
        view: &ViewVersion,
    ) -> Result<()> {
        if self.is_pushed(cx, view).await? {
            return Ok(());
        }
        let checkpoint = self.kept_checkpoint(cx, online, view).await?;
        if checkpoint.is_none() {
            self.make_checkpoint(cx, online, view, None).await?;
        }
        let mark = Interval {
            start_us: None,
            end_us: 0,
        };
        self.registry()
            .record_interval(cx, &mark_of(view), mark)
            .await
    }

    /// Forgets that a version was ever materialised or pushed to.
    ///
    /// # Errors
    /// `Unavailable` (`P304`).
    pub(crate) async fn forget_online_state(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        self.registry().forget_intervals(cx, view).await?;
        self.forget_checkpoint(cx, view).await?;
        self.registry().forget_intervals(cx, &mark_of(view)).await
    }
}

fn mark_of(view: &ViewVersion) -> ViewVersion {
    ViewVersion {
        view: format!("{}{PUSHED}", view.view),
        ..view.clone()
    }
}
