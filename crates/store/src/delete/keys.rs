//! The keys that a delete brings: found by name, cast, looked at, and read in chunks.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter;
use async_stream::try_stream;
use futures::StreamExt;
use provender_core::model::{FeatureView, JoinKey};
use provender_core::names::did_you_mean;
use provender_core::time::{instant_type, is_time_type, to_instants};
use provender_core::{BatchStream, Context, Error, Result, ValueType, codes};
use provender_engine::cast::cast_value;
use provender_engine::spill::{SpillBuffer, Spilled};

use crate::FeatureStore;
use crate::cast::can_be_key;
use crate::cells::{cell_text, key_text};
use crate::push::{check_same_columns, exact};
use crate::request::source::type_name;
use crate::spine::defect;

/// How many keys stores are given at once.
const CHUNK_ROWS: usize = 8_192;

/// Keys that were read and looked at: the join keys under their declared types, and the event time
/// (us, UTC) if the delete is one in order.
pub(super) struct Keys {
    keys: Vec<JoinKey>,
    rows: Spilled,
    /// Whether every key has an event time.
    pub(super) in_order: bool,
}

impl Keys {
    /// Reads all keys; beyond the memory limit they wait on disk.
    ///
    /// # Errors
    /// `InvalidArgument`: `P406` for a column that is missing, unknown, there twice or of a wrong
    /// type, `P409` for a null and for a value that does not fit.
    pub(super) async fn read(
        store: &FeatureStore,
        cx: &Context,
        view: &FeatureView,
        mut rows: BatchStream,
    ) -> Result<Self> {
        let schema = rows.schema.clone();
        let columns = Columns::find(view, &schema)?;
        let resources = store.resources(cx);
        let mut buffer = SpillBuffer::new(&resources, columns.schema.clone());
        let mut first_row = 0_u64;
        while let Some(batch) = rows.batches.next().await {
            cx.check()?;
            let batch = batch?;
            check_same_columns(&batch, &schema)?;
            let read = columns.read(&batch, first_row)?;
            first_row += read.num_rows() as u64;
            buffer.push(read).await?;
        }
        Ok(Self {
            in_order: columns.event.is_some(),
            keys: columns.keys,
            rows: buffer.finish()?,
        })
    }

    /// How many keys there are.
    pub(super) fn n_rows(&self) -> u64 {
        self.rows.n_rows()
    }

    /// The keys in batches of about [`CHUNK_ROWS`], so that a store is not asked for each small batch.
    pub(super) fn chunks(&self, cx: &Context) -> BatchStream {
        let (cx, mut rows) = (cx.clone(), self.rows.stream());
        let schema = self.rows.schema().clone();
        BatchStream::new(
            schema.clone(),
            try_stream! {
                let mut pending: Vec<RecordBatch> = Vec::new();
                let mut n_pending = 0;
                loop {
                    cx.check()?;
                    let next = rows.batches.next().await.transpose()?;
                    let is_end = next.is_none();
                    if let Some(batch) = next {
                        n_pending += batch.num_rows();
                        pending.push(batch);
                    }
                    if n_pending >= CHUNK_ROWS || is_end && n_pending > 0 {
                        let all = joined(&schema, &pending, n_pending)?;
                        for start in (0..n_pending).step_by(CHUNK_ROWS) {
                            yield all.slice(start, CHUNK_ROWS.min(n_pending - start));
                        }
                        pending.clear();
                        n_pending = 0;
                    }
                    if is_end {
                        break;
                    }
                }
            },
        )
    }

    /// A chunk's keys as the table holds them; keys that its columns cannot hold are in no row, and
    /// are left out. `columns` are the table's, one for each key.
    ///
    /// # Errors
    /// `Unsupported` (`P801`) for a column that cannot be compared with keys exactly.
    pub(super) fn in_table(&self, chunk: &RecordBatch, columns: &[Field]) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = chunk.columns()[..self.keys.len()].to_vec();
        for (at, column) in columns.iter().enumerate() {
            loop {
                match as_stored(&arrays[at], column)? {
                    Ok(stored) => {
                        arrays[at] = stored;
                        break;
                    }
                    Err(row) => {
                        let kept: BooleanArray =
                            (0..arrays[at].len()).map(|at| Some(at != row)).collect();
                        for array in &mut arrays {
                            *array = filter(array.as_ref(), &kept)
                                .map_err(|error| defect("keys cannot be filtered", error))?;
                        }
                    }
                }
            }
        }
        RecordBatch::try_new(Arc::new(Schema::new(columns.to_vec())), arrays)
            .map_err(|error| defect("keys do not fit the table's types", error))
    }
}

/// Refuses columns whose values a key would not equal exactly.
///
/// # Errors
/// `Unsupported` (`P801`).
pub(super) fn check_comparable(view: &FeatureView, columns: &[Field]) -> Result<()> {
    for (key, column) in view.join_keys().iter().zip(columns) {
        let is_finer = key.value_type == ValueType::Timestamp
            && matches!(
                column.data_type(),
                DataType::Timestamp(arrow_schema::TimeUnit::Nanosecond, _)
            );
        if is_finer || ValueType::from_arrow(column.data_type()).is_none() {
            return Err(Error::new(
                &codes::UNSUPPORTED,
                format!(
                    "keys of view {:?} cannot be found in column {:?}, which is {}: its values are not exactly those of join key {:?}",
                    view.name,
                    column.name(),
                    column.data_type(),
                    key.name
                ),
            )
            .help("delete the rows in the table with the store's own tools, and use the online part alone")
            .context("view", view.name.clone()));
        }
    }
    Ok(())
}

