//! One Parquet file: its footer, what of it is read, and how a row group becomes batches.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array};
use arrow_schema::{DataType, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelectionPolicy,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use provender_core::{Error, Result};

use super::bytes::{Handle, Origin, Parts};
use super::pages::{GroupPages, Memory, locations};
use super::pick::Chunk;
use super::{Hints, prune, unreadable};
use crate::convert::convert;

/// The end of a file that is read first, in the hope that the footer and the page index lie in it.
const TAIL_BYTES: u64 = 1 << 16;

/// A file that is known by its place and size alone.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) size: u64,
}

/// A file whose footer was read.
#[derive(Debug)]
pub(super) struct DataFile {
    pub(super) name: String,
    handle: Handle,
    size: u64,
    is_delta: bool,
    schema: SchemaRef,
    /// The footer, unless it is read again when rows are.
    held: Option<ArrowReaderMetadata>,
    /// The row groups that are read.
    pub(super) groups: Vec<Group>,
    /// Rows of the whole file.
    pub(super) n_rows: u64,
}

/// A row group, and what of it may lie in the ranges.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) number: usize,
    /// Its first row in the file.
    pub(super) first_row: u64,
    pub(super) n_rows: usize,
    /// Rows that are read; `None` is all of them.
    pub(super) selected: Option<Vec<Range<usize>>>,
    /// The earliest time that a row may have, if the file says it.
    pub(super) earliest_us: Option<i64>,
}

