//! Tables of the rules: how they are written and read, and whether what is read is what was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use provender_core::error::Result as CoreResult;
use provender_core::provider::OfflineStore;
use provender_core::request::{OfflineWrite, Scan, SourceRef, WriteMode, WriteSummary};
use provender_core::{BatchStream, Context, ValueType};

use super::{ensure, works};
use crate::Table;
use crate::generate::build;
use crate::oracle::{Value, cast};

/// Rows of named and typed columns, as values.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) columns: Vec<(String, ValueType)>,
    pub(super) rows: Vec<Vec<Value>>,
}

impl Rows {
    pub(super) fn new(columns: &[(&str, ValueType)], rows: Vec<Vec<Value>>) -> Self {
        let columns = columns.iter();
        Self {
            columns: columns
                .map(|(name, value_type)| ((*name).to_owned(), value_type.clone()))
                .collect(),
            rows,
        }
    }

    /// The rows of a table whose columns are of plain types.
    pub(super) fn of(table: &Table) -> Result<Self, String> {
        let mut columns = Vec::new();
        for field in table.schema.fields() {
            let value_type = type_of(field)
                .ok_or_else(|| format!("column {:?} is of no value type", field.name()))?;
            columns.push((field.name().clone(), value_type));
        }
        let mut rows = Vec::new();
        for batch in &table.batches {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter();
                rows.push(
                    cells
                        .map(|column| Value::read(column.as_ref(), row))
                        .collect::<Result<_, _>>()?,
                );
            }
        }
        Ok(Self { columns, rows })
    }

    pub(super) fn schema(&self) -> Arc<Schema> {
        let columns = self.columns.iter();
        let fields: Vec<_> = columns
            .map(|(name, value_type)| value_type.to_field(name))
            .collect();
        Arc::new(Schema::new(fields))
    }

    pub(super) fn batch(&self) -> Result<RecordBatch, String> {
        let schema = self.schema();
        let mut arrays = Vec::new();
        for (at, field) in schema.fields().iter().enumerate() {
            let values: Vec<Value> = self.rows.iter().map(|row| row[at].clone()).collect();
            arrays.push(build(field.data_type(), &values)?);
        }
        RecordBatch::try_new(schema, arrays).map_err(|error| error.to_string())
    }

    pub(super) fn table(&self) -> Result<Table, String> {
        Ok(Table::of(self.batch()?))
    }

    /// The same rows and those of another.
    pub(super) fn and(&self, rows: &[Vec<Value>]) -> Self {
        Self {
            columns: self.columns.clone(),
            rows: [&self.rows[..], rows].concat(),
        }
    }
}

/// A column's value type, with JSON told by its extension.
pub(super) fn type_of(field: &arrow_schema::Field) -> Option<ValueType> {
    let extension = field.metadata().get("ARROW:extension:name");
    if extension.is_some_and(|name| name == "arrow.json") {
        return Some(ValueType::Json);
    }
    ValueType::from_arrow(field.data_type())
}

