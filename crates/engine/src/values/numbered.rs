//! Rows that are numbered as they come, batch by batch; each batch is taken apart as soon as it is there.

use arrow_array::{Array, ArrayRef, new_empty_array};
use arrow_schema::DataType;
use arrow_select::concat::concat;
use provender_core::{Error, Result, codes};

use super::{Values, Weave};
use crate::woven::{Woven, is_of_words};
use crate::{error, parallel};

/// Chunks of more bytes than this are not made one, since offsets of strings have 31 bits.
const MOST_BYTES: usize = 1 << 30;

/// So many rows, some of which are there.
pub(crate) struct Numbered {
    values: Values,
    n_rows: usize,
    n_pushed: usize,
    /// Columns that are not woven, and their numbers.
    others: Vec<usize>,
    parts: Vec<Vec<ArrayRef>>,
}

impl Numbered {
    /// Room for so many rows of some columns. Columns of words lie row by row if there are several.
    pub(crate) fn new(columns: Vec<String>, types: Vec<DataType>, n_rows: usize) -> Self {
        let (words, others): (Vec<usize>, Vec<usize>) =
            (0..types.len()).partition(|&column| is_of_words(&types[column]));
        let mut values = Values::new(columns, types);
        let others = match n_rows > 0 && words.len() > 1 {
            false => (0..values.types.len()).collect(),
            true => {
                let mut columns = vec![None; values.types.len()];
                for (at, &column) in words.iter().enumerate() {
                    columns[column] = Some(at);
                }
                let types = words.iter().map(|&column| values.types[column].clone());
                let woven = Woven::new(types.collect(), n_rows);
                values.woven = Some(Weave { woven, columns });
                others
            }
        };
        Self {
            values,
            n_rows,
            n_pushed: 0,
            others,
            parts: Vec::new(),
        }
    }

    /// Takes in the next rows.
    ///
    /// # Errors
    /// `P802` for more rows than there is room for, and for columns of other types.
    pub(crate) fn push(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let found = columns.iter().map(|column| column.data_type());
        if !found.clone().eq(&self.values.types) {
            let found: Vec<String> = found.map(ToString::to_string).collect();
            return Err(contract(format!(
                "rows were fetched as ({})",
                found.join(", ")
            )));
        }
        let n_rows = columns.first().map_or(0, |column| column.len());
        if self.n_pushed + n_rows > self.n_rows {
            return Err(self.wrong_number(self.n_pushed + n_rows));
        }
        if let Some(weave) = &mut self.values.woven {
            let places = weave.columns.iter().zip(columns);
            let words = places.filter_map(|(place, column)| place.map(|_| column));
            weave.woven.push(&words.collect::<Vec<_>>());
        }
        let others = self.others.iter().map(|&at| columns[at].clone());
        self.parts.push(others.collect());
        self.n_pushed += n_rows;
        Ok(())
    }

    /// All rows, numbered in the order in which they came.
    ///
    /// # Errors
    /// `P802` for fewer rows than there was room for.
    pub(crate) fn finish(mut self, n_threads: usize) -> Result<Values> {
        if self.n_pushed < self.n_rows {
            return Err(self.wrong_number(self.n_pushed));
        }
        let columns = self.parts.iter().flatten();
        let n_bytes: usize = columns.map(|column| column.get_array_memory_size()).sum();
        let parts = match n_bytes {
            _ if self.parts.is_empty() => vec![Vec::new()],
            ..=MOST_BYTES => vec![joined(
                self.parts,
                self.others.len(),
                self.n_rows,
                n_threads,
            )?],
            _ => self.parts,
        };
        let nothing: Vec<ArrayRef> = self.values.types.iter().map(new_empty_array).collect();
        let mut start = 0;
        for part in parts {
            self.values.starts.push(start);
            start += part.first().map_or(0, |column| column.len());
            let mut chunk = nothing.clone();
            for (&column, values) in self.others.iter().zip(part) {
                chunk[column] = values;
            }
            self.values.chunks.push(chunk);
        }
        Ok(self.values)
    }

