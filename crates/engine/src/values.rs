//! Values of rows that lie in chunks, gathered in another order.

mod numbered;

use arrow_array::builder::UInt32Builder;
use arrow_array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow_schema::DataType;
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use provender_core::Result;

pub(crate) use self::numbered::Numbered;
use crate::error;
use crate::woven::Woven;

/// A chunk and a row of it, or [`NOWHERE`].
pub(crate) type Place = (u32, u32);
/// The place of no row: values are null.
pub(crate) const NOWHERE: Place = (u32::MAX, 0);

/// Some columns of some rows.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) columns: Vec<String>,
    types: Vec<DataType>,
    /// Per chunk one array for each column.
    pub(crate) chunks: Vec<Vec<ArrayRef>>,
    /// Where all rows are numbered, the number of each chunk's first. The places of such rows are in chunk 0.
    starts: Vec<usize>,
    /// Columns of numbered rows that lie row by row instead.
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
            starts: Vec::new(),
            woven: None,
        }
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

    /// Where numbered rows lie: chunks, counted from one, and rows of these.
    fn indices(&self, rows: &UInt32Array) -> Vec<(usize, usize)> {
        let indices = rows.iter().map(|row| match row {
            None => (0, 0),
            Some(row) => {
                let row = row as usize;
                let chunk = self.starts.partition_point(|&start| start <= row);
                (chunk, row - self.starts[chunk - 1])
            }
        });
        indices.collect()
    }

    /// Some rows, in the order of their places, of which single columns are then gathered.
    pub(crate) fn pick(&self, places: &[Place]) -> Picked<'_> {
        let rows = match self.chunks.len() {
            1 => PickedRows::Numbered(rows_of(places)),
            _ if !self.starts.is_empty() => PickedRows::Numbered(rows_of(places)),
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

    /// Some rows of those that are numbered.
    pub(crate) fn pick_numbered(&self, rows: UInt32Array) -> Picked<'_> {
        let rows = PickedRows::Numbered(rows);
        Picked { values: self, rows }
    }
}

/// Rows that were picked of [`Values`].
pub(crate) struct Picked<'a> {
    values: &'a Values,
    rows: PickedRows,
}

enum PickedRows {
    /// Rows of the only chunk, or of all chunks by their numbers.
    Numbered(UInt32Array),
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

    /// The picked rows' values of some columns by their places.
    pub(crate) fn gather(&self, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let (Some(weave), PickedRows::Numbered(rows)) = (&self.values.woven, &self.rows) else {
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
        let indices = match &self.rows {
            PickedRows::Numbered(rows) if kept.len() == 1 => match kept.next() {
                Some(values) => return take(values, rows, None).map_err(error::arrow),
                None => return Err(error::defect("rows were picked of no chunk")),
            },
            PickedRows::Numbered(rows) => &self.values.indices(rows),
            PickedRows::OfMany(indices) => indices,
        };
        let null = new_null_array(&self.values.types[column], 1);
        let arrays: Vec<&dyn Array> = std::iter::once(null.as_ref()).chain(kept).collect();
        interleave(&arrays, indices).map_err(error::arrow)
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
