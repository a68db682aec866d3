//! Erasing keys: all rows of a table whose key columns equal one of the given rows.
//!
//! Rows leave the table's newest state; files of older versions hold them until they are vacuumed.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use datafusion::common::ScalarValue;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{Expr, in_list, lit};
use datafusion::prelude::ident;
use deltalake::delta_datafusion::planner::DeltaPlanner;
use provender_core::model::Relation;
use provender_core::names::find_column;
use provender_core::provider::{Provider, unsupported};
use provender_core::request::SourceRef;
use provender_core::{Context, Error, Result, codes};

use crate::convert::convert;
use crate::error::{OnTable, fenced, is_conflict};
use crate::schema::takes;
use crate::store::DeltaOfflineStore;
use crate::tables::Kind;
use crate::write::{MAX_COMMIT_ATTEMPTS, pause};

/// A condition over this many keys is still planned quickly; more keys take several commits.
const KEYS_PER_COMMIT: usize = 1_000;

/// Deletes the rows whose key columns equal a row of `keys`, null to null.
pub(crate) async fn delete(
    store: &DeltaOfflineStore,
    cx: &Context,
    source: &SourceRef,
    keys: &RecordBatch,
) -> Result<()> {
    cx.check()?;
    let Relation::Table(name) = &source.relation else {
        return Err(unsupported(&store.info(), "deleting from a query")
            .help("delete from the tables that it reads"));
    };
    if source.version.is_some() {
        return Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!("rows of a past version of table {name:?} cannot be deleted"),
        )
        .help("leave the version out")
        .context("table", name.clone()));
    }
    let place = store.tables.find_existing(name).await?;
    if place.kind == Kind::Parquet {
        return Err(unsupported(&store.info(), "deleting from Parquet files")
            .context("table", name.clone()));
    }
    if keys.num_columns() == 0 {
        return Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!("keys to delete from table {name:?} have no column"),
        ));
    }
    let table = store.tables.open(&place, None).await?;
    let schema = table
        .snapshot()
        .on_table(name, "cannot be read")?
        .snapshot()
        .arrow_schema();
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (field, values) in keys.schema().fields().iter().zip(keys.columns()) {
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let found = find_column(field.name(), names)
            .map_err(|error| error.context("table", name.clone()))?;
        let data_type = schema
            .field_with_name(found)
            .map_err(|error| Error::new(&codes::INTERNAL, "a column vanished").source(error))?
            .data_type();
        if !takes(data_type, field.data_type()) {
            return Err(Error::new(
                &codes::OFFLINE_REQUEST,
                format!(
                    "column {found:?} of table {name:?} is {data_type} and cannot be compared with keys of {}",
                    field.data_type()
                ),
            )
            .context("table", name.clone()));
        }
        columns.push((found.to_owned(), convert(found, values, data_type)?));
    }
    let mut start = 0;
    while start < keys.num_rows() {
        let end = (start + KEYS_PER_COMMIT).min(keys.num_rows());
        let condition = matches(&columns, start..end)?;
        delete_where(store, cx, name, condition).await?;
        start = end;
    }
    Ok(())
}

async fn delete_where(
    store: &DeltaOfflineStore,
    cx: &Context,
    name: &str,
    condition: Expr,
) -> Result<()> {
    let place = store.tables.find_existing(name).await?;
    store.tables.register(&store.session, &place)?;
    let mut attempt = 0;
    loop {
        cx.check()?;
        let table = store.tables.open(&place, None).await?;
        let state = SessionStateBuilder::new_from_existing(store.session.state())
            .with_query_planner(DeltaPlanner::new())
            .build();
        let deleting = table
            .delete()
            .with_session_state(Arc::new(state))
            .with_predicate(condition.clone());
        let deleted = fenced(name, "cannot be deleted from", deleting.into_future()).await?;
        attempt += 1;
        match deleted {
            Ok(_) => return Ok(()),
            Err(error) if is_conflict(&error) && attempt < MAX_COMMIT_ATTEMPTS => {
                pause(attempt).await;
            }
            Err(error) => return Err(error).on_table(name, "cannot be deleted from"),
        }
    }
}

/// A condition that holds for rows equal to one of the keys.
fn matches(columns: &[(String, ArrayRef)], rows: std::ops::Range<usize>) -> Result<Expr> {
    let scalar = |values: &ArrayRef, row: usize| {
        ScalarValue::try_from_array(values, row).map_err(|error| {
            Error::new(&codes::OFFLINE_REQUEST, "a key cannot be compared").source(error)
        })
    };
    if let [(name, values)] = columns {
        let known = rows
            .clone()
            .filter(|row| !values.is_null(*row))
            .map(|row| Ok(lit(scalar(values, row)?)))
            .collect::<Result<Vec<Expr>>>()?;
        let has_null = rows.clone().any(|row| values.is_null(row));
        let is_known = in_list(ident(name), known.clone(), false);
        return Ok(match (known.is_empty(), has_null) {
            (true, _) => ident(name).is_null(),
            (false, true) => is_known.or(ident(name).is_null()),
            (false, false) => is_known,
        });
    }
    let mut keys = rows
        .map(|row| {
            let mut key: Option<Expr> = None;
            for (name, values) in columns {
                let equal = if values.is_null(row) {
                    ident(name).is_null()
                } else {
                    ident(name).eq(lit(scalar(values, row)?))
                };
                key = Some(match key {
                    Some(key) => key.and(equal),
                    None => equal,
                });
            }
            Ok(key.unwrap_or_else(|| lit(false)))
        })
        .collect::<Result<Vec<Expr>>>()?;
    // Pairs of pairs, so that the condition is as shallow as can be.
    while keys.len() > 1 {
        keys = keys
            .chunks(2)
            .map(|pair| match pair {
                [a, b] => a.clone().or(b.clone()),
                other => other.first().cloned().unwrap_or_else(|| lit(false)),
            })
            .collect();
    }
    Ok(keys.pop().unwrap_or_else(|| lit(false)))
}
