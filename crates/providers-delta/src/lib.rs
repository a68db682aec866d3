#![doc = include_str!("../docs.md")]

mod config;
mod convert;
pub mod databricks;
mod delete;
mod error;
mod kinds;
mod location;
mod maintain;
mod making;
mod read;
mod scan;
mod schema;
mod storage;
mod store;
mod tables;
mod target;
mod versions;
mod widening;
mod write;

use std::sync::Arc;

use provender_core::provider::{Factory, OfflineStore, options};

pub use self::config::DeltaConfig;
pub use self::storage::StorageOptions;
pub use self::store::DeltaOfflineStore;

/// The provider's `type:` in configurations.
pub const SCHEME: &str = "delta";

/// What this crate offers: an offline store under `type: delta`.
pub fn factory() -> Factory {
    Factory::new(
        SCHEME,
        "Delta tables and Parquet files in a folder, S3, Azure or Google Cloud Storage",
        config::options_schema,
    )
    .offline(|_, config| async move {
        let options: DeltaConfig = options(&config)?;
        let store = DeltaOfflineStore::open(&options, &config)?;
        Ok(Arc::new(store) as Arc<dyn OfflineStore>)
    })
}
