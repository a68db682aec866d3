//! A group whose spine is much larger than memory: both sides are partitioned by key on disk, each
//! partition is answered on its own, and the answers are merged back into the spine's order.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use async_stream::try_stream;
use futures::StreamExt;
use provender_core::request::KeyColumn;
use provender_core::{BatchStream, Context, Result};

use super::chunk::{Group, GroupFeed};
use super::merge::merge_by_row;
use super::seen::Seen;
use super::{answer_schema, chunk_answers, chunks};
use crate::error;
use crate::keys::KeyEncoder;
use crate::source::{Feed, column};
use crate::spill::{SpillBuffer, Spilled};
use crate::spine::ROW;

/// More partitions than this would mean more open files and smaller writes than they are worth.
const MAX_PARTITIONS: u64 = 64;
/// Rows of an answer's batch on disk, at most and at least: one of each partition is in memory while
/// answers are merged.
const MERGE_ROWS: (u64, u64) = (1_024, 64);
/// What a value of an answer takes at least.
const VALUE_BYTES: u64 = 16;

/// The features of a group, row by row of the spine.
pub(super) fn answer(group: Group, spine: Spilled, seen: Seen) -> BatchStream {
    let schema = answer_schema(&group.views);
    BatchStream::new(
        schema.clone(),
        try_stream! {
            let per_chunk = group.rows_per_chunk(false);
            let n = spine.n_rows().div_ceil(per_chunk).clamp(2, MAX_PARTITIONS) as usize;
            let feeds = group.feeds(seen, false).await?;
            let spine_keys: Vec<KeyColumn> = group
                .keys
                .iter()
                .map(|key| KeyColumn { column: key.spine.clone(), ..key.clone() })
                .collect();
            let spines = split(&group, &spine_keys, vec![spine.stream()], n, true).await?;
            let mut parts: Vec<Vec<GroupFeed>> = (0..n).map(|_| Vec::new()).collect();
            for feed in &feeds {
                let streams = feed.feed.streams(&group.cx).await?;
                let spilled = split(&group, &feed.keys, streams, n, false).await?;
                for (part, spilled) in parts.iter_mut().zip(spilled) {
                    part.push(GroupFeed { feed: Feed::Spilled(spilled), ..feed.clone() });
                }
            }
            let mut answers = Vec::with_capacity(n);
            for (spine, feeds) in spines.into_iter().zip(parts) {
                answers.push(answer_part(&group, &feeds, spine, per_chunk, n as u64).await?);
            }
            let mut merged = merge_by_row(schema, answers);
            while let Some(batch) = merged.batches.next().await {
                yield batch?;
            }
        },
    )
}

/// Spreads rows over partitions by key, keeping their order. Rows whose key holds a null match
/// nothing: they are kept (in the first partition) only if `keep_null`.
pub(crate) async fn split_rows(
    cx: &Context,
    keys: &[KeyColumn],
    streams: Vec<BatchStream>,
    buffers: &mut [SpillBuffer],
    salt: u64,
    keep_null: bool,
) -> Result<()> {
    let encoder = KeyEncoder::new(keys)?;
    let names: Vec<&str> = keys.iter().map(|key| key.column.as_str()).collect();
    for mut stream in streams {
        while let Some(batch) = stream.batches.next().await {
            cx.check()?;
            let batch = batch?;
            let columns: Vec<ArrayRef> = names
                .iter()
                .map(|name| column(&batch, name))
                .collect::<Result<_>>()?;
            let encoded = encoder.encode(&names, &columns, batch.num_rows())?;
            let mut places: Vec<Vec<u32>> = vec![Vec::new(); buffers.len()];
            for row in 0..batch.num_rows() {
                match encoded.partition(row, salt, buffers.len()) {
                    Some(partition) => places[partition].push(row as u32),
                    None if keep_null => places[0].push(row as u32),
                    None => {}
                }
            }
            for (rows, buffer) in places.into_iter().zip(buffers.iter_mut()) {
                if !rows.is_empty() {
                    let rows = UInt32Array::from(rows);
                    buffer
                        .push(take_record_batch(&batch, &rows).map_err(error::arrow)?)
                        .await?;
                }
            }
        }
    }
    Ok(())
}

async fn split(
    group: &Group,
    keys: &[KeyColumn],
    streams: Vec<BatchStream>,
    n: usize,
    keep_null: bool,
) -> Result<Vec<Spilled>> {
    let schema = streams
        .first()
        .map_or_else(|| Arc::new(Schema::empty()), |s| s.schema.clone());
    let mut buffers: Vec<SpillBuffer> = (0..n)
        .map(|_| SpillBuffer::with_memory(&group.resources, schema.clone(), 0))
        .collect();
    split_rows(&group.cx, keys, streams, &mut buffers, 0, keep_null).await?;
    buffers.into_iter().map(SpillBuffer::finish).collect()
}

/// The answer of one partition: row numbers, ascending, and features.
async fn answer_part(
    group: &Group,
    feeds: &[GroupFeed],
    spine: Spilled,
    per_chunk: u64,
    n_partitions: u64,
) -> Result<Spilled> {
    let schema = with_row_numbers(&answer_schema(&group.views));
    let row_bytes = VALUE_BYTES * schema.fields().len() as u64;
    let (most, least) = MERGE_ROWS;
    let merge_rows = group.resources.memory_limit_bytes / 4 / (n_partitions * row_bytes);
    let merge_rows = merge_rows.clamp(least, most) as usize;
    let mut buffer = SpillBuffer::with_memory(&group.resources, schema.clone(), 0);
    let mut spine_chunks = chunks(spine.stream(), per_chunk);
    while let Some(rows) = spine_chunks.next().await {
        let rows = rows?;
        let numbers = rows.numbers()?;
        let mut done = 0;
        let mut answers = chunk_answers(group, feeds, rows);
        while let Some(answer) = answers.next().await {
            let answer = answer?;
            for start in (0..answer.n_rows()).step_by(merge_rows) {
                let batch = answer.batch(start, merge_rows)?;
                let part: Int64Array = numbers.slice(done, batch.num_rows());
                done += batch.num_rows();
                let mut columns: Vec<ArrayRef> = vec![Arc::new(part)];
                columns.extend(batch.columns().iter().cloned());
                let batch = RecordBatch::try_new(schema.clone(), columns).map_err(error::arrow)?;
                buffer.push(batch).await?;
            }
        }
    }
    buffer.finish()
}

fn with_row_numbers(schema: &SchemaRef) -> SchemaRef {
    let number = Arc::new(Field::new(ROW, DataType::Int64, false));
    let fields = std::iter::once(number).chain(schema.fields().iter().cloned());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
