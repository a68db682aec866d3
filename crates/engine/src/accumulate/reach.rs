//! Which slots of its key a source's row reaches: those at its time or up to a window's length after it.
//!
//! All time is cut into parts no shorter than a window. What rows of a part can reach is few slots of each key, and of
//! these some bits of their times mostly tell which ones a row reaches. All that lies in 16 bytes for each key of a part,
//! so a row touches memory in one place, and rows of about the same time, as they are read one after the other, share a
//! small piece of it.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::pages::Pages;
use crate::parallel;
use crate::prefetch::prefetch;
use crate::search::UpperBits;
use crate::spine::SpineIndex;

/// By how many bits of a time its part and what follows from it are told.
const TIME_BITS: u32 = 24;
/// Parts at most, so that levels are far more than the steps of times.
const MOST_PARTS: usize = 1 << 12;
/// One in so many slots need not be told by levels.
const MOST_UNTOLD: usize = 8;

/// What rows of each part and key reach, and where slots are counted.
#[derive(Debug)]
pub(super) struct Reach {
    cuts: Cuts,
    n_keys: usize,
    /// Part by part, of each key.
    of_parts: Pages<OfPart>,
    /// Of each slot, by part and within a part key by key: workers with rows of other times share little memory, and
    /// slots with a row in common mostly lie side by side.
    places: Pages<u32>,
    /// Slots of parts whose slots levels do not tell.
    n_untold: usize,
}

/// All time in parts of the same length, from a window before the first slot on.
#[derive(Clone, Copy, Debug)]
struct Cuts {
    bits: UpperBits,
    n_parts: usize,
    window_us: i64,
    /// How many parts each step of the upper bits is, times 2^32.
    parts_per_step: u64,
    /// How much later than a row the latest is that it reaches. It may be one step later.
    window: Position,
    /// How many levels one of positions is, times 2^40.
    levels_per_position: u64,
}

/// A time as far as parts tell it, or a length of time: how many parts come before it, times 2^32.
type Position = u64;

/// The slots of a key that rows of one part can reach: those of the part, and of a later one.
#[derive(Clone, Copy, Debug, Default, Zeroable, Pod)]
#[repr(C)]
struct OfPart {
    levels: Levels,
    /// The place of the part's first slot, and above it how many the part has.
    first: u32,
    /// What is added to the number of a later slot for its place.
    later: u32,
}

/// Ascending levels side by side, each by how far it is from [`NEVER`], so that zeros are those of no slot. The highest
/// bit is set where they do not tell the slots.
#[derive(Clone, Copy, Debug, Default, Zeroable, Pod)]
#[repr(transparent)]
struct Levels(u64);

/// What rows reach, at hand for a loop.
#[derive(Clone, Copy)]
pub(super) struct AtHand<'a> {
    cuts: Cuts,
    n_keys: usize,
    of_parts: &'a [OfPart],
}

/// What a row asks for: of which part and key, the level of its time, and the two that the latest time may have that it
/// reaches.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    at: usize,
    from: u16,
    until: [u16; 2],
}

/// The slots that a row reaches: the first, and one after the last, of those that its part has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    first: u32,
    after: u32,
    of_part: OfPart,
}

/// Slots that levels can tell.
pub(super) const MOST_SLOTS: usize = 6;
/// Bits of a level, and with them a bit between two.
const LEVEL_BITS: u32 = 9;
const LANE_BITS: u32 = LEVEL_BITS + 1;
/// The lowest bit of each level, and the bit above each.
const LOWEST: u64 = 0x0004_0100_4010_0401;
const ABOVE: u64 = LOWEST << LEVEL_BITS;
/// Bits behind the point of what is multiplied by a position: with at most [`MOST_PARTS`] parts, of which each has fewer
/// than 2^9 levels, all products are below 2^62.
const LEVEL_POINT: u32 = 40;
/// Above the levels of all rows and slots.
const NEVER: u64 = (1 << LEVEL_BITS) - 1;
const UNTOLD: u64 = 1 << 63;
/// Bits of the place in [`OfPart::first`]. There are fewer slots in a spine than they can number.
const PLACE_BITS: u32 = 29;

