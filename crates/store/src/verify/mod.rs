//! Whether the online store holds what point-in-time gives. Reads, and changes nothing.
//!
//! Decides at which instant (the greatest end that was materialised) and for which keys the two are
//! compared, and what counts as a difference. Everything goes through in batches, so that memory does
//! not follow the number of keys.

mod compare;
mod keys;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};
pub use compare::Difference;
use compare::{Comparison, Expected, Verdict, event_times};
use futures::StreamExt;
use provender_core::model::FeatureView;
use provender_core::provider::{
    Interval, OfflineStore, OnlineReader, OnlineStore, Resources, ViewVersion,
};
use provender_core::request::{
    FeatureColumn, KeyColumn, PointInTimeJoin, ReadPlan, SourceRef, Spine, ViewJoin, ViewLayout,
    ViewRead, WindowAggregate,
};
use provender_core::time::{format_instant, now_us};
use provender_core::{BatchStream, Context, Error, Result, ValueType, codes};
use provender_engine::zip::zip;
use serde::Serialize;

use crate::FeatureStore;
use crate::cells::key_text;
use crate::historical::checked;
use crate::materialize::chosen;
use crate::plan::source_schema;
use crate::request::source::{Bound, BoundOutput, bind};
use crate::spine::defect;
use crate::training::first_problem;
use keys::{Drawing, Keys};

/// Rows that are read and compared at once.
const BATCH_ROWS: usize = 4_096;
/// The event time of the winning row, among the features of the join.
const EVENT_TIME: &str = "event";

/// What to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// The views, as `view` (its newest version) or `view@2`. `None` is what a materialisation
    /// without names takes: the newest version of every view that is online, and older versions that
    /// the newest version of a service holds.
    pub views: Option<Vec<String>>,
    /// How many keys of each view, drawn at random; `None` is every key.
    pub sample: Option<usize>,
    /// What the sample is drawn by: the same over the same keys draws the same.
    pub seed: u64,
    /// How many differences of each view are told in full.
    pub max_shown: usize,
}

/// How a view's version compares.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifiedView {
    /// The version.
    pub view: ViewVersion,
    /// The instant compared at: the greatest end materialised. `None` if there is none, and then
    /// nothing was compared.
    pub end_us: Option<i64>,
    /// Distinct keys compared. Each is in one of the four counts below.
    pub n_keys: u64,
    /// Keys whose online row is the row that point-in-time gives.
    pub n_agree: u64,
    /// Keys whose online row is newer, as pushes and later runs make it.
    pub n_newer: u64,
    /// Keys that are not held online, and whose row has expired.
    pub n_expired: u64,
    /// Keys whose online row is missing, older, unreadable, or has other values.
    pub n_differ: u64,
    /// The first differences, one for each feature that differs.
    pub first: Vec<Difference>,
    /// What else there is to know.
    pub note: Option<String>,
}

impl VerifiedView {
    /// The share of keys that agree, from 0 to 1, among those that agree or differ; 1 if there are none.
    pub fn share(&self) -> f64 {
        let n_compared = self.n_agree + self.n_differ;
        if n_compared == 0 {
            return 1.0;
        }
        self.n_agree as f64 / n_compared as f64
    }

    fn add_note(&mut self, more: String) {
        self.note = Some(match self.note.take() {
            Some(note) => format!("{note}; {more}"),
            None => more,
        });
    }
}

impl FeatureStore {
    /// Compares, for each view that was materialised, the rows held online with those that
    /// point-in-time gives at the greatest end materialised, the ttl left out. One entry for each
    /// view, in the order asked for.
    ///
    /// # Errors
    /// `P401`, `P406` and `P601` for the views, `P306` if nothing is applied, `P120` to `P124` for
    /// sources that have changed, and what the stores say. A difference is no error.
    pub async fn verify(&self, cx: &Context, verify: &Verify) -> Result<Vec<VerifiedView>> {
        let catalog = self.applied_catalog(cx).await?;
        let mut verified = Vec::new();
        for (version, view) in chosen(&catalog, verify.views.as_deref())? {
            cx.check()?;
            let name = view.name.clone();
            let one = self.verify_view(cx, verify, version, &view).await;
            verified.push(one.map_err(|error| error.context("view", name))?);
        }
        Ok(verified)
    }

