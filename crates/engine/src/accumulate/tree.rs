//! Windows whose rows count for any contiguous range of slots: a segment tree for each key.
//!
//! A row is merged into the O(log n) nodes that cover its range, and in the end every node is pushed
//! down to its leaves.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::Schema;
use provender_core::Result;
use provender_core::request::WindowAggregate;

use super::aggregation::Aggregation;
use super::distinct::{Distinct, Occurrences};
use super::partial::Partials;
use crate::error::defect;
use crate::matches::Matches;
use crate::source::TimedRows;
use crate::spine::SpineIndex;
use crate::values::{Numbered, Values};

/// One aggregation of one view over all slots of a spine.
#[derive(Debug)]
pub(crate) struct WindowTree {
    aggregation: Aggregation,
    partials: Partials,
    grown: usize,
}

impl WindowTree {
    /// `schema` is the source's, `view` names it in messages.
    pub(crate) fn new(
        view: &str,
        request: &WindowAggregate,
        schema: &Schema,
        index: &SpineIndex,
    ) -> Result<Self> {
        let aggregation = Aggregation::new(view, request, schema)?;
        Ok(Self {
            partials: aggregation.aggregate.partials(2 * index.n_slots())?,
            aggregation,
            grown: 0,
        })
    }

    pub(crate) fn memory(&self) -> usize {
        self.partials.memory() + self.grown
    }

    /// Takes in a batch of source rows, whose matches have been found.
    pub(crate) fn consume(
        &mut self,
        index: &SpineIndex,
        matches: &Matches,
        rows: &TimedRows,
        batch: &RecordBatch,
    ) -> Result<()> {
        let input = self.aggregation.read(batch)?;
        let aggregate = &self.aggregation.aggregate;
        let events = rows.event.values();
        for found in matches.rows() {
            let row = found.row as usize;
            if !input.is_valid(row) {
                continue;
            }
            let until = events[row].saturating_add(self.aggregation.window_us);
            let (start, first, end) = (
                found.start as usize,
                found.first as usize,
                found.end as usize,
            );
            let n_covered = index
                .times(first..end)
                .partition_point(|&time| time < until);
            // Nodes of a key with n slots are numbered 1 to 2n - 1, leaves from n on.
            let (base, n) = (2 * start, end - start);
            let (mut left, mut right) = (first - start + n, first - start + n_covered + n);
            while left < right {
                if left % 2 == 1 {
                    self.grown += aggregate.add(&mut self.partials, base + left, &input, row);
                    left += 1;
                }
                if right % 2 == 1 {
                    right -= 1;
                    self.grown += aggregate.add(&mut self.partials, base + right, &input, row);
                }
                left /= 2;
                right /= 2;
            }
        }
        Ok(())
    }

    /// Takes in what another worker found over the same index.
    pub(crate) fn merge(&mut self, other: &Self) {
        let aggregate = &self.aggregation.aggregate;
        aggregate.merge_all(&mut self.partials, &other.partials);
        self.grown += other.grown;
    }

    /// The values of each slot of all trees, in columns in their order.
    pub(crate) fn finish_all(
        trees: Vec<Self>,
        index: &SpineIndex,
        n_threads: usize,
    ) -> Result<Values> {
        let aggregations = trees.iter().map(|tree| &tree.aggregation);
        let (columns, types) = aggregations
            .map(|one| (one.what.clone(), one.declared_type()))
            .unzip();
        let n_rows = if trees.is_empty() { 0 } else { index.n_slots() };
        let mut values = Numbered::new(columns, types, n_rows, defect);
        let trees = trees.into_iter().map(|tree| tree.finish(index));
        values.push(&trees.collect::<Result<Vec<_>>>()?)?;
        values.finish(n_threads)
    }

    /// The value of each slot.
    fn finish(mut self, index: &SpineIndex) -> Result<ArrayRef> {
        let per_slot = match self.partials {
            Partials::Distinct(ref sets) => count_distinct(index, sets),
            Partials::DistinctBytes(ref sets) => count_distinct(index, sets),
            _ => self.push_down(index)?,
        };
        self.aggregation.declared(&per_slot)
    }

    fn push_down(&mut self, index: &SpineIndex) -> Result<ArrayRef> {
        let aggregate = &self.aggregation.aggregate;
        let mut leaves = Vec::with_capacity(index.n_slots());
        for key in 0..index.n_keys() as u32 {
            let slots = index.slots(key);
            let (base, n) = (2 * slots.start, slots.len());
            for parent in 1..n {
                for child in [2 * parent, 2 * parent + 1] {
                    aggregate.merge_within(&mut self.partials, base + parent, base + child);
                }
            }
            leaves.extend((0..n).map(|leaf| base + n + leaf));
        }
        aggregate.finish(&self.partials, &leaves, &self.aggregation.what)
    }
}

/// Counts the different values above each leaf by walking every key's tree once.
fn count_distinct<K: std::hash::Hash + Eq + Clone + Default>(
    index: &SpineIndex,
    sets: &[Occurrences<K>],
) -> ArrayRef {
    let mut counts = vec![0_i64; index.n_slots()];
    for key in 0..index.n_keys() as u32 {
        let slots = index.slots(key);
        if slots.is_empty() {
            continue;
        }
        let (base, n) = (2 * slots.start, slots.len());
        let mut present = Distinct::<K>::default();
        // A node is visited twice: entering it adds its set, leaving it takes the set away.
        let mut visits = vec![(1_usize, true)];
        while let Some((node, entering)) = visits.pop() {
            if !entering {
                present.leave(&sets[base + node]);
                continue;
            }
            present.enter(&sets[base + node]);
            visits.push((node, false));
            if node >= n {
                counts[slots.start + node - n] = present.len();
            } else {
                visits.extend([(2 * node, true), (2 * node + 1, true)]);
            }
        }
    }
    Arc::new(Int64Array::from(counts))
}
