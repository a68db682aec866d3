//! Rows of one view: which of two is newer, and how they are found and put together again.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use arrow_select::interleave::interleave;
use provender_core::request::{ViewLayout, ViewRead, ViewRows};
use provender_core::time::UTC;
use provender_core::{Error, Result, codes};

/// A row: what orders it, and where its columns are.
#[derive(Clone, Debug)]
struct Row {
    event_us: i64,
    /// `None` is lower than every time.
    created_us: Option<i64>,
    /// The tie breakers as bytes that compare as they do.
    ties: Vec<u8>,
    is_tombstone: bool,
    /// One row of a write, or of a file.
    batch: RecordBatch,
    at: usize,
}

impl Row {
    fn newness(&self, other: &Self) -> Ordering {
        self.event_us
            .cmp(&other.event_us)
            .then(self.created_us.cmp(&other.created_us))
            .then_with(|| self.ties.cmp(&other.ties))
    }
}

/// The latest row of every key.
#[derive(Debug)]
pub(crate) struct Rows {
    n_keys: usize,
    n_ties: usize,
    rows: HashMap<Vec<u8>, Row>,
}

impl Rows {
    pub(crate) fn new(layout: &ViewLayout) -> Self {
        Self::of(layout.join_keys.len(), layout.tie_breakers.len())
    }

    pub(crate) fn of(n_keys: usize, n_ties: usize) -> Self {
        Self {
            n_keys,
            n_ties,
            rows: HashMap::new(),
        }
    }

    pub(crate) fn n_keys(&self) -> usize {
        self.n_keys
    }