/// Which rows of a row group are read.
pub(super) enum Wanted<'a> {
    All,
    /// Ascending ranges.
    Ranges(&'a [Range<usize>]),
    /// Ascending rows.
    Rows(&'a [usize]),
}

impl Listed {
    /// Reads the footer, and the page index if there is one.
    ///
    /// # Errors
    /// `P504` for a file that is not Parquet or cannot be read.
    pub(super) async fn open(self, is_delta: bool, hints: &Hints) -> Result<Option<DataFile>> {
        let Self { name, origin, size } = self;
        let handle = origin.open().map_err(|error| unreadable(&name, error))?;
        let metadata = read_footer(&handle, size, &name, is_delta).await?;
        let is_known = metadata
            .parquet_schema()
            .columns()
            .iter()
            .all(|column| column.physical_type() != PhysicalType::INT96);
        if !is_known {
            return Ok(None);
        }
        let mut groups = Vec::new();
        let mut first_row = 0;
        for (number, group) in metadata.metadata().row_groups().iter().enumerate() {
            let n_rows = usize::try_from(group.num_rows()).unwrap_or_default();
            if let Some(selected) = prune::rows_inside(&metadata, number, n_rows, hints) {
                groups.push(Group {
                    number,
                    first_row,
                    n_rows,
                    selected,
                    earliest_us: prune::earliest(&metadata, number, hints),
                });
            }
            first_row += n_rows as u64;
        }
        let mut file = DataFile {
            name,
            handle,
            size,
            is_delta,
            schema: metadata.schema().clone(),
            held: None,
            groups,
            n_rows: first_row,
        };
        file.filter_by_keys(&metadata, hints).await?;
        file.held = Some(metadata);
        Ok(Some(file))
    }
}

/// A file's footer, and what follows from it for reading.
async fn read_footer(
    handle: &Handle,
    size: u64,
    name: &str,
    is_delta: bool,
) -> Result<ArrowReaderMetadata> {
    // Delta tables say themselves what their columns are.
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(is_delta)
        .with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = footer(handle, size, name).await?;
    ArrowReaderMetadata::try_new(Arc::new(metadata), options)
        .map_err(|error| unreadable(name, error))
}

/// Reads the footer from the end of a file, and more of it if it is long.
async fn footer(
    handle: &Handle,
    size: u64,
    name: &str,
) -> Result<parquet::file::metadata::ParquetMetaData> {
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    let mut tail_bytes = TAIL_BYTES.min(size);
    loop {
        let start = size - tail_bytes;
        let parts = handle
            .read(size, std::iter::once(start..size).collect())
            .await
            .map_err(|error| unreadable(name, error))?;
        let tail =
            parquet::file::reader::ChunkReader::get_bytes(&parts, start, tail_bytes as usize)
                .map_err(|error| unreadable(name, error))?;
        match reader.try_parse_sized(&tail, size) {
            Ok(()) => return reader.finish().map_err(|error| unreadable(name, error)),
            Err(parquet::errors::ParquetError::NeedMoreData(needed))
                if needed as u64 > tail_bytes && needed as u64 <= size =>
            {
                tail_bytes = needed as u64;
            }
            Err(error) => return Err(unreadable(name, error)),
        }
    }
}

impl DataFile {
    /// The file's own columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Has the columns of another file in common, if they are the same.
    pub(super) fn share_schema(&mut self, other: &Self) {
        if self.schema == other.schema {
            self.schema = other.schema.clone();
        }
    }

    /// Bytes of the footer, as long as it is held.
    pub(super) fn held_bytes(&self) -> usize {
        let held = self.held.as_ref();
        held.map_or(0, |metadata| metadata.metadata().memory_size())
    }

    /// Holds neither the footer nor the file any longer.
    pub(super) fn let_go(&mut self) {
        self.held = None;
        self.handle = self.handle.clone().by_name();
    }

    async fn metadata(&self) -> Result<ArrowReaderMetadata> {
        match &self.held {
            Some(metadata) => Ok(metadata.clone()),
            None => read_footer(&self.handle, self.size, &self.name, self.is_delta).await,
        }
    }

    /// Leaves row groups out whose Bloom filters know none of the keys.
    async fn filter_by_keys(
        &mut self,
        metadata: &ArrowReaderMetadata,
        hints: &Hints,
    ) -> Result<()> {
        for keys in hints.keys.iter().filter(|keys| keys.are_few()) {
            let Some(leaf) = keys.leaf(metadata) else {
                continue;
            };
            let mut kept = Vec::with_capacity(self.groups.len());
            for group in std::mem::take(&mut self.groups) {
                let column = metadata.metadata().row_group(group.number).column(leaf);
                let place = column
                    .bloom_filter_offset()
                    .zip(column.bloom_filter_length());
                let range = place.and_then(|(offset, length)| {
                    let start = u64::try_from(offset).ok()?;
                    let end = start + u64::try_from(length).ok()?;
                    (end <= self.size).then_some(start..end)
                });
                let may_hold = match range {
                    None => true,
                    Some(range) => {
                        let failed = |error| unreadable(&self.name, error);
                        let parts = self.handle.read(self.size, vec![range]).await;
                        let parts = parts.map_err(|error| unreadable(&self.name, error))?;
                        let filter = ParquetRecordBatchReaderBuilder::new_with_metadata(
                            parts,
                            metadata.clone(),
                        )
                        .get_row_group_column_bloom_filter(group.number, leaf)
                        .map_err(failed)?;
                        filter.is_none_or(|filter| keys.may_be_in(&filter, column.column_type()))
                    }
                };
                if may_hold {
                    kept.push(group);
                }
            }
            self.groups = kept;
        }
        Ok(())
    }

    /// Whether each column can be found by its exact name, or is plainly absent.
    pub(super) fn can_answer(&self, schema: &Schema) -> bool {
        schema.fields().iter().all(|field| {
            let own = self.schema().fields().iter();
            let lower = field.name().to_lowercase();
            let alike: Vec<_> = own
                .filter(|own| own.name().to_lowercase() == lower)
                .collect();
            match alike.as_slice() {
                [] => true,
                [one] => one.name() == field.name(),
                _ => false,
            }
        })
    }

    /// Reads columns of a row group; see [`GroupBatches`].
    ///
    /// # Errors
    /// `P504` if the file cannot be read.
    pub(super) async fn read(
        &self,
        group: &Group,
        schema: &SchemaRef,
        wanted: Wanted<'_>,
        batch_rows: usize,
        memory: &Arc<Memory>,
    ) -> Result<GroupBatches> {
        let roots: Vec<usize> = schema
            .fields()
            .iter()
            .filter_map(|field| self.schema().index_of(field.name()).ok())
            .collect();
        let metadata = self.metadata().await?;
        let of_roots = |roots: &[usize]| {
            ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied())
        };
        let selection = wanted.selection(group.n_rows);
        let failed = |error| unreadable(&self.name, error);
        let read = async |roots: &[usize]| {
            let (ranges, is_sparse) =
                byte_ranges(&metadata, group, &of_roots(roots), selection.as_ref());
            let parts = self.handle.read(self.size, ranges).await;
            let parts = parts.map_err(|error| unreadable(&self.name, error))?;
            Ok::<_, Error>((parts, is_sparse))
        };
        let mut batches = GroupBatches {
            name: self.name.clone(),
            reader: None,
            schema: schema.clone(),
            picked: Picked::default(),
        };
        let mut unpicked = roots;
        let mut held = None;
        if let Wanted::Rows(rows) = wanted
            && selection.is_some()
        {
            batches.picked.left = 0..rows.len();
            let pages = match self.handle.by_piece(self.size, Vec::new()) {
                Some(pages) => pages,
                None => held.insert(read(&unpicked).await?).0.clone(),
            };
            let pages = Arc::new(pages);
            let mut left = Vec::new();
            for root in unpicked {
                match pick(&metadata, group, root, memory, &pages, rows).map_err(failed)? {
                    Some(values) => {
                        let name = self.schema().field(root).name().clone();
                        batches.picked.columns.push((name, values));
                    }
                    None => left.push(root),
                }
            }
            unpicked = left;
            if unpicked.is_empty() {
                return Ok(batches);
            }
        }
        let by_piece = match selection {
            None => {
                let (columns, _) = byte_ranges(&metadata, group, &of_roots(&unpicked), None);
                self.handle.by_piece(self.size, columns)
            }
            Some(_) => None,
        };
        let (parts, is_sparse) = match (held, by_piece) {
            (Some(held), _) => held,
            (None, Some(pieces)) => (pieces, false),
            (None, None) => read(&unpicked).await?,
        };
        let Some(selection) = selection else {
            let fields = Some(metadata.schema().fields());
            let mask = of_roots(&unpicked);
            let levels = parquet_to_arrow_field_levels(metadata.parquet_schema(), mask, fields);
            let pages = GroupPages {
                metadata: metadata.metadata(),
                group: group.number,
                parts: Arc::new(parts),
                memory: memory.clone(),
            };
            let reader = levels.and_then(|levels| {
                ParquetRecordBatchReader::try_new_with_row_groups(&levels, &pages, batch_rows, None)
            });
            batches.reader = Some(reader.map_err(failed)?);
            return Ok(batches);
        };
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(parts, metadata.clone())
                .with_row_groups(vec![group.number])
                .with_projection(of_roots(&unpicked))
                .with_batch_size(batch_rows)
                .with_row_selection(selection);
        if is_sparse {
            // Pages between selected rows are not there.
            builder = builder.with_row_selection_policy(RowSelectionPolicy::Selectors);
        }
        batches.reader = Some(builder.build().map_err(failed)?);
        Ok(batches)
    }
}

