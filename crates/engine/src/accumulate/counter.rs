//! The partial aggregates that some aggregations of one column share.

use arrow_array::ArrayRef;
use provender_core::Result;

use super::aggregation::Aggregation;
use super::packed::Held;
use super::partial::Partials;
use super::segments::Window;

/// The partial aggregates that some aggregations of one column share.
#[derive(Debug)]
pub(super) struct Counter {
    /// Which of the plan's groups it is counted in.
    pub(super) group: usize,
    /// Where the rows of the group's cells or slots hold it, if it is simple.
    pub(super) held: Option<Held>,
    /// Each with its place in the order of [`window_aggregations`](super::window_aggregations).
    pub(super) aggregations: Vec<(usize, Aggregation)>,
}

impl Counter {
    /// Any of the aggregations; they read the same and add the same.
    pub(super) fn first(&self) -> &Aggregation {
        &self.aggregations[0].1
    }

    /// The lengths of the windows, ascending.
    pub(super) fn windows_us(&self) -> Vec<i64> {
        let windows = self.aggregations.iter();
        let mut windows: Vec<i64> = windows.map(|(_, one)| one.window_us).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
    }

    /// The cells at places, from what each worker counted that is not simple.
    pub(super) fn merged<'a>(
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
    pub(super) fn slide(
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
                answers.push((*place, aggregation.finished(&slid, slots)?));
            }
        }
        Ok(answers)
    }
}
