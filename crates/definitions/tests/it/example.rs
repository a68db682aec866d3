//! The documented example means what it says.

use std::collections::BTreeMap;

use provender_core::ValueType;
use provender_core::model::{
    AggregateFunction, Aggregation, Definitions, Documentation, Entity, Feature, FeatureRef,
    FeatureService, FeatureView, JoinKey, OnDemandFeature, OnDemandView, Relation, RequestField,
    Source, SourceVersion,
};
use provender_definitions::parse_definitions;

use crate::EXAMPLE;

const HOUR_US: i64 = 3_600_000_000;

fn parse(text: &str) -> Definitions {
    parse_definitions(&[("features/all.yaml", text)])
        .unwrap()
        .definitions
}

fn key(name: &str) -> JoinKey {
    JoinKey {
        name: name.into(),
        value_type: ValueType::String,
    }
}

fn entity(name: &str, keys: &[&str]) -> Entity {
    Entity {
        name: name.into(),
        join_keys: keys.iter().map(|name| key(name)).collect(),
        documentation: Documentation::default(),
    }
}

fn source(name: &str, relation: Relation, timestamp: &str) -> Source {
    Source {
        name: name.into(),
        store: None,
        relation,
        filter: None,
        version: None,
        timestamp: timestamp.into(),
        created_timestamp: None,
        tie_breakers: vec![],
        columns: BTreeMap::new(),
        lookback_us: None,
        documentation: Documentation::default(),
    }
}

fn feature(name: &str, value_type: ValueType) -> Feature {
    Feature {
        name: name.into(),
        value_type,
        column: name.into(),
        checked: false,
        documentation: Documentation::default(),
    }
}

fn view(name: &str, entity: Entity, source: Source) -> FeatureView {
    FeatureView {
        name: name.into(),
        entities: vec![entity],
        source,
        ttl_us: None,
        features: vec![],
        aggregations: vec![],
        online: true,
        online_store: None,
        documentation: Documentation::default(),
    }
}

fn by_name<T>(items: Vec<T>, name: impl Fn(&T) -> &String) -> BTreeMap<String, T> {
    items
        .into_iter()
        .map(|item| (name(&item).clone(), item))
        .collect()
}

