//! What docs/databricks.md says is what the code does.

use std::collections::{BTreeMap, BTreeSet};

use provender_providers_delta::databricks::{DatabricksConfig, factory};
use serde_json::{Value, json};

const DOCS: &str = include_str!("../../docs/databricks.md");
const ERRORS: &str = include_str!("../../src/databricks/error.rs");

/// The names in backticks of a text.
fn names(text: &str) -> Vec<String> {
    let parts = text.split('`').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

/// Option to default of the table of options.
fn documented() -> BTreeMap<String, String> {
    let table = DOCS.split("| option | default |").nth(1).unwrap();
    let rows = table.lines().skip(1);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let mut options = BTreeMap::new();
    for row in rows.filter(|row| row.contains('`')) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let default = cells[1].trim().trim_matches('`').to_owned();
        for option in names(cells[0]) {
            options.insert(option, default.clone());
        }
    }
    options
}

#[test]
fn every_option_is_documented_with_its_default_and_in_the_schema() {
    let documented = documented();
    let schema = factory().options_schema();
    let known: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(documented.keys().collect::<BTreeSet<_>>(), known);
    // The type itself tells its fields to who names another.
    let error = serde_json::from_value::<DatabricksConfig>(json!({"catalog": "c", "nothing": 1}));
    let fields = names(&error.unwrap_err().to_string());
    let fields: BTreeSet<&String> = fields.iter().filter(|name| *name != "nothing").collect();
    assert_eq!(fields, known);

    let least: DatabricksConfig = serde_json::from_value(json!({"catalog": "c"})).unwrap();
    let in_code = BTreeMap::from([
        ("schema", json!(least.schema)),
        ("execution", json!("auto")),
        ("direct_limit", json!("2GiB")),
        ("parallel_downloads", json!(least.parallel_downloads)),
        ("inline_rows", json!(least.inline_rows)),
        ("insert_bytes", json!(least.insert_bytes)),
    ]);
    assert_eq!(
        least.execution,
        provender_providers_delta::databricks::Execution::Auto
    );
    for (option, default) in &documented {
        let property = &schema["properties"][option];
        let required = schema["required"].as_array().unwrap();
        assert_eq!(
            default == "required",
            required.contains(&json!(option)),
            "{option}"
        );
        match in_code.get(option.as_str()) {
            Some(value) => {
                assert_eq!(property["default"], *value, "{option}");
                let text = value.as_str().map(str::to_owned);
                assert_eq!(*default, text.unwrap_or_else(|| value.to_string()));
            }
            None => assert_eq!(property["default"], Value::Null, "{option}"),
        }
    }
}

#[test]
fn every_code_of_the_troubleshooting_exists_and_every_class_of_the_code_is_told() {
    let table = DOCS.split("# Troubleshooting").nth(1).unwrap();
    let table = table.split("\n# ").next().unwrap();
    let mut n_codes = 0;
    for row in table.lines().filter(|line| line.starts_with("| P")) {
        for code in row.split('|').nth(1).unwrap().split(',') {
            let code = code.trim();
            assert!(provender_core::codes::find(code).is_some(), "{code}");
            n_codes += 1;
        }
    }
    assert!(n_codes > 10, "{n_codes}");
    // What error.rs tells apart, up to its tests.
    let code = ERRORS.split("#[cfg(test)]").next().unwrap();
    let classes = code.split('"').skip(1).step_by(2).filter(|text| {
        text.len() > 7
            && text.contains('_')
            && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    });
    let mut n_classes = 0;
    for class in classes {
        assert!(table.contains(class), "{class} is in error.rs and not told");
        n_classes += 1;
    }
    assert!(n_classes > 10, "{n_classes}");
}