impl Levels {
    fn len(self) -> usize {
        let n_bits = u64::BITS - (self.0 & !UNTOLD).leading_zeros();
        n_bits.div_ceil(LANE_BITS) as usize
    }

    /// Adds one that is not less than those before. There must be fewer than [`MOST_SLOTS`].
    fn push(&mut self, level: u64) {
        self.0 |= (NEVER - level) << (self.len() as u32 * LANE_BITS);
    }

    fn is_told(self) -> bool {
        self.0 & UNTOLD == 0
    }

    /// All of them less another. The bit above a level stays where that is not less, and nothing is borrowed from the
    /// next.
    #[inline]
    fn less(self, other: u64) -> u64 {
        ((self.0 ^ (NEVER * LOWEST)) | ABOVE) - other * LOWEST
    }

    /// How many were less than one, given what is [left](Self::less) of all without it.
    #[inline]
    fn n_less(left: u64) -> u32 {
        // Never zero, and behind all levels.
        (left & ABOVE | 1 << 63).trailing_zeros() / LANE_BITS
    }
}

impl OfPart {
    fn n_own(self) -> u32 {
        self.first >> PLACE_BITS
    }

    /// Adds the next of the part's own slots. Answers whether levels tell all of them.
    fn push_own(&mut self, level: u64, place: u32) -> bool {
        match self.levels.len() {
            MOST_SLOTS => self.levels.0 |= UNTOLD,
            0 => self.first = place | 1 << PLACE_BITS,
            _ => self.first += 1 << PLACE_BITS,
        }
        self.push(level)
    }

    /// The same with the next slot of a later part.
    fn push_later(&mut self, level: u64, place: u32) -> bool {
        let n_before = self.levels.len();
        let later = place.wrapping_sub(n_before as u32);
        if n_before as u32 == self.n_own() {
            self.later = later;
        }
        // Slots of two later parts do not lie side by side.
        if n_before == MOST_SLOTS || self.later != later {
            self.levels.0 |= UNTOLD;
        }
        self.push(level)
    }

    fn push(&mut self, level: u64) -> bool {
        let is_told = self.levels.is_told();
        if is_told {
            self.levels.push(level);
        }
        is_told
    }
}

impl Reached {
    #[inline]
    pub(super) fn len(self) -> usize {
        (self.after - self.first) as usize
    }

    /// The place of one of the slots.
    #[inline]
    pub(super) fn place(self, at: usize) -> u32 {
        let slot = self.first + at as u32;
        let OfPart { first, later, .. } = self.of_part;
        let base = match slot < self.of_part.n_own() {
            true => first & ((1 << PLACE_BITS) - 1),
            false => later,
        };
        base.wrapping_add(slot)
    }
}

impl Cuts {
    fn new((least, greatest): (i64, i64), window_us: i64, n_parts: usize) -> Self {
        let least = least.saturating_sub(window_us);
        let bits = UpperBits::between(least, greatest, TIME_BITS);
        let n_steps = u64::from(bits.of(greatest)) + 1;
        let parts_per_step = ((n_parts as u64) << u32::BITS) / n_steps;
        let window = u64::from(bits.of(least.saturating_add(window_us - 1))) * parts_per_step;
        // Of all that a row of a part asks for.
        let longest = (1 << u32::BITS) + window + parts_per_step;
        Self {
            bits,
            n_parts,
            window_us,
            parts_per_step,
            window,
            levels_per_position: ((NEVER - 1) << LEVEL_POINT) / longest,
        }
    }

    /// Does not descend where times ascend.
    #[inline]
    fn position(self, time: i64) -> Position {
        u64::from(self.bits.of(time)) * self.parts_per_step
    }

    /// The part that a position lies in.
    #[inline]
    fn part(position: Position) -> usize {
        (position >> u32::BITS) as usize
    }

    /// The level of a time that is so much later than a part begins: less than [`NEVER`] for all that a row of the part
    /// asks for. Does not descend where times ascend.
    #[inline]
    fn level(self, later: Position) -> u64 {
        (later * self.levels_per_position) >> LEVEL_POINT
    }

