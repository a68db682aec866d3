//! The point-in-time join: any number of views of one store, in the spine's order.
//!
//! Views that share spine columns as keys form a group. A group's spine is taken in chunks that fit
//! the memory limit; for each chunk the feature side streams by once. Where that would read it too
//! often, both sides are first partitioned by key on disk. What a chunk computes is in [`chunk`].

mod ahead;
mod chunk;
mod feed;
mod fetch;
mod few;
mod found;
mod latest_first;
mod merge;
mod partition;
mod seen;
mod ties;
mod wanted;
mod worker;

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use async_stream::try_stream;
use chunk::{ChunkAnswer, Group};
use feed::Spawned;
use futures::StreamExt;
use provender_core::provider::{OfflineStore, Resources};
use provender_core::request::{KeyColumn, PointInTimeJoin, SpineRows, ViewJoin};
use provender_core::time::to_instants;
use provender_core::{BatchStream, Context, Error, ErrorKind, Result, codes};

use crate::source::{Feed, column};
use crate::spill::{SpillBuffer, Spilled};
use crate::spine::{SpineRows as Rows, spine_schema};
use crate::{error, zip};
pub(crate) use partition::split_rows;
use seen::Seen;

/// Rows of an answer's batch.
const BATCH_ROWS: usize = 8_192;
/// Batches that are gathered ahead of whoever takes them, and about how many bytes they have.
const MOST_AHEAD: usize = 12;
const AHEAD_BYTES: usize = 32 << 20;
/// How often a feature side may be read for one group before both sides are partitioned instead.
const MAX_READS: u64 = 4;

/// Answers a point-in-time join over a store that can `scan`; see [`PointInTimeJoin`] for its rules.
/// The answer has one row per spine row, in the spine's order, with the features alone.
///
/// The feature side streams by unsorted; memory stays within `resources.memory_limit_bytes`, beyond
/// which rows lie in the spill folder. Dropping the answer ends all work and removes spilled rows.
///
/// # Errors
/// What the store answers; `InvalidArgument` (`P501`, `P502`) for values that do not fit;
/// `ResourceExhausted` (`P904`) if a single key does not fit the memory limit.
pub async fn point_in_time_join(
    cx: &Context,
    resources: &Resources,
    store: Arc<dyn OfflineStore>,
    join: PointInTimeJoin,
    spine: SpineRows,
) -> Result<BatchStream> {
    let schema = answer_schema(&join.views);
    let mut key_sets: Vec<(Vec<KeyColumn>, Vec<usize>)> = Vec::new();
    for (number, view) in join.views.iter().enumerate() {
        let same = |set: &(Vec<KeyColumn>, Vec<usize>)| {
            set.0.len() == view.keys.len()
                && set
                    .0
                    .iter()
                    .zip(&view.keys)
                    .all(|(a, b)| a.spine == b.spine && a.value_type == b.value_type)
        };
        match key_sets.iter_mut().find(|set| same(set)) {
            Some((_, numbers)) => numbers.push(number),
            None => key_sets.push((view.keys.clone(), vec![number])),
        }
    }
    let keys: Vec<Vec<KeyColumn>> = key_sets.iter().map(|(keys, _)| keys.clone()).collect();
    let spines = split_spine(cx, resources, &keys, spine).await?;

    let mut streams = Vec::with_capacity(key_sets.len());
    let mut order: Vec<usize> = Vec::new();
    for ((keys, numbers), rows) in key_sets.into_iter().zip(spines) {
        let views: Vec<ViewJoin> = numbers
            .iter()
            .map(|&number| join.views[number].clone())
            .collect();
        order.extend(&numbers);
        let group = Group {
            cx: cx.clone(),
            resources: resources.clone(),
            memory_limit: (resources.memory_limit_bytes / 2 / keys_share(&join.views)).max(1),
            store: store.clone(),
            keys,
            views,
            as_known: join.as_known,
        };
        let (rows, seen) = rows;
        streams.push(answer_group(group, rows, seen));
    }
    Ok(reorder(schema, &join.views, &order, streams))
}

fn keys_share(views: &[ViewJoin]) -> u64 {
    let mut spines: Vec<Vec<&str>> = views
        .iter()
        .map(|view| view.keys.iter().map(|key| key.spine.as_str()).collect())
        .collect();
    spines.sort();
    spines.dedup();
    spines.len().max(1) as u64
}

/// The fields of an answer: each view's features, then its aggregations.
pub(crate) fn answer_schema(views: &[ViewJoin]) -> SchemaRef {
    Arc::new(Schema::new(
        views.iter().flat_map(view_fields).collect::<Vec<_>>(),
    ))
}

fn view_fields(view: &ViewJoin) -> impl Iterator<Item = Field> + '_ {
    let features = view
        .features
        .iter()
        .map(|f| f.value_type.to_field(&f.output));
    features.chain(
        view.aggregations
            .iter()
            .map(|a| a.value_type.to_field(&a.output)),
    )
}

