//! Each key's time, cut where a spine's windows begin and end, and windows that slide over the cells
//! between the cuts.
//!
//! A slot at `t` with the window `w` covers events in `(t - w, t]`. So with cuts at every `t` and every
//! `t - w`, a row lies in one cell, whatever the number of windows that cover it, and a window is a
//! range of cells.

use std::ops::Range;

use super::found_rows::{Counted, FoundRows};
use super::last_cells::{LastCell, LastCells};
use crate::beaten::TOLD_TOGETHER;
use crate::pages::Pages;
use crate::parallel;
use crate::prefetch::prefetch;
use crate::search::{Ascending, NO_PLACE, TOGETHER};
use crate::source::TimedRows;
use crate::spine::SpineIndex;

/// The cells that a slot's window covers: the first, and one after the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Cells of some keys that any window covers, in their order.
#[derive(Debug)]
pub(super) struct Covered {
    /// Where each is counted.
    pub(super) places: Vec<u32>,
    /// How many there are before each cell of these keys, and in all.
    n_before: Vec<u32>,
}

impl Covered {
    /// A window, counted in these cells.
    pub(super) fn of(&self, window: Window) -> Window {
        Window {
            start: self.n_before[window.start as usize],
            end: self.n_before[window.end as usize],
        }
    }
}

/// The cells of all keys for some lengths of windows. The cell of a cut lies before it and ends with it.
#[derive(Debug)]
pub(super) struct Segments {
    windows_us: Vec<i64>,
    /// Ascending within a key: a cut for each slot and for the start of each of its windows.
    cuts: Ascending,
    /// Where each cell that any window covers is counted: cells of one time lie together, whatever their
    /// keys, since sources mostly grow with time and cells that are counted one after the other then share
    /// the caches. [`NO_PLACE`] for cells that no window covers.
    places: Pages<u32>,
    n_places: usize,
}

/// Into how many parts all time is cut for that. A part's cells should fit the caches, and still lie on
/// few pages of memory.
const N_TIMES: usize = 1 << 10;

impl Segments {
    /// Bytes of a cell: its cut, its place, and where it was when its window was made.
    pub(super) const CELL_BYTES: u64 = 24;

    /// Cuts the time of all keys, on so many threads.
    pub(super) fn new(index: &SpineIndex, windows_us: Vec<i64>, n_threads: usize) -> Self {
        let width = 1 + windows_us.len();
        let n_cells = index.n_slots() * width;
        let (mut cuts, mut is_covered) = (Pages::zeroed(n_cells), vec![false; n_cells]);
        let (mut cuts_left, mut covered_left) = (&mut cuts[..], is_covered.as_mut_slice());
        let n_parts = parallel::n_parts(n_cells, n_threads);
        let mut parts = Vec::with_capacity(n_parts);
        for keys in parallel::group_ranges(index.starts(), n_parts) {
            let n_cells = index.slots_of(&keys).len() * width;
            let (cuts, others) = std::mem::take(&mut cuts_left).split_at_mut(n_cells);
            cuts_left = others;
            let (is_covered, others) = std::mem::take(&mut covered_left).split_at_mut(n_cells);
            covered_left = others;
            parts.push((keys, cuts, is_covered));
        }
        parallel::each(parts, |(keys, cuts, is_covered)| {
            cut(index, &keys, &windows_us, cuts);
            for &window_us in &windows_us {
                let mut next = 0;
                for window in windows(index, &keys, window_us, cuts) {
                    let (start, end) = (window.start as usize, window.end as usize);
                    if next.max(start) < end {
                        is_covered[next.max(start)..end].fill(true);
                    }
                    next = end;
                }
            }
        });
        let cuts = Ascending::new(cuts, n_threads);
        Self {
            places: cuts.by_number(N_TIMES, &is_covered, n_threads),
            n_places: is_covered.iter().filter(|is_covered| **is_covered).count(),
            windows_us,
            cuts,
        }
    }

    /// How many cells are covered by any window.
    pub(super) fn n_places(&self) -> usize {
        self.n_places
    }

    pub(super) fn windows_us(&self) -> &[i64] {
        &self.windows_us
    }

    pub(super) fn memory(&self) -> usize {
        self.cuts.memory() + self.places.memory()
    }

    /// Those cells of some keys that any window covers.
    pub(super) fn covered(&self, index: &SpineIndex, keys: &Range<usize>) -> Covered {
        let of_keys = &self.places[self.cells(index, keys)];
        let (mut places, mut n_before) = (vec![0; of_keys.len()], vec![0; of_keys.len() + 1]);
        let mut n = 0;
        for (&place, n_after) in of_keys.iter().zip(&mut n_before[1..]) {
            // Written whether it is covered or not, which is hard to foretell.
            places[n] = place;
            n += usize::from(place != NO_PLACE);
            *n_after = n as u32;
        }
        places.truncate(n);
        Covered { places, n_before }
    }

