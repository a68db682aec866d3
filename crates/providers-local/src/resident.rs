//! The rows of a view in memory, as of one transaction, so that a key costs one step and not a search.
//!
//! Decides when such a copy is worth making (a view that is read a lot and was not written for a moment),
//! how much memory all copies of a store may take, and when one no longer counts: it answers for the one
//! transaction that it was made from, and LMDB answers for all others. It knows no paths, and not what
//! rows mean.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use heed::RoTxn;

use crate::copied::{Copied, Keys};
use crate::environment::Environment;
use crate::error::Failure;

/// How long a view must not have been written to.
const STILL: Duration = Duration::from_secs(1);
/// Look-ups from which on a view counts as read a lot.
const BUSY_KEYS: u64 = 10_000;
/// A copy takes at most one part in so many of a process's time.
const TIME_SHARE: u32 = 50;
/// When a view that did not fit is looked at again.
const RETRY: Duration = Duration::from_secs(60);

/// What a process's moments are counted from.
static BORN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now_ms() -> u64 {
    u64::try_from(BORN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The memory that the copies of a store may take together.
#[derive(Debug)]
pub(crate) struct Budget {
    max_bytes: u64,
    used_bytes: AtomicU64,
}

impl Budget {
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            max_bytes,
            used_bytes: AtomicU64::new(0),
        })
    }

    /// A part of the budget, if so much is left.
    fn take(self: &Arc<Self>, n_bytes: u64) -> Option<Share> {
        let (max, all) = (self.max_bytes, Ordering::Relaxed);
        self.used_bytes
            .fetch_update(all, all, |used| {
                used.checked_add(n_bytes).filter(|sum| *sum <= max)
            })
            .ok()?;
        Some(Share {
            of: self.clone(),
            n_bytes,
        })
    }
}

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
struct Share {
    of: Arc<Budget>,
    n_bytes: u64,
}

impl Share {
    /// Gives back what is beyond `n_bytes`.
    fn shrink(&mut self, n_bytes: u64) {
        let spare = self.n_bytes.saturating_sub(n_bytes);
        self.n_bytes -= spare;
        self.of.used_bytes.fetch_sub(spare, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of
            .used_bytes
            .fetch_sub(self.n_bytes, Ordering::Relaxed);
    }
}

/// All rows that one transaction saw.
#[derive(Debug)]
pub(crate) struct Rows {
    txn_id: usize,
    copied: Copied,
    _share: Share,
}

impl Rows {
    /// Copies what `txn` sees; `None` if that is beyond the budget.
    fn copied(
        environment: &Environment,
        txn: &RoTxn<'_>,
        budget: &Arc<Budget>,
    ) -> Result<Option<Self>, Failure> {
        let stat = environment.rows_stat(txn)?;
        let pages = (stat.leaf_pages + stat.overflow_pages).saturating_mul(stat.page_size as usize);
        let n_bytes = Copied::entry_bytes(stat.entries, pages);
        let table = Copied::table_bytes(stat.entries);
        // Nothing here is addressed beyond 32 bits.
        let Some(mut share) = u32::try_from(n_bytes)
            .ok()
            .and_then(|_| budget.take(n_bytes.saturating_add(table) as u64))
        else {
            return Ok(None);
        };
        let mut copied = Copied::with_capacity(stat.entries, n_bytes);
        let failed = |error| environment.failure("read", error);
        for entry in environment.rows.iter(txn).map_err(failed)? {
            let (key, row) = entry.map_err(failed)?;
            if !copied.insert(key, row) {
                return Ok(None);
            }
        }
        share.shrink(copied.shrink() as u64);
        Ok(Some(Self {
            txn_id: txn.id(),
            copied,
            _share: share,
        }))
    }

    /// The rows of stored keys.
    pub(crate) fn find(&self, keys: &Keys) -> Vec<Option<&[u8]>> {
        self.copied.find(keys)
    }

    /// Whether all rows are as they were written.
    pub(crate) fn are_sound(&self) -> bool {
        self.copied.are_sound()
    }
}

/// The copy of one environment's rows, if there is one, and what is known of its readers.
#[derive(Debug)]
pub(crate) struct Resident {
    budget: Arc<Budget>,
    rows: RwLock<Option<Arc<Rows>>>,
    /// The transaction that readers saw last, since when, and how many keys LMDB looked up in it.
    seen_txn: AtomicUsize,
    seen_since_ms: AtomicU64,
    n_searched: AtomicU64,
    not_before_ms: AtomicU64,
    is_copying: AtomicBool,
}

impl Resident {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            rows: RwLock::default(),
            seen_txn: AtomicUsize::new(usize::MAX),
            seen_since_ms: AtomicU64::new(0),
            n_searched: AtomicU64::new(0),
            not_before_ms: AtomicU64::new(0),
            is_copying: AtomicBool::new(false),
        }
    }

    /// The rows that the transaction `txn_id` sees, if they were copied.
    pub(crate) fn rows(&self, txn_id: usize) -> Option<Arc<Rows>> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.as_ref().filter(|rows| rows.txn_id == txn_id).cloned()
    }

    /// Counts keys that LMDB looked up; answers whether the rows should be copied now, by the caller,
    /// with [`Self::copy`].
    pub(crate) fn searched(&self, txn_id: usize, n_keys: usize) -> bool {
        if self.budget.max_bytes == 0 {
            return false;
        }
        let relaxed = Ordering::Relaxed;
        if self.seen_txn.swap(txn_id, relaxed) != txn_id {
            self.n_searched.store(0, relaxed);
            self.seen_since_ms.store(now_ms(), relaxed);
        }
        let n_searched = self.n_searched.fetch_add(n_keys as u64, relaxed) + n_keys as u64;
        if n_searched < BUSY_KEYS {
            return false;
        }
        let now_ms = now_ms();
        now_ms.saturating_sub(self.seen_since_ms.load(relaxed)) >= ms(STILL)
            && now_ms >= self.not_before_ms.load(relaxed)
            && !self.is_copying.swap(true, Ordering::Acquire)
    }

    /// Copies the rows as they are now, unless they do not fit. Blocks for as long as that takes.
    pub(crate) fn copy(&self, environment: &Environment) {
        let started = Instant::now();
        // What is there is of another transaction, and makes room.
        self.keep(None);
        let copied = environment
            .read_txn()
            .and_then(|txn| Rows::copied(environment, &txn, &self.budget));
        let pause = match copied {
            Ok(Some(rows)) => {
                self.keep(Some(Arc::new(rows)));
                started.elapsed().saturating_mul(TIME_SHARE)
            }
            // Reads are answered by LMDB, which tells them of what failed here, too.
            Ok(None) | Err(_) => RETRY,
        };
        let not_before_ms = now_ms().saturating_add(ms(pause));
        self.not_before_ms.store(not_before_ms, Ordering::Relaxed);
        self.is_copying.store(false, Ordering::Release);
    }

    fn keep(&self, rows: Option<Arc<Rows>>) {
        let mut kept = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *kept, rows);
        drop(kept);
        // Giving much memory back takes a while, and no reader waits for it.
        drop(before);
    }
}

#[cfg(test)]
mod tests;
