//! Columns that a format cannot hold, as ones it can: nested values as JSON text for CSV,
//! dictionaries as plain values for Arrow files (whose format allows one dictionary a column).

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_json::writer::{EncoderOptions, make_encoder};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};

/// Makes text of columns that CSV has no form for.
#[derive(Debug)]
pub(super) struct Texts {
    schema: SchemaRef,
}

impl Texts {
    pub(super) fn new(schema: &Schema) -> Self {
        let fields: Vec<FieldRef> = schema
            .fields()
            .iter()
            .map(|field| {
                if is_nested(field.data_type()) {
                    Arc::new(Field::new(field.name(), DataType::Utf8, true))
                } else {
                    field.clone()
                }
            })
            .collect();
        Self {
            schema: Arc::new(Schema::new(fields)),
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub(super) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let source = batch.schema();
        let mut columns = Vec::with_capacity(batch.num_columns());
        for ((field, source), column) in self
            .schema
            .fields()
            .iter()
            .zip(source.fields())
            .zip(batch.columns())
        {
            columns.push(if field.data_type() == source.data_type() {
                column.clone()
            } else {
                json_text(source, column)?
            });
        }
        rebuild(&self.schema, columns, batch)
    }
}

/// Whether values have parts; dictionaries of such values count.
fn is_nested(data_type: &DataType) -> bool {
    data_type.is_nested()
        || matches!(data_type, DataType::Dictionary(_, value) if value.is_nested())
}

/// Values as JSON text; null stays null.
fn json_text(field: &FieldRef, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, column, &options)?;
    let mut texts = StringBuilder::with_capacity(column.len(), 0);
    let mut bytes = Vec::new();
    for row in 0..column.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        bytes.clear();
        encoder.encode(row, &mut bytes);
        texts.append_value(String::from_utf8_lossy(&bytes));
    }
    Ok(Arc::new(texts.finish()))
}

/// Makes plain columns of dictionaries, at any depth.
#[derive(Debug)]
pub(super) struct Plain {
    schema: SchemaRef,
}

impl Plain {
    pub(super) fn new(schema: &Schema) -> Self {
        let fields: Vec<FieldRef> = schema.fields().iter().map(plain_field).collect();
        Self {
            schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())),
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub(super) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            columns.push(if field.data_type() == column.data_type() {
                column.clone()
            } else {
                arrow_cast::cast(column, field.data_type())?
            });
        }
        rebuild(&self.schema, columns, batch)
    }
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let plain = plain_type(field.data_type());
    if plain == *field.data_type() {
        field.clone()
    } else {
        Arc::new(field.as_ref().clone().with_data_type(plain))
    }
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::List(item) => DataType::List(plain_field(item)),
        DataType::LargeList(item) => DataType::LargeList(plain_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(plain_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        other => other.clone(),
    }
}

fn rebuild(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    batch: &RecordBatch,
) -> Result<RecordBatch, ArrowError> {
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}
