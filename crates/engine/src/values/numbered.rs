//! Rows that are numbered as they come, batch by batch; each batch is taken apart as soon as it is there.

use std::iter::repeat_with;

use arrow_array::{Array, ArrayRef, new_empty_array};
use arrow_schema::DataType;
use arrow_select::concat::concat;
use provender_core::{Error, Result};

use super::{Values, Weave};
use crate::woven::{NullBits, Woven, is_of_words};
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
    wrong: Wrong,
}

/// The error of who answered other rows than there is room for.
type Wrong = fn(String) -> Error;

impl Numbered {
    /// Room for so many rows of some columns. Columns of words lie row by row if there are several.
    pub(crate) fn new(
        columns: Vec<String>,
        types: Vec<DataType>,
        n_rows: usize,
        wrong: Wrong,
    ) -> Self {
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
            wrong,
        }
    }

    /// Takes in the next rows.
    ///
    /// # Errors
    /// That of wrong rows for more than there is room for, and for columns of other types.
    pub(crate) fn push(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let n_rows = columns.first().map_or(0, |column| column.len());
        self.push_all(vec![(n_rows, columns)], 1, |columns| Ok(columns.to_vec()))
    }

    /// Takes in the next rows in parts, each with how many there are of it, of which so many threads make the columns.
    ///
    /// # Errors
    /// As for [`Self::push`], and what making columns answers.
    pub(crate) fn push_all<T: Send>(
        &mut self,
        parts: Vec<(usize, T)>,
        n_threads: usize,
        columns_of: impl Fn(T) -> Result<Vec<ArrayRef>> + Sync,
    ) -> Result<()> {
        let n_rows: Vec<usize> = parts.iter().map(|(n_rows, _)| *n_rows).collect();
        let n_pushed = self.n_pushed + n_rows.iter().sum::<usize>();
        if n_pushed > self.n_rows {
            return Err(self.wrong_number(n_pushed));
        }
        let (types, others, wrong) = (&self.values.types, &self.others, self.wrong);
        let (places, room) = match &mut self.values.woven {
            Some(weave) => (
                weave.columns.as_slice(),
                weave.woven.room(n_rows.iter().copied()),
            ),
            None => (&[][..], Vec::new()),
        };
        let room = room.into_iter().map(Some).chain(repeat_with(|| None));
        let parts = parts.into_iter().zip(room).collect();
        let pushed = parallel::all(parts, n_threads, |((n_rows, part), room)| {
            let columns = columns_of(part)?;
            check(&columns, types, n_rows).map_err(wrong)?;
            let woven = room.map(|room| {
                let words = places.iter().zip(&columns);
                let words = words.filter_map(|(place, column)| place.map(|_| column));
                room.weave(&words.collect::<Vec<_>>())
            });
            let others = others.iter().map(|&at| columns[at].clone()).collect();
            Ok::<(Option<NullBits>, Vec<ArrayRef>), Error>((woven, others))
        });
        for (n_rows, pushed) in n_rows.into_iter().zip(pushed) {
            let (nulls, others) = pushed?;
            if let (Some(weave), Some(nulls)) = (&mut self.values.woven, nulls) {
                weave.woven.add(n_rows, nulls);
            }
            self.parts.push(others);
        }
        self.n_pushed = n_pushed;
        Ok(())
    }

    /// All rows, numbered in the order in which they came.
    ///
    /// # Errors
    /// That of wrong rows for fewer than there was room for.
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
        (self.wrong)(format!(
            "{} rows were asked for and {n_rows} were answered",
            self.n_rows
        ))
    }
}

/// Answers what is wrong unless columns are of the types that were asked for, and of so many rows.
fn check(
    columns: &[ArrayRef],
    types: &[DataType],
    n_rows: usize,
) -> std::result::Result<(), String> {
    let found = columns.iter().map(|column| column.data_type());
    if !found.clone().eq(types) {
        let found: Vec<String> = found.map(ToString::to_string).collect();
        return Err(format!("rows were answered as ({})", found.join(", ")));
    }
    match columns.iter().find(|column| column.len() != n_rows) {
        Some(other) => Err(format!(
            "a column of {} rows was answered for {n_rows}",
            other.len()
        )),
        None => Ok(()),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, StringArray};
    use provender_core::codes;

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
        Numbered::new(columns, types, n_rows, |what| {
            Error::new(&codes::PROVIDER_CONTRACT, what)
        })
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
        let mut swapped = rows(0..5);
        swapped.swap(1, 2);
        let mut shorter = rows(0..5);
        shorter[1] = shorter[1].slice(0, 4);
        for other in [swapped, shorter] {
            let other = empty(10).push(&other).unwrap_err();
            assert_eq!(other.code(), codes::PROVIDER_CONTRACT.id);
        }
    }

    #[test]
    fn parts_are_taken_in_in_their_order_on_any_number_of_threads() {
        for n_threads in [1, 2, 5] {
            let mut values = empty(1_000);
            let ends = [10, 10, 400, 700, 1_000];
            let starts = [0].into_iter().chain(ends);
            let parts = starts
                .zip(ends)
                .map(|(start, end)| (end - start, start..end));
            let parts = parts.collect();
            values
                .push_all(parts, n_threads, |part| {
                    Ok(rows(part.start as i64..part.end as i64))
                })
                .unwrap();
            let all: Vec<_> = (0..1_000).map(|row| (0, row)).collect();
            let values = values.finish(n_threads).unwrap();
            assert_eq!(values.gather(&all).unwrap(), rows(0..1_000));
        }
        let failed = empty(10).push_all(vec![(5, 0)], 2, |_| Err(error::defect("torn")));
        assert_eq!(failed.unwrap_err().code(), codes::INTERNAL.id);
    }
}
