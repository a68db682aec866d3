//! Whether an online store still holds what it acknowledged.
//!
//! Some stores can lose rows that they acknowledged: with a failover, a restart, a flush. Such a store hands
//! out checkpoints and tells later whether what came before one is still there. Decides where the last
//! checkpoint of a version is kept - in the registry, since whatever loses the rows must not lose it as well -
//! and when a version counts as lost. What is done about a loss is decided by materialisation, and what a
//! checkpoint is made of by the store.

use std::sync::Arc;

use provender_core::model::FeatureView;
use provender_core::provider::{Interval, OnlineStore, ViewVersion};
use provender_core::{Context, Error, Result, codes};

use crate::FeatureStore;

/// What a view's name is followed by where its checkpoint is kept; no view's name holds a colon.
const CHECKPOINT: &str = ":checkpoint";

/// The last checkpoint of a view's version, and whether its rows are still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The number; `None` if none was kept, and of a store that makes none.
    pub(crate) number: Option<i64>,
    /// Whether rows that were acknowledged before it are missing.
    pub(crate) is_lost: bool,
}

/// A loss, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The store.
    place: String,
    /// Whether rows were pushed to the version, which no materialisation brings back by itself.
    was_pushed_to: bool,
}

impl FeatureStore {
    /// What the registry keeps and the online store says about it.
    ///
    /// # Errors
    /// `Unavailable` of the registry and of the store.
    pub(crate) async fn checkpoint(
        &self,
        cx: &Context,
        online: &dyn OnlineStore,
        view: &ViewVersion,
    ) -> Result<Checkpoint> {
        let number = self.kept_checkpoint(cx, online, view).await?;
        let is_lost = match number {
            Some(number) => !online.holds(cx, view, number).await?,
            None => false,
        };
        Ok(Checkpoint { number, is_lost })
    }

    /// The last checkpoint of a version, whether or not it still stands for anything.
    ///
    /// # Errors
    /// `Unavailable` of the registry.
    pub(crate) async fn kept_checkpoint(
        &self,
        cx: &Context,
        online: &dyn OnlineStore,
        view: &ViewVersion,
    ) -> Result<Option<i64>> {
        if !online.capabilities().checkpoints {
            return Ok(None);
        }
        let kept = self.registry().intervals(cx, &mark_of(view)).await?;
        Ok(kept.last().map(|kept| kept.end_us))
    }

    /// Has the store mark what it acknowledged, and keeps the number. `since` is the checkpoint whose rows the
    /// version still builds on; `None` says that it was filled from the beginning.
    ///
    /// # Errors
    /// `DataLoss` (`P612`) if what `since` stands for is gone; `Unavailable`.
    pub(crate) async fn make_checkpoint(
        &self,
        cx: &Context,
        online: &dyn OnlineStore,
        view: &ViewVersion,
        since: Option<i64>,
    ) -> Result<()> {
        if !online.capabilities().checkpoints {
            return Ok(());
        }
        let Some(number) = online.checkpoint(cx, view, since).await? else {
            return Ok(());
        };
        let mark = mark_of(view);
        // Intervals are merged, so the greatest number is what is kept. One that is not greater comes of a clock
        // that was set back, and replaces what was kept before.
        let kept = self.registry().intervals(cx, &mark).await?;
        if kept.last().is_some_and(|kept| kept.end_us > number) {
            self.registry().forget_intervals(cx, &mark).await?;
        }
        let kept = Interval {
            start_us: None,
            end_us: number,
        };
        self.registry().record_interval(cx, &mark, kept).await
    }

    /// Forgets the checkpoint of a version, as when its rows were dropped.
    ///
    /// # Errors
    /// `Unavailable` of the registry.
    pub(crate) async fn forget_checkpoint(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        self.registry().forget_intervals(cx, &mark_of(view)).await
    }

    /// What the online store of a view lost of a version, if it did.
    ///
    /// # Errors
    /// `Unavailable` of the registry and of the store.
    pub(crate) async fn loss(
        &self,
        cx: &Context,
        view: &FeatureView,
        version: &ViewVersion,
    ) -> Result<Option<Loss>> {
        let name = view.online_store.as_deref();
        let online: Arc<dyn OnlineStore> = self.stores().online(cx, name).await?;
        let checkpoint = self.checkpoint(cx, online.as_ref(), version).await?;
        if !checkpoint.is_lost {
            return Ok(None);
        }
        Ok(Some(self.loss_of(cx, online.as_ref(), version).await?))
    }

    /// A loss that is known to be one.
    ///
    /// # Errors
    /// `Unavailable` of the registry.
    pub(crate) async fn loss_of(
        &self,
        cx: &Context,
        online: &dyn OnlineStore,
        version: &ViewVersion,
    ) -> Result<Loss> {
        Ok(Loss {
            place: online.info().display_name,
            was_pushed_to: self.is_pushed(cx, version).await?,
        })
    }
}

impl Loss {
    /// `rows that had been acknowledged were lost (online rows in Redis at ...)`.
    pub(crate) fn what(&self) -> String {
        format!("rows that had been acknowledged were lost ({})", self.place)
    }

    /// What happens to pushed rows; nothing where there were none.
    pub(crate) fn of_pushes(&self) -> &'static str {
        match self.was_pushed_to {
            true => {
                "; rows that were pushed and are not in the offline store as well have to be pushed again"
            }
            false => "",
        }
    }

    /// As a note beside other things about the view.
    pub(crate) fn note(&self) -> String {
        format!(
            "{}; `provender materialize-incremental` fills the view again{}",
            self.what(),
            self.of_pushes()
        )
    }

    /// As a failure.
    pub(crate) fn error(&self, view: &ViewVersion) -> Error {
        let name = format!("{}@{}", view.view, view.version);
        Error::new(
            &codes::ONLINE_LOST,
            format!("{name}: {}", self.what()),
        )
        .help(format!(
            "run `provender materialize-incremental`, which fills the view again from the beginning{}",
            self.of_pushes()
        ))
        .context("view", name)
    }
}

fn mark_of(view: &ViewVersion) -> ViewVersion {
    ViewVersion {
        view: format!("{}{CHECKPOINT}", view.view),
        ..view.clone()
    }
}
