//! One worker's share of a pass over a source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use provender_core::request::ViewJoin;
use provender_core::{BatchStream, Context, Error, Result, codes};

use super::chunk::reach;
use super::found::Found;
use super::latest_first::{Order, Streams};
use crate::accumulate::WindowPlan;
use crate::matches::Matches;
use crate::source::{Positioned, RowNumbers, RowReader};
use crate::spine::SpineIndex;

/// Bytes of batches that are put in order, about, and how much of a worker's budget at most.
const MOST_BYTES: u64 = 16 << 20;
const MOST_OF_BUDGET: u64 = 8;

/// Where one worker's rows come from.
pub(super) enum Share {
    /// Streams of its own, read side by side.
    Own(Vec<(usize, BatchStream)>),
    /// Streams that all workers take from, one after the other, each by its number, and the last of them together; rows
    /// come with their numbers.
    Common(Arc<Streams>, usize),
}

/// The shares of all workers. Rows with numbers may be read in any order.
pub(super) fn shares(
    streams: Vec<BatchStream>,
    n_workers: usize,
    numbered: Option<Order>,
) -> Vec<Share> {
    if let Some(order) = numbered {
        let common = Arc::new(Streams::new(streams, n_workers, order));
        return (0..n_workers)
            .map(|worker| Share::Common(common.clone(), worker))
            .collect();
    }
    let mut shares: Vec<Vec<(usize, BatchStream)>> = (0..n_workers).map(|_| Vec::new()).collect();
    for (number, stream) in streams.into_iter().enumerate() {
        shares[number % n_workers].push((number, stream));
    }
    shares.into_iter().map(Share::Own).collect()
}

/// What a worker needs to know beside its rows.
pub(super) struct Worker {
    pub(super) cx: Context,
    pub(super) reader: RowReader,
    pub(super) schema: SchemaRef,
    pub(super) views: Arc<[ViewJoin]>,
    pub(super) index: Arc<SpineIndex>,
    pub(super) windows: Option<Arc<WindowPlan>>,
    pub(super) as_known: bool,
    pub(super) is_numbered: bool,
    /// Whether nothing that decides between rows of the same time is read yet.
    pub(super) by_event: bool,
    /// Whether any worker has found that it has to be, and all may stop.
    pub(super) has_many_ties: Arc<AtomicBool>,
    /// Bytes that may be held.
    pub(super) budget: u64,
}

impl Worker {
    /// Reads the rows of a share.
    ///
    /// # Errors
    /// What the source answers; `P904` if more is held of them than `budget` bytes.
    pub(super) async fn run(mut self, share: Share) -> Result<Found> {
        let mut state = Found::new(
            &self.views,
            &self.schema,
            &self.index,
            self.is_numbered,
            self.by_event,
        )?;
        if self.windows.is_none() {
            state.plant(&self.views, &self.schema, &self.index)?;
        }
        let of_winners = state.chooses_winners_alone() && self.is_numbered && !self.as_known;
        let (mut matches, n_ordered) = match of_winners {
            true => (
                Matches::of_winners(&self.index, self.reach_us()),
                MOST_BYTES.min(self.budget / MOST_OF_BUDGET),
            ),
            false => (Matches::default(), 0),
        };
        self.budget -= n_ordered;
        match share {
            Share::Own(streams) => {
                let mut batches = Positioned::new(streams);
                while let Some(next) = batches.next().await {
                    let (position, batch) = next?;
                    let numbers = RowNumbers::From(position);
                    self.read(&mut state, &mut matches, &batch, numbers)?;
                    tokio::task::yield_now().await;
                }
            }
            Share::Common(streams, worker) => {
                let timestamp = &self.reader.source().timestamp;
                while let Some(begun) = streams.next(worker) {
                    loop {
                        let batches = begun.next_batches(timestamp, n_ordered as usize).await?;
                        if batches.is_empty() {
                            break;
                        }
                        for batch in batches {
                            let numbers = RowNumbers::of(&batch)?;
                            self.read(&mut state, &mut matches, &batch, numbers)?;
                            tokio::task::yield_now().await;
                        }
                        if state.has_many_ties() {
                            self.has_many_ties.store(true, Ordering::Relaxed);
                        }
                        if self.by_event && self.has_many_ties.load(Ordering::Relaxed) {
                            return Ok(state);
                        }
                    }
                }
            }
        }
        Ok(state)
    }

    /// How long after its event time a row can count for any view; `None` is without limit.
    fn reach_us(&self) -> Option<i64> {
        let reaches = self.views.iter().map(reach);
        reaches.reduce(|a, b| Some(a?.max(b?))).flatten()
    }

    fn read(
        &self,
        state: &mut Found,
        matches: &mut Matches,
        batch: &RecordBatch,
        numbers: RowNumbers,
    ) -> Result<()> {
        self.cx.check()?;
        let rows = self.reader.read(batch, numbers)?;
        matches.look_up(&self.index, &rows);
        if state.chooses() {
            matches.find(&self.index, &rows, self.as_known, self.reach_us());
            state.consume(&self.index, matches, &rows, batch)?;
        }
        if let Some(plan) = &self.windows {
            plan.count(
                &mut state.cells,
                &self.index,
                &matches.numbers,
                &rows,
                batch,
            )?;
        }
        if (state.memory() + matches.memory()) as u64 > self.budget && self.index.n_slots() > 0 {
            return Err(over_limit(&self.views));
        }
        Ok(())
    }
}

/// The error of views whose rows take too much memory.
pub(super) fn over_limit(views: &[ViewJoin]) -> Error {
    let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
    Error::new(
        &codes::MEMORY_LIMIT,
        format!(
            "the join of {} does not fit the memory limit",
            names.join(", ")
        ),
    )
    .help("raise limits.memory in provender.yaml")
}
