//! Pushed rows as the rows of the source's table.
//!
//! Decides which tables take rows, and that a row reads back as it was pushed: casts to the table's
//! types lose nothing, and features that share a column must agree.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, SchemaRef};
use provender_core::model::{FeatureView, Relation};
use provender_core::provider::{OfflineStore, unsupported};
use provender_core::{Error, Result, ValueType, codes};
use provender_engine::cast::cast_value;

use super::columns::PushColumns;
use crate::cells::{cell_text, same_cell, same_column};
use crate::spine::defect;

/// The table of a view's source, if its newest state is what the view reads.
///
/// # Errors
/// `FailedPrecondition` (`P509`) for a query and for a pinned version.
pub(crate) fn table_of(view: &FeatureView, what: &str) -> Result<String> {
    let source = &view.source;
    let refuse = |why: &str, help: &str| {
        Error::new(
            &codes::SOURCE_READ_ONLY,
            format!(
                "{what} source {:?} of view {:?}, {why}",
                source.name, view.name
            ),
        )
        .help(help)
        .context("view", view.name.clone())
    };
    match &source.relation {
        Relation::Query(_) => Err(refuse(
            "which is a query",
            "change the tables that the query reads, and use the online part for online rows",
        )),
        Relation::Table(_) if source.version.is_some() => Err(refuse(
            "which is pinned to a version of its table",
            "leave `version:` out of the source, or change the table with the store's own tools",
        )),
        Relation::Table(table) => Ok(table.clone()),
    }
}

/// How pushed rows become rows of a table.
#[derive(Clone, Debug)]
pub(crate) struct TableRows {
    columns: Arc<PushColumns>,
    table: String,
    schema: SchemaRef,
    /// For each column of the table the pushed columns that fill it.
    filled_by: Vec<Vec<usize>>,
}

impl TableRows {
    /// Finds which columns of the table are filled.
    ///
    /// # Errors
    /// `Unsupported` (`P801`) for a store that does not write; `FailedPrecondition` (`P509`) for a
    /// column that may not be null and that nothing fills, or whose type no value has.
    pub(crate) fn new(
        columns: Arc<PushColumns>,
        store: &dyn OfflineStore,
        table: &str,
        schema: SchemaRef,
    ) -> Result<Self> {
        if !store.capabilities().write {
            return Err(unsupported(&store.info(), "writing tables")
                .help("write the table with the store's own tools, or push to online alone"));
        }
        let mut filled_by = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let filling: Vec<usize> = (0..columns.columns.len())
                .filter(|&at| columns.columns[at].column == *field.name())
                .collect();
            let problem = if filling.is_empty() && !field.is_nullable() {
                "may not be null, and the view does not fill it"
            } else if !filling.is_empty() && ValueType::from_arrow(field.data_type()).is_none() {
                "has a type that no pushed value has"
            } else {
                filled_by.push(filling);
                continue;
            };
            return Err(Error::new(
                &codes::SOURCE_READ_ONLY,
                format!(
                    "rows for view {:?} cannot be added to table {table:?}: its column {:?} {problem}",
                    columns.view,
                    field.name()
                ),
            )
            .help("write the table with the store's own tools, or push to online alone")
            .context("view", columns.view.clone()));
        }
        Ok(Self {
            columns,
            table: table.to_owned(),
            schema,
            filled_by,
        })
    }

    /// The table's columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows of [`PushColumns::schema`] as rows of the table.
    ///
    /// # Errors
    /// `InvalidArgument` (`P409`) for a value that the table's column cannot hold, and for features
    /// of one column that disagree.
    pub(crate) fn of(&self, rows: &RecordBatch, first_row: u64) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.filled_by.len());
        for (field, filling) in self.schema.fields().iter().zip(&self.filled_by) {
            let Some((&first, others)) = filling.split_first() else {
                arrays.push(new_null_array(field.data_type(), rows.num_rows()));
                continue;
            };
            let array = self.column(rows, first, field.data_type(), first_row)?;
            for &other in others {
                let second = self.column(rows, other, field.data_type(), first_row)?;
                self.check_agree(rows, (first, &array), (other, &second), first_row)?;
            }
            if !field.is_nullable()
                && let Some(row) = (0..array.len()).find(|&row| array.is_null(row))
            {
                return Err(self.columns.bad_row(format!(
                    "row {} ({}) for view {:?}: {:?} is null, and column {:?} of table {:?} may not be",
                    first_row + row as u64,
                    self.columns.key(&rows.columns()[..self.columns.n_keys], row),
                    self.columns.view,
                    self.columns.columns[first].name,
                    field.name(),
                    self.table
                )));
            }
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| defect("pushed rows do not fit the table's types", error))
    }

    fn column(
        &self,
        rows: &RecordBatch,
        column: usize,
        to: &DataType,
        first_row: u64,
    ) -> Result<ArrayRef> {
        let Some(value_type) = ValueType::from_arrow(to) else {
            return Err(Error::new(
                &codes::INTERNAL,
                "a column's type was not checked",
            ));
        };
        let array = self
            .columns
            .cast_again(rows, column, &value_type, first_row)?;
        exact(&array, &value_type, to).map_err(|row| {
            self.columns.bad_row(format!(
                "row {} ({}) for view {:?}: the value {} of {:?} does not fit column {:?} of table {:?}, which is {to}",
                first_row + row as u64,
                self.columns.key(&rows.columns()[..self.columns.n_keys], row),
                self.columns.view,
                cell_text(array.as_ref(), row),
                self.columns.columns[column].name,
                self.columns.columns[column].column,
                self.table,
            ))
        })
    }

    fn check_agree(
        &self,
        rows: &RecordBatch,
        (first, a): (usize, &ArrayRef),
        (second, b): (usize, &ArrayRef),
        first_row: u64,
    ) -> Result<()> {
        if same_column(a.as_ref(), b.as_ref()) {
            return Ok(());
        }
        let differing = (0..a.len()).find(|&row| !same_cell(a.as_ref(), row, b.as_ref(), row));
        let Some(row) = differing else {
            return Ok(());
        };
        let names = &self.columns.columns;
        Err(self.columns.bad_row(format!(
            "row {} ({}) for view {:?}: {:?} and {:?} are both column {:?} of table {:?}, and are {} and {}",
            first_row + row as u64,
            self.columns.key(&rows.columns()[..self.columns.n_keys], row),
            self.columns.view,
            names[first].name,
            names[second].name,
            names[first].column,
            self.table,
            cell_text(a.as_ref(), row),
            cell_text(b.as_ref(), row),
        )))
    }
}

