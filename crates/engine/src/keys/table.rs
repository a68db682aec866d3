//! Numbers for keys: 0, 1, 2, ... in the order in which they first came.
//!
//! Tables are open-addressed, with the key itself in the entry where it has a fixed width or is short,
//! so that a look-up costs one miss of the cache; and they are asked for a batch of keys at a time in
//! passes without unpredictable branches, so that the misses of many rows overlap.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::{EncodedKeys, KeyValues};

/// Stands for a key that is null or not known.
pub(crate) const NO_KEY: u32 = u32::MAX;
/// Stands for a key whose first entry was taken by another.
const ELSEWHERE: u32 = u32::MAX - 1;
const LEAST_ENTRIES: usize = 64;
/// Rows whose keys are numbered together.
const NUMBERED_TOGETHER: usize = 1_024;
/// Longer keys do not lie in the table itself. The last byte of sixteen is for the length.
const LONGEST_INLINE: usize = 15;
/// Keys are near each other where this many places for each hold half of them.
const NEAR_PLACES_PER_KEY: usize = 4;

/// The keys of one encoding, numbered.
#[derive(Debug)]
pub(crate) enum KeyTable {
    Unit { is_known: bool },
    Words { table: Inline<u64>, near: Near },
    Wide(Inline<u128>),
    Bytes { short: Inline<u128>, long: Long },
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
        Self::Bytes {
            short: Inline::new(),
            long: Long::default(),
        }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Unit { is_known } => usize::from(*is_known),
            Self::Words { table, .. } => table.n_keys,
            Self::Wide(table) => table.n_keys,
            Self::Bytes { short, long } => short.n_keys + long.n_keys(),
        }
    }

    /// Bytes that the table holds.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Unit { .. } => 0,
            Self::Words { table, near } => table.memory() + near.numbers.len() * 4,
            Self::Wide(table) => table.memory(),
            Self::Bytes { short, long } => short.memory() + long.memory(),
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
        found.clear();
        match (self, &keys.values) {
            (Self::Words { table, near }, KeyValues::Words(words)) => {
                table.find_all(words, |key| near.find(key), found);
            }
            (Self::Wide(table), KeyValues::Wide(wide)) => table.find_all(wide, |_| None, found),
            (Self::Bytes { short, long }, KeyValues::Bytes { bytes, offsets }) => {
                let mut inline = Vec::with_capacity(offsets.len());
                let mut has_long = false;
                for range in offsets.windows(2) {
                    let (start, end) = (range[0] as usize, range[1] as usize);
                    has_long |= end - start > LONGEST_INLINE;
                    inline.push(inlined(bytes, start, end));
                }
                short.find_all(&inline, |_| None, found);
                if has_long {
                    for (row, range) in offsets.windows(2).enumerate() {
                        let (start, end) = (range[0] as usize, range[1] as usize);
                        if end - start > LONGEST_INLINE {
                            found[row] = long.find(&bytes[start..end]);
                        }
                    }
                }
            }
            (Self::Unit { is_known }, KeyValues::Unit(n_rows)) => {
                found.resize(*n_rows, if *is_known { 0 } else { NO_KEY });
            }
            _ => {}
        }
        if let Some(nulls) = &keys.nulls {
            for (row, number) in found.iter_mut().enumerate() {
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
        let is_wanted = |row: usize| is_wanted(row) && !keys.is_null(row);
        match (&mut *self, &keys.values) {
            (Self::Words { table, .. }, KeyValues::Words(words)) => {
                table.number_all(words, is_wanted, numbers);
            }
            (Self::Wide(table), KeyValues::Wide(wide)) => {
                table.number_all(wide, is_wanted, numbers);
            }
            _ => {
                for (row, number) in numbers.iter_mut().enumerate() {
                    *number = match is_wanted(row) {
                        true => self.find_or_insert(keys, row),
                        false => NO_KEY,
                    };
                }
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
            (Self::Bytes { short, long }, KeyValues::Bytes { bytes, offsets }) => {
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                if end - start > LONGEST_INLINE {
                    long.find_or_insert(&bytes[start..end], next)
                } else {
                    short.find_or_insert(inlined(bytes, start, end), next)
                }
            }
            (Self::Unit { is_known }, _) => {
                *is_known = true;
                0
            }
            _ => NO_KEY,
        }
    }
}

/// Up to fifteen bytes and their number in one word; the same word for all longer ones.
fn inlined(bytes: &[u8], start: usize, end: usize) -> u128 {
    let length = end - start;
    if length > LONGEST_INLINE {
        return u128::MAX;
    }
    let word = match bytes.get(start..start + 16) {
        Some(window) => {
            let mut sixteen = [0; 16];
            sixteen.copy_from_slice(window);
            u128::from_le_bytes(sixteen) & ((1 << (8 * length)) - 1)
        }
        None => {
            let mut sixteen = [0; 16];
            sixteen[..length].copy_from_slice(&bytes[start..end]);
            u128::from_le_bytes(sixteen)
        }
    };
    word | (length as u128) << 120
}

/// A key of fixed width.
pub(crate) trait Word: Copy + Eq + Default + std::fmt::Debug {
    /// A number whose upper bits depend on all bits of the key.
    fn hashed(self) -> u64;
}

fn folded(a: u64, b: u64) -> u64 {
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
    n_keys: usize,
}

impl<K: Word> Inline<K> {
    fn new() -> Self {
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

    fn memory(&self) -> usize {
        self.entries.len() * size_of::<Entry<K>>()
    }

    fn place(&self, key: K) -> usize {
        (key.hashed() >> self.shift) as usize
    }

    /// `sooner` answers the numbers of keys that are known without the table.
    fn find_all(&self, keys: &[K], sooner: impl Fn(K) -> Option<u32>, found: &mut Vec<u32>) {
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
        for (number, &key) in found.iter_mut().zip(keys) {
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

    /// As [`KeyTable::number_all`]. Keys that are known by now are found first, some rows at a time, so that
    /// their misses of the cache overlap.
    fn number_all(&mut self, keys: &[K], is_wanted: impl Fn(usize) -> bool, numbers: &mut [u32]) {
        let parts = keys.chunks(NUMBERED_TOGETHER);
        for (part, (keys, numbers)) in parts.zip(numbers.chunks_mut(NUMBERED_TOGETHER)).enumerate()
        {
            for (number, &key) in numbers.iter_mut().zip(keys) {
                let entry = &self.entries[self.place(key)];
                *number = if entry.key == key {
                    entry.number
                } else {
                    NO_KEY
                };
            }
            let first_row = part * NUMBERED_TOGETHER;
            for (row, (number, &key)) in (first_row..).zip(numbers.iter_mut().zip(keys)) {
                if !is_wanted(row) {
                    *number = NO_KEY;
                } else if *number == NO_KEY {
                    *number = self.find_or_insert(key, self.n_keys as u32);
                }
            }
        }
    }

    fn find_or_insert(&mut self, key: K, next: u32) -> u32 {
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

/// Keys that are too long to lie in a table: an entry has a part of the hash, the bytes lie apart.
#[derive(Debug, Default)]
pub(crate) struct Long {
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
