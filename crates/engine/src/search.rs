//! Where rows lie among the ascending numbers of their keys, many rows at a time.
//!
//! Each search waits for memory a few times, and a search after the other would wait for each. So the
//! places of some rows are made known first, then their numbers are touched without regard to what they
//! are, and only then compared. Steps take no branch that depends on a number, since a wrong guess would
//! throw away what the processor does ahead.

use std::hint::black_box;

/// Rows that are searched for together. Their numbers should fit the first cache.
pub(crate) const TOGETHER: usize = 128;

/// Reads the numbers in each range here and there, so that they are at hand.
pub(crate) fn touch(numbers: &[i64], ranges: &[(u32, u32)]) {
    let mut all = 0;
    for &(start, end) in ranges {
        let (start, end) = (start as usize, end as usize);
        if start < end {
            all ^= numbers[start] ^ numbers[start + (end - start) / 2] ^ numbers[end - 1];
        }
    }
    black_box(all);
}

/// How many of some ascending numbers are less than another.
#[inline]
pub(crate) fn n_less(numbers: &[i64], than: i64) -> usize {
    match numbers.len() {
        0 => 0,
        1..=15 => in_steps(numbers, than, [8, 4, 2, 1]),
        16..=31 => in_steps(numbers, than, [16, 8, 4, 2, 1]),
        _ => numbers.partition_point(|&number| number < than),
    }
}

/// Finds the count bit by bit, in as many steps whatever the numbers are.
#[inline]
fn in_steps<const N: usize>(numbers: &[i64], than: i64, steps: [usize; N]) -> usize {
    let mut n = 0;
    for step in steps {
        let more = n + step;
        let is_less = numbers[more.min(numbers.len()) - 1] < than;
        n += step * usize::from(is_less & (more <= numbers.len()));
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_place_counts_like_a_walk() {
        for length in 0..70 {
            let numbers: Vec<i64> = (0..length).map(|n| n / 2 * 10).collect();
            for than in -5..length * 5 + 10 {
                let walked = numbers.iter().filter(|&&number| number < than).count();
                assert_eq!(n_less(&numbers, than), walked, "{than} of {numbers:?}");
            }
        }
        touch(&[1, 2], &[(0, 2), (1, 1), (2, 2)]);
    }
}
