//! Means and deviations that can be merged.

use bytemuck::{Pod, Zeroable};

use super::double::Double;
use super::packed::Packed;

/// Mean and sum of squared deviations of finite values; merged after Chan, Golub and LeVeque (1979).
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Moments {
    n: u64,
    mean: Double,
    squares: Double,
    /// How many values are NaN or infinite: there is no deviation from them.
    n_special: u64,
}

impl Moments {
    pub(super) fn of(value: Double) -> Self {
        let float = value.to_f64();
        if float.is_finite() {
            Self {
                n: 1,
                mean: value,
                ..Self::default()
            }
        } else {
            Self {
                n_special: 1,
                ..Self::default()
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n_special += other.n_special;
        if other.n == 0 {
            return;
        }
        if self.n == 0 {
            (self.n, self.mean, self.squares) = (other.n, other.mean, other.squares);
            return;
        }
        let (ours, theirs) = (
            Double::from_i128(self.n.into()),
            Double::from_i128(other.n.into()),
        );
        let all = ours.add(theirs);
        let delta = other.mean.sub(self.mean);
        self.mean = self.mean.add(delta.mul(theirs).div(all));
        let spread = delta.mul(delta).mul(ours).mul(theirs).div(all);
        self.squares = self.squares.add(other.squares).add(spread);
        self.n += other.n;
    }

    /// The sample's standard deviation of values that are whole numbers of `1 / unit`.
    pub(super) fn deviation(&self, unit: Double) -> Option<f64> {
        if self.n + self.n_special < 2 {
            return None;
        }
        if self.n_special > 0 {
            return Some(f64::NAN);
        }
        let variance = self.squares.div(Double::from_i128(i128::from(self.n) - 1));
        Some(variance.div(unit).div(unit).to_f64().max(0.0).sqrt())
    }
}

impl Packed for Moments {
    const N_NUMBERS: usize = 2;
    const N_WORDS: usize = 2 * Double::N_WORDS;

    fn from_row([n, n_special]: [u64; 2], words: &[u64]) -> Self {
        let (mean, squares) = words.split_at(Double::N_WORDS);
        Self {
            n,
            mean: Double::from_words(mean),
            squares: Double::from_words(squares),
            n_special,
        }
    }

    fn to_row(self, words: &mut [u64]) -> [u64; 2] {
        let (mean, squares) = words.split_at_mut(Double::N_WORDS);
        self.mean.to_words(mean);
        self.squares.to_words(squares);
        [self.n, self.n_special]
    }
}
