//! Where rows lie among the ascending numbers of their keys, many rows at a time.
//!
//! Each search waits for memory a few times, and a search after the other would wait for each. So the
//! places of some rows are made known first, then their numbers are asked for, and only then compared.
//! Steps take no branch that depends on a number, since a wrong guess would throw away what the processor does ahead. What is compared are the upper bits of numbers, of which
//! twice as many fit the caches; whole numbers decide where those are equal.

use crate::pages::Pages;
use crate::parallel;
use crate::prefetch::prefetch;

/// Rows that are searched for together. Their numbers should fit the first cache.
pub(crate) const TOGETHER: usize = 128;

/// Stands for the place of a number that was not wanted.
pub(crate) const NO_PLACE: u32 = u32::MAX;

/// The numbers of many keys side by side, ascending within each key's range.
#[derive(Debug)]
pub(crate) struct Ascending {
    numbers: Pages<i64>,
    /// The upper bits of each.
    upper: Pages<u32>,
    bits: UpperBits,
}

/// How far a number is from the least of all, without the lowest `shift` bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UpperBits {
    least: i64,
    greatest: i64,
    shift: u32,
    /// How many of the upper bits are no part of a level.
    level_shift: u32,
}

/// [`Ascending`] numbers at hand for a loop.
#[derive(Clone, Copy)]
pub(crate) struct Searched<'a> {
    numbers: &'a [i64],
    upper: &'a [u32],
    bits: UpperBits,
}

impl UpperBits {
    fn within(numbers: &[i64], n_threads: usize) -> Self {
        let parts = numbers.chunks(parallel::together(numbers.len(), n_threads));
        let ends = parallel::each(parts.collect(), |part: &[i64]| {
            let ends = part.iter().map(|&number| (number, number));
            ends.reduce(|(least, greatest), (number, _)| (least.min(number), greatest.max(number)))
        });
        let ends = ends.into_iter().flatten();
        let ends = ends.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
        let (least, greatest) = ends.unwrap_or_default();
        Self::between(least, greatest, u32::BITS)
    }

    /// At most so many bits for each of the numbers between two.
    pub(crate) fn between(least: i64, greatest: i64, n_kept: u32) -> Self {
        let n_bits = u64::BITS - greatest.abs_diff(least).leading_zeros();
        Self {
            least,
            greatest,
            shift: n_bits.saturating_sub(n_kept),
            level_shift: n_bits.min(n_kept).saturating_sub(u16::BITS),
        }
    }

    /// Does not descend where numbers ascend, be they within the least and the greatest or not.
    #[inline(always)]
    pub(crate) fn of(self, number: i64) -> u32 {
        // Not `clamp`, which would look at every number's ends once more.
        let within = number.max(self.least).min(self.greatest);
        // Not less than the least, so that this is how far it is from there.
        (within.wrapping_sub(self.least) as u64 >> self.shift) as u32
    }

    /// Whether a number is neither less than the least nor greater than the greatest.
    #[inline(always)]
    pub(crate) fn is_within(self, number: i64) -> bool {
        (self.least <= number) & (number <= self.greatest)
    }

    /// The first 16 of some upper bits.
    #[inline]
    fn level(self, upper: u32) -> u16 {
        (upper >> self.level_shift) as u16
    }

    /// The least number of which these are the upper bits.
    pub(crate) fn least_of(self, upper: u32) -> i64 {
        self.least
            .saturating_add_unsigned(u64::from(upper) << self.shift)
    }

    /// The greatest number of which these are the upper bits.
    fn greatest_of(self, upper: u32) -> i64 {
        let lower = (1_u64 << self.shift) - 1;
        self.least
            .saturating_add_unsigned((u64::from(upper) << self.shift) | lower)
    }
}

impl Ascending {
    /// On so many threads.
    pub(crate) fn new(numbers: impl Into<Pages<i64>>, n_threads: usize) -> Self {
        let numbers = numbers.into();
        let bits = UpperBits::within(&numbers, n_threads);
        let mut upper = Pages::zeroed(numbers.len());
        parallel::fill(&numbers, &mut upper, n_threads, |number| bits.of(number));
        Self {
            numbers,
            upper,
            bits,
        }
    }

