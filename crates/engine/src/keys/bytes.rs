//! Tables of keys that are strings or bytes, of which each lies where its length has it.
//!
//! Up to fifteen bytes are one word, up to thirty-nine, as an identifier's 36 digits and dashes are, five; both lie in
//! their table's entries. Only longer ones lie apart from them.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::FixedState;

use super::table::{Inline, NO_KEY, Word, folded};

/// The last byte of sixteen is for the length.
const LONGEST_SHORT: usize = 15;
/// And that of forty.
const LONGEST_MIDDLE: usize = 39;
/// Rows that are looked up together: their keys should fit the first cache.
const TOGETHER: usize = 512;

/// Keys of any length.
#[derive(Debug)]
pub(crate) struct ByteTables {
    short: Inline<u128>,
    middle: Inline<Middle>,
    long: Long,
}

impl ByteTables {
    pub(super) fn new() -> Self {
        Self {
            short: Inline::new(),
            middle: Inline::new(),
            long: Long::default(),
        }
    }

    pub(super) fn n_keys(&self) -> usize {
        self.short.n_keys + self.middle.n_keys + self.long.n_keys()
    }

    pub(super) fn memory(&self) -> usize {
        self.short.memory() + self.middle.memory() + self.long.memory()
    }

    /// Adds the number of each key that lies between two offsets.
    pub(super) fn find_all(&self, bytes: &[u8], offsets: &[i32], found: &mut Vec<u32>) {
        let mut rows = Rows::default();
        let mut first = 0;
        while first + 1 < offsets.len() {
            let last = (first + TOGETHER).min(offsets.len() - 1);
            let before = found.len();
            found.resize(before + last - first, NO_KEY);
            let numbers = &mut found[before..];
            rows.clear();
            for (row, range) in offsets[first..=last].windows(2).enumerate() {
                let range = range[0] as usize..range[1] as usize;
                match range.len() {
                    n if n <= LONGEST_SHORT => {
                        rows.short.push(shortened(bytes, range));
                        rows.of_short.push(row as u32);
                    }
                    n if n <= LONGEST_MIDDLE => {
                        rows.middle.push(Middle::of(bytes, range));
                        rows.of_middle.push(row as u32);
                    }
                    _ => numbers[row] = self.long.find(&bytes[range]),
                }
            }
            rows.found.clear();
            self.short.find_all(&rows.short, |_| None, &mut rows.found);
            self.middle
                .find_all(&rows.middle, |_| None, &mut rows.found);
            let of_found = rows.of_short.iter().chain(&rows.of_middle);
            for (&row, &number) in of_found.zip(&rows.found) {
                numbers[row as usize] = number;
            }
            first = last;
        }
    }

    pub(super) fn find_or_insert(&mut self, bytes: &[u8], range: Range<usize>) -> u32 {
        let next = self.n_keys() as u32;
        match range.len() {
            n if n <= LONGEST_SHORT => self.short.find_or_insert(shortened(bytes, range), next),
            n if n <= LONGEST_MIDDLE => self.middle.find_or_insert(Middle::of(bytes, range), next),
            _ => self.long.find_or_insert(&bytes[range], next),
        }
    }
}

/// Some rows by the length of their keys.
#[derive(Default)]
struct Rows {
    short: Vec<u128>,
    of_short: Vec<u32>,
    middle: Vec<Middle>,
    of_middle: Vec<u32>,
    /// The numbers of short keys, and then those of others.
    found: Vec<u32>,
}

impl Rows {
    fn clear(&mut self) {
        self.short.clear();
        self.of_short.clear();
        self.middle.clear();
        self.of_middle.clear();
    }
}

/// Up to fifteen bytes and their number in one word.
fn shortened(bytes: &[u8], range: Range<usize>) -> u128 {
    let length = range.len();
    let word = match bytes.get(range.start..range.start + 16) {
        Some(window) => {
            let mut sixteen = [0; 16];
            sixteen.copy_from_slice(window);
            u128::from_le_bytes(sixteen) & ((1 << (8 * length)) - 1)
        }
        None => {
            let mut sixteen = [0; 16];
            sixteen[..length].copy_from_slice(&bytes[range]);
            u128::from_le_bytes(sixteen)
        }
    };
    word | (length as u128) << 120
}

/// Up to thirty-nine bytes and their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Middle([u64; 5]);

impl Middle {
    fn of(bytes: &[u8], range: Range<usize>) -> Self {
        let length = range.len();
        let mut words = [0; 5];
        match bytes.get(range.start..range.start + 40) {
            Some(window) => {
                for (at, (word, eight)) in words.iter_mut().zip(window.chunks_exact(8)).enumerate()
                {
                    let n_own = length.saturating_sub(8 * at).min(8);
                    let mask = u64::MAX.checked_shr(64 - 8 * n_own as u32).unwrap_or(0);
                    let eight = eight.first_chunk().copied().unwrap_or_default();
                    *word = u64::from_le_bytes(eight) & mask;
                }
            }
            None => {
                let mut forty = [0; 40];
                forty[..length].copy_from_slice(&bytes[range]);
                for (word, eight) in words.iter_mut().zip(forty.chunks_exact(8)) {
                    *word = u64::from_le_bytes(eight.first_chunk().copied().unwrap_or_default());
                }
            }
        }
        words[4] |= (length as u64) << 56;
        Self(words)
    }
}

impl Word for Middle {
    fn hashed(self) -> u64 {
        let [a, b, c, d, e] = self.0;
        let front = folded(a ^ 0x243f_6a88_85a3_08d3, b ^ 0x1319_8a2e_0370_7344);
        let back = folded(c ^ 0xa409_3822_299f_31d1, d ^ 0x082e_fa98_ec4e_6c89);
        folded(front ^ back.rotate_left(32) ^ e, 0x9e37_79b9_7f4a_7c15)
    }
}

/// Keys that are too long to lie in a table: an entry has a part of the hash, the bytes lie apart.
#[derive(Debug, Default)]
struct Long {
    hasher: FixedState,
    table: hashbrown::HashTable<(u32, u32, u32)>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Long {
    fn n_keys(&self) -> usize {
        self.ends.len()
    }

    fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 8 + self.table.capacity() * 14
    }

    fn find(&self, key: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(key);
        let same = |&(tag, at, _): &(u32, u32, u32)| {
            tag == hash as u32 && bytes_at(&self.bytes, &self.ends, at) == key
        };
        self.table.find(hash, same).map_or(NO_KEY, |entry| entry.2)
    }

    fn find_or_insert(&mut self, key: &[u8], next: u32) -> u32 {
        let found = self.find(key);
        if found != NO_KEY {
            return found;
        }
        let hash = self.hasher.hash_one(key);
        let at = self.ends.len() as u32;
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        self.table
            .insert_unique(hash, (hash as u32, at, next), |&(_, at, _)| {
                hasher.hash_one(bytes_at(bytes, ends, at))
            });
        next
    }
}

fn bytes_at<'a>(bytes: &'a [u8], ends: &[usize], at: u32) -> &'a [u8] {
    let at = at as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    &bytes[start..ends[at]]
}
