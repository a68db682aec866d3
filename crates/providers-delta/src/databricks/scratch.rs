//! Tables that hold rows for one piece of work, and are gone with it.
//!
//! A warehouse has no session that could end with temporary tables in it, so each is an ordinary table
//! that is dropped: when the work is done, and in the background when its caller goes away.

use provender_core::{Context, Result};
use provender_dialects::{Dialect, TableName};

use super::results::Client;
use super::statement::Statement;
use crate::making::unique;

/// What names of these tables start with.
pub(crate) const PREFIX: &str = "provender_tmp_";

/// A table that is dropped with this value.
#[derive(Debug)]
pub(crate) struct Scratch {
    client: Client,
    pub table: TableName,
    drop: Option<Statement>,
}

impl Scratch {
    /// A name in a catalog and schema, which nothing has been made of.
    ///
    /// # Errors
    /// `P406` for a catalog or schema that SQL cannot spell.
    pub(crate) fn new(client: &Client, catalog: &str, schema: &str) -> Result<Self> {
        let host = std::env::var("HOSTNAME").unwrap_or_default();
        let letters = |text: &str| -> String {
            text.chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() {
                        c.to_ascii_lowercase()
                    } else {
                        '_'
                    }
                })
                .collect()
        };
        let name = letters(&unique(&format!("{PREFIX}{host}")));
        let table = TableName::new([catalog, schema, name.as_str()]);
        let sql = format!("DROP TABLE IF EXISTS {}", table.sql(Dialect::Spark)?);
        Ok(Self {
            client: client.clone(),
            table,
            drop: Some(Statement {
                is_repeatable: true,
                ..Statement::change(sql)
            }),
        })
    }

    /// Drops the table now. A failure is noted, for the rows have been used.
    pub(crate) async fn close(mut self) {
        if let Some(drop) = self.drop.take() {
            remove(&self.client, &drop).await;
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let (Some(drop), Ok(runtime)) = (self.drop.take(), tokio::runtime::Handle::try_current())
        {
            let client = self.client.clone();
            runtime.spawn(async move { remove(&client, &drop).await });
        }
    }
}

/// Whatever became of the call that made the table.
async fn remove(client: &Client, drop: &Statement) {
    let cx = Context::new("provender").with_timeout(std::time::Duration::from_secs(300));
    if let Err(error) = client.execute(&cx, drop).await {
        tracing::warn!(%error, sql = drop.sql, "a table of Provender's could not be dropped");
    }
}