/// Reads the spine once, into one buffer per set of keys, and looks at its times and keys.
async fn split_spine(
    cx: &Context,
    resources: &Resources,
    key_sets: &[Vec<KeyColumn>],
    spine: SpineRows,
) -> Result<Vec<(Spilled, Seen)>> {
    let share = resources.memory_limit_bytes / 4 / key_sets.len().max(1) as u64;
    let mut buffers: Vec<(SpillBuffer, Seen)> = key_sets
        .iter()
        .map(|keys| {
            let buffer = SpillBuffer::with_memory(resources, spine_schema(keys), share);
            (buffer, Seen::new(keys))
        })
        .collect();
    let mut batches = spine.rows.batches;
    while let Some(batch) = batches.next().await {
        cx.check()?;
        let batch = batch?;
        let times = Arc::new(to_instants(&column(&batch, &spine.timestamp)?)?);
        let numbers = column(&batch, &spine.row_number)?;
        for (keys, (buffer, seen)) in key_sets.iter().zip(&mut buffers) {
            let mut columns: Vec<ArrayRef> = keys
                .iter()
                .map(|key| column(&batch, &key.spine))
                .collect::<Result<_>>()?;
            seen.push(&columns, &times)?;
            columns.push(times.clone());
            columns.push(numbers.clone());
            let rows = RecordBatch::try_new(spine_schema(keys), columns).map_err(|e| {
                Error::new(
                    &codes::INTERNAL,
                    "the spine's columns are not of the declared types",
                )
                .source(e)
            })?;
            buffer.push(rows).await?;
        }
    }
    let finished = buffers.into_iter();
    finished
        .map(|(buffer, seen)| Ok((buffer.finish()?, seen)))
        .collect()
}

/// The features of one group of views, row by row of the spine.
fn answer_group(group: Group, spine: Spilled, seen: Seen) -> BatchStream {
    let n_chunks = spine.n_rows().div_ceil(group.rows_per_chunk(false));
    if n_chunks > MAX_READS && !group.keys.is_empty() {
        return partition::answer(group, spine, seen);
    }
    let schema = answer_schema(&group.views);
    BatchStream::new(
        schema,
        try_stream! {
            let feeds = group.feeds(seen, true).await?;
            let is_numbered = feeds.iter().all(|feed| matches!(feed.feed, Feed::Numbered(..)));
            let mut chunks = chunks(spine.stream(), group.rows_per_chunk(is_numbered));
            while let Some(rows) = chunks.next().await {
                let mut answers = chunk_answers(&group, &feeds, rows?);
                while let Some(answer) = answers.next().await {
                    let mut batches = answer_batches(&group, answer?);
                    while let Some(batch) = batches.next().await {
                        yield batch?;
                    }
                }
            }
        },
    )
}

/// The batches of an answer, in order, some of them gathered at the same time.
fn answer_batches(
    group: &Group,
    answer: ChunkAnswer,
) -> futures::stream::BoxStream<'static, Result<RecordBatch>> {
    let answer = Arc::new(answer);
    let starts = (0..answer.n_rows()).step_by(BATCH_ROWS);
    // Whoever takes the rows may be busy with some while the next are gathered.
    let n_ahead = (AHEAD_BYTES / (answer.row_bytes() * BATCH_ROWS).max(1)).min(MOST_AHEAD);
    futures::stream::iter(starts)
        .map(move |start| {
            let answer = answer.clone();
            Spawned(tokio::spawn(async move { answer.batch(start, BATCH_ROWS) })).ended()
        })
        .buffered(n_ahead.max(group.resources.n_threads).max(1))
        .boxed()
}

/// The answers of consecutive parts of a chunk: the whole if it fits the memory limit, else halves of
/// it, and so on.
fn chunk_answers<'a>(
    group: &'a Group,
    feeds: &'a [chunk::GroupFeed],
    rows: Rows,
) -> futures::stream::BoxStream<'a, Result<ChunkAnswer>> {
    try_stream! {
        let mut pending = vec![rows];
        while let Some(rows) = pending.pop() {
            match group.answer(feeds, &rows).await {
                Ok(answer) => yield answer,
                Err(error) if error.kind() == ErrorKind::ResourceExhausted
                    && error.code() == codes::MEMORY_LIMIT.id && rows.n_rows() > 1 =>
                {
                    let half = rows.n_rows() / 2;
                    pending.push(rows.slice(half, rows.n_rows() - half));
                    pending.push(rows.slice(0, half));
                }
                Err(error) => Err(error)?,
            }
        }
    }
    .boxed()
}

/// Cuts a stream into parts of `n_rows`, the last shorter.
fn chunks(stream: BatchStream, n_rows: u64) -> futures::stream::BoxStream<'static, Result<Rows>> {
    let n_rows = usize::try_from(n_rows).unwrap_or(usize::MAX);
    try_stream! {
        let mut batches = stream.batches;
        let mut held = Rows::default();
        while let Some(batch) = batches.next().await {
            let mut batch = batch?;
            while held.n_rows() + batch.num_rows() >= n_rows {
                let missing = n_rows - held.n_rows();
                held.push(batch.slice(0, missing));
                batch = batch.slice(missing, batch.num_rows() - missing);
                yield std::mem::take(&mut held);
            }
            if batch.num_rows() > 0 {
                held.push(batch);
            }
        }
        if held.n_rows() > 0 {
            yield held;
        }
    }
    .boxed()
}

/// Puts the groups side by side and their columns in the order of the views.
fn reorder(
    schema: SchemaRef,
    views: &[ViewJoin],
    order: &[usize],
    streams: Vec<BatchStream>,
) -> BatchStream {
    let widths: Vec<usize> = views
        .iter()
        .map(|v| v.features.len() + v.aggregations.len())
        .collect();
    let mut starts = vec![0; views.len()];
    let mut next = 0;
    for &number in order {
        starts[number] = next;
        next += widths[number];
    }
    let places: Vec<usize> = (0..views.len())
        .flat_map(|number| starts[number]..starts[number] + widths[number])
        .collect();
    let fields: Vec<Field> = order
        .iter()
        .flat_map(|&number| view_fields(&views[number]))
        .collect();
    let zipped = zip::zip(Arc::new(Schema::new(fields)), streams);
    let output = schema.clone();
    let batches = zipped.batches.map(move |batch| {
        let batch = batch?.project(&places).map_err(error::arrow)?;
        batch.with_schema(schema.clone()).map_err(error::arrow)
    });
    BatchStream::new(output, batches)
}