    /// No row of a part reaches a later time.
    fn reached(self, part: usize) -> i64 {
        let step = ((part as u64 + 1) << u32::BITS).div_ceil(self.parts_per_step);
        let end = u32::try_from(step).map(|step| self.bits.least_of(step));
        match end {
            Ok(end) if part + 1 < self.n_parts => end.saturating_add(self.window_us),
            _ => i64::MAX,
        }
    }
}

impl Reach {
    /// `None` where there are too many slots.
    pub(super) fn new(index: &SpineIndex, window_us: i64, n_threads: usize) -> Option<Self> {
        let (n_keys, n_slots) = (index.n_keys(), index.n_slots());
        if n_slots >> PLACE_BITS > 0 {
            return None;
        }
        let (least, greatest) = index.all_times().ends();
        let n_windows = greatest.abs_diff(least) / window_us.unsigned_abs().max(1);
        let n_windows = usize::try_from(n_windows).unwrap_or(usize::MAX);
        // About as many for all keys as there are slots. Two at least, since rows of different times are mostly counted
        // by different workers.
        let n_parts = (n_slots / n_keys.max(1)).max(2);
        let n_parts = n_parts.min(n_windows).clamp(1, MOST_PARTS);
        let cuts = Cuts::new((least, greatest), window_us, n_parts);
        let keys = parallel::group_ranges(index.starts(), parallel::n_parts(n_slots, n_threads));
        let mut reach = Self {
            cuts,
            n_keys,
            of_parts: Pages::zeroed(n_parts * n_keys),
            places: Pages::zeroed(n_slots),
            n_untold: 0,
        };
        reach.n_untold = reach.fill(index, &keys);
        Some(reach)
    }

    /// Whether levels tell most slots.
    pub(super) fn is_mostly_told(&self) -> bool {
        self.n_untold <= self.n_places() / MOST_UNTOLD
    }

    /// Writes what rows reach, some keys on each thread. Answers how many slots are untold.
    fn fill(&mut self, index: &SpineIndex, keys: &[Range<usize>]) -> usize {
        let cuts = self.cuts;
        let mut places_left = &mut self.places[..];
        let of_parts = shares(&mut self.of_parts, self.n_keys, keys).into_iter();
        let firsts = first_places(index, cuts, keys).into_iter();
        let shares = keys.iter().zip(of_parts).zip(firsts);
        let shares = shares.map(|((keys, of_parts), next)| {
            let places;
            (places, places_left) =
                std::mem::take(&mut places_left).split_at_mut(index.slots_of(keys).len());
            Share {
                keys: keys.clone(),
                of_parts,
                next,
                places,
            }
        });
        let reached: Vec<i64> = (0..cuts.n_parts).map(|part| cuts.reached(part)).collect();
        let filled = parallel::each(shares.collect(), |share| share.fill(index, cuts, &reached));
        filled.into_iter().sum()
    }

    /// How many slots there are.
    pub(super) fn n_places(&self) -> usize {
        self.places.len()
    }

    pub(super) fn memory(&self) -> usize {
        self.of_parts.memory() + self.places.memory()
    }

    /// The place of each slot.
    pub(super) fn places(&self) -> &[u32] {
        &self.places
    }

    pub(super) fn at_hand(&self) -> AtHand<'_> {
        AtHand {
            cuts: self.cuts,
            n_keys: self.n_keys,
            of_parts: &self.of_parts,
        }
    }
}

/// What one thread fills.
struct Share<'a> {
    keys: Range<usize>,
    /// Of each part, what it has of these keys.
    of_parts: Vec<&'a mut [OfPart]>,
    /// The next place in each part.
    next: Vec<u32>,
    /// For the places of the keys' slots.
    places: &'a mut [u32],
}

