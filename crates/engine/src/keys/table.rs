//! Numbers for keys: 0, 1, 2, ... in the order in which they first came.
//!
//! Tables are open-addressed, with the key itself in the entry where it has a fixed width or is short,
//! so that a look-up costs one miss of the cache; and they are asked for a batch of keys at a time in
//! passes without unpredictable branches, so that the misses of many rows overlap.

use std::ops::Range;

use super::bytes::ByteTables;
use super::{EncodedKeys, KeyValues};

/// Stands for a key that is null or not known.
pub(crate) const NO_KEY: u32 = u32::MAX;
/// Stands for a key whose first entry was taken by another.
const ELSEWHERE: u32 = u32::MAX - 1;
const LEAST_ENTRIES: usize = 8;
/// Rows whose keys are numbered together.
const NUMBERED_TOGETHER: usize = 1_024;
/// Keys are near each other where this many places for each hold half of them.
const NEAR_PLACES_PER_KEY: usize = 4;

/// The keys of one encoding, numbered.
#[derive(Debug)]
pub(crate) enum KeyTable {
    Unit { is_known: bool },
    Words { table: Inline<u64>, near: Near },
    Wide(Inline<u128>),
    Bytes(ByteTables),
}

impl KeyTable {
    pub(super) fn unit() -> Self {
        Self::Unit { is_known: false }
    }

    pub(super) fn words() -> Self {
        Self::Words {
            table: Inline::new(),
            near: Near::default(),
        }
    }

    pub(super) fn wide() -> Self {
        Self::Wide(Inline::new())
    }

    pub(super) fn bytes() -> Self {
        Self::Bytes(ByteTables::new())
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Unit { is_known } => usize::from(*is_known),
            Self::Words { table, .. } => table.n_keys,
            Self::Wide(table) => table.n_keys,
            Self::Bytes(tables) => tables.n_keys(),
        }
    }

    /// Bytes that the table holds.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Unit { .. } => 0,
            Self::Words { table, near } => table.memory() + near.numbers.len() * 4,
            Self::Wide(table) => table.memory(),
            Self::Bytes(tables) => tables.memory(),
        }
    }

    /// Makes look-ups faster when all keys are there.
    pub(crate) fn settle(&mut self) {
        if let Self::Words { table, near } = self {
            *near = Near::new(table);
        }
    }

    /// The number of each row's key, [`NO_KEY`] for null and unknown ones.
    pub(crate) fn find_all(&self, keys: &EncodedKeys, found: &mut Vec<u32>) {
        let n_rows = match &keys.values {
            KeyValues::Unit(n_rows) => *n_rows,
            KeyValues::Words(words) => words.len(),
            KeyValues::Wide(wide) => wide.len(),
            KeyValues::Bytes { offsets, .. } => offsets.len() - 1,
        };
        self.find_some(keys, 0..n_rows, found);
    }

    /// [`Self::find_all`] of some rows.
    fn find_some(&self, keys: &EncodedKeys, rows: Range<usize>, found: &mut Vec<u32>) {
        found.clear();
        match (self, &keys.values) {
            (Self::Words { table, near }, KeyValues::Words(words)) => {
                table.find_all(&words[rows.clone()], |key| near.find(key), found);
            }
            (Self::Wide(table), KeyValues::Wide(wide)) => {
                table.find_all(&wide[rows.clone()], |_| None, found);
            }
            (Self::Bytes(tables), KeyValues::Bytes { bytes, offsets }) => {
                tables.find_all(bytes, &offsets[rows.start..=rows.end], found);
            }
            (Self::Unit { is_known }, KeyValues::Unit(_)) => {
                found.resize(rows.len(), if *is_known { 0 } else { NO_KEY });
            }
            _ => {}
        }
        if let Some(nulls) = &keys.nulls {
            for (row, number) in rows.zip(found) {
                if nulls.is_null(row) {
                    *number = NO_KEY;
                }
            }
        }
    }

    /// The numbers of all rows that are wanted, new ones for keys that are not known; [`NO_KEY`] for null ones
    /// and for other rows.
    pub(crate) fn number_all(
        &mut self,
        keys: &EncodedKeys,
        is_wanted: impl Fn(usize) -> bool,
        numbers: &mut [u32],
    ) {
        // Keys that are known by now are found first, so that their misses of the cache overlap.
        let mut found = Vec::with_capacity(NUMBERED_TOGETHER);
        for start in (0..numbers.len()).step_by(NUMBERED_TOGETHER) {
            let end = numbers.len().min(start + NUMBERED_TOGETHER);
            self.find_some(keys, start..end, &mut found);
            for (row, &known) in (start..end).zip(&found) {
                numbers[row] = match known {
                    _ if !is_wanted(row) => NO_KEY,
                    NO_KEY => self.find_or_insert(keys, row),
                    known => known,
                };
            }
        }
    }

    /// The number of a row's key, a new one if it is not known; [`NO_KEY`] for a null one.
    pub(crate) fn find_or_insert(&mut self, keys: &EncodedKeys, row: usize) -> u32 {
        if keys.is_null(row) {
            return NO_KEY;
        }
        let next = self.len() as u32;
        match (self, &keys.values) {
            (Self::Words { table, .. }, KeyValues::Words(words)) => {
                table.find_or_insert(words[row], next)
            }
            (Self::Wide(table), KeyValues::Wide(wide)) => table.find_or_insert(wide[row], next),
            (Self::Bytes(tables), KeyValues::Bytes { bytes, offsets }) => {
                tables.find_or_insert(bytes, offsets[row] as usize..offsets[row + 1] as usize)
            }
            (Self::Unit { is_known }, _) => {
                *is_known = true;
                0
            }
            _ => NO_KEY,
        }
    }
}

