//! Single values of a row group, picked out of a column's pages: what lies between them is not decoded.
//!
//! Knows columns of plain numbers, in plain pages and in pages of indices into a dictionary, which are nearly
//! all that are written. Of everything else it says so, and the general reader takes it.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, make_array};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use parquet::basic::{Encoding, Type as PhysicalType};
use parquet::column::page::Page;
use parquet::errors::Result;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::PageLocation;

use super::bytes::Parts;
use super::pages::{Memory, of_column};
use super::runs::{Run, Runs, damaged};

/// The place of a null among a page's values.
const NULL: u32 = u32::MAX;

/// A column of a row group.
pub(super) struct Chunk<'a> {
    pub(super) column: &'a ColumnChunkMetaData,
    /// Where its pages lie, if that is known.
    pub(super) pages: Option<&'a [PageLocation]>,
    /// Rows of the row group.
    pub(super) n_rows: usize,
    /// As the file says it.
    pub(super) data_type: &'a DataType,
}

impl Chunk<'_> {
    /// Whether values of the type lie in pages as they lie in memory, and a row has one of them.
    pub(super) fn is_plain(&self) -> bool {
        use DataType as D;
        let column = self.column.column_descr();
        let is_same = matches!(
            (column.physical_type(), self.data_type),
            (PhysicalType::INT32, D::Int32 | D::Date32)
                | (PhysicalType::INT64, D::Int64)
                | (PhysicalType::INT64, D::Timestamp(TimeUnit::Microsecond, _))
                | (PhysicalType::FLOAT, D::Float32)
                | (PhysicalType::DOUBLE, D::Float64)
        );
        is_same && column.max_rep_level() == 0 && column.max_def_level() <= 1
    }

    /// The values of ascending rows, of a column that [`Self::is_plain`]; `None` for pages of another encoding.
    ///
    /// # Errors
    /// For pages that are not there or cannot be read.
    pub(super) fn pick(
        &self,
        memory: &Arc<Memory>,
        parts: &Arc<Parts>,
        rows: &[usize],
    ) -> Result<Option<ArrayRef>> {
        match self.data_type.primitive_width() {
            Some(4) => self.pick_as::<UInt32Type>(memory, parts, rows),
            _ => self.pick_as::<UInt64Type>(memory, parts, rows),
        }
    }

    fn pick_as<T: Word>(
        &self,
        memory: &Arc<Memory>,
        parts: &Arc<Parts>,
        rows: &[usize],
    ) -> Result<Option<ArrayRef>> {
        let mut pages = of_column(memory, parts, self.column, self.n_rows, self.pages)?;
        let mut picked = Picked::<T>::of(rows.len());
        let mut dictionary = Bytes::new();
        let (mut first, mut next) = (0, 0);
        while next < rows.len() {
            let about = pages.peek_next_page()?.ok_or_else(damaged)?;
            if about.is_dict {
                let page = pages.get_next_page()?.ok_or_else(damaged)?;
                dictionary = page.buffer().clone();
                continue;
            }
            if let Some(n_rows) = about.num_rows.or(about.num_levels)
                && first + n_rows <= rows[next]
            {
                pages.skip_next_page()?;
                first += n_rows;
                continue;
            }
            let page = pages.get_next_page()?.ok_or_else(damaged)?;
            let end = first + page.num_values() as usize;
            let last = next + rows[next..].partition_point(|&row| row < end);
            let wanted = rows[next..last].iter().map(|row| row - first);
            let Some(values) = self.values_of(&page, wanted)? else {
                return Ok(None);
            };
            match page.encoding() {
                Encoding::PLAIN => picked.of_plain(&values)?,
                _ => picked.of_indices(&values, &dictionary)?,
            }
            (first, next) = (end, last);
        }
        picked.finish(self.data_type).map(Some)
    }

    /// A page's values, and where among them those of its rows lie; `None` for another encoding.
    fn values_of(&self, page: &Page, rows: impl Iterator<Item = usize>) -> Result<Option<Values>> {
        let is_known = matches!(
            page.encoding(),
            Encoding::PLAIN | Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY
        );
        if !is_known {
            return Ok(None);
        }
        let has_levels = self.column.column_descr().max_def_level() > 0;
        let buffer = page.buffer();
        let (levels, start) = match page {
            Page::DataPage { .. } if !has_levels => (0..0, 0),
            Page::DataPage {
                def_level_encoding, ..
            } => {
                if *def_level_encoding != Encoding::RLE {
                    return Ok(None);
                }
                let n_bytes = buffer.first_chunk().ok_or_else(damaged)?;
                let end = (u32::from_le_bytes(*n_bytes) as usize).saturating_add(4);
                (4..end, end)
            }
            Page::DataPageV2 {
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let start = *rep_levels_byte_len as usize;
                let end = start.saturating_add(*def_levels_byte_len as usize);
                (if has_levels { start..end } else { 0..0 }, end)
            }
            Page::DictionaryPage { .. } => return Err(damaged()),
        };
        if start > buffer.len() {
            return Err(damaged());
        }
        let places = match has_levels {
            false => rows.map(|row| row as u32).collect(),
            true => places(&buffer[levels], page.num_values() as usize, rows)?,
        };
        Ok(Some(Values {
            bytes: buffer.slice(start..),
            places,
        }))
    }
}

