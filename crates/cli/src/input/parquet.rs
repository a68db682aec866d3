//! Parquet files, whose row groups are decoded on all cores.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
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

/// Bytes of rows that each core may have decoded before they are asked for, about.
const AHEAD_BYTES: usize = 16 << 20;
/// And how many batches.
const MOST_AHEAD: usize = 64;

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
    threads: Vec<Receiver<Decoded>>,
    group: usize,
    n_groups: usize,
}

impl Groups {
    fn new(file: &Shared, metadata: &ArrowReaderMetadata) -> Self {
        let groups = metadata.metadata().row_groups();
        let n_rows: i64 = groups.iter().map(|group| group.num_rows()).sum();
        let n_bytes: i64 = groups.iter().map(|group| group.total_byte_size()).sum();
        let batch_bytes = n_bytes.max(1) / n_rows.max(1) * BATCH_ROWS as i64;
        let n_ahead = AHEAD_BYTES / usize::try_from(batch_bytes).unwrap_or(usize::MAX).max(1);
        let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let n_threads = n_cores.min(groups.len());
        let threads = (0..n_threads).map(|thread| {
            let (sender, receiver) = sync_channel(n_ahead.clamp(1, MOST_AHEAD));
            let groups = (thread..groups.len()).step_by(n_threads);
            let (file, metadata) = (file.clone(), metadata.clone());
            // Without a thread its receiver says that nothing comes.
            let _ = std::thread::Builder::new()
                .name("input".to_owned())
                .spawn(move || decode(&file, &metadata, groups, &sender));
            receiver
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
            match self.threads[self.group % self.threads.len()].recv() {
                Ok(None) => self.group += 1,
                Ok(Some(batch)) => return Some(batch),
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

/// Decodes some row groups, until one cannot be or nobody waits any more.
fn decode(
    file: &Shared,
    metadata: &ArrowReaderMetadata,
    groups: impl Iterator<Item = usize>,
    decoded: &SyncSender<Decoded>,
) {
    for group in groups {
        // A decoder that panics on a damaged file is a file that cannot be read.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let reader =
                ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata.clone())
                    .with_batch_size(BATCH_ROWS)
                    .with_row_groups(vec![group])
                    .build()?;
            for batch in reader {
                if decoded.send(Some(Ok(batch?))).is_err() {
                    return Ok(false);
                }
            }
            Ok(decoded.send(None).is_ok())
        }));
        let failed = match ended {
            Ok(Ok(true)) => continue,
            Ok(Ok(false)) => return,
            Ok(Err(error)) => error,
            Err(_) => ParquetError::General("its content is damaged".to_owned()),
        };
        let _ = decoded.send(Some(Err(failed)));
        return;
    }
}
