//! Deleting: every row of some keys leaves a table.

use arrow_array::RecordBatch;
use provender_core::model::Relation;
use provender_core::names::find_column;
use provender_core::provider::{Provider, unsupported};
use provender_core::request::SourceRef;
use provender_core::{Context, Error, Result, codes};
use provender_dialects::{Dialect, RowTexts};

use crate::locks::Patience;
use crate::rows::{Kind, RowShape, cast_columns, push};
use crate::session::Statement;
use crate::store::SnowflakeOfflineStore;

/// Deletes all rows of the given keys, null keys included, whatever the source's filter says.
pub(crate) async fn delete(
    store: &SnowflakeOfflineStore,
    cx: &Context,
    source: &SourceRef,
    keys: &RecordBatch,
) -> Result<()> {
    let Relation::Table(name) = &source.relation else {
        return Err(unsupported(&store.info(), "deleting keys from a query"));
    };
    let source = SourceRef::table(name.clone());
    let found = store.find(cx, &source).await?;
    let Some(table) = &found.table else {
        return Err(Error::new(
            &codes::INTERNAL,
            "a table was found without its name",
        ));
    };
    let mut shape = RowShape {
        names: Vec::new(),
        kinds: Vec::new(),
    };
    let mut conditions = Vec::new();
    let keys_schema = keys.schema();
    for (at, field) in keys_schema.fields().iter().enumerate() {
        let known = found
            .columns
            .stored
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        let column = find_column(field.name(), known)
            .map_err(|error| error.context("table", name.clone()))?;
        let place = found.columns.stored.index_of(column).unwrap_or_default();
        let kind = Kind::of_column(
            &found.columns.rowtype[place],
            found.columns.answered.field(place),
        );
        shape.kinds.push(kind.ok_or_else(|| {
            Error::new(
                &codes::OFFLINE_REQUEST,
                format!(
                    "keys of table {name:?} cannot be deleted: its column {column:?} is {}",
                    found.columns.rowtype[place].type_name
                ),
            )
        })?);
        shape.names.push(format!("k{at}"));
        conditions.push(format!(
            "t.{} IS NOT DISTINCT FROM k.\"k{at}\"",
            Dialect::Snowflake.quote(column)?
        ));
    }
    let sql = format!(
        "DELETE FROM {} AS t USING ({}) AS k WHERE {}",
        table.sql(Dialect::Snowflake)?,
        shape.select()?,
        conditions.join(" AND ")
    );
    let mut texts = RowTexts::new(store.insert_bytes);
    for row in 0..keys.num_rows() {
        let key = keys.slice(row, 1);
        // A key that the column cannot hold is in no row.
        if let Ok(columns) = cast_columns(&key, &shape.kinds) {
            push(&mut texts, &shape.kinds, &columns, 0);
        }
        let is_last = row + 1 == keys.num_rows();
        if (is_last || texts.is_full())
            && let Some(text) = texts.take()
        {
            let statement = Statement {
                sql: sql.clone(),
                bindings: vec![text],
                is_describe: false,
            };
            let mut patience = Patience::default();
            while let Err(error) = store.client.run(cx, statement.clone()).await {
                let waited = patience.wait(cx, error).await;
                waited.map_err(|error| error.context("table", name.clone()))?;
            }
        }
    }
    Ok(())
}
