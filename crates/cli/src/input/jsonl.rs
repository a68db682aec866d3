//! JSON lines: one object a line. Keys that a line lacks are null.

use std::collections::VecDeque;
use std::io::{BufRead, Cursor};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_json::ReaderBuilder;
use arrow_json::reader::infer_json_schema;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use provender_core::{Error, Result, ValueType, codes};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::text::{Looks, as_text, convert};
use super::{
    BATCH_BYTES, BATCH_ROWS, DeclaredTypes, Opened, SAMPLE_ROWS, TextReader, bad_file, cannot_read,
};

/// Reads a sample and decides the types: what JSON says, and RFC 3339 text is a timestamp.
pub(super) fn open(name: String, reader: TextReader, declared: &DeclaredTypes) -> Result<Opened> {
    let mut lines = Lines {
        name,
        reader,
        next_line: 1,
    };
    let (mut sample, mut n_rows, mut n_bytes) = (VecDeque::new(), 0, 0);
    while n_rows < SAMPLE_ROWS && n_bytes < 2 * BATCH_BYTES {
        let Some(chunk) = lines.next_chunk(SAMPLE_ROWS - n_rows)? else {
            break;
        };
        n_rows += chunk.ends.len();
        n_bytes += chunk.text.len();
        sample.push_back(chunk);
    }
    if sample.is_empty() && declared.is_empty() {
        return Err(Error::new(
            &codes::BAD_INPUT_FILE,
            format!("{} is empty, so its columns are not known", lines.name),
        )
        .help("name them: --schema column:type,..."));
    }
    let mut decoded = infer(&lines.name, &sample, declared)?;
    let mut times = times_among(&sample, &decoded);
    for (index, field) in decoded.iter_mut().enumerate() {
        match declared.get(field.name()) {
            // Times are read as text, by the product's own rules.
            Some(ValueType::Timestamp) => {
                *field = Arc::new(Field::new(field.name(), DataType::Utf8, true));
                times[index] = true;
            }
            Some(value_type) => {
                *field = Arc::new(value_type.to_field(field.name()));
                times[index] = false;
            }
            None => {}
        }
    }
    let schema: Vec<FieldRef> = decoded
        .iter()
        .zip(&times)
        .map(|(field, is_time)| {
            if *is_time {
                Arc::new(ValueType::Timestamp.to_field(field.name()))
            } else {
                field.clone()
            }
        })
        .collect();
    let schema = Arc::new(Schema::new(schema));
    Ok(Opened {
        schema: schema.clone(),
        n_rows: None,
        batches: Box::new(Batches {
            lines,
            sample,
            decoded: Arc::new(Schema::new(decoded)),
            declared: declared.clone(),
            schema,
        }),
    })
}

fn infer(name: &str, sample: &VecDeque<Chunk>, declared: &DeclaredTypes) -> Result<Vec<FieldRef>> {
    let text: Vec<u8> = sample
        .iter()
        .flat_map(|chunk| &chunk.text)
        .copied()
        .collect();
    let (inferred, _) = infer_json_schema(Cursor::new(text), None).map_err(|error| {
        Error::new(
            &codes::BAD_INPUT_FILE,
            format!("{name} is not JSON lines that fit each other: {error}"),
        )
        .help("every line is one object, and a key holds values of one type")
    })?;
    let mut fields: Vec<FieldRef> = inferred
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Null => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
            _ => field.clone(),
        })
        .collect();
    let order = key_order(sample);
    fields.sort_by_key(|field| order.iter().position(|key| key == field.name()));
    for (column, value_type) in declared.iter() {
        if declared.is_by_definition() && !sample.is_empty() {
            break;
        }
        if !fields.iter().any(|field| field.name() == column) {
            fields.push(Arc::new(value_type.to_field(column)));
        }
    }
    Ok(fields)
}

/// The keys of all objects in the order they first appear, which the inference of types loses.
fn key_order(sample: &VecDeque<Chunk>) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for chunk in sample {
        let mut start = 0;
        for end in &chunk.ends {
            // A line that is no object is told when it is read.
            if let Ok(Keys(keys)) = serde_json::from_slice(&chunk.text[start..*end]) {
                for key in keys {
                    if !order.contains(&key) {
                        order.push(key);
                    }
                }
            }
            start = *end;
        }
    }
    order
}

