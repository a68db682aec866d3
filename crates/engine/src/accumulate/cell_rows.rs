//! The simple partial aggregates of all counters with the same cells, row by row: what a cell holds of each lies side
//! by side, so that a source's row touches memory in one place for all of them.

use arrow_buffer::NullBuffer;

use super::cells::{Extreme, FloatSum, WholeSum};
use super::double::Double;
use super::found_rows::Counted;
use super::moments::Moments;
use super::ordinal::Ordinals;
use super::packed::{Held, LINE_WORDS, Layout, Packed, Simple};
use super::partial::{Input, Partials};
use crate::pages::Pages;
use crate::prefetch::prefetch;

/// The rows of all cells that one worker counts in.
#[derive(Debug)]
pub(super) struct CellRows {
    /// Of a row, in words.
    width: usize,
    words: Pages<u64>,
    /// Rows that may still be counted, so that no cell's number of values outgrows half a word.
    n_left: u32,
    /// In which blocks of cells anything was counted.
    is_touched: Vec<bool>,
}

/// Cells of a block, as a power of two: so few that workers with rows of other times seldom share one, and so many
/// that what is known of all blocks fits the first cache.
const BLOCK_BITS: u32 = 12;
/// Source rows that are counted together: what they touch should fit the first cache.
const TOGETHER: usize = 64;

impl CellRows {
    pub(super) fn new(layout: &Layout, n_cells: usize) -> Self {
        Self {
            width: layout.width(),
            words: Pages::zeroed(n_cells * layout.width()),
            n_left: u32::MAX,
            is_touched: vec![false; n_cells.div_ceil(1 << BLOCK_BITS)],
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.words.memory()
    }

    /// Whether so many rows can be counted.
    pub(super) fn has_room(&self, n_rows: usize) -> bool {
        n_rows <= self.n_left as usize
    }

    /// Counts rows in their cells, for some counters with what each of them reads. They were found among so many, for which
    /// there must be room, and none is twice in one cell.
    pub(super) fn add_all(&mut self, n_rows: usize, found: &[Counted], inputs: &[(Held, &Input)]) {
        if self.width == 0 {
            return;
        }
        self.n_left -= found.len().min(n_rows) as u32;
        // What the next rows need is asked for before those at hand are counted.
        let mut next = found.chunks(TOGETHER);
        next.next().iter().for_each(|first| self.mark(first));
        for together in found.chunks(TOGETHER) {
            next.next().iter().for_each(|next| self.mark(next));
            for &(held, input) in inputs {
                self.add(together, held, input);
            }
        }
    }

    /// Asks for the cells that rows are counted in soon.
    pub(super) fn ask_all(&self, found: &[Counted]) {
        let (width, words) = (self.width, &self.words[..]);
        for counted in found {
            let cell = counted.place as usize * width;
            prefetch(words, cell);
            // Unless it is one line, it may lie in two.
            if width != LINE_WORDS {
                prefetch(words, cell + width - 1);
            }
        }
    }

    /// Marks the blocks of cells as those that something is counted in, and asks for the cells.
    fn mark(&mut self, found: &[Counted]) {
        self.ask_all(found);
        for counted in found {
            self.is_touched[counted.place as usize >> BLOCK_BITS] = true;
        }
    }

    fn add(&mut self, found: &[Counted], held: Held, input: &Input) {
        use Ordinals::Numbers;
        let cells = Cells {
            words: &mut self.words,
            width: self.width,
            held,
            nulls: input.nulls(),
        };
        match (held.simple, input) {
            (Simple::Count, _) => cells.each(found, |n: &mut u64, _| *n += 1),
            (Simple::SumWhole, Input::Ordinal(Numbers(values), _)) => {
                cells.each(found, |sum: &mut WholeSum, row| sum.add(values[row]));
            }
            (Simple::SumFloat, Input::Float(values, _)) => {
                cells.each(found, |sum: &mut FloatSum, row| sum.add(values[row]));
            }
            (Simple::Moments, Input::Float(values, _)) => {
                cells.each(found, |moments: &mut Moments, row| {
                    moments.merge(&Moments::of(Double::from_f64(values[row])));
                });
            }
            (Simple::Moments, Input::Ordinal(values, _)) => {
                cells.each(found, |moments: &mut Moments, row| {
                    moments.merge(&Moments::of(Double::from_i128(values.number(row))));
                });
            }
            (Simple::Extreme, Input::Ordinal(Numbers(values), _)) => {
                cells.each(found, |extreme: &mut Extreme, row| extreme.add(values[row]));
            }
            _ => {}
        }
    }

    /// What all workers' cells at places hold of some counters, each in the places' order.
    pub(super) fn gather(of_workers: &[&Self], places: &[u32], held: &[Held]) -> Vec<Partials> {
        let columns = held
            .iter()
            .map(|held| Partials::none(held.simple, places.len()));
        let mut columns: Vec<Partials> = columns.collect();
        let ask = |places: &[u32]| of_workers.iter().for_each(|rows| rows.ask(places));
        let mut next = places.chunks(TOGETHER);
        next.next().into_iter().for_each(ask);
        let mut rows = Rows::default();
        // All counters read some rows while these are in the first cache.
        for (start, places) in (0..).step_by(TOGETHER).zip(places.chunks(TOGETHER)) {
            next.next().into_iter().for_each(ask);
            rows.clear();
            for (at, &place) in places.iter().enumerate() {
                let mut first = None;
                for row in of_workers.iter().filter_map(|rows| rows.at(place)) {
                    match first {
                        None => first = Some(row),
                        Some(_) => rows.others.push((at, row)),
                    }
                }
                rows.firsts.push(first);
            }
            for (&held, column) in held.iter().zip(&mut columns) {
                rows.read(held, column, start);
            }
        }
        columns
    }

    /// What a cell holds, if anything was counted near it.
    fn at(&self, place: u32) -> Option<&[u64]> {
        let place = place as usize;
        let is_touched = self.is_touched.get(place >> BLOCK_BITS)?;
        is_touched.then(|| &self.words[place * self.width..(place + 1) * self.width])
    }

    /// Asks for cells.
    fn ask(&self, places: &[u32]) {
        for cell in places.iter().filter_map(|&place| self.at(place)) {
            prefetch(cell, 0);
            prefetch(cell, cell.len() - 1);
        }
    }
}

/// The rows of some cells, of all workers.
#[derive(Default)]
struct Rows<'a> {
    /// Of the first worker that may have counted in each cell, if any has.
    firsts: Vec<Option<&'a [u64]>>,
    /// Those of others, each with its cell.
    others: Vec<(usize, &'a [u64])>,
}

impl Rows<'_> {
    fn clear(&mut self) {
        self.firsts.clear();
        self.others.clear();
    }

