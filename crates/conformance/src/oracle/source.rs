//! The rows of a timed source, and which of them are the newest.

use std::cmp::Ordering;

use provender_core::ValueType;
use provender_core::model::Relation;
use provender_core::request::{KeyColumn, TimedSource};

use super::{Value, cast, order};
use crate::{Table, Tables};

/// One row of a source: what orders it, and where its other cells are.
pub(crate) struct SourceRow {
    pub(crate) keys: Vec<Value>,
    pub(crate) event_us: Option<i64>,
    pub(crate) created_us: Option<i64>,
    tie_breakers: Vec<Value>,
    batch: usize,
    row: usize,
}

/// All rows of a source, in the table's order.
pub(crate) struct SourceRows<'a> {
    table: &'a Table,
    pub(crate) rows: Vec<SourceRow>,
}

impl<'a> SourceRows<'a> {
    pub(crate) fn load(
        tables: &'a Tables,
        source: &TimedSource,
        keys: &[KeyColumn],
    ) -> Result<Self, String> {
        let Relation::Table(name) = &source.source.relation else {
            return Err("the oracle reads tables only, no queries".to_owned());
        };
        if source.source.filter.is_some() || source.source.version.is_some() {
            return Err("the oracle knows no filters and no versions".to_owned());
        }
        let table = tables
            .get(name)
            .ok_or_else(|| format!("there is no table {name:?}"))?;
        let mut loaded = Self {
            table,
            rows: Vec::new(),
        };
        for (batch, rows) in table.batches.iter().enumerate() {
            for row in 0..rows.num_rows() {
                let cell = |column: &str| loaded.read(batch, row, column);
                let mut key_values = Vec::new();
                for key in keys {
                    key_values.push(cast(&cell(&key.column)?, &key.value_type)?);
                }
                let created_us = match &source.created_timestamp {
                    Some(column) => cell(column)?.instant_us()?,
                    None => None,
                };
                let mut tie_breakers = Vec::new();
                for column in &source.tie_breakers {
                    tie_breakers.push(cell(column)?);
                }
                let event_us = cell(&source.timestamp)?.instant_us()?;
                loaded.rows.push(SourceRow {
                    keys: key_values,
                    event_us,
                    created_us,
                    tie_breakers,
                    batch,
                    row,
                });
            }
        }
        Ok(loaded)
    }

    /// A cell as the source holds it.
    pub(crate) fn cell(&self, row: &SourceRow, column: &str) -> Result<Value, String> {
        self.read(row.batch, row.row, column)
    }

    /// A cell as the declared type, or why it does not fit.
    pub(crate) fn feature(
        &self,
        row: &SourceRow,
        column: &str,
        to: &ValueType,
    ) -> Result<Result<Value, String>, String> {
        Ok(cast(&self.cell(row, column)?, to))
    }

    fn read(&self, batch: usize, row: usize, column: &str) -> Result<Value, String> {
        let array = self.table.batches[batch]
            .column_by_name(column)
            .ok_or_else(|| format!("the table has no column {column:?}"))?;
        Value::read(array.as_ref(), row)
    }
}

/// Whether a row's key is the asked one: all parts equal, none of them null.
pub(crate) fn matches(row: &SourceRow, keys: &[Value]) -> bool {
    row.keys
        .iter()
        .zip(keys)
        .all(|(a, b)| !a.is_null() && !b.is_null() && a.is_identical(b))
}

/// All rows that no other row of the list comes after: one, or several in a full tie.
pub(crate) fn newest<'r>(rows: &[&'r SourceRow]) -> Vec<&'r SourceRow> {
    let mut winners: Vec<&SourceRow> = Vec::new();
    for row in rows {
        match winners.first().map(|winner| age(row, winner)) {
            None => winners.push(row),
            Some(Ordering::Greater) => winners = vec![row],
            Some(Ordering::Equal) => winners.push(row),
            Some(Ordering::Less) => {}
        }
    }
    winners
}

/// Event time, then created time with null lowest, then each tie breaker with null lowest.
fn age(a: &SourceRow, b: &SourceRow) -> Ordering {
    let tie_breakers = || {
        a.tie_breakers
            .iter()
            .zip(&b.tie_breakers)
            .map(|(a, b)| order(a, b))
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
    };
    a.event_us
        .cmp(&b.event_us)
        .then(a.created_us.cmp(&b.created_us))
        .then_with(tie_breakers)
}
