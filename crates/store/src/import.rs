//! Rows into tables of an offline store.

use provender_core::names::did_you_mean;
use provender_core::provider::unsupported;
use provender_core::request::{OfflineWrite, WriteMode, WriteSummary};
use provender_core::{BatchStream, Context, Error, Result, codes};

use crate::FeatureStore;

/// A table to make, append to or replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The table, as sources name it.
    pub table: String,
    /// The named offline store; `None` is the project's `offline_store`.
    pub store: Option<String>,
    /// Whether rows are appended, with columns that the table lacks or without, or replace all others.
    pub mode: WriteMode,
    /// Columns to partition a new table by.
    pub partition_by: Vec<String>,
}

impl FeatureStore {
    /// Writes rows to a table of an offline store, which is made if it does not exist. Durable when
    /// it returns; nothing is visible before.
    ///
    /// # Errors
    /// `Unsupported` (`P801`) for a store that does not write, or add columns if it is to, `InvalidArgument` (`P406`) for a
    /// partition column that the rows lack, `FailedPrecondition` (`P505`) if the table has other columns.
    pub async fn import(
        &self,
        cx: &Context,
        import: &Import,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        self.check_context(cx)?;
        let store = self.stores().offline(cx, import.store.as_deref()).await?;
        if !store.capabilities().write {
            return Err(unsupported(&store.info(), "writing tables")
                .help("write the table with the store's own tools"));
        }
        if import.mode == WriteMode::Extend && !store.capabilities().new_columns {
            return Err(unsupported(&store.info(), "adding columns to tables")
                .help("add the columns with the store's own tools"));
        }
        for column in &import.partition_by {
            if rows.schema.column_with_name(column).is_none() {
                let fields = rows.schema.fields();
                let names = fields.iter().map(|field| field.name().as_str());
                return Err(Error::new(
                    &codes::BAD_REQUEST,
                    format!(
                        "table {:?} cannot be partitioned by {column:?}: the rows have no such column",
                        import.table
                    ),
                )
                .help(did_you_mean(column, names)));
            }
        }
        let write = OfflineWrite {
            table: import.table.clone(),
            mode: import.mode,
            partition_by: import.partition_by.clone(),
            id: None,
        };
        store
            .write(cx, write, rows)
            .await
            .map_err(|error| error.context("table", import.table.clone()))
    }
}
