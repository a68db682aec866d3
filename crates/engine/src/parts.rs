//! Results that come in parts, as Arrow streams that somebody else's storage holds: in order, several
//! parts ahead of the reader, within a limit of memory.
//!
//! Decides how many parts are asked for ahead, that rows come in order, how pauses between attempts
//! grow, and that a damaged part is an error and no more. It deliberately does not know how a part is
//! fetched: a [`PartSource`] does. Whoever drops a stream ends its downloads.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::{ArrowError, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use provender_core::{BatchStream, Context, Error, Result, codes};
use tokio::task::JoinHandle;

/// What a part is taken for whose size is not told.
const UNKNOWN_PART_BYTES: u64 = 16 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Where the parts of one result are fetched.
#[async_trait]
pub trait PartSource: Send + Sync + 'static {
    /// What names a part.
    type Part: Clone + Send + Sync + 'static;

    /// How many bytes a part has when it is read; zero if that is not known.
    fn n_bytes(&self, part: &Self::Part) -> u64;

    /// The part as an Arrow stream, asked for again while its failure is one that passes.
    ///
    /// # Errors
    /// `P503` if it cannot be had.
    async fn fetch(&self, part: &Self::Part) -> Result<Bytes>;

    /// Rows of a part as rows of the result's schema.
    ///
    /// # Errors
    /// `P504` for rows of another schema.
    fn decode(&self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch>;
}

/// What readers of a result may hold and do at once.
#[derive(Clone, Copy, Debug)]
pub struct PartLimits {
    /// Bytes of parts that are downloaded and not yet read, over all streams of one result.
    pub memory_bytes: u64,
    /// Parts that are asked for at once, for each stream.
    pub n_downloads: usize,
    /// Streams of one result.
    pub n_streams: usize,
}

/// The rows of a result in streams, each a range of it, the first rows first. `first` goes before the
/// first part.
pub fn streams<S: PartSource>(
    cx: &Context,
    source: &Arc<S>,
    schema: &SchemaRef,
    first: Option<Bytes>,
    parts: Vec<S::Part>,
    limits: PartLimits,
) -> Vec<BatchStream> {
    let n_streams = limits.n_streams.clamp(1, parts.len().max(1));
    let per_stream = parts.len().div_ceil(n_streams).max(1);
    let mut ranges: Vec<Vec<S::Part>> = parts.chunks(per_stream).map(<[_]>::to_vec).collect();
    if ranges.is_empty() {
        ranges.push(Vec::new());
    }
    let share = limits.memory_bytes / ranges.len() as u64;
    let mut first = first;
    ranges
        .into_iter()
        .map(|parts| {
            let reading = Reading {
                cx: cx.clone(),
                source: source.clone(),
                schema: schema.clone(),
                first: first.take(),
                parts: parts.into(),
                ahead: VecDeque::new(),
                open: None,
                memory_bytes: share,
                n_downloads: limits.n_downloads.max(1),
            };
            let batches = futures::stream::try_unfold(reading, Reading::step);
            BatchStream::new(schema.clone(), batches)
        })
        .collect()
}

/// How long to wait before the given attempt: doubled each time, with some chance so that many
/// clients do not come back at once.
pub fn pause(attempt: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1_u32 << attempt.saturating_sub(1).min(10));
    let longest = doubled.min(LONGEST_PAUSE);
    // Each of these has keys of its own.
    let share = RandomState::new().build_hasher().finish() & 0xff;
    longest / 2 + longest.mul_f64(share as f64 / 512.0)
}

/// Waits for something as long as the caller of a call does.
///
/// # Errors
/// `P905`, `P906` if the call ended first; what was waited for is then dropped.
pub async fn within<T>(cx: &Context, work: impl Future<Output = T>) -> Result<T> {
    let passed = async {
        match cx.deadline() {
            Some(at) => tokio::time::sleep_until(tokio::time::Instant::from_std(at)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = work => return Ok(done),
        () = cx.cancelled() => {}
        () = passed => {}
    }
    cx.check()?;
    Err(Error::new(&codes::CANCELLED, "the call was cancelled"))
}

/// A download in the background, ended when nobody wants it any more.
struct Download {
    n_bytes: u64,
    task: JoinHandle<Result<Bytes>>,
}

impl Drop for Download {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The part that is being read.
struct Open {
    reader: StreamReader<Cursor<Bytes>>,
    /// What it holds in memory.
    n_bytes: u64,
}

/// One stream's parts: what is read, what is on its way, and what is still to be asked for.
struct Reading<S: PartSource> {
    cx: Context,
    source: Arc<S>,
    schema: SchemaRef,
    first: Option<Bytes>,
    parts: VecDeque<S::Part>,
    ahead: VecDeque<Download>,
    open: Option<Open>,
    memory_bytes: u64,
    n_downloads: usize,
}

impl<S: PartSource> Reading<S> {
    async fn step(mut self) -> Result<Option<(RecordBatch, Self)>> {
        let batch = self.next().await?;
        Ok(batch.map(|batch| (batch, self)))
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.cx.check()?;
            if let Some(open) = &mut self.open {
                match fenced(|| open.reader.next()).transpose() {
                    Some(batch) => return self.source.decode(&batch?, &self.schema).map(Some),
                    None => self.open = None,
                }
            }
            self.ask_ahead();
            let (bytes, n_bytes) = match self.first.take() {
                Some(first) => {
                    let n_bytes = first.len() as u64;
                    (first, n_bytes)
                }
                None => match self.ahead.pop_front() {
                    None => return Ok(None),
                    Some(mut download) => {
                        let n_bytes = download.n_bytes;
                        let arrived = within(&self.cx, &mut download.task).await?;
                        let bytes = arrived.map_err(|error| {
                            Error::new(&codes::OFFLINE_UNAVAILABLE, "a download was ended")
                                .source(error)
                        })??;
                        (bytes, n_bytes)
                    }
                },
            };
            let reader = fenced(|| Some(StreamReader::try_new(Cursor::new(bytes), None)))?;
            self.open = reader.map(|reader| Open { reader, n_bytes });
        }
    }

    /// Starts downloads as far ahead as the limits allow; always one, however large.
    fn ask_ahead(&mut self) {
        while self.ahead.len() < self.n_downloads {
            let held = self.open.as_ref().map_or(0, |open| open.n_bytes)
                + self.first.as_ref().map_or(0, |first| first.len() as u64)
                + self.ahead.iter().map(|next| next.n_bytes).sum::<u64>();
            let Some(next) = self.parts.front() else {
                return;
            };
            let n_bytes = match self.source.n_bytes(next) {
                0 => UNKNOWN_PART_BYTES,
                known => known,
            };
            if !self.ahead.is_empty() && held.saturating_add(n_bytes) > self.memory_bytes {
                return;
            }
            let Some(part) = self.parts.pop_front() else {
                return;
            };
            let source = self.source.clone();
            let task = tokio::spawn(async move { source.fetch(&part).await });
            self.ahead.push_back(Download { n_bytes, task });
        }
    }
}

/// Runs Arrow's reader on bytes from outside; what it panics on is unreadable, and no more than that.
fn fenced<T>(
    read: impl FnOnce() -> Option<std::result::Result<T, ArrowError>>,
) -> Result<Option<T>> {
    let unreadable = || {
        Error::new(
            &codes::OFFLINE_DATA,
            "a part of a result is not an Arrow stream",
        )
    };
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.transpose().map_err(|error| unreadable().source(error)),
        Err(_) => Err(unreadable()),
    }
}
