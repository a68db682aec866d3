//! Parquet files, whose row groups are decoded on all cores.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use provender_core::{Error, Result, codes};

use super::{BATCH_ROWS, Opened};

/// Bytes of rows that may be decoded before they are asked for, about, and on how many threads.
const AHEAD_BYTES: usize = 32 << 20;
const MOST_THREADS: usize = 8;

/// Reads the footer; rows are read group by group, in their order.
pub(super) fn open(name: String, file: File) -> Result<Opened> {
    let fail = move |error: ParquetError| {
        let what = format!("{name} cannot be read as Parquet: {error}");
        Error::new(&codes::BAD_INPUT_FILE, what).source(error)
    };
    let file = Shared(Arc::new(Mutex::new(file)));
    let metadata =
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::default()).map_err(&fail)?;
    let n_rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).ok();
    let schema = metadata.schema().clone();
    let batches = Groups::new(&file, &metadata);
    Ok(Opened {
        schema,
        n_rows,
        batches: Box::new(batches.map(move |batch| batch.map_err(&fail))),
    })
}

/// A file that several threads read.
#[derive(Clone)]
struct Shared(Arc<Mutex<File>>);

/// Where one of them is.
struct Cursor {
    file: Shared,
    position: u64,
}

impl Shared {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(position))?;
        file.read(buffer)
    }
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n_bytes = self.file.read_at(self.position, buffer)?;
        self.position += n_bytes as u64;
        Ok(n_bytes)
    }
}

impl Length for Shared {
    fn len(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl ChunkReader for Shared {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let file = self.clone();
        Ok(BufReader::new(Cursor {
            file,
            position: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let mut bytes = vec![0; length];
        let file = self.clone();
        let mut cursor = Cursor {
            file,
            position: start,
        };
        cursor.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// What a thread answers: batches, and `None` after those of each of its row groups.
type Decoded = Option<ParquetResult<RecordBatch>>;

/// The batches of all row groups, which threads decode in turn.
struct Groups {
    threads: Vec<Decoding>,
    group: usize,
    n_groups: usize,
}

/// A thread that decodes some of the groups.
struct Decoding {
    decoded: Receiver<Decoded>,
    /// Takes the bytes of each batch that was taken.
    taken: Sender<usize>,
}

impl Groups {
    fn new(file: &Shared, metadata: &ArrowReaderMetadata) -> Self {
        let groups = metadata.metadata().row_groups();
        let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let n_threads = n_cores.min(groups.len()).min(MOST_THREADS);
        let threads = (0..n_threads).map(|thread| {
            let ((to_us, decoded), (taken, to_thread)) = (channel(), channel());
            let out = Decoder {
                decoded: to_us,
                taken: to_thread,
                n_held: 0,
                most_held: AHEAD_BYTES / n_threads,
            };
            let groups = (thread..groups.len()).step_by(n_threads);
            let (file, metadata) = (file.clone(), metadata.clone());
            // Without a thread its receiver says that nothing comes.
            let _ = std::thread::Builder::new()
                .name("input".to_owned())
                .spawn(move || out.decode(&file, &metadata, groups));
            Decoding { decoded, taken }
        });
        Self {
            threads: threads.collect(),
            group: 0,
            n_groups: groups.len(),
        }
    }
}

impl Iterator for Groups {
    type Item = ParquetResult<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.group < self.n_groups {
            let thread = &self.threads[self.group % self.threads.len()];
            match thread.decoded.recv() {
                Ok(None) => self.group += 1,
                Ok(Some(batch)) => {
                    // A thread that has ended needs not know.
                    let _ = thread.taken.send(batch.as_ref().map_or(0, bytes_of));
                    return Some(batch);
                }
                Err(_) => {
                    self.group = self.n_groups;
                    let what = "a thread that decodes it ended early";
                    return Some(Err(ParquetError::General(what.to_owned())));
                }
            }
        }
        None
    }
}

fn bytes_of(batch: &RecordBatch) -> usize {
    batch.get_array_memory_size()
}

/// What a thread that decodes holds.
struct Decoder {
    decoded: Sender<Decoded>,
    taken: Receiver<usize>,
    /// Bytes of batches that nobody has taken yet.
    n_held: usize,
    most_held: usize,
}

impl Decoder {
    /// Decodes some row groups, until one cannot be or nobody waits any more.
    fn decode(
        mut self,
        file: &Shared,
        metadata: &ArrowReaderMetadata,
        groups: impl Iterator<Item = usize>,
    ) {
        for group in groups {
            // A decoder that panics on a damaged file is a file that cannot be read.
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let (file, metadata) = (file.clone(), metadata.clone());
                let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
                    .with_batch_size(BATCH_ROWS)
                    .with_row_groups(vec![group])
                    .build()?;
                for batch in reader {
                    if self.hand_over(batch?).is_none() {
                        return Ok(false);
                    }
                }
                Ok(self.decoded.send(None).is_ok())
            }));
            let failed = match ended {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => error,
                Err(_) => ParquetError::General("its content is damaged".to_owned()),
            };
            let _ = self.decoded.send(Some(Err(failed)));
            return;
        }
    }

    /// Hands a batch over and waits where too many were not taken. `None` if nobody waits for batches.
    fn hand_over(&mut self, batch: RecordBatch) -> Option<()> {
        self.n_held += bytes_of(&batch);
        self.decoded.send(Some(Ok(batch))).ok()?;
        while self.n_held > self.most_held {
            self.n_held -= self.taken.recv().ok()?;
        }
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;

    use super::*;

    #[test]
    fn a_thread_waits_where_too_many_of_its_batches_were_not_taken() {
        let numbers = Arc::new(Int64Array::from_iter_values(0..100));
        let batch = RecordBatch::try_from_iter([("n", numbers as _)]).unwrap();
        let n_bytes = bytes_of(&batch);
        let ((to_us, decoded), (taken, to_thread)) = (channel(), channel());
        let mut decoder = Decoder {
            decoded: to_us,
            taken: to_thread,
            n_held: 0,
            most_held: 2 * n_bytes,
        };
        for _ in 0..2 {
            decoder.hand_over(batch.clone()).unwrap();
        }
        let third = std::thread::spawn(move || decoder.hand_over(batch).map(|()| decoder));
        for _ in 0..3 {
            assert!(matches!(decoded.recv().unwrap(), Some(Ok(_))));
        }
        taken.send(n_bytes).unwrap();
        let mut decoder = third.join().unwrap().unwrap();
        assert_eq!(decoder.n_held, 2 * n_bytes);
        drop((decoded, taken));
        let nothing = RecordBatch::new_empty(Arc::new(arrow_schema::Schema::empty()));
        assert!(decoder.hand_over(nothing).is_none());
    }
}