    async fn verify_view(
        &self,
        cx: &Context,
        verify: &Verify,
        version: u32,
        view: &Arc<FeatureView>,
    ) -> Result<VerifiedView> {
        let at = self.view_version(&view.name, version);
        let mut verified = VerifiedView {
            view: at.clone(),
            end_us: None,
            n_keys: 0,
            n_agree: 0,
            n_newer: 0,
            n_expired: 0,
            n_differ: 0,
            first: Vec::new(),
            note: None,
        };
        let intervals = self.registry().intervals(cx, &at).await?;
        let loss = self.loss(cx, view, &at).await?;
        let Some(end_us) = intervals.iter().map(|interval| interval.end_us).max() else {
            verified.note = Some(match self.is_pushed(cx, &at).await? {
                true => {
                    "never materialised, only pushed to: there is no end to compare at".to_owned()
                }
                false => "never materialised".to_owned(),
            });
            if let Some(loss) = loss {
                verified.add_note(loss.note());
            }
            return Ok(verified);
        };
        verified.end_us = Some(end_us);
        verified.note = gaps(&intervals);
        if let Some(loss) = loss {
            verified.add_note(loss.note());
        }

        let resources = self.resources(cx);
        let work = Work::prepare(self, cx, version, view, resources).await?;
        let drawing = Drawing {
            store: &work.offline,
            resources: &work.resources,
            bound: &work.bound,
            keys: &work.keys,
            at_us: end_us,
        };
        let keys = match verify.sample {
            None => drawing.all(cx).await?,
            Some(n) => drawing.sample(cx, n, verify.seed).await?,
        };
        verified.n_keys = keys.n_rows();
        if verify.sample.is_none() {
            let held = work.online.stats(cx, &at).await?.n_rows;
            if let Some(n_held) = held.filter(|held| *held > verified.n_keys) {
                let surplus = format!(
                    "{n_held} rows are held online, and the source has {} keys up to then",
                    verified.n_keys
                );
                verified.add_note(surplus);
            }
        }
        if verified.n_keys > 0 {
            let comparison = Comparison::new(view, end_us, now_us());
            work.compare(cx, &keys, &comparison, verify.max_shown, &mut verified)
                .await?;
        }
        Ok(verified)
    }
}

/// Rows that no run has written, which then differ for a reason.
fn gaps(intervals: &[Interval]) -> Option<String> {
    match intervals {
        [Interval { start_us: None, .. }] => None,
        _ => {
            let shown: Vec<String> = intervals
                .iter()
                .map(|interval| {
                    let start = interval
                        .start_us
                        .map_or_else(|| "the beginning".to_owned(), format_instant);
                    format!("({start}, {}]", format_instant(interval.end_us))
                })
                .collect();
            Some(format!(
                "only {} was materialised; rows outside are not online",
                shown.join(" and ")
            ))
        }
    }
}

/// A view whose stores are open and whose columns are found.
struct Work {
    view: Arc<FeatureView>,
    resources: Resources,
    bound: Bound,
    /// The join keys, as the spine calls them: `k0`, `k1`, ...
    keys: Vec<KeyColumn>,
    offline: Arc<dyn OfflineStore>,
    online: Arc<dyn OnlineStore>,
    reader: Arc<dyn OnlineReader>,
    /// The columns of a read: the join keys.
    key_schema: Arc<Schema>,
    join: ViewJoin,
    /// What the join answers.
    fields: Vec<Field>,
}

impl Work {
    async fn prepare(
        store: &FeatureStore,
        cx: &Context,
        version: u32,
        view: &Arc<FeatureView>,
        resources: Resources,
    ) -> Result<Self> {
        let source = SourceRef::from(&view.source);
        let name = view.source.store.as_deref();
        let schema = source_schema(store, cx, name, &source).await?;
        let wanted: Vec<usize> = (0..view.outputs().len()).collect();
        let bound = bind(view, &schema, &wanted).map_err(first_problem)?;
        let declared = view.join_keys();
        let keys: Vec<KeyColumn> = bound
            .keys
            .iter()
            .zip(&declared)
            .enumerate()
            .map(|(at, (column, key))| KeyColumn {
                spine: format!("k{at}"),
                column: column.clone(),
                value_type: key.value_type.clone(),
            })
            .collect();
        let join = view_join(view, &bound, &keys)?;
        let features = join.features.iter();
        let windows = join.aggregations.iter();
        let fields: Vec<Field> = features
            .map(|feature| feature.value_type.to_field(&feature.output))
            .chain(windows.map(|window| window.value_type.to_field(&window.output)))
            .collect();

        let online = store
            .stores()
            .online(cx, view.online_store.as_deref())
            .await?;
        let layout = Arc::new(ViewLayout::of(store.project(), version, view)?);
        let key_schema = Arc::new(layout.key_schema());
        let plan = ReadPlan {
            keys: declared.into_iter().cloned().collect(),
            views: vec![ViewRead {
                key_columns: (0..layout.join_keys.len()).collect(),
                features: (0..layout.features.len()).collect(),
                layout,
            }],
        };
        let reader = online.prepare(cx, Arc::new(plan)).await?;
        Ok(Self {
            view: view.clone(),
            resources,
            bound,
            keys,
            offline: store.stores().offline(cx, name).await?,
            online,
            reader,
            key_schema,
            join,
            fields,
        })
    }

