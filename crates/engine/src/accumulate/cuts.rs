//! All time in parts no shorter than a window, and by how much later than its part begins a time is.

use super::levels::NEVER;
use crate::search::UpperBits;

/// By how many bits of a time its part and what follows from it are told.
const TIME_BITS: u32 = 24;
/// Parts at most, so that levels are far more than the steps of times.
pub(super) const MOST_PARTS: usize = 1 << 12;
/// Bits behind the point of a [`Position`], and of what turns one into a level.
const POINT: u32 = 30;
const LEVEL_POINT: u32 = 32;

/// All time in parts of the same length, from a window before the first slot on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cuts {
    bits: UpperBits,
    pub(super) n_parts: usize,
    pub(super) window_us: i64,
    /// How many parts each step of the upper bits is, times 2^30: at most one.
    parts_per_step: u32,
    /// How much later than a row the latest is that it reaches: less than a part. It may be one step later.
    window: u32,
    /// How many levels one of positions is, times 2^32.
    levels_per_position: u32,
}

/// A time as far as parts tell it, or a length of time: how many parts come before it, times 2^30.
pub(super) type Position = u64;

/// What a row's time tells: its part, the level of its time, and the two that the latest time may have that it
/// reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfTime {
    pub(super) part: u32,
    pub(super) from: u32,
    pub(super) until: [u32; 2],
    /// Whether it is before all windows or after all slots, where it reaches nothing.
    pub(super) is_outside: bool,
}

impl Cuts {
    /// There must be no more parts than windows in the whole time, but one.
    pub(super) fn new((least, greatest): (i64, i64), window_us: i64, n_parts: usize) -> Self {
        let least = least.saturating_sub(window_us);
        let bits = UpperBits::between(least, greatest, TIME_BITS);
        let n_steps = u64::from(bits.of(greatest)) + 1;
        let parts_per_step = ((n_parts as u64) << POINT) / n_steps;
        let window = u64::from(bits.of(least.saturating_add(window_us - 1))) * parts_per_step;
        // Of all that a row of a part asks for.
        let longest = (1 << POINT) + window + parts_per_step;
        let levels_per_position = ((NEVER - 1) << LEVEL_POINT) / longest;
        debug_assert!(longest <= u64::from(u32::MAX));
        Self {
            bits,
            n_parts,
            window_us,
            parts_per_step: parts_per_step as u32,
            window: window as u32,
            levels_per_position: levels_per_position as u32,
        }
    }

    /// Does not descend where times ascend.
    #[inline(always)]
    pub(super) fn position(self, time: i64) -> Position {
        u64::from(self.bits.of(time)) * u64::from(self.parts_per_step)
    }

    /// The part that a position lies in.
    #[inline(always)]
    pub(super) fn part(position: Position) -> usize {
        (position >> POINT) as usize
    }

    /// The level of a position, which lies in a part or in a later one that rows of that part reach: less than
    /// [`NEVER`]. Does not descend where times ascend.
    #[inline(always)]
    pub(super) fn level_in(self, part: usize, position: Position) -> u64 {
        let later = position - ((part as u64) << POINT);
        u64::from(self.level(later.min(u32::MAX.into()))).min(NEVER - 1)
    }

    /// The same of how much later than its part begins a time is.
    #[inline(always)]
    fn level(self, later: Position) -> u32 {
        // So that the compiler knows that both are half words, of which processors multiply more at once.
        let later = later & u64::from(u32::MAX);
        ((later * u64::from(self.levels_per_position)) >> LEVEL_POINT) as u32
    }

    #[inline(always)]
    pub(super) fn of_time(self, event: i64) -> OfTime {
        let position = self.position(event);
        let later = position & ((1 << POINT) - 1);
        let until = later + u64::from(self.window);
        let until_at_most = until + u64::from(self.parts_per_step);
        OfTime {
            part: (position >> POINT) as u32,
            from: self.level(later),
            until: [self.level(until), self.level(until_at_most)],
            is_outside: !self.bits.is_within(event),
        }
    }

    /// No row of a part reaches a later time.
    pub(super) fn reached(self, part: usize) -> i64 {
        let step = ((part as u64 + 1) << POINT).div_ceil(self.parts_per_step.into());
        let end = u32::try_from(step).map(|step| self.bits.least_of(step));
        match end {
            Ok(end) if part + 1 < self.n_parts => end.saturating_add(self.window_us),
            _ => i64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows from the whole time and a window for some rows and slots.
    fn assert_told((least, greatest): (i64, i64), window_us: i64, n_parts: usize) {
        let cuts = Cuts::new((least, greatest), window_us, n_parts);
        let span = greatest.abs_diff(least);
        let times = |n: u64| {
            let some =
                (0..=n).map(move |at| (u128::from(span) * u128::from(at) / u128::from(n)) as u64);
            some.map(move |later| least.saturating_add_unsigned(later))
        };
        for event in times(40).chain([i64::MIN, least.saturating_sub(window_us), i64::MAX]) {
            let told = cuts.of_time(event);
            let what = format!("{event} of {least}..={greatest}, {window_us} us, {n_parts} parts");
            assert!((told.part as usize) < n_parts, "{what}");
            let [until, at_most] = told.until.map(u64::from);
            assert!(
                u64::from(told.from) <= until && until <= at_most && at_most < NEVER,
                "{what}"
            );
            if told.is_outside {
                continue;
            }
            for slot in times(40).chain([event, event.saturating_add(window_us - 1)]) {
                let (part, position) = (told.part as usize, cuts.position(slot));
                if slot > greatest || Cuts::part(position) < part || slot > cuts.reached(part) {
                    continue;
                }
                let level = cuts.level_in(part, position);
                let is_reached =
                    slot >= event && i128::from(slot) < i128::from(event) + i128::from(window_us);
                if level < told.from.into() || level > at_most {
                    assert!(!is_reached, "{slot} for {what}");
                } else if u64::from(told.from) < level && level < until {
                    assert!(is_reached, "{slot} for {what}");
                }
            }
            // A slot that is reached is one of those looked at.
            let last = event.saturating_add(window_us - 1).min(greatest);
            assert!(last <= cuts.reached(told.part as usize), "{what}");
        }
    }

    #[test]
    fn levels_tell_the_truth_whatever_the_times_and_windows_are() {
        let day = 86_400_000_000;
        for ends in [
            (0, 0),
            (-1, 1),
            (0, 100 * day),
            (i64::MIN, i64::MAX),
            (i64::MIN, i64::MIN),
            (i64::MAX, i64::MAX),
            (-5 * day, i64::MAX),
        ] {
            for window_us in [1, 2, 1_000, 7 * day, 36_500 * day, i64::MAX] {
                let n_windows = ends.1.abs_diff(ends.0) / window_us.unsigned_abs();
                let most = usize::try_from(n_windows).unwrap_or(usize::MAX);
                for n_parts in [1, 2, 3, 10, MOST_PARTS] {
                    assert_told(ends, window_us, n_parts.min(most).max(1));
                }
            }
        }
    }
}
