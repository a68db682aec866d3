//! What ranges of time and a few keys leave of a file, by what it says of itself: its statistics in the table's log,
//! those of its row groups, and those of its pages. Whatever says nothing is read.

use std::ops::Range;

use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use provender_core::request::ColumnRange;
use provender_core::time::{is_time_type, to_instants};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Hints;

/// Times in a table's log may have been cut to milliseconds.
const CUT_US: i64 = 999;

/// The least and greatest values of a file's columns, as a Delta table's log says them.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Statistics {
    min_values: Map<String, Value>,
    max_values: Map<String, Value>,
}

/// Whether all rows of a file lie outside of a range or have none of the keys, by the statistics that the
/// log of a table with this schema has of it.
pub(super) fn is_outside(statistics: Option<&str>, schema: &Schema, hints: &Hints) -> bool {
    let statistics: Option<Statistics> =
        statistics.and_then(|text| serde_json::from_str(text).ok());
    let Some(Statistics {
        min_values,
        max_values,
    }) = statistics
    else {
        return false;
    };
    let bounds = |name: &str| {
        let field = schema.field_with_name(name).ok()?;
        Some((bound(&min_values, field), bound(&max_values, field)))
    };
    let has_other_keys = hints.keys.iter().any(|keys| {
        let (min, max) = bounds(keys.column()).unwrap_or_default();
        keys.misses(min.as_ref(), max.as_ref(), 0)
    });
    has_other_keys
        || hints.ranges.iter().any(|range| {
            let (min, max) = bounds(&range.column).unwrap_or_default();
            let instant = |value: Option<ArrayRef>| instant(&value?, 0);
            let max = instant(max).map(|max| max.saturating_add(CUT_US));
            misses(range, instant(min), max)
        })
}

/// A value of the log's JSON as one of the column's type; `None` if it is none.
fn bound(values: &Map<String, Value>, field: &Field) -> Option<ArrayRef> {
    let text = match values.get(field.name())? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    // Of other types JSON may have lost digits.
    let is_exact = field.data_type().is_integer() || field.data_type().is_temporal();
    if !is_exact && !matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View) {
        return None;
    }
    let texts = StringArray::from(vec![text]);
    arrow_cast::cast(&texts, field.data_type()).ok()
}

/// Whether values between two bounds, as far as these are known, all lie outside of a range.
fn misses(range: &ColumnRange, min: Option<i64>, max: Option<i64>) -> bool {
    let is_later = min
        .zip(range.max_us)
        .is_some_and(|(min, limit)| min > limit);
    let is_earlier = max
        .zip(range.min_us)
        .is_some_and(|(max, limit)| max < limit);
    is_later || is_earlier
}

fn instant(column: &ArrayRef, row: usize) -> Option<i64> {
    if !is_time_type(column.data_type()) || row >= column.len() {
        return None;
    }
    let instants = to_instants(&column.slice(row, 1)).ok()?;
    instants.is_valid(0).then(|| instants.value(0))
}

/// The earliest time of a row group in the first column with a range, if the file says it.
pub(super) fn earliest(metadata: &ArrowReaderMetadata, group: usize, hints: &Hints) -> Option<i64> {
    let column = &hints.ranges.first()?.column;
    let converter =
        StatisticsConverter::try_new(column, metadata.schema(), metadata.parquet_schema()).ok()?;
    let groups = [metadata.metadata().row_group(group)];
    instant(&converter.row_group_mins(groups).ok()?, 0)
}

/// What hints leave of a row group: nothing (`None`), all (`Some(None)`), or some of its rows.
pub(super) fn rows_inside(
    metadata: &ArrowReaderMetadata,
    group: usize,
    n_rows: usize,
    hints: &Hints,
) -> Option<Option<Vec<Range<usize>>>> {
    let mut inside: Vec<Range<usize>> = std::iter::once(0..n_rows).collect();
    for keys in &hints.keys {
        let converter = StatisticsConverter::try_new(
            keys.column(),
            metadata.schema(),
            metadata.parquet_schema(),
        );
        let Ok(converter) = converter else { continue };
        let groups = [metadata.metadata().row_group(group)];
        let min = converter.row_group_mins(groups).ok();
        let max = converter.row_group_maxes(groups).ok();
        if keys.misses(min.as_ref(), max.as_ref(), 0) {
            return None;
        }
        let misses =
            |mins: &ArrayRef, maxes: &ArrayRef, page| keys.misses(Some(mins), Some(maxes), page);
        if let Some(pages) = pages_inside(metadata, &converter, group, n_rows, misses) {
            inside = common(&inside, &pages);
        }
    }
    for range in &hints.ranges {
        let converter = StatisticsConverter::try_new(
            &range.column,
            metadata.schema(),
            metadata.parquet_schema(),
        );
        let Ok(converter) = converter else { continue };
        let groups = [metadata.metadata().row_group(group)];
        let min = converter.row_group_mins(groups).ok();
        let max = converter.row_group_maxes(groups).ok();
        let bound = |values: Option<ArrayRef>| values.and_then(|values| instant(&values, 0));
        if misses(range, bound(min), bound(max)) {
            return None;
        }
        let misses = |mins: &ArrayRef, maxes: &ArrayRef, page| {
            misses(range, instant(mins, page), instant(maxes, page))
        };
        if let Some(pages) = pages_inside(metadata, &converter, group, n_rows, misses) {
            inside = common(&inside, &pages);
        }
    }
    let n_inside: usize = inside.iter().map(ExactSizeIterator::len).sum();
    match n_inside {
        0 => None,
        n if n == n_rows => Some(None),
        _ => Some(Some(inside)),
    }
}

/// The rows of the pages of a column that are not missed, by their least and greatest values; `None`
/// without a page index.
fn pages_inside(
    metadata: &ArrowReaderMetadata,
    converter: &StatisticsConverter<'_>,
    group: usize,
    n_rows: usize,
    misses: impl Fn(&ArrayRef, &ArrayRef, usize) -> bool,
) -> Option<Vec<Range<usize>>> {
    let leaf = converter.parquet_column_index()?;
    let all = metadata.metadata();
    let (columns, offsets) = (all.column_index()?, all.offset_index()?);
    columns.get(group)?.get(leaf)?;
    let pages = offsets.get(group)?.get(leaf)?.page_locations();
    let mins = converter.data_page_mins(columns, offsets, [&group]).ok()?;
    let maxes = converter.data_page_maxes(columns, offsets, [&group]).ok()?;
    if mins.len() != pages.len() || maxes.len() != pages.len() {
        return None;
    }
    let mut inside: Vec<Range<usize>> = Vec::new();
    for (page, location) in pages.iter().enumerate() {
        if misses(&mins, &maxes, page) {
            continue;
        }
        let start = usize::try_from(location.first_row_index).ok()?;
        let end = match pages.get(page + 1) {
            Some(next) => usize::try_from(next.first_row_index).ok()?,
            None => n_rows,
        };
        match inside.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => inside.push(start..end),
        }
    }
    Some(inside)
}

/// What two ascending lists of ranges share.
fn common(a: &[Range<usize>], b: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut shared = Vec::new();
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let (start, end) = (x.start.max(y.start), x.end.min(y.end));
        if start < end {
            shared.push(start..end);
        }
        if x.end <= y.end {
            i += 1;
        } else {
            j += 1;
        }
    }
    shared
}