/// A table's name that no other call of any process gets.
pub(super) fn fresh_table(cx: &Context) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{}_t{}",
        cx.project(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

pub(super) fn request(table: &str, mode: WriteMode) -> OfflineWrite {
    OfflineWrite {
        table: table.to_owned(),
        mode,
        partition_by: Vec::new(),
        id: None,
    }
}

/// Writes a table as it is, in the batches that it has.
pub(super) async fn send(
    store: &dyn OfflineStore,
    cx: &Context,
    write: OfflineWrite,
    table: &Table,
) -> CoreResult<WriteSummary> {
    store.write(cx, write, table.stream()).await
}

/// Writes a table, which must work, and be counted right.
pub(super) async fn put(
    store: &dyn OfflineStore,
    cx: &Context,
    write: OfflineWrite,
    table: &Table,
) -> Result<WriteSummary, String> {
    let n_rows = table.n_rows() as u64;
    let what = format!("a write ({:?}) of {n_rows} rows", write.mode);
    let summary = works(&what, send(store, cx, write, table).await)?;
    ensure(
        summary.n_rows == n_rows && summary.n_applied == n_rows,
        || format!("{what} answers {summary:?}"),
    )?;
    Ok(summary)
}

/// A new table of these rows.
pub(super) async fn made(
    store: &dyn OfflineStore,
    cx: &Context,
    rows: &Rows,
) -> Result<String, String> {
    let name = fresh_table(cx);
    put(store, cx, request(&name, WriteMode::Append), &rows.table()?).await?;
    Ok(name)
}

pub(super) fn all_of(table: &str) -> Scan {
    Scan {
        source: SourceRef::table(table),
        columns: None,
        ranges: Vec::new(),
    }
}

/// What a scan answers: each stream of the same schema, rows in the order of streams and batches.
pub(super) async fn scanned(
    store: &dyn OfflineStore,
    cx: &Context,
    scan: Scan,
) -> Result<Table, String> {
    let asked = scan.columns.clone();
    let source = scan.source.describe();
    let streams = works(&format!("a scan of {source}"), store.scan(cx, scan).await)?;
    ensure(!streams.is_empty(), || {
        format!("a scan of {source} answers no stream; there is at least one")
    })?;
    collected(streams, asked.as_deref(), &source).await
}

/// The rows of streams that all must have one schema, of the asked columns if some were asked for.
pub(super) async fn collected(
    streams: Vec<BatchStream>,
    asked: Option<&[String]>,
    source: &str,
) -> Result<Table, String> {
    let mut schema = None;
    let mut batches = Vec::new();
    for stream in streams {
        let mine = Arc::clone(&stream.schema);
        let first = schema.get_or_insert_with(|| Arc::clone(&mine));
        ensure(*first == mine, || {
            format!("streams of a scan of {source} have different schemas: {first}, {mine}")
        })?;
        for batch in works("a stream of a scan", stream.collect().await)? {
            let found = batch.schema();
            ensure(found == mine, || {
                format!("a batch of {source} has the schema {found}, its stream {mine}")
            })?;
            batches.push(batch);
        }
    }
    let schema = schema.unwrap_or_else(|| Arc::new(Schema::empty()));
    if let Some(asked) = asked {
        let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        ensure(names == asked.iter().collect::<Vec<_>>(), || {
            format!("a scan of the columns {asked:?} of {source} answers {names:?}")
        })?;
    }
    Ok(Table { schema, batches })
}

/// Whether a table that was read holds exactly these rows, in any order.
pub(super) fn same_rows(found: &Table, expected: &Rows) -> Result<(), String> {
    let cells = as_declared(found, expected)?;
    let mut rest: Vec<Option<&Vec<Value>>> = cells.iter().map(Some).collect();
    // Rows mostly come in the order in which they were written.
    let mut from = 0;
    for row in &expected.rows {
        let n = rest.len();
        let at = (0..n)
            .map(|step| (from + step) % n.max(1))
            .find(|&at| rest[at].is_some_and(|found| is_same_row(found, row)));
        let Some(at) = at else {
            return Err(format!(
                "{} rows expected, {} found, and this one is missing: {}",
                expected.rows.len(),
                cells.len(),
                described(expected, row)
            ));
        };
        rest[at] = None;
        from = (at + 1) % n;
    }
    match rest.into_iter().flatten().next() {
        None => Ok(()),
        Some(row) => Err(format!(
            "{} rows expected, {} found, and this one was never written or is there too often: {}",
            expected.rows.len(),
            cells.len(),
            described(expected, row)
        )),
    }
}

/// The cells of a table that was read, as the types that were written.
pub(super) fn as_declared(found: &Table, expected: &Rows) -> Result<Vec<Vec<Value>>, String> {
    let names: Vec<&String> = found.schema.fields().iter().map(|it| it.name()).collect();
    let wanted: Vec<&String> = expected.columns.iter().map(|(name, _)| name).collect();
    ensure(names == wanted, || {
        format!("expected the columns {wanted:?}, got {names:?}")
    })?;
    let mut rows = Vec::new();
    for batch in &found.batches {
        for row in 0..batch.num_rows() {
            let mut cells = Vec::new();
            for (column, (name, value_type)) in batch.columns().iter().zip(&expected.columns) {
                let held = Value::read(column.as_ref(), row)?;
                let value = cast(&held, value_type).map_err(|why| {
                    let held = column.data_type();
                    format!("column {name:?} ({value_type}, held as {held}): {why}")
                })?;
                cells.push(value);
            }
            rows.push(cells);
        }
    }
    Ok(rows)
}

fn is_same_row(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_value(a, b))
}

/// Whether a value came back: bit for bit, but that a store may know one NaN only, and may hold JSON as
/// what it says and not as it is spelt.
pub(super) fn is_same_value(a: &Value, b: &Value) -> bool {
    let pairs = |a: &[Value], b: &[Value]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_value(a, b))
    };
    match (a, b) {
        (Value::Float32(a), Value::Float32(b)) if a.is_nan() => b.is_nan(),
        (Value::Float64(a), Value::Float64(b)) if a.is_nan() => b.is_nan(),
        (Value::List(a), Value::List(b)) => pairs(a, b),
        (Value::Struct(a), Value::Struct(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|((a_name, a), (b_name, b))| a_name == b_name && is_same_value(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|((a_key, a), (b_key, b))| {
                    is_same_value(a_key, b_key) && is_same_value(a, b)
                })
        }
        _ => a.is_identical(b),
    }
}

/// Whether two texts say the same JSON.
pub(super) fn is_same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => {
            let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            a == b || parsed(a).is_some_and(|a| Some(a) == parsed(b))
        }
        _ => a.is_identical(b),
    }
}

fn described(rows: &Rows, row: &[Value]) -> String {
    let cells = rows.columns.iter().zip(row);
    let cells: Vec<String> = cells
        .map(|((name, _), value)| format!("{name}={}", clipped(value)))
        .collect();
    cells.join(", ")
}

pub(super) fn clipped(value: &Value) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}

pub(super) fn int(value: i128) -> Value {
    Value::Int(value)
}

pub(super) fn string(value: &str) -> Value {
    Value::String(value.to_owned())
}

/// A few rows of plain columns: `k` (string), `n` (int64), `x` (float64), `t` (timestamp).
pub(super) fn plain(keys: &[&str], from: i64) -> Rows {
    let rows = keys.iter().enumerate().map(|(at, key)| {
        let n = from + at as i64;
        vec![
            string(key),
            int(n.into()),
            Value::Float64(n as f64 / 4.0),
            Value::Timestamp(1_700_000_000_000_000 + n),
        ]
    });
    let columns = [
        ("k", ValueType::String),
        ("n", ValueType::Int64),
        ("x", ValueType::Float64),
        ("t", ValueType::Timestamp),
    ];
    Rows::new(&columns, rows.collect())
}
