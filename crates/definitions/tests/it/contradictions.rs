//! Definitions whose parts contradict each other, and services whose output columns clash.

use crate::mistakes::{assert_mistake, assert_mistakes, errors};

#[test]
fn contradictions_say_what_contradicts() {
    let cases = [
        (
            "sources:\n  - {name: a, table: t, query: SELECT 1, timestamp: at}\n",
            "2:32",
            "source \"a\" has both table and query",
            "keep the one that names its rows; filter takes a condition on a table",
        ),
        (
            "sources:\n  - {name: a, timestamp: at}\n",
            "2:5",
            "source \"a\" has neither table nor query",
            "add table: with the name of a table, or query: with a SELECT",
        ),
        (
            "sources:\n  - {name: a, query: SELECT 1, timestamp: at, version: 3}\n",
            "2:56",
            "source \"a\" has both version and query",
            "name a table, or put the version into the query in the store's own SQL",
        ),
        (
            "sources:\n  - {name: a, table: t, timestamp: at, created_timestamp: c, lookback: 1d}\n",
            "2:72",
            "source \"a\" has both lookback and created_timestamp",
            "remove lookback: the created timestamp already finds late rows",
        ),
        (
            "sources:\n  - {name: a, table: t, timestamp: '', tie_breakers: [b]}\n",
            "2:36",
            "timestamp of source \"a\" is empty",
            "fill timestamp in",
        ),
        (
            "sources:\n  - {name: a, table: t, timestamp: at, tie_breakers: [b, b]}\n",
            "2:58",
            "source \"a\" has the tie breaker \"b\" twice",
            "remove one of them",
        ),
        (
            "entities:\n  - {name: a, join_keys: []}\n",
            "2:5",
            "entity \"a\" has no join keys",
            "name at least one; a view of one global row needs no entity",
        ),
        (
            "feature_views:\n  - {name: v, source: weather, features: []}\n",
            "2:5",
            "feature view \"v\" has neither features nor aggregations",
            "add features: with columns of the source, or aggregations: over windows",
        ),
        (
            "feature_views:\n  - name: v\n    source: weather\n    features: [{name: a, type: int64}]\n    aggregations: [{feature: b, function: count, window: 1h}]\n",
            "5:19",
            "feature view \"v\" has both features and aggregations",
            "make two views of the same source, one with the features and one with the aggregations",
        ),
        (
            "feature_views:\n  - name: v\n    source: weather\n    ttl: 1h\n    aggregations: [{feature: b, function: count, window: 1h}]\n",
            "4:10",
            "feature view \"v\" has both ttl and aggregations",
            "remove ttl: a window already says how old its rows may be",
        ),
        (
            "feature_views:\n  - name: v\n    source: weather\n    aggregations: [{feature: b, function: sum, window: 1h}]\n",
            "4:43",
            "aggregation \"b\" of feature view \"v\" has no column, which sum needs",
            "add column: with a column of the source; only count can do without",
        ),
        (
            "feature_views:\n  - name: v\n    source: weather\n    entities: [airport, airport]\n    features: [{name: a, type: int64}]\n",
            "4:25",
            "feature view \"v\" names the entity \"airport\" twice",
            "remove one of them; a service uses a view twice by an alias (as:)",
        ),
        (
            "feature_views:\n  - name: v\n    source: weather\n    entities: [airport, numbered]\n    features: [{name: a, type: int64}]\n",
            "4:25",
            "feature view \"v\" has the join key \"origin\" as string (of entity \"airport\") and as int64 (of entity \"numbered\")",
            "give the key one type in both entities, or another name in one of them",
        ),
        (
            "on_demand_feature_views:\n  - {name: o, inputs: [wind, wind@2], features: [{name: a, type: int64, sql: '1'}]}\n",
            "2:30",
            "on-demand feature view \"o\" has the input \"wind\" twice",
            "remove one of them",
        ),
        (
            "on_demand_feature_views:\n  - {name: o, features: []}\n",
            "2:25",
            "on-demand feature view \"o\" has no features",
            "add at least one with name, type and sql",
        ),
        (
            "feature_services:\n  - {name: s, features: []}\n",
            "2:25",
            "feature service \"s\" has no features",
            "name at least one view",
        ),
        (
            "feature_services:\n  - {name: s, features: [model]}\n",
            "2:26",
            "feature service \"s\" refers to \"model\", which is a feature service",
            "name the views that it consists of",
        ),
        (
            "feature_services:\n  - {name: s, features: [{view: 'airport_weather:temp'}]}\n",
            "2:33",
            "a reference of feature service \"s\" has features in its view: \"airport_weather:temp\"",
            "write view: airport_weather and features: [...]",
        ),
        (
            "feature_services:\n  - {name: s, features: [{view: airport_weather, features: []}]}\n",
            "2:60",
            "feature service \"s\" takes no features of \"airport_weather\"",
            "name at least one, or leave features out to take all",
        ),
        (
            "feature_services:\n  - {name: s, features: [{view: airport_weather, join_keys: {orgin: dest}}]}\n",
            "2:62",
            "feature service \"s\" maps the join key \"orgin\", which feature view \"airport_weather\" does not have",
            "did you mean \"origin\"?",
        ),
        (
            "feature_services:\n  - {name: s, features: [{view: wind, join_keys: {orgin: dest}}]}\n",
            "2:51",
            "feature service \"s\" maps the join key \"orgin\", which no input of on-demand feature view \"wind\" has",
            "did you mean \"origin\"?",
        ),
    ];
    assert_mistakes("P110", &cases);
}

