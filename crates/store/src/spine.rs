//! The spine: which of its columns are read, and the rows of keys and times that stores are given.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use async_stream::try_stream;
use futures::StreamExt;
use provender_core::names::did_you_mean;
use provender_core::provider::Resources;
use provender_core::request::SpineRows;
use provender_core::time::{instant_type, is_time_type, to_instants};
use provender_core::{BatchStream, CastRule, Context, Error, Result, ValueType, codes};
use provender_engine::spill::{SpillBuffer, Spilled};

use crate::cast::{can_be_key, cast_key};
use crate::request::resolve::{JoinedView, Resolved};
use crate::request::source::type_name;

/// The timestamp's column of a spine that names none.
const DEFAULT_TIMESTAMP: &str = "event_timestamp";
/// Names inside of [`SpineRows`].
const TIMESTAMP: &str = "t";
const ROW_NUMBER: &str = "n";

/// The spine's columns that a request reads, by index.
#[derive(Clone, Debug)]
pub(crate) struct SpineColumns {
    /// The timestamp.
    pub(crate) timestamp: usize,
    /// Distinct pairs of a column and the type it is read as.
    pub(crate) keys: Vec<SpineKey>,
    /// For each join and each of its keys an index into `keys`.
    pub(crate) join_keys: Vec<Vec<usize>>,
    /// For each request field its column.
    pub(crate) requests: Vec<usize>,
}

/// A key column of the spine, read as a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpineKey {
    /// The column's index.
    pub(crate) column: usize,
    /// The column's name.
    pub(crate) name: String,
    /// The declared type.
    pub(crate) value_type: ValueType,
}

impl SpineColumns {
    /// Finds all columns in the spine's schema.
    ///
    /// # Errors
    /// `InvalidArgument`: `P402` for a column that is not there, `P403` for one whose type never
    /// fits, `P404` for a needed name that the spine has twice, `P408` for an unclear timestamp.
    pub(crate) fn find(
        schema: &Schema,
        resolved: &Resolved,
        timestamp: Option<&str>,
    ) -> Result<Self> {
        let timestamp = find_timestamp(schema, timestamp)?;
        let mut keys: Vec<SpineKey> = Vec::new();
        let mut join_keys = Vec::new();
        for join in &resolved.joins {
            let mut indices = Vec::new();
            for (key, name) in &join.keys {
                let column = find_key(schema, join, &key.name, name, &key.value_type)?;
                let key = SpineKey {
                    column,
                    name: name.clone(),
                    value_type: key.value_type.clone(),
                };
                let known = keys.iter().position(|known| *known == key);
                indices.push(known.unwrap_or_else(|| {
                    keys.push(key);
                    keys.len() - 1
                }));
            }
            join_keys.push(indices);
        }
        let requests = resolved
            .requests
            .iter()
            .map(|field| find_request(schema, &field.view, &field.name, &field.value_type))
            .collect::<Result<_>>()?;
        Ok(Self {
            timestamp,
            keys,
            join_keys,
            requests,
        })
    }
}

impl SpineKey {
    /// The name of key `index` inside of [`SpineRows`].
    pub(crate) fn internal_name(index: usize) -> String {
        format!("k{index}")
    }
}

/// The timestamp's column: the named one, else `event_timestamp`, else the only timestamp.
fn find_timestamp(schema: &Schema, named: Option<&str>) -> Result<usize> {
    let default = schema
        .column_with_name(DEFAULT_TIMESTAMP)
        .map(|_| DEFAULT_TIMESTAMP);
    if let Some(name) = named.or(default) {
        let column = find(schema, name, || {
            Error::new(
                &codes::MISSING_SPINE_COLUMN,
                format!("the spine has no timestamp column {name:?}"),
            )
            .help(did_you_mean(name, names(schema)))
        })?;
        let found = schema.field(column).data_type();
        if is_time_type(found) {
            return Ok(column);
        }
        return Err(Error::new(
            &codes::SPINE_TYPE,
            format!(
                "the spine's timestamp column {name:?} is {}, neither a timestamp nor a date",
                type_name(found)
            ),
        )
        .help("cast the column, or name another one as timestamp"));
    }
    let candidates: Vec<usize> = (0..schema.fields().len())
        .filter(|&column| matches!(schema.field(column).data_type(), DataType::Timestamp(_, _)))
        .collect();
    match candidates.as_slice() {
        [only] => Ok(*only),
        [] => {
            let dates: Vec<&str> = (schema.fields().iter())
                .filter(|field| is_time_type(field.data_type()))
                .map(|field| field.name().as_str())
                .collect();
            let error = Error::new(
                &codes::NO_TIMESTAMP,
                "the spine has no timestamp column, and features are looked up as of a time",
            );
            Err(error.help(if dates.is_empty() {
                "add a timestamp column".to_owned()
            } else {
                format!("name a date column as timestamp: {}", dates.join(", "))
            }))
        }
        several => {
            let names: Vec<&str> = several
                .iter()
                .map(|&column| schema.field(column).name().as_str())
                .collect();
            Err(Error::new(
                &codes::NO_TIMESTAMP,
                format!(
                    "the spine has several timestamp columns: {}",
                    names.join(", ")
                ),
            )
            .help("name the one to look features up by"))
        }
    }
}

