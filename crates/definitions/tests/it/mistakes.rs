//! Mistakes, each with its code, its place, its message and its hint.

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

#[test]
fn bad_names_say_which_rule_they_break() {
    let cases = [
        (
            "entities:\n  - {name: a-b, join_keys: [{name: k, type: string}]}\n",
            "2:12",
            "an entity cannot be named \"a-b\": it holds something other than letters, digits and _",
        ),
        (
            "entities:\n  - {name: a, join_keys: [{name: k__l, type: string}]}\n",
            "2:34",
            "a join key cannot be named \"k__l\": it holds __, which joins a view and a feature in output columns",
        ),
        (
            "sources:\n  - {name: 1a, table: t, timestamp: at}\n",
            "2:12",
            "a source cannot be named \"1a\": it starts with a digit",
        ),
        (
            "feature_views:\n  - {name: v, source: weather, features: [{name: Status, type: int64}]}\n",
            "2:50",
            "a feature cannot be named \"Status\": the name is taken by status columns",
        ),
        (
            "feature_views:\n  - {name: v, source: weather, aggregations: [{feature: event_timestamp, function: count, window: 1h}]}\n",
            "2:57",
            "a feature cannot be named \"event_timestamp\": the name is taken by status columns",
        ),
        (
            "feature_services:\n  - {name: '', features: [airport_weather]}\n",
            "2:12",
            "a feature service cannot be named \"\": it is empty",
        ),
        (
            "feature_services:\n  - {name: s, features: [{view: airport_weather, as: a__b}]}\n",
            "2:54",
            "an alias cannot be named \"a__b\": it holds __, which joins a view and a feature in output columns",
        ),
        (
            "on_demand_feature_views:\n  - {name: o, request: [{name: a b, type: int64}], features: [{name: c, type: int64, sql: '1'}]}\n",
            "2:32",
            "a request field cannot be named \"a b\": it holds something other than letters, digits and _",
        ),
    ];
    assert_mistakes(
        "P104",
        &cases.map(|(text, place, message)| (text, place, message, "")),
    );
}

#[test]
fn clashing_names_tell_both_places() {
    let rename = "rename or remove one of them";
    let space = "rename one of them: feature views, on-demand feature views and feature services share one space of names";
    let cases = [
        (
            "entities:\n  - {name: airport, join_keys: [{name: k, type: string}]}\n",
            "2:12",
            "entity \"airport\" is defined twice, first at features/base.yaml:3:12",
            rename,
        ),
        (
            "sources:\n  - {name: Weather, table: t, timestamp: at}\n",
            "2:12",
            "source \"Weather\" and source \"weather\" (at features/base.yaml:8:12) differ only in case",
            rename,
        ),
        (
            "feature_services:\n  - {name: wind, features: [airport_weather]}\n",
            "2:12",
            "feature service \"wind\" has the name of the on-demand feature view at features/base.yaml:19:11",
            space,
        ),
        (
            "entities:\n  - name: a\n    join_keys: [{name: k, type: string}, {name: K, type: string}]\n",
            "3:49",
            "entity \"a\" has the join keys \"k\" (at features/x.yaml:3:24) and \"K\", which differ only in case",
            rename,
        ),
        (
            "feature_views:\n  - name: v\n    source: weather\n    features:\n      - {name: a, type: int64}\n      - {name: a, type: int64}\n",
            "6:16",
            "feature view \"v\" has the feature \"a\" twice, first at features/x.yaml:5:16",
            rename,
        ),
        (
            "feature_views:\n  - name: v\n    source: weather\n    entities: [airport]\n    features:\n      - {name: origin, type: string}\n",
            "6:16",
            "feature view \"v\" has the feature \"origin\", which is the name of its join key \"origin\"",
            "rename the feature; column: says what the source calls it",
        ),
        (
            "feature_views:\n  - name: v\n    source: weather\n    entities: [airport, shouted]\n    features: [{name: a, type: string}]\n",
            "4:25",
            "feature view \"v\" has the join keys \"origin\" (of entity \"airport\") and \"ORIGIN\" (of entity \"shouted\"), which differ only in case",
            "spell the key one way in both entities",
        ),
        (
            "on_demand_feature_views:\n  - name: o\n    request: [{name: a, type: int64}]\n    features: [{name: a, type: int64, sql: a}]\n",
            "4:23",
            "on-demand feature view \"o\" has the feature \"a\", which is the name of its request field \"a\"",
            "rename one of them: in training the request field is a column beside the feature",
        ),
    ];
    assert_mistakes("P105", &cases);
}