#[test]
fn output_columns_of_a_service_must_differ() {
    let help = "give one of them an alias (as:), or take fewer features";
    assert_mistake(
        "feature_services:\n  - name: s\n    features: [airport_weather, airport_weather]\n",
        "P110",
        "3:33",
        "feature service \"s\" has two output columns \"temp\", \"humid\": of airport_weather (at features/x.yaml:3:16) and of airport_weather",
        help,
    );
    assert_mistake(
        "feature_services:\n  - name: s\n    features: [airport_weather, routes]\n",
        "P110",
        "3:33",
        "feature service \"s\" has two output columns \"temp\": of airport_weather (at features/x.yaml:3:16) and of routes",
        help,
    );
    assert_mistake(
        "feature_services:\n  - name: s\n    features: ['airport_weather:temp,temp']\n",
        "P110",
        "3:16",
        "feature service \"s\" takes \"temp\" of airport_weather twice",
        help,
    );
    assert_mistake(
        "feature_services:\n  - name: s\n    features: [{view: routes, as: x, features: [temp]}, {view: airport_weather@2, as: x, features: [temp]}]\n",
        "P110",
        "3:57",
        "feature service \"s\" has two output columns \"x__temp\": of routes as x (at features/x.yaml:3:16) and of airport_weather@2 as x",
        help,
    );
    assert_mistake(
        "feature_services:\n  - name: s\n    features: [{view: routes, join_keys: {dest: miles}}]\n",
        "P110",
        "3:16",
        "feature service \"s\" has the output column \"miles\" (of routes), which is also the column of join key \"dest\" of routes",
        "give the view an alias (as:), or rename the feature",
    );
    for fine in [
        "[airport_weather, {view: routes, as: there}]",
        "['airport_weather:humid', routes]",
        "[{view: routes, as: a}, {view: routes, as: b, join_keys: {origin: dest, dest: origin}}]",
        "[airport_weather, airport_weather@2]",
        "[airport_weather, wind]",
    ] {
        let text = format!("feature_services:\n  - name: s\n    features: {fine}\n");
        assert!(errors(&text).is_empty(), "{fine}: {:#?}", errors(&text));
    }
}

#[test]
fn a_mistake_behind_an_alias_is_told_where_it_is_written() {
    assert_mistake(
        "sources:
  - {name: s, table: t, timestamp: at}
feature_views:
  - {name: v, source: s, features: &shared [{name: a, type: int64}], ttl: &age 0s}
  - {name: w, source: s, features: *shared}
",
        "P108",
        "4:80",
        "ttl of feature view \"v\": \"0s\" is no duration: it must be greater than zero",
        "write a positive number and us, ms, s, m, h or d, for example 3h",
    );
    let text = "sources:
  - {name: s, table: t, timestamp: at, lookback: &age 2w}
feature_views:
  - {name: v, source: weather, ttl: *age, features: [{name: a, type: int64}]}
";
    let told: Vec<String> = errors(text)
        .iter()
        .map(|error| error.message().to_owned())
        .collect();
    assert_eq!(
        told,
        [
            "features/x.yaml:2:55: lookback of source \"s\": \"2w\" is no duration: its unit is unknown",
            "features/x.yaml:2:55: ttl of feature view \"v\": \"2w\" is no duration: its unit is unknown",
        ]
    );
}
