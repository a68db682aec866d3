#![doc = include_str!("../docs.md")]

mod answers;
mod client;
mod config;
mod delete;
mod error;
mod ledger;
mod locks;
mod names;
mod pushdown;
mod results;
mod rows;
mod session;
mod spine;
mod store;
mod tables;
mod types;
mod write;

use std::sync::Arc;

use provender_core::provider::{Factory, OfflineStore, options};

pub use self::config::SnowflakeConfig;
pub use self::store::SnowflakeOfflineStore;

/// The provider's `type:` in configurations.
pub const SCHEME: &str = "snowflake";

/// What this crate offers: an offline store under `type: snowflake`.
pub fn factory() -> Factory {
    Factory::new(
        SCHEME,
        "Snowflake tables, with joins and windows inside of Snowflake",
        config::options_schema,
    )
    .offline(|_, config| async move {
        let options: SnowflakeConfig = options(&config)?;
        let store = SnowflakeOfflineStore::open(&options, &config)?;
        Ok(Arc::new(store) as Arc<dyn OfflineStore>)
    })
}