    async fn compare(
        &self,
        cx: &Context,
        keys: &Keys,
        comparison: &Comparison,
        max_shown: usize,
        verified: &mut VerifiedView,
    ) -> Result<()> {
        let answer = self.point_in_time(cx, keys).await?;
        let mut fields = keys.rows().schema().fields().to_vec();
        fields.extend(self.fields.iter().cloned().map(Arc::new));
        let mut rows = zip(
            Arc::new(Schema::new(fields)),
            vec![keys.rows().stream(), answer],
        );
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            for start in (0..batch.num_rows()).step_by(BATCH_ROWS) {
                cx.check()?;
                let part = batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start));
                self.compare_batch(cx, &part, comparison, max_shown, verified)
                    .await?;
            }
        }
        Ok(())
    }

    async fn point_in_time(&self, cx: &Context, keys: &Keys) -> Result<BatchStream> {
        let join = PointInTimeJoin {
            views: vec![self.join.clone()],
            as_known: false,
        };
        let capabilities = self.offline.capabilities();
        let is_pushed_down = capabilities.point_in_time_join
            && (capabilities.point_in_time_windows || self.join.aggregations.is_empty());
        let answer = if is_pushed_down {
            let spine = Spine::Rows(keys.spine());
            self.offline.point_in_time_join(cx, join, spine).await?
        } else {
            let store = self.offline.clone();
            let spine = keys.spine();
            provender_engine::point_in_time_join(cx, &self.resources, store, join, spine).await?
        };
        checked(
            answer,
            &self.fields,
            Some(keys.n_rows()),
            self.offline.info(),
        )
    }

    /// Compares rows of keys, instant, row number and the join's answer.
    async fn compare_batch(
        &self,
        cx: &Context,
        batch: &RecordBatch,
        comparison: &Comparison,
        max_shown: usize,
        verified: &mut VerifiedView,
    ) -> Result<()> {
        let n_rows = batch.num_rows();
        let columns = batch.columns();
        let (keys, rest) = columns.split_at(self.keys.len());
        let answered = rest.get(2..).unwrap_or_default();
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        let asked =
            RecordBatch::try_new_with_options(self.key_schema.clone(), keys.to_vec(), &options)
                .map_err(|error| defect("keys do not fit the view's layout", error))?;
        let held = self.reader.read(cx, &asked).await?.views.pop();
        let held = held.filter(|held| {
            held.event_times.len() == n_rows
                && held.features.len() == self.view.outputs().len()
                && held.features.iter().all(|values| values.len() == n_rows)
        });
        let Some(held) = held else {
            return Err(Error::new(
                &codes::PROVIDER_CONTRACT,
                format!(
                    "{} was asked for {n_rows} rows of view {:?} and answered other rows",
                    self.online.info().display_name,
                    self.view.name
                ),
            ));
        };
        let expected = match self.view.aggregations.is_empty() {
            true => Expected {
                event_times: answered.last().and_then(event_times),
                features: answered[..answered.len().saturating_sub(1)].to_vec(),
            },
            false => Expected {
                event_times: None,
                features: answered.to_vec(),
            },
        };
        for row in 0..n_rows {
            let unreadable = held.unreadable.iter().find(|(at, _)| *at == row);
            let unreadable = unreadable.map(|(_, reason)| reason.as_str());
            match comparison.row(&held, &expected, row, unreadable) {
                Verdict::Agrees => verified.n_agree += 1,
                Verdict::Newer => verified.n_newer += 1,
                Verdict::Expired => verified.n_expired += 1,
                Verdict::Differs(differing) => {
                    verified.n_differ += 1;
                    for (feature, online, offline) in differing {
                        if verified.first.len() < max_shown {
                            verified.first.push(Difference {
                                key: self.key(keys, row),
                                feature,
                                online,
                                offline,
                            });
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn key(&self, keys: &[ArrayRef], row: usize) -> String {
        let declared = self.view.join_keys();
        key_text(declared.iter().map(|key| key.name.as_str()).zip(keys), row)
    }
}

/// What the offline store is asked: the view without its ttl, and the event time of the winning row.
fn view_join(view: &FeatureView, bound: &Bound, keys: &[KeyColumn]) -> Result<ViewJoin> {
    let mut features = Vec::new();
    let mut aggregations = Vec::new();
    for (at, output) in bound.outputs.iter().enumerate() {
        match output {
            BoundOutput::Column { column, checked } => features.push(FeatureColumn {
                column: column.clone(),
                output: format!("f{at}"),
                value_type: view.features[at].value_type.clone(),
                checked: *checked,
            }),
            BoundOutput::Window { column, value_type } => {
                let aggregation = &view.aggregations[at - view.features.len()];
                aggregations.push(WindowAggregate {
                    function: aggregation.function,
                    column: column.clone(),
                    window_us: aggregation.window_us,
                    output: format!("f{at}"),
                    value_type: value_type.clone(),
                });
            }
        }
    }
    if !features.is_empty() && !aggregations.is_empty() {
        return Err(Error::new(
            &codes::REGISTRY_DAMAGED,
            format!("view {:?} has both features and aggregations", view.name),
        ));
    }
    if aggregations.is_empty() {
        features.push(FeatureColumn {
            column: bound.source.timestamp.clone(),
            output: EVENT_TIME.to_owned(),
            value_type: ValueType::Timestamp,
            checked: false,
        });
    }
    Ok(ViewJoin {
        name: view.name.clone(),
        source: bound.source.clone(),
        keys: keys.to_vec(),
        ttl_us: None,
        features,
        aggregations,
    })
}
