//! Giving space back: deleting expired rows, and compacting a file that is mostly free pages.
//!
//! Decides when a sweep is due, how much one transaction deletes, and how a compacted copy takes the
//! place of a file that other processes are using.
//!
//! # Why a compaction loses nothing, wherever it is killed
//! It holds the write transaction of generation N from its first step to its last but one, so nothing is
//! written to N after the copy began, and nobody else compacts or drops it.
//! 1. The copy is written, and synced, in a folder whose name starts with a dot. Killed here: nobody
//!    reads such folders; the next compaction removes it.
//! 2. The folder is renamed to N+1, and the rename is made durable. Killed here: N is not marked as
//!    moved, so it is the lowest unmarked generation and stays the current one, and its writers go on. N+1
//!    is stale; the next compaction removes it before it renames its own copy.
//! 3. N is marked as moved, in the transaction held all along. Once that commit is durable, N+1, which
//!    equals N, is the lowest unmarked generation. Writers that waited for N see the mark inside of
//!    their own transaction, and go to N+1 before they write; readers see it in their next one.
//! 4. N's folder is renamed out of sight and removed. Killed here: N is marked, so it is passed over.
//!
//! Renames of generations and of views' folders happen under the lock of the store's folders, so N's
//! folder cannot become another view's between the steps.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use heed::RoTxn;
use provender_codec::order;
use provender_core::{Context, Result};

use crate::environment::{DATA_FILE, Environment, State};
use crate::error::{Failure, io_error};
use crate::folders::{self, COMPACT, TRASH};
use crate::names::generation_folder;
use crate::slot::Slot;

/// Rows looked at in one read transaction.
const SCAN_ROWS: usize = 100_000;
/// Rows deleted in one write transaction.
const DELETE_ROWS: usize = 50_000;
/// The least and the most time between two sweeps.
const LEAST_PAUSE_US: i64 = 60_000_000;
const MOST_PAUSE_US: i64 = 86_400_000_000;
/// A smaller file is not worth a copy.
const LEAST_SPARSE_BYTES: u64 = 1 << 20;

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepSummary {
    /// Whether it was due, and nobody else did it.
    pub swept: bool,
    /// Expired rows that were deleted.
    pub n_deleted: u64,
    /// Whether the file was compacted.
    pub compacted: bool,
}

/// Deletes rows whose event time is more than `ttl_us` before `now_us`, if the last sweep is long enough
/// ago, and compacts the file if that left it mostly empty. Blocks.
pub(crate) fn sweep_if_due(
    cx: &Context,
    slot: &Slot,
    ttl_us: i64,
    now_us: i64,
) -> Result<SweepSummary> {
    let mut summary = SweepSummary::default();
    let last = slot.look_or_open(|environment, txn| environment.swept_us(txn))?;
    let pause = (ttl_us / 2).clamp(LEAST_PAUSE_US, MOST_PAUSE_US);
    // A time in the future comes from a clock that was wrong.
    let is_due = |last: i64| now_us.saturating_sub(last).saturating_abs() >= pause;
    if !last.is_some_and(is_due) {
        return Ok(summary);
    }
    let claimed = slot.change(None, |environment, txn| {
        let due = is_due(environment.swept_us(txn)?);
        if due {
            environment.set_swept_us(txn, now_us)?;
        }
        Ok(due)
    })?;
    if claimed != Some(true) {
        return Ok(summary);
    }
    summary.swept = true;
    let is_expired =
        |row: &[u8]| order(row).is_ok_and(|order| order.event_us.saturating_add(ttl_us) < now_us);
    let mut after: Option<Vec<u8>> = None;
    loop {
        cx.check()?;
        let slice = slot.look_or_open(|environment, txn| {
            expired(environment, txn, after.as_deref(), &is_expired)
        })?;
        let Some(slice) = slice else { break };
        if !slice.keys.is_empty() {
            let n_deleted = slot.change(None, |environment, txn| {
                cx.check()?;
                let mut n_deleted = 0;
                for key in &slice.keys {
                    // A newer row may have come since.
                    let held = environment
                        .rows
                        .get(txn, key)
                        .map_err(|error| environment.failure("read", error))?;
                    if held.is_some_and(is_expired) {
                        environment
                            .rows
                            .delete(txn, key)
                            .map_err(|error| environment.failure("write to", error))?;
                        n_deleted += 1;
                    }
                }
                Ok(n_deleted)
            })?;
            summary.n_deleted += n_deleted.unwrap_or(0);
        }
        after = slice.last;
        if after.is_none() {
            break;
        }
    }
    summary.compacted = compact_if_sparse(slot)?;
    Ok(summary)
}

