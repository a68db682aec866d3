//! Casts of lists, structs and maps. Values that a null row hides are never looked at: they may be
//! anything, so they must not make a cast fail.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, ListArray, MapArray, StructArray,
    UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Fields};
use arrow_select::nullif::nullif;
use arrow_select::take::take;
use provender_core::ValueType;

use super::text::too_large;
use super::{CastFailure, cast};

pub(super) fn to_list(column: &ArrayRef, item: &ValueType) -> Result<ArrayRef, CastFailure> {
    let dense = Dense::new(column)?;
    let values = dense.cast_values(item)?;
    let field = Arc::new(item.to_field("item"));
    let list = ListArray::try_new(field, dense.offsets, values, dense.nulls)?;
    Ok(Arc::new(list))
}

pub(super) fn to_embedding(column: &ArrayRef, size: i32) -> Result<ArrayRef, CastFailure> {
    let to = ValueType::Embedding(size);
    let field = Arc::new(Field::new("item", DataType::Float32, true));
    let width =
        usize::try_from(size).map_err(|_| CastFailure::whole(format!("{to} is no type")))?;
    if let DataType::FixedSizeList(item, found) = column.data_type()
        && *item.data_type() == DataType::Float32
        && *found == size
    {
        // Only the name or nullability of the item differs.
        let lists = column.as_fixed_size_list();
        let (values, nulls) = (lists.values().clone(), lists.nulls().cloned());
        let list =
            FixedSizeListArray::try_new_with_length(field, size, values, nulls, lists.len())?;
        return Ok(Arc::new(list));
    }
    let dense = Dense::new(column)?;
    let mut indices: Vec<Option<u64>> = Vec::with_capacity(column.len().saturating_mul(width));
    for (row, window) in dense.offsets.windows(2).enumerate() {
        let (start, end) = (index(window[0]), index(window[1]));
        if column.is_null(row) {
            indices.extend(std::iter::repeat_n(None, width));
            continue;
        }
        if end - start != width {
            // A number of an earlier row that does not fit comes first.
            to_embedding(&column.slice(0, row), size)?;
            let found = format!("a list of length {}", end - start);
            return Err(CastFailure::misfit(row, found, &to));
        }
        indices.extend((start as u64..end as u64).map(Some));
    }
    let values = dense.cast_values(&ValueType::Float32)?;
    let values = take(values.as_ref(), &UInt64Array::from(indices), None)?;
    let nulls = dense.nulls;
    let list = FixedSizeListArray::try_new_with_length(field, size, values, nulls, column.len())?;
    Ok(Arc::new(list))
}

pub(super) fn to_struct(
    column: &ArrayRef,
    fields: &[(String, ValueType)],
) -> Result<ArrayRef, CastFailure> {
    let found = column
        .as_struct_opt()
        .filter(|found| found.num_columns() == fields.len())
        .ok_or_else(|| no_cast(column, &ValueType::Struct(fields.to_vec())))?;
    let hidden = found
        .nulls()
        .map(|nulls| BooleanArray::new(!nulls.inner(), None));
    let mut columns = Vec::with_capacity(fields.len());
    let mut failures = Vec::new();
    for ((name, to), child) in fields.iter().zip(found.columns()) {
        let child = match &hidden {
            Some(hidden) => nullif(child, hidden)?,
            None => child.clone(),
        };
        match cast(&child, to) {
            Ok(child) => columns.push(child),
            Err(failure) => failures.push(failure.inside(&format!("field {name:?}"))),
        }
    }
    if let Some(first) = failures.into_iter().min_by_key(|failure| failure.row) {
        return Err(first);
    }
    let fields: Fields = fields.iter().map(|(name, to)| to.to_field(name)).collect();
    let nulls = found.nulls().cloned();
    let structs = StructArray::try_new_with_length(fields, columns, nulls, column.len())?;
    Ok(Arc::new(structs))
}

pub(super) fn to_map(
    column: &ArrayRef,
    key: &ValueType,
    value: &ValueType,
) -> Result<ArrayRef, CastFailure> {
    let to = ValueType::Map(Box::new(key.clone()), Box::new(value.clone()));
    let dense = Dense::new(column)?;
    let DataType::Map(entries_field, _) = to.to_arrow() else {
        return Err(no_cast(column, &to));
    };
    let DataType::Struct(fields) = entries_field.data_type() else {
        return Err(no_cast(column, &to));
    };
    let entries = dense
        .values
        .as_struct_opt()
        .filter(|entries| entries.num_columns() == 2)
        .ok_or_else(|| no_cast(column, &to))?;
    let cast_entry = |index: usize, to: &ValueType, what: &str| {
        cast(entries.column(index), to).map_err(|failure| {
            let row = dense.row_of(failure.row);
            failure.at_row(row).inside(what)
        })
    };
    let keys = cast_entry(0, key, "a key of a map").and_then(|keys| {
        match (0..keys.len()).find(|index| keys.is_null(*index)) {
            None => Ok(keys),
            Some(index) => {
                let row = dense.row_of(index);
                Err(CastFailure::misfit(row, "a map with a null key", &to))
            }
        }
    });
    let values = cast_entry(1, value, "a value of a map");
    let (keys, values) = match (keys, values) {
        (Ok(keys), Ok(values)) => (keys, values),
        (Err(key), Err(value)) if value.row < key.row => return Err(value),
        (Err(failure), _) | (_, Err(failure)) => return Err(failure),
    };
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    let map = MapArray::try_new(entries_field, dense.offsets, entries, dense.nulls, false)?;
    Ok(Arc::new(map))
}