fn find_key(
    schema: &Schema,
    join: &JoinedView,
    key: &str,
    name: &str,
    declared: &ValueType,
) -> Result<usize> {
    let view = if join.label == join.name {
        format!("view {:?}", join.name)
    } else {
        format!("view {:?} (as {:?})", join.name, join.label)
    };
    let column = find(schema, name, || {
        let hint = did_you_mean(name, names(schema));
        let or = if hint.is_empty() {
            String::new()
        } else {
            // A question ends with its mark; a list of names goes on.
            let end = if hint.ends_with('?') { "" } else { ";" };
            format!("{hint}{end} ")
        };
        Error::new(
            &codes::MISSING_SPINE_COLUMN,
            format!("the spine has no column {name:?}, which is join key {key:?} of {view}"),
        )
        .help(format!(
            "{or}`join_keys: {{{key}: COLUMN}}` reads the key from another column"
        ))
    })?;
    let found = schema.field(column).data_type();
    if can_be_key(declared, found) {
        return Ok(column);
    }
    Err(Error::new(
        &codes::SPINE_TYPE,
        format!(
            "the spine's column {name:?} is {}, and join key {key:?} of {view} is declared {declared}",
            type_name(found)
        ),
    )
    .help(format!("cast the column to {declared}")))
}

fn find_request(schema: &Schema, view: &str, name: &str, declared: &ValueType) -> Result<usize> {
    let column = find(schema, name, || {
        Error::new(
            &codes::MISSING_SPINE_COLUMN,
            format!("the spine has no column {name:?}, which on-demand view {view:?} needs as request field ({declared})"),
        )
        .help(did_you_mean(name, names(schema)))
    })?;
    let found = schema.field(column).data_type();
    // Whole numbers are often what a file has where a float is declared: values are checked.
    if declared.cast_from(found) != CastRule::Never {
        return Ok(column);
    }
    Err(Error::new(
        &codes::SPINE_TYPE,
        format!(
            "the spine's column {name:?} is {}, and the request field of on-demand view {view:?} is declared {declared}",
            type_name(found)
        ),
    )
    .help(format!("cast the column to {declared}")))
}

/// The only column of a name. Columns of the spine match exactly.
fn find(schema: &Schema, name: &str, missing: impl FnOnce() -> Error) -> Result<usize> {
    let mut found = (0..schema.fields().len()).filter(|&at| schema.field(at).name() == name);
    let first = found.next().ok_or_else(missing)?;
    if found.next().is_some() {
        return Err(Error::new(
            &codes::NAME_CLASH,
            format!("the spine has two columns {name:?}"),
        )
        .help("rename one of them"));
    }
    Ok(first)
}

fn names(schema: &Schema) -> impl Iterator<Item = &str> {
    schema.fields().iter().map(|field| field.name().as_str())
}

/// Reads the whole spine into memory, and onto disk beyond the limit, so that a writer who sends all
/// before reading never waits for us and several stores can read it.
pub(crate) async fn drain(
    cx: &Context,
    resources: &Resources,
    mut spine: BatchStream,
) -> Result<Spilled> {
    let schema = spine.schema.clone();
    let mut buffer = SpillBuffer::new(resources, schema.clone());
    while let Some(batch) = spine.batches.next().await {
        cx.check()?;
        let batch = batch?;
        let types = |schema: &Schema| {
            let fields = schema.fields().iter();
            fields
                .map(|field| field.data_type().clone())
                .collect::<Vec<_>>()
        };
        if batch.schema_ref() != &schema && types(batch.schema_ref()) != types(&schema) {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                "a batch of the spine has other columns than the spine's schema",
            ));
        }
        buffer.push(batch).await?;
    }
    buffer.finish()
}

/// The rows that a store is given: the asked keys, cast, the time, and the row's number.
pub(crate) fn spine_rows(spilled: &Spilled, columns: &SpineColumns, keys: &[usize]) -> SpineRows {
    let mut fields: Vec<Field> = keys
        .iter()
        .map(|&key| {
            let name = SpineKey::internal_name(key);
            columns.keys[key].value_type.to_field(name)
        })
        .collect();
    fields.push(Field::new(TIMESTAMP, instant_type(), true));
    fields.push(Field::new(ROW_NUMBER, DataType::Int64, false));
    let schema = Arc::new(Schema::new(fields));
    let keys: Vec<SpineKey> = keys.iter().map(|&key| columns.keys[key].clone()).collect();
    let timestamp = columns.timestamp;
    let mut spine = spilled.stream();
    let rows_schema = schema.clone();
    let rows = BatchStream::new(
        schema,
        try_stream! {
            let mut first = 0_i64;
            while let Some(batch) = spine.batches.next().await {
                let batch = batch?;
                let mut row_columns: Vec<ArrayRef> = keys
                    .iter()
                    .map(|key| cast_key(batch.column(key.column), &key.name, &key.value_type))
                    .collect::<Result<_>>()?;
                row_columns.push(Arc::new(instants(&batch, timestamp)?));
                let next = first + i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                row_columns.push(Arc::new(Int64Array::from_iter_values(first..next)));
                first = next;
                yield RecordBatch::try_new(rows_schema.clone(), row_columns)
                    .map_err(|error| defect("the spine's keys do not fit their types", error))?;
            }
        },
    );
    SpineRows {
        rows,
        timestamp: TIMESTAMP.to_owned(),
        row_number: ROW_NUMBER.to_owned(),
    }
}

fn instants(
    batch: &RecordBatch,
    timestamp: usize,
) -> Result<arrow_array::TimestampMicrosecondArray> {
    to_instants(batch.column(timestamp).as_ref()).map_err(|error| {
        Error::new(
            &codes::SPINE_TYPE,
            format!(
                "the spine's timestamp column {:?}: {}",
                batch.schema_ref().field(timestamp).name(),
                error.message()
            ),
        )
    })
}

/// Something that the types above rule out.
pub(crate) fn defect(what: &str, error: arrow_schema::ArrowError) -> Error {
    Error::new(&codes::INTERNAL, what).source(error)
}