struct Slice {
    /// Keys of expired rows.
    keys: Vec<Vec<u8>>,
    /// Where to go on, if there is more.
    last: Option<Vec<u8>>,
}

fn expired(
    environment: &Environment,
    txn: &RoTxn<'_>,
    after: Option<&[u8]>,
    is_expired: &impl Fn(&[u8]) -> bool,
) -> Result<Slice, Failure> {
    let failed = |error| environment.failure("read", error);
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = environment
        .rows
        .range(txn, &(from, Bound::Unbounded))
        .map_err(failed)?;
    let mut keys = Vec::new();
    for (n_rows, row) in rows.enumerate() {
        let (key, row) = row.map_err(failed)?;
        if is_expired(row) {
            keys.push(key.to_vec());
        }
        if n_rows + 1 >= SCAN_ROWS || keys.len() >= DELETE_ROWS {
            return Ok(Slice {
                keys,
                last: Some(key.to_vec()),
            });
        }
    }
    Ok(Slice { keys, last: None })
}

/// Compacts a view's file if most of it is free; answers whether it did. Blocks, and holds up the view's
/// writers meanwhile; its readers go on.
pub(crate) fn compact_if_sparse(slot: &Slot) -> Result<bool> {
    let Some(environment) = slot.open()? else {
        return Ok(false);
    };
    let compacted = (|| {
        // Without waiting for writers first; again with nobody else writing.
        let sparse = {
            let txn = environment.read_txn()?;
            is_sparse(&environment, &txn)?
        };
        Ok(sparse && compact(slot, &environment)?)
    })();
    match compacted {
        Ok(true) => {
            slot.give_up(&environment);
            drop(environment);
            folders::remove_all(&slot.folder, TRASH)?;
            Ok(true)
        }
        Ok(false) => Ok(false),
        Err(Failure::Gone) => {
            slot.give_up(&environment);
            Ok(false)
        }
        Err(Failure::Failed(error)) => {
            // What is left of the copy takes space that may be what was missing.
            if let Err(error) = folders::remove_all(&slot.folder, COMPACT) {
                tracing::debug!(%error, "an unfinished copy was not removed");
            }
            Err(error)
        }
    }
}

fn is_sparse(environment: &Environment, txn: &RoTxn<'_>) -> Result<bool, Failure> {
    let bytes = environment
        .data_file()?
        .metadata()
        .map_err(|error| io_error("read", &environment.folder, error))?
        .len();
    let (n_pages, n_free) = environment.page_counts(txn)?;
    Ok(bytes > LEAST_SPARSE_BYTES && n_free > n_pages / 2)
}

fn compact(slot: &Slot, environment: &Arc<Environment>) -> Result<bool, Failure> {
    let mut txn = environment.write_txn()?;
    if environment.state(&txn)? != State::Live {
        return Err(Failure::Gone);
    }
    if !is_sparse(environment, &txn)? {
        return Ok(false);
    }
    let view = &slot.folder;
    folders::remove_all(view, COMPACT)?;
    let copy = folders::fresh(view, COMPACT);
    folders::make(&copy)?;
    write_copy(environment, &copy.join(DATA_FILE))?;
    folders::sync(&copy)?;

    let lock = slot.lock_folders()?;
    let is_stale = |generation: &u32| *generation > environment.generation;
    for generation in folders::generations(view)?.into_iter().filter(is_stale) {
        folders::hide(&view.join(generation_folder(generation)), view)?;
    }
    let next = view.join(generation_folder(environment.generation + 1));
    folders::rename(&copy, &next)?;
    environment.set_state(&mut txn, State::Moved)?;
    environment.commit(txn)?;
    // From here on the rows are in the next generation, whatever happens.
    for generation in folders::generations(view)? {
        if generation <= environment.generation
            && let Err(error) = folders::hide(&view.join(generation_folder(generation)), view)
        {
            tracing::warn!(%error, "a generation whose rows moved was not removed");
        }
    }
    drop(lock);
    Ok(true)
}

fn write_copy(environment: &Environment, path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| io_error("write to", path, error);
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // As LMDB makes its own files.
        options.mode(0o600);
    }
    let mut file = options.open(path).map_err(failed)?;
    environment.copy_compacted(&mut file)?;
    file.sync_all().map_err(failed)?;
    Ok(())
}
