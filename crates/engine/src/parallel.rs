//! Work that falls into parts, on a thread each, for as long as one call takes.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Fewer items than this are not worth a thread.
const LEAST_ITEMS: usize = 1 << 15;

/// Into how many parts work on so many items should fall.
pub(crate) fn n_parts(n_items: usize, n_threads: usize) -> usize {
    n_threads.min(n_items / LEAST_ITEMS).max(1)
}

/// `0..n` in so many parts of about the same size.
pub(crate) fn ranges(n: usize, n_parts: usize) -> impl Iterator<Item = Range<usize>> {
    let n_parts = n_parts.max(1);
    (0..n_parts).map(move |part| part * n / n_parts..(part + 1) * n / n_parts)
}

/// The ranges of groups that hold about the same number of items each, where group `g` has items
/// `starts[g]..starts[g + 1]`.
pub(crate) fn group_ranges(starts: &[u32], n_parts: usize) -> Vec<Range<usize>> {
    let n_groups = starts.len().saturating_sub(1);
    let n_items = starts.last().map_or(0, |end| *end as usize);
    let mut parts = Vec::with_capacity(n_parts);
    let mut first = 0;
    for items in ranges(n_items, n_parts) {
        let after = starts[..n_groups].partition_point(|start| (*start as usize) < items.end);
        parts.push(first..after);
        first = after;
    }
    // Groups without items at the end.
    if let Some(last) = parts.last_mut() {
        last.end = n_groups;
    }
    parts
}

/// How many of so many items a thread should take, where each takes as many but the last.
pub(crate) fn together(n_items: usize, n_threads: usize) -> usize {
    n_items.div_ceil(n_parts(n_items, n_threads)).max(1)
}

/// What each of many items becomes, in their order.
pub(crate) fn map<T: Copy + Sync, R: Copy + Default + Send>(
    items: &[T],
    n_threads: usize,
    of: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let mut mapped = vec![R::default(); items.len()];
    fill(items, &mut mapped, n_threads, of);
    mapped
}

/// Writes what each of many items becomes to its place.
pub(crate) fn fill<T: Copy + Sync, R: Send>(
    items: &[T],
    mapped: &mut [R],
    n_threads: usize,
    of: impl Fn(T) -> R + Sync,
) {
    let together = together(items.len(), n_threads);
    let parts = items
        .chunks(together)
        .zip(mapped.chunks_mut(together))
        .collect();
    each(parts, |(items, mapped): (&[T], &mut [R])| {
        for (mapped, &item) in mapped.iter_mut().zip(items) {
            *mapped = of(item);
        }
    });
}

/// Does some work on every item at the same time. Results keep the order.
pub(crate) fn each<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let mut items = items.into_iter();
    let first = items.next();
    std::thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = items.map(|item| scope.spawn(move || work(item))).collect();
        let mut results: Vec<R> = first.map(work).into_iter().collect();
        for other in others {
            match other.join() {
                Ok(result) => results.push(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}

/// The same with so many threads, of which each takes the next item when it is done with one.
pub(crate) fn all<T: Send, R: Send>(
    items: Vec<T>,
    n_threads: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let n_threads = n_threads.clamp(1, items.len().max(1));
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let of_threads = each(vec![(); n_threads], |()| {
        let taken = std::iter::from_fn(next);
        let done = taken.map(|(number, item)| (number, work(item)));
        done.collect::<Vec<_>>()
    });
    let mut results: Vec<(usize, R)> = of_threads.into_iter().flatten().collect();
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_everything_once() {
        for (n, n_parts) in [(0, 1), (1, 3), (10, 3), (10, 1), (7, 0)] {
            let all: Vec<usize> = ranges(n, n_parts).flatten().collect();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn groups_stay_whole_and_are_shared_out_by_their_items() {
        let starts = [0, 5, 5, 6, 100, 101, 101];
        for n_parts in 1..5 {
            let parts = group_ranges(&starts, n_parts);
            assert_eq!(parts.len(), n_parts);
            let all: Vec<usize> = parts.into_iter().flatten().collect();
            assert_eq!(all, (0..6).collect::<Vec<_>>());
        }
        assert_eq!(group_ranges(&starts, 2), [0..4, 4..6]);
        assert_eq!(group_ranges(&[0], 2), [0..0, 0..0]);
        assert_eq!(group_ranges(&[0, 0], 2), [0..0, 0..1]);
    }

    #[test]
    fn results_keep_the_order() {
        let items: Vec<u32> = (0..3 * LEAST_ITEMS as u32).collect();
        let doubled: Vec<u64> = map(&items, 3, |n| 2 * u64::from(n));
        assert!((0..).zip(&doubled).all(|(n, &double)| double == 2 * n));
        assert_eq!(doubled.len(), items.len());
        assert!(map(&[], 3, |n: u32| n).is_empty());
        assert_eq!(each((0..9).collect(), |n: u32| n * n)[8], 64);
        assert!(each(Vec::<u32>::new(), |n| n).is_empty());
        for n_threads in [0, 1, 3, 20] {
            let squares = all((0..9).collect(), n_threads, |n: u32| n * n);
            assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49, 64]);
            assert!(all(Vec::<u32>::new(), n_threads, |n| n).is_empty());
        }
    }
}
