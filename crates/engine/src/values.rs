//! Values of rows that lie in chunks, gathered in another order.

use arrow_array::builder::UInt32Builder;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array, new_empty_array, new_null_array};
use arrow_schema::DataType;
use arrow_select::concat::concat;
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use provender_core::Result;

use crate::woven::{Woven, is_of_words};
use crate::{error, parallel};

/// A chunk and a row of it, or [`NOWHERE`].
pub(crate) type Place = (u32, u32);
/// The place of no row: values are null.
pub(crate) const NOWHERE: Place = (u32::MAX, 0);
/// Chunks of more bytes than this are not made one, since offsets of strings have 31 bits.
const MOST_BYTES: usize = 1 << 30;

/// Some columns of some rows.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) columns: Vec<String>,
    types: Vec<DataType>,
    /// Per chunk one array for each column.
    pub(crate) chunks: Vec<Vec<ArrayRef>>,
    /// Columns of the only chunk that lie row by row instead.
    woven: Option<Weave>,
}

#[derive(Debug)]
struct Weave {
    woven: Woven,
    /// Where in it each column is.
    columns: Vec<Option<usize>>,
}

impl Values {
    pub(crate) fn new(columns: Vec<String>, types: Vec<DataType>) -> Self {
        Self {
            columns,
            types,
            chunks: Vec::new(),
            woven: None,
        }
    }

    /// Rows that were fetched, as one chunk if they are not too large, and the place of each.
    pub(crate) fn of_rows(
        columns: Vec<String>,
        types: Vec<DataType>,
        batches: Vec<RecordBatch>,
        n_threads: usize,
    ) -> Result<(Self, Vec<Place>)> {
        let mut values = Self::new(columns, types);
        let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if bytes > MOST_BYTES {
            let mut places = Vec::with_capacity(n_rows);
            for (chunk, batch) in batches.into_iter().enumerate() {
                places.extend((0..batch.num_rows()).map(|row| (chunk as u32, row as u32)));
                values.chunks.push(batch.columns().to_vec());
            }
            return Ok((values, places));
        }
        let mut batches: Vec<_> = batches
            .into_iter()
            .map(|batch| batch.columns().to_vec())
            .collect();
        let types = values.types.clone();
        let (words, others): (Vec<usize>, Vec<usize>) = (0..types.len()).partition(|&column| {
            is_of_words(&types[column], batches.iter().map(|batch| &batch[column]))
        });
        let is_woven = n_rows > 0 && words.len() > 1;
        let joined = match is_woven {
            true => others,
            false => (0..types.len()).collect(),
        };
        let mut arrays: Vec<ArrayRef> = types.iter().map(new_empty_array).collect();
        // As many at a time as there are threads, so that both copies of few are held.
        for some in joined.chunks(parallel::n_parts(n_rows, n_threads)) {
            let columns = some.iter().map(|&column| {
                let parts = batches.iter_mut();
                let parts = parts
                    .map(|batch| std::mem::replace(&mut batch[column], arrays[column].clone()));
                parts.collect::<Vec<ArrayRef>>()
            });
            let whole = parallel::each(columns.collect(), |parts: Vec<ArrayRef>| {
                let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
                match parts.as_slice() {
                    [] => Ok(None),
                    parts => concat(parts).map(Some).map_err(error::arrow),
                }
            });
            for (&column, array) in some.iter().zip(whole) {
                if let Some(array) = array? {
                    arrays[column] = array;
                }
            }
        }
        if is_woven {
            let mut columns = vec![None; types.len()];
            for (at, &column) in words.iter().enumerate() {
                columns[column] = Some(at);
            }
            let of = |column: &usize| types[*column].clone();
            let batches = batches.into_iter();
            let batches =
                batches.map(|batch| words.iter().map(|&column| batch[column].clone()).collect());
            let woven = Woven::new(words.iter().map(of).collect(), batches.collect(), n_threads);
            values.woven = Some(Weave { woven, columns });
        }
        values.chunks.push(arrays);
        Ok((values, (0..n_rows as u32).map(|row| (0, row)).collect()))
    }

