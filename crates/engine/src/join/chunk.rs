//! One chunk of the spine against the whole feature side, in memory.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::SchemaRef;
use futures::StreamExt;
use provender_core::model::AggregateFunction;
use provender_core::provider::{OfflineStore, Resources};
use provender_core::request::{ColumnRange, FeatureColumn, KeyColumn, TimedSource, ViewJoin};
use provender_core::{BatchStream, Context, Error, Result, codes};
use tokio::task::JoinSet;

use super::answer_schema;
use crate::accumulate::WindowTree;
use crate::cast::cast_value;
use crate::error;
use crate::source::{Feed, Positioned, RowReader, column, column_type, columns_of};
use crate::spine::{SpineIndex, TIME};
use crate::winners::{Winners, offer_batch, row_places};

/// Bytes that a slot's bookkeeping takes, per view and thread.
const SLOT_BYTES: u64 = 64;
/// What a value of unknown width is taken to need.
const VALUE_BYTES: u64 = 24;

/// Views of one store that share their spine columns.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) cx: Context,
    pub(crate) resources: Resources,
    pub(crate) memory_limit: u64,
    pub(crate) store: Arc<dyn OfflineStore>,
    pub(crate) keys: Vec<KeyColumn>,
    pub(crate) views: Vec<ViewJoin>,
    pub(crate) as_known: bool,
}

/// One source that several views of a group read, in one pass.
#[derive(Clone, Debug)]
pub(crate) struct GroupFeed {
    pub(crate) source: TimedSource,
    pub(crate) keys: Vec<KeyColumn>,
    /// The views' numbers in the group.
    pub(crate) views: Vec<usize>,
    pub(crate) feed: Feed,
}

/// How one view is computed over a chunk.
#[derive(Debug)]
struct ViewState {
    /// The winning rows of the view's features.
    features: Option<Winners>,
    ttl_us: Option<i64>,
    aggregations: Vec<Aggregated>,
}

#[derive(Debug)]
enum Aggregated {
    Tree(Box<WindowTree>),
    /// `last` is a point-in-time join of its own over the rows that are not null.
    Last {
        column: String,
        window_us: i64,
        winners: Box<Winners>,
    },
}

/// What a chunk's views are, column by column; values are only put together on demand.
pub(crate) struct ChunkAnswer {
    schema: SchemaRef,
    views: Vec<ViewJoin>,
    keys: Vec<ArrayRef>,
    index: SpineIndex,
    columns: Vec<AnswerColumns>,
}

enum AnswerColumns {
    Winners {
        winners: Box<Winners>,
        places: Vec<Option<(u32, u32)>>,
        features: Vec<FeatureColumn>,
        view: usize,
    },
    Ready(ArrayRef),
}

impl Group {
    /// How many spine rows fit the memory limit, by estimate.
    pub(crate) fn rows_per_chunk(&self) -> u64 {
        let threads = self.resources.n_threads.max(1) as u64;
        let per_row: u64 = self
            .views
            .iter()
            .map(|view| {
                let features = SLOT_BYTES * threads + 2 * VALUE_BYTES * view.features.len() as u64;
                let aggregations = 2 * SLOT_BYTES * threads * view.aggregations.len() as u64;
                features + aggregations
            })
            .sum::<u64>()
            + 48
            + VALUE_BYTES * self.keys.len() as u64;
        (self.memory_limit / per_row.max(1)).clamp(1, u64::from(u32::MAX) / 4)
    }

