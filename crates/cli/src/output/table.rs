//! Rows as text for people.

use std::fmt::Write;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, SchemaRef};
use comfy_table::{CellAlignment, Table};

use super::Outcome;
use super::writers::not_shown;
use crate::progress::{count, plural};

/// Longer values are cut in previews.
const MAX_CELL_CHARS: usize = 40;
/// With more columns than this, each column of a preview becomes a line.
const MAX_COLUMNS: usize = 12;
/// How many rows such a preview shows.
const MAX_TURNED_ROWS: usize = 5;

/// The first rows of a stream.
#[derive(Debug)]
pub(super) struct Preview {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    n_rows: usize,
    limit: usize,
}

impl Preview {
    pub(super) fn new(schema: SchemaRef, limit: usize) -> Self {
        Self {
            schema,
            batches: Vec::new(),
            n_rows: 0,
            limit,
        }
    }

    pub(super) fn take(&mut self, batch: &RecordBatch) {
        let wanted = (self.limit - self.n_rows).min(batch.num_rows());
        if wanted > 0 {
            self.batches.push(batch.slice(0, wanted));
            self.n_rows += wanted;
        }
    }

    pub(super) fn finish(self, total: u64) -> Outcome<String> {
        let mut rows = cells(&self.batches, MAX_CELL_CHARS, "null")?;
        // Where all rows are wanted they go below each other as soon as there are many.
        let all = self.limit == usize::MAX && rows.len() > MAX_TURNED_ROWS;
        let turned = self.schema.fields().len() > MAX_COLUMNS && !all;
        if turned {
            rows.truncate(MAX_TURNED_ROWS);
        }
        let shown = rows.len() as u64;
        let mut text = if turned {
            self.turned(&rows)
        } else {
            render(&self.schema, &rows)
        };
        let columns = plural(self.schema.fields().len() as u64, "column");
        let rows = plural(total, "row");
        let _ = if shown < total {
            writeln!(text, "{rows} ({} shown), {columns}", count(shown))
        } else {
            writeln!(text, "{rows}, {columns}")
        };
        Ok(text)
    }

    /// A line for each column, so that wide rows stay readable.
    fn turned(&self, rows: &[Vec<String>]) -> String {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        let header = (1..=rows.len()).map(|row| format!("row {row}"));
        table.set_header(
            ["column".to_owned(), "type".to_owned()]
                .into_iter()
                .chain(header),
        );
        for (index, field) in self.schema.fields().iter().enumerate() {
            let start = [field.name().clone(), type_name(field.data_type())];
            let values = rows.iter().map(|row| row[index].clone());
            table.add_row(start.into_iter().chain(values));
        }
        trimmed(&table)
    }
}

/// All rows, nothing cut, no count.
pub(super) fn plain(rows: &RecordBatch) -> Outcome<String> {
    let schema = rows.schema();
    let cells = cells(std::slice::from_ref(rows), usize::MAX, "")?;
    Ok(render(&schema, &cells))
}

fn render(schema: &SchemaRef, rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(schema.fields().iter().map(|field| field.name()));
    for row in rows {
        table.add_row(row);
    }
    for (index, field) in schema.fields().iter().enumerate() {
        if field.data_type().is_numeric()
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table)
}

fn trimmed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        let line = line.trim_end();
        text.push_str(line.strip_prefix(' ').unwrap_or(line));
        text.push('\n');
    }
    text
}

fn cells(batches: &[RecordBatch], max_chars: usize, null: &str) -> Outcome<Vec<Vec<String>>> {
    let options = FormatOptions::default()
        .with_null(null)
        .with_display_error(true);
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| not_shown(&error))?;
        for row in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|column| cut(&column.value(row).to_string(), max_chars))
                    .collect(),
            );
        }
    }
    Ok(rows)
}

/// A value on one line without control characters, cut where it is too long.
fn cut(value: &str, max_chars: usize) -> String {
    let clean = |c: char| {
        if c.is_control() && (c != '\n' || max_chars < usize::MAX) {
            ' '
        } else {
            c
        }
    };
    if value.chars().count() <= max_chars {
        return value.chars().map(clean).collect();
    }
    let mut text: String = value.chars().take(max_chars - 1).map(clean).collect();
    text.push('…');
    text
}

fn type_name(data_type: &DataType) -> String {
    provender_core::ValueType::from_arrow(data_type).map_or_else(
        || data_type.to_string(),
        |value_type| value_type.to_string(),
    )
}
