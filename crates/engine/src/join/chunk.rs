//! One chunk of the spine against the whole feature side, in memory.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::SchemaRef;
use provender_core::model::AggregateFunction;
use provender_core::provider::{OfflineStore, Resources, WantedKeys};
use provender_core::request::{ColumnRange, FeatureColumn, KeyColumn, TimedSource, ViewJoin};
use provender_core::{Context, Error, Result, ValueType, codes};

use super::ahead::Ahead;
use super::answer_schema;
use super::feed::{AnswerColumns, chooses};
use super::few::FewValues;
use super::seen::Seen;
use crate::accumulate::bytes_per_slot;
use crate::cast::cast_value;
use crate::error;
use crate::source::{Feed, columns_of};
use crate::spine::{NO_SLOT, SpineIndex, SpineRows};
use crate::values::{NOWHERE, Picked, Place, Values};

/// Bytes that a row takes in the index, but for its key, and on the way to the answer.
const INDEX_BYTES: u64 = 84;
/// Bytes that a slot takes of what is held of a source's rows, per thread, and where its values lie.
const SLOT_BYTES: u64 = 56;
/// Bytes that a node of a window's tree takes, per aggregation and thread; each slot has about two.
const NODE_BYTES: u64 = 64;
/// Bytes that a window's value takes on its way to the answer.
const WINDOW_BYTES: u64 = 32;
/// What a value of unknown width is taken to need.
const LONG_BYTES: u64 = 24;

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
    /// Whether rows of the same time were found to be so many that what decides between them is read of all rows.
    pub(crate) has_many_ties: Arc<AtomicBool>,
}

/// What a chunk's views are, column by column; values are only put together on demand.
pub(crate) struct ChunkAnswer {
    schema: SchemaRef,
    views: Vec<ViewJoin>,
    keys: SpineRows,
    index: Arc<SpineIndex>,
    columns: Vec<AnswerColumns>,
}

impl Group {
    /// How many spine rows fit the memory limit, by estimate. Values that are copied out of batches lie there
    /// twice while they are compacted; those that are fetched by number do not.
    pub(crate) fn rows_per_chunk(&self, is_numbered: bool) -> u64 {
        let threads = self.resources.n_threads.max(1) as u64;
        // Views of one source share what is held of its rows, but for their features.
        let mut sources: Vec<&TimedSource> = Vec::new();
        for view in self.views.iter().filter(|view| !view.features.is_empty()) {
            if !sources.contains(&&view.source) {
                sources.push(&view.source);
            }
        }
        let features = self.views.iter().flat_map(|view| &view.features);
        let n_copies = if is_numbered { 1 } else { 2 };
        let values: u64 = features
            .map(|feature| n_copies * value_bytes(&feature.value_type))
            .sum();
        let aggregations = self.views.iter().map(|view| view.aggregations.len() as u64);
        let n_aggregations: u64 = aggregations.sum();
        let aggregations = self.views.iter().flat_map(|view| &view.aggregations);
        let lasts = aggregations.filter(|a| a.function == AggregateFunction::Last);
        let lasts: u64 = lasts
            .map(|last| SLOT_BYTES * threads + 2 * value_bytes(&last.value_type))
            .sum();
        let windows = match self.as_known {
            true => 2 * NODE_BYTES * threads * n_aggregations,
            false => {
                let (shared, each) = bytes_per_slot(&self.views);
                shared + threads * each
            }
        };
        let per_row = INDEX_BYTES
            + LONG_BYTES * self.keys.len() as u64
            + SLOT_BYTES * threads * sources.len() as u64
            + lasts
            + windows
            + WINDOW_BYTES * n_aggregations
            + values;
        // Slots, and the cells of windows, of which there may be one more than aggregations for each
        // slot, are numbered in 32 bits.
        let most = u64::from(u32::MAX) / 4 / (1 + n_aggregations);
        (self.memory_limit / per_row).clamp(1, most)
    }

