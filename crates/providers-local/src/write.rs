//! Writing and erasing rows.
//!
//! Decides how a stream of rows becomes transactions, and who wins: rows are packed, gathered in chunks,
//! sorted by key, and each chunk is one durable transaction in which every row is compared with the one
//! that is held. The next chunk is packed while one is written. Bytes are the codec's business.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::StreamExt;
use heed::RwTxn;
use provender_codec::{KeyFormat, RowDecoder, RowFormat, RowOrder, order};
use provender_core::request::{ViewLayout, WriteSummary};
use provender_core::time::now_us;
use provender_core::{BatchStream, Context, Error, Result, codes};
use tokio::task::JoinHandle;

use crate::blocking;
use crate::environment::Environment;
use crate::error::Failure;
use crate::names::to_stored_key;
use crate::slot::Slot;

/// Rows packed between two looks at how full a chunk is.
const SLICE_ROWS: usize = 8_192;
/// A chunk is written when it has this many rows, ...
const CHUNK_ROWS: usize = 500_000;
/// ... or this many bytes, or fewer where memory is limited. Rows mostly come in no order of keys, so
/// that a chunk changes pages all over the file, each of which is copied: the more rows a chunk has, the
/// fewer copies each row costs, and the fuller the pages are. Two chunks are held at once, and other
/// writers wait for one at most.
const MOST_CHUNK_BYTES: u64 = 64 << 20;
const LEAST_CHUNK_BYTES: u64 = 1 << 20;
/// The part of the memory limit that a chunk may take.
const CHUNKS_IN_MEMORY: u64 = 16;
/// Bytes of a key that are compared as one number before the rest is looked at.
const PREFIX_BYTES: usize = 8;
/// Keys erased in one transaction.
const DELETE_KEYS: usize = 50_000;

/// Rows of one transaction: all bytes in one piece, and where each row's key and value lie.
#[derive(Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    rows: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    /// The key's first bytes, as a number that orders as they do.
    prefix: u64,
    key: usize,
    row: usize,
    end: usize,
}

/// The first bytes of a key, zeros after its end. Keys that differ in it compare as it does.
fn prefix(key: &[u8]) -> u64 {
    let mut bytes = [0; PREFIX_BYTES];
    let n_bytes = key.len().min(PREFIX_BYTES);
    bytes[..n_bytes].copy_from_slice(&key[..n_bytes]);
    u64::from_be_bytes(bytes)
}

/// The bytes of a chunk under a limit of memory.
pub(crate) fn chunk_bytes(memory_limit_bytes: u64) -> usize {
    let bytes = memory_limit_bytes / CHUNKS_IN_MEMORY;
    let bytes = bytes.clamp(LEAST_CHUNK_BYTES, MOST_CHUNK_BYTES);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl Chunk {
    fn is_full(&self, chunk_bytes: usize) -> bool {
        self.rows.len() >= CHUNK_ROWS || self.bytes.len() >= chunk_bytes
    }

    /// Packs all rows of a batch.
    fn append(&mut self, format: &RowFormat, batch: &RecordBatch) -> Result<()> {
        let encoder = format.encoder(batch)?;
        let mut key = Vec::new();
        for index in 0..encoder.n_rows() {
            key.clear();
            encoder.append_key(index, &mut key);
            to_stored_key(&mut key);
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&key);
            let row = self.bytes.len();
            encoder.append(index, &mut self.bytes)?;
            self.rows.push(Entry {
                prefix: prefix(&key),
                key: start,
                row,
                end: self.bytes.len(),
            });
        }
        Ok(())
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.key..entry.row]
    }

    fn row(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.row..entry.end]
    }

    /// Orders rows by key, and rows of one key by when they came.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.rows.sort_by(|a, b| {
            let rest = || bytes[a.key..a.row].cmp(&bytes[b.key..b.row]);
            a.prefix.cmp(&b.prefix).then_with(rest)
        });
    }

    /// Writes the rows that win; answers how many of them did, each compared with what came before it.
    /// `reader` is asked whether a row that would win against them can be read at all.
    fn apply(
        &self,
        reader: &RowDecoder,
        environment: &Environment,
        txn: &mut RwTxn<'_>,
    ) -> Result<u64, Failure> {
        let failure = |error| environment.failure("write to", error);
        let mut n_applied = 0;
        for same_key in self.rows.chunk_by(|a, b| self.key(a) == self.key(b)) {
            let key = self.key(&same_key[0]);
            let (Some(row), n_won) = self.contest(same_key, None)? else {
                continue;
            };
            // Most keys of a first run are new: one search finds that out and writes.
            let held = environment
                .rows
                .get_or_put(txn, key, row)
                .map_err(failure)?;
            let Some(held) = held else {
                n_applied += n_won;
                continue;
            };
            // Bytes that say nothing about their time cannot be compared with, nor read by anybody.
            let mut newest = order(held).ok();
            // A damaged row whose time is in the far future would otherwise never be mended.
            let first = order(self.row(&same_key[0]))?;
            if newest.as_ref().is_some_and(|newest| first < *newest)
                && !reader.decode(&[Some(held)])?.unreadable.is_empty()
            {
                newest = None;
            }
            let (winner, n_won) = self.contest(same_key, newest)?;
            n_applied += n_won;
            // A row that is there already, to the last bit, needs no page of its own.
            if let Some(row) = winner
                && row != held
            {
                environment.rows.put(txn, key, row).map_err(failure)?;
            }
        }
        Ok(n_applied)
    }

    /// The last of some rows of one key that wins against the one before it, beginning with `newest`,
    /// and how many win. A full tie goes to the later row.
    fn contest<'a>(
        &'a self,
        same_key: &[Entry],
        mut newest: Option<RowOrder<'a>>,
    ) -> Result<(Option<&'a [u8]>, u64), Failure> {
        let mut winner = None;
        let mut n_won = 0;
        for entry in same_key {
            let row = self.row(entry);
            let own = order(row)?;
            if newest.as_ref().is_none_or(|newest| own >= *newest) {
                newest = Some(own);
                winner = Some(row);
                n_won += 1;
            }
        }
        Ok((winner, n_won))
    }
}

