//! A file that is read piece by piece, each when it is asked for: memory of a piece that is done with is still in the
//! processor's caches when the next is read into it.
//!
//! Columns whose pages are small would ask for very many pieces, so a little more is read at once of each.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::bytes::read_own;

/// What is read at once of a run, if less is asked for.
const AHEAD_BYTES: u64 = 64 << 10;

/// A file with a position of its own. Cheap to share.
#[derive(Debug)]
pub(super) struct Pieces(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    runs: Vec<Run>,
}

/// Bytes that are read from one end to the other, such as a column's of a row group.
#[derive(Debug)]
struct Run {
    range: Range<u64>,
    /// What was read last, and from where on.
    start: u64,
    bytes: Bytes,
}

impl Pieces {
    /// `runs` do not overlap. What is in none of them is read as it is asked for.
    pub(super) fn new(file: File, runs: Vec<Range<u64>>) -> Self {
        let runs = runs.into_iter().map(|range| Run {
            start: range.start,
            range,
            bytes: Bytes::new(),
        });
        let runs = runs.collect();
        Self(Mutex::new(Inner { file, runs }))
    }

    /// # Errors
    /// If the file ends before, or cannot be read.
    pub(super) fn get(&self, range: &Range<u64>) -> io::Result<Bytes> {
        let n_bytes = range.end - range.start;
        let mut inner = self.lock();
        let Inner { file, runs } = &mut *inner;
        let Some(run) = runs.iter_mut().find(|run| run.contains(range)) else {
            return read_own(file, range);
        };
        if let Some(held) = run.from(range.start)
            && held.len() as u64 >= n_bytes
        {
            return Ok(held.slice(..n_bytes as usize));
        }
        if n_bytes >= AHEAD_BYTES {
            return read_own(file, range);
        }
        let end = run.range.end.min(range.start + AHEAD_BYTES);
        run.bytes = Bytes::new();
        run.bytes = read_own(file, &(range.start..end))?;
        run.start = range.start;
        Ok(run.bytes.slice(..n_bytes as usize))
    }

    /// Reads from a position on, as much as is at hand of what fits.
    pub(super) fn read(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.lock();
        let held = inner.runs.iter().find_map(|run| run.from(position));
        if let Some(held) = held.filter(|held| !held.is_empty()) {
            let n_bytes = held.len().min(into.len());
            into[..n_bytes].copy_from_slice(&held[..n_bytes]);
            return Ok(n_bytes);
        }
        inner.file.seek(SeekFrom::Start(position))?;
        inner.file.read(into)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn contains(&self, range: &Range<u64>) -> bool {
        self.range.start <= range.start && range.end <= self.range.end
    }

    /// What is held from a position on.
    fn from(&self, position: u64) -> Option<Bytes> {
        let skipped = usize::try_from(position.checked_sub(self.start)?).ok()?;
        (skipped <= self.bytes.len()).then(|| self.bytes.slice(skipped..))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pieces_are_what_lies_in_the_file_in_whatever_order_and_length() {
        let all: Vec<u8> = (0..400_000_u32).map(|n| (n * 7_919 % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&all).unwrap();
        // Two runs, and bytes that are in none.
        let pieces = Pieces::new(file, vec![10..200_000, 200_000..390_000]);
        let lengths = [1, 5, 900, 70_000, 3, 64 << 10, 20_000];
        let (mut one, mut other) = (0_u64, 200_000_u64);
        for length in lengths.iter().cycle().take(40) {
            for start in [&mut one, &mut other] {
                let end = (*start + length).min(all.len() as u64);
                let range = *start as usize..end as usize;
                let mut some = [0; 100];
                let n = pieces.read(*start, &mut some).unwrap();
                assert!(n > 0 || range.is_empty());
                assert_eq!(some[..n], all[range.start..range.start + n]);
                assert_eq!(*pieces.get(&(*start..end)).unwrap(), all[range]);
                *start = if end == all.len() as u64 { 0 } else { end };
            }
        }
        assert_eq!(*pieces.get(&(3..9)).unwrap(), all[3..9]);
        let beyond = pieces.get(&(399_999..400_001)).unwrap_err();
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    }
}
