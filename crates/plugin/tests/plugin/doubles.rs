//! Libraries that are not: providers of this process behind the same structure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use provender_conformance::Tables;
use provender_conformance::memory::{MemoryOfflineStore, MemoryRegistry, ScanShape};
use provender_core::provider::{Factory, OfflineStore, ProviderConfig, Registry, Resources};
use provender_plugin::export::{Exports, ThreadPerCall, plugin};
use provender_plugin::load::Loaded;

/// Offline stores by the name of their configuration's block, since a factory has no state.
static TABLES: Mutex<BTreeMap<String, (Tables, ScanShape)>> = Mutex::new(BTreeMap::new());

/// What the next offline store of that block holds.
pub fn hold(block: &str, tables: Tables, shape: ScanShape) {
    TABLES
        .lock()
        .unwrap()
        .insert(block.to_owned(), (tables, shape));
}

fn offline_and_registry() -> Factory {
    Factory::new(
        "reference",
        "Tables and definitions in memory, for tests",
        || serde_json::json!({"type": "object"}),
    )
    .offline(|_, config| async move {
        let (tables, shape) = TABLES.lock().unwrap()[&config.block].clone();
        let store = MemoryOfflineStore::new(tables).with_scan_shape(shape);
        Ok(Arc::new(store) as Arc<dyn OfflineStore>)
    })
    .registry(|_, _| async { Ok(Arc::new(MemoryRegistry::new()) as Arc<dyn Registry>) })
}

/// A library of these factories.
pub fn library(name: &str, factories: Vec<Factory>) -> &'static Loaded {
    let plugin = plugin(Exports {
        name: name.to_owned(),
        version: "1.2.3".to_owned(),
        factories,
        spawn: Arc::new(ThreadPerCall),
    });
    // SAFETY: the structure was made by the export side, which leaks what it points at.
    unsafe { Loaded::new("this process".to_owned(), plugin) }.unwrap()
}

/// A library of the reference stores.
pub fn reference() -> &'static Loaded {
    library(
        "reference",
        vec![
            offline_and_registry(),
            provender_conformance::memory::factory(),
        ],
    )
}

/// A block of a configuration.
pub fn config(scheme: &str, block: &str, options: serde_json::Value) -> ProviderConfig {
    ProviderConfig {
        scheme: scheme.to_owned(),
        block: block.to_owned(),
        options: options.as_object().unwrap().clone(),
        base_path: PathBuf::from("."),
        resources: Resources::default(),
    }
}