/// Writes all rows of a stream. Durable when it returns.
pub(crate) async fn write(
    cx: &Context,
    slot: &Arc<Slot>,
    layout: &ViewLayout,
    mut rows: BatchStream,
    chunk_bytes: usize,
) -> Result<WriteSummary> {
    cx.check()?;
    let format = RowFormat::new(layout)?;
    let reader = Arc::new(format.decoder(&[])?);
    let layout: Arc<str> = serde_json::to_string(layout)
        .map_err(|error| Error::new(&codes::INTERNAL, "a layout has no text").source(error))?
        .into();
    let mut summary = WriteSummary::default();
    let mut chunk = Chunk::default();
    let mut writing = Writing {
        cx: cx.clone(),
        slot: Arc::clone(slot),
        layout,
        reader,
        task: None,
        n_applied: 0,
    };
    while let Some(batch) = rows.batches.next().await {
        cx.check()?;
        let batch = batch?;
        if batch.num_rows() > SLICE_ROWS {
            // What is wrong with a batch is said before any of its rows is written.
            format.encoder(&batch)?;
        }
        summary.n_rows += batch.num_rows() as u64;
        for start in (0..batch.num_rows()).step_by(SLICE_ROWS) {
            let n_rows = SLICE_ROWS.min(batch.num_rows() - start);
            chunk.append(&format, &batch.slice(start, n_rows))?;
            if chunk.is_full(chunk_bytes) {
                writing.start(std::mem::take(&mut chunk)).await?;
            }
        }
        if batch.num_rows() == 0 {
            format.encoder(&batch)?;
        }
    }
    if !chunk.rows.is_empty() {
        writing.start(chunk).await?;
    }
    writing.finish().await?;
    summary.n_applied = writing.n_applied;
    Ok(summary)
}

/// The chunk that is being written while the next one is packed.
struct Writing {
    cx: Context,
    slot: Arc<Slot>,
    layout: Arc<str>,
    reader: Arc<RowDecoder>,
    task: Option<JoinHandle<Result<u64>>>,
    n_applied: u64,
}

impl Writing {
    /// Waits for the chunk before, and starts this one.
    async fn start(&mut self, mut chunk: Chunk) -> Result<()> {
        self.finish().await?;
        let (cx, slot) = (self.cx.clone(), Arc::clone(&self.slot));
        let (layout, reader) = (Arc::clone(&self.layout), Arc::clone(&self.reader));
        self.task = Some(tokio::spawn(async move {
            blocking::run(&cx, move |cx| {
                chunk.sort();
                let written = slot.change(Some((&layout, now_us())), |environment, txn| {
                    // The wait for other writers may have been long.
                    cx.check()?;
                    environment.set_layout(txn, &layout)?;
                    chunk.apply(&reader, environment, txn)
                })?;
                Ok(written.unwrap_or(0))
            })
            .await
        }));
        Ok(())
    }

    /// Waits for the chunk that is being written, if there is one.
    async fn finish(&mut self) -> Result<()> {
        let Some(task) = self.task.take() else {
            return Ok(());
        };
        let written = task.await.map_err(|error| {
            Error::new(&codes::INTERNAL, "a write ended without a result").source(error)
        })?;
        self.n_applied += written?;
        Ok(())
    }
}

/// Erases keys, whatever their rows.
pub(crate) async fn delete(
    cx: &Context,
    slot: &Arc<Slot>,
    layout: &ViewLayout,
    keys: &RecordBatch,
) -> Result<()> {
    cx.check()?;
    let format = KeyFormat::new(&layout.join_keys)?;
    let bound = format
        .bind(keys.columns(), keys.num_rows())
        .map_err(|error| {
            error
                .prefixed(format!("keys of view {:?} cannot be erased: ", layout.view))
                .context("view", layout.view.clone())
        })?;
    let mut stored = Vec::with_capacity(bound.n_rows());
    for index in 0..bound.n_rows() {
        let mut key = Vec::new();
        if bound.append(index, &mut key) {
            to_stored_key(&mut key);
            stored.push(key);
        }
    }
    stored.sort_unstable();
    stored.dedup();
    let slot = Arc::clone(slot);
    blocking::run(cx, move |cx| {
        for keys in stored.chunks(DELETE_KEYS) {
            slot.change(None, |environment, txn| {
                cx.check()?;
                for key in keys {
                    environment
                        .rows
                        .delete(txn, key)
                        .map_err(|error| environment.failure("write to", error))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    })
    .await
}