/// The keys of an object, in their order.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Keys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// Which columns hold nothing but times, as text.
fn times_among(sample: &VecDeque<Chunk>, fields: &[FieldRef]) -> Vec<bool> {
    let mut looks = vec![Looks::default(); fields.len()];
    // A lenient reading: types that were declared otherwise are looked at later.
    let texts: Vec<FieldRef> = fields
        .iter()
        .filter(|field| *field.data_type() == DataType::Utf8)
        .cloned()
        .collect();
    let schema = Arc::new(Schema::new(texts));
    for chunk in sample {
        let Ok(Some(batch)) = decode(&schema, &chunk.text, chunk.ends.len(), false) else {
            continue;
        };
        for (field, looks) in fields.iter().zip(&mut looks) {
            if let Some(column) = batch.column_by_name(field.name()).and_then(as_text) {
                column.iter().flatten().for_each(|text| looks.see(text));
            }
        }
    }
    looks.into_iter().map(Looks::is_time).collect()
}

/// Lines as they are, each with where it ends.
struct Chunk {
    text: Vec<u8>,
    ends: Vec<usize>,
    lines: Vec<u64>,
}

struct Lines {
    name: String,
    reader: TextReader,
    next_line: u64,
}

impl Lines {
    fn next_chunk(&mut self, limit: usize) -> Result<Option<Chunk>> {
        let mut chunk = Chunk {
            text: Vec::new(),
            ends: Vec::new(),
            lines: Vec::new(),
        };
        while chunk.ends.len() < limit.min(BATCH_ROWS) && chunk.text.len() < BATCH_BYTES {
            let start = chunk.text.len();
            let n_bytes = self
                .reader
                .read_until(b'\n', &mut chunk.text)
                .map_err(|error| cannot_read(&self.name, error))?;
            if n_bytes == 0 {
                break;
            }
            self.next_line += 1;
            if chunk.text[start..].trim_ascii().is_empty() {
                chunk.text.truncate(start);
                continue;
            }
            chunk.ends.push(chunk.text.len());
            chunk.lines.push(self.next_line - 1);
        }
        Ok((!chunk.ends.is_empty()).then_some(chunk))
    }
}

struct Batches {
    lines: Lines,
    sample: VecDeque<Chunk>,
    decoded: SchemaRef,
    declared: DeclaredTypes,
    schema: SchemaRef,
}

impl Batches {
    fn typed(&self, chunk: &Chunk) -> Result<RecordBatch> {
        let batch = match decode(&self.decoded, &chunk.text, chunk.ends.len(), true) {
            Ok(Some(batch)) if batch.num_rows() == chunk.ends.len() => batch,
            Ok(_) => return Err(self.blame(chunk, "a line holds more or less than one object")),
            Err(why) => return Err(self.blame(chunk, &why)),
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            let time = field.data_type() != column.data_type();
            columns.push(match as_text(column).filter(|_| time) {
                None => column.clone(),
                Some(text) => convert(text, &ValueType::Timestamp).map_err(|misfit| {
                    Error::new(
                        &codes::BAD_INPUT_FILE,
                        format!(
                            "{}, line {}: {:?} in column {:?} is no timestamp",
                            self.lines.name,
                            chunk.lines[misfit.row],
                            misfit.value,
                            field.name()
                        ),
                    )
                    .help(self.declared.advice(field.name()))
                })?,
            });
        }
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| bad_file(&self.lines.name, error))
    }

    /// Finds the line that the decoder cannot read by decoding line by line.
    fn blame(&self, chunk: &Chunk, why: &str) -> Error {
        let mut start = 0;
        let mut place = String::new();
        let mut why = why.to_owned();
        for (end, line) in chunk.ends.iter().zip(&chunk.lines) {
            match decode(&self.decoded, &chunk.text[start..*end], 2, true) {
                Ok(Some(batch)) if batch.num_rows() == 1 => start = *end,
                Ok(_) => {
                    place = format!(", line {line}");
                    break;
                }
                Err(own) => {
                    place = format!(", line {line}");
                    why = own;
                    break;
                }
            }
        }
        Error::new(
            &codes::BAD_INPUT_FILE,
            format!("{}{place}: {why}", self.lines.name),
        )
        .help(if self.declared.is_by_definition() {
            "mend the line; the columns' types are those of their definitions"
        } else {
            "mend the line, or name the column's type: --schema column:type"
        })
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = match self.sample.pop_front() {
            Some(chunk) => chunk,
            None => match self.lines.next_chunk(BATCH_ROWS).transpose()? {
                Ok(chunk) => chunk,
                Err(error) => return Some(Err(error)),
            },
        };
        Some(self.typed(&chunk))
    }
}

fn decode(
    schema: &SchemaRef,
    text: &[u8],
    n_rows: usize,
    strict: bool,
) -> Result<Option<RecordBatch>, String> {
    let mut decoder = ReaderBuilder::new(schema.clone())
        .with_batch_size(n_rows + 1)
        .with_strict_mode(strict)
        .build_decoder()
        .map_err(|error| error.to_string())?;
    decoder.decode(text).map_err(|error| error.to_string())?;
    decoder.flush().map_err(|error| error.to_string())
}
