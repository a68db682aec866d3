//! From Snowflake's encodings to plain Arrow columns.
//!
//! Snowflake sends a column in the narrowest form that holds the values of one chunk: numbers as
//! scaled integers of any width or as decimals, times as integers of their scale or as structs of
//! seconds and nanoseconds. So the form is looked at batch by batch, and only the answered type is
//! known beforehand. What fits no known form is an error that names the column; nothing is guessed.

use std::sync::Arc;

use arrow_array::builder::{FixedSizeListBuilder, Float32Builder, Int32Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{
    Array, ArrayRef, Date32Array, Decimal128Array, Float64Array, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_cast::cast;
use arrow_schema::{DataType, Field, SchemaRef};
use provender_core::time::UTC;
use provender_core::{Error, Result, codes};

/// A batch as Snowflake sent it, as one of the answered columns, by position.
///
/// # Errors
/// `P504` for another number of columns, a form that is not known, or a value out of range.
pub(crate) fn decode(batch: &RecordBatch, answered: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() != answered.fields().len() {
        return Err(bad(format!(
            "a chunk has {} columns, the result {}",
            batch.num_columns(),
            answered.fields().len()
        )));
    }
    let sent = batch.schema();
    let columns = batch
        .columns()
        .iter()
        .zip(sent.fields())
        .zip(answered.fields())
        .map(|((column, sent), field)| {
            decode_column(column, sent, field.data_type()).map_err(|why| {
                bad(format!("column {:?} cannot be read: {why}", field.name()))
                    .help("cast it in a query, for example to VARCHAR")
                    .context("column", field.name().clone())
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(answered.clone(), columns, &options)
        .map_err(|error| bad("a chunk's columns do not fit each other".to_owned()).source(error))
}

fn bad(message: String) -> Error {
    Error::new(
        &codes::OFFLINE_DATA,
        format!("a result of Snowflake cannot be read: {message}"),
    )
}

type Decoded = std::result::Result<ArrayRef, String>;

/// One column; `sent` is the field that the chunk says it has, whose metadata may hold a scale.
pub(crate) fn decode_column(column: &ArrayRef, sent: &Field, to: &DataType) -> Decoded {
    if *column.data_type() == DataType::Null {
        return Ok(new_null_array(to, column.len()));
    }
    match to {
        DataType::Decimal128(precision, scale) => to_decimal(column, sent, *precision, *scale),
        DataType::Timestamp(_, _) => to_instants(column, sent),
        DataType::Float64 => to_float(column),
        DataType::Date32 => to_date(column),
        DataType::Utf8 => to_text(column, sent),
        DataType::FixedSizeList(_, _) => to_vector(column, to),
        DataType::Boolean if *column.data_type() == DataType::Boolean => Ok(column.clone()),
        DataType::Binary if is_binary(column.data_type()) => plain(column, to),
        _ => Err(form(column)),
    }
}

fn form(column: &ArrayRef) -> String {
    format!("it is sent in the unknown form {}", column.data_type())
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

fn plain(column: &ArrayRef, to: &DataType) -> Decoded {
    cast(column, to).map_err(|error| error.to_string())
}

/// The scale that a chunk says its integers have.
fn scale_of(sent: &Field) -> std::result::Result<u32, String> {
    match sent.metadata().get("scale") {
        None => Ok(0),
        Some(text) => match text.parse() {
            Ok(scale) if scale <= 38 => Ok(scale),
            _ => Err(format!("its scale {text:?} is none")),
        },
    }
}

/// Whole numbers of any width; `None` for another form.
fn integers(column: &ArrayRef) -> Option<Vec<i128>> {
    fn widen<T>(column: &ArrayRef) -> Vec<i128>
    where
        T: arrow_array::ArrowPrimitiveType,
        T::Native: Into<i128>,
    {
        let values: &PrimitiveArray<T> = column.as_primitive::<T>();
        values
            .values()
            .iter()
            .map(|value| (*value).into())
            .collect()
    }
    Some(match column.data_type() {
        DataType::Int8 => widen::<Int8Type>(column),
        DataType::Int16 => widen::<Int16Type>(column),
        DataType::Int32 => widen::<Int32Type>(column),
        DataType::Int64 => widen::<Int64Type>(column),
        DataType::Decimal128(_, _) => widen::<Decimal128Type>(column),
        _ => return None,
    })
}

fn power_of_ten(exponent: u32) -> i128 {
    10_i128.pow(exponent.min(38))
}

fn to_decimal(column: &ArrayRef, sent: &Field, precision: u8, scale: i8) -> Decoded {
    let values = integers(column).ok_or_else(|| form(column))?;
    let from = match column.data_type() {
        DataType::Decimal128(_, scale) => u32::try_from(*scale).map_err(|_| form(column))?,
        _ => scale_of(sent)?,
    };
    let to = u32::try_from(scale).map_err(|_| form(column))?;
    let values = values.into_iter().enumerate().map(|(row, value)| {
        if column.is_null(row) {
            return Ok(0);
        }
        let scaled = match from.cmp(&to) {
            std::cmp::Ordering::Equal => Some(value),
            std::cmp::Ordering::Less => value.checked_mul(power_of_ten(to - from)),
            // Digits that the declared scale has no room for would be lost.
            std::cmp::Ordering::Greater => {
                let factor = power_of_ten(from - to);
                (value % factor == 0).then_some(value / factor)
            }
        };
        scaled.ok_or_else(|| {
            format!("the value of row {row} does not fit NUMBER({precision},{scale})")
        })
    });
    let values = values.collect::<std::result::Result<Vec<i128>, String>>()?;
    let array = Decimal128Array::try_new(values.into(), column.nulls().cloned())
        .and_then(|array| array.with_precision_and_scale(precision, scale))
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(array))
}

fn to_instants(column: &ArrayRef, sent: &Field) -> Decoded {
    let parts = match column.data_type() {
        DataType::Struct(_) => Some(column.as_struct()),
        _ => None,
    };
    // A null may be that of the struct, or of what is in it.
    let epoch = parts.and_then(|parts| part(parts, "epoch"));
    let inner = epoch.and_then(|epoch| epoch.nulls().cloned());
    let out_of_range =
        |row: usize| format!("the time of row {row} is beyond the range of microseconds");
    let instants: Vec<i64> = match parts {
        Some(parts) => {
            let epoch = epoch.ok_or_else(|| form(column))?;
            let epochs = epoch
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(|| form(column))?;
            match part(parts, "fraction") {
                // Whole seconds, and nanoseconds beside them.
                Some(fraction) => {
                    let fractions = fraction
                        .as_primitive_opt::<Int32Type>()
                        .ok_or_else(|| form(column))?;
                    instants_of(column, |row| {
                        let us = i64::from(fractions.value(row)).div_euclid(1_000);
                        let whole = epochs.value(row).checked_mul(1_000_000);
                        whole
                            .and_then(|whole| whole.checked_add(us))
                            .ok_or_else(|| out_of_range(row))
                    })?
                }
                // With a zone and few digits, the scaled time alone.
                None => {
                    let scale = scale_of(sent)?;
                    instants_of(column, |row| {
                        floored(i128::from(epochs.value(row)), scale)
                            .ok_or_else(|| out_of_range(row))
                    })?
                }
            }
        }
        None => {
            let scale = scale_of(sent)?;
            let values = integers(column).ok_or_else(|| form(column))?;
            instants_of(column, |row| {
                floored(values[row], scale).ok_or_else(|| out_of_range(row))
            })?
        }
    };
    let nulls = NullBuffer::union(column.nulls(), inner.as_ref());
    let array = TimestampMicrosecondArray::try_new(instants.into(), nulls)
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(array.with_timezone(UTC)))
}

fn part<'a>(parts: &'a StructArray, name: &str) -> Option<&'a ArrayRef> {
    parts.column_by_name(name)
}

fn instants_of(
    column: &ArrayRef,
    value: impl Fn(usize) -> std::result::Result<i64, String>,
) -> std::result::Result<Vec<i64>, String> {
    (0..column.len())
        .map(|row| {
            if column.is_null(row) {
                Ok(0)
            } else {
                value(row)
            }
        })
        .collect()
}

/// A time of so many digits after the second in microseconds, finer digits floored.
fn floored(value: i128, scale: u32) -> Option<i64> {
    let us = match scale {
        0..=6 => value.checked_mul(power_of_ten(6 - scale))?,
        _ => value.div_euclid(power_of_ten(scale - 6)),
    };
    i64::try_from(us).ok()
}

fn to_float(column: &ArrayRef) -> Decoded {
    match column.data_type() {
        DataType::Float64 => Ok(column.clone()),
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            let wide: Float64Array = values.unary::<_, Float64Type>(f64::from);
            Ok(Arc::new(wide))
        }
        _ => Err(form(column)),
    }
}

fn to_date(column: &ArrayRef) -> Decoded {
    match column.data_type() {
        DataType::Date32 => Ok(column.clone()),
        DataType::Int32 => {
            let days = column.as_primitive::<Int32Type>();
            let dates = Date32Array::try_new(days.values().clone(), days.nulls().cloned());
            Ok(Arc::new(dates.map_err(|error| error.to_string())?))
        }
        _ => Err(form(column)),
    }
}

fn to_text(column: &ArrayRef, sent: &Field) -> Decoded {
    match column.data_type() {
        DataType::Utf8 => Ok(column.clone()),
        DataType::LargeUtf8 | DataType::Utf8View => plain(column, &DataType::Utf8),
        DataType::Int32 | DataType::Int64 if is_time_of_day(sent) => times_of_day(column, sent),
        _ => Err(form(column)),
    }
}

fn is_time_of_day(sent: &Field) -> bool {
    let kind = sent.metadata().get("logicalType");
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("time"))
}

/// Times of day as `HH:MM:SS`, with as many digits after the second as they need.
fn times_of_day(column: &ArrayRef, sent: &Field) -> Decoded {
    let scale = scale_of(sent)?.min(9);
    let values = integers(column).ok_or_else(|| form(column))?;
    let mut texts = StringBuilder::new();
    for (row, value) in values.into_iter().enumerate() {
        if column.is_null(row) {
            texts.append_null();
            continue;
        }
        let ns = value.checked_mul(power_of_ten(9 - scale));
        let ns = ns.filter(|ns| (0..86_400_000_000_000).contains(ns));
        let ns = ns.ok_or_else(|| format!("the value of row {row} is no time of day"))?;
        let (seconds, fraction) = (ns / 1_000_000_000, ns % 1_000_000_000);
        let mut text = format!(
            "{:02}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        );
        if fraction > 0 {
            let digits = format!("{fraction:09}");
            text.push('.');
            text.push_str(digits.trim_end_matches('0'));
        }
        texts.append_value(text);
    }
    Ok(Arc::new(texts.finish()))
}

fn to_vector(column: &ArrayRef, to: &DataType) -> Decoded {
    let DataType::FixedSizeList(item, size) = to else {
        return Err(form(column));
    };
    let found = match column.data_type() {
        DataType::FixedSizeList(_, found) => *found,
        _ => return Err(form(column)),
    };
    if found != *size {
        return Err(format!("it has {found} items, not {size}"));
    }
    let list = column.as_fixed_size_list();
    let items = list.values();
    let start = usize::try_from(found).unwrap_or_default();
    let index = |row: usize, at: usize| row * start + at;
    match (item.data_type(), items.data_type()) {
        (DataType::Float32, DataType::Float32) => {
            let values = items.as_primitive::<Float32Type>();
            let mut builder =
                FixedSizeListBuilder::new(Float32Builder::new(), *size).with_field(item.clone());
            for row in 0..list.len() {
                for at in 0..start {
                    builder.values().append_value(values.value(index(row, at)));
                }
                builder.append(list.is_valid(row));
            }
            Ok(Arc::new(builder.finish()))
        }
        (DataType::Int32, DataType::Int32) => {
            let values = items.as_primitive::<Int32Type>();
            let mut builder =
                FixedSizeListBuilder::new(Int32Builder::new(), *size).with_field(item.clone());
            for row in 0..list.len() {
                for at in 0..start {
                    builder.values().append_value(values.value(index(row, at)));
                }
                builder.append(list.is_valid(row));
            }
            Ok(Arc::new(builder.finish()))
        }
        _ => Err(form(column)),
    }
}
