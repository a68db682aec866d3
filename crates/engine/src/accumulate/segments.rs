//! Each key's time, cut where a spine's windows begin and end, and windows that slide over the cells
//! between the cuts.
//!
//! A slot at `t` with the window `w` covers events in `(t - w, t]`. So with cuts at every `t` and every
//! `t - w`, a row lies in one cell, whatever the number of windows that cover it, and a window is a
//! range of cells.

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};

use crate::search::{Ascending, TOGETHER};
use crate::source::TimedRows;
use crate::spine::SpineIndex;

/// The place of a cell and a row of a batch that lies in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) place: u32,
    pub(super) row: u32,
}

/// The cells that a slot's window covers: the first, and one after the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The cells of all keys for some lengths of windows. The cell of a cut lies before it and ends with it.
#[derive(Debug)]
pub(super) struct Segments {
    windows_us: Vec<i64>,
    /// Ascending within a key: a cut for each slot and for the start of each of its windows.
    cuts: Ascending,
    /// Whether any window covers a cell; one more for what comes after all cuts.
    is_covered: BooleanBuffer,
    /// Where each cell is counted: cells of one time lie together, whatever their keys, since sources
    /// mostly grow with time and cells that are counted one after the other then share the caches.
    places: Vec<u32>,
}

/// Into how many parts all time is cut for that. A part's cells should fit the caches, and still lie on
/// few pages of memory.
const N_TIMES: usize = 1 << 10;

impl Segments {
    /// Bytes of a cell: its cut, its place, and where it was when its window was made.
    pub(super) const CELL_BYTES: u64 = 24;

    pub(super) fn new(index: &SpineIndex, windows_us: Vec<i64>) -> Self {
        let mut cuts = Vec::with_capacity(index.n_slots() * (1 + windows_us.len()));
        for key in 0..index.n_keys() as u32 {
            let first = cuts.len();
            let times = index.times(index.slots(key));
            for window_us in &windows_us {
                cuts.extend(times.iter().map(|time| time.saturating_sub(*window_us)));
            }
            cuts.extend_from_slice(times);
            // Runs that ascend already, which this sort merges.
            cuts[first..].sort();
        }
        let mut segments = Self {
            windows_us,
            is_covered: BooleanBuffer::new_unset(0),
            places: Vec::new(),
            cuts: Ascending::new(cuts),
        };
        segments.places = segments.cuts.by_number(N_TIMES);
        let mut is_covered = BooleanBufferBuilder::new(segments.n_cells() + 1);
        is_covered.append_n(segments.n_cells() + 1, false);
        for &window_us in &segments.windows_us {
            let mut next = 0;
            for window in segments.windows(index, window_us) {
                for cell in next.max(window.start as usize)..window.end as usize {
                    is_covered.set_bit(cell, true);
                }
                next = window.end as usize;
            }
        }
        segments.is_covered = is_covered.finish();
        segments
    }

    pub(super) fn n_cells(&self) -> usize {
        self.cuts.numbers().len()
    }

    pub(super) fn windows_us(&self) -> &[i64] {
        &self.windows_us
    }

    pub(super) fn memory(&self) -> usize {
        self.cuts.memory() + self.places.len() * size_of::<u32>() + self.is_covered.len() / 8
    }

    /// The place of each cell.
    pub(super) fn places(&self) -> &[u32] {
        &self.places
    }

