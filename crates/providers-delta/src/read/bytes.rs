//! Bytes of files: from this machine by position, from object stores by ranges.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use super::pieces::Pieces;

/// What is read at once of a page's header, which is seldom longer.
const HEADER_BYTES: usize = 1 << 10;

/// Where a file lies.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Local(PathBuf),
    Object(Arc<dyn ObjectStore>, ObjectPath),
}

/// A file that stays the same one, whatever happens to its name.
#[derive(Clone, Debug)]
pub(super) enum Handle {
    Local(Arc<File>, PathBuf),
    /// Whatever file has the name, for files that do not change.
    Named(PathBuf),
    Object(Arc<dyn ObjectStore>, ObjectPath),
}

/// Parts of a file. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    size: u64,
    held: Held,
}

#[derive(Clone, Debug)]
enum Held {
    /// In memory: ascending by their first byte, and apart from each other.
    Memory(Arc<[(u64, Bytes)]>),
    /// All of it, each piece read when it is asked for.
    Pieces(Arc<Pieces>),
}

impl Origin {
    pub(super) fn open(self) -> io::Result<Handle> {
        Ok(match self {
            Self::Local(path) => Handle::Local(Arc::new(File::open(&path)?), path),
            Self::Object(store, path) => Handle::Object(store, path),
        })
    }
}

impl Handle {
    /// The same without holding a file open.
    pub(super) fn by_name(self) -> Self {
        match self {
            Self::Local(_, path) => Self::Named(path),
            other => other,
        }
    }

    /// Reads ranges, which ascend and do not overlap.
    pub(super) async fn read(&self, size: u64, ranges: Vec<Range<u64>>) -> io::Result<Parts> {
        let bytes = match self {
            Self::Local(file, path) => match reopened(file, path) {
                Some(mut own) => ranges
                    .iter()
                    .map(|range| read_own(&mut own, range))
                    .collect::<io::Result<Vec<Bytes>>>()?,
                None => ranges
                    .iter()
                    .map(|range| read_at(file, range))
                    .collect::<io::Result<Vec<Bytes>>>()?,
            },
            Self::Named(path) => {
                let mut file = File::open(path)?;
                let read = ranges.iter().map(|range| read_own(&mut file, range));
                read.collect::<io::Result<Vec<Bytes>>>()?
            }
            Self::Object(store, path) => store.get_ranges(path, &ranges).await?,
        };
        let parts = ranges.into_iter().map(|range| range.start).zip(bytes);
        Ok(Parts {
            size,
            held: Held::Memory(parts.collect()),
        })
    }

    /// The whole file, to be read piece by piece; `None` where every piece would be a request of its own. Of `runs`,
    /// which do not overlap, each is read from one end to the other.
    pub(super) fn by_piece(&self, size: u64, runs: Vec<Range<u64>>) -> Option<Parts> {
        let file = match self {
            Self::Local(file, path) => reopened(file, path)?,
            Self::Named(path) => File::open(path).ok()?,
            Self::Object(..) => return None,
        };
        let held = Held::Pieces(Arc::new(Pieces::new(file, runs)));
        Some(Parts { size, held })
    }
}

/// The same file with a position of its own; `None` if its name stands for another one by now.
#[cfg(unix)]
fn reopened(file: &File, path: &Path) -> Option<File> {
    use std::os::unix::fs::MetadataExt;

    let own = File::open(path).ok()?;
    let (held, found) = (file.metadata().ok()?, own.metadata().ok()?);
    (held.dev() == found.dev() && held.ino() == found.ino()).then_some(own)
}

#[cfg(not(unix))]
fn reopened(_: &File, _: &Path) -> Option<File> {
    None
}

/// Reads into memory that nobody clears first, which reading by position cannot.
pub(super) fn read_own(file: &mut File, range: &Range<u64>) -> io::Result<Bytes> {
    let n_bytes = range.end - range.start;
    let mut bytes = Vec::with_capacity(n_bytes as usize);
    file.seek(SeekFrom::Start(range.start))?;
    file.take(n_bytes).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < n_bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.into())
}

fn read_at(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let mut done = 0;
    while done < bytes.len() {
        let position = range.start + done as u64;
        #[cfg(unix)]
        let n = std::os::unix::fs::FileExt::read_at(file, &mut bytes[done..], position)?;
        #[cfg(windows)]
        let n = std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], position)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        done += n;
    }
    Ok(bytes.into())
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.size
    }
}

/// The bytes that are there from `start` on.
fn bytes_from(parts: &[(u64, Bytes)], start: u64) -> ParquetResult<Bytes> {
    let after = parts.partition_point(|(first, _)| *first <= start);
    let part = after.checked_sub(1).and_then(|at| parts.get(at));
    part.and_then(|(first, bytes)| {
        let skipped = (start - first) as usize;
        (skipped <= bytes.len()).then(|| bytes.slice(skipped..))
    })
    .ok_or_else(|| missing(start))
}

fn missing(start: u64) -> ParquetError {
    ParquetError::General(format!("byte {start} of the file was not read"))
}

/// What is read of [`Parts`] one byte after the other.
pub(super) enum PartsReader {
    Memory(Reader<Bytes>),
    /// A file, from a position on.
    Pieces(Arc<Pieces>, u64),
}

impl Read for PartsReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(bytes) => bytes.read(into),
            Self::Pieces(pieces, position) => {
                let n = pieces.read(*position, into)?;
                *position += n as u64;
                Ok(n)
            }
        }
    }
}

impl ChunkReader for Parts {
    type T = BufReader<PartsReader>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(match &self.held {
            // Nothing is gained by a buffer before memory.
            Held::Memory(parts) => {
                let bytes = bytes_from(parts, start)?.reader();
                BufReader::with_capacity(0, PartsReader::Memory(bytes))
            }
            Held::Pieces(pieces) => {
                let reader = PartsReader::Pieces(pieces.clone(), start);
                BufReader::with_capacity(HEADER_BYTES, reader)
            }
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        match &self.held {
            Held::Memory(parts) => {
                let bytes = bytes_from(parts, start)?;
                if bytes.len() < length {
                    return Err(missing(start + bytes.len() as u64));
                }
                Ok(bytes.slice(..length))
            }
            Held::Pieces(pieces) => {
                // What a damaged file says is read in no case.
                let end = start.checked_add(length as u64);
                let range = match end {
                    Some(end) if end <= self.size => start..end,
                    _ => return Err(missing(self.size)),
                };
                Ok(pieces.get(&range)?)
            }
        }
    }
}
