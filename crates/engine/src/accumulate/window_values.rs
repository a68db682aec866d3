//! The values of windows, slot by slot, from what was counted.
//!
//! What cells hold is put together for all slots at once, since windows share it. What slots hold is made values where
//! rows are answered: values of all slots would be written only to be read once.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, UInt32Array, make_array};
use arrow_buffer::NullBuffer;
use provender_core::{Context, Result};

use super::aggregation::Aggregation;
use super::cell_rows::CellRows;
use super::counter::Counter;
use super::packed::Held;
use super::partial::Partials;
use super::plan::{Places, WindowCells, WindowPlan};
use super::segments::{Segments, Window};
use crate::error::{self, defect};
use crate::parallel;
use crate::spine::{NO_SLOT, SpineIndex};
use crate::values::{Numbered, Values};

/// Slots of a part, about: their cells and windows should fit the second cache.
const PART_SLOTS: usize = 1 << 12;

/// The values of all slots, in columns.
#[derive(Debug)]
pub(crate) struct WindowValues {
    columns: Vec<Column>,
    finished: Values,
    counted: Option<CountedSlots>,
}

/// Where the values of a column come from.
#[derive(Clone, Copy, Debug)]
enum Column {
    /// One of the finished ones.
    Finished(usize),
    /// The plan's counter with this number, and which of its aggregations.
    Counted(usize, usize),
}

/// What slots hold.
#[derive(Debug)]
struct CountedSlots {
    plan: Arc<WindowPlan>,
    /// By the plan's groups, the rows of all workers; none where groups are finished.
    rows: Vec<Vec<CellRows>>,
}

impl From<Values> for WindowValues {
    /// Finished ones alone.
    fn from(finished: Values) -> Self {
        Self {
            columns: (0..finished.columns.len()).map(Column::Finished).collect(),
            finished,
            counted: None,
        }
    }
}

impl WindowValues {
    /// Those of all slots, in columns in the order of [`window_aggregations`](super::window_aggregations), from what each
    /// worker counted.
    ///
    /// # Errors
    /// `P905`, `P906` once the call has ended; those of values of cells that do not fit.
    pub(crate) fn new(
        cx: &Context,
        plan: Arc<WindowPlan>,
        counted: Vec<WindowCells>,
        index: &SpineIndex,
        n_threads: usize,
    ) -> Result<Self> {
        let of_cells = Finishing {
            plan: &plan,
            counted: &counted,
            index,
        };
        let finished = of_cells.values(cx, n_threads)?;
        let mut columns = Vec::new();
        let mut n_finished = 0;
        for (_, counter, at) in in_order(&plan) {
            columns.push(match plan.is_of_cells(&plan.counters[counter]) {
                true => Column::Finished(n_finished),
                false => Column::Counted(counter, at),
            });
            n_finished += usize::from(matches!(columns.last(), Some(Column::Finished(_))));
        }
        let mut rows: Vec<Vec<CellRows>> = plan.groups.iter().map(|_| Vec::new()).collect();
        for cells in counted {
            for ((of_group, (own, _)), group) in rows.iter_mut().zip(cells.rows).zip(&plan.groups) {
                if matches!(group.places, Places::Slots(_)) {
                    of_group.push(own);
                }
            }
        }
        let mut groups = plan.groups.iter();
        let is_any = groups.any(|group| matches!(group.places, Places::Slots(_)));
        Ok(Self {
            columns,
            finished,
            counted: is_any.then_some(CountedSlots { plan, rows }),
        })
    }

    /// Bytes that are held of slots until all rows are answered.
    pub(crate) fn memory(&self) -> usize {
        let counted = self.counted.iter();
        counted
            .map(|CountedSlots { plan, rows }| {
                let rows = rows.iter().flatten().map(CellRows::memory);
                rows.sum::<usize>() + plan.memory()
            })
            .sum()
    }

    /// Bytes of a row's values, about.
    pub(crate) fn row_bytes(&self, columns: &Range<usize>) -> usize {
        let columns = &self.columns[columns.clone()];
        let is_finished = |column: &&Column| matches!(column, Column::Finished(_));
        let n_finished = columns.iter().filter(is_finished).count();
        let finished = self.finished.row_bytes() * n_finished / self.finished.columns.len().max(1);
        finished + (columns.len() - n_finished) * size_of::<u64>()
    }

