//! Options of a configuration against the JSON Schema that a plug-in declares for them.
//!
//! Decides which part of JSON Schema that is, how a mistake is told, and that a schema which asks for
//! anything else is refused when the plug-in is loaded: a rule that is not checked would be worse than
//! none. Messages never show a value, since it may be a secret.

mod faults;
mod understood;

use provender_core::provider::ProviderConfig;
use provender_core::{Error, Result, codes};
use serde_json::Value;

use self::faults::Place;

/// How deep schemas may refer to each other.
const MAX_DEPTH: usize = 64;

/// A schema of options, known to be one that can be checked.
#[derive(Clone, Debug)]
pub(super) struct OptionsSchema(Value);

impl OptionsSchema {
    /// Accepts a schema of the supported part of JSON Schema.
    ///
    /// # Errors
    /// A text that names the place and the keyword.
    pub(super) fn new(schema: &Value) -> Result<Self, String> {
        let checked = Self(schema.clone());
        checked.understood(schema, "options_schema", 0)?;
        Ok(checked)
    }

    /// The options of a block with the defaults of those that are left out.
    ///
    /// # Errors
    /// `InvalidArgument` (`P203`) that names the block and the option.
    pub(super) fn check(&self, mut config: ProviderConfig) -> Result<ProviderConfig> {
        let mut options = Value::Object(std::mem::take(&mut config.options));
        self.fill_in(&self.0, &mut options, 0);
        let found = self.faults(&self.0, &options, &Place::default(), 0);
        if let Value::Object(options) = options {
            config.options = options;
        }
        match found.into_iter().next() {
            None => Ok(config),
            Some(fault) => {
                let block = format!("{} (type {})", config.block, config.scheme);
                let message = match fault.option.as_str() {
                    "" => format!("{block} {}", fault.what),
                    option => format!("{block}: option {option} {}", fault.what),
                };
                let mut error = Error::new(&codes::BAD_CONFIG, message)
                    .context("block", config.block)
                    .context("option", fault.option);
                if !fault.help.is_empty() {
                    error = error.help(fault.help);
                }
                Err(error)
            }
        }
    }

    /// Whether options that it does not name are let through.
    pub(super) fn is_open(&self) -> bool {
        match self.0.as_object() {
            Some(schema) => schema
                .get("additionalProperties")
                .is_none_or(|more| more.as_bool() != Some(false)),
            None => true,
        }
    }

    fn target(&self, reference: &str) -> Option<&Value> {
        self.0.pointer(reference.strip_prefix('#')?)
    }

