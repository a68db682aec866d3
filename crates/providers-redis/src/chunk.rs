//! Rows on their way to Redis: packed, with their keys, and the newest of each key.
//!
//! Decides when a row is dropped and how rows are cut into runs. Bytes are the codec's business.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::ops::Range;
use std::time::SystemTime;

use arrow_array::RecordBatch;
use foldhash::fast::RandomState;
use provender_codec::{RowFormat, RowOrder, order};
use provender_core::Result;

use crate::keys::{Keys, ViewId, slot};

/// The least and most time that a row is kept beyond its ttl; in between it is a tenth of the ttl.
const LEAST_MARGIN_US: i64 = 60_000_000;
const MOST_MARGIN_US: i64 = 86_400_000_000;
/// Later instants than this are never, as far as Redis' arithmetic is concerned.
const NEVER_MS: i64 = 1 << 52;

/// When the row of an event time is dropped, in milliseconds since 1970; `None` is never.
pub(crate) fn expires_at_ms(event_us: i64, ttl_us: Option<i64>) -> Option<i64> {
    let ttl_us = ttl_us?;
    let margin_us = (ttl_us / 10).clamp(LEAST_MARGIN_US, MOST_MARGIN_US);
    let at_us = event_us.saturating_add(ttl_us).saturating_add(margin_us);
    // Up, so that a later row of the same millisecond never goes before an earlier one.
    let at_ms = at_us.div_euclid(1_000).saturating_add(1);
    (at_ms < NEVER_MS).then_some(at_ms)
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// How rows of a view's version are packed.
pub(crate) struct Packing {
    pub(crate) keys: Keys,
    pub(crate) id: ViewId,
    pub(crate) format: RowFormat,
    pub(crate) ttl_us: Option<i64>,
    /// Whether keys have slots.
    pub(crate) is_cluster: bool,
}

/// Rows of a chunk: all bytes in one piece, and where each row's key and value lie.
#[derive(Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    pub(crate) rows: Vec<Entry>,
}

#[derive(Clone, Copy)]
pub(crate) struct Entry {
    key: usize,
    row: usize,
    end: usize,
    pub(crate) slot: u16,
    pub(crate) expires_ms: Option<i64>,
    /// How many rows of the chunk came to this one by winning, itself included.
    pub(crate) n_won: u32,
}

impl Entry {
    /// Bytes of the packed row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.end - self.row
    }

    /// Bytes of key and row.
    pub(crate) fn n_bytes(&self) -> usize {
        self.end - self.key
    }
}

impl Chunk {
    /// Bytes of all rows.
    pub(crate) fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn key(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.key..entry.row]
    }

    pub(crate) fn row(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.row..entry.end]
    }

    /// Packs all rows of a batch, but for those that are past their time.
    pub(crate) fn append(&mut self, packing: &Packing, batch: &RecordBatch) -> Result<()> {
        let encoder = packing.format.encoder(batch)?;
        let now_ms = now_ms();
        for index in 0..encoder.n_rows() {
            let start = self.bytes.len();
            packing.keys.begin_row(&mut self.bytes);
            encoder.append_key(index, &mut self.bytes);
            Keys::end_row(&packing.id, &mut self.bytes);
            let row = self.bytes.len();
            encoder.append(index, &mut self.bytes)?;
            let expires_ms = match packing.ttl_us {
                None => None,
                ttl_us => expires_at_ms(order(&self.bytes[row..])?.event_us, ttl_us),
            };
            if expires_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                self.bytes.truncate(start);
                continue;
            }
            let key = &self.bytes[start..row];
            self.rows.push(Entry {
                slot: if packing.is_cluster { slot(key) } else { 0 },
                key: start,
                row,
                end: self.bytes.len(),
                expires_ms,
                n_won: 1,
            });
        }
        Ok(())
    }

    /// Leaves the newest row of each key; of rows that tie fully the last.
    pub(crate) fn keep_newest(&mut self) -> Result<()> {
        let mut rows = std::mem::take(&mut self.rows);
        let mut newest: HashMap<&[u8], usize, RandomState> =
            HashMap::with_capacity_and_hasher(rows.len(), RandomState::default());
        let mut kept: Vec<Entry> = Vec::with_capacity(rows.len());
        for entry in rows.drain(..) {
            match newest.entry(self.key(&entry)) {
                Place::Vacant(vacant) => {
                    vacant.insert(kept.len());
                    kept.push(entry);
                }
                Place::Occupied(occupied) => {
                    let known = &mut kept[*occupied.get()];
                    let new: RowOrder<'_> = order(self.row(&entry))?;
                    if new >= order(self.row(known))? {
                        let n_won = known.n_won + 1;
                        *known = Entry { n_won, ..entry };
                    }
                }
            }
        }
        drop(newest);
        self.rows = kept;
        Ok(())
    }
}

/// Cuts rows into runs of at most so many rows and bytes; a row of more bytes is a run of its own.
pub(crate) fn spans(rows: &[Entry], most_rows: usize, most_bytes: usize) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    let mut n_bytes = 0;
    for (index, entry) in rows.iter().enumerate() {
        let own = entry.n_bytes();
        if index > start && (index - start >= most_rows || n_bytes + own > most_bytes) {
            spans.push(start..index);
            start = index;
            n_bytes = 0;
        }
        n_bytes += own;
    }
    if start < rows.len() {
        spans.push(start..rows.len());
    }
    spans
}
