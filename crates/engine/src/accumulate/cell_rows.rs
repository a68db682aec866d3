//! The simple partial aggregates of all counters with the same cells, row by row: what a cell holds of each lies side
//! by side, so that a source's row touches memory in one place for all of them.

use std::hint::black_box;

use arrow_buffer::NullBuffer;
use bytemuck::Pod;

use super::cells::{Extreme, FloatSum, WholeSum};
use super::double::Double;
use super::moments::Moments;
use super::ordinal::Ordinals;
use super::partial::{Input, Partials};
use super::segments::Counted;
use crate::pages::Pages;

/// The partial aggregates that lie in rows: few words each, and all zeros are that of no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Simple {
    Count,
    SumWhole,
    SumFloat,
    Moments,
    Extreme,
}

/// Where a cell's row holds a counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    simple: Simple,
    /// In words.
    offset: usize,
}

/// What the row of a cell holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layout {
    /// In words.
    width: usize,
}

/// The rows of all cells that one worker counts in.
#[derive(Debug)]
pub(super) struct CellRows {
    /// Of a row, in words.
    width: usize,
    words: Pages<u64>,
    /// In which blocks of cells anything was counted.
    is_touched: Vec<bool>,
}

/// Cells of a block, as a power of two: so few that workers with rows of other times seldom share one, and so many
/// that what is known of all blocks fits the first cache.
const BLOCK_BITS: u32 = 12;
/// Source rows that are counted together: what they touch should fit the first cache.
const TOGETHER: usize = 256;

impl Simple {
    fn n_words(self) -> usize {
        let n_bytes = match self {
            Self::Count => size_of::<u64>(),
            Self::SumWhole => size_of::<WholeSum>(),
            Self::SumFloat => size_of::<FloatSum>(),
            Self::Moments => size_of::<Moments>(),
            Self::Extreme => size_of::<Extreme>(),
        };
        n_bytes / size_of::<u64>()
    }
}

impl Layout {
    /// Makes room for a counter.
    pub(super) fn add(&mut self, simple: Simple) -> Held {
        let held = Held {
            simple,
            offset: self.width,
        };
        self.width += simple.n_words();
        held
    }
}

impl CellRows {
    pub(super) fn new(layout: Layout, n_cells: usize) -> Self {
        Self {
            width: layout.width,
            words: Pages::zeroed(n_cells * layout.width),
            is_touched: vec![false; n_cells.div_ceil(1 << BLOCK_BITS)],
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.words.memory()
    }

    /// Counts rows in their cells, for some counters with what each of them reads.
    pub(super) fn add_all(&mut self, found: &[Counted], inputs: &[(Held, &Input)]) {
        if self.width == 0 {
            return;
        }
        for together in found.chunks(TOGETHER) {
            self.mark(together);
            for &(held, input) in inputs {
                self.add(together, held, input);
            }
        }
    }

    /// Marks the blocks of cells as those that something is counted in, and reads of each cell here and there, so that
    /// it is at hand.
    fn mark(&mut self, found: &[Counted]) {
        let width = self.width;
        let words: &[u64] = &self.words;
        let mut all = 0;
        for counted in found {
            let cell = counted.place as usize * width;
            all ^= words[cell] ^ words[cell + width - 1];
            self.is_touched[counted.place as usize >> BLOCK_BITS] = true;
        }
        black_box(all);
    }

    fn add(&mut self, found: &[Counted], held: Held, input: &Input) {
        use Ordinals::Numbers;
        let Held { simple, offset } = held;
        let cells = Cells {
            words: &mut self.words,
            width: self.width,
            offset,
            nulls: input.nulls(),
        };
        match (simple, input) {
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

    /// What cells at places hold of a counter, from what all workers counted; no value for
    /// [`NO_PLACE`](crate::search::NO_PLACE).
    pub(super) fn partials(of_workers: &[&Self], held: Held, places: &[u32]) -> Partials {
        fn column<P: Pod>(
            of_workers: &[&CellRows],
            held: Held,
            places: &[u32],
            merge: impl Fn(&mut P, &P),
        ) -> Pages<P> {
            let of_workers: Vec<Counts<'_>> = of_workers
                .iter()
                .map(|rows| Counts {
                    is_touched: &rows.is_touched,
                    words: &rows.words,
                    width: rows.width,
                })
                .collect();
            let mut partials = Vec::with_capacity(places.len());
            for places in places.chunks(TOGETHER) {
                of_workers.iter().for_each(|counts| counts.touch(places));
                partials.extend(places.iter().map(|&place| {
                    let cells = of_workers.iter().filter_map(|counts| counts.at(place));
                    let mut counted = cells.map(|cell| as_partial(cell, held.offset));
                    let mut all = counted.next().copied().unwrap_or_else(P::zeroed);
                    counted.for_each(|theirs| merge(&mut all, theirs));
                    all
                }));
            }
            partials.into()
        }
        match held.simple {
            Simple::Count => {
                Partials::Count(column(of_workers, held, places, |n: &mut u64, more| {
                    *n += more;
                }))
            }
            Simple::SumWhole => {
                Partials::SumWhole(column(of_workers, held, places, WholeSum::merge))
            }
            Simple::SumFloat => {
                Partials::SumFloat(column(of_workers, held, places, FloatSum::merge))
            }
            Simple::Moments => Partials::Moments(column(of_workers, held, places, Moments::merge)),
            Simple::Extreme => Partials::Extreme(column(of_workers, held, places, Extreme::merge)),
        }
    }
}

/// What one worker counted.
struct Counts<'a> {
    is_touched: &'a [bool],
    words: &'a [u64],
    width: usize,
}

impl Counts<'_> {
    /// What a cell holds, if anything was counted near it.
    fn at(&self, place: u32) -> Option<&[u64]> {
        let place = place as usize;
        let is_touched = self.is_touched.get(place >> BLOCK_BITS)?;
        is_touched.then(|| &self.words[place * self.width..(place + 1) * self.width])
    }

    /// Reads of each cell here and there, so that it is at hand.
    fn touch(&self, places: &[u32]) {
        let cells = places.iter().filter_map(|&place| self.at(place));
        let all = cells.fold(0, |all, cell| all ^ cell[0] ^ cell[self.width - 1]);
        black_box(all);
    }
}

/// What all cells hold of a counter.
struct Cells<'a> {
    words: &'a mut [u64],
    width: usize,
    offset: usize,
    nulls: Option<&'a NullBuffer>,
}