    /// The rows of a batch that any window covers, and the places of their cells. `numbers` are those of their keys.
    pub(super) fn find(
        &self,
        index: &SpineIndex,
        numbers: &[u32],
        rows: &TimedRows,
        found: &mut Vec<Counted>,
    ) {
        let width = 1 + self.windows_us.len() as u32;
        let events = rows.event.values();
        // Whether a row counts is hard to foretell, so every row is written and those that do are
        // counted: a wrong guess would cost more than the writing.
        found.resize(numbers.len(), Counted::default());
        let mut n_found = 0;
        let mut cells = [(0, 0); TOGETHER];
        for (number, numbers) in numbers.chunks(TOGETHER).enumerate() {
            let first_row = number * TOGETHER;
            let cells = &mut cells[..numbers.len()];
            rows.slots(index, numbers, first_row, cells);
            for (start, end) in cells.iter_mut() {
                (*start, *end) = (*start * width, *end * width);
            }
            self.cuts.touch(cells);
            for (row, &(start, end)) in (first_row..).zip(cells.iter()) {
                if start == end {
                    continue;
                }
                let cell = self.cuts.first_from((start, end), events[row]);
                found[n_found] = Counted {
                    place: cell,
                    row: row as u32,
                };
                let counts = (cell < end) & self.is_covered.value(cell as usize);
                n_found += usize::from(counts);
            }
        }
        found.truncate(n_found);
        for counted in found.iter_mut() {
            counted.place = self.places[counted.place as usize];
        }
    }

    /// The cells of each slot's window of this length, slot by slot.
    pub(super) fn windows(&self, index: &SpineIndex, window_us: i64) -> Vec<Window> {
        let width = 1 + self.windows_us.len();
        let cuts = self.cuts.numbers();
        let mut windows = Vec::with_capacity(index.n_slots());
        for key in 0..index.n_keys() as u32 {
            let slots = index.slots(key);
            let (first, last) = (slots.start * width, slots.end * width);
            let (mut start, mut end) = (first, first);
            for &time in index.times(slots) {
                // A window that begins before all instants leaves none of them out.
                if let Some(begin) = time.checked_sub(window_us) {
                    while start < last && cuts[start] <= begin {
                        start += 1;
                    }
                }
                while end < last && cuts[end] <= time {
                    end += 1;
                }
                windows.push(Window {
                    start: start as u32,
                    end: end as u32,
                });
            }
        }
        windows
    }
}

/// Merges the cells of each window, whose ranges ascend at both ends, in time that grows with the
/// cells and not with how many windows cover each.
pub(super) fn slide<P: Clone + Default>(
    cells: &[P],
    windows: &[Window],
    merge: impl Fn(&mut P, &P),
) -> Vec<P> {
    let mut merged = Vec::with_capacity(windows.len());
    // What is merged lies in two parts: of the cells before `turn` each holds itself and all up to
    // `turn`, in descending order; those from `turn` up to `end` are merged as they come.
    let mut before: Vec<P> = Vec::new();
    let mut after = P::default();
    let (mut turn, mut end) = (0, 0);
    for window in windows {
        let (start, stop) = (window.start as usize, window.end as usize);
        if start >= turn {
            before.clear();
            let mut sum = P::default();
            for cell in cells[start..stop].iter().rev() {
                let mut with_cell = cell.clone();
                merge(&mut with_cell, &sum);
                sum = with_cell;
                before.push(sum.clone());
            }
            (turn, end) = (stop, stop);
            after = P::default();
        }
        for cell in &cells[end..stop] {
            merge(&mut after, cell);
        }
        end = stop;
        // Empty where the window is.
        let mut both = match (turn - start.min(turn)).checked_sub(1) {
            Some(at) => before[at].clone(),
            None => P::default(),
        };
        merge(&mut both, &after);
        merged.push(both);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: u32, end: u32) -> Window {
        Window { start, end }
    }

    #[test]
    fn sliding_windows_merge_their_cells_in_order() {
        let cells: Vec<String> = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).into();
        let windows = [
            window(0, 0),
            window(0, 2),
            window(0, 3),
            window(1, 3),
            window(1, 5),
            window(4, 5),
            window(5, 6),
            window(6, 6),
        ];
        let merged = slide(&cells, &windows, |ours, theirs| ours.push_str(theirs));
        assert_eq!(merged, ["", "ab", "abc", "bc", "bcde", "e", "f", ""]);
    }
}
