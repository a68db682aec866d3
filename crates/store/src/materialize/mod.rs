//! Materialisation: each key's newest row of an interval of time, from the offline to the online store.
//!
//! Decides that views run side by side and do not stop each other, that two runs of one view exclude
//! each other, and that progress is recorded only once the rows are durable online. Who computes
//! the newest rows (the store, or the engine over it) and how they are kept is not known here.

mod holder;
mod interval;
pub(crate) mod lease;
mod progress;
mod reading;
mod rows;
mod run;
mod views;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use provender_core::provider::{Interval, Resources, ViewVersion};
use provender_core::request::WriteSummary;
use provender_core::time::now_us;
use provender_core::{Context, Error, Result, codes};
use tokio::task::{Id, JoinSet};
pub(crate) use views::chosen;

use crate::FeatureStore;
use progress::Reporter;
use run::ViewRun;

/// More views at once would share the memory limit in portions that are too small.
const MAX_AT_ONCE: usize = 4;

/// A materialisation to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Materialize {
    /// The views, as `view` (its newest version) or `view@2`. `None` is the newest version of every
    /// view that is online, and older versions that the newest version of a service holds.
    pub views: Option<Vec<String>>,
    /// Which rows.
    pub range: MaterializeRange,
}

/// The interval of time whose rows are materialised, in microseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaterializeRange {
    /// (start, end], whether it was done before or not. The end may lie in the future.
    Explicit {
        /// The start, excluded.
        start_us: i64,
        /// The end, included.
        end_us: i64,
    },
    /// From the greatest end that a run of the view version has recorded; the first run starts at
    /// the beginning of time. Where the online store has lost rows that it acknowledged, everything that
    /// was recorded is materialised again.
    Incremental {
        /// The end, included; `None` is now.
        end_us: Option<i64>,
    },
}

/// How far a materialisation is. Reports of one view come in order; reports of several views interleave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Rows are read from the source.
    Reading {
        /// The view.
        view: ViewVersion,
        /// Rows of the source so far, a row that is read twice counted twice; rows of the answer
        /// where the offline store itself finds the newest rows.
        n_rows: u64,
    },
    /// Rows are written to the online store.
    Writing {
        /// The view.
        view: ViewVersion,
        /// Rows so far.
        n_rows: u64,
        /// All rows that will be written.
        n_total: u64,
    },
    /// The view is done, or there was nothing to do.
    Done(MaterializedView),
}

/// Is told of progress, about ten times a second for each view, from any thread. Must not block.
pub type ProgressFn = Arc<dyn Fn(Progress) + Send + Sync>;

/// What was done for one view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaterializedView {
    /// The view's version.
    pub view: ViewVersion,
    /// The interval whose rows are online now; of a skipped view, the one that was recorded last.
    pub interval: Interval,
    /// What was written: one row for each key with a row in the interval, twice for some late ones.
    pub summary: WriteSummary,
    /// How long it took.
    pub elapsed: Duration,
    /// Why nothing was to do; `None` if the interval was materialised.
    pub skipped: Option<String>,
    /// What the online store had lost of the rows that it acknowledged, and what was done about it, as a
    /// sentence; `None` if it had lost nothing.
    pub lost: Option<String>,
}