fn no_cast(column: &ArrayRef, to: &ValueType) -> CastFailure {
    CastFailure::whole(format!("{} cannot become {to}", column.data_type()))
}

impl CastFailure {
    fn inside(mut self, place: &str) -> Self {
        if !self.value.is_empty() {
            self.reason = format!("in {place} {}", self.reason);
        }
        self
    }
}

/// Where the values of a row start and end.
type Ranges<'a> = Box<dyn Fn(usize) -> (usize, usize) + 'a>;

/// A list column whose values are exactly those of its valid rows, one row after the other.
struct Dense {
    values: ArrayRef,
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
}

impl Dense {
    fn new(column: &ArrayRef) -> Result<Self, CastFailure> {
        let (values, range): (ArrayRef, Ranges<'_>) = match column.data_type() {
            DataType::List(_) => {
                let lists = column.as_list::<i32>();
                let offsets = lists.offsets();
                let range = |row: usize| (index(offsets[row]), index(offsets[row + 1]));
                (lists.values().clone(), Box::new(range))
            }
            DataType::LargeList(_) => {
                let lists = column.as_list::<i64>();
                let offsets = lists.offsets();
                let range = |row: usize| (index(offsets[row]), index(offsets[row + 1]));
                (lists.values().clone(), Box::new(range))
            }
            DataType::ListView(_) => {
                let lists = column.as_list_view::<i32>();
                let (offsets, sizes) = (lists.offsets(), lists.sizes());
                let range = |row: usize| {
                    let start = index(offsets[row]);
                    (start, start + index(sizes[row]))
                };
                (lists.values().clone(), Box::new(range))
            }
            DataType::LargeListView(_) => {
                let lists = column.as_list_view::<i64>();
                let (offsets, sizes) = (lists.offsets(), lists.sizes());
                let range = |row: usize| {
                    let start = index(offsets[row]);
                    (start, start + index(sizes[row]))
                };
                (lists.values().clone(), Box::new(range))
            }
            DataType::FixedSizeList(_, size) => {
                let size = index(*size);
                let values = column.as_fixed_size_list().values().clone();
                (values, Box::new(move |row| (row * size, (row + 1) * size)))
            }
            DataType::Map(_, _) => {
                let maps = column.as_map();
                let offsets = maps.offsets();
                let range = |row: usize| (index(offsets[row]), index(offsets[row + 1]));
                (Arc::new(maps.entries().clone()), Box::new(range))
            }
            other => {
                return Err(CastFailure::whole(format!("{other} is no list")));
            }
        };
        Self::from_ranges(column, values, range)
    }

    fn from_ranges(
        column: &ArrayRef,
        values: ArrayRef,
        range: impl Fn(usize) -> (usize, usize),
    ) -> Result<Self, CastFailure> {
        let mut offsets: Vec<i32> = Vec::with_capacity(column.len() + 1);
        offsets.push(0);
        let mut total = 0_usize;
        // Where the values of the rows so far start and end, while they lie side by side.
        let mut span: Option<(usize, usize)> = None;
        let mut side_by_side = true;
        for row in 0..column.len() {
            let (start, end) = range(row);
            if column.is_valid(row) && end > start {
                total += end - start;
                span = match span {
                    None => Some((start, end)),
                    Some((first, last)) => {
                        side_by_side &= start == last;
                        Some((first, end))
                    }
                };
            }
            offsets.push(i32::try_from(total).map_err(|_| too_large(row))?);
        }
        let values = match span {
            None => values.slice(0, 0),
            Some((first, _)) if side_by_side => values.slice(first, total),
            Some(_) => {
                let indices: UInt64Array = (0..column.len())
                    .filter(|row| column.is_valid(*row))
                    .flat_map(|row| {
                        let (start, end) = range(row);
                        start as u64..end as u64
                    })
                    .collect::<Vec<u64>>()
                    .into();
                take(values.as_ref(), &indices, None)?
            }
        };
        Ok(Self {
            values,
            offsets: OffsetBuffer::new(offsets.into()),
            nulls: column.nulls().cloned(),
        })
    }

    fn cast_values(&self, item: &ValueType) -> Result<ArrayRef, CastFailure> {
        cast(&self.values, item).map_err(|failure| {
            let row = self.row_of(failure.row);
            failure.at_row(row).inside("a list")
        })
    }

    /// The row whose list holds a value.
    fn row_of(&self, value: usize) -> usize {
        self.offsets
            .partition_point(|offset| index(*offset) <= value)
            .saturating_sub(1)
    }
}

fn index(offset: impl TryInto<usize>) -> usize {
    offset.try_into().unwrap_or_default()
}
