//! Rows that are held in memory up to a limit and lie on disk beyond it.
//!
//! Decides where they lie and that they vanish when nobody needs them; knows nothing of what the
//! rows mean. Files are Arrow IPC streams, LZ4-compressed, unnamed after they are opened.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::SchemaRef;
use async_stream::try_stream;
use provender_core::provider::Resources;
use provender_core::{BatchStream, Result};

use crate::error;

/// Collects batches of one schema; see [`Spilled`] for reading them.
pub struct SpillBuffer {
    schema: SchemaRef,
    resources: Resources,
    memory_limit: u64,
    in_memory: Vec<RecordBatch>,
    memory: u64,
    n_rows: u64,
    writer: Option<StreamWriter<BufWriter<File>>>,
}

impl SpillBuffer {
    /// A buffer that keeps up to a quarter of the memory limit in memory.
    pub fn new(resources: &Resources, schema: SchemaRef) -> Self {
        Self::with_memory(resources, schema, resources.memory_limit_bytes / 4)
    }

    /// A buffer that keeps up to `memory_limit` bytes in memory.
    pub fn with_memory(resources: &Resources, schema: SchemaRef, memory_limit: u64) -> Self {
        Self {
            schema,
            resources: resources.clone(),
            memory_limit,
            in_memory: Vec::new(),
            memory: 0,
            n_rows: 0,
            writer: None,
        }
    }

    /// Adds rows at the end.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P901`) or `PermissionDenied` (`P902`) if they cannot be spilled.
    pub async fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.n_rows += batch.num_rows() as u64;
        if self.writer.is_none() {
            let size = batch.get_array_memory_size() as u64;
            if self.memory + size <= self.memory_limit {
                self.memory += size;
                self.in_memory.push(batch);
                return Ok(());
            }
        }
        // Once rows lie on disk, all later ones do: the order is the one of arrival.
        tokio::task::yield_now().await;
        self.write(&batch)
    }

    /// Rows so far.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Ends collecting.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(self) -> Result<Spilled> {
        let buffer_bytes = self.buffer_bytes();
        let on_disk = match self.writer {
            None => None,
            Some(writer) => {
                let buffered = writer.into_inner().map_err(error::arrow)?;
                let file = buffered
                    .into_inner()
                    .map_err(|e| error::spill(e.into_error(), None))?;
                Some(file)
            }
        };
        Ok(Spilled {
            schema: self.schema,
            n_rows: self.n_rows,
            in_memory: Arc::new(self.in_memory),
            on_disk: on_disk.map(Arc::new),
            buffer_bytes,
        })
    }

    /// What is gathered before it is written, or read at once. Work that spills has a file open for each
    /// of some dozen partitions, which together are to take a part of its memory.
    fn buffer_bytes(&self) -> usize {
        let share = self.resources.memory_limit_bytes / 256;
        usize::try_from(share)
            .unwrap_or(usize::MAX)
            .clamp(8 << 10, 256 << 10)
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let path = self
                    .resources
                    .spill_path
                    .clone()
                    .unwrap_or_else(std::env::temp_dir);
                let file =
                    tempfile::tempfile_in(&path).map_err(|e| error::spill(e, Some(&path)))?;
                let options = IpcWriteOptions::default()
                    .try_with_compression(Some(CompressionType::LZ4_FRAME))
                    .map_err(error::arrow)?;
                let file = BufWriter::with_capacity(self.buffer_bytes(), file);
                let writer = StreamWriter::try_new_with_options(file, &self.schema, options)
                    .map_err(error::arrow)?;
                self.writer.insert(writer)
            }
        };
        writer.write(batch).map_err(error::arrow)
    }
}

/// Rows that can be read in order any number of times, also by several readers at once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spilled {
    schema: SchemaRef,
    n_rows: u64,
    in_memory: Arc<Vec<RecordBatch>>,
    on_disk: Option<Arc<File>>,
    /// What is read at once.
    buffer_bytes: usize,
}

impl Spilled {
    /// The schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The rows, in order, in the batches they came in.
    pub fn stream(&self) -> BatchStream {
        let spilled = self.clone();
        BatchStream::new(
            self.schema.clone(),
            try_stream! {
                for batch in spilled.in_memory.iter() {
                    yield batch.clone();
                }
                if let Some(file) = &spilled.on_disk {
                    let reader = PositionedReader { file: file.clone(), position: 0 };
                    let reader = BufReader::with_capacity(spilled.buffer_bytes, reader);
                    let reader = StreamReader::try_new(reader, None).map_err(error::arrow)?;
                    for batch in reader {
                        let batch = batch.map_err(error::arrow)?;
                        yield batch.with_schema(spilled.schema.clone()).map_err(error::arrow)?;
                        tokio::task::yield_now().await;
                    }
                }
            },
        )
    }
}

/// Reads a shared file at a position of its own, so that several readers do not move each other.
struct PositionedReader {
    file: Arc<File>,
    position: u64,
}

impl std::io::Read for PositionedReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        #[cfg(unix)]
        let n = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.position)?;
        #[cfg(windows)]
        let n = std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for PositionedReader {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(offset) => (self.position, offset),
            SeekFrom::End(offset) => (self.file.metadata()?.len(), offset),
        };
        self.position = base
            .checked_add_signed(offset)
            .ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow_array::Int64Array;
    use arrow_schema::{DataType, Field, Schema};

    #[tokio::test]
    async fn rows_come_back_in_order_from_memory_and_disk() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        for memory in [0, 3_000, 1 << 30] {
            let mut buffer =
                SpillBuffer::with_memory(&Resources::default(), schema.clone(), memory);
            for start in 0..50_i64 {
                let values = Int64Array::from_iter_values(start * 10..start * 10 + 10);
                let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(values)]).unwrap();
                buffer.push(batch).await.unwrap();
            }
            let spilled = buffer.finish().unwrap();
            for _ in 0..2 {
                let batches = spilled.stream().collect().await.unwrap();
                let all = arrow_select::concat::concat_batches(&schema, &batches).unwrap();
                assert_eq!(
                    all.column(0).as_ref(),
                    &Int64Array::from_iter_values(0..500)
                );
            }
        }
    }

    #[tokio::test]
    async fn a_missing_spill_folder_is_named() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let resources = Resources {
            spill_path: Some("/nonexistent/spill".into()),
            ..Resources::default()
        };
        let mut buffer = SpillBuffer::with_memory(&resources, schema.clone(), 0);
        let batch =
            RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1]))]).unwrap();
        let error = buffer.push(batch).await.unwrap_err();
        assert_eq!(error.code(), "P902");
        assert!(error.to_string().contains("/nonexistent/spill"), "{error}");
    }
}
