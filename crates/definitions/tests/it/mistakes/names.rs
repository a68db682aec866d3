//! Names that are bad, clash or refer to nothing, and views that refer to each other in a circle.

use super::{assert_mistake, assert_mistakes, errors};

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
