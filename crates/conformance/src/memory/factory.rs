//! The memory stores under one `type:`, by names that this process knows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use provender_core::Result;
use provender_core::provider::{
    Factory, OfflineStore, OnlineStore, ProviderConfig, Registry, options,
};
use serde::Deserialize;

use super::{MemoryOfflineStore, MemoryOnlineStore, MemoryRegistry};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryOptions {
    #[serde(default)]
    name: String,
    #[serde(default)]
    offers_all: bool,
}

static REGISTRIES: Mutex<BTreeMap<String, Arc<MemoryRegistry>>> = Mutex::new(BTreeMap::new());

/// Offers the stores that this process knows by a name as `type: memory`. Options: the `name`, and
/// `offers_all` for an offline store that declares all that needs no SQL.
pub fn factory() -> Factory {
    Factory::new(
        "memory",
        "Tables, latest rows and definitions in memory, for tests",
        || {
            serde_json::json!({
                "type": "object",
                "properties": {"name": {"type": "string"}, "offers_all": {"type": "boolean"}},
                "additionalProperties": false,
            })
        },
    )
    .offline(|_, config: ProviderConfig| async move {
        let options: MemoryOptions = options(&config)?;
        let store = MemoryOfflineStore::named(&options.name);
        let store: Arc<dyn OfflineStore> = match options.offers_all {
            true => Arc::new(store.offering_all()),
            false => Arc::new(store),
        };
        Ok(store)
    })
    .online(|_, config: ProviderConfig| async move {
        let options: MemoryOptions = options(&config)?;
        let store: Arc<dyn OnlineStore> = Arc::new(MemoryOnlineStore::named(&options.name));
        Ok(store)
    })
    .registry(|_, config: ProviderConfig| async move { registry(&config) })
}

fn registry(config: &ProviderConfig) -> Result<Arc<dyn Registry>> {
    let options: MemoryOptions = options(config)?;
    let mut known = REGISTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    let found: Arc<MemoryRegistry> = Arc::clone(known.entry(options.name).or_default());
    Ok(found)
}
