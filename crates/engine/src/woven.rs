//! Columns of words, row by row.
//!
//! Rows that are gathered in another order lie far apart. Column by column each value would wait for memory of
//! its own; where a row's values lie side by side, a row does.

use arrow_array::{Array, ArrayRef, UInt32Array, UInt64Array, make_array};
use arrow_schema::DataType;
use provender_core::Result;

use crate::{error, parallel};

/// Rows that are gathered together: what they touch should fit the first cache.
const TOGETHER: usize = 128;

/// Columns of values of eight bytes, none of them null.
#[derive(Debug)]
pub(crate) struct Woven {
    types: Vec<DataType>,
    words: Vec<u64>,
}

/// Whether a column can be woven.
pub(crate) fn is_of_words<'a>(
    data_type: &DataType,
    mut parts: impl Iterator<Item = &'a ArrayRef>,
) -> bool {
    data_type.primitive_width() == Some(8) && parts.all(|part| part.null_count() == 0)
}

impl Woven {
    /// Weaves rows that lie in batches, each of which is let go as soon as it is done. Every column [`is_of_words`].
    pub(crate) fn new(types: Vec<DataType>, batches: Vec<Vec<ArrayRef>>, n_threads: usize) -> Self {
        let width = types.len();
        let n_rows = |batch: &Vec<ArrayRef>| batch.first().map_or(0, |column| column.len());
        let n_all: usize = batches.iter().map(n_rows).sum();
        let mut words = vec![0; n_all * width];
        let n_parts = parallel::n_parts(n_all, n_threads).min(batches.len().max(1));
        let mut batches = batches.into_iter();
        let mut rest = words.as_mut_slice();
        let mut parts = Vec::with_capacity(n_parts);
        for range in parallel::ranges(batches.len(), n_parts) {
            let batches: Vec<Vec<ArrayRef>> = batches.by_ref().take(range.len()).collect();
            let n_words = batches.iter().map(n_rows).sum::<usize>() * width;
            let (own, others) = std::mem::take(&mut rest).split_at_mut(n_words);
            rest = others;
            parts.push((batches, own));
        }
        parallel::each(
            parts,
            |(batches, words): (Vec<Vec<ArrayRef>>, &mut [u64])| {
                let mut rest = words;
                for batch in batches {
                    let n_words = n_rows(&batch) * width;
                    let (own, others) = std::mem::take(&mut rest).split_at_mut(n_words);
                    rest = others;
                    weave(&batch, own);
                }
            },
        );
        Self { types, words }
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.types.len() * size_of::<u64>()
    }

    /// Some columns' values of rows, null where the row is.
    pub(crate) fn gather(&self, columns: &[usize], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
        let width = self.types.len();
        let mut gathered: Vec<Vec<u64>> = columns
            .iter()
            .map(|_| Vec::with_capacity(rows.len()))
            .collect();
        for rows in rows.values().chunks(TOGETHER) {
            for (values, &column) in gathered.iter_mut().zip(columns) {
                values.extend(
                    rows.iter()
                        .map(|&row| self.words[row as usize * width + column]),
                );
            }
        }
        let arrays = gathered.into_iter().zip(columns).map(|(values, &column)| {
            let values = UInt64Array::new(values.into(), rows.nulls().cloned()).into_data();
            let data = values.into_builder().data_type(self.types[column].clone());
            data.build().map(make_array).map_err(error::arrow)
        });
        arrays.collect()
    }
}

/// Writes a batch's columns into its rows' words.
fn weave(batch: &[ArrayRef], words: &mut [u64]) {
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
        let batches: Vec<Vec<ArrayRef>> = [(0, 7), (7, 7), (7, 60_000), (60_000, n)]
            .into_iter()
            .map(|(start, end)| {
                let ints = Int64Array::from_iter_values(-1..n)
                    .slice(start as usize + 1, (end - start) as usize);
                let floats = Float64Array::from_iter_values((start..end).map(|n| n as f64 / 3.0));
                vec![Arc::new(ints) as ArrayRef, Arc::new(floats)]
            })
            .collect();
        let types = vec![DataType::Int64, DataType::Float64];
        for n_threads in [1, 3] {
            let woven = Woven::new(types.clone(), batches.clone(), n_threads);
            let rows: UInt32Array = (0..5_000_u32)
                .map(|row| (row % 7 != 0).then_some(row * 7_919 % n as u32))
                .collect();
            let gathered = woven.gather(&[1, 0, 0], &rows).unwrap();
            let floats: Float64Array = rows.iter().map(|row| Some(f64::from(row?) / 3.0)).collect();
            let ints: Int64Array = rows.iter().map(|row| Some(i64::from(row?))).collect();
            assert_eq!(&gathered[0], &(Arc::new(floats) as ArrayRef));
            let ints: ArrayRef = Arc::new(ints);
            assert_eq!((&gathered[1], &gathered[2]), (&ints, &ints));
        }
    }
}
