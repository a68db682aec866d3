//! The times of few slots side by side in one word, each by some bits of how late it is, and all compared at once.

use bytemuck::{Pod, Zeroable};

/// Ascending levels side by side, each by how far it is from [`NEVER`], so that zeros are those of no slot. The highest
/// bit is set where they do not tell the slots.
#[derive(Clone, Copy, Debug, Default, Zeroable, Pod)]
#[repr(transparent)]
pub(super) struct Levels(u64);

/// The levels that lie from one on and before another: the first of them, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Between {
    pub(super) first: u32,
    pub(super) n: u32,
    /// Not where a level is that of either end, or levels do not tell the slots.
    pub(super) is_told: bool,
}

/// Levels at most.
pub(super) const MOST_SLOTS: usize = 6;
/// Bits of a level, and with them a bit between two.
const LEVEL_BITS: u32 = 9;
const LANE_BITS: u32 = LEVEL_BITS + 1;
/// The lowest bit of each level, and the bit above each.
const LOWEST: u64 = 0x0004_0100_4010_0401;
const ABOVE: u64 = LOWEST << LEVEL_BITS;
/// Above all levels.
pub(super) const NEVER: u64 = (1 << LEVEL_BITS) - 1;
const UNTOLD: u64 = 1 << 63;
/// Bits of a number of levels.
const NUMBER_BITS: u32 = 3;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

impl Levels {
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        let n_bits = u64::BITS - (self.0 & !UNTOLD).leading_zeros();
        n_bits.div_ceil(LANE_BITS) as usize
    }

    /// Adds one that is less than [`NEVER`], and not less than those before. There must be `len`, fewer than
    /// [`MOST_SLOTS`].
    #[inline(always)]
    pub(super) fn push(&mut self, len: usize, level: u64) {
        self.0 |= (NEVER - level) << (len as u32 * LANE_BITS);
    }

    /// Says that they do not tell the slots.
    #[inline(always)]
    pub(super) fn leave_untold(&mut self) {
        self.0 |= UNTOLD;
    }

    #[inline(always)]
    pub(super) fn is_told(self) -> bool {
        self.0 & UNTOLD == 0
    }

    /// Those from the level `from` on, and before or up to `until`, which may be one of two levels, the second not less
    /// than the first. All are less than [`NEVER`], and the first is not less than `from`.
    #[inline(always)]
    pub(super) fn between(self, from: u32, until: [u32; 2]) -> Between {
        // Each level less another. The bit above it stays where that is not less, and nothing is borrowed from the next.
        let all = (self.0 ^ (NEVER * LOWEST)) | ABOVE;
        let (from, until) = (all - spread(from), until.map(|until| all - spread(until)));
        // Of levels one more is less than the one above.
        let left_open = (from ^ (from - LOWEST)) | (until[0] ^ (until[1] - LOWEST));
        let is_told = (left_open & ABOVE) | (self.0 & UNTOLD) == 0;
        // Those that are less, of both in one.
        let less =
            (!from & ABOVE) >> LEVEL_BITS | (!until[0] & ABOVE) >> (LEVEL_BITS - NUMBER_BITS);
        let less = less + (less >> (3 * LANE_BITS));
        let n_less = less + (less >> LANE_BITS) + (less >> (2 * LANE_BITS));
        let first = n_less & NUMBER;
        Between {
            first: first as u32,
            n: ((n_less >> NUMBER_BITS & NUMBER) - first) as u32,
            is_told,
        }
    }
}

/// A level in the place of each.
#[inline(always)]
fn spread(level: u32) -> u64 {
    let one = u64::from(level);
    let two = one | one << LANE_BITS;
    two | two << (2 * LANE_BITS) | two << (4 * LANE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_compared_side_by_side() {
        let all: [&[u64]; 5] = [
            &[],
            &[0],
            &[NEVER - 1; MOST_SLOTS],
            &[0, 0, 3, 255, 256, NEVER - 1],
            &[17, 18, 19],
        ];
        let ends = [
            0, 1, 2, 3, 4, 16, 17, 18, 19, 20, 254, 255, 256, 257, 508, 509, 510,
        ];
        for levels in all {
            let mut packed = Levels::default();
            for (at, &level) in levels.iter().enumerate() {
                assert_eq!(packed.len(), at);
                packed.push(at, level);
            }
            assert!(packed.len() == levels.len() && packed.is_told());
            for (at, &from) in ends.iter().enumerate() {
                for (at, &until) in ends.iter().enumerate().skip(at) {
                    for &later in ends.iter().skip(at).take(2) {
                        let n_less = |than: u64| levels.iter().filter(|one| **one < than).count();
                        let (first, n) = (n_less(from), n_less(until) - n_less(from));
                        let is_end = |one: &u64| *one == from || (until..=later).contains(one);
                        let wanted = Between {
                            first: first as u32,
                            n: n as u32,
                            is_told: !levels.iter().any(is_end),
                        };
                        let until = [until as u32, later as u32];
                        assert_eq!(packed.between(from as u32, until), wanted);
                        let mut untold = packed;
                        untold.leave_untold();
                        assert!(!untold.between(from as u32, until).is_told);
                        assert_eq!(untold.len(), packed.len());
                    }
                }
            }
        }
    }
}
