//! Rows that lie in memory, and how keys find theirs.
//!
//! Decides how a copy lies: every key and row one after the other, in as few lines of the processor's caches
//! as they fit in, and a table from a key's hash to where it starts. A read of many keys takes each step for
//! all of them before the next: what a step looks at is seldom in those caches, and so it waits for many
//! places at once instead of for one after the other. When a copy is made and how long it counts is `resident`'s part.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// Where an entry starts, and the part of its hash that the table does not tell by place.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    at: u32,
}

/// A slot that no entry has. Entries start below it.
const FREE: Slot = Slot {
    tag: 0,
    at: u32::MAX,
};
/// What stands before a key and its row: two bytes with the length of the one, four with that of the
/// other.
const HEAD: usize = 6;
/// What memory comes to the processor in.
const LINE: usize = 64;
/// Lines of an entry that are looked at ahead; the processor finds those that follow by itself.
const LINES_AHEAD: usize = 4;

/// Keys of one read, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    /// Where each ends; a key that is none has no bytes and is marked.
    ends: Vec<(usize, bool)>,
}

impl Keys {
    pub(crate) fn with_capacity(n_keys: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(n_keys * 16),
            ends: Vec::with_capacity(n_keys),
        }
    }

    /// Adds a stored key, or one that finds nothing.
    pub(crate) fn push(&mut self, key: Option<&[u8]>) {
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.ends.push((self.bytes.len(), key.is_some()));
    }

    /// The keys, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut start = 0;
        self.ends.iter().map(move |&(end, is_key)| {
            let key = self.bytes.get(start..end);
            start = end;
            key.filter(|_| is_key)
        })
    }
}

/// Keys and their rows.
pub(crate) struct Copied {
    /// A power of two of slots, some of them free; an entry stands in the first that was free from its
    /// hash on.
    table: Vec<Slot>,
    bytes: Vec<u8>,
    hasher: RandomState,
    n_entries: usize,
    are_sound: bool,
}

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copied")
            .field("n_entries", &self.n_entries)
            .finish_non_exhaustive()
    }
}

impl Copied {
    /// Room for so many entries, and for so many bytes of keys and rows.
    pub(crate) fn with_capacity(n_entries: usize, n_bytes: usize) -> Self {
        Self {
            table: vec![FREE; n_slots(n_entries)],
            bytes: Vec::with_capacity(n_bytes),
            hasher: RandomState::default(),
            n_entries: 0,
            are_sound: true,
        }
    }

    /// The bytes that so many entries take at most, whose keys and rows take `n_bytes`.
    pub(crate) fn entry_bytes(n_entries: usize, n_bytes: usize) -> usize {
        n_bytes.saturating_add(n_entries.saturating_mul(HEAD + LINE))
    }

    /// The bytes that the table of so many entries takes.
    pub(crate) fn table_bytes(n_entries: usize) -> usize {
        n_slots(n_entries).saturating_mul(size_of::<Slot>())
    }

