//! All windows of the views that read one source, where event times alone decide what counts.
//!
//! Aggregations of one column that are finished from the same partial aggregates share these, and
//! columns with the same lengths of windows share the search for a row's cell.

use std::ops::Range;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::Schema;
use arrow_select::concat::concat;
use provender_core::Result;
use provender_core::request::ViewJoin;

use super::aggregation::{Aggregation, window_aggregations};
use super::partial::Partials;
use super::segments::{Counted, Segments};
use crate::error::{self, defect};
use crate::parallel;
use crate::source::TimedRows;
use crate::spine::SpineIndex;

/// What is counted, and in which cells.
#[derive(Debug)]
pub(crate) struct WindowPlan {
    segments: Vec<Segments>,
    counters: Vec<Counter>,
}

/// The partial aggregates that some aggregations of one column share.
#[derive(Debug)]
struct Counter {
    /// Which of the segments.
    segments: usize,
    /// Each with its place in the order of [`window_aggregations`].
    aggregations: Vec<(usize, Aggregation)>,
}

/// What one worker counted.
#[derive(Debug)]
pub(crate) struct WindowCells {
    partials: Vec<Partials>,
    grown: usize,
    found: Vec<Counted>,
}

/// Some keys' windows of one counter.
#[derive(Debug)]
pub(crate) struct WindowPart {
    counter: usize,
    keys: Range<usize>,
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
                    aggregations: vec![(place, aggregation)],
                }),
            }
        }
        if counters.is_empty() {
            return Ok(None);
        }
        let mut segments: Vec<Segments> = Vec::new();
        for counter in &mut counters {
            let windows_us = counter.windows_us();
            let known = segments
                .iter()
                .position(|segments| segments.windows_us() == windows_us);
            counter.segments = known.unwrap_or_else(|| {
                segments.push(Segments::new(index, windows_us, n_threads));
                segments.len() - 1
            });
        }
        Ok(Some(Self { segments, counters }))
    }

    /// Bytes that all workers share.
    pub(crate) fn memory(&self) -> usize {
        self.segments.iter().map(Segments::memory).sum()
    }

    /// Nothing counted yet.
    pub(crate) fn cells(&self) -> Result<WindowCells> {
        let partials = self.counters.iter().map(|counter| {
            let n_places = self.segments[counter.segments].n_places();
            counter.first().aggregate.partials(n_places)
        });
        Ok(WindowCells {
            partials: partials.collect::<Result<_>>()?,
            grown: 0,
            found: Vec::new(),
        })
    }

    /// Counts a batch of source rows. `numbers` are those of their keys.
    pub(crate) fn count(
        &self,
        cells: &mut WindowCells,
        index: &SpineIndex,
        numbers: &[u32],
        rows: &TimedRows,
        batch: &RecordBatch,
    ) -> Result<()> {
        for (number, segments) in self.segments.iter().enumerate() {
            segments.find(index, numbers, rows, &mut cells.found);
            for (counter, partials) in self.counters.iter().zip(&mut cells.partials) {
                if counter.segments == number {
                    let input = counter.first().read(batch)?;
                    let aggregate = &counter.first().aggregate;
                    cells.grown += aggregate.add_all(partials, &cells.found, &input);
                }
            }
        }
        Ok(())
    }

    /// What can be finished at the same time.
    pub(crate) fn parts(&self, index: &SpineIndex) -> Vec<WindowPart> {
        let n_parts = index.n_slots().div_ceil(PART_SLOTS).max(1);
        let keys = parallel::group_ranges(index.starts(), n_parts).into_iter();
        let parts = keys.flat_map(|keys| {
            (0..self.counters.len()).map(move |counter| WindowPart {
                counter,
                keys: keys.clone(),
            })
        });
        parts.collect()
    }

    /// Some aggregations' values of each slot of some keys, with their places in the order of
    /// [`window_aggregations`], from what each worker counted.
    pub(crate) fn finish(
        &self,
        part: &WindowPart,
        counted: &[WindowCells],
        index: &SpineIndex,
    ) -> Result<Vec<(usize, ArrayRef)>> {
        let WindowPart { counter, keys } = part;
        let partials = counted.iter().map(|cells| &cells.partials[*counter]);
        let counter = &self.counters[*counter];
        let segments = &self.segments[counter.segments];
        let places = segments.places(index, keys);
        let first = &counter.first().aggregate;
        let all = partials.map(|partials| partials.at(places));
        let all = all.reduce(|mut ours, theirs| {
            first.merge_all(&mut ours, &theirs);
            ours
        });
        let Some(cells) = all else {
            return Err(defect("no worker counted windows"));
        };
        let slots: Vec<usize> = (0..index.slots_of(keys).len()).collect();
        let mut slid: Option<(i64, Partials)> = None;
        let mut answers = Vec::with_capacity(counter.aggregations.len());
        for (place, aggregation) in &counter.aggregations {
            let window_us = aggregation.window_us;
            let partials = match slid.take() {
                Some((of_us, partials)) if of_us == window_us => partials,
                _ => {
                    let windows = segments.windows(index, keys, window_us);
                    first.slide(&cells, &windows.collect::<Vec<_>>())
                }
            };
            let values = aggregation
                .aggregate
                .finish(&partials, &slots, &aggregation.what)?;
            answers.push((*place, values));
            slid = Some((window_us, partials));
        }
        Ok(answers)
    }

    /// The values of each spine row, in the order of [`window_aggregations`], from those of all parts.
    pub(crate) fn answer(
        &self,
        finished: Vec<(usize, ArrayRef)>,
        index: &SpineIndex,
        n_threads: usize,
    ) -> Result<Vec<ArrayRef>> {
        let aggregations = self.counters.iter();
        let mut aggregations: Vec<&(usize, Aggregation)> = aggregations
            .flat_map(|counter| &counter.aggregations)
            .collect();
        aggregations.sort_unstable_by_key(|(place, _)| *place);
        let mut parts: Vec<Vec<ArrayRef>> = aggregations.iter().map(|_| Vec::new()).collect();
        for (place, values) in finished {
            parts[place].push(values);
        }
        let mut answers = Vec::with_capacity(parts.len());
        let mut work = aggregations.into_iter().zip(parts);
        loop {
            let some: Vec<_> = work.by_ref().take(n_threads.max(1)).collect();
            if some.is_empty() {
                return Ok(answers);
            }
            let some = parallel::each(some, |((_, aggregation), parts)| {
                let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
                aggregation.answer(&concat(&parts).map_err(error::arrow)?, index)
            });
            for values in some {
                answers.push(values?);
            }
        }
    }
}

impl Counter {
    /// Any of the aggregations; they read the same and add the same.
    fn first(&self) -> &Aggregation {
        &self.aggregations[0].1
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
    pub(crate) fn memory(&self) -> usize {
        let partials = self.partials.iter();
        partials.map(Partials::memory).sum::<usize>() + self.grown
    }
}
