//! All windows of the views that read one source, where event times alone decide what counts.
//!
//! Aggregations of one column that are finished from the same partial aggregates share these, and
//! columns with the same lengths of windows share the search for a row's cell.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use provender_core::Result;
use provender_core::request::ViewJoin;

use super::aggregation::{Aggregation, window_aggregations};
use super::partial::Partials;
use super::segments::{Counted, Segments};
use crate::error::defect;
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

/// What one worker counted for one part of a plan.
#[derive(Debug)]
pub(crate) struct CountedPart(Partials);

impl WindowPlan {
    /// `schema` is the source's. `None` if the views have no such windows.
    ///
    /// # Errors
    /// `TYPE_MISMATCH` for a column that a function does not apply to.
    pub(crate) fn new(
        views: &[ViewJoin],
        schema: &Schema,
        index: &SpineIndex,
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
                segments.push(Segments::new(index, windows_us));
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
            let n_cells = self.segments[counter.segments].n_cells();
            counter.first().aggregate.partials(n_cells)
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

    /// How many parts [`Self::finish`] has, which can be done at the same time.
    pub(crate) fn n_parts(&self) -> usize {
        self.counters.len()
    }

    /// Some aggregations' values of each spine row, with their places in the order of
    /// [`window_aggregations`], from what each worker counted for this part.
    pub(crate) fn finish(
        &self,
        part: usize,
        counted: Vec<CountedPart>,
        index: &SpineIndex,
    ) -> Result<Vec<(usize, ArrayRef)>> {
        let counter = &self.counters[part];
        let segments = &self.segments[counter.segments];
        let first = &counter.first().aggregate;
        let all = counted.into_iter().reduce(|mut ours, theirs| {
            first.merge_all(&mut ours.0, &theirs.0);
            ours
        });
        let Some(CountedPart(cells)) = all else {
            return Err(defect("no worker counted windows"));
        };
        let cells = cells.ordered(segments.places());
        let slots: Vec<usize> = (0..index.n_slots()).collect();
        let mut slid: Option<(i64, Partials)> = None;
        let mut answers = Vec::with_capacity(counter.aggregations.len());
        for (place, aggregation) in &counter.aggregations {
            let window_us = aggregation.window_us;
            let partials = match slid.take() {
                Some((of_us, partials)) if of_us == window_us => partials,
                _ => first.slide(&cells, &segments.windows(index, window_us)),
            };
            let values = aggregation
                .aggregate
                .finish(&partials, &slots, &aggregation.what)?;
            answers.push((*place, aggregation.answer(&values, index)?));
            slid = Some((window_us, partials));
        }
        Ok(answers)
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

    /// The partial aggregates of each part.
    pub(crate) fn into_parts(self) -> Vec<CountedPart> {
        self.partials.into_iter().map(CountedPart).collect()
    }
}