/// A page's values, without nulls, and which of them are wanted, ascending.
struct Values {
    bytes: Bytes,
    places: Vec<u32>,
}

/// Where the values of ascending rows lie among those that are not null. `levels` says of each of `n` rows
/// whether it has a value.
fn places(levels: &[u8], n: usize, rows: impl Iterator<Item = usize>) -> Result<Vec<u32>> {
    let mut rows = rows.peekable();
    let mut places = Vec::with_capacity(rows.size_hint().0);
    let (mut first, mut n_values) = (0, 0);
    for run in Runs::new(levels, 1, n)? {
        match run? {
            Run::Same { n, value } => {
                while let Some(row) = rows.next_if(|row| *row < first + n) {
                    let place = n_values + row - first;
                    places.push(if value == 1 { place as u32 } else { NULL });
                }
                n_values += if value == 1 { n } else { 0 };
                first += n;
            }
            Run::Packed { n, packed } => {
                let mut counted = 0;
                while let Some(row) = rows.next_if(|row| *row < first + n) {
                    let at = row - first;
                    n_values += packed.n_ones(counted, at);
                    counted = at;
                    let is_value = packed.get(at)? == 1;
                    places.push(if is_value { n_values as u32 } else { NULL });
                }
                n_values += packed.n_ones(counted, n);
                first += n;
            }
        }
    }
    match rows.next() {
        Some(_) => Err(damaged()),
        None => Ok(places),
    }
}

/// A type of as many bits as values have.
trait Word: ArrowPrimitiveType {
    fn read(bytes: &[u8], at: usize) -> Option<Self::Native>;
}

impl Word for UInt32Type {
    #[inline]
    fn read(bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at * 4..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }
}

impl Word for UInt64Type {
    #[inline]
    fn read(bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = bytes.get(at * 8..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }
}

/// What was picked.
struct Picked<T: Word> {
    values: Vec<T::Native>,
    /// Once there was a null.
    is_valid: Option<BooleanBufferBuilder>,
}

impl<T: Word> Picked<T> {
    fn of(n_rows: usize) -> Self {
        Self {
            values: Vec::with_capacity(n_rows),
            is_valid: None,
        }
    }

    fn push(&mut self, value: T::Native) {
        self.values.push(value);
        if let Some(is_valid) = &mut self.is_valid {
            is_valid.append(true);
        }
    }

    fn push_null(&mut self) {
        let n_before = self.values.len();
        let capacity = self.values.capacity();
        let is_valid = self.is_valid.get_or_insert_with(|| {
            let mut is_valid = BooleanBufferBuilder::new(capacity);
            is_valid.append_n(n_before, true);
            is_valid
        });
        is_valid.append(false);
        self.values.push(T::Native::default());
    }

    fn of_plain(&mut self, page: &Values) -> Result<()> {
        for &place in &page.places {
            if place == NULL {
                self.push_null();
            } else {
                self.push(T::read(&page.bytes, place as usize).ok_or_else(damaged)?);
            }
        }
        Ok(())
    }

    fn of_indices(&mut self, page: &Values, dictionary: &[u8]) -> Result<()> {
        let mut places = page.places.iter().copied().peekable();
        let value = |index: u32| T::read(dictionary, index as usize).ok_or_else(damaged);
        while places.next_if_eq(&NULL).is_some() {
            self.push_null();
        }
        if places.peek().is_none() {
            return Ok(());
        }
        let (&width, indices) = page.bytes.split_first().ok_or_else(damaged)?;
        let mut first = 0_usize;
        for run in Runs::new(indices, width, usize::MAX)? {
            let (n, run) = match run? {
                Run::Same { n, value } => (n, Err(value)),
                Run::Packed { n, packed } => (n, Ok(packed)),
            };
            let end = first.saturating_add(n);
            while let Some(place) =
                places.next_if(|place| *place == NULL || (*place as usize) < end)
            {
                match (place, &run) {
                    (NULL, _) => self.push_null(),
                    (_, Err(index)) => self.push(value(*index)?),
                    (place, Ok(packed)) => self.push(value(packed.get(place as usize - first)?)?),
                }
            }
            if places.peek().is_none() {
                return Ok(());
            }
            first = end;
        }
        Err(damaged())
    }

    fn finish(self, data_type: &DataType) -> Result<ArrayRef> {
        let nulls = self
            .is_valid
            .map(|mut is_valid| NullBuffer::new(is_valid.finish()));
        let words = PrimitiveArray::<T>::try_new(self.values.into(), nulls)?;
        let data = words.into_data().into_builder();
        Ok(make_array(data.data_type(data_type.clone()).build()?))
    }
}

#[cfg(test)]
mod tests;
