//! Which rows of a source are fetched, in the order in which the source has them.

use arrow_array::UInt64Array;

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
    /// From numbers in any order, some of them more than once or [`NO_NUMBER`].
    pub(super) fn new(wanted: impl Iterator<Item = u64> + Clone) -> Self {
        let wanted = wanted.filter(|&number| number != NO_NUMBER);
        let (mut n_wanted, mut greatest) = (0, 0);
        for number in wanted.clone() {
            n_wanted += 1;
            greatest = number.max(greatest);
        }
        let n_words = greatest / 64 + 1;
        if n_words > 4 * n_wanted {
            let mut numbers: Vec<u64> = wanted.collect();
            numbers.sort_unstable();
            numbers.dedup();
            return Self {
                numbers: numbers.into(),
                bits: None,
            };
        }
        let mut words = vec![0_u64; n_words as usize];
        for number in wanted {
            words[(number / 64) as usize] |= 1 << (number % 64);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_each_is_found_however_far_apart_they_lie() {
        for step in [1, 3, 64, 1_000, 1 << 50] {
            // Some of them twice, in an order that is none.
            let mut wanted: Vec<u64> = (0..500_u64).map(|n| n * 7_919 % 400 * step).collect();
            wanted.extend([NO_NUMBER, NO_NUMBER]);
            let rows = WantedRows::new(wanted.iter().copied());
            let mut sorted: Vec<u64> = (0..400).map(|number| number * step).collect();
            sorted.sort_unstable();
            assert_eq!(rows.numbers().values().to_vec(), sorted);
            for (place, &number) in (0..).zip(&sorted) {
                assert_eq!(rows.place(number), place);
            }
        }
        assert!(WantedRows::new([NO_NUMBER].into_iter()).numbers.is_empty());
    }
}
