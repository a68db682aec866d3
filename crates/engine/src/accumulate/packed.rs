//! How the row of a cell holds what is counted in it: numbers of values in half words, the rest in whole ones.

use super::cells::{Extreme, FloatSum, WholeSum};
use super::moments::Moments;

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
    pub(super) simple: Simple,
    numbers: [Half; MOST_NUMBERS],
    /// The first of the whole words.
    first: usize,
}

/// What the row of a cell holds.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// In words.
    width: usize,
    /// The second half of a word of which only the first is taken.
    free: Option<Half>,
}

/// Half of a word, by its number in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Half(usize);

/// Numbers of values that a partial aggregate has at most.
const MOST_NUMBERS: usize = 2;
/// Words that processors read from memory together.
pub(super) const LINE_WORDS: usize = 8;

/// What a row can hold.
pub(super) trait Packed: Copy + Default {
    const N_NUMBERS: usize;
    const N_WORDS: usize;

    fn from_row(numbers: [u64; MOST_NUMBERS], words: &[u64]) -> Self;

    /// Writes words, and answers the numbers, of which each fits half a word.
    fn to_row(self, words: &mut [u64]) -> [u64; MOST_NUMBERS];
}

impl Layout {
    /// Makes room for a counter.
    pub(super) fn add(&mut self, simple: Simple) -> Held {
        match simple {
            Simple::Count => self.place::<u64>(simple),
            Simple::SumWhole => self.place::<WholeSum>(simple),
            Simple::SumFloat => self.place::<FloatSum>(simple),
            Simple::Moments => self.place::<Moments>(simple),
            Simple::Extreme => self.place::<Extreme>(simple),
        }
    }

    fn place<P: Packed>(&mut self, simple: Simple) -> Held {
        let mut numbers = [Half::default(); MOST_NUMBERS];
        numbers[..P::N_NUMBERS].fill_with(|| self.half());
        let first = self.width;
        self.width += P::N_WORDS;
        Held {
            simple,
            numbers,
            first,
        }
    }

    fn half(&mut self) -> Half {
        self.free.take().unwrap_or_else(|| {
            let first = 2 * self.width;
            self.width += 1;
            self.free = Some(Half(first + 1));
            Half(first)
        })
    }

    /// Words from one row to the next. Rows that all but fill what is read together begin there.
    pub(super) fn width(&self) -> usize {
        match (self.width + 1) % LINE_WORDS {
            0 => self.width + 1,
            _ => self.width,
        }
    }

    /// Bytes from one row to the next.
    pub(super) fn bytes(&self) -> u64 {
        (self.width() * size_of::<u64>()) as u64
    }
}

impl Half {
    #[inline]
    fn get(self, row: &[u64]) -> u64 {
        let halves: &[u32] = bytemuck::cast_slice(row);
        halves[self.0].into()
    }

    #[inline]
    fn set(self, row: &mut [u64], number: u64) {
        let halves: &mut [u32] = bytemuck::cast_slice_mut(row);
        halves[self.0] = number as u32;
    }
}

impl Held {
    #[inline]
    pub(super) fn load<P: Packed>(self, row: &[u64]) -> P {
        let mut numbers = [0; MOST_NUMBERS];
        for (number, half) in numbers.iter_mut().zip(&self.numbers[..P::N_NUMBERS]) {
            *number = half.get(row);
        }
        P::from_row(numbers, &row[self.first..self.first + P::N_WORDS])
    }

    /// The numbers of values must fit half a word.
    #[inline]
    pub(super) fn store<P: Packed>(self, row: &mut [u64], partial: P) {
        let numbers = partial.to_row(&mut row[self.first..self.first + P::N_WORDS]);
        for (number, half) in numbers.into_iter().zip(&self.numbers[..P::N_NUMBERS]) {
            half.set(row, number);
        }
    }
}

impl Packed for u64 {
    const N_NUMBERS: usize = 1;
    const N_WORDS: usize = 0;

    #[inline]
    fn from_row([n, _]: [u64; MOST_NUMBERS], _: &[u64]) -> Self {
        n
    }

    #[inline]
    fn to_row(self, _: &mut [u64]) -> [u64; MOST_NUMBERS] {
        [self, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accumulate::double::Double;

    fn is_kept<P: Packed + PartialEq + std::fmt::Debug>(simple: Simple, partials: &[P]) {
        // Among others, in either half of a word.
        for before in [0, 1, 2] {
            let mut layout = Layout::default();
            let others: Vec<Held> = (0..before).map(|_| layout.add(Simple::Extreme)).collect();
            let held = layout.add(simple);
            let last = layout.add(Simple::Count);
            let mut row = vec![0; layout.width()];
            assert_eq!(held.load::<P>(&row), P::default());
            let mut extreme = Extreme::default();
            extreme.add(i64::MIN);
            for &other in &others {
                other.store(&mut row, extreme);
            }
            last.store(&mut row, u64::from(u32::MAX));
            for &partial in partials {
                held.store(&mut row, partial);
                assert_eq!(held.load::<P>(&row), partial);
                assert_eq!(last.load::<u64>(&row), u64::from(u32::MAX));
                for other in &others {
                    assert_eq!(other.load::<Extreme>(&row), extreme);
                }
            }
        }
    }

    #[test]
    fn what_is_stored_is_loaded_and_leaves_its_neighbours_alone() {
        is_kept(Simple::Count, &[1, u64::from(u32::MAX), 0]);
        let mut extreme = Extreme::default();
        is_kept(Simple::Extreme, &[extreme]);
        extreme.add(-3);
        is_kept(Simple::Extreme, &[extreme, Extreme::default()]);
        let mut whole = WholeSum::default();
        for value in [i64::MIN, i64::MIN, 7] {
            whole.add(value);
            is_kept(Simple::SumWhole, &[whole]);
        }
        let mut float = FloatSum::default();
        for value in [0.1, 1e300, -4.0] {
            float.add(value);
            is_kept(Simple::SumFloat, &[float]);
        }
        let mut moments = Moments::default();
        for value in [0.1, f64::INFINITY, 1e9] {
            moments.merge(&Moments::of(Double::from_f64(value)));
            is_kept(Simple::Moments, &[moments]);
        }
    }

    #[test]
    fn numbers_of_values_share_words() {
        let mut layout = Layout::default();
        for simple in [
            Simple::Count,
            Simple::SumFloat,
            Simple::SumFloat,
            Simple::Extreme,
        ] {
            layout.add(simple);
        }
        assert_eq!((layout.width, layout.width()), (7, LINE_WORDS));
    }
}