impl FeatureStore {
    /// Writes the newest row of each key with rows in an interval to the online store, for each view;
    /// for views of windows the windows as of the interval's end. Answers one entry for each view, in
    /// the order of the request, else of names and versions.
    ///
    /// A run may be killed at any moment and a range repeated at will: the online store keeps the
    /// newest row of each key whatever the order of writes. What is recorded ends at the present at
    /// the latest, so that a later incremental run finds rows that come after this one.
    ///
    /// A store that can lose rows which it acknowledged is asked whether it did. If so, an incremental run
    /// fills the view again, from where the first recorded run began; an explicit range writes that range
    /// alone unless it covers what was recorded, and leaves the rest to the next incremental run.
    ///
    /// # Errors
    /// `P401` for unknown views, `P601` for views with `online: false`, `P406` for a start that is not
    /// before the end, `P306` if nothing is applied. A view that fails lets the others end; then the first
    /// failure is answered, with the view as context: `P305` if another run of it is in progress,
    /// `P120` to `P124` for a source that has changed, `P802` for a provider that breaks its contract,
    /// and what the stores say.
    pub async fn materialize(
        &self,
        cx: &Context,
        request: &Materialize,
        on_progress: ProgressFn,
    ) -> Result<Vec<MaterializedView>> {
        // Taken before anything is read: what comes later belongs to the next run.
        let now_us = now_us();
        request.range.check()?;
        let catalog = self.applied_catalog(cx).await?;
        let views = chosen(&catalog, request.views.as_deref())?;
        let resources = self.resources(cx);
        let n_at_once = resources.n_threads.clamp(1, MAX_AT_ONCE).min(views.len());
        let resources = Resources {
            memory_limit_bytes: resources.memory_limit_bytes / n_at_once.max(1) as u64,
            ..resources
        };
        let runs = views.into_iter().map(|(version, view)| {
            let version = self.view_version(&view.name, version);
            ViewRun {
                store: self.clone(),
                cx: cx.clone(),
                reporter: Arc::new(Reporter::new(version.clone(), on_progress.clone())),
                version,
                view,
                range: request.range,
                now_us,
                resources: resources.clone(),
            }
        });
        summed_up(side_by_side(runs.collect(), n_at_once).await)
    }
}

type Outcome = (ViewVersion, Result<MaterializedView>);

/// Does runs, so many at once, each as a task of its own; dropping the future aborts them.
async fn side_by_side(runs: Vec<ViewRun>, n_at_once: usize) -> Vec<Outcome> {
    let names: Vec<ViewVersion> = runs.iter().map(|run| run.version.clone()).collect();
    let mut waiting = runs.into_iter().enumerate();
    let mut running: JoinSet<Result<MaterializedView>> = JoinSet::new();
    let mut indices: HashMap<Id, usize> = HashMap::new();
    let mut done: Vec<Option<Result<MaterializedView>>> = names.iter().map(|_| None).collect();
    loop {
        while running.len() < n_at_once
            && let Some((index, run)) = waiting.next()
        {
            let id = running.spawn(run.run()).id();
            indices.insert(id, index);
        }
        let (id, outcome) = match running.join_next_with_id().await {
            None => break,
            Some(Ok((id, outcome))) => (id, outcome),
            Some(Err(error)) => {
                let id = error.id();
                let lost = Error::new(&codes::INTERNAL, "the run broke off").source(error);
                (id, Err(lost))
            }
        };
        if let Some(index) = indices.remove(&id) {
            done[index] = Some(outcome);
        }
    }
    let broken = || Err(Error::new(&codes::INTERNAL, "the run never ended"));
    names
        .into_iter()
        .zip(done)
        .map(|(name, outcome)| (name, outcome.unwrap_or_else(broken)))
        .collect()
}

/// All entries, or the first failure, which then says how the other views fared.
fn summed_up(outcomes: Vec<Outcome>) -> Result<Vec<MaterializedView>> {
    let named = |is_done: bool| -> Vec<String> {
        let meant = outcomes
            .iter()
            .filter(|(_, outcome)| outcome.is_ok() == is_done);
        meant.map(|(view, _)| name_of(view)).collect()
    };
    let (done, failed) = (named(true), named(false));
    let mut materialised = Vec::new();
    for (view, outcome) in outcomes {
        match outcome {
            Ok(one) => materialised.push(one),
            Err(error) => {
                let mut others = Vec::new();
                if !done.is_empty() {
                    others.push(format!("done: {}", done.join(", ")));
                }
                if let Some(more) = failed.get(1..).filter(|more| !more.is_empty()) {
                    others.push(format!("failed too: {}", more.join(", ")));
                }
                let others = if others.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", others.join("; "))
                };
                let name = name_of(&view);
                return Err(error
                    .prefixed(format!("{name} was not materialised{others}: "))
                    .context("view", name));
            }
        }
    }
    Ok(materialised)
}

fn name_of(view: &ViewVersion) -> String {
    format!("{}@{}", view.view, view.version)
}
