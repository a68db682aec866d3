//! All windows of the views that read one source, where event times alone decide what counts.
//!
//! Aggregations of one column that are finished from the same partial aggregates share these, and
//! columns with the same lengths of windows share the search for a row's cell.

use std::ops::Range;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use provender_core::request::ViewJoin;
use provender_core::{Context, Result};

use super::aggregation::{Aggregation, window_aggregations};
use super::cell_rows::CellRows;
use super::last_cells::LastCells;
use super::packed::{Held, Layout};
use super::partial::{Input, Partials};
use super::segments::{Counted, Segments, Window};
use crate::error::defect;
use crate::parallel;
use crate::source::TimedRows;
use crate::spine::SpineIndex;
use crate::values::{Numbered, Values};

/// What is counted, and in which cells.
#[derive(Debug)]
pub(crate) struct WindowPlan {
    /// Each with what the rows of its cells hold.
    segments: Vec<(Segments, Layout)>,
    counters: Vec<Counter>,
}

/// The partial aggregates that some aggregations of one column share.
#[derive(Debug)]
struct Counter {
    /// Which of the segments.
    segments: usize,
    /// Where the rows of the cells hold it, if it is simple.
    held: Option<Held>,
    /// Each with its place in the order of [`window_aggregations`].
    aggregations: Vec<(usize, Aggregation)>,
}

/// What one worker counted.
#[derive(Debug)]
pub(crate) struct WindowCells {
    /// Of each of the segments, what is simple, and the cells that rows were found in last.
    rows: Vec<(CellRows, LastCells)>,
    /// Of counters that are not.
    partials: Vec<Option<Partials>>,
    grown: usize,
    found: Vec<Counted>,
}

/// Slots of a part, about: their cells and windows should fit the second cache.
const PART_SLOTS: usize = 1 << 12;

impl WindowPlan {
    /// `schema` is the source's. `None` if the views have no such windows.
    ///
    /// # Errors
    /// `TYPE_MISMATCH` for a column that a function does not apply to.
    pub(crate) fn new(
        views: &[ViewJoin],
        schema: &Schema,
        index: &SpineIndex,
        n_threads: usize,
    ) -> Result<Option<Self>> {
        let mut counters: Vec<Counter> = Vec::new();
        for (place, (view, request)) in window_aggregations(views).enumerate() {
            let aggregation = Aggregation::new(view, request, schema)?;
            let known = counters.iter_mut().find(|counter| {
                counter.first().column == aggregation.column
                    && aggregation
                        .aggregate
                        .has_partials_of(&counter.first().aggregate)
            });
            match known {
                Some(counter) => counter.aggregations.push((place, aggregation)),
                None => counters.push(Counter {
                    segments: 0,
                    held: None,
                    aggregations: vec![(place, aggregation)],
                }),
            }
        }
        if counters.is_empty() {
            return Ok(None);
        }
        let mut segments: Vec<(Segments, Layout)> = Vec::new();
        for counter in &mut counters {
            let windows_us = counter.windows_us();
            let known = segments
                .iter()
                .position(|(segments, _)| segments.windows_us() == windows_us);
            counter.segments = known.unwrap_or_else(|| {
                let cut = Segments::new(index, windows_us, n_threads);
                segments.push((cut, Layout::default()));
                segments.len() - 1
            });
            let simple = counter.first().aggregate.simple();
            let layout = &mut segments[counter.segments].1;
            counter.held = simple.map(|simple| layout.add(simple));
        }
        Ok(Some(Self { segments, counters }))
    }

    /// Bytes that all workers share.
    pub(crate) fn memory(&self) -> usize {
        let segments = self.segments.iter();
        segments.map(|(segments, _)| segments.memory()).sum()
    }

