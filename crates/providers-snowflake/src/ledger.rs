//! Which writes have been made: a table of ids, changed in the transaction of the write itself.

use provender_core::{Context, Result};
use provender_dialects::{Dialect, TableName};

use crate::client::{OwnSession, SnowflakeClient};
use crate::error::is_missing;
use crate::session::Statement;
use crate::tables::Tables;

/// The table's name, in the store's own schema.
const LEDGER: &str = "PROVENDER_WRITES";

/// The writes of one id to one table.
#[derive(Debug)]
pub(crate) struct Entry {
    ledger: String,
    table: String,
    id: String,
}

impl Entry {
    pub(crate) fn new(tables: &Tables, table: &TableName, id: &str) -> Result<Self> {
        Ok(Self {
            ledger: tables.own(LEDGER).sql(Dialect::Snowflake)?,
            table: Dialect::Snowflake.string(&table.parts().join("."))?,
            id: Dialect::Snowflake.string(id)?,
        })
    }

    /// Makes the table of ids, if there is none.
    pub(crate) async fn prepare(&self, cx: &Context, session: &OwnSession) -> Result<()> {
        // Snowflake keeps the key as a note alone; the MERGE is what finds an id that is there.
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (\"TABLE_NAME\" VARCHAR NOT NULL, \"ID\" VARCHAR NOT NULL, \
             \"WRITTEN_AT\" TIMESTAMP_NTZ(6), PRIMARY KEY (\"TABLE_NAME\", \"ID\"))",
            self.ledger
        );
        session.execute(cx, Statement::new(sql)).await.map(drop)
    }

    /// Whether the write was made before.
    pub(crate) async fn is_done(&self, cx: &Context, client: &SnowflakeClient) -> Result<bool> {
        let sql = format!(
            "SELECT 1 AS \"DONE\" FROM {} WHERE \"TABLE_NAME\" = {} AND \"ID\" = {}",
            self.ledger, self.table, self.id
        );
        match client.texts(cx, sql).await {
            Ok(rows) => Ok(!rows.is_empty()),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes the write in the present transaction; false if it was made before. A MERGE waits for
    /// others that note something, so two writers of one id do not both go on.
    pub(crate) async fn note(&self, cx: &Context, session: &OwnSession) -> Result<bool> {
        let sql = format!(
            "MERGE INTO {} AS l USING (SELECT {} AS \"TABLE_NAME\", {} AS \"ID\") AS n \
             ON l.\"TABLE_NAME\" = n.\"TABLE_NAME\" AND l.\"ID\" = n.\"ID\" \
             WHEN NOT MATCHED THEN INSERT (\"TABLE_NAME\", \"ID\", \"WRITTEN_AT\") \
             VALUES (n.\"TABLE_NAME\", n.\"ID\", CURRENT_TIMESTAMP()::TIMESTAMP_NTZ)",
            self.ledger, self.table, self.id
        );
        Ok(session.execute(cx, Statement::new(sql)).await? > 0)
    }
}
