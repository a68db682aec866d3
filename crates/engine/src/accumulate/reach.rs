//! Which slots of its key a source's row reaches: those at its time or up to a window's length after it.
//!
//! All time is cut into parts no shorter than a window. What rows of a part can reach is few slots of each key, and of
//! these some bits of their times mostly tell which ones a row reaches. All that lies in 16 bytes for each key of a part,
//! so a row touches memory in one place, and rows of about the same time, as they are read one after the other, share a
//! small piece of it.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::cuts::{Cuts, MOST_PARTS};
use super::levels::{Levels, MOST_SLOTS};
use super::reached::AtHand;
use crate::pages::Pages;
use crate::parallel;
use crate::spine::SpineIndex;
use crate::vector::{self, Loop};

/// One in so many slots need not be told by levels.
const MOST_UNTOLD: usize = 8;

/// What rows of each part and key reach, and where slots are counted.
#[derive(Debug)]
pub(super) struct Reach {
    cuts: Cuts,
    n_keys: usize,
    /// Part by part, of each key, and one of no key.
    of_parts: Pages<OfPart>,
    /// Of each slot, by part and within a part key by key: workers with rows of other times share little memory, and
    /// slots with a row in common mostly lie side by side.
    places: Pages<u32>,
    untold: Untold,
}

/// What levels do not tell.
#[derive(Clone, Copy, Debug, Default)]
struct Untold {
    /// Slots of parts whose slots levels do not tell.
    n_slots: usize,
    /// Slots that a row of a key with such parts reaches at most.
    most_reached: usize,
}

/// The slots of a key that rows of one part can reach: those of the part, and of a later one.
#[derive(Clone, Copy, Debug, Default, Zeroable, Pod)]
#[repr(C)]
pub(super) struct OfPart {
    pub(super) levels: Levels,
    /// The place of the part's first slot, and above it how many the part has.
    pub(super) first: u32,
    /// What is added to the number of a later slot for its place.
    pub(super) later: u32,
}

/// Bits of the place in [`OfPart::first`]. There are fewer slots in a spine than they can number.
const PLACE_BITS: u32 = 29;

impl OfPart {
    #[inline(always)]
    fn n_own(self) -> u32 {
        self.first >> PLACE_BITS
    }

    /// The place of a slot by its number, if there is such a slot.
    #[inline(always)]
    pub(super) fn place(self, slot: u32) -> u32 {
        let base = match slot < self.n_own() {
            true => self.first & ((1 << PLACE_BITS) - 1),
            false => self.later,
        };
        base.wrapping_add(slot)
    }

    /// Adds the next of the part's own slots. Answers whether levels tell all of them.
    #[inline(always)]
    fn push_own(&mut self, level: u64, place: u32) -> bool {
        let len = self.levels.len();
        match len {
            MOST_SLOTS => self.levels.leave_untold(),
            0 => self.first = place | 1 << PLACE_BITS,
            _ => self.first += 1 << PLACE_BITS,
        }
        self.push(len, level)
    }

    /// The same with the next slot of a later part.
    #[inline(always)]
    fn push_later(&mut self, level: u64, place: u32) -> bool {
        let len = self.levels.len();
        let later = place.wrapping_sub(len as u32);
        if len as u32 == self.n_own() {
            self.later = later;
        }
        // Slots of two later parts do not lie side by side.
        if len == MOST_SLOTS || self.later != later {
            self.levels.leave_untold();
        }
        self.push(len, level)
    }

    #[inline(always)]
    fn push(&mut self, len: usize, level: u64) -> bool {
        let is_told = self.levels.is_told();
        if is_told {
            self.levels.push(len, level);
        }
        is_told
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
            of_parts: Pages::zeroed(n_parts * n_keys + 1),
            places: Pages::zeroed(n_slots),
            untold: Untold::default(),
        };
        reach.untold = reach.fill(index, &keys);
        Some(reach)
    }

    /// Whether levels tell most slots.
    pub(super) fn is_mostly_told(&self) -> bool {
        self.untold.n_slots <= self.n_places() / MOST_UNTOLD
    }

    /// No row reaches more slots than so many.
    pub(super) fn most_reached(&self) -> usize {
        self.untold.most_reached.max(MOST_SLOTS)
    }

    /// Writes what rows reach, some keys on each thread. Answers what is untold.
    fn fill(&mut self, index: &SpineIndex, keys: &[Range<usize>]) -> Untold {
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
        let filled = parallel::each(shares.collect(), |share| {
            vector::widest(Fill {
                share,
                index,
                cuts,
                reached: &reached,
            })
        });
        filled.into_iter().fold(Untold::default(), Untold::and)
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
        AtHand::new(self.cuts, self.n_keys, &self.of_parts)
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

/// The loop over the slots of a share. No row of a part reaches a later time than `reached`. Answers what is untold.
struct Fill<'a> {
    share: Share<'a>,
    index: &'a SpineIndex,
    cuts: Cuts,
    reached: &'a [i64],
}

