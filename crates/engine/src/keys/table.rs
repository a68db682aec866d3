//! Numbers for keys: 0, 1, 2, ... in the order in which they first came, but for those that lie close to each other.
//!
//! Tables are open-addressed, with the key itself in the entry where it has a fixed width or is short,
//! so that a look-up costs one miss of the cache; and they are asked for a batch of keys at a time in
//! passes without unpredictable branches, so that the misses of many rows overlap.

use std::ops::Range;

use arrow_buffer::BooleanBuffer;

use super::bytes::ByteTables;
use super::{EncodedKeys, KeyValues};
use crate::vector::{self, Loop};

/// Stands for a key that is null or not known.
pub(crate) const NO_KEY: u32 = u32::MAX;
/// Stands for a key that is not close to most, or whose first entry in the table was taken by another.
const ELSEWHERE: u32 = u32::MAX - 1;
const LEAST_ENTRIES: usize = 8;
/// Rows whose keys are numbered together.
const NUMBERED_TOGETHER: usize = 1_024;
/// Keys are near each other where this many places for each hold half of them.
const NEAR_PLACES_PER_KEY: usize = 4;

/// The keys of one encoding, numbered.
#[derive(Debug)]
pub(crate) enum KeyTable {
    Unit {
        is_known: bool,
    },
    Words {
        close: Close,
        /// Of all other keys.
        table: Inline<u64>,
        near: Near,
    },
    Wide(Inline<u128>),
    Bytes(ByteTables),
}

impl KeyTable {
    pub(super) fn unit() -> Self {
        Self::Unit { is_known: false }
    }

    pub(super) fn words() -> Self {
        Self::words_like(&[])
    }

    pub(super) fn wide() -> Self {
        Self::Wide(Inline::new())
    }

    pub(super) fn bytes() -> Self {
        Self::Bytes(ByteTables::new())
    }