/// Some rows' values of a column, if they can be picked out.
fn pick(
    metadata: &ArrowReaderMetadata,
    group: &Group,
    root: usize,
    memory: &Arc<Memory>,
    parts: &Arc<Parts>,
    rows: &[usize],
) -> parquet::errors::Result<Option<ArrayRef>> {
    let columns = metadata.parquet_schema();
    let mut leaves =
        (0..columns.num_columns()).filter(|leaf| columns.get_column_root_idx(*leaf) == root);
    let (Some(leaf), None) = (leaves.next(), leaves.next()) else {
        return Ok(None);
    };
    let chunk = Chunk {
        column: metadata.metadata().row_group(group.number).column(leaf),
        pages: locations(metadata.metadata(), group.number, leaf),
        n_rows: group.n_rows,
        data_type: metadata.schema().field(root).data_type(),
    };
    match chunk.is_plain() {
        true => chunk.pick(memory, parts, rows),
        false => Ok(None),
    }
}

/// The bytes that selected rows of a row group's columns lie in, and whether that leaves some of
/// these columns' pages out.
fn byte_ranges(
    metadata: &ArrowReaderMetadata,
    group: &Group,
    mask: &ProjectionMask,
    selection: Option<&RowSelection>,
) -> (Vec<Range<u64>>, bool) {
    let row_group = metadata.metadata().row_group(group.number);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut is_sparse = false;
    for leaf in 0..row_group.num_columns() {
        if !mask.leaf_included(leaf) {
            continue;
        }
        let (start, length) = row_group.column(leaf).byte_range();
        let whole = start..start + length;
        let locations = locations(metadata.metadata(), group.number, leaf);
        match (locations, selection) {
            (Some(pages), Some(selection)) => {
                let needed = selection.scan_ranges(pages);
                is_sparse |= needed.len() < pages.len();
                // The dictionary lies in front of the first page.
                let first = u64::try_from(pages[0].offset).unwrap_or(start);
                if first > start {
                    ranges.push(start..first);
                }
                ranges.extend(needed);
            }
            _ => ranges.push(whole),
        }
    }
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup();
    let mut apart: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start <= last.end && is_sparse => {
                last.end = last.end.max(range.end);
            }
            _ => apart.push(range),
        }
    }
    (apart, is_sparse)
}

