//! Writing and erasing rows.
//!
//! Decides how a stream of rows becomes transactions, and who wins: rows are packed, gathered in chunks,
//! sorted by key, and each chunk is one durable transaction in which every row is compared with the one
//! that is held. Bytes are the codec's business.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::StreamExt;
use heed::RwTxn;
use provender_codec::{KeyFormat, RowDecoder, RowFormat, order};
use provender_core::request::{ViewLayout, WriteSummary};
use provender_core::time::now_us;
use provender_core::{BatchStream, Context, Error, Result, codes};

use crate::blocking;
use crate::environment::Environment;
use crate::error::Failure;
use crate::names::to_stored_key;
use crate::slot::Slot;

/// Rows packed between two looks at how full a chunk is.
const SLICE_ROWS: usize = 8_192;
/// A chunk is written when it has this many rows, ...
const CHUNK_ROWS: usize = 50_000;
/// ... or this many bytes.
const CHUNK_BYTES: usize = 16 << 20;
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
    key: usize,
    row: usize,
    end: usize,
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.rows.len() >= CHUNK_ROWS || self.bytes.len() >= CHUNK_BYTES
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
        self.rows
            .sort_by(|a, b| bytes[a.key..a.row].cmp(&bytes[b.key..b.row]));
    }

    /// Writes the rows that win; answers how many of them did, each compared with what came before it.
    /// `reader` is asked whether a row that would win against them can be read at all.
    fn apply(
        &self,
        reader: &RowDecoder,
        environment: &Environment,
        txn: &mut RwTxn<'_>,
    ) -> Result<u64, Failure> {
        let mut n_applied = 0;
        for same_key in self.rows.chunk_by(|a, b| self.key(a) == self.key(b)) {
            let key = self.key(&same_key[0]);
            let held = environment
                .rows
                .get(txn, key)
                .map_err(|error| environment.failure("read", error))?;
            // Bytes that say nothing about their time cannot be compared with, nor read by anybody.
            let mut newest = held.and_then(|row| order(row).ok());
            let mut winner = None;
            for (index, entry) in same_key.iter().enumerate() {
                let row = self.row(entry);
                let own = order(row)?;
                // A damaged row whose time is in the far future would otherwise never be mended.
                if index == 0
                    && newest.as_ref().is_some_and(|newest| own < *newest)
                    && !reader.decode(&[held])?.unreadable.is_empty()
                {
                    newest = None;
                }
                // A full tie goes to the later write.
                if newest.as_ref().is_none_or(|newest| own >= *newest) {
                    newest = Some(own);
                    winner = Some(row);
                    n_applied += 1;
                }
            }
            if let Some(row) = winner {
                environment
                    .rows
                    .put(txn, key, row)
                    .map_err(|error| environment.failure("write to", error))?;
            }
        }
        Ok(n_applied)
    }
}

/// Writes all rows of a stream. Durable when it returns.
pub(crate) async fn write(
    cx: &Context,
    slot: &Arc<Slot>,
    layout: &ViewLayout,
    mut rows: BatchStream,
) -> Result<WriteSummary> {
    cx.check()?;
    let format = RowFormat::new(layout)?;
    let reader = Arc::new(format.decoder(&[])?);
    let layout: Arc<str> = serde_json::to_string(layout)
        .map_err(|error| Error::new(&codes::INTERNAL, "a layout has no text").source(error))?
        .into();
    let mut summary = WriteSummary::default();
    let mut chunk = Chunk::default();
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
            if chunk.is_full() {
                let full = std::mem::take(&mut chunk);
                summary.n_applied += write_chunk(cx, slot, &layout, &reader, full).await?;
            }
        }
        if batch.num_rows() == 0 {
            format.encoder(&batch)?;
        }
    }
    if !chunk.rows.is_empty() {
        summary.n_applied += write_chunk(cx, slot, &layout, &reader, chunk).await?;
    }
    Ok(summary)
}

async fn write_chunk(
    cx: &Context,
    slot: &Arc<Slot>,
    layout: &Arc<str>,
    reader: &Arc<RowDecoder>,
    mut chunk: Chunk,
) -> Result<u64> {
    let (slot, layout, reader) = (Arc::clone(slot), Arc::clone(layout), Arc::clone(reader));
    blocking::run(cx, move |cx| {
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
