#![doc = include_str!("../docs.md")]
//!
//! # The crate
//! It decides how registries are kept in tables ([`SqlRegistry`]) and how their databases are asked:
//! transactions, retries, deadlines. It deliberately does not know what the objects mean; that is
//! [`provender_core::Catalog`]'s business.

mod commits;
mod config;
mod connection;
mod database;
mod error;
mod intervals;
mod leases;
mod schema;
mod store;

pub use config::{PostgresConfig, SqliteConfig};
use provender_core::provider::{Factory, options};
pub use store::SqlRegistry;

/// The registry in a SQLite file, `type: sqlite`: the embedded default.
pub fn sqlite_factory() -> Factory {
    Factory::new(
        "sqlite",
        "Registry in a local SQLite file",
        SqliteConfig::options_schema,
    )
    .registry(|cx, config| async move {
        let own: SqliteConfig = options(&config)?;
        let registry = SqlRegistry::open_sqlite(&cx, &own, &config.base_path).await?;
        Ok(std::sync::Arc::new(registry) as _)
    })
}

/// The registry in a PostgreSQL database, `type: postgres`: for teams.
pub fn postgres_factory() -> Factory {
    Factory::new(
        "postgres",
        "Registry in a PostgreSQL database, for teams",
        PostgresConfig::options_schema,
    )
    .registry(|cx, config| async move {
        let own: PostgresConfig = options(&config)?;
        let registry = SqlRegistry::open_postgres(&cx, &own).await?;
        Ok(std::sync::Arc::new(registry) as _)
    })
}
