//! The order in which a source's rows are read that come in many streams: for winners later ones first, as far as can be
//! told.
//!
//! Any order gives the same answer. Tables mostly grow by later rows, so each worker takes the last streams of a part
//! of its own, and of the batches of a stream those first that begin later: a row that comes after a later one of its
//! key is told by little to be no winner. Passes that only count are given their streams the other way round, and their
//! workers come to meet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, RecordBatch};
use futures::StreamExt;
use futures::stream::BoxStream;
use provender_core::time::to_instants;
use provender_core::{BatchStream, Result};

use crate::parallel;
use crate::source::column;

/// Streams that workers share.
pub(super) struct Streams {
    left: Mutex<Left>,
    order: Order,
}

/// From which end of its part a worker takes streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// All begin with the last one, so that each reads the latest rows of its part first.
    LastFirst,
    /// The last worker begins with the last one, the worker before it with the first one, and so on: two come to meet
    /// where their parts do. Those who help each other in the end then read rows like those that they read before, for
    /// which they have what is held of them.
    Meeting,
}

struct Left {
    /// A part for each worker, of consecutive streams that nobody has begun to read.
    parts: Vec<VecDeque<BatchStream>>,
    begun: Vec<Arc<Begun>>,
}

/// A stream that one worker has begun to read, and others may go on with: each batch is taken by one of them.
pub(super) struct Begun {
    batches: tokio::sync::Mutex<BoxStream<'static, Result<RecordBatch>>>,
    is_over: AtomicBool,
}

impl Streams {
    pub(super) fn new(streams: Vec<BatchStream>, n_workers: usize, order: Order) -> Self {
        let ranges = parallel::ranges(streams.len(), n_workers);
        let mut streams = streams.into_iter();
        let parts = ranges.map(|range| streams.by_ref().take(range.len()).collect());
        Self {
            left: Mutex::new(Left {
                parts: parts.collect(),
                begun: Vec::new(),
            }),
            order,
        }
    }

    /// Whether a worker takes the last streams of its part first.
    fn is_last_first(&self, worker: usize, n_workers: usize) -> bool {
        self.order == Order::LastFirst || (n_workers - worker) % 2 == 1
    }

    /// The next stream for a worker: that of its part, or of the part of which most are left that its worker would take
    /// last. Where all are begun, one that another worker reads, so that none waits for the last stream's reader.
    pub(super) fn next(&self, worker: usize) -> Option<Arc<Begun>> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let n_workers = left.parts.len();
        let own = left.parts.get_mut(worker);
        let own = own.and_then(|part| match self.is_last_first(worker, n_workers) {
            true => part.pop_back(),
            false => part.pop_front(),
        });
        let stream = own.or_else(|| {
            let parts = left.parts.iter_mut().enumerate();
            let (of, part) = parts.max_by_key(|(_, part)| part.len())?;
            match self.is_last_first(of, n_workers) {
                true => part.pop_front(),
                false => part.pop_back(),
            }
        });
        left.begun
            .retain(|begun| !begun.is_over.load(Ordering::Relaxed));
        let Some(stream) = stream else {
            let n_begun = left.begun.len();
            return left.begun.get(worker % n_begun.max(1)).cloned();
        };
        let begun = Arc::new(Begun {
            batches: tokio::sync::Mutex::new(stream.batches),
            is_over: AtomicBool::new(false),
        });
        left.begun.push(begun.clone());
        Some(begun)
    }
}

impl Begun {
    /// The next batches, those that begin later first: about so many bytes, at least one batch. None at the end.
    pub(super) async fn next_batches(
        &self,
        timestamp: &str,
        n_bytes: usize,
    ) -> Result<Vec<RecordBatch>> {
        let mut batches = self.batches.lock().await;
        if self.is_over.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let next = next_batches(&mut batches, timestamp, n_bytes).await;
        if next.as_ref().map_or(true, Vec::is_empty) {
            self.is_over.store(true, Ordering::Relaxed);
        }
        next
    }
}