    pub(crate) fn numbers(&self) -> &[i64] {
        &self.numbers
    }

    pub(crate) fn memory(&self) -> usize {
        self.numbers.memory() + self.upper.memory()
    }

    /// The least and the greatest number; the same where there is none.
    pub(crate) fn ends(&self) -> (i64, i64) {
        (self.bits.least, self.bits.greatest)
    }

    /// The same numbers, to search in.
    pub(crate) fn searched(&self) -> Searched<'_> {
        Searched {
            numbers: &self.numbers,
            upper: &self.upper,
            bits: self.bits,
        }
    }

    /// The places of wanted numbers, in which those of one part of their whole distance lie together:
    /// parts ascend, and within a part numbers keep their order. [`NO_PLACE`] for all others.
    pub(crate) fn by_number(
        &self,
        n_parts: usize,
        is_wanted: &[bool],
        n_threads: usize,
    ) -> Pages<u32> {
        let distance = u64::from(self.bits.of(self.bits.greatest)) + 1;
        let part = |upper: u32| (u64::from(upper) * n_parts as u64 / distance) as usize;
        // Each thread has some numbers, whose places begin in each part behind those of the thread before.
        let together = parallel::together(self.numbers.len(), n_threads);
        let shares = self.upper.chunks(together).zip(is_wanted.chunks(together));
        let counts = parallel::each(shares.collect(), |(upper, is_wanted): (&[u32], &[bool])| {
            let mut counts = vec![0_u32; n_parts];
            for (&upper, &is_wanted) in upper.iter().zip(is_wanted) {
                counts[part(upper)] += u32::from(is_wanted);
            }
            counts
        });
        let mut firsts = counts.clone();
        let mut first = 0;
        for part in 0..n_parts {
            for (firsts, counts) in firsts.iter_mut().zip(&counts) {
                firsts[part] = first;
                first += counts[part];
            }
        }
        let mut places = Pages::zeroed(self.numbers.len());
        let shares = places.chunks_mut(together).zip(firsts);
        let numbers = self.upper.chunks(together).zip(is_wanted.chunks(together));
        let shares = shares.zip(numbers).collect();
        parallel::each(shares, |((places, mut next), (upper, is_wanted))| {
            let places: &mut [u32] = places;
            for (place, (&upper, &is_wanted)) in places.iter_mut().zip(upper.iter().zip(is_wanted))
            {
                let next = &mut next[part(upper)];
                *place = if is_wanted { *next } else { NO_PLACE };
                *next += u32::from(is_wanted);
            }
        });
        places
    }
}

impl Searched<'_> {
    /// Asks for what is compared in each range.
    pub(crate) fn ask(self, ranges: &[(u32, u32)]) {
        for &(start, end) in ranges.iter().filter(|(start, end)| start < end) {
            let (start, end) = (start as usize, end as usize);
            let some = [start, (start + end) / 2, end - 1];
            some.iter().for_each(|&place| prefetch(self.upper, place));
        }
    }

    /// The first place in a key's range whose number is not less than another; `end` if there is none.
    #[inline]
    pub(crate) fn first_from(self, (start, end): (u32, u32), than: i64) -> u32 {
        let upper = self.bits.of(than);
        let first = start + n_less(&self.upper[start as usize..end as usize], upper) as u32;
        if first < end && self.upper[first as usize] == upper {
            let rest = &self.numbers[first as usize..end as usize];
            return first + rest.partition_point(|&number| number < than) as u32;
        }
        first
    }

    /// The level of the number at a place.
    #[inline]
    pub(crate) fn level_at(self, place: u32) -> u16 {
        self.bits.level(self.upper[place as usize])
    }

    /// The level of another number: greater than that of a place only if the number is, and less only if it is.
    #[inline]
    pub(crate) fn level_of(self, number: i64) -> u16 {
        self.bits.level(self.bits.of(number))
    }

    /// A number that is not less than that of a place, and seldom much greater.
    #[inline]
    pub(crate) fn hardly_above(self, place: u32) -> i64 {
        self.bits.greatest_of(self.upper[place as usize])
    }

    /// Whether another number is at least that of a place.
    #[inline]
    pub(crate) fn is_reached(self, place: u32, by: i64) -> bool {
        let (held, upper) = (self.upper[place as usize], self.bits.of(by));
        if held == upper {
            return by >= self.numbers[place as usize];
        }
        upper > held
    }
}