    /// Some columns' values of slots, null for [`NO_SLOT`].
    ///
    /// # Errors
    /// Those of values that do not fit.
    pub(crate) fn gather(&self, slots: &[u32], columns: &Range<usize>) -> Result<Vec<ArrayRef>> {
        let columns = &self.columns[columns.clone()];
        let rows = wanted(slots);
        let finished = columns.iter().filter_map(|column| match column {
            Column::Finished(at) => Some(*at),
            Column::Counted(..) => None,
        });
        let picked = self.finished.pick_numbered(rows.clone());
        let finished = picked.gather(&finished.collect::<Vec<_>>())?;
        let (mut finished, nodes) = (finished.into_iter(), (0..slots.len()).collect::<Vec<_>>());
        let partials = match &self.counted {
            Some(counted) => counted.partials(slots, columns),
            None => Vec::new(),
        };
        let missing = || defect("a window was not counted");
        let gathered = columns.iter().map(|column| match column {
            Column::Finished(_) => finished.next().ok_or_else(missing),
            Column::Counted(counter, at) => {
                let plan = &self.counted.as_ref().ok_or_else(missing)?.plan;
                let (_, aggregation) = &plan.counters[*counter].aggregations[*at];
                let partials = partials[*counter].as_ref().ok_or_else(missing)?;
                with_nulls(aggregation.finished(partials, &nodes)?, rows.nulls())
            }
        });
        gathered.collect()
    }
}

impl CountedSlots {
    /// What slots hold of the counters that columns are made of.
    fn partials(&self, slots: &[u32], columns: &[Column]) -> Vec<Option<Partials>> {
        let is_wanted = |number: usize| {
            let mut columns = columns.iter();
            columns
                .any(|column| matches!(column, Column::Counted(counter, _) if *counter == number))
        };
        let counters = self.plan.counters.iter().enumerate();
        let mut partials: Vec<Option<Partials>> = counters.clone().map(|_| None).collect();
        for (number, (group, rows)) in self.plan.groups.iter().zip(&self.rows).enumerate() {
            let Places::Slots(of_slots) = &group.places else {
                continue;
            };
            let counters = counters.clone();
            let counters = counters.filter(|(at, one)| one.group == number && is_wanted(*at));
            if counters.clone().next().is_none() {
                continue;
            }
            let places = of_slots.places_of(slots);
            let held = counters.filter_map(|(at, counter)| Some((at, counter.held?)));
            let (at, held): (Vec<usize>, Vec<Held>) = held.unzip();
            let rows: Vec<&CellRows> = rows.iter().collect();
            for (at, gathered) in at.into_iter().zip(CellRows::gather(&rows, &places, &held)) {
                partials[at] = Some(gathered);
            }
        }
        partials
    }
}

/// The aggregations of a plan in the order of [`window_aggregations`](super::window_aggregations), each with the number
/// of its counter and which of the counter's it is.
fn in_order(plan: &WindowPlan) -> Vec<(&Aggregation, usize, usize)> {
    let counters = plan.counters.iter().enumerate();
    let mut all: Vec<_> = counters
        .flat_map(|(number, counter)| {
            let own = counter.aggregations.iter().enumerate();
            own.map(move |(at, (place, one))| (*place, (one, number, at)))
        })
        .collect();
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, one)| one).collect()
}

/// Slots as rows, null for those that nothing can match.
fn wanted(slots: &[u32]) -> UInt32Array {
    if !slots.contains(&NO_SLOT) {
        return slots.to_vec().into();
    }
    let slots = slots.iter();
    slots
        .map(|&slot| (slot != NO_SLOT).then_some(slot))
        .collect()
}

/// Values, of which those are null as well that others are.
fn with_nulls(values: ArrayRef, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
    if nulls.is_none() {
        return Ok(values);
    }
    let nulls = NullBuffer::union(values.nulls(), nulls);
    let data = values.into_data().into_builder().nulls(nulls);
    data.build().map(make_array).map_err(error::arrow)
}

/// What is counted in cells, to be finished.
struct Finishing<'a> {
    plan: &'a WindowPlan,
    counted: &'a [WindowCells],
    index: &'a SpineIndex,
}