/// A key column as the table's type, or the first row that the type cannot hold.
fn as_stored(keys: &ArrayRef, column: &Field) -> Result<std::result::Result<ArrayRef, usize>> {
    let to = column.data_type();
    let Some(value_type) = ValueType::from_arrow(to) else {
        return Err(Error::new(
            &codes::INTERNAL,
            "a column's type was not checked",
        ));
    };
    if keys.data_type() == to {
        return Ok(Ok(keys.clone()));
    }
    let cast = match cast_value(keys, &value_type, true) {
        Ok(cast) => cast,
        Err(failure) if failure.value.is_empty() => {
            return Err(Error::new(
                &codes::INTERNAL,
                format!("keys cannot be compared with column {:?}", column.name()),
            )
            .source(failure));
        }
        Err(failure) => return Ok(Err(failure.row)),
    };
    Ok(exact(&cast, &value_type, to))
}

fn joined(schema: &SchemaRef, batches: &[RecordBatch], n_rows: usize) -> Result<RecordBatch> {
    if schema.fields().is_empty() {
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        return RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options)
            .map_err(|error| defect("keys without columns cannot be counted", error));
    }
    concat_batches(schema, batches).map_err(|error| defect("keys cannot be put together", error))
}

/// Where keys are in the rows that are brought.
struct Columns {
    view: String,
    keys: Vec<JoinKey>,
    found: Vec<usize>,
    event: Option<usize>,
    event_name: String,
    schema: SchemaRef,
}

impl Columns {
    fn find(view: &FeatureView, rows: &Schema) -> Result<Self> {
        let keys: Vec<JoinKey> = view.join_keys().into_iter().cloned().collect();
        let event_name = view.source.timestamp.clone();
        let bad = |message: String| {
            Error::new(&codes::BAD_REQUEST, message).context("view", view.name.clone())
        };
        let names = || rows.fields().iter().map(|field| field.name().as_str());
        let mut found = Vec::with_capacity(keys.len());
        for key in &keys {
            let at = rows.index_of(&key.name).map_err(|_| {
                bad(format!(
                    "keys of view {:?} lack {} (join key, {})",
                    view.name, key.name, key.value_type
                ))
                .help(did_you_mean(&key.name, names()))
            })?;
            let data_type = rows.field(at).data_type();
            if !can_be_key(&key.value_type, data_type) {
                return Err(bad(format!(
                    "keys of view {:?} have {} as {}, which is expected as {}",
                    view.name,
                    key.name,
                    type_name(data_type),
                    key.value_type
                ))
                .help(format!("cast the column to {}", key.value_type)));
            }
            found.push(at);
        }
        let mut event = None;
        for (at, field) in rows.fields().iter().enumerate() {
            if found.contains(&at) {
                continue;
            }
            if *field.name() == event_name && event.is_none() {
                if !is_time_type(field.data_type()) {
                    return Err(bad(format!(
                        "keys of view {:?} have {event_name} as {}, which is expected as a timestamp",
                        view.name,
                        type_name(field.data_type())
                    )));
                }
                event = Some(at);
                continue;
            }
            let expected: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            return Err(bad(format!(
                "keys of view {:?} have no column {}",
                view.name,
                field.name()
            ))
            .help(format!(
                "give the join keys alone ({}), or with {event_name} for a delete in order",
                expected.join(", ")
            )));
        }
        let mut fields: Vec<Field> = keys
            .iter()
            .map(|key| key.value_type.to_field(&key.name))
            .collect();
        if event.is_some() {
            fields.push(Field::new(&event_name, instant_type(), true));
        }
        Ok(Self {
            view: view.name.clone(),
            keys,
            found,
            event,
            event_name,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    fn read(&self, batch: &RecordBatch, first_row: u64) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.keys.len() + 1);
        for (key, &at) in self.keys.iter().zip(&self.found) {
            let brought = batch.column(at);
            let array = cast_value(brought, &key.value_type, true).map_err(|failure| {
                self.bad_row(
                    first_row,
                    failure.row,
                    format!(
                        "the value {} of {:?} {}",
                        cell_text(brought.as_ref(), failure.row),
                        key.name,
                        failure.reason
                    ),
                )
            })?;
            self.check_no_null(&array, &key.name, first_row)?;
            arrays.push(array);
        }
        if let Some(at) = self.event {
            let brought = batch.column(at);
            let instants: ArrayRef = match to_instants(brought.as_ref()) {
                Ok(instants) => Arc::new(instants),
                Err(error) => {
                    let row = (0..brought.len())
                        .find(|&row| to_instants(brought.slice(row, 1).as_ref()).is_err())
                        .unwrap_or_default();
                    let names = self.keys.iter().map(|key| key.name.as_str());
                    let key = key_text(names.zip(&arrays), row);
                    return Err(self.bad_row(
                        first_row,
                        row,
                        format!("{key}: {}", error.message()),
                    ));
                }
            };
            self.check_no_null(&instants, &self.event_name, first_row)?;
            arrays.push(instants);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| defect("keys do not fit the types that they were cast to", error))
    }

    fn check_no_null(&self, array: &ArrayRef, name: &str, first_row: u64) -> Result<()> {
        match (0..array.len()).find(|&row| array.is_null(row)) {
            None => Ok(()),
            Some(row) => Err(self.bad_row(first_row, row, format!("{name:?} is null"))),
        }
    }

    fn bad_row(&self, first_row: u64, row: usize, what: String) -> Error {
        Error::new(
            &codes::BAD_ROW,
            format!(
                "row {} of the keys of view {:?}: {what}",
                first_row + row as u64,
                self.view
            ),
        )
        .help("nothing was deleted; mend the row and delete again")
        .context("view", self.view.clone())
    }
}