impl Cells<'_> {
    /// Calls `add` for each row that has a value, with what its cell holds.
    fn each<P: Pod>(self, found: &[Counted], mut add: impl FnMut(&mut P, usize)) {
        let mut add = |counted: &Counted| {
            let cell = counted.place as usize * self.width;
            add(
                as_partial_mut(self.words, cell + self.offset),
                counted.row as usize,
            );
        };
        match self.nulls.filter(|nulls| nulls.null_count() > 0) {
            None => found.iter().for_each(add),
            Some(nulls) => {
                for counted in found {
                    if nulls.is_valid(counted.row as usize) {
                        add(counted);
                    }
                }
            }
        }
    }
}

fn as_partial<P: Pod>(words: &[u64], offset: usize) -> &P {
    let n_words = size_of::<P>() / size_of::<u64>();
    &bytemuck::cast_slice(&words[offset..offset + n_words])[0]
}

fn as_partial_mut<P: Pod>(words: &mut [u64], offset: usize) -> &mut P {
    let n_words = size_of::<P>() / size_of::<u64>();
    &mut bytemuck::cast_slice_mut(&mut words[offset..offset + n_words])[0]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::search::NO_PLACE;

    #[test]
    fn cells_hold_what_all_workers_counted_in_any_block() {
        let mut layout = Layout::default();
        let total = layout.add(Simple::SumFloat);
        let n = layout.add(Simple::Count);
        let most = layout.add(Simple::Extreme);
        let n_cells = 3 << BLOCK_BITS;
        let mut workers = [(); 3].map(|()| CellRows::new(layout, n_cells));
        let nulls = NullBuffer::from(vec![true, false, true]);
        let floats = Input::Float(vec![0.5, 8.0, -4.0].into(), Some(nulls));
        let numbers = Input::Ordinal(Ordinals::Numbers(vec![7, -9, 3]), None);
        let inputs = [(total, &floats), (n, &Input::Rows), (most, &numbers)];
        let counted = |place: usize, row| Counted {
            place: place as u32,
            row,
        };
        let (first, last) = (5, n_cells - 1);
        workers[0].add_all(&[counted(first, 0), counted(first, 1)], &inputs);
        workers[1].add_all(&[counted(last, 1)], &inputs);
        workers[2].add_all(&[counted(last, 2), counted(first, 2)], &inputs);

        let places = [last as u32, NO_PLACE, first as u32, first as u32 + 1];
        let workers: Vec<&CellRows> = workers.iter().collect();
        let Partials::Count(counts) = CellRows::partials(&workers, n, &places) else {
            unreachable!()
        };
        assert_eq!(*counts, [2, 0, 3, 0]);
        let Partials::SumFloat(sums) = CellRows::partials(&workers, total, &places) else {
            unreachable!()
        };
        let sums = sums.iter().map(|sum| (sum.n, sum.sum.to_f64()));
        assert_eq!(
            sums.collect::<Vec<_>>(),
            [(1, -4.0), (0, 0.0), (2, -3.5), (0, 0.0)]
        );
        let Partials::Extreme(extremes) = CellRows::partials(&workers, most, &places) else {
            unreachable!()
        };
        let extremes = extremes.iter().map(|extreme| extreme.number());
        assert_eq!(extremes.collect::<Vec<_>>(), [Some(3), None, Some(7), None]);
    }

    #[test]
    fn without_counters_there_is_nothing_to_count() {
        let mut rows = CellRows::new(Layout::default(), 10);
        rows.add_all(&[Counted { place: 1, row: 0 }], &[]);
        assert_eq!(rows.memory(), 0);
    }
}