/// A key of fixed width.
pub(crate) trait Word: Copy + Eq + Default + std::fmt::Debug {
    /// A number whose upper bits depend on all bits of the key.
    fn hashed(self) -> u64;
}

pub(super) fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Word for u64 {
    fn hashed(self) -> u64 {
        folded(self ^ 0x243f_6a88_85a3_08d3, 0x9e37_79b9_7f4a_7c15)
    }
}

impl Word for u128 {
    fn hashed(self) -> u64 {
        let (low, high) = (self as u64, (self >> 64) as u64);
        folded(
            low ^ 0x243f_6a88_85a3_08d3,
            folded(high ^ 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d1) | 1,
        )
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    key: K,
    /// [`NO_KEY`] where the entry is free.
    number: u32,
}

/// An open-addressed table with its keys inside, at most half full.
#[derive(Debug)]
pub(crate) struct Inline<K> {
    entries: Vec<Entry<K>>,
    /// How far a hash is shifted to be a place.
    shift: u32,
    pub(super) n_keys: usize,
}

impl<K: Word> Inline<K> {
    pub(super) fn new() -> Self {
        Self::with_entries(LEAST_ENTRIES)
    }

    fn with_entries(n_entries: usize) -> Self {
        let free = Entry {
            key: K::default(),
            number: NO_KEY,
        };
        Self {
            entries: vec![free; n_entries],
            shift: u64::BITS - n_entries.trailing_zeros(),
            n_keys: 0,
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.entries.len() * size_of::<Entry<K>>()
    }

    fn place(&self, key: K) -> usize {
        (key.hashed() >> self.shift) as usize
    }

    /// Adds the number of each key. `sooner` answers the numbers of keys that are known without the table.
    pub(super) fn find_all(
        &self,
        keys: &[K],
        sooner: impl Fn(K) -> Option<u32>,
        found: &mut Vec<u32>,
    ) {
        let before = found.len();
        // What is at the first place decides for most rows, and nothing here waits for it.
        found.extend(keys.iter().map(|&key| {
            if let Some(number) = sooner(key) {
                return number;
            }
            let entry = &self.entries[self.place(key)];
            if entry.key == key || entry.number == NO_KEY {
                entry.number
            } else {
                ELSEWHERE
            }
        }));
        for (number, &key) in found[before..].iter_mut().zip(keys) {
            if *number == ELSEWHERE {
                *number = self.find(key);
            }
        }
    }

    fn find(&self, key: K) -> u32 {
        let mut place = self.place(key);
        loop {
            let entry = &self.entries[place];
            if entry.number == NO_KEY || entry.key == key {
                return entry.number;
            }
            place = (place + 1) & (self.entries.len() - 1);
        }
    }

    pub(super) fn find_or_insert(&mut self, key: K, next: u32) -> u32 {
        let mut place = self.place(key);
        loop {
            let entry = &mut self.entries[place];
            if entry.number == NO_KEY {
                *entry = Entry { key, number: next };
                self.n_keys += 1;
                if self.n_keys * 2 > self.entries.len() {
                    self.grow();
                }
                return next;
            }
            if entry.key == key {
                return entry.number;
            }
            place = (place + 1) & (self.entries.len() - 1);
        }
    }

    fn grow(&mut self) {
        let mut larger = Self::with_entries(self.entries.len() * 2);
        larger.n_keys = self.n_keys;
        for entry in self.entries.iter().filter(|entry| entry.number != NO_KEY) {
            let mut place = larger.place(entry.key);
            while larger.entries[place].number != NO_KEY {
                place = (place + 1) & (larger.entries.len() - 1);
            }
            larger.entries[place] = *entry;
        }
        *self = larger;
    }
}

/// The numbers of keys that lie close to each other, as identifiers that were counted up do: found by
/// the key itself, in a fraction of the table's memory. Keys inserted later are not among them.
#[derive(Debug, Default)]
pub(crate) struct Near {
    first: u64,
    /// [`NO_KEY`] for keys that are not in the table.
    numbers: Vec<u32>,
}

impl Near {
    /// None of them if less than half of the keys lie close to their median.
    fn new(table: &Inline<u64>) -> Self {
        let entries = || table.entries.iter().filter(|entry| entry.number != NO_KEY);
        let mut keys: Vec<u64> = entries().map(|entry| entry.key).collect();
        let middle = keys.len() / 2;
        if keys.is_empty() {
            return Self::default();
        }
        let (_, &mut median, _) = keys.select_nth_unstable(middle);
        let reach = NEAR_PLACES_PER_KEY * keys.len();
        let first = median.saturating_sub(reach as u64 / 2);
        let place = |key: u64| usize::try_from(key.wrapping_sub(first)).unwrap_or(usize::MAX);
        let n_near = keys.iter().filter(|&&key| place(key) < reach).count();
        if 2 * n_near < keys.len() {
            return Self::default();
        }
        let mut numbers = vec![NO_KEY; reach];
        for entry in entries() {
            if let Some(number) = numbers.get_mut(place(entry.key)) {
                *number = entry.number;
            }
        }
        Self { first, numbers }
    }

    /// The number of a key, [`NO_KEY`] if it is not known; `None` if it is not near.
    fn find(&self, key: u64) -> Option<u32> {
        let place = usize::try_from(key.wrapping_sub(self.first)).ok()?;
        self.numbers.get(place).copied()
    }
}
