//! Text that is no YAML, unknown keys, and values of another shape than their key takes.

use super::{assert_mistake, assert_mistakes, errors, view};

#[test]
fn text_that_is_no_yaml_tells_where() {
    let hint = "the mistake is here or just before: look for a missing colon, a tab used as indentation, an unclosed bracket or quote";
    let cases = [
        ("entities: [", "1:11"),
        ("entities:\n\t- name: a\n", "2:2"),
        ("entities:\n  - name: \"a\n", "3:1"),
        ("a: b: c\n", "1:5"),
    ];
    let told: Vec<(&str, String)> = cases
        .iter()
        .map(|(text, _)| {
            let errors = errors(text);
            assert_eq!(errors.len(), 1, "{text}");
            assert_eq!(errors[0].code(), "P101");
            assert_eq!(errors[0].help_text(), Some(hint));
            (*text, errors[0].message().to_owned())
        })
        .collect();
    for ((_, place), (_, message)) in cases.iter().zip(&told) {
        let start = format!("features/x.yaml:{place}: not valid YAML: ");
        assert!(message.starts_with(&start), "{place} in {told:#?}");
    }
    assert_mistake(
        "entities:\nsources:\nentities:\n",
        "P101",
        "3:1",
        "the key \"entities\" is given twice, first at features/x.yaml:1:1",
        "keep one of them, or merge their values",
    );
    assert_mistake(
        "entities: *nobody\n",
        "P101",
        "1:11",
        "an alias (*name) has no anchor (&name) before it",
        "define the anchor earlier in the same file; text that starts with * needs quotes",
    );
    assert_mistake(
        "entities:\n---\nsources:\n",
        "P101",
        "3:1",
        "the file holds a second document after ---",
        "write one document, or a file for each",
    );
}

#[test]
fn unknown_keys_hint_at_the_nearest() {
    assert_mistake(
        "feature_view:\n  - name: a\n",
        "P102",
        "1:1",
        "features/x.yaml has the unknown key \"feature_view\"",
        "did you mean \"feature_views\"?",
    );
    assert_mistake(
        &view("    source: weather\n    tll: 3h\n    features: [{name: a, type: int64}]\n"),
        "P102",
        "4:5",
        "feature view \"v\" has the unknown key \"tll\"",
        "did you mean \"ttl\"?",
    );
    assert_mistake(
        &view("    source: weather\n    features: [{name: a, type: int64, dtype: int64}]\n"),
        "P102",
        "4:39",
        "features[0] of feature view \"v\" has the unknown key \"dtype\"",
        "did you mean \"type\"?",
    );
    assert_mistake(
        "entities:\n  - {name: a, join_keys: [{name: k, type: string}], zzzzzz: 1}\n",
        "P102",
        "2:53",
        "entity \"a\" has the unknown key \"zzzzzz\"",
        "known are name, join_keys, description, owner, tags",
    );
    assert_mistake(
        "feature_services:\n  - name: a\n    features:\n      - {view: airport_weather, alias: x}\n",
        "P102",
        "4:33",
        "features[0] of feature service \"a\" has the unknown key \"alias\"",
        "known are view, as, join_keys, features",
    );
    // A misspelt key that was required is one mistake, not two.
    assert_mistake(
        "sources:\n  - {name: a, table: t, timestmp: at}\n",
        "P102",
        "2:25",
        "source \"a\" has the unknown key \"timestmp\"",
        "did you mean \"timestamp\"?",
    );
}

#[test]
fn wrong_types_say_what_was_expected_and_found() {
    let cases = [
        (
            "- entities\n",
            "1:1",
            "features/x.yaml must be a mapping with keys such as feature_views, not a list",
            "",
        ),
        (
            "entities:\n  name: a\n",
            "2:3",
            "entities must be a list, not a mapping",
            "start an entity with - name:",
        ),
        (
            "entities:\n  - airport\n",
            "2:5",
            "an entity must be a mapping, not the text \"airport\"",
            "",
        ),
        (
            "entities:\n  - name: a\n    join_keys: origin\n",
            "3:16",
            "join_keys of entity \"a\" must be a list, not the text \"origin\"",
            "",
        ),
        (
            "entities:\n  - name: [a]\n    join_keys: [{name: k, type: string}]\n",
            "2:11",
            "name of an entity must be text, not a list",
            "",
        ),
        (
            "sources:\n  - name: a\n    table: t\n    timestamp:\n",
            "4:5",
            "timestamp of source \"a\" must be text, not nothing",
            "",
        ),
        (
            "sources:\n  - name: a\n    table: t\n",
            "2:5",
            "source \"a\" lacks the key \"timestamp\"",
            "add timestamp, which is required",
        ),
        (
            "sources:\n  - table: t\n    timestamp: at\n",
            "2:5",
            "a source lacks the key \"name\"",
            "add name, which is required",
        ),
        (
            "sources:\n  - {name: a, table: t, timestamp: at, version: -1}\n",
            "2:49",
            "version of source \"a\" must be a version number or a time as RFC 3339 text, not the number -1",
            "",
        ),
        (
            "sources:\n  - {name: a, table: t, timestamp: at, version: yesterday}\n",
            "2:49",
            "version of source \"a\" is neither a number nor a time: \"yesterday\"",
            "write a version number such as 3, or RFC 3339 text such as 2013-01-01T05:00:00Z",
        ),
        (
            "sources:\n  - {name: a, table: t, timestamp: at, tags: [b]}\n",
            "2:46",
            "tags of source \"a\" must be a mapping, not a list",
            "",
        ),
        (
            "feature_views:\n  - {name: v, source: weather, online: maybe, features: [{name: a, type: int64}]}\n",
            "2:40",
            "online of feature view \"v\" must be true or false, not the text \"maybe\"",
            "",
        ),
        (
            "feature_views:\n  - {name: v, source: weather, features: [{name: a}]}\n",
            "2:43",
            "features[0] of feature view \"v\" lacks the key \"type\"",
            "add type, which is required",
        ),
        (
            "feature_views:\n  - {name: v, source: weather, features: [{name: a, type: int64, cast: yes}]}\n",
            "2:72",
            "cast of feature \"a\" of feature view \"v\" must be checked, not \"yes\"",
            "leave cast out to allow only casts that can lose nothing",
        ),
        (
            "feature_views:\n  - {name: v, source: weather, aggregations: [{feature: a, function: maen, column: c, window: 1h}]}\n",
            "2:70",
            "function of aggregation \"a\" of feature view \"v\" is unknown: \"maen\"",
            "did you mean \"mean\"?",
        ),
        (
            "feature_services:\n  - {name: s, features: [[airport_weather]]}\n",
            "2:26",
            "features[0] of feature service \"s\" must be text such as \"view:feature\" or a mapping with the key view, not a list",
            "",
        ),
        (
            "feature_services:\n  - {name: s, features: [{as: a}]}\n",
            "2:26",
            "features[0] of feature service \"s\" lacks the key \"view\"",
            "add view, which is required",
        ),
        (
            "feature_services:\n  - {name: s, features: ['airport_weather:']}\n",
            "2:26",
            "a feature of feature service \"s\": \"airport_weather:\" names no features: a feature's name is empty",
            "write view, view:feature, view:a,b or view@2:feature",
        ),
        (
            "feature_services:\n  - {name: s, features: [{view: airport_weather@0}]}\n",
            "2:33",
            "feature service \"s\" refers to \"airport_weather@0\", whose version is no positive number",
            "write view for the newest version, or view@2 to hold one",
        ),
    ];
    assert_mistakes("P103", &cases);
}