    /// Nothing counted yet.
    fn cells(&self, index: &SpineIndex) -> Result<WindowCells> {
        let rows = self.segments.iter().map(|(segments, layout)| {
            let rows = CellRows::new(layout, segments.n_places());
            (rows, segments.last_cells(index))
        });
        let partials = self.counters.iter().map(|counter| match counter.held {
            Some(_) => Ok(None),
            None => {
                let n_places = self.segments[counter.segments].0.n_places();
                counter.first().aggregate.partials(n_places).map(Some)
            }
        });
        Ok(WindowCells {
            rows: rows.collect(),
            partials: partials.collect::<Result<_>>()?,
            grown: 0,
            found: Vec::new(),
        })
    }

    /// Counts a batch of source rows in the last of some cells, or in others if these are full. `numbers` are those of
    /// their keys.
    pub(crate) fn count(
        &self,
        cells: &mut Vec<WindowCells>,
        index: &SpineIndex,
        numbers: &[u32],
        rows: &TimedRows,
        batch: &RecordBatch,
    ) -> Result<()> {
        if !cells
            .last()
            .is_some_and(|cells| cells.has_room(numbers.len()))
        {
            cells.push(self.cells(index)?);
        }
        let Some(cells) = cells.last_mut() else {
            return Ok(());
        };
        let inputs = self.counters.iter();
        let inputs: Vec<Input> = inputs
            .map(|counter| counter.first().read(batch))
            .collect::<Result<_>>()?;
        for (number, (segments, _)) in self.segments.iter().enumerate() {
            let (of_cells, last) = &mut cells.rows[number];
            segments.find(index, numbers, rows, last, &mut cells.found);
            let mut simple = Vec::with_capacity(inputs.len());
            let counters = self.counters.iter().zip(&mut cells.partials).zip(&inputs);
            for ((counter, partials), input) in
                counters.filter(|((counter, _), _)| counter.segments == number)
            {
                simple.extend(counter.held.map(|held| (held, input)));
                if let Some(partials) = partials {
                    let aggregate = &counter.first().aggregate;
                    cells.grown += aggregate.add_all(partials, &cells.found, input);
                }
            }
            of_cells.add_all(&cells.found, &simple);
        }
        Ok(())
    }

    /// The values of all slots, in columns in the order of [`window_aggregations`], from what each worker counted.
    ///
    /// # Errors
    /// `P905`, `P906` once the call has ended; those of values that do not fit.
    pub(crate) fn finish(
        &self,
        cx: &Context,
        counted: &[WindowCells],
        index: &SpineIndex,
        n_threads: usize,
    ) -> Result<Values> {
        let counters = self.counters.iter();
        let mut aggregations: Vec<_> = counters.flat_map(|one| &one.aggregations).collect();
        aggregations.sort_by_key(|(place, _)| *place);
        let types = aggregations.iter().map(|(_, one)| one.declared_type());
        let (types, columns) = (types.collect(), aggregations.iter());
        let columns = columns.map(|(_, one)| one.what.clone()).collect();
        let mut values = Numbered::new(columns, types, index.n_slots(), defect);

        let n_parts = index.n_slots().div_ceil(PART_SLOTS).max(1);
        let keys = parallel::group_ranges(index.starts(), n_parts);
        let parts = keys
            .into_iter()
            .map(|keys| (index.slots_of(&keys).len(), keys));
        let parts: Vec<_> = parts.filter(|(n_slots, _)| *n_slots > 0).collect();
        let n_values = index.n_slots() * self.counters.len();
        let n_threads = parallel::n_parts(n_values, n_threads);
        // What cells hold of all counters lies together, but a few keys alone would keep a few threads busy.
        let of_keys = n_threads.min(parts.len()).max(1);
        let of_counters = n_threads.div_ceil(of_keys);
        values.push_all(parts, of_keys, |keys| {
            cx.check()?;
            self.finish_keys(&keys, counted, index, of_counters)
        })?;
        values.finish(n_threads)
    }

