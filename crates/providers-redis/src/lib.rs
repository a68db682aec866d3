#![doc = include_str!("../docs.md")]

mod check;
mod chunk;
mod client;
mod config;
mod contest;
mod erase;
mod error;
mod find;
mod fleet;
mod hot;
mod keys;
mod lane;
mod marks;
mod read;
mod resp;
mod route;
mod script;
mod store;
#[cfg(test)]
mod tests;
mod within;
mod write;

use std::sync::Arc;

use provender_core::provider::{Factory, OnlineStore, options};

pub use self::config::{Mode, RedisConfig, SentinelConfig, TlsConfig};
pub use self::store::RedisOnlineStore;

/// The provider's `type:` in configurations.
pub const SCHEME: &str = "redis";

/// What this crate offers: an online store under `type: redis`.
pub fn factory() -> Factory {
    Factory::new(
        SCHEME,
        "Online rows in Redis or Valkey: standalone, Sentinel or Cluster",
        config::options_schema,
    )
    .online(|_, config| async move {
        let parsed: RedisConfig = options(&config)?;
        let store = RedisOnlineStore::open(&parsed, &config)?;
        Ok(Arc::new(store) as Arc<dyn OnlineStore>)
    })
}
