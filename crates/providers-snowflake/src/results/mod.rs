//! Results as streams: in Snowflake's order, part by part, several parts ahead, within a limit.
//!
//! A result is a first part inside of the answer, and chunks that are downloaded from the storage
//! behind Snowflake. This module decides how many chunks are asked for ahead of the reader, that they
//! come in order, and how often a download is repeated. Whoever drops a stream ends its downloads.

mod decode;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::SchemaRef;
use base64::Engine;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use provender_core::{BatchStream, Context, Error, Result, codes};
use tokio::task::JoinHandle;

pub(crate) use self::decode::decode;
use crate::session::protocol::{Chunk, QueryData};
use crate::session::{Http, MAX_CHUNK_ATTEMPTS, pause};
use crate::types::Columns;

/// What readers of results may hold and do at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of chunks that are downloaded and not yet read, over all streams of one result.
    pub memory_bytes: u64,
    /// Chunks that are asked for at once, for each stream.
    pub n_downloads: usize,
    /// Streams of one result.
    pub n_streams: usize,
}

/// Snowflake sends chunks of some megabytes; one whose size is not told is taken for such a one.
const UNKNOWN_CHUNK_BYTES: u64 = 16 << 20;

/// The rows of an answer in streams, each a range of it, in order.
///
/// # Errors
/// `P504` if the answer holds no Arrow rows.
pub(crate) fn streams(
    cx: &Context,
    http: &Http,
    data: QueryData,
    limits: Limits,
) -> Result<Vec<BatchStream>> {
    let schema = Columns::new(data.rowtype.clone()).answered;
    if data.rowset.as_ref().is_some_and(|rows| !rows.is_empty()) {
        return Err(Error::new(
            &codes::OFFLINE_DATA,
            "Snowflake answers rows as JSON, which carries values less exactly than Arrow",
        )
        .help(
            "ask for rows with a SELECT, and leave the session parameters of result formats alone",
        ));
    }
    let first = match data.rowset_base64.as_deref() {
        None | Some("") => None,
        Some(text) => Some(Bytes::from(
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|error| {
                    Error::new(
                        &codes::OFFLINE_DATA,
                        "the first part of a result is not base64",
                    )
                    .source(error)
                })?,
        )),
    };
    let headers = Arc::new(chunk_headers(&data)?);
    // The first part goes before the first chunk, and ranges of chunks are dealt out in order.
    let n_streams = limits.n_streams.clamp(1, data.chunks.len().max(1));
    let per_stream = data.chunks.len().div_ceil(n_streams).max(1);
    let mut ranges: Vec<Vec<Chunk>> = data
        .chunks
        .chunks(per_stream)
        .map(<[Chunk]>::to_vec)
        .collect();
    if ranges.is_empty() {
        ranges.push(Vec::new());
    }
    let share = limits.memory_bytes / ranges.len() as u64;
    let mut first = first;
    Ok(ranges
        .into_iter()
        .map(|chunks| {
            let parts = Parts {
                cx: cx.clone(),
                http: http.clone(),
                headers: headers.clone(),
                schema: schema.clone(),
                first: first.take(),
                chunks: chunks.into(),
                ahead: VecDeque::new(),
                open: None,
                memory_bytes: share,
                n_downloads: limits.n_downloads.max(1),
            };
            BatchStream::new(
                schema.clone(),
                futures::stream::try_unfold(parts, Parts::step),
            )
        })
        .collect())
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
struct Parts {
    cx: Context,
    http: Http,
    headers: Arc<HeaderMap>,
    schema: SchemaRef,
    first: Option<Bytes>,
    chunks: VecDeque<Chunk>,
    ahead: VecDeque<Download>,
    open: Option<Open>,
    memory_bytes: u64,
    n_downloads: usize,
}