    /// The same of some keys' slots.
    fn finish_keys(
        &self,
        keys: &Range<usize>,
        counted: &[WindowCells],
        index: &SpineIndex,
        n_threads: usize,
    ) -> Result<Vec<ArrayRef>> {
        let slots: Vec<usize> = (0..index.slots_of(keys).len()).collect();
        let mut columns: Vec<(usize, ArrayRef)> = Vec::new();
        for (number, (segments, _)) in self.segments.iter().enumerate() {
            let covered = segments.covered(index, keys);
            let windows = segments.windows_us().iter().map(|&us| {
                let windows = segments.windows(index, keys, us);
                (us, windows.map(|window| covered.of(window)).collect())
            });
            let windows: Vec<(i64, Vec<Window>)> = windows.collect();
            let rows: Vec<&CellRows> = counted.iter().map(|cells| &cells.rows[number].0).collect();
            let rows = CellRows::picked(&rows, &covered.places);
            let counters = self.counters.iter().enumerate();
            let counters = counters.filter(|(_, counter)| counter.segments == number);
            let finished = parallel::all(counters.collect(), n_threads, |(number, counter)| {
                let partials = counted.iter().map(|cells| &cells.partials[number]);
                let cells = match counter.held {
                    Some(held) => rows.partials(held),
                    None => counter.merged(partials, &covered.places)?,
                };
                counter.slide(&cells, &windows, &slots)
            });
            for finished in finished {
                columns.extend(finished?);
            }
        }
        columns.sort_by_key(|(place, _)| *place);
        Ok(columns.into_iter().map(|(_, values)| values).collect())
    }
}

impl Counter {
    /// Any of the aggregations; they read the same and add the same.
    fn first(&self) -> &Aggregation {
        &self.aggregations[0].1
    }

    /// The cells at places, from what each worker counted that is not simple.
    fn merged<'a>(
        &self,
        of_workers: impl Iterator<Item = &'a Option<Partials>>,
        places: &[u32],
    ) -> Result<Partials> {
        let mut merged: Option<Partials> = None;
        for partials in of_workers.flatten() {
            let theirs = partials.at(places)?;
            match &mut merged {
                Some(ours) => self.first().aggregate.merge_all(ours, &theirs),
                None => merged = Some(theirs),
            }
        }
        match merged {
            Some(merged) => Ok(merged),
            // There was nothing to count.
            None => self.first().aggregate.partials(places.len()),
        }
    }

    /// The values of some keys' slots from their cells, and from the windows of each length; of each aggregation with
    /// its place.
    fn slide(
        &self,
        cells: &Partials,
        windows: &[(i64, Vec<Window>)],
        slots: &[usize],
    ) -> Result<Vec<(usize, ArrayRef)>> {
        let mut answers = Vec::with_capacity(self.aggregations.len());
        for (us, windows) in windows {
            let aggregations = self.aggregations.iter();
            let of_length = aggregations.filter(|(_, one)| one.window_us == *us);
            let slid = self.first().aggregate.slide(cells, windows);
            for (place, aggregation) in of_length {
                let aggregate = &aggregation.aggregate;
                let values = aggregate.finish(&slid, slots, &aggregation.what)?;
                answers.push((*place, aggregation.declared(&values)?));
            }
        }
        Ok(answers)
    }

    fn windows_us(&self) -> Vec<i64> {
        let windows = self.aggregations.iter();
        let mut windows: Vec<i64> = windows.map(|(_, one)| one.window_us).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
    }
}

impl WindowCells {
    fn has_room(&self, n_rows: usize) -> bool {
        self.rows.iter().all(|(rows, _)| rows.has_room(n_rows))
    }

    pub(crate) fn memory(&self) -> usize {
        let rows = self.rows.iter();
        let rows: usize = rows.map(|(rows, last)| rows.memory() + last.memory()).sum();
        let partials = self.partials.iter().flatten();
        rows + partials.map(Partials::memory).sum::<usize>() + self.grown
    }
}
