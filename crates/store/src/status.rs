//! What is online: per view version the interval materialised last, its age, and the rows held.
//!
//! Intervals and pushes are the registry's to know, rows the online store's. A store that does not
//! answer is a note, since the status is asked for most when something is wrong.

use std::collections::HashMap;
use std::time::Duration;

use provender_core::model::FeatureView;
use provender_core::provider::{Interval, ViewVersion};
use provender_core::request::OnlineStats;
use provender_core::time::now_us;
use provender_core::{Context, Result};
use serde::Serialize;

use crate::FeatureStore;
use crate::checkpoints::Loss;

/// How long an online store may take to say how much it holds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How one version of a view is online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ViewStatus {
    /// The version.
    pub view: ViewVersion,
    /// Whether the view is materialised; `online: false` says no.
    pub online: bool,
    /// The recorded interval with the greatest end; `None` if the version was never materialised.
    pub last_interval: Option<Interval>,
    /// How many intervals are recorded; adjacent ones are one.
    pub n_intervals: usize,
    /// Microseconds from the last interval's end to now; less than 0 if the end lies ahead.
    pub freshness_us: Option<i64>,
    /// Whether rows were pushed to the version online.
    pub pushed: bool,
    /// Rows held online, expired ones included; `None` if counting is not cheap or the store does not answer.
    pub n_rows: Option<u64>,
    /// Bytes that they take; `None` if not known.
    pub n_bytes: Option<u64>,
    /// Whether the online store has lost rows that it had acknowledged.
    pub lost: bool,
    /// Why rows are not known, if the online store does not answer; or what it lost and what to do.
    pub note: Option<String>,
}

impl FeatureStore {
    /// How each view is online: the newest version of every view, and older versions that were
    /// materialised or pushed to; by name and version.
    ///
    /// # Errors
    /// `Unavailable` (`P304`) and `FailedPrecondition` (`P306`). An online store that does not answer is
    /// a note of its views.
    pub async fn status(&self, cx: &Context) -> Result<Vec<ViewStatus>> {
        let catalog = self.applied_catalog(cx).await?;
        let now_us = now_us();
        let mut all = Vec::new();
        // A store that is away is asked once, since each try may take long.
        let mut away: HashMap<Option<String>, String> = HashMap::new();
        for (name, versions) in &catalog.feature_views {
            let Some((&newest, defined)) = versions.last_key_value() else {
                continue;
            };
            for (&version, view) in versions {
                cx.check()?;
                let of = self.view_version(name, version);
                let intervals = self.registry().intervals(cx, &of).await?;
                let pushed = self.is_pushed(cx, &of).await?;
                let is_filled = pushed || !intervals.is_empty();
                if version != newest && !is_filled {
                    continue;
                }
                let last_interval = intervals.last().copied();
                let mut status = ViewStatus {
                    view: of,
                    online: defined.online,
                    last_interval,
                    n_intervals: intervals.len(),
                    freshness_us: last_interval.map(|last| now_us.saturating_sub(last.end_us)),
                    pushed,
                    n_rows: None,
                    n_bytes: None,
                    lost: false,
                    note: None,
                };
                if is_filled || defined.online {
                    match away.get(&view.online_store) {
                        Some(note) => status.note = Some(note.clone()),
                        None => match self.held(cx, view, &status.view).await {
                            Ok((stats, loss)) => {
                                status.n_rows = stats.n_rows;
                                status.n_bytes = stats.n_bytes;
                                status.lost = loss.is_some();
                                status.note = loss.map(|loss| loss.note());
                            }
                            Err(error) => {
                                let note = error.to_string();
                                away.insert(view.online_store.clone(), note.clone());
                                status.note = Some(note);
                            }
                        },
                    }
                }
                all.push(status);
            }
        }
        Ok(all)
    }

    async fn held(
        &self,
        cx: &Context,
        view: &FeatureView,
        version: &ViewVersion,
    ) -> Result<(OnlineStats, Option<Loss>)> {
        // One that hangs must not keep what is known of the others from being told.
        let cx = &cx.clone().with_timeout(PATIENCE);
        let name = view.online_store.as_deref();
        let online = self.stores().online(cx, name).await?;
        let stats = online.stats(cx, version).await?;
        Ok((stats, self.loss(cx, view, version).await?))
    }
}
