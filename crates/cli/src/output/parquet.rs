//! Parquet, encoded on all cores: columns of a row group do not depend on each other.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::groups::GroupWriter;
use super::target::Target;

/// A row group ends when it holds this much, so that memory stays bounded.
const GROUP_BYTES: usize = 64 << 20;
/// And when it has this many rows, so that readers on several cores have something to share.
const GROUP_ROWS: usize = 1 << 18;
/// Rows are gathered up to this number before their columns are dealt out, which has its price.
const DEALT_ROWS: usize = 1 << 16;
/// And up to about this much memory.
const DEALT_BYTES: usize = 32 << 20;
/// Rows that are looked at to choose an encoding.
const SAMPLE_ROWS: usize = 4_096;

/// Writes batches of one schema as a Parquet file, compressed by Snappy as most writers do: numbers that differ
/// hardly become smaller by a slower codec, which would take longer than all else.
pub(super) struct ParquetRows {
    schema: SchemaRef,
    target: Target,
    /// Begun with the first rows, which tell how columns are best encoded.
    file: Option<ParquetFile>,
    n_groups: usize,
    columns: Columns,
    n_group_rows: usize,
    /// Rows that were not dealt out yet.
    waiting: Vec<RecordBatch>,
    n_waiting: usize,
    n_waiting_bytes: usize,
    n_threads: usize,
}

/// The columns of the row group that is being written.
enum Columns {
    /// Between row groups.
    None,
    Here(Vec<Column>),
    /// Rows are being encoded, while the next may be gathered.
    Busy(JoinHandle<Result<Vec<Column>>>),
}

struct ParquetFile {
    groups: GroupWriter,
    factory: ArrowRowGroupWriterFactory,
}

/// What a top-level column becomes: one leaf, or several if it is nested.
struct Column {
    number: usize,
    leaves: Vec<ArrowColumnWriter>,
}

impl ParquetRows {
    pub(super) fn new(target: Target, schema: SchemaRef) -> Self {
        let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            n_threads: n_cores.min(schema.fields().len()).max(1),
            schema,
            target,
            file: None,
            n_groups: 0,
            columns: Columns::None,
            n_group_rows: 0,
            waiting: Vec::new(),
            n_waiting: 0,
            n_waiting_bytes: 0,
        }
    }

    fn file(&mut self) -> Result<&mut ParquetFile> {
        let begun = match self.file.take() {
            Some(file) => file,
            None => ParquetFile::new(&self.target, &self.schema, self.waiting.first())?,
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
                self.end_group()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.deal()?;
        self.end_group()?;
        self.file()?;
        match self.file {
            Some(file) => file.groups.close(),
            None => Ok(()),
        }
    }

    /// Begins to encode the waiting rows.
    fn deal(&mut self) -> Result<()> {
        if self.n_waiting == 0 {
            return Ok(());
        }
        let mut columns = self.columns()?;
        if columns.iter().map(Column::bytes).sum::<usize>() >= GROUP_BYTES {
            self.columns = Columns::Here(columns);
            self.end_group()?;
            columns = self.columns()?;
        }
        let (schema, n_threads) = (self.schema.clone(), self.n_threads);
        let waiting = std::mem::take(&mut self.waiting);
        let encode = move || {
            in_parallel(n_threads, columns, |mut column| {
                for batch in &waiting {
                    column.write(&schema, batch.column(column.number))?;
                }
                Ok(column)
            })
        };
        let thread = std::thread::Builder::new().name("encode".to_owned());
        self.columns = Columns::Busy(thread.spawn(encode)?);
        self.n_group_rows += self.n_waiting;
        (self.n_waiting, self.n_waiting_bytes) = (0, 0);
        Ok(())
    }

    /// The columns, when nothing is encoded any more; new ones between row groups.
    fn columns(&mut self) -> Result<Vec<Column>> {
        match std::mem::replace(&mut self.columns, Columns::None) {
            Columns::None => self.new_columns(),
            Columns::Here(columns) => Ok(columns),
            Columns::Busy(thread) => thread.join().unwrap_or_else(|_| {
                let what = "the thread that encodes columns failed";
                Err(ParquetError::General(what.to_owned()))
            }),
        }
    }

    fn new_columns(&mut self) -> Result<Vec<Column>> {
        let n_groups = self.n_groups;
        let writers = self.file()?.factory.create_column_writers(n_groups)?;
        let mut leaves = writers.into_iter();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (number, field) in self.schema.fields().iter().enumerate() {
            let nothing = arrow_array::new_empty_array(field.data_type());
            let n_leaves = compute_leaves(field, &nothing)?.len();
            columns.push(Column {
                number,
                leaves: leaves.by_ref().take(n_leaves).collect(),
            });
        }
        Ok(columns)
    }

    fn end_group(&mut self) -> Result<()> {
        if self.n_group_rows == 0 {
            return Ok(());
        }
        let columns = self.columns()?;
        let chunks = in_parallel(self.n_threads, columns, |column| {
            let closed = column.leaves.into_iter().map(ArrowColumnWriter::close);
            closed.collect::<Result<Vec<ArrowColumnChunk>>>()
        })?;
        let chunks = chunks.into_iter().flatten().collect();
        self.file()?.groups.write(chunks)?;
        self.n_groups += 1;
        self.n_group_rows = 0;
        Ok(())
    }
}