impl Share<'_> {
    /// Answers how many slots are untold. No row of a part reaches a later time than `reached`.
    fn fill(mut self, index: &SpineIndex, cuts: Cuts, reached: &[i64]) -> usize {
        let (mut places, mut n_untold) = (self.places.iter_mut(), 0);
        for (at, key) in self.keys.enumerate() {
            let times = index.times(index.slots(key as u32));
            let mut are_told = true;
            for (&time, of_slot) in times.iter().zip(&mut places) {
                let position = cuts.position(time);
                let part = Cuts::part(position);
                let place = self.next[part];
                self.next[part] += 1;
                *of_slot = place;
                let level = |of: usize| {
                    let later = position - ((of as u64) << u32::BITS);
                    cuts.level(later).min(NEVER - 1)
                };
                are_told &= self.of_parts[part][at].push_own(level(part), place);
                let before = (0..part).rev();
                for before in before.take_while(|before| time <= reached[*before]) {
                    are_told &= self.of_parts[before][at].push_later(level(before), place);
                }
            }
            if !are_told {
                let parts = times.iter().map(|&time| Cuts::part(cuts.position(time)));
                let untold = parts.filter(|part| !self.of_parts[*part][at].levels.is_told());
                n_untold += untold.count();
            }
        }
        n_untold
    }
}

impl AtHand<'_> {
    /// What a row of a key asks for, so that it is at hand soon. The key need not be known.
    #[inline]
    pub(super) fn ask(self, key: u32, event: i64) -> Asked {
        let position = self.cuts.position(event);
        // Nothing is reached by a row before all windows, or after all slots.
        let is_outside = usize::from(!self.cuts.bits.is_within(event));
        let at = (Cuts::part(position) * self.n_keys + key as usize) | is_outside.wrapping_neg();
        prefetch(self.of_parts, at);
        let later = position & u64::from(u32::MAX);
        let until = later + self.cuts.window;
        let until = [until, until + self.cuts.parts_per_step];
        Asked {
            at,
            from: self.cuts.level(later) as u16,
            until: until.map(|later| self.cuts.level(later) as u16),
        }
    }

    /// The slots that a row reaches, and whether levels tell these.
    #[inline]
    pub(super) fn reached(self, asked: Asked) -> (Reached, bool) {
        let of_part = self.of_parts.get(asked.at).copied();
        let of_part = of_part.unwrap_or_default();
        let [until, until_at_most] = asked.until.map(u64::from);
        let levels = of_part.levels;
        let (from, until) = (levels.less(asked.from.into()), levels.less(until));
        // Slots with the level of the row, or with those up to which it reaches, are to be compared whole.
        let (after_from, after_until) = (from - LOWEST, levels.less(until_at_most + 1));
        let is_told = ((from ^ after_from) | (until ^ after_until)) & ABOVE == 0;
        let reached = Reached {
            first: Levels::n_less(from),
            after: Levels::n_less(until),
            of_part,
        };
        (reached, is_told & levels.is_told())
    }
}

/// For each thread's keys, their first place in each part.
fn first_places(index: &SpineIndex, cuts: Cuts, keys: &[Range<usize>]) -> Vec<Vec<u32>> {
    let mut firsts = parallel::each(keys.to_vec(), |keys| {
        let mut n_slots = vec![0; cuts.n_parts];
        for &time in index.times(index.slots_of(&keys)) {
            n_slots[Cuts::part(cuts.position(time))] += 1;
        }
        n_slots
    });
    let mut next = 0;
    for part in 0..cuts.n_parts {
        for of_thread in &mut firsts {
            next += std::mem::replace(&mut of_thread[part], next);
        }
    }
    firsts
}

