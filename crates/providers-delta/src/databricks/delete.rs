//! Deleting: every row of some keys leaves a table. External tables are changed where they lie,
//! others by the warehouse.

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use provender_core::model::Relation;
use provender_core::names::find_column;
use provender_core::provider::{OfflineStore, Provider, unsupported};
use provender_core::request::SourceRef;
use provender_core::{Context, Error, ErrorKind, Result, codes};
use provender_dialects::{Dialect, RowTexts};

use super::config::Execution;
use super::direct::Reach;
use super::error::is_in_the_way;
use super::rows::RowShape;
use super::statement::Statement;
use super::store::DatabricksOfflineStore;
use super::tables;
use crate::convert::convert;

/// How often a statement is made again that another writer was in the way of.
pub(crate) const MAX_ATTEMPTS: u32 = 6;

/// Deletes all rows of the given keys, null keys included, whatever the source's filter says.
pub(crate) async fn delete(
    store: &DatabricksOfflineStore,
    cx: &Context,
    source: &SourceRef,
    keys: RecordBatch,
) -> Result<()> {
    let Relation::Table(name) = &source.relation else {
        return Err(unsupported(&store.info(), "deleting keys from a query")
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
    if store.execution != Execution::Warehouse {
        match store.direct.reach(cx, &store.namespace, name, true).await? {
            Reach::Direct(table) => {
                table.changed();
                let source = SourceRef::table(table.name.clone());
                match table.store.delete(cx, &source, keys.clone()).await {
                    Err(error) if goes_to_the_warehouse(store, &error) => {}
                    deleted => return deleted,
                }
            }
            Reach::Missing => return Err(store.missing(cx, name).await),
            Reach::Not(why) if !store.has_warehouse() => {
                return Err(Error::new(
                    &codes::UNSUPPORTED,
                    format!("table {name:?} {why}, so a SQL warehouse has to delete from it"),
                )
                .help("set warehouse_id"));
            }
            Reach::Not(_) => {}
        }
    }
    in_warehouse(store, cx, name, &keys).await
}

/// Whether what cannot be done directly is tried in the warehouse.
pub(crate) fn goes_to_the_warehouse(store: &DatabricksOfflineStore, error: &Error) -> bool {
    let is_closed = matches!(
        error.kind(),
        ErrorKind::Unsupported | ErrorKind::PermissionDenied
    );
    if is_closed && store.has_warehouse() {
        tracing::debug!(%error, "a table is changed by the warehouse");
        return true;
    }
    false
}

async fn in_warehouse(
    store: &DatabricksOfflineStore,
    cx: &Context,
    name: &str,
    keys: &RecordBatch,
) -> Result<()> {
    let client = store.client()?;
    let (schema, table) = tables::find(store, client, cx, &SourceRef::table(name)).await?;
    let table = table.map(|table| table.sql(Dialect::Spark)).transpose()?;
    let table =
        table.ok_or_else(|| Error::new(&codes::INTERNAL, "a table was found without its name"))?;
    let mut fields = Vec::new();
    let mut conditions = Vec::new();
    let keys_schema = keys.schema();
    for (at, field) in keys_schema.fields().iter().enumerate() {
        let known = schema.fields().iter().map(|field| field.name().as_str());
        let column = find_column(field.name(), known)
            .map_err(|error| error.context("table", name.to_owned()))?;
        let stored = schema.field_with_name(column).map(Field::data_type);
        let stored = stored.unwrap_or(field.data_type()).clone();
        fields.push(Field::new(format!("k{at}"), stored, true));
        conditions.push(format!("t.{} <=> k.`k{at}`", Dialect::Spark.quote(column)?));
    }
    let fields = Schema::new(fields);
    let shape = RowShape::new(name, &fields)?;
    let sql = format!(
        "MERGE INTO {table} AS t USING (SELECT DISTINCT * FROM ({}) AS d) AS k ON {} WHEN MATCHED THEN DELETE",
        shape.select()?,
        conditions.join(" AND ")
    );
    let mut texts = RowTexts::new(store.insert_bytes);
    for row in 0..keys.num_rows() {
        let key = keys.slice(row, 1);
        // A key that the column cannot hold is in no row.
        let columns: Result<Vec<_>> = key
            .columns()
            .iter()
            .zip(fields.fields())
            .map(|(column, field)| convert(field.name(), column, field.data_type()))
            .collect();
        if let Ok(columns) = columns {
            let key = RecordBatch::try_new(fields.clone().into(), columns).map_err(|error| {
                Error::new(&codes::INTERNAL, "keys are not of their columns' types").source(error)
            })?;
            shape.push(&mut texts, &key, 0);
        }
        let is_last = row + 1 == keys.num_rows();
        if (is_last || texts.is_full())
            && let Some(text) = texts.take()
        {
            let statement = Statement {
                sql: sql.clone(),
                parameters: vec![("rows", text)],
                // Deleting what is gone already is no harm.
                is_repeatable: true,
            };
            repeated(cx, || client.execute(cx, &statement))
                .await
                .map_err(|error| error.context("table", name.to_owned()))?;
        }
    }
    Ok(())
}

/// Runs a statement again while another writer is in its way.
pub(crate) async fn repeated<F: Future<Output = Result<()>>>(
    cx: &Context,
    run: impl Fn() -> F,
) -> Result<()> {
    let mut attempt = 0;
    loop {
        match run().await {
            Err(error) if is_in_the_way(&error) && attempt < MAX_ATTEMPTS => {
                cx.check()?;
                attempt += 1;
                tokio::time::sleep(provender_engine::parts::pause(attempt)).await;
            }
            done => return done,
        }
    }
}
