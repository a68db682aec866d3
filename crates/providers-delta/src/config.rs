//! The options of a `type: delta` block.

use serde::Deserialize;

use crate::storage::{self, StorageOptions};

/// Where a store keeps its tables. `Debug` shows no secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeltaConfig {
    /// The folder of the tables: a path (a relative one starts at the configuration file), a
    /// `file://` URL, or the URL of an object store (`s3://`, `s3a://`, `abfss://`, `abfs://`, `az://`,
    /// `gs://`). Default: `./data`.
    pub location: String,
    /// How object stores are reached, whether the location lies in one or a table's own URL. Default:
    /// as the environment and the machine's identity say.
    pub storage: StorageOptions,
}

impl Default for DeltaConfig {
    fn default() -> Self {
        Self {
            location: "./data".to_owned(),
            storage: StorageOptions::default(),
        }
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
                "description": "The folder of the tables: a path, which starts at this file if it is relative, or a URL (s3://, s3a://, abfss://, abfs://, az://, gs://, file://)."
            },
            "storage": storage::schema(),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn secrets_are_shown_nowhere() {
        let config: DeltaConfig = serde_json::from_value(serde_json::json!({
            "location": "s3://lake",
            "storage": {
                "access_key_id": "me", "secret_access_key": "canary", "session_token": "canary",
                "account_key": "canary", "sas_token": "canary", "client_secret": "canary",
                "service_account_key": "canary",
            }
        }))
        .unwrap();
        let shown = format!("{config:?} {:?}", Some(&config.storage));
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("secret_access_key: Some(***)"), "{shown}");
        let wrong = serde_json::json!({"storage": {"secret_access_key": 271_828}});
        let error = serde_json::from_value::<DeltaConfig>(wrong).unwrap_err();
        assert!(!error.to_string().contains("271828"), "{error}");
        assert!(error.to_string().contains("a secret is a text"), "{error}");
    }

    #[test]
    fn schema_and_options_agree() {
        let schema = options_schema();
        let named = |value: &serde_json::Value| {
            value["properties"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<String>>()
        };
        for name in named(&schema["properties"]["storage"]) {
            let (flag, number) = (serde_json::json!(true), serde_json::json!(3));
            let text = serde_json::json!("text");
            let known = [flag, number, text].into_iter().any(|value| {
                let options = serde_json::json!({"storage": {&name: value}});
                serde_json::from_value::<DeltaConfig>(options).is_ok()
            });
            assert!(known, "{name}");
        }
        let unknown = serde_json::json!({"storage": {"regio": "x"}});
        let error = serde_json::from_value::<DeltaConfig>(unknown).unwrap_err();
        assert!(error.to_string().contains("`region`"), "{error}");
    }
}
