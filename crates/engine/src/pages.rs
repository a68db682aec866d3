//! Arrays with one item for each of many slots, on large pages of memory.
//!
//! Rows come in an order that has little to do with where their slots lie, so that nearly each touches
//! another page, and the processor has to look most of them up; and each page is handed out when it is
//! first touched. On pages of 2 MiB in place of 4 KiB there is little of both. Systems that have none
//! such give ordinary ones.

use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

/// Arrays of fewer bytes fit few pages of any size.
const LEAST_BYTES: usize = 4 << 20;
/// Times as much memory as items take, at most, after some were left out.
const MOST_SPARE: usize = 2;
/// Where a large page may begin.
const LARGE_PAGE: usize = 2 << 20;

/// An array whose items are zero where none was set.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    n_items: usize,
    memory: Memory<T>,
}

#[derive(Debug)]
enum Memory<T> {
    Few(Vec<T>),
    Many { map: MmapMut, start: usize },
}

impl<T: Pod> Pages<T> {
    /// So many zeros.
    pub(crate) fn zeroed(n_items: usize) -> Self {
        let n_bytes = n_items * size_of::<T>();
        let map = match n_bytes {
            ..LEAST_BYTES => None,
            // Without memory for a map there is none for a vector either, which then says so.
            _ => MmapMut::map_anon(n_bytes + LARGE_PAGE).ok(),
        };
        let memory = match map {
            None => Memory::Few(vec![T::zeroed(); n_items]),
            Some(map) => {
                // Pages are ordinary where the system knows no other.
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage);
                let start = map.as_ptr().align_offset(LARGE_PAGE).min(LARGE_PAGE);
                Memory::Many { map, start }
            }
        };
        Self { n_items, memory }
    }

    /// Adds zeros up to so many items.
    pub(crate) fn grow(&mut self, n_items: usize) {
        match &mut self.memory {
            _ if n_items <= self.n_items => return,
            Memory::Few(items) if n_items * size_of::<T>() < LEAST_BYTES => {
                items.resize(n_items, T::zeroed());
            }
            // What lies behind the items was never touched.
            Memory::Many { map, .. } if n_items * size_of::<T>() <= map.len() - LARGE_PAGE => {}
            _ => {
                let mut grown = Self::zeroed(n_items.max(2 * self.n_items));
                grown[..self.n_items].copy_from_slice(self);
                *self = grown;
            }
        }
        self.n_items = n_items;
    }

    /// Leaves so many of the items, if there are more.
    pub(crate) fn truncate(&mut self, n_items: usize) {
        if n_items >= self.n_items {
            return;
        }
        if n_items < self.n_items / MOST_SPARE {
            *self = self[..n_items].to_vec().into();
            return;
        }
        match &mut self.memory {
            Memory::Few(items) => items.truncate(n_items),
            // Items that are added later are zero.
            Memory::Many { .. } => self[n_items..].fill(T::zeroed()),
        }
        self.n_items = n_items;
    }

    /// Bytes that are held, or will be where they have not been touched.
    pub(crate) fn memory(&self) -> usize {
        match &self.memory {
            Memory::Few(items) => items.capacity() * size_of::<T>(),
            Memory::Many { map, .. } => map.len() - LARGE_PAGE,
        }
    }
}

impl<T> From<Vec<T>> for Pages<T> {
    /// The items where they are.
    fn from(items: Vec<T>) -> Self {
        Self {
            n_items: items.len(),
            memory: Memory::Few(items),
        }
    }
}

/// Finding the items takes a few steps: a loop takes the slice once.
impl<T: Pod> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.memory {
            Memory::Few(items) => items,
            Memory::Many { map, start } => {
                let end = start + self.n_items * size_of::<T>();
                bytemuck::cast_slice(&map[*start..end])
            }
        }
    }
}

impl<T: Pod> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.memory {
            Memory::Few(items) => items,
            Memory::Many { map, start } => {
                let end = *start + self.n_items * size_of::<T>();
                bytemuck::cast_slice_mut(&mut map[*start..end])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_where_they_were_put_however_many_there_are() {
        for n_items in [0, 1, 1_000, LEAST_BYTES / 24 + 1, 1_000_000] {
            let mut pages = Pages::<[u64; 3]>::zeroed(n_items);
            assert!(pages.iter().all(|item| *item == [0; 3]));
            for (number, item) in (0..).zip(pages.iter_mut()) {
                *item = [number, 2 * number, 3 * number];
            }
            for n_more in [0, 1, LEAST_BYTES / 24] {
                pages.grow(n_items + n_more);
                assert_eq!(pages.len(), n_items + n_more);
                assert!(pages.memory() >= 24 * pages.len());
                assert!(pages.memory() <= 48 * pages.len() + LEAST_BYTES);
                for (number, item) in (0..).zip(&pages[..n_items]) {
                    assert_eq!(*item, [number, 2 * number, 3 * number]);
                }
                assert!(pages[n_items..].iter().all(|item| *item == [0; 3]));
            }
            let last = pages[..n_items].last().copied();
            pages.truncate(n_items);
            assert_eq!((pages.len(), pages.last().copied()), (n_items, last));
            pages.truncate(n_items + 1);
            assert_eq!(pages.len(), n_items);
            for n_left in [2 * n_items / 3, n_items / 5] {
                pages.truncate(n_left);
                if n_left < n_items / 2 {
                    assert!(pages.memory() <= 24 * n_left + LEAST_BYTES);
                }
                pages.grow(n_left + 10);
                let numbers = pages[..n_left].iter().map(|item| item[0]);
                assert!(numbers.eq(0..n_left as u64));
                assert_eq!(pages[n_left..], [[0; 3]; 10]);
                pages.truncate(n_left);
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn large_arrays_begin_where_large_pages_do() {
        let pages = Pages::<u64>::zeroed(LEAST_BYTES);
        assert_eq!(pages.as_ptr().align_offset(LARGE_PAGE), 0);
    }
}