impl Loop for Fill<'_> {
    type Output = Untold;

    #[inline(always)]
    fn run(self) -> Untold {
        let Self {
            share,
            index,
            cuts,
            reached,
        } = self;
        let (mut of_parts, mut next) = (share.of_parts, share.next);
        let (mut places, mut all_untold) = (share.places.iter_mut(), Untold::default());
        for (at, key) in share.keys.enumerate() {
            let times = index.times(index.slots(key as u32));
            let mut are_told = true;
            for (&time, of_slot) in times.iter().zip(&mut places) {
                let position = cuts.position(time);
                let part = Cuts::part(position);
                let place = next[part];
                next[part] += 1;
                *of_slot = place;
                let level = |of: usize| cuts.level_in(of, position);
                are_told &= of_parts[part][at].push_own(level(part), place);
                let before = (0..part).rev();
                for before in before.take_while(|before| time <= reached[*before]) {
                    are_told &= of_parts[before][at].push_later(level(before), place);
                }
            }
            if !are_told {
                let parts = times.iter().map(|&time| Cuts::part(cuts.position(time)));
                let untold = parts.filter(|part| !of_parts[*part][at].levels.is_told());
                all_untold = all_untold.and(Untold {
                    n_slots: untold.count(),
                    most_reached: n_reached_together(times, cuts.window_us).max().unwrap_or(0),
                });
            }
        }
        all_untold
    }
}

impl Untold {
    fn and(self, other: Self) -> Self {
        Self {
            n_slots: self.n_slots + other.n_slots,
            most_reached: self.most_reached.max(other.most_reached),
        }
    }
}

/// For each of the ascending times of a key's slots, how many of these a row reaches that reaches none later: those less
/// than a window before it, and itself.
pub(super) fn n_reached_together(times: &[i64], window_us: i64) -> impl Iterator<Item = usize> {
    let mut first = 0;
    times.iter().enumerate().map(move |(slot, &time)| {
        while first < slot && times[first].abs_diff(time) >= window_us.unsigned_abs() {
            first += 1;
        }
        slot + 1 - first
    })
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

    use super::super::reached::{Asked, ROWS, Reached};
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

    /// The places that a row reaches, if levels tell them.
    fn told(at_hand: AtHand<'_>, key: u32, event: i64) -> Option<Vec<u32>> {
        let (mut numbers, mut events) = ([u32::MAX; ROWS], [0; ROWS]);
        (numbers[ROWS / 2], events[ROWS / 2]) = (key, event);
        let (mut asked, mut reached) = (Asked::default(), Reached::default());
        at_hand.ask(&numbers, &events, &mut asked);
        at_hand.reached(&asked, &mut reached);
        // Keys that are not known reach nothing, and that is told.
        let n_all: u32 = reached.n.iter().sum();
        assert_eq!(n_all, reached.n[ROWS / 2]);
        let n_left: u32 = reached.is_left.iter().sum();
        assert_eq!(n_left, reached.is_left[ROWS / 2]);
        let place = |slot| at_hand.place(&asked, &reached, ROWS / 2, slot);
        let places: Vec<u32> = (0..n_all as usize).map(place).collect();
        for (slot, &place) in places.iter().enumerate().take(2) {
            assert_eq!(reached.places[slot][ROWS / 2], place);
        }
        (n_left == 0).then_some(places)
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
                    n_rows += 1;
                    let Some(told) = told(at_hand, key as u32, event) else {
                        continue;
                    };
                    n_told += 1;
                    let own = slots.iter().zip(places).filter(|((of, time), _)| {
                        *of == key && event <= *time && *time < event + window_us
                    });
                    let wanted: Vec<u32> = own.map(|(_, place)| *place).collect();
                    assert_eq!(told, wanted, "key {key} at {event}, {window_us} us");
                    n_reached += told.len();
                }
                assert!(n_told * 10 > n_rows * 9, "{n_told} of {n_rows}");
                assert!(window_us < HOUR || n_reached > 10, "{n_reached}");
                // A key that the spine has not.
                assert_eq!(told(at_hand, u32::MAX, 0), Some(Vec::new()));
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
}