    /// What the group reads, given what is known of its spine, by which much may be left out.
    /// Unless `by_number`, rows will be read whole.
    pub(crate) async fn feeds(&self, seen: Seen, by_number: bool) -> Result<Vec<GroupFeed>> {
        let few = seen.keys;
        let few: Vec<Option<ArrayRef>> = few
            .into_iter()
            .map(FewValues::finish)
            .collect::<Result<_>>()?;
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
                    has_many_ties: Arc::default(),
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
            let (low, high) = seen.times.unwrap_or((i64::MAX, i64::MIN));
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
            if by_number {
                let keys = feed.keys.iter().zip(&few).filter_map(|(key, values)| {
                    Some(WantedKeys {
                        column: key.column.clone(),
                        values: values.clone()?,
                    })
                });
                let keys = keys.collect();
                feed.feed = feed.feed.clone().by_number(&self.cx, keys).await?;
            }
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
        rows: &SpineRows,
    ) -> Result<ChunkAnswer> {
        let n_threads = self.resources.n_threads;
        let mut ahead = match feeds.first() {
            Some(feed) => {
                // Rows without numbers are told apart by where they lie in their streams.
                let is_numbered = matches!(feed.feed, Feed::Numbered(..));
                let n_threads = if is_numbered { n_threads } else { 1 };
                let by_event = self.by_event(feed);
                let rows = self.rows(feed, by_event).await?;
                let latest_first = self.views_of(feed).iter().any(chooses);
                let ahead = Ahead::new(rows, n_threads, self.memory_limit, latest_first).await;
                Some((ahead, by_event))
            }
            None => None,
        };
        let index = Arc::new(SpineIndex::new(&self.keys, rows, n_threads)?);
        let mut columns: Vec<Vec<AnswerColumns>> = self.views.iter().map(|_| Vec::new()).collect();
        // By windows of feeds that are answered.
        let mut n_held = 0;
        for feed in feeds {
            let (streams, by_event) = match ahead.take() {
                Some((ahead, by_event)) => (ahead.into_streams(), by_event),
                None => {
                    let by_event = self.by_event(feed);
                    (self.rows(feed, by_event).await?, by_event)
                }
            };
            let answers = self.answer_feed(feed, streams, by_event, &index, n_held);
            let answers = answers.await?;
            n_held += held_bytes(answers.iter().flat_map(|(_, columns)| columns));
            for (number, answer) in answers {
                columns[number] = answer;
            }
        }
        Ok(ChunkAnswer {
            schema: answer_schema(&self.views),
            views: self.views.clone(),
            keys: rows.keys(self.keys.len())?,
            index,
            columns: columns.into_iter().flatten().collect(),
        })
    }
}

/// Bytes that a value takes, as far as its type tells.
fn value_bytes(value_type: &ValueType) -> u64 {
    match value_type.to_arrow().primitive_width() {
        Some(width) => width as u64 + 1,
        None if *value_type == ValueType::Bool => 1,
        None => LONG_BYTES,
    }
}

/// How far before a spine's time a view looks; `None` is without limit.
pub(super) fn reach(view: &ViewJoin) -> Option<i64> {
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

/// What was picked last, and by what.
type PickedBefore<'a> = (&'a Arc<Values>, &'a Arc<Vec<Place>>, Picked<'a>);

impl ChunkAnswer {
    pub(crate) fn n_rows(&self) -> usize {
        self.index.n_rows()
    }

    /// Bytes of a row, about.
    pub(crate) fn row_bytes(&self) -> usize {
        let columns = self.columns.iter().map(|columns| match columns {
            AnswerColumns::OfSlots { values, columns } => values.row_bytes(columns),
            AnswerColumns::Winners {
                values, features, ..
            } => values.row_bytes() * features.len() / values.columns.len().max(1),
        });
        columns.sum()
    }

    /// At most `n_rows` rows from `start` on.
    pub(crate) fn batch(&self, start: usize, n_rows: usize) -> Result<RecordBatch> {
        let n_rows = n_rows.min(self.n_rows() - start);
        let slots = &self.index.row_slots()[start..start + n_rows];
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        // Views of one source that have the same winners are picked from at once.
        let mut last: Option<PickedBefore<'_>> = None;
        for columns in &self.columns {
            match columns {
                AnswerColumns::OfSlots { values, columns } => {
                    arrays.extend(values.gather(slots, columns)?);
                }
                AnswerColumns::Winners {
                    values,
                    places,
                    features,
                    view,
                } => {
                    let picked = match last.take() {
                        Some((of, at, picked))
                            if Arc::ptr_eq(of, values) && Arc::ptr_eq(at, places) =>
                        {
                            picked
                        }
                        _ => values.pick(&row_places(slots, places)),
                    };
                    let names = features.iter().map(|feature| feature.column.as_str());
                    for (feature, value) in features.iter().zip(picked.columns(names)?) {
                        arrays.push(self.cast(&value, feature, *view, start)?);
                    }
                    last = Some((values, places, picked));
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
        let (keys, row) = self.keys.row(row);
        let parts: Vec<String> = keys
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

/// Bytes that one feed's windows hold until all rows are answered.
fn held_bytes<'a>(mut columns: impl Iterator<Item = &'a AnswerColumns>) -> u64 {
    // All columns are of the same windows.
    let windows = columns.find_map(|columns| match columns {
        AnswerColumns::OfSlots { values, .. } => Some(values.memory() as u64),
        AnswerColumns::Winners { .. } => None,
    });
    windows.unwrap_or(0)
}

/// The place of each spine row, from the places of slots.
fn row_places(row_slots: &[u32], places: &[Place]) -> Vec<Place> {
    row_slots
        .iter()
        .map(|&slot| {
            if slot == NO_SLOT {
                NOWHERE
            } else {
                places[slot as usize]
            }
        })
        .collect()
}
