//! The options of a `type: delta` block.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// Where a store keeps its tables. `Debug` shows no storage options, since they may hold secrets.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeltaConfig {
    /// The folder of the tables: a path (a relative one starts at the configuration file) or a
    /// `file://` URL. Default: `./data`.
    pub location: String,
    /// Options for the storage behind the location, as the deltalake crate names them. Default: none.
    pub storage_options: BTreeMap<String, String>,
}

impl Default for DeltaConfig {
    fn default() -> Self {
        Self {
            location: "./data".to_owned(),
            storage_options: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for DeltaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaConfig")
            .field("location", &self.location)
            .field(
                "storage_options",
                &self.storage_options.keys().collect::<Vec<_>>(),
            )
            .finish()
    }
}

pub(crate) fn options_schema() -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "location": {
                "type": "string",
                "default": "./data",
                "description": "The folder of the tables; a relative path starts at this file."
            },
            "storage_options": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Options for the storage behind the location."
            }
        }
    })
}
