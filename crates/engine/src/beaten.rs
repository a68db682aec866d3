//! Which rows cannot win any more, told by key and time alone.
//!
//! A row that was offered to a slot beats all older rows of its key down to the slot before; one that is too old
//! for its first slot is followed by older ones that are so as well. So two numbers for each key tell most rows of
//! a source that is read from its latest rows on: of a key with ten slots, ten rows are offered and the others need
//! no search. They are exact in whatever order rows come, and only tell less of them.

use crate::keys::NO_KEY;
use crate::search::Searched;

/// Rows that are told together. Those of one key among them are not told by each other.
pub(crate) const TOLD_TOGETHER: usize = 1_024;

/// Rows of one key that can win no more: by the upper bits of their times, the least, and how many there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beaten {
    least: u32,
    n: u32,
}

impl Beaten {
    /// What a row leaves behind that was offered to the first slot at or after its time, or that is later than all
    /// slots of its key or too old for its first one. `slots` are those of its key.
    #[inline]
    pub(crate) fn by(times: Searched<'_>, slots: (u32, u32), first: u32, time: i64) -> Self {
        let (start, end) = slots;
        // Rows with the same upper bits as the slot before or the row itself are left to be looked at.
        let least = match first > start {
            true => times.upper_at(first - 1).saturating_add(1),
            false => 0,
        };
        let end = match first < end {
            true => times.upper_of(time),
            false => u32::MAX,
        };
        Self {
            least,
            n: end.saturating_sub(least),
        }
    }

    #[inline]
    fn is(self, upper: u32) -> bool {
        upper.wrapping_sub(self.least) < self.n
    }
}

/// Writes those of some rows of a batch that may win to the front of `left`, and answers how many there are.
/// `numbers` are those of the batch's keys, of which `beaten` has one each, or is empty and tells nothing.
pub(crate) fn remaining(
    beaten: &[Beaten],
    numbers: &[u32],
    events: &[i64],
    times: Searched<'_>,
    rows: impl Iterator<Item = usize>,
    left: &mut [u32; TOLD_TOGETHER],
) -> usize {
    let mut n = 0;
    for row in rows.take(TOLD_TOGETHER) {
        let number = numbers[row];
        let of_key = beaten.get(number as usize).copied().unwrap_or_default();
        let is_beaten = of_key.is(times.upper_of(events[row]));
        left[n] = row as u32;
        n += usize::from((number != NO_KEY) & !is_beaten);
    }
    n
}