#[test]
fn undefined_references_hint_at_the_nearest() {
    let cases = [
        (
            "feature_views:\n  - {name: v, source: wether, features: [{name: a, type: int64}]}\n",
            "2:23",
            "feature view \"v\" refers to the source \"wether\", which is not defined",
            "did you mean \"weather\"?",
        ),
        (
            "feature_views:\n  - {name: v, source: weather, entities: [airprt], features: [{name: a, type: int64}]}\n",
            "2:43",
            "feature view \"v\" refers to the entity \"airprt\", which is not defined",
            "did you mean \"airport\"?",
        ),
        (
            "feature_services:\n  - name: s\n    features:\n      - airport_wether\n",
            "4:9",
            "feature service \"s\" refers to the view \"airport_wether\", which is not defined",
            "did you mean \"airport_weather\"?",
        ),
        (
            "feature_services:\n  - name: s\n    features:\n      - airport_weather:temp,hum\n",
            "4:9",
            "feature service \"s\" refers to the feature \"hum\" of \"airport_weather\", which is not defined",
            "did you mean \"humid\"?",
        ),
        (
            "feature_services:\n  - name: s\n    features:\n      - {view: airport_weather, features: [temp, humit]}\n",
            "4:50",
            "feature service \"s\" refers to the feature \"humit\" of \"airport_weather\", which is not defined",
            "did you mean \"humid\"?",
        ),
        (
            "feature_services:\n  - name: s\n    features: ['wind:crosswind']\n",
            "3:16",
            "feature service \"s\" refers to the feature \"crosswind\" of \"wind\", which is not defined",
            "known are cross",
        ),
        (
            "on_demand_feature_views:\n  - {name: o, inputs: [airport_weather, winds@2], features: [{name: a, type: int64, sql: '1'}]}\n",
            "2:41",
            "on-demand feature view \"o\" refers to the view \"winds\", which is not defined",
            "did you mean \"wind\"?",
        ),
    ];
    assert_mistakes("P106", &cases);
}

#[test]
fn circles_of_on_demand_views_are_printed() {
    let help = "remove one of these inputs, or compute what they share in a view of its own";
    let view = |name: &str, inputs: &str| {
        format!(
            "  - {{name: {name}, inputs: [{inputs}], features: [{{name: f, type: int64, sql: '1'}}]}}\n"
        )
    };
    let text = format!(
        "on_demand_feature_views:\n{}{}{}{}feature_services: [{{name: s, features: ['b:f']}}]\n",
        view("a", "wind, b"),
        view("b", "c"),
        view("c", "a, wind"),
        view("d", "a"),
    );
    assert_mistake(
        &text,
        "P107",
        "4:24",
        "on-demand feature views use each other in a circle: a -> b -> c -> a",
        help,
    );
    assert_mistake(
        &format!("on_demand_feature_views:\n{}", view("a", "a")),
        "P107",
        "2:24",
        "on-demand feature view \"a\" has itself as input",
        help,
    );
    // An applied version never changes, so holding one closes no circle.
    let text = format!("on_demand_feature_views:\n{}", view("a", "a@1"));
    assert!(errors(&text).is_empty());
}

#[test]
fn bad_durations_say_why() {
    let help = "write a positive number and us, ms, s, m, h or d, for example 3h";
    for (ttl, why) in [
        ("0s", "\"0s\" is no duration: it must be greater than zero"),
        (
            "-3h",
            "\"-3h\" is no duration: it must be greater than zero",
        ),
        ("3", "\"3\" is no duration: its unit is missing"),
        ("3w", "\"3w\" is no duration: its unit is unknown"),
        ("1.5h", "\"1.5h\" is no duration: its unit is unknown"),
        (
            "soon",
            "\"soon\" is no duration: it does not start with a whole number",
        ),
    ] {
        assert_mistake(
            &view(&format!(
                "    source: weather\n    ttl: {ttl}\n    features: [{{name: a, type: int64}}]\n"
            )),
            "P108",
            "4:10",
            &format!("ttl of feature view \"v\": {why}"),
            help,
        );
    }
    assert_mistake(
        &view(
            "    source: weather\n    aggregations: [{feature: a, function: count, window: 0d}]\n",
        ),
        "P108",
        "4:58",
        "window of aggregation \"a\" of feature view \"v\": \"0d\" is no duration: it must be greater than zero",
        help,
    );
    assert_mistake(
        "sources:\n  - {name: a, table: t, timestamp: at, lookback: 3}\n",
        "P108",
        "2:50",
        "lookback of source \"a\": \"3\" is no duration: its unit is missing",
        help,
    );
}

#[test]
fn bad_types_say_why() {
    assert_mistake(
        &view("    source: weather\n    features: [{name: a, type: flot64}]\n"),
        "P109",
        "4:32",
        "type of feature \"a\" of feature view \"v\": \"flot64\" is no value type: \"flot64\" is unknown",
        "did you mean \"float64\"?",
    );
    assert_mistake(
        "entities:\n  - {name: a, join_keys: [{name: k, type: float64}]}\n",
        "P109",
        "2:43",
        "join key \"k\" of entity \"a\" cannot be of type float64",
        "join keys are bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, string, binary, date, timestamp",
    );
    assert_mistake(
        "on_demand_feature_views:\n  - {name: o, request: [{name: r, type: 'list<'}], features: [{name: a, type: int64, sql: '1'}]}\n",
        "P109",
        "2:41",
        "type of request field \"r\" of on-demand feature view \"o\": \"list<\" is no value type: \"\" is unknown",
        "",
    );
}

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
