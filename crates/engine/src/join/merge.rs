//! Merges partitions, each ascending by row number, into one stream ascending by row number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use arrow_select::interleave::interleave;
use async_stream::try_stream;
use futures::StreamExt;
use provender_core::{BatchStream, Result};

use super::BATCH_ROWS;
use crate::error;
use crate::spill::Spilled;

struct Part {
    stream: BatchStream,
    batch: RecordBatch,
    numbers: Int64Array,
    next: usize,
}

impl Part {
    async fn open(spilled: &Spilled) -> Result<Option<Self>> {
        let mut stream = spilled.stream();
        let first = next_batch(&mut stream).await?;
        Ok(first.map(|(batch, numbers)| Self {
            stream,
            batch,
            numbers,
            next: 0,
        }))
    }
}

async fn next_batch(stream: &mut BatchStream) -> Result<Option<(RecordBatch, Int64Array)>> {
    while let Some(batch) = stream.batches.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            let numbers = batch.column(0).as_primitive::<Int64Type>().clone();
            return Ok(Some((batch, numbers)));
        }
    }
    Ok(None)
}

/// The partitions' rows by row number (their first column), without it, under `schema`.
pub(super) fn merge_by_row(schema: SchemaRef, parts: Vec<Spilled>) -> BatchStream {
    let output = schema.clone();
    BatchStream::new(
        output,
        try_stream! {
            let mut open = Vec::with_capacity(parts.len());
            for part in &parts {
                open.extend(Part::open(part).await?);
            }
            let mut heap: BinaryHeap<Reverse<(i64, usize)>> =
                open.iter().enumerate().map(|(i, part)| Reverse((part.numbers.value(0), i))).collect();
            let mut picked: Vec<(usize, usize)> = Vec::with_capacity(BATCH_ROWS);
            while let Some(Reverse((_, i))) = heap.pop() {
                picked.push((i, open[i].next));
                open[i].next += 1;
                let ended = open[i].next == open[i].batch.num_rows();
                if ended || picked.len() == BATCH_ROWS {
                    // A part's batch may only be replaced once nothing picked lies in it.
                    yield gather(&schema, &open, &picked)?;
                    picked.clear();
                }
                if ended {
                    match next_batch(&mut open[i].stream).await? {
                        None => continue,
                        Some((batch, numbers)) => {
                            (open[i].batch, open[i].numbers, open[i].next) = (batch, numbers, 0);
                        }
                    }
                }
                heap.push(Reverse((open[i].numbers.value(open[i].next), i)));
            }
            if !picked.is_empty() {
                yield gather(&schema, &open, &picked)?;
            }
        },
    )
}

fn gather(schema: &SchemaRef, open: &[Part], picked: &[(usize, usize)]) -> Result<RecordBatch> {
    let columns = (0..schema.fields().len())
        .map(|i| {
            let arrays: Vec<&dyn Array> = open
                .iter()
                .map(|part| part.batch.column(i + 1).as_ref())
                .collect();
            interleave(&arrays, picked).map_err(error::arrow)
        })
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(picked.len()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(error::arrow)
}
