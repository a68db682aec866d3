//! Sliding windows by mergeable partial aggregates, without sorting or holding the feature side.
//!
//! A source row counts for the slots (distinct spine times of its key) with
//! `from <= t < event + window`, a contiguous range. Each key has a segment tree over its slots; a row
//! is merged into the O(log n) nodes that cover its range, and in the end every node is pushed down to
//! its leaves. Memory follows the number of slots, not of rows.

mod double;
mod ordinal;
mod partial;

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow_schema::Schema;
use arrow_select::take::take;
use partial::{Aggregate, Distinct, Occurrences, Partials};
use provender_core::request::WindowAggregate;
use provender_core::{Error, Result, ValueType, codes};

use crate::cast::cast_value;
use crate::error;
use crate::matches::Matches;
use crate::source::{TimedRows, column, column_type};
use crate::spine::{NO_SLOT, SpineIndex};

/// One aggregation of one view over all slots of a spine.
#[derive(Debug)]
pub(crate) struct WindowTree {
    column: Option<String>,
    window_us: i64,
    what: String,
    output: ValueType,
    aggregate: Aggregate,
    partials: Partials,
    n_nodes: usize,
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
        let input = match &request.column {
            None => None,
            Some(name) => {
                let data_type = column_type(schema, name)?;
                Some(ValueType::from_arrow(&data_type).ok_or_else(|| {
                    Error::new(
                        &codes::TYPE_MISMATCH,
                        format!("view {view:?}: column {name:?} has the type {data_type}, which cannot be aggregated"),
                    )
                })?)
            }
        };
        let output = request
            .function
            .result_type(input.as_ref())
            .ok_or_else(|| {
                let found = input
                    .as_ref()
                    .map_or_else(|| "no column".to_owned(), ToString::to_string);
                Error::new(
                    &codes::TYPE_MISMATCH,
                    format!(
                        "view {view:?}: {} does not apply to {found}",
                        request.function
                    ),
                )
            })?;
        let aggregate = Aggregate {
            function: request.function,
            input,
            output,
        };
        let n_nodes = 2 * index.n_slots();
        Ok(Self {
            column: request.column.clone(),
            window_us: request.window_us,
            what: format!("of feature {:?} of view {view:?}", request.output),
            output: request.value_type.clone(),
            partials: aggregate.partials(n_nodes)?,
            aggregate,
            n_nodes,
            grown: 0,
        })
    }

    pub(crate) fn memory(&self) -> usize {
        let node = match &self.partials {
            Partials::Count(_) => 8,
            Partials::SumExact(_) => 48,
            Partials::SumFloat(_) => 24,
            Partials::Moments(_) => 40,
            Partials::Extreme(_) => 32,
            Partials::ExtremeBytes(_) => 16,
            Partials::Distinct(_) | Partials::DistinctBytes(_) => 40,
        };
        self.n_nodes * node + self.grown
    }

    /// Takes in a batch of source rows, whose matches have been found.
    pub(crate) fn consume(
        &mut self,
        index: &SpineIndex,
        matches: &Matches,
        rows: &TimedRows,
        batch: &RecordBatch,
    ) -> Result<()> {
        let values = match &self.column {
            None => None,
            Some(name) => Some(self.plain(&column(batch, name)?)?),
        };
        let input = self.aggregate.read(values.as_ref())?;
        let events = rows.event.values();
        for found in &matches.rows {
            let row = found.row as usize;
            if !input.is_valid(row) {
                continue;
            }
            let until = events[row].saturating_add(self.window_us);
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
                    self.grown += self
                        .aggregate
                        .add(&mut self.partials, base + left, &input, row);
                    left += 1;
                }
                if right % 2 == 1 {
                    right -= 1;
                    self.grown += self
                        .aggregate
                        .add(&mut self.partials, base + right, &input, row);
                }
                left /= 2;
                right /= 2;
            }
        }
        Ok(())
    }

    /// The column in the plain Arrow type of its values (no views, dictionaries or other units).
    fn plain(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let Some(input) = &self.aggregate.input else {
            return Ok(values.clone());
        };
        cast_value(values, input, true).map_err(|failure| {
            Error::new(
                &codes::CHECKED_CAST,
                format!(
                    "the value {} {} does not fit {input}: {}",
                    failure.value, self.what, failure.reason
                ),
            )
        })
    }

    /// Takes in what another worker found over the same index.
    pub(crate) fn merge(&mut self, other: &Self) {
        for node in 0..self.n_nodes {
            self.aggregate
                .merge(&mut self.partials, node, &other.partials, node);
        }
        self.grown += other.grown;
    }

    /// The value of each spine row: null for rows that nothing can match.
    pub(crate) fn finish(mut self, index: &SpineIndex) -> Result<ArrayRef> {
        let per_slot = match self.partials {
            Partials::Distinct(ref sets) => count_distinct(index, sets),
            Partials::DistinctBytes(ref sets) => count_distinct(index, sets),
            _ => self.push_down(index)?,
        };
        let rows: UInt32Array = index
            .row_slots()
            .iter()
            .map(|&slot| (slot != NO_SLOT).then_some(slot))
            .collect();
        let per_row = take(&per_slot, &rows, None).map_err(error::arrow)?;
        cast_value(&per_row, &self.output, true).map_err(|failure| {
            Error::new(
                &codes::CHECKED_CAST,
                format!(
                    "the value {} {} does not fit the declared type {}",
                    failure.value, self.what, self.output
                ),
            )
            .help("apply the definitions again; the source's column has changed its type")
        })
    }

    fn push_down(&mut self, index: &SpineIndex) -> Result<ArrayRef> {
        let mut leaves = Vec::with_capacity(index.n_slots());
        for key in 0..index.n_keys() as u32 {
            let slots = index.slots(key);
            let (base, n) = (2 * slots.start, slots.len());
            for parent in 1..n {
                self.aggregate
                    .merge_within(&mut self.partials, base + parent, base + 2 * parent);
                self.aggregate.merge_within(
                    &mut self.partials,
                    base + parent,
                    base + 2 * parent + 1,
                );
            }
            leaves.extend((0..n).map(|leaf| base + n + leaf));
        }
        self.aggregate.finish(&self.partials, &leaves, &self.what)
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
