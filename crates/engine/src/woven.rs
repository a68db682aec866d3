//! Columns of words, row by row.
//!
//! Rows that are gathered in another order lie far apart. Column by column each value would wait for memory of
//! its own; where a row's values lie side by side, a row does.

use arrow_array::{Array, ArrayRef, UInt32Array, UInt64Array, make_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use provender_core::Result;

use crate::error;
use crate::pages::Pages;

/// Rows that are gathered together: what they touch should fit the first cache.
const TOGETHER: usize = 128;

/// Columns whose nulls lie together.
const NULL_BITS: usize = u8::BITS as usize;

/// Columns of values of eight bytes, of rows some of which are there.
#[derive(Debug)]
pub(crate) struct Woven {
    types: Vec<DataType>,
    words: Pages<u64>,
    n_rows: usize,
    n_pushed: usize,
    nulls: NullBits,
}

/// Room for some rows, which can be woven on any thread.
pub(crate) struct Room<'a> {
    words: &'a mut [u64],
}

/// Of each eight columns of some rows, in a bit each, which values of a row are null; none where no value is.
pub(crate) type NullBits = Vec<Option<Vec<u8>>>;

/// Whether a column can be woven.
pub(crate) fn is_of_words(data_type: &DataType) -> bool {
    data_type.primitive_width() == Some(8)
}

impl Woven {
    /// Room for so many rows. Every column [`is_of_words`].
    pub(crate) fn new(types: Vec<DataType>, n_rows: usize) -> Self {
        Self {
            words: Pages::zeroed(n_rows * types.len()),
            n_rows,
            n_pushed: 0,
            nulls: vec![None; types.len().div_ceil(NULL_BITS)],
            types,
        }
    }

    /// Room for the next rows, in parts of so many rows. There must be as much.
    pub(crate) fn room(&mut self, parts: impl Iterator<Item = usize>) -> Vec<Room<'_>> {
        let width = self.types.len();
        let mut left = &mut self.words[self.n_pushed * width..];
        let parts = parts.map(|n_rows| {
            let words;
            (words, left) = std::mem::take(&mut left).split_at_mut(n_rows * width);
            Room { words }
        });
        parts.collect()
    }

    /// Takes in the next rows, which were woven where they lie.
    pub(crate) fn add(&mut self, n_rows: usize, nulls: NullBits) {
        let first = self.n_pushed;
        for (all, own) in self.nulls.iter_mut().zip(nulls) {
            if let Some(own) = own {
                let all = all.get_or_insert_with(|| vec![0; self.n_rows]);
                all[first..first + n_rows].copy_from_slice(&own);
            }
        }
        self.n_pushed += n_rows;
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.types.len() * size_of::<u64>()
    }

    /// Some columns' values of rows, null where the row is.
    pub(crate) fn gather(&self, columns: &[usize], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
        let width = self.types.len();
        let words: &[u64] = &self.words;
        let mut gathered: Vec<Vec<u64>> = columns
            .iter()
            .map(|_| Vec::with_capacity(rows.len()))
            .collect();
        for rows in rows.values().chunks(TOGETHER) {
            for (values, &column) in gathered.iter_mut().zip(columns) {
                values.extend(rows.iter().map(|&row| words[row as usize * width + column]));
            }
        }
        let arrays = gathered.into_iter().zip(columns).map(|(values, &column)| {
            let nulls = match &self.nulls[column / NULL_BITS] {
                None => rows.nulls().cloned(),
                Some(are_null) => {
                    let of_rows = rows.values();
                    let own = BooleanBuffer::collect_bool(rows.len(), |at| {
                        let are_null = are_null[of_rows[at] as usize];
                        are_null & (1 << (column % NULL_BITS)) == 0
                    });
                    NullBuffer::union(Some(&NullBuffer::new(own)), rows.nulls())
                }
            };
            let values = UInt64Array::new(values.into(), nulls).into_data();
            let data = values.into_builder().data_type(self.types[column].clone());
            data.build().map(make_array).map_err(error::arrow)
        });
        arrays.collect()
    }
}

impl Room<'_> {
    /// Writes columns into the words of their rows, of which there are as many as there is room for.
    pub(crate) fn weave(self, batch: &[&ArrayRef]) -> NullBits {
        let data: Vec<_> = batch.iter().map(|column| column.to_data()).collect();
        let columns: Vec<&[u64]> = data
            .iter()
            .map(|data| &data.buffer::<u64>(0)[..data.len()])
            .collect();
        let width = columns.len();
        for (number, rows) in self.words.chunks_mut((TOGETHER * width).max(1)).enumerate() {
            let first = number * TOGETHER;
            for (at, column) in columns.iter().enumerate() {
                let values = &column[first..first + rows.len() / width];
                for (row, value) in rows.chunks_mut(width).zip(values) {
                    row[at] = *value;
                }
            }
        }
        let together = batch.chunks(NULL_BITS).map(|columns| {
            let mut bits = None;
            for (at, column) in columns.iter().enumerate() {
                if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
                    let bits = bits.get_or_insert_with(|| vec![0; column.len()]);
                    for (bits, is_valid) in bits.iter_mut().zip(nulls) {
                        *bits |= u8::from(!is_valid) << at;
                    }
                }
            }
            bits
        });
        together.collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array};

    use super::*;

    #[test]
    fn rows_come_back_as_they_were_in_any_order() {
        let n = 100_000_i64;
        let types = vec![DataType::Int64, DataType::Float64, DataType::Int64];
        let mut woven = Woven::new(types, n as usize);
        let rare = |n: i64| (n % 9_973 != 5).then_some(n);
        for (start, end) in [(0, 7), (7, 7), (7, 60_000), (60_000, n)] {
            // Of a slice of a larger array, as batches often are.
            let ints = Int64Array::from_iter_values(-1..n)
                .slice(start as usize + 1, (end - start) as usize);
            let floats = Float64Array::from_iter_values((start..end).map(|n| n as f64 / 3.0));
            let some: Int64Array = (start..end).map(rare).collect();
            let (ints, floats): (ArrayRef, ArrayRef) = (Arc::new(ints), Arc::new(floats));
            let some: ArrayRef = Arc::new(some);
            let n_rows = ints.len();
            let half = n_rows / 2;
            let room = woven.room([half, n_rows - half].into_iter());
            let halves = room.into_iter().zip([(0, half), (half, n_rows - half)]);
            let nulls: Vec<NullBits> = halves
                .map(|(room, (from, n))| {
                    let columns = [&ints, &floats, &some].map(|column| column.slice(from, n));
                    room.weave(&columns.iter().collect::<Vec<_>>())
                })
                .collect();
            for (n, nulls) in [half, n_rows - half].into_iter().zip(nulls) {
                woven.add(n, nulls);
            }
        }
        let rows: UInt32Array = (0..5_000_u32)
            .map(|row| (row % 7 != 0).then_some(row * 7_919 % n as u32))
            .collect();
        let gathered = woven.gather(&[1, 0, 2, 0], &rows).unwrap();
        let floats: Float64Array = rows.iter().map(|row| Some(f64::from(row?) / 3.0)).collect();
        let ints: Int64Array = rows.iter().map(|row| Some(i64::from(row?))).collect();
        let some: Int64Array = rows.iter().map(|row| rare(i64::from(row?))).collect();
        assert!(some.null_count() > ints.null_count());
        let (ints, some): (ArrayRef, ArrayRef) = (Arc::new(ints), Arc::new(some));
        assert_eq!(&gathered[0], &(Arc::new(floats) as ArrayRef));
        assert_eq!(gathered[1..], [ints.clone(), some, ints]);
    }
}
