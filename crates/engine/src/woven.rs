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
    /// Of each eight columns, in a bit each, which values of a row are null; none where no value is.
    nulls: Vec<Option<Vec<u8>>>,
}

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

    /// Weaves the next rows, for which there is room.
    pub(crate) fn push(&mut self, columns: &[&ArrayRef]) {
        let n_rows = columns.first().map_or(0, |column| column.len());
        let (first, width) = (self.n_pushed, self.types.len());
        weave(
            columns,
            &mut self.words[first * width..(first + n_rows) * width],
        );
        for (at, column) in columns.iter().enumerate() {
            if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
                let are_null = &mut self.nulls[at / NULL_BITS];
                let are_null = are_null.get_or_insert_with(|| vec![0; self.n_rows]);
                for (are_null, is_valid) in are_null[first..].iter_mut().zip(nulls) {
                    *are_null |= u8::from(!is_valid) << (at % NULL_BITS);
                }
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

/// Writes a batch's columns into its rows' words.
fn weave(batch: &[&ArrayRef], words: &mut [u64]) {
    let data: Vec<_> = batch.iter().map(|column| column.to_data()).collect();
    let columns: Vec<&[u64]> = data
        .iter()
        .map(|data| &data.buffer::<u64>(0)[..data.len()])
        .collect();
    let width = columns.len();
    for (number, rows) in words.chunks_mut((TOGETHER * width).max(1)).enumerate() {
        let first = number * TOGETHER;
        for (at, column) in columns.iter().enumerate() {
            let values = &column[first..first + rows.len() / width];
            for (row, value) in rows.chunks_mut(width).zip(values) {
                row[at] = *value;
            }
        }
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
            woven.push(&[&ints, &floats, &(Arc::new(some) as ArrayRef)]);
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