    /// What the group reads, given its spine (for pruning by time).
    pub(crate) async fn feeds(&self, mut spine: BatchStream) -> Result<Vec<GroupFeed>> {
        let mut range: Option<(i64, i64)> = None;
        while let Some(batch) = spine.batches.next().await {
            let times = column(&batch?, TIME)?;
            let times = provender_core::time::to_instants(&times)?;
            for time in times.iter().flatten() {
                range =
                    Some(range.map_or((time, time), |(low, high)| (low.min(time), high.max(time))));
            }
        }
        let mut feeds: Vec<GroupFeed> = Vec::new();
        for (number, view) in self.views.iter().enumerate() {
            let known = feeds.iter_mut().find(|feed| {
                feed.source == view.source
                    && feed
                        .keys
                        .iter()
                        .zip(&view.keys)
                        .all(|(a, b)| a.column == b.column)
            });
            match known {
                Some(feed) => feed.views.push(number),
                None => feeds.push(GroupFeed {
                    source: view.source.clone(),
                    keys: view.keys.clone(),
                    views: vec![number],
                    feed: Feed::new(&self.store, &view.source, Vec::new(), Vec::new()),
                }),
            }
        }
        for feed in &mut feeds {
            let views: Vec<&ViewJoin> = feed
                .views
                .iter()
                .map(|&number| &self.views[number])
                .collect();
            let features = views
                .iter()
                .flat_map(|view| view.features.iter().map(|f| f.column.as_str()));
            let aggregated = views
                .iter()
                .flat_map(|view| view.aggregations.iter().filter_map(|a| a.column.as_deref()));
            let columns = columns_of(&feed.source, &feed.keys, features.chain(aggregated));
            let (low, high) = range.unwrap_or((i64::MAX, i64::MIN));
            let reach = views
                .iter()
                .map(|view| reach(view))
                .reduce(|a, b| Some(a?.max(b?)))
                .flatten();
            let event = ColumnRange {
                column: feed.source.timestamp.clone(),
                min_us: reach.map(|reach| low.saturating_sub(reach)),
                max_us: Some(high),
            };
            feed.feed = Feed::new(&self.store, &feed.source, columns, vec![event]);
        }
        Ok(feeds)
    }

    /// Answers a chunk.
    ///
    /// # Errors
    /// `P904` if it does not fit the memory limit; a smaller chunk may.
    pub(crate) async fn answer(
        &self,
        feeds: &[GroupFeed],
        rows: &RecordBatch,
    ) -> Result<ChunkAnswer> {
        let index = Arc::new(SpineIndex::new(&self.keys, rows)?);
        let mut columns: Vec<Vec<AnswerColumns>> = self.views.iter().map(|_| Vec::new()).collect();
        for feed in feeds {
            for (number, answer) in self.answer_feed(feed, &index).await? {
                columns[number] = answer;
            }
        }
        let index =
            Arc::try_unwrap(index).map_err(|_| error::defect("a worker outlived its chunk"))?;
        Ok(ChunkAnswer {
            schema: answer_schema(&self.views),
            views: self.views.clone(),
            keys: self
                .keys
                .iter()
                .map(|key| column(rows, &key.spine))
                .collect::<Result<_>>()?,
            index,
            columns: columns.into_iter().flatten().collect(),
        })
    }

    async fn answer_feed(
        &self,
        feed: &GroupFeed,
        index: &Arc<SpineIndex>,
    ) -> Result<Vec<(usize, Vec<AnswerColumns>)>> {
        let streams = feed.feed.streams(&self.cx).await?;
        let n_workers = self.resources.n_threads.clamp(1, streams.len().max(1));
        let schema = match streams.first() {
            Some(stream) => stream.schema.clone(),
            None => {
                return Err(Error::new(
                    &codes::PROVIDER_CONTRACT,
                    "a scan answered no stream",
                ));
            }
        };
        let mut shares: Vec<Vec<(usize, BatchStream)>> =
            (0..n_workers).map(|_| Vec::new()).collect();
        for (number, stream) in streams.into_iter().enumerate() {
            shares[number % n_workers].push((number, stream));
        }
        let budget = (self.memory_limit / n_workers as u64).saturating_sub(index.memory() as u64);
        let mut workers = JoinSet::new();
        for (number, share) in shares.into_iter().enumerate() {
            let views = feed
                .views
                .iter()
                .map(|&view| self.views[view].clone())
                .collect();
            let worker = Worker {
                cx: self.cx.clone(),
                reader: RowReader::new(&feed.source, &feed.keys, &schema)?,
                schema: schema.clone(),
                views,
                index: index.clone(),
                as_known: self.as_known,
                budget,
            };
            workers.spawn(async move { (number, worker.run(share).await) });
        }
        let mut answers: Vec<Option<Vec<ViewState>>> = (0..n_workers).map(|_| None).collect();
        while let Some(ended) = workers.join_next().await {
            let (number, states) =
                ended.map_err(|e| error::defect(format!("a worker failed: {e}")))?;
            answers[number] = Some(states?);
        }
        // In the workers' order, not in the order in which they ended.
        let mut merged: Option<Vec<ViewState>> = None;
        for states in answers.into_iter().flatten() {
            match &mut merged {
                None => merged = Some(states),
                Some(merged) => {
                    for (ours, theirs) in merged.iter_mut().zip(states) {
                        ours.merge(theirs);
                    }
                }
            }
        }
        let states = merged.unwrap_or_default();
        feed.views
            .iter()
            .zip(states)
            .map(|(&number, state)| Ok((number, state.finish(number, &self.views[number], index)?)))
            .collect()
    }
}

