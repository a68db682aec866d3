//! Which rows of a source are fetched, in the order in which the source has them.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::UInt64Array;

use crate::parallel;

/// Stands for no row.
pub(super) const NO_NUMBER: u64 = u64::MAX;

/// Rows of a source, each once.
pub(super) struct WantedRows {
    /// The rows' numbers, ascending.
    numbers: UInt64Array,
    bits: Option<Bits>,
}

/// A bit for each number up to the greatest, by which numbers that lie close to each other are sorted and
/// found soonest.
struct Bits {
    words: Vec<u64>,
    /// How many bits are set before each word.
    n_before: Vec<u32>,
}

impl WantedRows {
    /// The numbers that items stand for, in any order, some of them more than once or [`NO_NUMBER`].
    pub(super) fn new<T: Copy + Sync>(
        items: &[&[T]],
        number: impl Fn(T) -> u64 + Sync,
        n_threads: usize,
    ) -> Self {
        let parts: Vec<&[T]> = items
            .iter()
            .flat_map(|items| {
                let n_parts = parallel::n_parts(items.len(), n_threads);
                parallel::ranges(items.len(), n_parts).map(|range| &items[range])
            })
            .collect();
        let ends = parallel::each(parts.clone(), |items| {
            numbers_of(items, &number).fold((0, 0), |(n, greatest), number| {
                (n + 1, number.max(greatest))
            })
        });
        let n_wanted: u64 = ends.iter().map(|(n, _)| n).sum();
        let n_words = ends.iter().map(|(_, greatest)| greatest / 64 + 1).max();
        let n_words = n_words.unwrap_or(0);
        if n_words > 4 * n_wanted {
            let mut numbers: Vec<u64> = items
                .iter()
                .flat_map(|items| numbers_of(items, &number))
                .collect();
            numbers.sort_unstable();
            numbers.dedup();
            return Self {
                numbers: numbers.into(),
                bits: None,
            };
        }
        let words: Vec<AtomicU64> = (0..n_words).map(|_| AtomicU64::new(0)).collect();
        parallel::each(parts, |items| {
            for number in numbers_of(items, &number) {
                words[(number / 64) as usize].fetch_or(1 << (number % 64), Ordering::Relaxed);
            }
        });
        let words: Vec<u64> = words.into_iter().map(AtomicU64::into_inner).collect();
        let n_numbers = words.iter().map(|word| word.count_ones() as usize).sum();
        let mut numbers = Vec::with_capacity(n_numbers);
        let mut n_before = Vec::with_capacity(words.len());
        for (place, &word) in words.iter().enumerate() {
            n_before.push(numbers.len() as u32);
            let mut left = word;
            while left != 0 {
                numbers.push(64 * place as u64 + u64::from(left.trailing_zeros()));
                left &= left - 1;
            }
        }
        Self {
            numbers: numbers.into(),
            bits: Some(Bits { words, n_before }),
        }
    }

    /// The rows' numbers, ascending.
    pub(super) fn numbers(&self) -> &UInt64Array {
        &self.numbers
    }

    /// The place of one of the numbers among them.
    pub(super) fn place(&self, number: u64) -> u32 {
        match &self.bits {
            None => self.numbers.values().partition_point(|&one| one < number) as u32,
            Some(bits) => {
                let word = (number / 64) as usize;
                let lower = bits.words[word] & ((1 << (number % 64)) - 1);
                bits.n_before[word] + lower.count_ones()
            }
        }
    }
}

fn numbers_of<T: Copy>(items: &[T], number: impl Fn(T) -> u64) -> impl Iterator<Item = u64> {
    let numbers = items.iter().map(move |&item| number(item));
    numbers.filter(|&number| number != NO_NUMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_each_is_found_however_far_apart_they_lie() {
        for step in [1, 3, 64, 1_000, 1 << 50] {
            // Some of them twice, in an order that is none.
            for n in [400, 100_003] {
                let mut wanted: Vec<u64> = (0..n + 100).map(|at| at * 7_919 % n).collect();
                wanted.extend([NO_NUMBER, NO_NUMBER]);
                let number = |item: u64| match item {
                    NO_NUMBER => NO_NUMBER,
                    item => item.saturating_mul(step).min(1 << 62),
                };
                let (some, others) = wanted.split_at(n as usize / 3);
                let rows = WantedRows::new(&[some, &[], others], number, 2);
                let mut sorted: Vec<u64> = (0..n).map(number).collect();
                sorted.dedup();
                assert_eq!(rows.numbers().values().to_vec(), sorted);
                for (place, &number) in (0..).zip(&sorted) {
                    assert_eq!(rows.place(number), place);
                }
            }
        }
        let none = WantedRows::new(&[&[NO_NUMBER]], |number| number, 2);
        assert!(none.numbers.is_empty());
        let none = WantedRows::new(&[], |number: u64| number, 2);
        assert!(none.numbers.is_empty());
    }
}