    /// Adds a key that is not there yet; false if there is no room for it.
    pub(crate) fn insert(&mut self, key: &[u8], row: &[u8]) -> bool {
        let lengths = u16::try_from(key.len())
            .ok()
            .zip(u32::try_from(row.len()).ok());
        let start = self.start_of(HEAD + key.len() + row.len());
        let (Some((key_len, row_len)), Ok(at)) = (lengths, u32::try_from(start)) else {
            return false;
        };
        // At least one slot stays free, at which a search ends.
        if at == FREE.at || self.n_entries + 1 >= self.table.len() {
            return false;
        }
        let (tag, mut place) = self.hashed(key);
        while self.table[place].at != FREE.at {
            place = self.after(place);
        }
        self.table[place] = Slot { tag, at };
        self.are_sound &= provender_codec::is_sound(row);
        self.bytes.resize(start, 0);
        self.bytes.extend_from_slice(&key_len.to_le_bytes());
        self.bytes.extend_from_slice(&row_len.to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(row);
        self.n_entries += 1;
        true
    }

    /// Where the next entry starts: right behind the last, or in the next line where it takes fewer of them.
    fn start_of(&self, n_bytes: usize) -> usize {
        let end = self.bytes.len();
        let in_line = (self.bytes.as_ptr().addr() + end) % LINE;
        match (in_line + n_bytes).div_ceil(LINE) > n_bytes.div_ceil(LINE) {
            true => end + LINE - in_line,
            false => end,
        }
    }

    /// Gives back what was not needed. Answers what is taken.
    pub(crate) fn shrink(&mut self) -> usize {
        self.bytes.shrink_to_fit();
        self.bytes.capacity() + size_of_val(self.table.as_slice())
    }

    /// Whether all rows are as they were written.
    pub(crate) fn are_sound(&self) -> bool {
        self.are_sound
    }

    /// The rows of some keys.
    pub(crate) fn find(&self, keys: &Keys) -> Vec<Option<&[u8]>> {
        let hashes: Vec<(u32, usize)> = (keys.iter())
            .map(|key| key.map_or((0, 0), |key| self.hashed(key)))
            .collect();
        let first: Vec<Slot> = hashes.iter().map(|&(_, place)| self.slot(place)).collect();
        let slots: Vec<(Slot, usize)> = (first.into_iter().zip(&hashes))
            .map(|(slot, &(tag, place))| self.first_of(tag, (slot, place)))
            .collect();
        self.look_ahead(&slots);
        (keys.iter().zip(hashes).zip(slots))
            .map(|((key, (tag, _)), at)| self.search(key?, tag, at))
            .collect()
    }

    fn slot(&self, place: usize) -> Slot {
        self.table.get(place).copied().unwrap_or(FREE)
    }

    /// The first slot from a place on that has the tag or is free.
    #[inline]
    fn first_of(&self, tag: u32, (mut slot, mut place): (Slot, usize)) -> (Slot, usize) {
        while slot.at != FREE.at && slot.tag != tag {
            place = self.after(place);
            slot = self.slot(place);
        }
        (slot, place)
    }

    /// Has the lines of entries come, those of all at once.
    fn look_ahead(&self, slots: &[(Slot, usize)]) {
        let typical = self.bytes.len() / self.n_entries.max(1);
        let lines = (0..typical).step_by(LINE).take(LINES_AHEAD);
        let mut sum = 0_u8;
        for (slot, _) in slots {
            for line in lines.clone() {
                let byte = self.bytes.get(slot.at as usize + line);
                sum ^= byte.copied().unwrap_or_default();
            }
        }
        std::hint::black_box(sum);
    }

    /// A key's row, from the first slot on that has its tag.
    #[inline]
    fn search(&self, key: &[u8], tag: u32, mut at: (Slot, usize)) -> Option<&[u8]> {
        loop {
            let (slot, place) = at;
            if slot.at == FREE.at {
                return None;
            }
            if let Some(row) = self.row(slot.at, key) {
                return Some(row);
            }
            let next = self.after(place);
            at = self.first_of(tag, (self.slot(next), next));
        }
    }

    /// A key's tag and the slot from which on it is looked for.
    fn hashed(&self, key: &[u8]) -> (u32, usize) {
        let hash = self.hasher.hash_one(key);
        ((hash >> 32) as u32, hash as usize & (self.table.len() - 1))
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.table.len() - 1)
    }

    /// The row of an entry, if it is this key's.
    #[inline]
    fn row(&self, at: u32, key: &[u8]) -> Option<&[u8]> {
        let entry = self.bytes.get(at as usize..)?;
        let (&[k0, k1, r0, r1, r2, r3], rest) = entry.split_first_chunk::<HEAD>()?;
        let (found, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([k0, k1])))?;
        if found != key {
            return None;
        }
        rest.get(..u32::from_le_bytes([r0, r1, r2, r3]) as usize)
    }
}