    /// Bytes of a row, about.
    pub(crate) fn row_bytes(&self) -> usize {
        let n_rows = |chunk: &Vec<ArrayRef>| {
            let columns = chunk.iter().map(|column| column.len());
            columns.max().unwrap_or(0)
        };
        let n_rows: usize = self.chunks.iter().map(n_rows).sum();
        let columns = self.chunks.iter().flatten();
        let n_bytes: usize = columns.map(|column| column.get_array_memory_size()).sum();
        let woven = self.woven.as_ref();
        n_bytes / n_rows.max(1) + woven.map_or(0, |weave| weave.woven.row_bytes())
    }

    /// One of the columns that [`Self::gather`] answered.
    pub(crate) fn value_of<'a>(&self, values: &'a [ArrayRef], name: &str) -> Result<&'a ArrayRef> {
        values.get(self.column(name)?).ok_or_else(|| lacking(name))
    }

    fn column(&self, name: &str) -> Result<usize> {
        let place = self.columns.iter().position(|column| column == name);
        place.ok_or_else(|| lacking(name))
    }

    /// Values of all columns at places, null where there is none.
    pub(crate) fn gather(&self, places: &[Place]) -> Result<Vec<ArrayRef>> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        self.pick(places).gather(&all)
    }

    /// Some rows, in the order of their places, of which single columns are then gathered.
    pub(crate) fn pick(&self, places: &[Place]) -> Picked<'_> {
        let rows = match self.chunks.len() {
            1 => PickedRows::OfOne(rows_of(places)),
            _ => PickedRows::OfMany(
                places
                    .iter()
                    .map(|&place| match place {
                        NOWHERE => (0, 0),
                        (chunk, row) => (chunk as usize + 1, row as usize),
                    })
                    .collect(),
            ),
        };
        Picked { values: self, rows }
    }
}

/// Rows that were picked of [`Values`].
pub(crate) struct Picked<'a> {
    values: &'a Values,
    rows: PickedRows,
}

enum PickedRows {
    /// Rows of the only chunk.
    OfOne(UInt32Array),
    /// Chunks, counted from one, and rows of these; the first row of chunk zero is null.
    OfMany(Vec<(usize, usize)>),
}

impl Picked<'_> {
    /// The picked rows' values of some columns.
    pub(crate) fn columns<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<ArrayRef>> {
        let columns: Vec<usize> = names
            .map(|name| self.values.column(name))
            .collect::<Result<_>>()?;
        self.gather(&columns)
    }

    fn gather(&self, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let (Some(weave), PickedRows::OfOne(rows)) = (&self.values.woven, &self.rows) else {
            return columns
                .iter()
                .map(|&column| self.gather_one(column))
                .collect();
        };
        let places = columns.iter().map(|&column| weave.columns[column]);
        let woven: Vec<usize> = places.clone().flatten().collect();
        let mut woven = weave.woven.gather(&woven, rows)?.into_iter();
        columns
            .iter()
            .zip(places)
            .map(|(&column, place)| match place.and_then(|_| woven.next()) {
                Some(values) => Ok(values),
                None => self.gather_one(column),
            })
            .collect()
    }

    fn gather_one(&self, column: usize) -> Result<ArrayRef> {
        let mut kept = self
            .values
            .chunks
            .iter()
            .map(|chunk| chunk[column].as_ref());
        match &self.rows {
            PickedRows::OfOne(rows) => match kept.next() {
                Some(values) => take(values, rows, None).map_err(error::arrow),
                None => Err(error::defect("rows were picked of no chunk")),
            },
            PickedRows::OfMany(indices) => {
                let null = new_null_array(&self.values.types[column], 1);
                let arrays: Vec<&dyn Array> = std::iter::once(null.as_ref()).chain(kept).collect();
                interleave(&arrays, indices).map_err(error::arrow)
            }
        }
    }
}

fn lacking(name: &str) -> provender_core::Error {
    error::defect(format!(
        "column {name:?} was not kept with the winning rows"
    ))
}

/// Rows of the only chunk.
fn rows_of(places: &[Place]) -> UInt32Array {
    if !places.contains(&NOWHERE) {
        return places
            .iter()
            .map(|&(_, row)| row)
            .collect::<Vec<_>>()
            .into();
    }
    let mut rows = UInt32Builder::with_capacity(places.len());
    for &place in places {
        match place {
            NOWHERE => rows.append_null(),
            (_, row) => rows.append_value(row),
        }
    }
    rows.finish()
}
