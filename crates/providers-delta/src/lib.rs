#![doc = include_str!("../docs.md")]

mod config;
mod convert;
mod delete;
mod error;
mod location;
mod scan;
mod schema;
mod store;
mod tables;
mod target;
mod write;

use std::sync::Arc;

use futures::FutureExt;
use provender_core::provider::{Factory, OfflineStore, options};

pub use self::config::DeltaConfig;
pub use self::store::DeltaOfflineStore;

/// The provider's `type:` in configurations.
pub const SCHEME: &str = "delta";

/// What this crate offers: an offline store under `type: delta`.
pub fn factory() -> Factory {
    Factory {
        scheme: SCHEME,
        description: "Delta tables and Parquet files in a local folder",
        options_schema: config::options_schema,
        offline: Some(|_, config| {
            async move {
                let options: DeltaConfig = options(&config)?;
                let store = DeltaOfflineStore::open(&options, &config)?;
                Ok(Arc::new(store) as Arc<dyn OfflineStore>)
            }
            .boxed()
        }),
        online: None,
        registry: None,
    }
}
