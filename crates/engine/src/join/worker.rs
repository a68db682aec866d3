//! One worker's share of a pass over a source.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::StreamExt;
use provender_core::request::ViewJoin;
use provender_core::{BatchStream, Context, Error, Result, codes};

use super::chunk::reach;
use super::found::Found;
use crate::accumulate::WindowPlan;
use crate::matches::Matches;
use crate::source::{Positioned, RowNumbers, RowReader};
use crate::spine::SpineIndex;

/// Where one worker's rows come from.
pub(super) enum Share {
    /// Streams of its own, read side by side.
    Own(Vec<(usize, BatchStream)>),
    /// Streams that all workers take from, one after the other; rows come with their numbers.
    Common(Arc<Mutex<VecDeque<BatchStream>>>),
}

/// The shares of all workers.
pub(super) fn shares(streams: Vec<BatchStream>, n_workers: usize, is_numbered: bool) -> Vec<Share> {
    if is_numbered {
        let common = Arc::new(Mutex::new(VecDeque::from(streams)));
        return (0..n_workers)
            .map(|_| Share::Common(common.clone()))
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
    /// Bytes that may be held.
    pub(super) budget: u64,
}

impl Worker {
    /// Reads the rows of a share.
    ///
    /// # Errors
    /// What the source answers; `P904` if more is held of them than `budget` bytes.
    pub(super) async fn run(self, share: Share) -> Result<Found> {
        let mut state = Found::new(&self.views, &self.schema, &self.index, self.is_numbered)?;
        match &self.windows {
            Some(plan) => state.cells.push(plan.cells()?),
            None => state.plant(&self.views, &self.schema, &self.index)?,
        }
        let mut matches = Matches::default();
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
            Share::Common(streams) => {
                let next = || {
                    let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
                    streams.pop_front()
                };
                while let Some(mut stream) = next() {
                    while let Some(batch) = stream.batches.next().await {
                        let batch = batch?;
                        let numbers = RowNumbers::of(&batch)?;
                        self.read(&mut state, &mut matches, &batch, numbers)?;
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        Ok(state)
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
        let reach_us = self
            .views
            .iter()
            .map(reach)
            .reduce(|a, b| Some(a?.max(b?)))
            .flatten();
        matches.look_up(&self.index, &rows);
        if state.chooses() {
            matches.find(&self.index, &rows, self.as_known, reach_us);
            state.consume(&self.index, matches, &rows, batch)?;
        }
        if let (Some(plan), Some(cells)) = (&self.windows, state.cells.first_mut()) {
            plan.count(cells, &self.index, &matches.numbers, &rows, batch)?;
        }
        if state.memory() as u64 > self.budget && self.index.n_slots() > 0 {
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
