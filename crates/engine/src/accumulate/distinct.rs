//! Sets of values, and how many different ones are in some of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::segments::Window;

/// How often each value occurs.
pub(super) type Occurrences<K> = HashMap<K, u32, foldhash::fast::FixedState>;

/// Counts the different values of sets that come and go.
#[derive(Debug, Default)]
pub(super) struct Distinct<K> {
    present: Occurrences<K>,
}

impl<K: std::hash::Hash + Eq + Clone> Distinct<K> {
    pub(super) fn enter(&mut self, set: &Occurrences<K>) {
        for value in set.keys() {
            match self.present.entry(value.clone()) {
                Entry::Occupied(mut occupied) => *occupied.get_mut() += 1,
                Entry::Vacant(vacant) => {
                    vacant.insert(1);
                }
            }
        }
    }

    pub(super) fn leave(&mut self, set: &Occurrences<K>) {
        for value in set.keys() {
            if let Entry::Occupied(mut occupied) = self.present.entry(value.clone()) {
                *occupied.get_mut() -= 1;
                if *occupied.get() == 0 {
                    occupied.remove();
                }
            }
        }
    }

    pub(super) fn len(&self) -> i64 {
        self.present.len() as i64
    }
}

/// The number of different values in the cells of each window.
pub(super) fn slide_sets<K: std::hash::Hash + Eq + Clone + Default>(
    cells: &[Occurrences<K>],
    windows: &[Window],
) -> Vec<u64> {
    let mut present = Distinct::<K>::default();
    let (mut first, mut last) = (0, 0);
    let mut counts = Vec::with_capacity(windows.len());
    for window in windows {
        let (start, end) = (window.start as usize, window.end as usize);
        if start >= last {
            for cell in &cells[first..last] {
                present.leave(cell);
            }
            (first, last) = (start, start);
        }
        for cell in &cells[last..end] {
            present.enter(cell);
        }
        for cell in &cells[first..start] {
            present.leave(cell);
        }
        (first, last) = (start, end);
        counts.push(present.len() as u64);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: u32, end: u32) -> Window {
        Window { start, end }
    }

    #[test]
    fn sliding_sets_count_values_once() {
        let set = |values: &[i64]| values.iter().map(|&value| (value, 1)).collect();
        let cells: Vec<Occurrences<i64>> = vec![set(&[1, 2]), set(&[2]), set(&[]), set(&[1, 3])];
        let windows = [
            window(0, 1),
            window(0, 2),
            window(1, 4),
            window(3, 4),
            window(4, 4),
        ];
        assert_eq!(slide_sets(&cells, &windows), [2, 2, 3, 2, 0]);
    }
}
