//! Columns of one Arrow type as columns of another, without losing values: timestamps are floored to
//! microseconds, nested fields are matched by position in lists and maps and by name in structs, and
//! a value that does not fit is an error, never a null.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, ListArray, MapArray, RecordBatch, RecordBatchOptions,
    StructArray, new_null_array,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use provender_core::time::to_instants;
use provender_core::{Error, Result, codes};

/// A column as another type.
///
/// # Errors
/// `P501` for a value that the type cannot hold.
pub(crate) fn convert(name: &str, column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    match (column.data_type(), to) {
        (DataType::Null, _) => Ok(new_null_array(to, column.len())),
        (DataType::Timestamp(_, _), DataType::Timestamp(_, zone)) => {
            let instants = to_instants(column).map_err(|error| error.context("column", name))?;
            Ok(Arc::new(instants.with_timezone_opt(zone.clone())))
        }
        (DataType::List(_), DataType::List(item)) => {
            let list: &ListArray = column.as_list();
            let values = convert(&format!("{name}[]"), list.values(), item.data_type())?;
            ListArray::try_new(
                item.clone(),
                list.offsets().clone(),
                values,
                list.nulls().cloned(),
            )
            .map(|list| Arc::new(list) as ArrayRef)
            .map_err(|error| misfit(name, to, error))
        }
        (DataType::LargeList(inner) | DataType::FixedSizeList(inner, _), DataType::List(_)) => {
            let list = cast(name, column, &DataType::List(inner.clone()))?;
            convert(name, &list, to)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let parts: &StructArray = column.as_struct();
            let columns = fields
                .iter()
                .map(|field| match parts.column_by_name(field.name()) {
                    Some(part) => {
                        convert(&format!("{name}.{}", field.name()), part, field.data_type())
                    }
                    None => Ok(new_null_array(field.data_type(), parts.len())),
                })
                .collect::<Result<Vec<_>>>()?;
            StructArray::try_new(fields.clone(), columns, parts.nulls().cloned())
                .map(|parts| Arc::new(parts) as ArrayRef)
                .map_err(|error| misfit(name, to, error))
        }
        (DataType::Map(_, _), DataType::Map(entries, sorted)) => {
            let map: &MapArray = column.as_map();
            let DataType::Struct(fields) = entries.data_type() else {
                return cast(name, column, to);
            };
            let columns = fields
                .iter()
                .zip(map.entries().columns())
                .map(|(field, part)| {
                    convert(&format!("{name}.{}", field.name()), part, field.data_type())
                })
                .collect::<Result<Vec<_>>>()?;
            StructArray::try_new(fields.clone(), columns, None)
                .and_then(|parts| {
                    MapArray::try_new(
                        entries.clone(),
                        map.offsets().clone(),
                        parts,
                        map.nulls().cloned(),
                        *sorted,
                    )
                })
                .map(|map| Arc::new(map) as ArrayRef)
                .map_err(|error| misfit(name, to, error))
        }
        (DataType::Dictionary(_, value), _) if **value != *to => {
            let plain = cast(name, column, value)?;
            convert(name, &plain, to)
        }
        _ => cast(name, column, to),
    }
}

const DAY_US: i64 = 86_400_000_000;
/// Days since 1970 of the years 1 to 9999.
const DAYS: RangeInclusive<i64> = -719_162..=2_932_896;
/// Microseconds since 1970 of the same years.
const INSTANTS_US: RangeInclusive<i64> = -719_162 * DAY_US..=2_932_897 * DAY_US - 1;

/// Refuses dates and times outside of the years 1 to 9999, also within lists, maps and structs: the
/// statistics of a table's log are texts that have no other years, and most readers know no others.
///
/// # Errors
/// `P501` that names the column.
pub(crate) fn refuse_far_times(name: &str, column: &dyn Array) -> Result<()> {
    let is_far = match column.data_type() {
        DataType::Date32 => has_outside::<Date32Type>(column, &DAYS),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            has_outside::<TimestampMicrosecondType>(column, &INSTANTS_US)
        }
        DataType::List(_) => {
            let list: &ListArray = column.as_list();
            return refuse_far_times(name, &used(list.values(), list.value_offsets()));
        }
        DataType::Map(_, _) => {
            let map: &MapArray = column.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            return refuse_far_times(name, &used(&entries, map.value_offsets()));
        }
        DataType::Struct(_) => {
            let parts = column.as_struct().columns();
            return parts
                .iter()
                .try_for_each(|part| refuse_far_times(name, part));
        }
        _ => false,
    };
    if !is_far {
        return Ok(());
    }
    Err(Error::new(
        &codes::CHECKED_CAST,
        format!(
            "column {name:?} holds a time outside of the years 1 to 9999, which a Delta table cannot tell"
        ),
    )
    .help("write null or 9999-12-31 instead, or the number or text that the column is made of")
    .context("column", name))
}

/// The values that a list's or map's rows use.
fn used(values: &ArrayRef, offsets: &[i32]) -> ArrayRef {
    let place = |offset: Option<&i32>| offset.map_or(0, |offset| *offset as usize);
    let (first, last) = (place(offsets.first()), place(offsets.last()));
    values.slice(first, last - first)
}

fn has_outside<T: ArrowPrimitiveType>(column: &dyn Array, inside: &RangeInclusive<i64>) -> bool
where
    T::Native: Into<i64>,
{
    let values = column.as_primitive::<T>();
    let mut values = values.iter().flatten();
    values.any(|value| !inside.contains(&value.into()))
}

fn cast(name: &str, column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, to, &options).map_err(|error| misfit(name, to, error))
}

fn misfit(name: &str, to: &DataType, error: arrow_schema::ArrowError) -> Error {
    Error::new(
        &codes::CHECKED_CAST,
        format!("column {name:?} holds a value that {to} cannot: {error}"),
    )
    .context("column", name)
    .source(error)
}

/// A batch with `columns[i]` of the given one as column i of `schema`.
///
/// # Errors
/// As [`convert`].
pub(crate) fn rearrange(
    batch: &RecordBatch,
    columns: &[usize],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let arrays = columns
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| convert(field.name(), batch.column(*column), field.data_type()))
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options).map_err(|error| {
        Error::new(
            &codes::OFFLINE_DATA,
            format!("rows of the offline store break their own schema: {error}"),
        )
        .source(error)
    })
}