    fn wrong_number(&self, n_rows: usize) -> Error {
        contract(format!(
            "{} rows were asked for by number and {n_rows} or more were answered",
            self.n_rows
        ))
    }
}

/// Each column's parts as one, as many columns at a time as there are threads: both copies of few are held.
fn joined(
    mut parts: Vec<Vec<ArrayRef>>,
    n_columns: usize,
    n_rows: usize,
    n_threads: usize,
) -> Result<Vec<ArrayRef>> {
    let mut whole = Vec::with_capacity(n_columns);
    while whole.len() < n_columns {
        let n_left = n_columns - whole.len();
        // Columns are taken from the end, which moves no other.
        let some = parallel::n_parts(n_rows, n_threads).min(n_left);
        let some: Vec<Vec<ArrayRef>> = (0..some)
            .map(|_| parts.iter_mut().filter_map(Vec::pop).collect())
            .collect();
        let some = parallel::each(some, |parts: Vec<ArrayRef>| {
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            concat(&parts).map_err(error::arrow)
        });
        for column in some {
            whole.push(column?);
        }
    }
    whole.reverse();
    Ok(whole)
}

fn contract(what: String) -> Error {
    Error::new(&codes::PROVIDER_CONTRACT, what)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, StringArray};

    use super::*;

    fn rows(numbers: std::ops::Range<i64>) -> Vec<ArrayRef> {
        let floats = numbers.clone().map(|n| (n % 3 > 0).then_some(n as f64));
        vec![
            Arc::new(StringArray::from_iter_values(
                numbers.clone().map(|n| format!("s{n}")),
            )),
            Arc::new(Int64Array::from_iter_values(numbers.clone())),
            Arc::new(floats.collect::<Float64Array>()),
        ]
    }

    fn empty(n_rows: usize) -> Numbered {
        let columns = ["s", "i", "f"].map(str::to_owned).to_vec();
        let types = rows(0..0).iter().map(|c| c.data_type().clone()).collect();
        Numbered::new(columns, types, n_rows)
    }

    #[test]
    fn rows_are_numbered_as_they_come_whatever_their_columns_are() {
        let mut fetched = empty(100);
        for batch in [rows(0..40), rows(40..40), rows(40..100)] {
            fetched.push(&batch).unwrap();
        }
        let values = fetched.finish(2).unwrap();
        let picked = [(0, 99), crate::values::NOWHERE, (0, 3), (0, 40), (0, 41)];
        let gathered = values.gather(&picked).unwrap();
        let strings = [Some("s99"), None, Some("s3"), Some("s40"), Some("s41")];
        let expected: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(strings.to_vec())),
            Arc::new(Int64Array::from(vec![
                Some(99),
                None,
                Some(3),
                Some(40),
                Some(41),
            ])),
            Arc::new(Float64Array::from(vec![
                None,
                None,
                None,
                Some(40.0),
                Some(41.0),
            ])),
        ];
        assert_eq!(gathered, expected);
        assert!(empty(0).finish(2).unwrap().gather(&[]).unwrap()[0].is_empty());
    }

    #[test]
    fn other_rows_than_were_asked_for_break_the_contract() {
        let mut fetched = empty(10);
        fetched.push(&rows(0..9)).unwrap();
        let too_many = fetched.push(&rows(0..2)).unwrap_err();
        assert_eq!(too_many.code(), codes::PROVIDER_CONTRACT.id);
        let too_few = fetched.finish(1).unwrap_err();
        assert!(too_few.to_string().contains("10 rows"), "{too_few}");
        let mut other = rows(0..5);
        other.swap(1, 2);
        let other = empty(10).push(&other).unwrap_err();
        assert_eq!(other.code(), codes::PROVIDER_CONTRACT.id);
    }
}