/// The same of a stream.
async fn next_batches(
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow_array::TimestampMicrosecondArray;
    use arrow_array::cast::AsArray;
    use arrow_array::types::TimestampMicrosecondType;
    use arrow_schema::{Field, Schema};
    use provender_core::time::instant_type;
    use provender_core::{Error, codes};

    use super::*;

    fn batch(time: i64) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("t", instant_type(), false)]);
        let times = TimestampMicrosecondArray::from(vec![time]).with_timezone("UTC");
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(times)]).unwrap()
    }

    fn streams(n_streams: i64, n_batches: i64) -> Vec<BatchStream> {
        let starts = (0..n_streams).map(|n| n * n_batches);
        let batches = starts.map(|start| (start..start + n_batches).map(batch).collect());
        batches
            .map(|batches| BatchStream::from_batches(batch(0).schema(), batches))
            .collect()
    }

    async fn next(begun: &Begun, n_bytes: usize) -> Vec<i64> {
        let batches = begun.next_batches("t", n_bytes).await.unwrap();
        let times = batches.iter().map(|batch| {
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            times.value(0)
        });
        times.collect()
    }

    #[tokio::test]
    async fn each_worker_begins_with_the_last_streams_of_its_own_and_helps_with_others() {
        let streams = Streams::new(streams(3, 2), 2, Order::LastFirst);
        let (first, second) = (streams.next(0).unwrap(), streams.next(1).unwrap());
        assert_eq!(next(&first, 0).await, [0]);
        assert_eq!(next(&second, 1 << 20).await, [5, 4]);
        assert!(next(&second, 0).await.is_empty());
        let third = streams.next(1).unwrap();
        assert_eq!(next(&third, 0).await, [2]);
        // All are begun: whoever has nothing to do takes from those of others.
        let helped = [streams.next(0).unwrap(), streams.next(1).unwrap()];
        assert_eq!(next(&helped[0], 0).await, [1]);
        assert_eq!(next(&helped[1], 0).await, [3]);
        for begun in [&first, &third, &helped[0], &helped[1]] {
            assert!(next(begun, 0).await.is_empty());
        }
        assert!(streams.next(0).is_none() && streams.next(1).is_none());
    }

    #[tokio::test]
    async fn workers_that_only_count_come_to_meet() {
        let streams = Streams::new(streams(10, 1), 2, Order::Meeting);
        let mut taken = [const { Vec::new() }; 2];
        // The first is done sooner.
        for worker in [0, 1, 0, 0, 0, 1, 0, 0, 1, 0] {
            taken[worker].extend(next(&streams.next(worker).unwrap(), 0).await);
        }
        assert_eq!(taken, [vec![0, 1, 2, 3, 4, 5, 6], vec![9, 8, 7]]);
        let streams = Streams::new(self::streams(6, 1), 3, Order::Meeting);
        let firsts = [0, 1, 2].map(|worker| streams.next(worker).unwrap());
        let mut read = Vec::new();
        for first in &firsts {
            read.extend(next(first, 0).await);
        }
        assert_eq!(read, [1, 2, 5]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn every_batch_is_read_once() {
        for n_workers in [1, 2, 4, 5] {
            let order = [Order::LastFirst, Order::Meeting][n_workers % 2];
            let streams = Arc::new(Streams::new(streams(4, 50), n_workers, order));
            let workers = (0..n_workers).map(|worker| {
                let streams = streams.clone();
                tokio::spawn(async move {
                    let mut read = Vec::new();
                    while let Some(begun) = streams.next(worker) {
                        loop {
                            let times = next(&begun, 0).await;
                            if times.is_empty() {
                                break;
                            }
                            read.extend(times);
                            tokio::task::yield_now().await;
                        }
                    }
                    read
                })
            });
            let mut all = Vec::new();
            for worker in workers.collect::<Vec<_>>() {
                all.extend(worker.await.unwrap());
            }
            all.sort_unstable();
            assert_eq!(all, (0..200).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_failure_ends_a_stream_for_all() {
        let failed = Err(Error::new(&codes::IO, "torn"));
        let batches = futures::stream::iter([Ok(batch(1)), failed]);
        let stream = BatchStream::new(batch(0).schema(), batches);
        let streams = Streams::new(vec![stream], 2, Order::LastFirst);
        let begun = streams.next(0).unwrap();
        assert_eq!(next(&begun, 0).await, [1]);
        let failure = begun.next_batches("t", 0).await.unwrap_err();
        assert_eq!(failure.code(), codes::IO.id);
        assert!(next(&begun, 0).await.is_empty() && streams.next(1).is_none());
    }
}