impl Wanted<'_> {
    fn selection(&self, n_rows: usize) -> Option<RowSelection> {
        match self {
            Self::All => None,
            Self::Ranges(ranges) => Some(RowSelection::from_consecutive_ranges(
                ranges.iter().cloned(),
                n_rows,
            )),
            Self::Rows(rows) if rows.len() == n_rows => None,
            Self::Rows(rows) => Some(RowSelection::from_consecutive_ranges(
                rows.iter().map(|&row| row..row + 1),
                n_rows,
            )),
        }
    }
}

/// The batches of a row group: columns in the asked order and types, null where the file lacks one.
pub(super) struct GroupBatches {
    name: String,
    /// Of the columns that were not picked; none if all were.
    reader: Option<ParquetRecordBatchReader>,
    schema: SchemaRef,
    picked: Picked,
}

/// Columns of the wanted rows, by the file's names, and which rows were not answered yet.
#[derive(Default)]
struct Picked {
    columns: Vec<(String, ArrayRef)>,
    left: Range<usize>,
}

impl Picked {
    fn take(&mut self, n_rows: usize) -> Range<usize> {
        let start = self.left.start;
        self.left.start = self.left.end.min(start + n_rows);
        start..self.left.start
    }

    fn column(&self, name: &str, rows: &Range<usize>) -> Option<ArrayRef> {
        let found = self.columns.iter().find(|(own, _)| own == name);
        found.map(|(_, values)| values.slice(rows.start, rows.len()))
    }
}

impl GroupBatches {
    #[cfg(test)]
    pub(super) fn n_picked(&self) -> usize {
        self.picked.columns.len()
    }

    /// The next batch, under `schema` if that has a column more than was asked for: there go the
    /// numbers of its rows.
    pub(super) fn next(&mut self, numbers: Option<&mut Numbers>) -> Option<Result<RecordBatch>> {
        let read = match &mut self.reader {
            Some(reader) => Some(reader.next()?),
            None if self.picked.left.is_empty() => return None,
            None => None,
        };
        Some(self.answered(read, numbers))
    }

    fn answered(
        &mut self,
        read: Option<Result<RecordBatch, arrow_schema::ArrowError>>,
        numbers: Option<&mut Numbers>,
    ) -> Result<RecordBatch> {
        let read = read.transpose();
        let read = read.map_err(|error| unreadable(&self.name, error))?;
        let n_rows = match &read {
            Some(read) => read.num_rows(),
            None => self.picked.left.len(),
        };
        let rows = self.picked.take(n_rows);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len() + 1);
        for field in self.schema.fields() {
            let name = field.name();
            let read = read.as_ref().and_then(|read| read.column_by_name(name));
            let column = read.cloned().or_else(|| self.picked.column(name, &rows));
            columns.push(match column {
                Some(column) => convert(name, &column, field.data_type())?,
                None => new_null_array(field.data_type(), n_rows),
            });
        }
        let schema = match numbers {
            None => self.schema.clone(),
            Some(numbers) => {
                columns.push(Arc::new(numbers.take(n_rows)));
                numbers.schema.clone()
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|error| unreadable(&self.name, error))
    }
}

/// The numbers of a row group's rows that are read.
pub(super) struct Numbers {
    /// The schema of batches with numbers.
    schema: SchemaRef,
    /// Ranges that are left, in order.
    left: std::vec::IntoIter<Range<u64>>,
    current: Range<u64>,
}

impl Numbers {
    /// `first` is the number of the row group's first row.
    pub(super) fn new(schema: SchemaRef, group: &Group, first: u64) -> Self {
        let all = 0..group.n_rows;
        let ranges: Vec<Range<u64>> = group
            .selected
            .as_deref()
            .unwrap_or(std::slice::from_ref(&all))
            .iter()
            .map(|range| first + range.start as u64..first + range.end as u64)
            .collect();
        Self {
            schema,
            left: ranges.into_iter(),
            current: 0..0,
        }
    }

    fn take(&mut self, n_rows: usize) -> UInt64Array {
        let mut numbers = Vec::with_capacity(n_rows);
        while numbers.len() < n_rows {
            if self.current.is_empty() {
                match self.left.next() {
                    Some(range) => self.current = range,
                    None => break,
                }
            }
            let n = (n_rows - numbers.len()).min((self.current.end - self.current.start) as usize);
            numbers.extend(self.current.start..self.current.start + n as u64);
            self.current.start += n as u64;
        }
        numbers.into()
    }
}

/// The type of the column of numbers.
pub(super) const NUMBER_TYPE: DataType = DataType::UInt64;
