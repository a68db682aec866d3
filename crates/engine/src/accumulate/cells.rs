//! What a cell or a node holds of simple aggregates. All zeros are those of no value.

use bytemuck::{Pod, Zeroable};

use super::double::Double;
use super::packed::Packed;

/// How many values of at most 64 bits there are, and their sum: an i128 holds that of any number that
/// there can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C, packed(8))]
pub(super) struct WholeSum {
    pub(super) n: u64,
    pub(super) sum: i128,
}

/// How many floats there are, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct FloatSum {
    pub(super) n: u64,
    pub(super) sum: Double,
}

/// The greatest number, if there is any; for `min` numbers are negated by complement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Extreme {
    is_any: u64,
    number: i64,
}

impl WholeSum {
    pub(super) fn add(&mut self, value: i64) {
        self.n += 1;
        self.sum += i128::from(value);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.sum += other.sum;
    }
}

impl FloatSum {
    pub(super) fn add(&mut self, value: f64) {
        self.n += 1;
        self.sum = self.sum.add_f64(value);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.sum = self.sum.add(other.sum);
    }
}

impl Extreme {
    pub(super) fn add(&mut self, number: i64) {
        self.merge(&Self { is_any: 1, number });
    }

    pub(super) fn merge(&mut self, other: &Self) {
        *self = (*self).max(*other);
    }

    pub(super) fn number(self) -> Option<i128> {
        (self.is_any != 0).then(|| self.number.into())
    }
}

impl Packed for WholeSum {
    const N_NUMBERS: usize = 1;
    const N_WORDS: usize = 2;

    #[inline]
    fn from_row([n, _]: [u64; 2], words: &[u64]) -> Self {
        let sum = i128::from(words[1] as i64) << u64::BITS | i128::from(words[0]);
        Self { n, sum }
    }

    #[inline]
    fn to_row(self, words: &mut [u64]) -> [u64; 2] {
        (words[0], words[1]) = (self.sum as u64, (self.sum >> u64::BITS) as u64);
        [self.n, 0]
    }
}

impl Packed for FloatSum {
    const N_NUMBERS: usize = 1;
    const N_WORDS: usize = Double::N_WORDS;

    #[inline]
    fn from_row([n, _]: [u64; 2], words: &[u64]) -> Self {
        let sum = Double::from_words(words);
        Self { n, sum }
    }

    #[inline]
    fn to_row(self, words: &mut [u64]) -> [u64; 2] {
        self.sum.to_words(words);
        [self.n, 0]
    }
}

impl Packed for Extreme {
    const N_NUMBERS: usize = 1;
    const N_WORDS: usize = 1;

    #[inline]
    fn from_row([is_any, _]: [u64; 2], words: &[u64]) -> Self {
        let number = words[0] as i64;
        Self { is_any, number }
    }

    #[inline]
    fn to_row(self, words: &mut [u64]) -> [u64; 2] {
        words[0] = self.number as u64;
        [self.is_any, 0]
    }
}