    pub(crate) fn n_ties(&self) -> usize {
        self.n_ties
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Takes in a batch of [`ViewLayout::write_schema`]; answers how many rows changed something.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<u64> {
        let columns = batch.columns();
        let n_keys = self.n_keys;
        let keys = bytes(&columns[..n_keys], batch.num_rows())?;
        let event = columns[n_keys].as_primitive::<TimestampMicrosecondType>();
        let created = columns[n_keys + 1].as_primitive::<TimestampMicrosecondType>();
        let tombstone = columns[n_keys + 2].as_boolean();
        let ties = &columns[n_keys + 3..n_keys + 3 + self.n_ties];
        let ties = bytes(
            &ties.iter().map(with_one_nan).collect::<Vec<_>>(),
            batch.num_rows(),
        )?;
        let mut n_applied = 0;
        for (at, (key, ties)) in keys.into_iter().zip(ties).enumerate() {
            let row = Row {
                event_us: event.value(at),
                created_us: created.is_valid(at).then(|| created.value(at)),
                ties,
                is_tombstone: tombstone.is_valid(at) && tombstone.value(at),
                batch: batch.clone(),
                at,
            };
            let held = self.rows.get(&key);
            // A full tie is replaced by the later write.
            if held.is_none_or(|held| row.newness(held) != Ordering::Less) {
                self.rows.insert(key, row);
                n_applied += 1;
            }
        }
        Ok(n_applied)
    }

    pub(crate) fn delete(&mut self, keys: &RecordBatch) -> Result<()> {
        for key in bytes(keys.columns(), keys.num_rows())? {
            self.rows.remove(&key);
        }
        Ok(())
    }

    /// Everything that is held, as one batch of the given columns; `None` if that is nothing.
    pub(crate) fn all(&self) -> Result<Option<RecordBatch>> {
        let held: Vec<&Row> = self.rows.values().collect();
        let Some(first) = held.first() else {
            return Ok(None);
        };
        let schema = first.batch.schema();
        let columns = (0..schema.fields().len()).map(|at| gathered(&held, at));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(schema, columns)
            .map(Some)
            .map_err(internal)
    }
}

/// The rows of a view for some keys; `rows` is `None` for a view that holds nothing.
pub(crate) fn read(rows: Option<&Rows>, view: &ViewRead, keys: &RecordBatch) -> Result<ViewRows> {
    let columns: Vec<ArrayRef> = view
        .key_columns
        .iter()
        .map(|&at| Arc::clone(keys.column(at)))
        .collect();
    let has_null = |row: usize| columns.iter().any(|column| column.is_null(row));
    let found: Vec<Option<&Row>> = bytes(&columns, keys.num_rows())?
        .iter()
        .enumerate()
        .map(|(at, key)| {
            let row = rows?.rows.get(key)?;
            (!row.is_tombstone && !has_null(at)).then_some(row)
        })
        .collect();
    let event_times = found.iter().map(|row| row.map(|row| row.event_us));
    let n_before = rows.map_or(0, |rows| rows.n_keys + 3 + rows.n_ties);
    let features = view.features.iter().map(|&feature| {
        let data_type = view.layout.features[feature].1.to_arrow();
        gathered_or_null(&found, n_before + feature, &data_type)
    });
    Ok(ViewRows {
        features: features.collect::<Result<_>>()?,
        event_times: event_times
            .collect::<TimestampMicrosecondArray>()
            .with_timezone(UTC),
        unreadable: Vec::new(),
    })
}

/// Whether columns are those of a layout, by position.
///
/// # Errors
/// `InvalidArgument` (`P406`) that names the view and what differs, also for a null in a key or an event
/// time.
pub(crate) fn check_columns(
    layout: &ViewLayout,
    found: &SchemaRef,
    expected: &arrow_schema::Schema,
) -> Result<()> {
    let types = |schema: &arrow_schema::Schema| -> Vec<DataType> {
        let fields = schema.fields().iter();
        fields.map(|field| field.data_type().clone()).collect()
    };
    let (found, expected) = (types(found), types(expected));
    match found == expected {
        true => Ok(()),
        false => Err(refused(
            layout,
            &format!("expected columns of {expected:?}, got {found:?}"),
        )),
    }
}

pub(crate) fn check_nulls(layout: &ViewLayout, batch: &RecordBatch) -> Result<()> {
    let n_keys = layout.join_keys.len();
    for column in &batch.columns()[..=n_keys] {
        if column.null_count() > 0 {
            return Err(refused(
                layout,
                "a row has a null in a key or in the event time",
            ));
        }
    }
    Ok(())
}

pub(crate) fn refused(layout: &ViewLayout, why: &str) -> Error {
    Error::new(
        &codes::BAD_REQUEST,
        format!("view {}@{}: {why}", layout.view, layout.version),
    )
}

pub(crate) fn internal(error: ArrowError) -> Error {
    Error::new(&codes::INTERNAL, "rows of the ledger cannot be cut").source(error)
}

/// Each row's columns as bytes that are equal, and compare, as the values do; null is lowest.
fn bytes(columns: &[ArrayRef], n_rows: usize) -> Result<Vec<Vec<u8>>> {
    if columns.is_empty() {
        return Ok(vec![Vec::new(); n_rows]);
    }
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect()).map_err(internal)?;
    let rows = converter.convert_columns(columns).map_err(internal)?;
    Ok(rows.iter().map(|row| row.as_ref().to_vec()).collect())
}

/// Every NaN is the greatest and ties with the others, whatever its sign.
fn with_one_nan(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => Arc::new(
            column
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|value| if value.is_nan() { f32::NAN } else { value }),
        ),
        DataType::Float64 => Arc::new(
            column
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|value| if value.is_nan() { f64::NAN } else { value }),
        ),
        _ => Arc::clone(column),
    }
}

fn gathered(rows: &[&Row], column: usize) -> Result<ArrayRef> {
    let found: Vec<Option<&Row>> = rows.iter().copied().map(Some).collect();
    let data_type = rows[0].batch.column(column).data_type().clone();
    gathered_or_null(&found, column, &data_type)
}

/// One column of rows of several batches; null where there is no row.
fn gathered_or_null(
    rows: &[Option<&Row>],
    column: usize,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let null = new_null_array(data_type, 1);
    let mut arrays: Vec<&dyn Array> = vec![null.as_ref()];
    // Rows of one write share their columns, so each array is listed once.
    let mut known: HashMap<*const (), usize> = HashMap::new();
    let mut places = Vec::with_capacity(rows.len());
    for row in rows {
        places.push(match row {
            None => (0, 0),
            Some(row) => {
                let array = row.batch.column(column);
                let number = *known.entry(Arc::as_ptr(array).cast()).or_insert_with(|| {
                    arrays.push(array.as_ref());
                    arrays.len() - 1
                });
                (number, row.at)
            }
        });
    }
    interleave(&arrays, &places).map_err(internal)
}