fn expected() -> Definitions {
    let airport = entity("airport", &["origin"]);
    let route = entity("route", &["origin", "dest"]);
    let weather = source("weather", Relation::Table("weather".into()), "time_hour");
    let departures = Source {
        created_timestamp: Some("recorded_at".into()),
        ..source(
            "departures",
            Relation::Table("departures".into()),
            "departed_at",
        )
    };
    let query = "SELECT *, TIMESTAMP '1970-01-01' AS known_at FROM airports";
    let airports = Source {
        columns: BTreeMap::from([("origin".into(), "faa".into())]),
        ..source("airports", Relation::Query(query.into()), "known_at")
    };
    let mut temp = feature("temp", ValueType::Float64);
    temp.documentation.description = "degrees Fahrenheit".into();
    let mut wind_dir = feature("wind_dir", ValueType::Float64);
    wind_dir.checked = true;
    let airport_weather = FeatureView {
        ttl_us: Some(3 * HOUR_US),
        features: vec![temp, feature("wind_speed", ValueType::Float64), wind_dir],
        documentation: Documentation {
            description: "Hourly weather at the airport".into(),
            owner: "flights-ml".into(),
            tags: BTreeMap::from([("team".into(), "flights".into())]),
        },
        ..view("airport_weather", airport.clone(), weather.clone())
    };
    let airport_facts = FeatureView {
        features: vec![
            feature("alt", ValueType::Int64),
            feature("lat", ValueType::Float64),
        ],
        ..view("airport_facts", airport.clone(), airports.clone())
    };
    let aggregation = |feature: &str, function, column: Option<&str>, window_us| Aggregation {
        feature: feature.into(),
        function,
        column: column.map(Into::into),
        window_us,
        value_type: None,
        documentation: Documentation::default(),
    };
    let route_delay = FeatureView {
        aggregations: vec![
            aggregation(
                "mean_dep_delay_3h",
                AggregateFunction::Mean,
                Some("dep_delay"),
                3 * HOUR_US,
            ),
            aggregation(
                "departures_1d",
                AggregateFunction::Count,
                None,
                24 * HOUR_US,
            ),
        ],
        ..view("route_delay", route.clone(), departures.clone())
    };
    let wind = OnDemandView {
        name: "wind".into(),
        inputs: vec!["airport_weather".into()],
        request: vec![RequestField {
            name: "runway_heading".into(),
            value_type: ValueType::Float64,
        }],
        features: vec![OnDemandFeature {
            name: "crosswind".into(),
            value_type: ValueType::Float64,
            sql: "wind_speed * abs(sin(radians(wind_dir - runway_heading)))".into(),
            documentation: Documentation::default(),
        }],
        documentation: Documentation::default(),
    };
    let all_of = |view: &str| FeatureRef {
        view: view.into(),
        ..FeatureRef::default()
    };
    let departure_delay = FeatureService {
        name: "departure_delay".into(),
        features: vec![
            all_of("airport_weather"),
            FeatureRef {
                alias: Some("dest_airport".into()),
                join_keys: BTreeMap::from([("origin".into(), "dest".into())]),
                features: Some(vec!["alt".into()]),
                ..all_of("airport_facts")
            },
            FeatureRef {
                features: Some(vec!["mean_dep_delay_3h".into()]),
                ..all_of("route_delay")
            },
            all_of("wind"),
        ],
        documentation: Documentation::default(),
    };
    Definitions {
        entities: by_name(vec![airport, route], |entity| &entity.name),
        sources: by_name(vec![weather, departures, airports], |source| &source.name),
        feature_views: by_name(vec![airport_weather, airport_facts, route_delay], |view| {
            &view.name
        }),
        on_demand_feature_views: by_name(vec![wind], |view| &view.name),
        feature_services: by_name(vec![departure_delay], |service| &service.name),
    }
}

#[test]
fn the_example_gives_the_expected_model() {
    assert_eq!(parse(EXAMPLE), expected());
}

#[test]
fn the_example_as_json_gives_the_same_model() {
    let yaml = parse(EXAMPLE);
    let value: serde_json::Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    for json in [
        serde_json::to_string(&value).unwrap(),
        serde_json::to_string_pretty(&value).unwrap(),
        serde_json::to_string_pretty(&value)
            .unwrap()
            .replace("  ", "\t"),
    ] {
        let loaded = parse_definitions(&[("features/all.json", json.as_str())]).unwrap();
        assert_eq!(loaded.definitions, yaml, "{json}");
    }
}

#[test]
fn one_file_for_each_section_gives_the_same_model() {
    let mut parts: Vec<(String, String)> = Vec::new();
    for line in EXAMPLE.lines() {
        if !line.starts_with(' ') {
            parts.push((format!("features/{}.yaml", parts.len()), String::new()));
        }
        let text = &mut parts.last_mut().unwrap().1;
        text.push_str(line);
        text.push('\n');
    }
    parts.reverse();
    assert_eq!(parts.len(), 5);
    let loaded = parse_definitions(&parts).unwrap();
    assert_eq!(loaded.definitions, expected());
}

