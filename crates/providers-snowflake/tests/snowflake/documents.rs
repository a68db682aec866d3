//! What docs.md says is what the code does.

use std::collections::{BTreeMap, BTreeSet};

use provender_providers_snowflake::{SnowflakeConfig, factory};
use serde_json::{Value, json};

const DOCS: &str = include_str!("../../docs.md");
const ERRORS: &str = include_str!("../../src/error.rs");

/// The names in backticks of a text.
fn names(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Option to default of the table of options.
fn documented() -> BTreeMap<String, String> {
    let table = DOCS.split("| option | default |").nth(1).unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
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
    let error =
        serde_json::from_value::<SnowflakeConfig>(json!({"no such option": 1})).unwrap_err();
    let fields = names(&error.to_string());
    let fields: BTreeSet<&String> = fields
        .iter()
        .filter(|name| *name != "no such option")
        .collect();
    assert_eq!(fields, known);

    let least: SnowflakeConfig =
        serde_json::from_value(json!({"account": "a", "database": "d"})).unwrap();
    let defaults = BTreeMap::from([
        ("schema", json!(least.schema)),
        ("query_tag", json!(least.query_tag)),
        ("time_travel", json!(least.time_travel)),
        ("parallel_downloads", json!(least.parallel_downloads)),
        ("inline_rows", json!(least.inline_rows)),
        ("insert_bytes", json!(least.insert_bytes)),
    ]);
    for (option, default) in &documented {
        let property = &schema["properties"][option];
        let is_required = schema["required"]
            .as_array()
            .unwrap()
            .contains(&json!(option));
        assert_eq!(default == "required", is_required, "{option}");
        match defaults.get(option.as_str()) {
            Some(value) => {
                assert_eq!(property["default"], *value, "{option}");
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                assert_eq!(*default, text, "{option}");
            }
            None => assert_eq!(property["default"], Value::Null, "{option}"),
        }
    }
}

#[test]
fn every_code_in_the_documents_exists_and_every_known_one_is_there() {
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
    let digits = |text: &str| {
        let words: Vec<String> = text
            .split(|c: char| !c.is_ascii_digit())
            .filter(|word| word.len() == 6)
            .map(str::to_owned)
            .collect();
        words
    };
    let told = digits(table);
    for code in digits(ERRORS) {
        assert!(
            told.contains(&code),
            "{code} is treated in error.rs and not in docs.md"
        );
    }
}