impl Parts {
    async fn step(mut self) -> Result<Option<(RecordBatch, Self)>> {
        let batch = self.next().await?;
        Ok(batch.map(|batch| (batch, self)))
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.cx.check()?;
            if let Some(open) = &mut self.open {
                match fenced(|| open.reader.next()).transpose() {
                    Some(batch) => return decode(&batch?, &self.schema).map(Some),
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
                        (self.arrived(&mut download).await?, n_bytes)
                    }
                },
            };
            let reader = fenced(|| Some(StreamReader::try_new(Cursor::new(bytes), None)))?;
            self.open = reader.map(|reader| Open { reader, n_bytes });
        }
    }

    /// Waits for a chunk, as long as the caller does.
    async fn arrived(&self, download: &mut Download) -> Result<Bytes> {
        let deadline = self.cx.deadline().map(tokio::time::Instant::from_std);
        let passed = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            arrived = &mut download.task => match arrived {
                Ok(bytes) => bytes,
                Err(error) => Err(Error::new(&codes::OFFLINE_UNAVAILABLE, "a download was ended").source(error)),
            },
            () = self.cx.cancelled() => Err(self.interrupted()),
            () = passed => Err(self.interrupted()),
        }
    }

    fn interrupted(&self) -> Error {
        let interrupted = self.cx.check().err();
        interrupted.unwrap_or_else(|| Error::new(&codes::CANCELLED, "the call was cancelled"))
    }

    /// Starts downloads as far ahead as the limits allow; always one, however large.
    fn ask_ahead(&mut self) {
        while self.ahead.len() < self.n_downloads {
            let held = self.open.as_ref().map_or(0, |open| open.n_bytes)
                + self.first.as_ref().map_or(0, |first| first.len() as u64)
                + self
                    .ahead
                    .iter()
                    .map(|download| download.n_bytes)
                    .sum::<u64>();
            let Some(next) = self.chunks.front() else {
                return;
            };
            let n_bytes = match next.uncompressed_size {
                0 => UNKNOWN_CHUNK_BYTES,
                known => known,
            };
            if !self.ahead.is_empty() && held.saturating_add(n_bytes) > self.memory_bytes {
                return;
            }
            let Some(chunk) = self.chunks.pop_front() else {
                return;
            };
            let (http, headers) = (self.http.clone(), self.headers.clone());
            let task = tokio::spawn(async move { download(&http, &chunk, &headers).await });
            self.ahead.push_back(Download { n_bytes, task });
        }
    }
}

/// One chunk, asked for again while its failure is one that passes. A chunk that ends early is one.
async fn download(http: &Http, chunk: &Chunk, headers: &HeaderMap) -> Result<Bytes> {
    let mut attempt = 0;
    loop {
        let failure = match http.chunk(&chunk.url, headers).await {
            Ok(bytes) => return Ok(bytes),
            Err(failure) => failure,
        };
        attempt += 1;
        if !failure.passes || attempt >= MAX_CHUNK_ATTEMPTS {
            return Err(failure.error);
        }
        tracing::debug!(attempt, "the download of a part of a result is repeated");
        tokio::time::sleep(failure.wait.unwrap_or_else(|| pause(attempt))).await;
    }
}

/// Runs Arrow's reader on bytes from outside; what it panics on is unreadable, and no more than that.
fn fenced<T>(
    read: impl FnOnce() -> Option<std::result::Result<T, arrow_schema::ArrowError>>,
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

fn chunk_headers(data: &QueryData) -> Result<HeaderMap> {
    let mut pairs: Vec<(String, String)> = match &data.chunk_headers {
        Some(headers) => headers.clone().into_iter().collect(),
        None => Vec::new(),
    };
    if let (true, Some(key)) = (pairs.is_empty(), &data.qrmk) {
        let prefix = "x-amz-server-side-encryption-customer";
        pairs.push((format!("{prefix}-algorithm"), "AES256".to_owned()));
        pairs.push((format!("{prefix}-key"), key.clone()));
    }
    let bad = || Error::new(&codes::OFFLINE_DATA, "a result names headers that are none");
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