/// At most three quarters of the slots are taken.
fn n_slots(n_entries: usize) -> usize {
    (n_entries.saturating_add(1).saturating_mul(4) / 3)
        .max(2)
        .next_power_of_two()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use rand::rngs::StdRng;
    use rand::{Rng, RngCore, SeedableRng};

    use super::*;

    fn random(rng: &mut StdRng, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; rng.random_range(0..=most)];
        rng.fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let mut rng = StdRng::seed_from_u64(8);
        for n_entries in [0, 1, 2, 3, 100, 3_000] {
            let mut all: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
            while all.len() < n_entries {
                // Short keys are few, so that others are asked for that differ by a byte.
                all.insert(random(&mut rng, 3), random(&mut rng, 200));
                all.insert(random(&mut rng, 40), random(&mut rng, 20));
            }
            let mut copied = Copied::with_capacity(all.len(), 0);
            for (key, row) in &all {
                assert!(copied.insert(key, row));
            }
            copied.shrink();
            let mut keys = Keys::default();
            let mut expected = Vec::new();
            for (key, row) in &all {
                keys.push(Some(key));
                expected.push(Some(row.as_slice()));
                keys.push(None);
                expected.push(None);
                let other = random(&mut rng, 3);
                keys.push(Some(&other));
                expected.push(all.get(&other).map(Vec::as_slice));
            }
            assert_eq!(copied.find(&keys), expected, "{n_entries}");
        }
    }

    #[test]
    fn keys_that_share_a_slot_and_a_tag_are_told_apart() {
        let mut copied = Copied::with_capacity(2, 0);
        let (one, other) = (b"one".as_slice(), b"other".as_slice());
        copied.insert(one, b"1");
        let (tag, place) = copied.hashed(other);
        // As if both had one hash.
        copied.insert(other, b"2");
        let starts = copied.table.iter().map(|slot| slot.at);
        let at = starts.filter(|at| *at != FREE.at).max().unwrap();
        copied.table.fill(FREE);
        copied.table[place] = Slot { tag, at: 0 };
        let next = copied.after(place);
        copied.table[next] = Slot { tag, at };
        let mut keys = Keys::default();
        keys.push(Some(other));
        assert_eq!(copied.find(&keys), [Some(b"2".as_slice())]);
    }

    #[test]
    fn a_row_that_is_damaged_is_noticed() {
        let mut copied = Copied::with_capacity(1, 0);
        assert!(copied.are_sound());
        assert!(copied.insert(b"key", b"no row"));
        assert!(!copied.are_sound());
    }

    #[test]
    fn an_entry_takes_no_more_lines_than_it_must() {
        let mut rng = StdRng::seed_from_u64(9);
        let mut copied = Copied::with_capacity(1_000, Copied::entry_bytes(1_000, 300_000));
        let room = copied.bytes.capacity();
        for number in 0..1_000_u32 {
            let before = copied.bytes.len();
            let row = random(&mut rng, 290);
            assert!(copied.insert(&number.to_le_bytes(), &row));
            let n_bytes = HEAD + 4 + row.len();
            let start = copied.bytes.as_ptr().addr() + copied.bytes.len() - n_bytes;
            assert_eq!(
                (start % LINE + n_bytes).div_ceil(LINE),
                n_bytes.div_ceil(LINE)
            );
            assert!(copied.bytes.len() - before - n_bytes < LINE);
        }
        assert_eq!(copied.bytes.capacity(), room);
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut copied = Copied::with_capacity(0, 0);
        let n = (0..10_u8)
            .filter(|key| copied.insert(&[*key], b"row"))
            .count();
        assert!((1..10).contains(&n) && n < copied.table.len());
        let mut keys = Keys::default();
        keys.push(Some(b"none"));
        assert_eq!(copied.find(&keys), [None]);
    }
}
