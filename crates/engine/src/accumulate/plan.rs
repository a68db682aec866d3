//! All windows of the views that read one source, where event times alone decide what counts.
//!
//! Aggregations of one column that are finished from the same partial aggregates share these, and
//! columns with the same lengths of windows share the search for where a row counts.

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use provender_core::Result;
use provender_core::request::ViewJoin;

use super::aggregation::{Aggregation, window_aggregations};
use super::cell_rows::CellRows;
use super::counter::Counter;
use super::found_rows::FoundRows;
use super::last_cells::LastCells;
use super::packed::Layout;
use super::partial::{Input, Partials};
use super::segments::Segments;
use super::slot_places::SlotPlaces;
use crate::source::TimedRows;
use crate::spine::SpineIndex;

/// What is counted, and where.
#[derive(Debug)]
pub(crate) struct WindowPlan {
    pub(super) groups: Vec<Group>,
    pub(super) counters: Vec<Counter>,
}

/// Counters with windows of the same lengths: the same rows count for all of them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) places: Places,
    /// What the row of a place holds.
    layout: Layout,
}

/// Where rows are counted.
#[derive(Debug)]
pub(super) enum Places {
    /// In the cell that they lie in. In the end windows are put together of cells.
    Cells(Segments),
    /// In each slot whose window covers them.
    Slots(SlotPlaces),
}

/// What one worker counted.
#[derive(Debug)]
pub(crate) struct WindowCells {
    /// Of each group, what is simple, and where rows of each key were found last.
    pub(super) rows: Vec<(CellRows, LastCells)>,
    /// Of counters that are not.
    pub(super) partials: Vec<Option<Partials>>,
    grown: usize,
    found: FoundRows,
}

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
                    group: 0,
                    held: None,
                    aggregations: vec![(place, aggregation)],
                }),
            }
        }
        if counters.is_empty() {
            return Ok(None);
        }
        // Of each group, whether all that it counts is simple.
        let mut lengths: Vec<(Vec<i64>, bool)> = Vec::new();
        for counter in &mut counters {
            let windows_us = counter.windows_us();
            let known = lengths.iter().position(|(us, _)| *us == windows_us);
            counter.group = known.unwrap_or(lengths.len());
            if known.is_none() {
                lengths.push((windows_us, true));
            }
            lengths[counter.group].1 &= counter.first().aggregate.simple().is_some();
        }
        let groups = lengths.into_iter().map(|(windows_us, are_simple)| Group {
            places: Places::new(index, windows_us, are_simple, n_threads),
            layout: Layout::default(),
        });
        let mut groups: Vec<Group> = groups.collect();
        for counter in &mut counters {
            let simple = counter.first().aggregate.simple();
            let layout = &mut groups[counter.group].layout;
            counter.held = simple.map(|simple| layout.add(simple));
        }
        Ok(Some(Self { groups, counters }))
    }

    /// Whether a counter is counted in cells.
    pub(super) fn is_of_cells(&self, counter: &Counter) -> bool {
        matches!(self.groups[counter.group].places, Places::Cells(_))
    }

    /// Bytes that all workers share.
    pub(crate) fn memory(&self) -> usize {
        let places = self.groups.iter().map(|group| match &group.places {
            Places::Cells(segments) => segments.memory(),
            Places::Slots(slots) => slots.memory(),
        });
        places.sum()
    }

    /// Nothing counted yet.
    fn cells(&self, index: &SpineIndex) -> Result<WindowCells> {
        let rows = self.groups.iter().map(|group| {
            let rows = CellRows::new(&group.layout, group.places.n_places());
            let n_keys = match group.places {
                Places::Cells(_) => index.n_keys(),
                Places::Slots(_) => 0,
            };
            (rows, LastCells::new(n_keys))
        });
        let partials = self.counters.iter().map(|counter| match counter.held {
            Some(_) => Ok(None),
            None => {
                let n_places = self.groups[counter.group].places.n_places();
                counter.first().aggregate.partials(n_places).map(Some)
            }
        });
        Ok(WindowCells {
            rows: rows.collect(),
            partials: partials.collect::<Result<_>>()?,
            grown: 0,
            found: FoundRows::default(),
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
        for (number, group) in self.groups.iter().enumerate() {
            let (counted, last) = &mut cells.rows[number];
            let found = &mut cells.found;
            match &group.places {
                Places::Cells(segments) => segments.find(index, numbers, rows, last, found),
                Places::Slots(slots) => {
                    let ask = |found: &_| counted.ask_all(found);
                    slots.find(index, numbers, rows, found, ask);
                }
            }
            let mut simple = Vec::with_capacity(inputs.len());
            let counters = self.counters.iter().zip(&mut cells.partials).zip(&inputs);
            for ((counter, partials), input) in
                counters.filter(|((counter, _), _)| counter.group == number)
            {
                simple.extend(counter.held.map(|held| (held, input)));
                if let Some(partials) = partials {
                    let aggregate = &counter.first().aggregate;
                    cells.grown += aggregate.add_all(partials, &cells.found, input);
                }
            }
            counted.add_all(numbers.len(), &cells.found, &simple);
        }
        Ok(())
    }
}

impl Places {
    fn new(index: &SpineIndex, windows_us: Vec<i64>, are_simple: bool, n_threads: usize) -> Self {
        let of_slots = match *windows_us {
            [window_us] if are_simple => SlotPlaces::new(index, window_us, n_threads),
            _ => None,
        };
        match of_slots {
            Some(slots) => Self::Slots(slots),
            None => Self::Cells(Segments::new(index, windows_us, n_threads)),
        }
    }

    fn n_places(&self) -> usize {
        match self {
            Self::Cells(segments) => segments.n_places(),
            Self::Slots(slots) => slots.n_places(),
        }
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
        let partials: usize = partials.map(Partials::memory).sum();
        rows + partials + self.grown + self.found.memory()
    }
}
