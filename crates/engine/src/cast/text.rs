//! Casts to text and bytes, from views, wide offsets and fixed sizes; and times of day as text.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    BinaryType, ByteArrayType, LargeBinaryType, LargeUtf8Type, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, Utf8Type,
};
use arrow_array::{Array, ArrayRef, BinaryArray, GenericByteArray, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, TimeUnit};
use provender_core::ValueType;

use super::CastFailure;

pub(super) fn to_string(column: &ArrayRef, to: &ValueType) -> Result<ArrayRef, CastFailure> {
    Ok(match column.data_type() {
        DataType::Utf8 => column.clone(),
        DataType::LargeUtf8 => Arc::new(narrowed::<LargeUtf8Type, Utf8Type>(column)?),
        DataType::Utf8View => {
            let texts = column.as_string_view();
            check_size(texts.iter().map(|text| text.map_or(0, str::len)))?;
            Arc::new(texts.iter().collect::<StringArray>())
        }
        DataType::Time32(_) | DataType::Time64(_) => Arc::new(times(column, to)?),
        other => return Err(CastFailure::whole(format!("{other} cannot become {to}"))),
    })
}

pub(super) fn to_binary(column: &ArrayRef, to: &ValueType) -> Result<ArrayRef, CastFailure> {
    Ok(match column.data_type() {
        DataType::LargeBinary => Arc::new(narrowed::<LargeBinaryType, BinaryType>(column)?),
        DataType::BinaryView => {
            let values = column.as_binary_view();
            check_size(values.iter().map(|value| value.map_or(0, <[u8]>::len)))?;
            Arc::new(values.iter().collect::<BinaryArray>())
        }
        DataType::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            check_size(values.iter().map(|value| value.map_or(0, <[u8]>::len)))?;
            Arc::new(values.iter().collect::<BinaryArray>())
        }
        other => return Err(CastFailure::whole(format!("{other} cannot become {to}"))),
    })
}

/// Arrow's plain strings and bytes address their values with 31 bits.
fn check_size(lengths: impl Iterator<Item = usize>) -> Result<(), CastFailure> {
    let mut total = 0_usize;
    for (row, length) in lengths.enumerate() {
        total = total.saturating_add(length);
        if i32::try_from(total).is_err() {
            return Err(too_large(row));
        }
    }
    Ok(())
}

pub(super) fn too_large(row: usize) -> CastFailure {
    CastFailure::at(
        row,
        "the batch up to this row",
        "holds more than 2 GiB; read smaller batches",
    )
}

fn narrowed<L, S>(column: &ArrayRef) -> Result<GenericByteArray<S>, CastFailure>
where
    L: ByteArrayType<Offset = i64>,
    S: ByteArrayType<Offset = i32>,
{
    let wide = column.as_bytes::<L>();
    let offsets = wide.value_offsets();
    let (first, last) = match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => (*first, *last),
        _ => (0, 0),
    };
    let mut narrow = Vec::with_capacity(offsets.len());
    for (row, offset) in offsets.iter().enumerate() {
        let offset = i32::try_from(offset - first).map_err(|_| too_large(row.saturating_sub(1)))?;
        narrow.push(offset);
    }
    let start = usize::try_from(first).unwrap_or_default();
    let length = usize::try_from(last - first).unwrap_or_default();
    let values = wide.values().slice_with_length(start, length);
    let offsets = OffsetBuffer::new(narrow.into());
    let nulls = wide.nulls().cloned();
    Ok(GenericByteArray::<S>::try_new(offsets, values, nulls)?)
}

/// Times of day as `12:34:56`, with three, six or nine more digits where they are needed.
fn times(column: &ArrayRef, to: &ValueType) -> Result<StringArray, CastFailure> {
    let (values, per_second): (Vec<i64>, i64) = match column.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            let values = column.as_primitive::<Time32SecondType>().values();
            (values.iter().map(|value| (*value).into()).collect(), 1)
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            let values = column.as_primitive::<Time32MillisecondType>().values();
            (values.iter().map(|value| (*value).into()).collect(), 1_000)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let values = column.as_primitive::<Time64MicrosecondType>().values();
            (values.to_vec(), 1_000_000)
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            let values = column.as_primitive::<Time64NanosecondType>().values();
            (values.to_vec(), 1_000_000_000)
        }
        other => return Err(CastFailure::whole(format!("{other} cannot become {to}"))),
    };
    let mut texts = Vec::with_capacity(values.len());
    for (row, value) in values.into_iter().enumerate() {
        if column.is_null(row) {
            texts.push(None);
            continue;
        }
        let seconds = value.div_euclid(per_second);
        if !(0..86_400).contains(&seconds) {
            return Err(CastFailure::at(row, value, "is no time of day"));
        }
        let ns = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
        let fraction = if ns == 0 {
            String::new()
        } else if ns % 1_000_000 == 0 {
            format!(".{:03}", ns / 1_000_000)
        } else if ns % 1_000 == 0 {
            format!(".{:06}", ns / 1_000)
        } else {
            format!(".{ns:09}")
        };
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        texts.push(Some(format!("{hour:02}:{minute:02}:{second:02}{fraction}")));
    }
    Ok(texts.into_iter().collect())
}
