//! Mistakes, each with its code, its place, its message and its hint.

mod names;
mod several;
mod shape;
mod values;

use provender_definitions::{Error, parse_definitions};

/// A project without mistakes, in whose company each case is read.
const BASE: &str = "
entities:
  - {name: airport, join_keys: [{name: origin, type: string}]}
  - {name: route, join_keys: [{name: origin, type: string}, {name: dest, type: string}]}
  - {name: numbered, join_keys: [{name: origin, type: int64}]}
  - {name: shouted, join_keys: [{name: ORIGIN, type: string}]}
sources:
  - {name: weather, table: weather, timestamp: time_hour}
feature_views:
  - name: airport_weather
    entities: [airport]
    source: weather
    features: [{name: temp, type: float64}, {name: humid, type: float64}]
  - name: routes
    entities: [route]
    source: weather
    features: [{name: temp, type: float64}, {name: miles, type: int64}]
on_demand_feature_views:
  - name: wind
    inputs: [airport_weather]
    request: [{name: heading, type: float64}]
    features: [{name: cross, type: float64, sql: temp * heading}]
feature_services:
  - {name: model, features: [airport_weather]}
";

pub(crate) fn errors(text: &str) -> Vec<Error> {
    match parse_definitions(&[("features/base.yaml", BASE), ("features/x.yaml", text)]) {
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    }
}

/// Asserts that the text has one mistake: code, `line:column`, message and help as given.
#[track_caller]
pub(crate) fn assert_mistake(text: &str, code: &str, place: &str, message: &str, help: &str) {
    assert_mistakes(code, &[(text, place, message, help)]);
}

/// Asserts that each text (with place, message and help) has one mistake of a code, and shows all
/// that differ.
#[track_caller]
pub(crate) fn assert_mistakes(code: &str, cases: &[(&str, &str, &str, &str)]) {
    let mut differences = Vec::new();
    for (text, place, message, help) in cases {
        let expected = format!("{code} features/x.yaml:{place}: {message} | {help} | {place}");
        let told: Vec<String> = errors(text).iter().map(told).collect();
        if told != [expected.as_str()] {
            differences.push(format!("{text}\nexpected {expected}\ntold {told:#?}\n"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Code, message, help, and the place in the context.
fn told(error: &Error) -> String {
    let context = |key: &str| {
        let pairs = error.context_pairs();
        let pair = pairs.iter().find(|(known, _)| known == key);
        pair.map_or("none", |(_, value)| value.as_str())
    };
    assert_eq!(context("file"), "features/x.yaml");
    let (code, message) = (error.code(), error.message());
    let help = error.help_text().unwrap_or_default();
    let (line, column) = (context("line"), context("column"));
    format!("{code} {message} | {help} | {line}:{column}")
}

/// A feature view with the given lines, each indented by four.
fn view(lines: &str) -> String {
    format!("feature_views:\n  - name: v\n{lines}")
}

#[test]
fn base_has_no_mistakes() {
    assert!(errors("").is_empty(), "{:#?}", errors(""));
}
