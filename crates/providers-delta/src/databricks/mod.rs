#![doc = include_str!("../../docs/databricks.md")]

// Decides how a workspace is asked (logins, retries, statements that are cancelled when nobody waits,
// results in order), where a request is answered, and how rows get in. Writes no SQL of joins and
// windows, which `provender-dialects` does, and reads no Delta logs, which the rest of this crate does.

mod answers;
mod auth;
mod catalog;
mod config;
mod delete;
mod direct;
mod error;
mod http;
mod nested;
mod pushdown;
mod results;
mod route;
mod rows;
mod scratch;
mod spine;
mod statement;
mod store;
mod tables;
mod types;
mod write;

use std::sync::Arc;

use provender_core::provider::{Factory, OfflineStore, options};

pub use self::config::{DatabricksConfig, Execution};
pub use self::store::DatabricksOfflineStore;

/// The provider's `type:` in configurations.
pub const SCHEME: &str = "databricks";

/// An offline store under `type: databricks`.
pub fn factory() -> Factory {
    Factory::new(
        SCHEME,
        "Databricks tables, in a SQL warehouse or directly through Unity Catalog",
        config::options_schema,
    )
    .offline(|_, config| async move {
        let options: DatabricksConfig = options(&config)?;
        let store = DatabricksOfflineStore::open(&options, &config)?;
        Ok(Arc::new(store) as Arc<dyn OfflineStore>)
    })
}