    /// The windows of this length of some keys' slots, slot by slot. Cells are counted from the first of
    /// these keys on.
    pub(super) fn windows<'a>(
        &'a self,
        index: &'a SpineIndex,
        keys: &Range<usize>,
        window_us: i64,
    ) -> impl Iterator<Item = Window> + 'a {
        let cuts = &self.cuts.numbers()[self.cells(index, keys)];
        windows(index, keys, window_us, cuts)
    }

    fn cells(&self, index: &SpineIndex, keys: &Range<usize>) -> Range<usize> {
        let width = 1 + self.windows_us.len();
        let slots = index.slots_of(keys);
        slots.start * width..slots.end * width
    }

    /// The rows of a batch that any window covers, and the places of their cells. `numbers` are those of their keys.
    pub(super) fn find(
        &self,
        index: &SpineIndex,
        numbers: &[u32],
        rows: &TimedRows,
        last: &mut LastCells,
        found: &mut FoundRows,
    ) {
        let width = 1 + self.windows_us.len() as u32;
        let events = rows.event.values();
        found.clear();
        let (room, mut n_found) = (found.room(numbers.len()), 0);
        let (cuts, places) = (self.cuts.searched(), &self.places[..]);
        let mut left = [0; TOLD_TOGETHER];
        let (mut of_keys, mut cells) = ([(0, 0); TOGETHER], [0; TOGETHER]);
        for next in (0..numbers.len()).step_by(TOLD_TOGETHER) {
            let told = next..numbers.len().min(next + TOLD_TOGETHER);
            let found_now = &mut room[n_found..];
            let level_of = |time| cuts.level_of(time);
            let (n_now, n_left) =
                last.tell(level_of, numbers, &rows.event, told, found_now, &mut left);
            n_found += n_now;
            for together in left[..n_left].chunks(TOGETHER) {
                let of_keys = &mut of_keys[..together.len()];
                let rows_of = together.iter().map(|row| *row as usize);
                rows.slots(index, numbers, rows_of, of_keys);
                for (start, end) in of_keys.iter_mut() {
                    (*start, *end) = (*start * width, *end * width);
                }
                cuts.ask(of_keys);
                for ((cell, &row), &of_key) in cells.iter_mut().zip(together).zip(&*of_keys) {
                    *cell = match of_key.0 < of_key.1 {
                        true => cuts.first_from(of_key, events[row as usize]),
                        false => of_key.1,
                    };
                }
                // In loops of their own, since a search leaves little room to wait for many places.
                let of_cells = cells.iter().zip(&*of_keys);
                let within = of_cells.filter(|(cell, of_key)| **cell < of_key.1);
                within.for_each(|(&cell, _)| prefetch(places, cell as usize));
                for ((&cell, &row), &of_key) in cells.iter().zip(together).zip(&*of_keys) {
                    if of_key.0 == of_key.1 {
                        continue;
                    }
                    let place = match cell < of_key.1 {
                        true => places[cell as usize],
                        false => NO_PLACE,
                    };
                    let told = LastCell::of_cuts(cuts, of_key, cell, place);
                    last.add(numbers[row as usize], told);
                    room[n_found] = Counted { place, row };
                    n_found += usize::from(place != NO_PLACE);
                }
            }
        }
        found.take(n_found);
    }
}

/// The cuts of some keys, ascending within each.
fn cut(index: &SpineIndex, keys: &Range<usize>, windows_us: &[i64], cuts: &mut [i64]) {
    let mut rest = cuts;
    for key in keys.clone() {
        let times = index.times(index.slots(key as u32));
        let n_cells = times.len() * (1 + windows_us.len());
        let (own, others) = std::mem::take(&mut rest).split_at_mut(n_cells);
        rest = others;
        let lengths = windows_us.iter().copied().chain([0]);
        let all = lengths.flat_map(|us| times.iter().map(move |time| time.saturating_sub(us)));
        for (cut, time) in own.iter_mut().zip(all) {
            *cut = time;
        }
        // Runs that ascend already, which this sort merges.
        own.sort();
    }
}

/// The windows of this length of some keys' slots, given these keys' cuts.
fn windows<'a>(
    index: &'a SpineIndex,
    keys: &Range<usize>,
    window_us: i64,
    cuts: &'a [i64],
) -> impl Iterator<Item = Window> + 'a {
    let slots = index.slots_of(keys);
    let width = cuts.len() / slots.len().max(1);
    let before = slots.start;
    keys.clone().flat_map(move |key| {
        let slots = index.slots(key as u32);
        let (first, last) = ((slots.start - before) * width, (slots.end - before) * width);
        let (mut start, mut end) = (first, first);
        index.times(slots).iter().map(move |&time| {
            // A window that begins before all instants leaves none of them out.
            if let Some(begin) = time.checked_sub(window_us) {
                while start < last && cuts[start] <= begin {
                    start += 1;
                }
            }
            while end < last && cuts[end] <= time {
                end += 1;
            }
            Window {
                start: start as u32,
                end: end as u32,
            }
        })
    })
}

/// Windows of at most so many cells are merged cell by cell.
const FEW_CELLS: usize = 6;

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
        if stop <= start + FEW_CELLS {
            let mut cells = cells[start..stop.max(start)].iter();
            let mut sum = cells.next().cloned().unwrap_or_default();
            cells.for_each(|cell| merge(&mut sum, cell));
            merged.push(sum);
            continue;
        }
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
        let cells: Vec<String> = ('a'..='z').map(String::from).collect();
        // Short ones, long ones that overlap and that do not, and short ones between these.
        let windows = [
            (0, 0),
            (0, 2),
            (0, 9),
            (1, 9),
            (1, 10),
            (4, 10),
            (4, 12),
            (11, 13),
            (11, 20),
            (19, 20),
            (19, 26),
            (26, 26),
        ];
        let slid: Vec<Window> = windows
            .iter()
            .map(|&(start, end)| window(start, end))
            .collect();
        let is_short = |(start, end): &(u32, u32)| (end - start) as usize <= FEW_CELLS;
        assert_eq!(windows.iter().filter(|one| is_short(one)).count(), 6);
        let merged = slide(&cells, &slid, |ours, theirs| ours.push_str(theirs));
        let whole = cells.concat();
        let wanted = windows.map(|(start, end)| &whole[start as usize..end as usize]);
        assert_eq!(merged, wanted);
    }
}
