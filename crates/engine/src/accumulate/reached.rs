//! What rows reach, for some of them at a time: loops over plain numbers, which compilers turn into vector instructions,
//! and between them those that ask for memory.

use super::cuts::Cuts;
use super::levels::Levels;
use super::reach::OfPart;
use crate::prefetch::prefetch;

/// Rows that are looked at together. What they ask for should fit the first cache.
pub(super) const ROWS: usize = 128;

/// What rows reach, at hand for a loop.
#[derive(Clone, Copy)]
pub(super) struct AtHand<'a> {
    cuts: Cuts,
    n_keys: u32,
    /// Part by part, of each key, and one of no key.
    of_parts: &'a [OfPart],
}

/// What some rows ask for: of which part and key, the level of each row's time, and the two that the latest time may have
/// that it reaches.
pub(super) struct Asked {
    at: [u32; ROWS],
    from: [u32; ROWS],
    until: [[u32; ROWS]; 2],
}

/// What some rows reach.
pub(super) struct Reached {
    /// The number of the first slot of those that a row's part has.
    first: [u32; ROWS],
    /// How many slots levels tell that a row reaches.
    pub(super) n: [u32; ROWS],
    /// The places of the first two. Those of slots that it does not reach are of no meaning.
    pub(super) places: [[u32; ROWS]; 2],
    /// 1 where levels do not tell what is reached.
    pub(super) is_left: [u32; ROWS],
}

impl<'a> AtHand<'a> {
    /// `of_parts` has one more than parts and keys.
    pub(super) fn new(cuts: Cuts, n_keys: usize, of_parts: &'a [OfPart]) -> Self {
        debug_assert!(u32::try_from(of_parts.len()).is_ok());
        Self {
            cuts,
            n_keys: n_keys as u32,
            of_parts,
        }
    }

    /// What rows of keys ask for, so that it is at hand soon. Keys need not be known.
    #[inline(always)]
    pub(super) fn ask(self, numbers: &[u32; ROWS], events: &[i64; ROWS], asked: &mut Asked) {
        let nowhere = self.of_parts.len() as u32 - 1;
        for row in 0..ROWS {
            let (key, of_time) = (numbers[row], self.cuts.of_time(events[row]));
            let at = u64::from(of_time.part) * u64::from(self.n_keys) + u64::from(key);
            let is_outside = of_time.is_outside | (key >= self.n_keys);
            asked.at[row] = if is_outside { nowhere } else { at as u32 };
            asked.from[row] = of_time.from;
            (asked.until[0][row], asked.until[1][row]) = of_time.until.into();
        }
        for &at in &asked.at {
            prefetch(self.of_parts, at as usize);
        }
    }

    /// What these rows reach.
    #[inline(always)]
    pub(super) fn reached(self, asked: &Asked, reached: &mut Reached) {
        // What is at hand is brought together first, so that the loop below has nothing to look up.
        let mut levels = [Levels::default(); ROWS];
        let (mut firsts, mut laters) = ([0; ROWS], [0; ROWS]);
        for row in 0..ROWS {
            let of_part = self.of_part(asked.at[row]);
            (levels[row], firsts[row], laters[row]) =
                (of_part.levels, of_part.first, of_part.later);
        }
        for row in 0..ROWS {
            let until = [asked.until[0][row], asked.until[1][row]];
            let between = levels[row].between(asked.from[row], until);
            let of_part = OfPart {
                levels: levels[row],
                first: firsts[row],
                later: laters[row],
            };
            reached.first[row] = between.first;
            reached.n[row] = if between.is_told { between.n } else { 0 };
            reached.places[0][row] = of_part.place(between.first);
            reached.places[1][row] = of_part.place(between.first + 1);
            reached.is_left[row] = u32::from(!between.is_told);
        }
    }

    /// The place of one of the slots that a row reaches.
    #[inline(always)]
    pub(super) fn place(self, asked: &Asked, reached: &Reached, row: usize, slot: usize) -> u32 {
        self.of_part(asked.at[row])
            .place(reached.first[row] + slot as u32)
    }

    #[inline(always)]
    fn of_part(self, at: u32) -> OfPart {
        self.of_parts[at as usize]
    }
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            at: [0; ROWS],
            from: [0; ROWS],
            until: [[0; ROWS]; 2],
        }
    }
}

impl Default for Reached {
    fn default() -> Self {
        Self {
            first: [0; ROWS],
            n: [0; ROWS],
            places: [[0; ROWS]; 2],
            is_left: [0; ROWS],
        }
    }
}
