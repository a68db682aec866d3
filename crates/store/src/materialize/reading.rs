//! What the offline store is asked for an interval of a view, and who computes it.

use std::sync::Arc;

use provender_core::model::FeatureView;
use provender_core::provider::{Interval, OfflineStore, Resources};
use provender_core::request::{FeatureColumn, KeyColumn, LatestPerKey, WindowAggregate, WindowsAt};
use provender_core::{BatchStream, Context, Error, Result, codes};

use super::interval::{row_ranges, windows_at};
use crate::request::source::{Bound, BoundOutput};

/// One request to the offline store. Its columns have names that clash with no other: a source may
/// call a column as a view calls a feature.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// The newest row of each key.
    Latest(LatestPerKey),
    /// Windows as of the interval's end.
    Windows(WindowsAt),
}

/// The requests whose answers hold, together, the newest row of each key with rows in the interval;
/// `last_end_us` is the end that was recorded last.
///
/// # Errors
/// `Internal` for a view whose features were applied without types.
pub(super) fn asks(
    view: &FeatureView,
    bound: &Bound,
    interval: Interval,
    last_end_us: Option<i64>,
) -> Result<Vec<Ask>> {
    let declared = view.join_keys();
    let keys: Vec<KeyColumn> = bound
        .keys
        .iter()
        .zip(declared)
        .enumerate()
        .map(|(at, (column, key))| KeyColumn {
            spine: format!("__key_{at}"),
            column: column.clone(),
            value_type: key.value_type.clone(),
        })
        .collect();
    let outputs = view.outputs();
    let mut features = Vec::new();
    let mut aggregations = Vec::new();
    for (at, bound) in bound.outputs.iter().enumerate() {
        let output = format!("__feature_{at}");
        match bound {
            BoundOutput::Column { column, checked } => features.push(FeatureColumn {
                column: column.clone(),
                output,
                value_type: outputs
                    .get(at)
                    .and_then(|(_, value_type)| value_type.cloned())
                    .ok_or_else(without_type)?,
                checked: *checked,
            }),
            BoundOutput::Window { column, value_type } => {
                let aggregation = at
                    .checked_sub(view.features.len())
                    .and_then(|at| view.aggregations.get(at))
                    .ok_or_else(without_type)?;
                aggregations.push(WindowAggregate {
                    function: aggregation.function,
                    column: column.clone(),
                    window_us: aggregation.window_us,
                    output,
                    value_type: value_type.clone(),
                });
            }
        }
    }
    if !aggregations.is_empty() {
        let (at_us, active_after_us) = windows_at(view, interval, last_end_us);
        return Ok(vec![Ask::Windows(WindowsAt {
            source: bound.source.clone(),
            keys,
            aggregations,
            at_us,
            active_after_us,
        })]);
    }
    let lists = row_ranges(view, &bound.source, interval);
    let latest = lists.into_iter().map(|ranges| {
        Ask::Latest(LatestPerKey {
            source: bound.source.clone(),
            keys: keys.clone(),
            features: features.clone(),
            ranges,
        })
    });
    Ok(latest.collect())
}

fn without_type() -> Error {
    Error::new(&codes::INTERNAL, "a feature has no declared type")
}

impl Ask {
    /// Whether the store computes the answer itself.
    pub(super) fn is_pushed_down(&self, store: &dyn OfflineStore) -> bool {
        match self {
            Self::Latest(_) => store.capabilities().latest,
            Self::Windows(_) => store.capabilities().windows,
        }
    }

    /// The answer, from the store itself if it can, else from the engine over the store.
    ///
    /// # Errors
    /// What the store says; `P501` and `P502` for values that do not fit.
    pub(super) async fn answer(
        &self,
        cx: &Context,
        resources: &Resources,
        store: Arc<dyn OfflineStore>,
    ) -> Result<BatchStream> {
        let is_pushed_down = self.is_pushed_down(store.as_ref());
        match self.clone() {
            Self::Latest(latest) if is_pushed_down => store.latest(cx, latest).await,
            Self::Windows(windows) if is_pushed_down => store.windows(cx, windows).await,
            Self::Latest(latest) => provender_engine::latest(cx, resources, store, latest).await,
            Self::Windows(windows) => {
                provender_engine::windows(cx, resources, store, windows).await
            }
        }
    }
}