impl ParquetFile {
    /// `first` are rows like those to come.
    fn new(target: &Target, schema: &SchemaRef, first: Option<&RecordBatch>) -> Result<Self> {
        let mut properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        for (number, field) in schema.fields().iter().enumerate() {
            if first.is_some_and(|first| is_diverse(first.column(number))) {
                let path = ColumnPath::from(vec![field.name().clone()]);
                properties = properties.set_column_dictionary_enabled(path, false);
            }
        }
        let properties = Some(properties.build());
        let writer = ArrowWriter::try_new(target.clone(), schema.clone(), properties)?;
        let (writer, factory) = writer.into_serialized_writer()?;
        let groups = GroupWriter::new(target.clone(), writer)?;
        Ok(Self { groups, factory })
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

/// Whether most values of a column of wide numbers differ. A dictionary of such a column costs much
/// time and saves no space.
fn is_diverse(column: &ArrayRef) -> bool {
    let is_wide = matches!(
        column.data_type(),
        DataType::Float64 | DataType::Int64 | DataType::UInt64 | DataType::Timestamp(_, _)
    );
    if !is_wide {
        return false;
    }
    let sample = column.slice(0, column.len().min(SAMPLE_ROWS)).to_data();
    let Some(values) = sample.buffers().first() else {
        return false;
    };
    let values = &values.typed_data::<u64>()[sample.offset()..sample.offset() + sample.len()];
    let different: HashSet<u64> = values.iter().copied().collect();
    different.len() >= 256 && different.len() * 2 > values.len()
}

impl Column {
    /// Bytes that are held, about.
    fn bytes(&self) -> usize {
        let leaves = self.leaves.iter();
        leaves
            .map(ArrowColumnWriter::get_estimated_total_bytes)
            .sum()
    }

    fn write(&mut self, schema: &SchemaRef, values: &ArrayRef) -> Result<()> {
        let leaves = compute_leaves(schema.field(self.number), values)?;
        for (writer, leaf) in self.leaves.iter_mut().zip(&leaves) {
            writer.write(leaf)?;
        }
        Ok(())
    }
}

/// Does some work for every item, each core taking the next one that is left. Results keep the order.
fn in_parallel<T: Send, R: Send>(
    n_threads: usize,
    items: Vec<T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let n_items = items.len();
    let left = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new((0..n_items).map(|_| None).collect::<Vec<_>>());
    let run = || {
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((at, item)) = next else { break };
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..n_threads {
            scope.spawn(run);
        }
        run();
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.into_iter().flatten().collect()
}
