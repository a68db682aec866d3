//! Several mistakes at once, and what is not told because another mistake causes it.

use provender_definitions::parse_definitions;

use super::errors;

#[test]
fn all_mistakes_of_all_files_are_told_at_once() {
    let files = [
        (
            "features/b.yaml",
            "feature_views:
  - name: v
    source: nowhere
    ttl: 0s
    colour: blue
    features:
      - {name: a, type: flot}
      - {nam: b, type: int64}
      - {name: c, tpe: int64, kind: x}
  - name: w
    source: s
    features: [{name: status, type: int}]
",
        ),
        ("features/a.yaml", "sources: [{name: s, table: t}]\n"),
    ];
    let errors = parse_definitions(&files).unwrap_err();
    let told: Vec<String> = errors
        .iter()
        .map(|error| format!("{} {}", error.code(), error.message()))
        .collect();
    assert_eq!(
        told,
        [
            "P103 features/a.yaml:1:11: source \"s\" lacks the key \"timestamp\"",
            "P102 features/b.yaml:5:5: feature view \"v\" has the unknown key \"colour\"",
            "P102 features/b.yaml:8:10: features[1] of feature view \"v\" has the unknown key \"nam\"",
            "P102 features/b.yaml:9:19: features[2] of feature view \"v\" has the unknown key \"tpe\"",
            "P102 features/b.yaml:9:31: features[2] of feature view \"v\" has the unknown key \"kind\"",
            "P104 features/b.yaml:12:23: a feature cannot be named \"status\": the name is taken by status columns",
            "P109 features/b.yaml:12:37: type of feature \"status\" of feature view \"w\": \"int\" is no value type: \"int\" is unknown",
        ]
    );
}

#[test]
fn what_a_broken_definition_causes_is_not_told() {
    let errors = errors(
        "sources: [{name: s, table: t, timestamp: at, fliter: x}]
feature_views:
  - {name: v, source: s, features: [{name: a, type: int64}]}
on_demand_feature_views:
  - {name: o, inputs: [v], features: [{name: b, type: int64, sql: a}]}
feature_services:
  - {name: t, features: [v, o]}
",
    );
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!(errors[0].code(), "P102");
    // A file that cannot be read may define anything.
    let files = [
        ("features/a.yaml", "sources: ["),
        (
            "features/b.yaml",
            "feature_views: [{name: v, source: s, features: [{name: a, type: int64}]}]",
        ),
    ];
    let errors = parse_definitions(&files).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!(errors[0].code(), "P101");
}