/// How many of some ascending numbers are less than another.
#[inline]
fn n_less(numbers: &[u32], than: u32) -> usize {
    match numbers.len() {
        0 => 0,
        1..=15 => in_steps(numbers, than, [8, 4, 2, 1]),
        16..=31 => in_steps(numbers, than, [16, 8, 4, 2, 1]),
        _ => numbers.partition_point(|&number| number < than),
    }
}

/// Finds the count bit by bit, in as many steps whatever the numbers are.
#[inline]
fn in_steps<const N: usize>(numbers: &[u32], than: u32, steps: [usize; N]) -> usize {
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
    fn every_length_and_place_is_found_as_by_a_walk() {
        // Apart by so little, and by so much, that upper bits are the same, and are all there is.
        for (first, step) in [
            (0, 10),
            (-1 << 40, 1 << 33),
            (i64::MIN, 1),
            (i64::MAX - 700, 10),
        ] {
            for length in 0..70 {
                let of_key = (0..length).map(|n| first + n / 2 * step);
                // Another key's, far away, make upper bits coarse.
                let far = [first ^ i64::MIN, first];
                let all: Vec<i64> = of_key.chain(far).collect();
                let ascending = Ascending::new(all.clone(), 1);
                let ascending = ascending.searched();
                let numbers = &all[..length as usize];
                let range = (0, length as u32);
                ascending.ask(&[range, (0, 0)]);
                let edges = numbers.iter().flat_map(|&number| {
                    [number.saturating_sub(1), number, number.saturating_add(1)]
                });
                for than in edges.chain([i64::MIN, i64::MAX, 0]) {
                    let walked = numbers.iter().filter(|&&number| number < than).count();
                    assert_eq!(
                        ascending.first_from(range, than),
                        walked as u32,
                        "{than} of {numbers:?}"
                    );
                    for (place, &number) in numbers.iter().enumerate() {
                        assert_eq!(ascending.is_reached(place as u32, than), than >= number);
                        assert!(ascending.hardly_above(place as u32) >= number);
                    }
                }
            }
        }
    }

    #[test]
    fn places_are_by_part_and_each_is_given_once() {
        let ascending = Ascending::new(vec![5, 90, 10, 99, 0, 50, 51], 1);
        let places = ascending.by_number(2, &[true; 7], 1);
        assert_eq!(*places, [0, 3, 1, 4, 2, 5, 6]);
        let places = ascending.by_number(2, &[true, true, false, false, true, true, false], 1);
        assert_eq!(*places, [0, 2, NO_PLACE, NO_PLACE, 1, 3, NO_PLACE]);
        assert!(
            Ascending::new(Vec::new(), 1)
                .by_number(2, &[], 1)
                .is_empty()
        );
        let same = Ascending::new(vec![7, 7], 1);
        assert_eq!(*same.by_number(4, &[true; 2], 1), [0, 1]);
    }

    #[test]
    fn places_are_the_same_on_any_number_of_threads() {
        let numbers: Vec<i64> = (0..200_000).map(|n| n * 7_919 % 100_003).collect();
        let is_wanted: Vec<bool> = numbers.iter().map(|number| number % 3 > 0).collect();
        let one = Ascending::new(numbers.clone(), 1);
        let places = one.by_number(100, &is_wanted, 1);
        for n_threads in [2, 3, 5] {
            let other = Ascending::new(numbers.clone(), n_threads);
            assert_eq!(*other.upper, *one.upper);
            assert_eq!(*other.by_number(100, &is_wanted, n_threads), *places);
        }
    }

    #[test]
    fn numbers_of_no_great_distance_are_compared_whole() {
        let ascending = Ascending::new(vec![5, 7, 7, 1 << 31], 1);
        assert_eq!(ascending.bits.shift, 0);
        let ascending = ascending.searched();
        assert_eq!(ascending.first_from((0, 3), 7), 1);
        assert_eq!(ascending.first_from((0, 3), 8), 3);
        assert_eq!(ascending.first_from((1, 1), 8), 1);
    }
}
