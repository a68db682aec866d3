#![doc = include_str!("../docs.md")]

mod blocking;
mod check;
mod config;
mod copied;
mod environment;
mod error;
mod folders;
mod names;
mod pages;
mod read;
mod resident;
mod slot;
mod store;
mod sweep;
mod write;

use std::sync::Arc;

use provender_core::provider::{Factory, OnlineStore, options};

pub use self::config::LocalConfig;
pub use self::store::LocalOnlineStore;
pub use self::sweep::SweepSummary;

/// The provider's `type:` in configurations.
pub const SCHEME: &str = "local";

/// What this crate offers: an online store under `type: local`.
pub fn factory() -> Factory {
    Factory::new(
        SCHEME,
        "Online rows in a local folder, embedded: no server to run",
        config::options_schema,
    )
    .online(|_, config| async move {
        let options: LocalConfig = options(&config)?;
        let store = LocalOnlineStore::open(&options, &config)?;
        Ok(Arc::new(store) as Arc<dyn OnlineStore>)
    })
}