/// How far before a spine's time a view looks; `None` is without limit.
fn reach(view: &ViewJoin) -> Option<i64> {
    if view.aggregations.is_empty() {
        return view.ttl_us;
    }
    let windows = view.aggregations.iter().map(|a| a.window_us).max()?;
    if view.features.is_empty() {
        Some(windows)
    } else {
        Some(windows.max(view.ttl_us?))
    }
}

struct Worker {
    cx: Context,
    reader: RowReader,
    schema: SchemaRef,
    views: Vec<ViewJoin>,
    index: Arc<SpineIndex>,
    as_known: bool,
    budget: u64,
}

impl Worker {
    async fn run(self, streams: Vec<(usize, BatchStream)>) -> Result<Vec<ViewState>> {
        let mut states: Vec<ViewState> = self
            .views
            .iter()
            .map(|view| ViewState::new(view, &self.schema, &self.index))
            .collect::<Result<_>>()?;
        let mut batches = Positioned::new(streams);
        while let Some(next) = batches.next().await {
            self.cx.check()?;
            let (position, batch) = next?;
            let rows = self.reader.read(&batch, position)?;
            let mut memory = 0;
            for state in &mut states {
                state.consume(&self.index, &rows, &batch, self.as_known)?;
                memory += state.memory();
            }
            if memory as u64 > self.budget && self.index.n_slots() > 0 {
                return Err(over_limit(&self.views));
            }
            tokio::task::yield_now().await;
        }
        Ok(states)
    }
}

fn over_limit(views: &[ViewJoin]) -> Error {
    let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
    Error::new(
        &codes::MEMORY_LIMIT,
        format!(
            "the join of {} does not fit the memory limit",
            names.join(", ")
        ),
    )
    .help("raise limits.memory in provender.yaml")
}

impl ViewState {
    fn new(view: &ViewJoin, schema: &SchemaRef, index: &SpineIndex) -> Result<Self> {
        let with_ties = !view.source.tie_breakers.is_empty();
        let winners = |columns: Vec<String>| -> Result<Winners> {
            let types = columns
                .iter()
                .map(|name| column_type(schema, name))
                .collect::<Result<_>>()?;
            Ok(Winners::new(index.n_slots(), columns, types, with_ties))
        };
        let mut columns: Vec<String> = view.features.iter().map(|f| f.column.clone()).collect();
        columns.sort();
        columns.dedup();
        let features = if view.features.is_empty() {
            None
        } else {
            Some(winners(columns)?)
        };
        let aggregations = view
            .aggregations
            .iter()
            .map(|request| match (&request.column, request.function) {
                (Some(column), AggregateFunction::Last) => Ok(Aggregated::Last {
                    column: column.clone(),
                    window_us: request.window_us,
                    winners: Box::new(winners(vec![column.clone()])?),
                }),
                _ => WindowTree::new(&view.name, request, schema, index)
                    .map(|tree| Aggregated::Tree(Box::new(tree))),
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            features,
            ttl_us: view.ttl_us,
            aggregations,
        })
    }

