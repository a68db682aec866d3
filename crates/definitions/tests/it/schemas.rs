//! The JSON Schemas know what the readers know.

use provender_definitions::{config_schema, definitions_schema};
use serde_json::{Map, Value};

use crate::EXAMPLE;

/// Follows `$ref`s.
fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    while let Some(Value::String(target)) = schema.get("$ref") {
        schema = root.pointer(target.trim_start_matches('#')).unwrap();
    }
    schema
}

/// The object schemas that a value may be read by: itself, or the alternatives of `anyOf`.
fn objects<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = resolve(root, schema);
    match schema.get("anyOf") {
        Some(Value::Array(all)) => all.iter().flat_map(|one| objects(root, one)).collect(),
        _ => vec![schema],
    }
}

/// Asserts that every key of `value` is in the schema, as are enumerated and typed texts.
fn assert_known(root: &Value, schema: &Value, value: &Value, path: &str) {
    let schemas = objects(root, schema);
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let found = schemas
                    .iter()
                    .find_map(|schema| schema.get("properties")?.get(key));
                let open = schemas
                    .iter()
                    .find_map(|schema| schema.get("additionalProperties"));
                let found = found.or(open.filter(|open| open.is_object()));
                let found = found.unwrap_or_else(|| panic!("{path}.{key} is not in the schema"));
                assert_known(root, found, value, &format!("{path}.{key}"));
            }
        }
        Value::Array(items) => {
            let found = schemas.iter().find_map(|schema| schema.get("items"));
            for item in items {
                assert_known(root, found.unwrap(), item, &format!("{path}[]"));
            }
        }
        Value::String(text) => {
            let taken = schemas.iter().any(|schema| {
                let types = schema.get("type").unwrap().to_string();
                let listed = schema
                    .get("enum")
                    .is_none_or(|all| all.as_array().unwrap().contains(&text.as_str().into()));
                types.contains("string") && listed
            });
            assert!(taken, "{path}: {text} is not in the schema {schemas:?}");
        }
        _ => {}
    }
}

/// Calls `check` with every schema of an object that has keys.
fn each_object(schema: &Value, check: &mut impl FnMut(&Map<String, Value>, &Value)) {
    match schema {
        Value::Object(entries) => {
            if let Some(Value::Object(properties)) = entries.get("properties") {
                check(properties, schema);
            }
            for value in entries.values() {
                each_object(value, check);
            }
        }
        Value::Array(items) => {
            for item in items {
                each_object(item, check);
            }
        }
        _ => {}
    }
}

fn required(schema: &Value) -> Vec<&str> {
    let list = schema.get("required").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn the_example_uses_keys_of_the_schema_only() {
    let schema = definitions_schema();
    let example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    assert_known(&schema, &schema, &example, "");
}

#[test]
fn every_key_is_documented_and_no_other_is_allowed() {
    for schema in [definitions_schema(), config_schema()] {
        let mut n_keys = 0;
        each_object(&schema, &mut |properties, object| {
            for (key, property) in properties {
                n_keys += 1;
                let description = property.get("description").and_then(Value::as_str);
                assert!(
                    description.is_some_and(|text| text.len() > 5),
                    "{key} of {object} is not documented"
                );
            }
            let open = properties.len() == 1 && properties.contains_key("type");
            assert_eq!(
                object.get("additionalProperties"),
                Some(&Value::Bool(open)),
                "{object}"
            );
        });
        assert!(n_keys > 15, "{n_keys}");
    }
}

#[test]
fn functions_and_casts_are_enumerated_and_required_keys_named() {
    let schema = definitions_schema();
    let at = |pointer: &str| {
        schema
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{pointer} in {schema:#}"))
    };
    assert_eq!(
        at("/$defs/aggregation/properties/function/enum"),
        &serde_json::json!([
            "count",
            "sum",
            "mean",
            "min",
            "max",
            "stddev",
            "last",
            "count_distinct"
        ])
    );
    assert_eq!(
        at("/$defs/feature/properties/cast/enum"),
        &serde_json::json!(["checked"])
    );
    assert!(at("/$defs/feature/properties/type/pattern").is_string());
    assert_eq!(required(at("/$defs/feature")), ["name", "type"]);
    assert_eq!(required(at("/$defs/source")), ["name", "timestamp"]);
    assert_eq!(required(at("/$defs/feature_view")), ["name", "source"]);
    assert_eq!(
        required(at("/$defs/aggregation")),
        ["feature", "function", "window"]
    );
    assert_eq!(required(at("/$defs/feature_reference")), ["view"]);
    assert!(required(&schema).is_empty());
    assert!(required(&config_schema()).is_empty());
    assert_eq!(
        required(config_schema().pointer("/$defs/block").unwrap()),
        ["type"]
    );
}

#[test]
fn the_schemas_list_the_keys_that_readers_hint_at() {
    let text = "zzzzzzzzzz:\nfeature_views: [{name: v, source: s, zzzzzzzzzz: 1}]\n";
    let errors =
        provender_definitions::parse_definitions(&[("features/x.yaml", text)]).unwrap_err();
    let schema = definitions_schema();
    for (error, pointer) in [
        (&errors[0], "/properties"),
        (&errors[1], "/$defs/feature_view/properties"),
    ] {
        let help = error.help_text().unwrap();
        let mut hinted: Vec<&str> = help.trim_start_matches("known are ").split(", ").collect();
        hinted.sort_unstable();
        let mut keys: Vec<&str> = schema
            .pointer(pointer)
            .and_then(Value::as_object)
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        assert_eq!(hinted, keys);
    }
}
