//! The order in which a source's rows are read that come in many streams: for winners later ones first, as far as can be
//! told.
//!
//! Any order gives the same answer. Tables mostly grow by later rows, so each worker takes the last streams of a part
//! of its own, and of the batches of a stream those first that begin later: a row that comes after a later one of its
//! key is told by little to be no winner. Passes that only count are given their streams the other way round.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use arrow_array::{Array, RecordBatch};
use futures::StreamExt;
use futures::stream::BoxStream;
use provender_core::time::to_instants;
use provender_core::{BatchStream, Result};

use crate::parallel;
use crate::source::column;

/// Streams that workers share.
pub(super) struct Streams {
    /// A part for each worker, of consecutive streams.
    parts: Mutex<Vec<VecDeque<BatchStream>>>,
}

impl Streams {
    pub(super) fn new(streams: Vec<BatchStream>, n_workers: usize) -> Self {
        let ranges = parallel::ranges(streams.len(), n_workers);
        let mut streams = streams.into_iter();
        let parts = ranges.map(|range| streams.by_ref().take(range.len()).collect());
        Self {
            parts: Mutex::new(parts.collect()),
        }
    }

    /// The next stream for a worker: the last one of its part, or the first of the part of which most are left.
    pub(super) fn next(&self, worker: usize) -> Option<BatchStream> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = parts.get_mut(worker).and_then(VecDeque::pop_back) {
            return Some(own);
        }
        parts.iter_mut().max_by_key(|part| part.len())?.pop_front()
    }
}

/// The next batches of a stream, those that begin later first: about so many bytes, at least one batch. None at its end.
pub(super) async fn next_batches(
    batches: &mut BoxStream<'static, Result<RecordBatch>>,
    timestamp: &str,
    n_bytes: usize,
) -> Result<Vec<RecordBatch>> {
    let mut held = Vec::new();
    let mut n_held = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let first = column(&batch, timestamp)?.slice(0, batch.num_rows().min(1));
        let first = to_instants(&first)?;
        let first = first.iter().next().flatten();
        n_held += batch.get_array_memory_size();
        held.push((first, batch));
        if n_held >= n_bytes {
            break;
        }
        tokio::task::yield_now().await;
    }
    held.sort_by_key(|(first, _)| std::cmp::Reverse(*first));
    Ok(held.into_iter().map(|(_, batch)| batch).collect())
}
