//! Parquet, encoded on all cores: columns of a row group do not depend on each other.

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::errors::Result;

use super::encoder::Encoder;
use super::encodings;
use super::groups::GroupWriter;
use super::target::Target;

/// A row group ends when its rows took this much before they were encoded, so that memory stays bounded.
const GROUP_BYTES: usize = 128 << 20;
/// And when it has this many rows, so that readers on several cores have something to share.
const GROUP_ROWS: usize = 1 << 18;
/// Rows are gathered up to this number before their columns are dealt out, which has its price.
const DEALT_ROWS: usize = 1 << 16;
/// And up to about this much memory.
const DEALT_BYTES: usize = 32 << 20;

/// Writes batches of one schema as a Parquet file.
pub(super) struct ParquetRows {
    schema: SchemaRef,
    target: Target,
    /// Begun with the first rows, which tell how columns are best encoded.
    file: Option<ParquetFile>,
    n_groups: usize,
    /// Of the row group that is begun, if any is.
    n_group_rows: usize,
    n_group_bytes: usize,
    /// Rows that were not dealt out yet.
    waiting: Vec<RecordBatch>,
    n_waiting: usize,
    n_waiting_bytes: usize,
}

struct ParquetFile {
    encoder: Encoder,
    factory: ArrowRowGroupWriterFactory,
}

impl ParquetRows {
    pub(super) fn new(target: Target, schema: SchemaRef) -> Self {
        Self {
            schema,
            target,
            file: None,
            n_groups: 0,
            n_group_rows: 0,
            n_group_bytes: 0,
            waiting: Vec::new(),
            n_waiting: 0,
            n_waiting_bytes: 0,
        }
    }

    fn file(&mut self) -> Result<&mut ParquetFile> {
        let begun = match self.file.take() {
            Some(file) => file,
            None => ParquetFile::new(&self.target, &self.schema, &self.waiting)?,
        };
        Ok(self.file.insert(begun))
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut rest = batch.clone();
        while rest.num_rows() > 0 {
            let room = GROUP_ROWS - self.n_group_rows - self.n_waiting;
            let n_rows = rest.num_rows().min(room);
            let some = rest.slice(0, n_rows);
            self.n_waiting_bytes += bytes_of(&some);
            self.waiting.push(some);
            self.n_waiting += n_rows;
            rest = rest.slice(n_rows, rest.num_rows() - n_rows);
            let is_full = n_rows == room;
            if is_full || self.n_waiting >= DEALT_ROWS || self.n_waiting_bytes >= DEALT_BYTES {
                self.deal()?;
            }
            if is_full {
                self.end_group();
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.deal()?;
        self.end_group();
        self.file()?;
        match self.file {
            Some(file) => file.encoder.finish(),
            None => Ok(()),
        }
    }

    /// Gives the waiting rows to be encoded.
    fn deal(&mut self) -> Result<()> {
        if self.n_waiting == 0 {
            return Ok(());
        }
        let (is_new, n_groups) = (self.n_group_rows == 0, self.n_groups);
        let file = self.file()?;
        if is_new {
            let writers = file.factory.create_column_writers(n_groups)?;
            file.encoder.begin(writers)?;
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.file()?.encoder.deal(waiting)?;
        self.n_group_rows += self.n_waiting;
        self.n_group_bytes += self.n_waiting_bytes;
        (self.n_waiting, self.n_waiting_bytes) = (0, 0);
        if self.n_group_bytes >= GROUP_BYTES {
            self.end_group();
        }
        Ok(())
    }

    fn end_group(&mut self) {
        if self.n_group_rows == 0 {
            return;
        }
        if let Some(file) = &self.file {
            file.encoder.end();
        }
        self.n_groups += 1;
        (self.n_group_rows, self.n_group_bytes) = (0, 0);
    }
}

impl ParquetFile {
    /// `first` are rows like those to come.
    fn new(target: &Target, schema: &SchemaRef, first: &[RecordBatch]) -> Result<Self> {
        let properties = Some(encodings::properties(schema, first));
        let writer = ArrowWriter::try_new(target.clone(), schema.clone(), properties)?;
        let (writer, factory) = writer.into_serialized_writer()?;
        let groups = GroupWriter::new(target.clone(), writer)?;
        let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let encoder = Encoder::new(schema.clone(), groups, n_cores.min(schema.fields().len()))?;
        Ok(Self { encoder, factory })
    }
}

/// Bytes of a batch, and of the arrays that it is a slice of no more than has to be.
fn bytes_of(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    let bytes = columns.map(|column| match column.data_type() {
        // Their values lie in buffers that slices share.
        DataType::Utf8View | DataType::BinaryView => column.get_array_memory_size(),
        _ => {
            let of_slice = column.to_data().get_slice_memory_size();
            of_slice.unwrap_or_else(|_| column.get_array_memory_size())
        }
    });
    bytes.sum()
}
