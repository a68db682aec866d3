//! Which rows of a source are fetched for slots, in the order in which the source has them.

use arrow_array::UInt64Array;

/// The rows that some slots' winners are, each once, since no two slots have the same winner of their
/// own.
pub(super) struct WantedRows {
    /// The rows' numbers, ascending.
    pub(super) numbers: UInt64Array,
    /// Slots, each with the place of its row among the numbers.
    pub(super) rows: Vec<(u32, u32)>,
}

impl WantedRows {
    /// From numbers of rows and their slots.
    pub(super) fn new(wanted: impl Iterator<Item = (u64, u32)>) -> Self {
        let mut wanted: Vec<(u64, u32)> = wanted.collect();
        let greatest = wanted.iter().map(|&(number, _)| number).max().unwrap_or(0);
        let n_words = greatest / 64 + 1;
        if n_words > 4 * wanted.len() as u64 {
            wanted.sort_unstable();
            let rows = wanted.iter().zip(0..).map(|(&(_, slot), row)| (slot, row));
            return Self {
                rows: rows.collect(),
                numbers: UInt64Array::from_iter_values(wanted.iter().map(|&(number, _)| number)),
            };
        }
        // Where numbers lie close to each other, a bit for each is sorted soonest.
        let mut words = vec![0_u64; n_words as usize];
        for &(number, _) in &wanted {
            words[(number / 64) as usize] |= 1 << (number % 64);
        }
        let mut numbers = Vec::with_capacity(wanted.len());
        let mut n_before = Vec::with_capacity(words.len());
        for (place, &word) in words.iter().enumerate() {
            n_before.push(numbers.len() as u32);
            let mut left = word;
            while left != 0 {
                numbers.push(64 * place as u64 + u64::from(left.trailing_zeros()));
                left &= left - 1;
            }
        }
        let rows = wanted.into_iter().map(|(number, slot)| {
            let place = (number / 64) as usize;
            let lower = words[place] & ((1 << (number % 64)) - 1);
            (slot, n_before[place] + lower.count_ones())
        });
        Self {
            rows: rows.collect(),
            numbers: numbers.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_slots_find_theirs_however_far_apart_they_lie() {
        for step in [1, 3, 64, 1_000, 1 << 50] {
            // Each slot's row, in an order that is none.
            let wanted: Vec<(u64, u32)> = (0..500_u64)
                .map(|n| (n * 7_919 % 500 * step, n as u32))
                .collect();
            let rows = WantedRows::new(wanted.iter().copied());
            let mut sorted: Vec<u64> = wanted.iter().map(|&(number, _)| number).collect();
            sorted.sort_unstable();
            assert_eq!(rows.numbers.values().to_vec(), sorted);
            assert_eq!(rows.rows.len(), wanted.len());
            for (slot, row) in rows.rows {
                assert_eq!(rows.numbers.value(row as usize), wanted[slot as usize].0);
            }
        }
        assert!(WantedRows::new(std::iter::empty()).rows.is_empty());
    }
}
