//! Sums with twice the digits of a float64, so that partial sums agree whatever their order.
//!
//! Double-double arithmetic after Dekker (1971) and Knuth (TAOCP 2, 4.2.2).

use arrow_buffer::i256;
use bytemuck::{Pod, Zeroable};

/// An unevaluated sum of two floats. Infinite and NaN values live in `high`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Double {
    high: f64,
    low: f64,
}

impl Double {
    pub(super) const N_WORDS: usize = 2;

    /// What [`Self::to_words`] wrote.
    #[inline]
    pub(super) fn from_words(words: &[u64]) -> Self {
        let (high, low) = (f64::from_bits(words[0]), f64::from_bits(words[1]));
        Self { high, low }
    }

    #[inline]
    pub(super) fn to_words(self, words: &mut [u64]) {
        (words[0], words[1]) = (self.high.to_bits(), self.low.to_bits());
    }

    pub(super) fn from_f64(value: f64) -> Self {
        Self {
            high: value,
            low: 0.0,
        }
    }

    /// Exact up to 106 bits.
    pub(super) fn from_i128(value: i128) -> Self {
        let high = value as f64;
        // The remainder of the nearest float is far smaller than 2^127, but the float itself may be
        // 2^127, which no i128 holds.
        if high >= 1.7e38 || high <= -1.7e38 {
            return Self::from_f64(high);
        }
        Self {
            high,
            low: (value - high as i128) as f64,
        }
    }

    /// Exact up to 106 bits where an i128 holds the value, else up to 53.
    pub(super) fn from_i256(value: i256) -> Self {
        match value.to_i128() {
            Some(value) => Self::from_i128(value),
            None => {
                let (low, high) = value.to_parts();
                Self::from_f64(high as f64 * 2_f64.powi(128) + low as f64)
            }
        }
    }

    pub(super) fn to_f64(self) -> f64 {
        self.high
    }

    pub(super) fn add(self, other: Self) -> Self {
        let (sum, error) = two_sum(self.high, other.high);
        if !sum.is_finite() {
            return Self::from_f64(sum);
        }
        let (low, low_error) = two_sum(self.low, other.low);
        let (high, carry) = quick_two_sum(sum, error + low);
        let (high, low) = quick_two_sum(high, carry + low_error);
        Self { high, low }
    }

    pub(super) fn add_f64(self, value: f64) -> Self {
        let (sum, error) = two_sum(self.high, value);
        if !sum.is_finite() {
            return Self::from_f64(sum);
        }
        let (high, low) = quick_two_sum(sum, error + self.low);
        Self { high, low }
    }

    pub(super) fn sub(self, other: Self) -> Self {
        self.add(Self {
            high: -other.high,
            low: -other.low,
        })
    }

    pub(super) fn mul(self, other: Self) -> Self {
        let product = self.high * other.high;
        if !product.is_finite() {
            return Self::from_f64(product);
        }
        let error = self.high.mul_add(other.high, -product);
        let (high, low) = quick_two_sum(
            product,
            error + (self.high * other.low + self.low * other.high),
        );
        Self { high, low }
    }

    pub(super) fn div(self, other: Self) -> Self {
        let first = self.high / other.high;
        if !first.is_finite() {
            return Self::from_f64(first);
        }
        let rest = self.sub(other.mul(Self::from_f64(first)));
        let second = rest.high / other.high;
        let rest = rest.sub(other.mul(Self::from_f64(second)));
        let third = rest.high / other.high;
        Self::from_f64(first)
            .add(Self::from_f64(second))
            .add(Self::from_f64(third))
    }
}

fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

fn quick_two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    (sum, b - (sum - a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_beyond_a_float_survive() {
        let sum = [1e16, 1.0, -1e16, 1e-8]
            .into_iter()
            .fold(Double::default(), |sum, value| {
                sum.add(Double::from_f64(value))
            });
        assert_eq!(sum.to_f64(), 1.0 + 1e-8);
        let third = Double::from_f64(1.0).div(Double::from_f64(3.0));
        assert_eq!(third.mul(Double::from_f64(3.0)).to_f64(), 1.0);
        let big = (1_i128 << 100) + 1;
        let back = Double::from_i128(big).sub(Double::from_f64((1_i128 << 100) as f64));
        assert_eq!(back.to_f64(), 1.0);
        let huge = Double::from_i256(i256::from_parts(0, 1));
        assert_eq!(huge.to_f64(), 2_f64.powi(128));
    }

    #[test]
    fn infinities_and_nan_stay() {
        let infinite = Double::from_f64(f64::INFINITY);
        assert_eq!(infinite.add(Double::from_f64(1.0)).to_f64(), f64::INFINITY);
        assert!(infinite.sub(infinite).to_f64().is_nan());
        assert_eq!(Double::from_i128(i128::MIN).to_f64(), i128::MIN as f64);
    }
}