    /// Puts declared defaults where nothing is written.
    fn fill_in(&self, schema: &Value, value: &mut Value, depth: usize) {
        let (Some(schema), true) = (schema.as_object(), depth <= MAX_DEPTH) else {
            return;
        };
        if let Some(target) = schema.get("$ref").and_then(Value::as_str)
            && let Some(target) = self.target(target)
        {
            self.fill_in(target, value, depth + 1);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        if let (Some(properties), Value::Object(options)) = (properties, value) {
            for (name, schema) in properties {
                if let Some(option) = options.get_mut(name) {
                    self.fill_in(schema, option, depth + 1);
                } else if let Some(default) = schema.get("default") {
                    options.insert(name.clone(), default.clone());
                }
            }
        }
    }
}

/// The names of a `type`, which is one or a list.
fn names_of(types: &Value) -> Vec<&str> {
    match types {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names
            .iter()
            .map(|name| name.as_str().unwrap_or(""))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use provender_core::provider::Resources;
    use serde_json::json;

    use super::*;

    fn config(options: Value) -> ProviderConfig {
        ProviderConfig {
            scheme: "acme".to_owned(),
            block: "online_stores.fast".to_owned(),
            options: options.as_object().unwrap().clone(),
            base_path: ".".into(),
            resources: Resources::default(),
        }
    }

    fn schema() -> OptionsSchema {
        OptionsSchema::new(&json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "address": {"type": "string", "pattern": "^[a-z]+:[0-9]+$", "description": "host:port"},
                "retries": {"type": "integer", "minimum": 0, "maximum": 9, "default": 3},
                "mode": {"enum": ["fast", "safe"]},
                "ratio": {"type": "number", "exclusiveMinimum": 0},
                "password": {"type": ["string", "null"], "minLength": 8},
                "nodes": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/node"}},
                "size": {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 4}]},
            },
            "required": ["address"],
            "additionalProperties": false,
            "$defs": {"node": {
                "type": "object",
                "properties": {"port": {"type": "integer"}, "weight": {"type": "number", "default": 1.5}},
                "required": ["port"],
                "additionalProperties": false,
            }},
        }))
        .unwrap()
    }

    #[test]
    fn right_options_pass_with_the_defaults_of_those_left_out() {
        let options = json!({
            "address": "a:1", "mode": "safe", "ratio": 1, "password": null, "size": "4k",
            "nodes": [{"port": 1}, {"port": 2.0, "weight": 2}],
        });
        let passed = schema().check(config(options)).unwrap().options;
        assert_eq!(passed["retries"], 3);
        assert_eq!(passed["nodes"][1]["weight"], 2);
        // A default within an item of a list is the item's own business.
        assert_eq!(passed["nodes"][0].get("weight"), None);
        assert_eq!(passed.len(), 7);
    }

    #[test]
    fn mistakes_name_block_and_option_and_the_nearest_known() {
        let cases = [
            (
                json!({"address": "a:1", "retrys": 1}),
                r#"online_stores.fast (type acme) has the unknown option "retrys""#,
                r#"did you mean "retries"?"#,
            ),
            (
                json!({}),
                r#"online_stores.fast (type acme) lacks the option "address""#,
                "address: host:port",
            ),
            (
                json!({"address": "a:1", "retries": "many"}),
                "online_stores.fast (type acme): option retries must be an integer, not a string",
                "",
            ),
            (
                json!({"address": "a:1", "retries": 10}),
                "online_stores.fast (type acme): option retries must be at most 9",
                "",
            ),
            (
                json!({"address": "a:1", "ratio": 0.0}),
                "online_stores.fast (type acme): option ratio must be greater than 0",
                "",
            ),
            (
                json!({"address": "nowhere"}),
                "online_stores.fast (type acme): option address must match the pattern ^[a-z]+:[0-9]+$",
                "",
            ),
            (
                json!({"address": "a:1", "mode": "fats"}),
                r#"online_stores.fast (type acme): option mode must be one of "fast", "safe""#,
                r#"did you mean "fast"?"#,
            ),
            (
                json!({"address": "a:1", "password": "short"}),
                "online_stores.fast (type acme): option password must have at least 8 characters",
                "",
            ),
            (
                json!({"address": "a:1", "nodes": []}),
                "online_stores.fast (type acme): option nodes must have at least 1 items",
                "",
            ),
            (
                json!({"address": "a:1", "nodes": [{"port": 1}, {"prt": 2, "port": 1}]}),
                r#"online_stores.fast (type acme): option nodes[1] has the unknown option "prt""#,
                r#"did you mean "port"?"#,
            ),
            (
                json!({"address": "a:1", "nodes": [{"port": true}]}),
                "online_stores.fast (type acme): option nodes[0].port must be an integer, not a boolean",
                "",
            ),
            (
                json!({"address": "a:1", "size": "too long"}),
                "online_stores.fast (type acme): option size must have at most 4 characters",
                "",
            ),
        ];
        for (options, message, help) in cases {
            let error = schema().check(config(options)).unwrap_err();
            assert_eq!((error.code(), error.message()), ("P203", message));
            assert_eq!(error.help_text().unwrap_or_default(), help, "{message}");
            assert!(!error.to_string().contains("short"), "{error}");
        }
    }

    #[test]
    fn schema_that_cannot_be_checked_whole_is_refused() {
        let cases = [
            (
                json!({"type": "obect"}),
                "options_schema.type must be one of the types",
            ),
            (
                json!({"propertys": {}}),
                "the keyword \"propertys\", which is not supported; did you mean",
            ),
            (
                json!({"properties": {"a": {"dependentRequired": {}}}}),
                "options_schema.properties.a has the keyword",
            ),
            (
                json!({"properties": {"a": {"pattern": "("}}}),
                "is no regular expression",
            ),
            (
                json!({"$ref": "#/$defs/nowhere"}),
                "must be a reference into the same schema",
            ),
            (
                json!({"$ref": "https://example.com/s"}),
                "must be a reference into the same schema",
            ),
            (json!(7), "is no JSON Schema"),
        ];
        for (schema, message) in cases {
            let error = OptionsSchema::new(&schema).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        // One that refers to itself ends.
        let schema = OptionsSchema::new(&json!({"$ref": "#"})).unwrap();
        assert!(schema.check(config(json!({"a": 1}))).is_ok());
        assert!(schema.is_open());
    }
}
