//! CSV with a header. An empty value is null.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{Schema, SchemaRef};
use csv::{ErrorKind, StringRecord};
use provender_core::names::did_you_mean;
use provender_core::{Error, Result, ValueType, codes};

use super::text::{Looks, convert, convertible};
use super::{BATCH_BYTES, BATCH_ROWS, DeclaredTypes, Opened, SAMPLE_ROWS, TextReader, bad_file};

/// Reads the header and a sample, and decides the types.
pub(super) fn open(name: String, reader: TextReader, declared: &DeclaredTypes) -> Result<Opened> {
    let mut reader = csv::ReaderBuilder::new().from_reader(reader);
    let headers = reader
        .headers()
        .map_err(|error| csv_error(&name, error))?
        .clone();
    let columns: Vec<String> = headers.iter().map(str::to_owned).collect();
    if columns.is_empty() {
        return Err(bad_file(&name, "it is empty, not even a header"));
    }
    check_columns(&name, &columns, declared)?;
    let mut rows = Rows {
        name,
        columns,
        reader,
        record: StringRecord::new(),
    };
    let mut looks = vec![Looks::default(); rows.columns.len()];
    let (mut sample, mut n_rows, mut n_bytes) = (VecDeque::new(), 0, 0);
    while n_rows < SAMPLE_ROWS && n_bytes < 2 * BATCH_BYTES {
        let Some(chunk) = rows.next_chunk(SAMPLE_ROWS - n_rows)? else {
            break;
        };
        n_rows += chunk.lines.len();
        for (looks, column) in looks.iter_mut().zip(&chunk.columns) {
            n_bytes += column.value_data().len();
            column.iter().flatten().for_each(|text| looks.see(text));
        }
        sample.push_back(chunk);
    }
    let types: Vec<ValueType> = rows
        .columns
        .iter()
        .zip(&looks)
        .map(|(column, looks)| {
            declared
                .get(column)
                .cloned()
                .unwrap_or_else(|| looks.value_type())
        })
        .collect();
    let fields: Vec<_> = rows
        .columns
        .iter()
        .zip(&types)
        .map(|(column, value_type)| value_type.to_field(column))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    Ok(Opened {
        schema: schema.clone(),
        n_rows: None,
        batches: Box::new(Batches {
            rows,
            sample,
            types,
            declared: declared.clone(),
            schema,
        }),
    })
}

fn check_columns(name: &str, columns: &[String], declared: &DeclaredTypes) -> Result<()> {
    for (index, column) in columns.iter().enumerate() {
        if columns[..index].contains(column) {
            return Err(bad_file(
                name,
                format_args!("its header has the column {column:?} twice"),
            ));
        }
    }
    for (column, value_type) in declared.iter() {
        if !columns.iter().any(|known| known == column) {
            if declared.is_by_definition() {
                continue;
            }
            return Err(Error::new(
                &codes::BAD_INPUT_FILE,
                format!("--schema names the column {column:?}, which {name} does not have"),
            )
            .help(did_you_mean(column, columns.iter().map(String::as_str))));
        }
        if !convertible(value_type) {
            return Err(Error::new(
                &codes::BAD_INPUT_FILE,
                format!("column {column:?} of {name} cannot be read as {value_type} from CSV"),
            )
            .help("read it as json, or use Parquet, Arrow IPC or JSON lines for nested values"));
        }
    }
    Ok(())
}

/// Rows as text, with the line each starts on.
struct Chunk {
    columns: Vec<StringArray>,
    lines: Vec<u64>,
}

struct Rows {
    name: String,
    columns: Vec<String>,
    reader: csv::Reader<TextReader>,
    record: StringRecord,
}

impl Rows {
    fn next_chunk(&mut self, limit: usize) -> Result<Option<Chunk>> {
        let mut builders: Vec<StringBuilder> = Vec::new();
        builders.resize_with(self.columns.len(), StringBuilder::new);
        let mut lines = Vec::new();
        let mut n_bytes = 0;
        while lines.len() < limit.min(BATCH_ROWS) && n_bytes < BATCH_BYTES {
            let more = self
                .reader
                .read_record(&mut self.record)
                .map_err(|error| csv_error(&self.name, error))?;
            if !more {
                break;
            }
            for (builder, value) in builders.iter_mut().zip(&self.record) {
                n_bytes += value.len();
                builder.append_option((!value.is_empty()).then_some(value));
            }
            lines.push(self.record.position().map_or(0, csv::Position::line));
        }
        if lines.is_empty() {
            return Ok(None);
        }
        Ok(Some(Chunk {
            columns: builders.iter_mut().map(StringBuilder::finish).collect(),
            lines,
        }))
    }
}

struct Batches {
    rows: Rows,
    sample: VecDeque<Chunk>,
    types: Vec<ValueType>,
    declared: DeclaredTypes,
    schema: SchemaRef,
}

impl Batches {
    fn typed(&self, chunk: &Chunk) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(chunk.columns.len());
        for ((name, column), value_type) in self
            .rows
            .columns
            .iter()
            .zip(&chunk.columns)
            .zip(&self.types)
        {
            columns.push(convert(column, value_type).map_err(|misfit| {
                Error::new(
                    &codes::BAD_INPUT_FILE,
                    format!(
                        "{}, line {}: {:?} in column {name:?} is no {value_type}",
                        self.rows.name, chunk.lines[misfit.row], misfit.value
                    ),
                )
                .help(self.declared.advice(name))
            })?);
        }
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| bad_file(&self.rows.name, error))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = match self.sample.pop_front() {
            Some(chunk) => chunk,
            None => match self.rows.next_chunk(BATCH_ROWS).transpose()? {
                Ok(chunk) => chunk,
                Err(error) => return Some(Err(error)),
            },
        };
        Some(self.typed(&chunk))
    }
}

fn csv_error(name: &str, error: csv::Error) -> Error {
    let (line, why) = match error.kind() {
        ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => (
            pos.as_ref().map(csv::Position::line),
            format!("it has {len} values, the header has {expected_len}"),
        ),
        ErrorKind::Utf8 { pos, .. } => (
            pos.as_ref().map(csv::Position::line),
            "it is not UTF-8".to_owned(),
        ),
        ErrorKind::Io(error) => (None, error.to_string()),
        _ => (None, error.to_string()),
    };
    let place = line.map_or_else(
        || format!("{name} cannot be read: "),
        |line| format!("{name}, line {line}: "),
    );
    Error::new(&codes::BAD_INPUT_FILE, format!("{place}{why}")).source(error)
}