    fn consume(
        &mut self,
        index: &SpineIndex,
        rows: &crate::source::TimedRows,
        batch: &RecordBatch,
        as_known: bool,
    ) -> Result<()> {
        if let Some(winners) = &mut self.features {
            offer_batch(winners, index, rows, batch, as_known, self.ttl_us, None)?;
        }
        for aggregated in &mut self.aggregations {
            match aggregated {
                Aggregated::Tree(tree) => tree.consume(index, rows, batch, as_known)?,
                Aggregated::Last {
                    column: name,
                    window_us,
                    winners,
                } => {
                    let nulls = column(batch, name)?.logical_nulls();
                    let ttl = Some(*window_us - 1);
                    offer_batch(winners, index, rows, batch, as_known, ttl, nulls.as_ref())?;
                }
            }
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        let features = self.features.as_ref().map_or(0, Winners::memory);
        let aggregations = self.aggregations.iter().map(|aggregated| match aggregated {
            Aggregated::Tree(tree) => tree.memory(),
            Aggregated::Last { winners, .. } => winners.memory(),
        });
        features + aggregations.sum::<usize>()
    }

    fn merge(&mut self, other: Self) {
        if let (Some(ours), Some(theirs)) = (&mut self.features, other.features) {
            ours.merge(theirs);
        }
        for (ours, theirs) in self.aggregations.iter_mut().zip(other.aggregations) {
            match (ours, theirs) {
                (Aggregated::Tree(ours), Aggregated::Tree(theirs)) => ours.merge(&theirs),
                (
                    Aggregated::Last { winners: ours, .. },
                    Aggregated::Last {
                        winners: theirs, ..
                    },
                ) => ours.merge(*theirs),
                _ => {}
            }
        }
    }

    fn finish(
        self,
        number: usize,
        view: &ViewJoin,
        index: &SpineIndex,
    ) -> Result<Vec<AnswerColumns>> {
        let mut columns = Vec::new();
        if let Some(winners) = self.features {
            let places = winners.carry(index, view.ttl_us);
            let features = view.features.clone();
            columns.push(AnswerColumns::Winners {
                winners: Box::new(winners),
                places,
                features,
                view: number,
            });
        }
        for (aggregated, request) in self.aggregations.into_iter().zip(&view.aggregations) {
            columns.push(match aggregated {
                Aggregated::Tree(tree) => AnswerColumns::Ready(tree.finish(index)?),
                Aggregated::Last {
                    column,
                    window_us,
                    winners,
                } => {
                    let places = winners.carry(index, Some(window_us - 1));
                    let feature = FeatureColumn {
                        column,
                        output: request.output.clone(),
                        value_type: request.value_type.clone(),
                        checked: true,
                    };
                    AnswerColumns::Winners {
                        winners,
                        places,
                        features: vec![feature],
                        view: number,
                    }
                }
            });
        }
        Ok(columns)
    }
}

impl ChunkAnswer {
    pub(crate) fn n_rows(&self) -> usize {
        self.index.n_rows()
    }

    /// At most `n_rows` rows from `start` on.
    pub(crate) fn batch(&self, start: usize, n_rows: usize) -> Result<RecordBatch> {
        let n_rows = n_rows.min(self.n_rows() - start);
        let slots = &self.index.row_slots()[start..start + n_rows];
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for columns in &self.columns {
            match columns {
                AnswerColumns::Ready(array) => arrays.push(array.slice(start, n_rows)),
                AnswerColumns::Winners {
                    winners,
                    places,
                    features,
                    view,
                } => {
                    let values = winners.gather(row_places(slots, places))?;
                    for feature in features {
                        let value = winners.value_of(&values, &feature.column)?;
                        arrays.push(self.cast(value, feature, *view, start)?);
                    }
                }
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(error::arrow)
    }

    fn cast(
        &self,
        value: &ArrayRef,
        feature: &FeatureColumn,
        view: usize,
        start: usize,
    ) -> Result<ArrayRef> {
        cast_value(value, &feature.value_type, feature.checked).map_err(|failure| {
            let view = &self.views[view].name;
            let key = self.describe_key(start + failure.row);
            Error::new(
                &codes::CHECKED_CAST,
                format!(
                    "view {view:?}, feature {:?}, key {key}: the value {} does not fit {}: {}",
                    feature.output, failure.value, feature.value_type, failure.reason
                ),
            )
            .help("declare a type that holds the column's values, or mend the data")
            .context("view", view.clone())
            .context("feature", feature.output.clone())
        })
    }

    fn describe_key(&self, row: usize) -> String {
        let options = FormatOptions::default();
        let parts: Vec<String> = self
            .keys
            .iter()
            .map(|column| match ArrayFormatter::try_new(column, &options) {
                Ok(formatter) => formatter.value(row).to_string(),
                Err(_) => "?".to_owned(),
            })
            .collect();
        if parts.is_empty() {
            "(none)".to_owned()
        } else {
            parts.join(", ")
        }
    }
}