    /// How many numbers there are. Some may be those of no key, where most are close to each other.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Unit { is_known } => usize::from(*is_known),
            Self::Words { close, table, .. } => close.n_keys + table.n_keys,
            Self::Wide(table) => table.n_keys,
            Self::Bytes(tables) => tables.n_keys(),
        }
    }

    /// Bytes that the table holds.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Unit { .. } => 0,
            Self::Words { close, table, near } => {
                table.memory() + near.numbers.len() * 4 + close.n_keys / 8
            }
            Self::Wide(table) => table.memory(),
            Self::Bytes(tables) => tables.memory(),
        }
    }

    /// A table for these keys.
    pub(super) fn words_like(words: &[&[u64]]) -> Self {
        Self::Words {
            close: Close::new(words),
            table: Inline::new(),
            near: Near::default(),
        }
    }

    /// Makes look-ups faster when all keys are there.
    pub(crate) fn settle(&mut self) {
        if let Self::Words { close, table, near } = self
            && close.n_keys == 0
        {
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
            (Self::Words { close, table, .. }, KeyValues::Words(words)) if close.n_keys > 0 => {
                close.find_all(&words[rows.clone()], table, found);
            }
            (Self::Words { table, near, .. }, KeyValues::Words(words)) => {
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
            (Self::Words { close, table, .. }, KeyValues::Words(words)) => {
                match close.find(words[row]) {
                    ELSEWHERE => table.find_or_insert(words[row], next),
                    number => number,
                }
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

/// Keys so close to each other, as identifiers that were counted up are, that how far each is from the first is its number,
/// which no memory is looked up for. Some numbers may be those of no key, and are then not found.
#[derive(Debug, Default)]
pub(crate) struct Close {
    first: u64,
    /// How many numbers there are; 0 where no keys are close.
    pub(super) n_keys: usize,
    /// Which numbers are those of a key, if not all.
    are_keys: Option<BooleanBuffer>,
}

/// Keys that are looked at for where most of them lie.
const SAMPLED_KEYS: usize = 1 << 12;
/// From one of these to the next are at most so many times as many keys as on average in the middle of them.
const MOST_APART: u64 = 32;
/// For each close key there are at most so many numbers.
const NUMBERS_PER_KEY: usize = 2;

impl Close {
    /// Those among the keys of some rows; none if they are not most of them, or not close.
    fn new(words: &[&[u64]]) -> Self {
        Self::of_most(words).unwrap_or_default()
    }

    fn of_most(words: &[&[u64]]) -> Option<Self> {
        let n_rows: usize = words.iter().map(|words| words.len()).sum();
        let each = n_rows.div_ceil(SAMPLED_KEYS).max(1);
        let some = words.iter().flat_map(|words| words.iter().step_by(each));
        let mut some: Vec<u64> = some.copied().collect();
        some.sort_unstable();
        let middle = some.len() / 2;
        let (low, high) = (*some.get(some.len() / 4)?, *some.get(some.len() * 3 / 4)?);
        let apart = (high - low) / middle.max(1) as u64;
        let apart = apart.saturating_add(1).saturating_mul(MOST_APART);
        let is_close = |(one, next): (&u64, &u64)| next.abs_diff(*one) <= apart;
        let up = some[middle..].iter().zip(&some[middle + 1..]);
        let n_up = up.take_while(|pair| is_close(*pair)).count();
        let down = some[1..=middle]
            .iter()
            .rev()
            .zip(some[..middle].iter().rev());
        let n_down = down.take_while(|pair| is_close(*pair)).count();
        let lowest = some[middle - n_down].saturating_sub(apart);
        let highest = some[middle + n_up].saturating_add(apart);

        // All those between.
        let ends = words.iter().filter_map(|words| {
            let ends = words.iter().fold((u64::MAX, 0), |(first, last), &word| {
                match lowest <= word && word <= highest {
                    true => (word.min(first), word.max(last)),
                    false => (first, last),
                }
            });
            (ends.0 <= ends.1).then_some(ends)
        });
        let (first, last) = ends.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))?;
        let n_keys = usize::try_from(last - first).ok()?.checked_add(1)?;
        if n_keys > n_rows {
            return None;
        }
        let mut is_key = vec![false; n_keys];
        for word in words.iter().copied().flatten() {
            if let Some(is_key) = is_key.get_mut(word.wrapping_sub(first) as usize) {
                *is_key = true;
            }
        }
        let are_keys = BooleanBuffer::from(is_key);
        let n_close = are_keys.count_set_bits();
        (n_keys <= NUMBERS_PER_KEY * n_close).then_some(Self {
            first,
            n_keys,
            are_keys: (n_close < n_keys).then_some(are_keys),
        })
    }

    /// The number of a key, and of one that would lie between these; [`ELSEWHERE`] for any other.
    #[inline(always)]
    fn find(&self, key: u64) -> u32 {
        match key.wrapping_sub(self.first) {
            number if number < self.n_keys as u64 => number as u32,
            _ => ELSEWHERE,
        }
    }

    /// Adds the number of each key, from the table for those that are not close.
    fn find_all(&self, keys: &[u64], table: &Inline<u64>, found: &mut Vec<u32>) {
        let before = found.len();
        found.resize(before + keys.len(), NO_KEY);
        let are_all_close = vector::widest(Distances {
            close: self,
            keys,
            found: &mut found[before..],
        });
        if let Some(are_keys) = &self.are_keys {
            let close = found[before..].iter_mut();
            for number in close.filter(|number| (**number as usize) < self.n_keys) {
                if !are_keys.value(*number as usize) {
                    *number = NO_KEY;
                }
            }
        }
        if are_all_close {
            return;
        }
        for (number, &key) in found[before..].iter_mut().zip(keys) {
            if *number == ELSEWHERE {
                *number = table.find(key);
            }
        }
    }
}

/// The loop over keys for their distances. Answers whether all are close.
struct Distances<'a> {
    close: &'a Close,
    keys: &'a [u64],
    found: &'a mut [u32],
}

impl Loop for Distances<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let mut are_all_close = true;
        for (number, &key) in self.found.iter_mut().zip(self.keys) {
            *number = self.close.find(key);
            are_all_close &= *number != ELSEWHERE;
        }
        are_all_close
    }
}

/// The numbers of keys of which most lie near each other, found by the key itself, in a fraction of the table's memory.
/// Keys inserted later are not among them.
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