/// A column of a value type as exactly the Arrow type that a table has for it; fails with the first
/// row whose value that type cannot hold, such as an instant with microseconds in a column of seconds.
pub(crate) fn exact(
    array: &ArrayRef,
    value_type: &ValueType,
    to: &DataType,
) -> std::result::Result<ArrayRef, usize> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    // What does not fit becomes null, and so does not read back as it was.
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let stored = cast_with_options(array, to, &options).map_err(|_| 0_usize)?;
    let back = cast_value(&stored, value_type, true).map_err(|failure| failure.row)?;
    if same_column(array.as_ref(), back.as_ref()) {
        return Ok(stored);
    }
    match (0..array.len()).find(|&row| !same_cell(array.as_ref(), row, back.as_ref(), row)) {
        None => Ok(stored),
        Some(row) => Err(row),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use arrow_array::TimestampMicrosecondArray;
    use arrow_schema::TimeUnit;
    use provender_definitions::parse_definitions;

    fn table(source: &str) -> Result<String> {
        let definitions = format!(
            "
entities: []
sources:
  - {{name: s, timestamp: at, {source}}}
feature_views:
  - {{name: v, entities: [], source: s, features: [{{name: a, type: int64}}]}}
"
        );
        let loaded = parse_definitions(&[("all.yaml", &definitions)]).unwrap();
        table_of(
            &loaded.definitions.feature_views["v"],
            "rows cannot be added to",
        )
    }

    #[test]
    fn only_the_newest_state_of_a_table_takes_rows() {
        assert_eq!(table("table: t").unwrap(), "t");
        assert_eq!(table("table: t, filter: a > 1").unwrap(), "t");
        let error = table("query: SELECT 1").unwrap_err();
        assert_eq!(error.code(), "P509");
        assert_eq!(
            error.to_string(),
            "rows cannot be added to source \"s\" of view \"v\", which is a query; \
             change the tables that the query reads, and use the online part for online rows"
        );
        let error = table("table: t, version: 3").unwrap_err();
        assert_eq!(
            error.to_string(),
            "rows cannot be added to source \"s\" of view \"v\", which is pinned to a version of its table; \
             leave `version:` out of the source, or change the table with the store's own tools"
        );
    }

    #[test]
    fn a_table_s_type_holds_a_value_exactly_or_the_row_is_named() {
        let instants: ArrayRef = Arc::new(
            TimestampMicrosecondArray::from(vec![Some(1_000_000), None, Some(1)])
                .with_timezone("UTC"),
        );
        let seconds = DataType::Timestamp(TimeUnit::Second, None);
        assert_eq!(exact(&instants, &ValueType::Timestamp, &seconds), Err(2));
        let whole = exact(&instants.slice(0, 2), &ValueType::Timestamp, &seconds).unwrap();
        assert_eq!((whole.data_type(), whole.null_count()), (&seconds, 1));
    }
}
