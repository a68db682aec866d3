//! Single values of columns: as text for messages, and whether two are the same bit for bit.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, TimeUnit};
use provender_core::time::format_instant;

/// Longer texts are cut.
const LONGEST: usize = 100;

/// A value as text: `null`, RFC 3339 for instants, cut if it is long.
pub(crate) fn cell_text(column: &dyn Array, row: usize) -> String {
    let mut text = String::new();
    append(&mut text, column, row);
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn append(text: &mut String, column: &dyn Array, row: usize) {
    if row >= column.len() || column.is_null(row) {
        text.push_str("null");
        return;
    }
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let instants = column.as_primitive::<TimestampMicrosecondType>();
            text.push_str(&format_instant(instants.value(row)));
        }
        DataType::List(_) => append_items(text, column.as_list::<i32>().value(row).as_ref()),
        DataType::FixedSizeList(_, _) => {
            append_items(text, column.as_fixed_size_list().value(row).as_ref());
        }
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            for (at, (field, column)) in fields.iter().zip(columns).enumerate() {
                text.push_str(if at == 0 { "{" } else { ", " });
                text.push_str(field.name());
                text.push_str(": ");
                append(text, column.as_ref(), row);
            }
            text.push('}');
        }
        DataType::Map(_, _) => {
            let entries = column.as_map().value(row);
            text.push('{');
            for at in 0..entries.len().min(LONGEST) {
                text.push_str(if at == 0 { "" } else { ", " });
                append(text, entries.column(0).as_ref(), at);
                text.push_str(": ");
                append(text, entries.column(1).as_ref(), at);
            }
            text.push('}');
        }
        data_type => match ArrayFormatter::try_new(column, &FormatOptions::default()) {
            Ok(formatter) => text.push_str(&formatter.value(row).to_string()),
            Err(_) => text.push_str(&format!("a value of {data_type}")),
        },
    }
}

fn append_items(text: &mut String, items: &dyn Array) {
    text.push('[');
    // What lies beyond is cut anyway.
    for at in 0..items.len().min(LONGEST) {
        text.push_str(if at == 0 { "" } else { ", " });
        append(text, items, at);
    }
    text.push(']');
}

/// A key as `origin=JFK,dest=LAX`; `the global row` without join keys.
pub(crate) fn key_text<'a>(
    keys: impl IntoIterator<Item = (&'a str, &'a ArrayRef)>,
    row: usize,
) -> String {
    let parts: Vec<String> = keys
        .into_iter()
        .map(|(name, column)| format!("{name}={}", cell_text(column.as_ref(), row)))
        .collect();
    if parts.is_empty() {
        return "the global row".to_owned();
    }
    parts.join(",")
}

/// Whether two columns of one type hold the same values, every bit of floats included; what lies
/// under a null does not count.
pub(crate) fn same_column(a: &dyn Array, b: &dyn Array) -> bool {
    a.data_type() == b.data_type() && a.to_data() == b.to_data()
}

/// [`same_column`] of one row each.
pub(crate) fn same_cell(a: &dyn Array, row_a: usize, b: &dyn Array, row_b: usize) -> bool {
    match (a.is_null(row_a), b.is_null(row_b)) {
        (true, true) => true,
        (false, false) => same_column(a.slice(row_a, 1).as_ref(), b.slice(row_b, 1).as_ref()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use arrow_array::types::Float64Type;
    use arrow_array::{Float64Array, ListArray, StringArray, TimestampMicrosecondArray};

    #[test]
    fn floats_are_the_same_by_their_bits() {
        let other_nan = f64::from_bits(f64::NAN.to_bits() ^ 1);
        let values: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(f64::NAN),
            Some(f64::NAN),
            Some(other_nan),
            Some(0.0),
            Some(-0.0),
            None,
            None,
        ]));
        let same = |a, b| same_cell(values.as_ref(), a, values.as_ref(), b);
        assert!(same(0, 1) && same(5, 6) && same(3, 3));
        assert!(!same(0, 2) && !same(3, 4) && !same(0, 5));
        let list = |value: f64| -> ArrayRef {
            let row = Some(vec![Some(value), None]);
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([row]))
        };
        assert!(same_cell(
            list(f64::NAN).as_ref(),
            0,
            list(f64::NAN).as_ref(),
            0
        ));
        assert!(!same_cell(
            list(f64::NAN).as_ref(),
            0,
            list(other_nan).as_ref(),
            0
        ));
    }

    #[test]
    fn keys_and_times_are_readable() {
        let origin: ArrayRef = Arc::new(StringArray::from(vec!["JFK"]));
        let at: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![3_600_000_000]).with_timezone("UTC"));
        assert_eq!(
            key_text([("origin", &origin), ("at", &at)], 0),
            "origin=JFK,at=1970-01-01T01:00:00Z"
        );
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(300)]));
        assert_eq!(cell_text(long.as_ref(), 0).len(), 103);
    }
}