    /// Writes what the cells hold of a counter to its column, from one place on.
    fn read(&self, held: Held, column: &mut Partials, start: usize) {
        match column {
            Partials::Count(column) => self.of(held, &mut column[start..], |n, more| *n += more),
            Partials::SumWhole(column) => self.of(held, &mut column[start..], WholeSum::merge),
            Partials::SumFloat(column) => self.of(held, &mut column[start..], FloatSum::merge),
            Partials::Moments(column) => self.of(held, &mut column[start..], Moments::merge),
            Partials::Extreme(column) => self.of(held, &mut column[start..], Extreme::merge),
            // Those that are not simple do not lie in rows.
            _ => {}
        }
    }

    fn of<P: Packed>(&self, held: Held, column: &mut [P], merge: impl Fn(&mut P, &P)) {
        for (row, cell) in self.firsts.iter().zip(&mut *column) {
            *cell = row.map_or_else(P::default, |row| held.load(row));
        }
        for &(at, row) in &self.others {
            merge(&mut column[at], &held.load(row));
        }
    }
}

/// What all cells hold of a counter.
struct Cells<'a> {
    words: &'a mut [u64],
    width: usize,
    held: Held,
    nulls: Option<&'a NullBuffer>,
}

impl Cells<'_> {
    /// Calls `add` for each row that has a value, with what its cell holds.
    fn each<P: Packed>(mut self, found: &[Counted], mut add: impl FnMut(&mut P, usize)) {
        match self.nulls.filter(|nulls| nulls.null_count() > 0) {
            None => {
                for counted in found {
                    self.one(counted, &mut add);
                }
            }
            Some(nulls) => {
                for counted in found {
                    if nulls.is_valid(counted.row as usize) {
                        self.one(counted, &mut add);
                    }
                }
            }
        }
    }

    /// Always inline, since a call for each row and counter takes longer than what it does.
    #[inline(always)]
    fn one<P: Packed>(&mut self, counted: &Counted, add: &mut impl FnMut(&mut P, usize)) {
        let first = counted.place as usize * self.width;
        let row = &mut self.words[first..first + self.width];
        let mut partial = self.held.load(row);
        add(&mut partial, counted.row as usize);
        self.held.store(row, partial);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn cells_hold_what_all_workers_counted_in_any_block() {
        let mut layout = Layout::default();
        let total = layout.add(Simple::SumFloat);
        let n = layout.add(Simple::Count);
        let most = layout.add(Simple::Extreme);
        let n_cells = 3 << BLOCK_BITS;
        let mut workers = [(); 3].map(|()| CellRows::new(&layout, n_cells));
        let nulls = NullBuffer::from(vec![true, false, true]);
        let floats = Input::Float(vec![0.5, 8.0, -4.0].into(), Some(nulls));
        let numbers = Input::Ordinal(Ordinals::Numbers(vec![7, -9, 3]), None);
        let inputs = [(total, &floats), (n, &Input::Rows), (most, &numbers)];
        let counted = |place: usize, row| Counted {
            place: place as u32,
            row,
        };
        let (first, last) = (5, n_cells - 1);
        workers[0].add_all(2, &[counted(first, 0), counted(first, 1)], &inputs);
        workers[1].add_all(2, &[counted(last, 1)], &inputs);
        // One row that counts in two.
        workers[2].add_all(1, &[counted(last, 2), counted(first, 2)], &inputs);

        let places = [last as u32, first as u32, first as u32 + 1];
        let workers: Vec<&CellRows> = workers.iter().collect();
        let gathered = CellRows::gather(&workers, &places, &[n, total, most]);
        let [
            Partials::Count(counts),
            Partials::SumFloat(sums),
            Partials::Extreme(extremes),
        ] = &gathered[..]
        else {
            unreachable!()
        };
        assert_eq!(**counts, [2, 3, 0]);
        let sums = sums.iter().map(|sum| (sum.n, sum.sum.to_f64()));
        assert_eq!(sums.collect::<Vec<_>>(), [(1, -4.0), (2, -3.5), (0, 0.0)]);
        let extremes = extremes.iter().map(|extreme| extreme.number());
        assert_eq!(extremes.collect::<Vec<_>>(), [Some(3), Some(7), None]);
    }

    #[test]
    fn rows_are_counted_up_to_what_half_a_word_holds() {
        let mut layout = Layout::default();
        let n = layout.add(Simple::Count);
        let mut rows = CellRows::new(&layout, 1);
        n.store(&mut rows.words, u64::from(u32::MAX) - 1);
        rows.n_left = 1;
        assert!(rows.has_room(1) && !rows.has_room(2));
        rows.add_all(1, &[Counted { place: 0, row: 0 }], &[(n, &Input::Rows)]);
        assert!(rows.has_room(0) && !rows.has_room(1));
        // More are counted elsewhere, and the sum of both has room.
        let mut more = CellRows::new(&layout, 1);
        more.add_all(1, &[Counted { place: 0, row: 1 }], &[(n, &Input::Rows)]);
        let gathered = CellRows::gather(&[&rows, &more], &[0], &[n]);
        let [Partials::Count(counts)] = &gathered[..] else {
            unreachable!()
        };
        assert_eq!(**counts, [1 << u32::BITS]);
    }

    #[test]
    fn without_counters_there_is_nothing_to_count() {
        let mut rows = CellRows::new(&Layout::default(), 10);
        rows.add_all(1, &[Counted { place: 1, row: 0 }], &[]);
        assert_eq!(rows.memory(), 0);
        assert!(CellRows::gather(&[&rows], &[1], &[]).is_empty());
    }
}