/// What each part has of each key, cut by keys: of each share of these, a piece of each part.
fn shares<'a, T>(
    of_parts: &'a mut [T],
    n_keys: usize,
    keys: &[Range<usize>],
) -> Vec<Vec<&'a mut [T]>> {
    let mut shares: Vec<Vec<&mut [T]>> = keys.iter().map(|_| Vec::new()).collect();
    for mut of_part in of_parts.chunks_exact_mut(n_keys.max(1)) {
        for (keys, share) in keys.iter().zip(&mut shares) {
            let of_keys;
            (of_keys, of_part) = std::mem::take(&mut of_part).split_at_mut(keys.len());
            share.push(of_keys);
        }
    }
    shares
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
    use provender_core::ValueType;
    use provender_core::request::KeyColumn;

    use super::*;
    use crate::spine::{SpineRows, spine_schema};

    const HOUR: i64 = 3_600_000_000;

    fn index(slots: &[(i64, i64)]) -> SpineIndex {
        let key = [KeyColumn {
            spine: "k".to_owned(),
            column: "k".to_owned(),
            value_type: ValueType::Int64,
        }];
        let keys = Int64Array::from_iter_values(slots.iter().map(|(key, _)| *key));
        let times = slots.iter().map(|(_, time)| *time);
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
        let numbers = Int64Array::from_iter_values(0..slots.len() as i64);
        let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(times), Arc::new(numbers)];
        let mut rows = SpineRows::default();
        rows.push(RecordBatch::try_new(spine_schema(&key), columns).unwrap());
        SpineIndex::new(&key, &rows, 2).unwrap()
    }

    /// A number that has little to do with another.
    fn mixed(n: i64) -> i64 {
        ((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as i64
    }

    /// Ten slots for each of many keys, at any of so many hours.
    fn spread(n_keys: i64, n_hours: i64) -> Vec<(i64, i64)> {
        let slots = (0..10 * n_keys).map(|n| (n % n_keys, mixed(n) % n_hours * HOUR));
        let mut slots: Vec<_> = slots.collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    #[test]
    fn most_rows_are_told_and_what_is_told_is_true() {
        let slots = spread(3_000, 2_400);
        let index = index(&slots);
        for window_us in [1, HOUR, 168 * HOUR] {
            for n_threads in [1, 3] {
                let reach = Reach::new(&index, window_us, n_threads).unwrap();
                assert!(reach.is_mostly_told());
                let (at_hand, places) = (reach.at_hand(), reach.places());
                let (mut n_told, mut n_reached, mut n_rows) = (0, 0, 0);
                for n in 0..20_000 {
                    // Far before the first slot, far after the last one, and between.
                    let key = mixed(n) % 3_001;
                    let hour = mixed(n + 20_000) % 3_000 - 300;
                    // Not at the hours of slots, which levels would have to leave open.
                    let event = hour * HOUR + mixed(7 * n) % HOUR;
                    let (reached, is_told) = at_hand.reached(at_hand.ask(key as u32, event));
                    n_rows += 1;
                    if !is_told {
                        continue;
                    }
                    n_told += 1;
                    let own = slots.iter().zip(places).filter(|((of, time), _)| {
                        *of == key && event <= *time && *time < event + window_us
                    });
                    let wanted: Vec<u32> = own.map(|(_, place)| *place).collect();
                    let told: Vec<u32> = (0..reached.len()).map(|at| reached.place(at)).collect();
                    assert_eq!(told, wanted, "key {key} at {event}, {window_us} us");
                    n_reached += told.len();
                }
                assert!(n_told * 10 > n_rows * 9, "{n_told} of {n_rows}");
                assert!(window_us < HOUR || n_reached > 10, "{n_reached}");
                // A key that the spine has not.
                let asked = at_hand.ask(u32::MAX, 0);
                let (reached, is_told) = at_hand.reached(asked);
                assert!(is_told && reached.len() == 0);
            }
        }
    }

    #[test]
    fn slots_close_together_are_not_told() {
        let mut slots: Vec<_> = (0..1_000).map(|n| (n / 10, n % 10)).collect();
        assert!(!Reach::new(&index(&slots), 5, 2).unwrap().is_mostly_told());
        slots.extend((0..20_000).map(|n| (1_000 + n / 10, n % 10 * 1_000_000)));
        assert!(Reach::new(&index(&slots), 5, 2).unwrap().is_mostly_told());
        assert!(Reach::new(&index(&[]), 5, 2).unwrap().is_mostly_told());
    }

    #[test]
    fn levels_are_counted_side_by_side() {
        let all: [&[u64]; 5] = [
            &[],
            &[0],
            &[NEVER - 1; MOST_SLOTS],
            &[0, 0, 3, 255, 256, NEVER - 1],
            &[17, 18, 19],
        ];
        for levels in all {
            let mut packed = Levels::default();
            for (at, &level) in levels.iter().enumerate() {
                assert_eq!(packed.len(), at);
                packed.push(level);
            }
            assert!(packed.len() == levels.len() && packed.is_told());
            for other in 0..=NEVER {
                let n_less = levels.iter().filter(|level| **level < other).count();
                assert_eq!(Levels::n_less(packed.less(other)), n_less as u32);
            }
        }
    }
}