impl Finishing<'_> {
    /// The values of all slots, in columns in the order of [`window_aggregations`](super::window_aggregations).
    fn values(&self, cx: &Context, n_threads: usize) -> Result<Values> {
        let aggregations = in_order(self.plan).into_iter();
        let of_cells = |number: usize| self.plan.is_of_cells(&self.plan.counters[number]);
        let aggregations = aggregations.filter(|(_, counter, _)| of_cells(*counter));
        let (columns, types): (Vec<_>, Vec<_>) = aggregations
            .map(|(one, ..)| (one.what.clone(), one.declared_type()))
            .unzip();
        if columns.is_empty() {
            return Ok(Values::new(columns, types));
        }
        let index = self.index;
        let mut values = Numbered::new(columns, types, index.n_slots(), defect);

        let n_parts = index.n_slots().div_ceil(PART_SLOTS).max(1);
        let keys = parallel::group_ranges(index.starts(), n_parts);
        let parts = keys
            .into_iter()
            .map(|keys| (index.slots_of(&keys).len(), keys));
        let parts: Vec<_> = parts.filter(|(n_slots, _)| *n_slots > 0).collect();
        let n_values = index.n_slots() * self.plan.counters.len();
        let n_threads = parallel::n_parts(n_values, n_threads);
        // What cells hold of all counters lies together, but a few keys alone would keep a few threads busy.
        let of_keys = n_threads.min(parts.len()).max(1);
        let of_counters = n_threads.div_ceil(of_keys);
        values.push_all(parts, of_keys, |keys| {
            cx.check()?;
            self.of_keys(&keys, of_counters)
        })?;
        values.finish(n_threads)
    }

    /// The same of some keys' slots.
    fn of_keys(&self, keys: &Range<usize>, n_threads: usize) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<(usize, ArrayRef)> = Vec::new();
        for (number, group) in self.plan.groups.iter().enumerate() {
            let Places::Cells(segments) = &group.places else {
                continue;
            };
            let counters = self.plan.counters.iter().enumerate();
            let counters = counters.filter(|(_, counter)| counter.group == number);
            columns.extend(self.of_cells(number, segments, keys, counters.collect(), n_threads)?);
        }
        columns.sort_by_key(|(place, _)| *place);
        Ok(columns.into_iter().map(|(_, values)| values).collect())
    }

    /// The values of some keys' slots of one group's counters, of each aggregation with its place.
    fn of_cells(
        &self,
        group: usize,
        segments: &Segments,
        keys: &Range<usize>,
        counters: Vec<(usize, &Counter)>,
        n_threads: usize,
    ) -> Result<Vec<(usize, ArrayRef)>> {
        let slots: Vec<usize> = (0..self.index.slots_of(keys).len()).collect();
        let covered = segments.covered(self.index, keys);
        let windows = segments.windows_us().iter().map(|&us| {
            let windows = segments.windows(self.index, keys, us);
            (us, windows.map(|window| covered.of(window)).collect())
        });
        let windows: Vec<(i64, Vec<Window>)> = windows.collect();
        let rows = self.counted.iter().map(|cells| &cells.rows[group].0);
        let rows: Vec<&CellRows> = rows.collect();
        // What cells hold of some counters is picked up at once by each thread.
        let shares = parallel::ranges(counters.len(), n_threads.min(counters.len()));
        let finished = parallel::each(shares.collect(), |share: Range<usize>| {
            let counters = &counters[share];
            let held: Vec<Held> = counters.iter().filter_map(|(_, one)| one.held).collect();
            let mut simple = CellRows::gather(&rows, &covered.places, &held).into_iter();
            let mut answers = Vec::new();
            for &(number, counter) in counters {
                let partials = self.counted.iter().map(|cells| &cells.partials[number]);
                let cells = match counter.held.and_then(|_| simple.next()) {
                    Some(cells) => cells,
                    None => counter.merged(partials, &covered.places)?,
                };
                answers.extend(counter.slide(&cells, &windows, &slots)?);
            }
            Ok(answers)
        });
        let finished: Vec<_> = finished.into_iter().collect::<Result<_>>()?;
        Ok(finished.into_iter().flatten().collect())
    }
}
