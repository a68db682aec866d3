//! Reads the first rows of a pass over a source while the spine is indexed.
//!
//! Rows can be looked up only when all keys of the spine are known, and indexing them keeps one thread
//! busy most of the time. So the others begin to read and to decode the source meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::SchemaRef;
use futures::{StreamExt, TryStreamExt, stream};
use provender_core::{BatchStream, Result};

use super::feed::Spawned;

/// Bytes that are read ahead at most, about, of what may be held in memory.
const MOST_BYTES: u64 = 16 << 20;
const MOST_OF_MEMORY: u64 = 8;

/// A source whose first rows are being read: those of its last streams.
pub(super) struct Ahead {
    /// That of all streams; `None` if there is none.
    schema: Option<SchemaRef>,
    common: Arc<Common>,
    readers: Vec<Spawned<Vec<BatchStream>>>,
}

/// What readers share.
struct Common {
    /// Streams that nobody has begun to read.
    streams: Mutex<Vec<BatchStream>>,
    is_over: AtomicBool,
    latest_first: bool,
    most_bytes: u64,
    n_bytes: AtomicU64,
}

impl Common {
    /// The last one, as those that all are read from.
    fn next_stream(&self) -> Option<BatchStream> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.pop()
    }

    fn is_enough(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
            || self.n_bytes.load(Ordering::Relaxed) >= self.most_bytes
    }

    /// Reads some streams, for as long as more is wanted. Answers them with all their rows.
    async fn read(self: Arc<Self>) -> Result<Vec<BatchStream>> {
        let mut begun = Vec::new();
        while !self.is_enough() {
            let Some(BatchStream { schema, batches }) = self.next_stream() else {
                break;
            };
            let (mut batches, mut ready) = (batches.fuse(), Vec::new());
            while !self.is_enough() {
                let Some(batch) = batches.next().await else {
                    break;
                };
                let n_bytes = batch
                    .as_ref()
                    .map_or(0, |batch| batch.get_array_memory_size());
                self.n_bytes.fetch_add(n_bytes as u64, Ordering::Relaxed);
                ready.push(batch);
                tokio::task::yield_now().await;
            }
            if self.latest_first && batches.is_done() {
                ready.reverse();
            }
            begun.push(BatchStream::new(schema, stream::iter(ready).chain(batches)));
        }
        Ok(begun)
    }
}

impl Ahead {
    /// Begins to read, if any of so many threads has nothing else to do. Of the batches of a stream the later ones come
    /// first if asked for, where all of them were read.
    pub(super) async fn new(
        streams: Vec<BatchStream>,
        n_threads: usize,
        memory_limit: u64,
        latest_first: bool,
    ) -> Self {
        let n_readers = n_threads.saturating_sub(1).min(streams.len());
        let schema = streams.first().map(|stream| stream.schema.clone());
        let common = Arc::new(Common {
            streams: Mutex::new(streams),
            is_over: AtomicBool::new(false),
            latest_first,
            most_bytes: MOST_BYTES.min(memory_limit / MOST_OF_MEMORY),
            n_bytes: AtomicU64::new(0),
        });
        let readers = (0..n_readers).map(|_| Spawned(tokio::spawn(common.clone().read())));
        let readers = readers.collect();
        // The reader that was spawned last waits for this thread, unless that gives it up for once.
        tokio::task::yield_now().await;
        Self {
            schema,
            common,
            readers,
        }
    }

    /// Ends reading ahead. Answers streams of all rows: those that none has begun in their order, and then one for
    /// each reader. Only who reads a reader's stream waits for what that was just about to read.
    pub(super) fn into_streams(self) -> Vec<BatchStream> {
        self.common.is_over.store(true, Ordering::Relaxed);
        let readers = self.readers.into_iter().zip(self.schema.iter().cycle());
        let begun = readers.map(|(reader, schema)| {
            let batches = stream::once(reader.ended())
                .map_ok(|begun| stream::iter(begun).flat_map(|stream| stream.batches))
                .try_flatten();
            BatchStream::new(schema.clone(), batches)
        });
        let common = &self.common.streams;
        let mut streams =
            std::mem::take(&mut *common.lock().unwrap_or_else(PoisonError::into_inner));
        streams.extend(begun);
        streams
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, RecordBatch};
    use arrow_schema::{DataType, Field, Schema};
    use provender_core::{Error, codes};

    use super::*;

    fn batch(n: i64) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
        let numbers = Arc::new(Int64Array::from(vec![n]));
        RecordBatch::try_new(Arc::new(schema), vec![numbers]).unwrap()
    }

    fn stream_of(numbers: std::ops::Range<i64>) -> BatchStream {
        BatchStream::from_batches(batch(0).schema(), numbers.map(batch).collect())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_rows_are_there_whatever_was_read_ahead() {
        for n_threads in [0, 1, 2, 5] {
            let streams = (0..4).map(|n| stream_of(n * 100..n * 100 + 100)).collect();
            let ahead = Ahead::new(streams, n_threads, 1 << 30, n_threads % 2 == 0).await;
            tokio::task::yield_now().await;
            let mut numbers = Vec::new();
            for stream in ahead.into_streams() {
                for batch in stream.collect().await.unwrap() {
                    numbers.push(batch.column(0).as_primitive::<Int64Type>().value(0));
                }
            }
            numbers.sort_unstable();
            assert_eq!(numbers, (0..400).collect::<Vec<_>>());
        }
        assert!(
            Ahead::new(Vec::new(), 3, 1 << 30, true)
                .await
                .into_streams()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_failure_comes_where_its_stream_is_read() {
        let failed = Err(Error::new(&codes::IO, "torn"));
        let broken = BatchStream::new(batch(0).schema(), stream::iter([Ok(batch(1)), failed]));
        let ahead = Ahead::new(vec![stream_of(2..4), broken], 2, 1 << 30, true).await;
        let mut last = ahead.into_streams().pop().unwrap().batches;
        let mut failures = Vec::new();
        while let Some(batch) = last.next().await {
            failures.extend(batch.err().map(|error| error.code().to_owned()));
        }
        assert_eq!(failures, [codes::IO.id]);
    }

    #[tokio::test]
    async fn a_stream_that_waits_holds_up_no_other() {
        let waiting = BatchStream::new(batch(0).schema(), stream::pending());
        let ahead = Ahead::new(vec![stream_of(0..3), waiting], 2, 1 << 30, true).await;
        let mut streams = ahead.into_streams();
        assert_eq!(streams.len(), 2);
        let other = streams.remove(0);
        assert_eq!(other.collect().await.unwrap().len(), 3);
    }
}