#[test]
fn every_key_of_a_source_is_kept() {
    let definitions = parse(
        "sources:
  - name: s
    store: archive
    table: t
    filter: a > 1
    version: 2013-01-01T05:00:00+01:00
    timestamp: at
    tie_breakers: [seq, id]
    columns: {k: K, l: 1}
    lookback: 2d
    description: 2013
    owner: me
    tags: {cost: 1.10, hot: yes, on: true}
  - {name: v, table: t, timestamp: at, version: 3, created_timestamp: c}
",
    );
    let s = &definitions.sources["s"];
    assert_eq!(s.store.as_deref(), Some("archive"));
    assert_eq!(s.filter.as_deref(), Some("a > 1"));
    assert_eq!(
        s.version,
        Some(SourceVersion::TimestampUs(1_357_012_800_000_000))
    );
    assert_eq!(s.tie_breakers, ["seq", "id"]);
    assert_eq!(s.key_column("k"), "K");
    assert_eq!(s.key_column("l"), "1");
    assert_eq!(s.lookback_us, Some(48 * HOUR_US));
    // Text that YAML would read as a number or a truth value keeps its spelling.
    assert_eq!(s.documentation.description, "2013");
    let tags: Vec<(&str, &str)> = s
        .documentation
        .tags
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(tags, [("cost", "1.10"), ("hot", "yes"), ("on", "true")]);
    assert_eq!(
        definitions.sources["v"].version,
        Some(SourceVersion::Number(3))
    );
}

#[test]
fn every_key_of_a_view_is_kept() {
    let definitions = parse(
        "sources: [{name: s, table: t, timestamp: at}]
feature_views:
  - name: global
    source: s
    online: false
    online_store: hot
    features:
      - {name: a, type: 'map<string, list<int8>>', column: A b, owner: o, tags: {x: y}}
  - name: windows
    source: s
    aggregations: [{feature: n, function: count, column: a, window: 90s, owner: o}]
feature_services:
  - name: s1
    owner: o
    features: [global@2, 'windows@1:n', {view: global@3, as: g, features: [whatever]}]
",
    );
    let view = &definitions.feature_views["global"];
    assert!(view.entities.is_empty() && !view.online);
    assert_eq!(view.online_store.as_deref(), Some("hot"));
    assert_eq!(view.features[0].column, "A b");
    assert_eq!(
        view.features[0].value_type.to_string(),
        "map<string, list<int8>>"
    );
    assert_eq!(view.features[0].documentation.owner, "o");
    let window = &definitions.feature_views["windows"].aggregations[0];
    assert_eq!(window.column.as_deref(), Some("a"));
    assert_eq!(window.window_us, 90_000_000);
    let service = &definitions.feature_services["s1"];
    let versions: Vec<_> = service.features.iter().map(|f| f.version).collect();
    assert_eq!(versions, [Some(2), Some(1), Some(3)]);
}

#[test]
fn on_demand_views_use_each_other_in_any_order() {
    let text = format!("{EXAMPLE}  - {{name: chained, features: [third]}}\n").replace(
        "on_demand_feature_views:\n",
        "on_demand_feature_views:
  - {name: third, inputs: [second, wind@2], features: [{name: c, type: int64, sql: b}]}
  - {name: second, inputs: [wind, airport_weather], features: [{name: b, type: int64, sql: '1'}]}
",
    );
    let definitions = parse(&text);
    assert_eq!(
        definitions.on_demand_feature_views["third"].inputs,
        ["second", "wind@2"]
    );
    assert!(definitions.feature_services.contains_key("chained"));
}

#[test]
fn anchors_aliases_and_merges_are_written_out() {
    let definitions = parse(
        "sources: [{name: s, table: t, timestamp: at}]
feature_views:
  - &base
    name: one
    source: s
    tags: &tags {team: a}
    features: &features
      - {name: a, type: int64}
  - <<: *base
    name: two
    owner: me
  - {name: three, source: s, tags: *tags, features: *features}
",
    );
    assert_eq!(definitions.feature_views.len(), 3);
    let views = &definitions.feature_views;
    assert_eq!(views["two"].features, views["one"].features);
    assert_eq!(views["two"].documentation.owner, "me");
    assert_eq!(views["three"].documentation.tags["team"], "a");
}

#[test]
fn nothing_defines_nothing() {
    for text in [
        "",
        "\n\n",
        "# only a comment\n",
        "---\n",
        "\u{feff}",
        "entities:\nsources: []\n",
    ] {
        assert_eq!(parse(text), Definitions::default(), "{text:?}");
    }
}
