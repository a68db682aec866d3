//! Versions, deletes, and what changes break.

use provender_core::provider::{Interval, Registry, ViewVersion};

use crate::support::{DEFINITIONS, Project, all_tables, breaks, entries};

fn details(plan: &provender_store::Plan, name: &str) -> Vec<String> {
    let entry = plan
        .entries
        .iter()
        .find(|entry| entry.name == name)
        .unwrap();
    let text = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".to_owned());
    entry
        .details
        .iter()
        .map(|change| {
            format!(
                "{}: {} -> {}",
                change.path,
                text(&change.before),
                text(&change.after)
            )
        })
        .collect()
}

#[tokio::test]
async fn a_description_changes_no_version() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let plan = project
        .apply(&DEFINITIONS.replace("hourly weather", "weather by the hour"))
        .await;
    assert_eq!(entries(&plan), ["Update feature_view airport_weather 1->1"]);
    assert_eq!(
        details(&plan, "airport_weather"),
        ["description: hourly weather -> weather by the hour"]
    );
    let catalog = project.store.catalog(&project.cx).await.unwrap();
    let (version, view) = catalog.feature_view("airport_weather", None).unwrap();
    assert_eq!(
        (version, view.documentation.description.as_str()),
        (1, "weather by the hour")
    );
}

#[tokio::test]
async fn a_changed_ttl_gives_the_view_and_its_users_new_versions() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let plan = project
        .apply(&DEFINITIONS.replace("ttl: 3h", "ttl: 90m"))
        .await;
    assert_eq!(
        entries(&plan),
        [
            "NewVersion feature_view airport_weather 1->2",
            "NewVersion on_demand_feature_view comfort 1->2",
            "NewVersion on_demand_feature_view feel 1->2",
            "NewVersion feature_service delay_model 1->2",
        ]
    );
    assert_eq!(details(&plan, "airport_weather"), ["ttl: 3h -> 90m"]);
    assert_eq!(
        details(&plan, "feel"),
        ["inputs: [airport_weather@1] -> [airport_weather@2]"]
    );
    assert_eq!(
        details(&plan, "delay_model"),
        [
            "features.airport_weather.version: 1 -> 2",
            "features.comfort.version: 1 -> 2"
        ]
    );
    assert!(breaks(&plan).is_empty(), "{:?}", breaks(&plan));
    let catalog = project.store.catalog(&project.cx).await.unwrap();
    assert_eq!(
        catalog.feature_views["airport_weather"].len(),
        2,
        "the old version stays"
    );
    assert_eq!(catalog.feature_services["delay_model"].len(), 2);
}

#[tokio::test]
async fn a_held_version_keeps_its_users_as_they_are() {
    let project = Project::new(all_tables()).await;
    let held = DEFINITIONS
        .replace("      - airport_weather\n", "      - airport_weather@1\n")
        .replace("inputs: [airport_weather]", "inputs: [airport_weather@1]");
    project.apply(&held).await;
    let plan = project.plan(&held.replace("ttl: 3h", "ttl: 4h")).await;
    assert_eq!(
        entries(&plan),
        ["NewVersion feature_view airport_weather 1->2"]
    );
}

#[tokio::test]
async fn what_is_gone_from_the_files_is_deleted_and_its_versions_never_come_back() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    project
        .apply(&DEFINITIONS.replace("ttl: 3h", "ttl: 4h"))
        .await;
    let without = "
entities:
  - {name: airport, join_keys: [{name: origin, type: string}]}
sources:
  - {name: airports, table: airports, timestamp: known_at, columns: {origin: faa}}
feature_views:
  - {name: airport_facts, entities: [airport], source: airports, features: [{name: alt, type: int64}]}
";
    let view = ViewVersion {
        project: "flights".to_owned(),
        view: "airport_weather".to_owned(),
        version: 2,
    };
    let interval = Interval {
        start_us: None,
        end_us: 7,
    };
    project
        .registry
        .record_interval(&project.cx, &view, interval)
        .await
        .unwrap();
    let plan = project.apply(without).await;
    assert!(plan.has_deletes());
    assert_eq!(
        entries(&plan),
        [
            "Delete entity route 1->-",
            "Delete source departures 1->-",
            "Delete source weather 1->-",
            "Delete feature_view airport_weather 2->-",
            "Delete feature_view route_delay 1->-",
            "Delete on_demand_feature_view comfort 2->-",
            "Delete on_demand_feature_view feel 2->-",
            "Delete feature_service delay_model 2->-",
        ]
    );
    assert_eq!(
        breaks(&plan),
        [(
            "delay_model".to_owned(),
            "service delay_model is deleted".to_owned()
        )]
    );
    let left = project
        .registry
        .intervals(&project.cx, &view)
        .await
        .unwrap();
    assert!(
        left.is_empty(),
        "intervals of what is deleted are forgotten"
    );

    let plan = project.apply(DEFINITIONS).await;
    let again = entries(&plan);
    assert!(
        again.contains(&"Create feature_view airport_weather -->3".to_owned()),
        "{again:?}"
    );
    assert!(
        again.contains(&"Create feature_view route_delay -->2".to_owned()),
        "{again:?}"
    );
    assert!(
        again.contains(&"Create on_demand_feature_view feel -->3".to_owned()),
        "{again:?}"
    );
    assert!(
        again.contains(&"Create feature_service delay_model -->3".to_owned()),
        "{again:?}"
    );
    assert!(
        again.contains(&"Create entity route -->1".to_owned()),
        "{again:?}"
    );
}

#[tokio::test]
async fn old_versions_that_use_a_deleted_view_go_with_it() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    // The service and `comfort` stop using the facts, and then the facts go.
    let unused = DEFINITIONS
        .replace(
            "      - {view: airport_facts, as: dest_airport, join_keys: {origin: dest}}\n",
            "",
        )
        .replace("inputs: [feel, airport_facts]", "inputs: [feel]")
        .replace("sql: chill * 10 + alt", "sql: chill * 10");
    project.apply(&unused).await;
    let facts = "  - name: airport_facts
    entities: [airport]
    source: airports
    features: [{name: alt, type: int64}]
";
    let plan = project.apply(&unused.replace(facts, "")).await;
    assert_eq!(
        entries(&plan),
        [
            "Delete feature_view airport_facts 1->-",
            "Delete on_demand_feature_view comfort 1->-",
            "Delete feature_service delay_model 1->-",
        ]
    );
    assert_eq!(
        details(&plan, "delay_model"),
        ["versions.1: uses airport_facts@1, which is deleted -> -"]
    );
    assert_eq!(
        breaks(&plan),
        [(
            "delay_model".to_owned(),
            "service delay_model@1 is deleted".to_owned()
        )]
    );
    let catalog = project.store.catalog(&project.cx).await.unwrap();
    let left: Vec<u32> = catalog.feature_services["delay_model"]
        .keys()
        .copied()
        .collect();
    assert_eq!(left, [2]);
    let left: Vec<u32> = catalog.on_demand_feature_views["comfort"]
        .keys()
        .copied()
        .collect();
    assert_eq!(left, [2]);
    assert!(project.plan(&unused.replace(facts, "")).await.is_empty());
}

#[tokio::test]
async fn a_name_that_becomes_another_kind_counts_its_versions_on() {
    let project = Project::new(all_tables()).await;
    let facts = "  - name: airport_facts
    entities: [airport]
    source: airports
    features: [{name: alt, type: int64}]
";
    project.apply(DEFINITIONS).await;
    let moved = DEFINITIONS.replace(facts, "").replace(
        "on_demand_feature_views:\n",
        "on_demand_feature_views:
  - {name: airport_facts, inputs: [airport_weather], features: [{name: alt, type: int64, sql: wind + 1}]}
",
    ).replace(", as: dest_airport, join_keys: {origin: dest}", ", as: dest_airport");
    let plan = project.apply(&moved).await;
    let all = entries(&plan);
    assert!(
        all.contains(&"Delete feature_view airport_facts 1->-".to_owned()),
        "{all:?}"
    );
    assert!(
        all.contains(&"Create on_demand_feature_view airport_facts -->2".to_owned()),
        "{all:?}"
    );
    assert!(
        all.contains(&"NewVersion feature_service delay_model 1->2".to_owned()),
        "{all:?}"
    );
}

#[tokio::test]
async fn lost_and_changed_columns_break_at_the_view_that_changed() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let changed = DEFINITIONS
        .replace(
            "[{name: temp, type: float64}, {name: wind, type: int64}]",
            "[{name: temp, type: float32, cast: checked}]",
        )
        .replace("sql: temp - wind", "sql: temp");
    let plan = project.plan(&changed).await;
    assert_eq!(
        breaks(&plan),
        [
            (
                "airport_weather".to_owned(),
                "service delay_model: column temp changes from float64 to float32".to_owned()
            ),
            (
                "airport_weather".to_owned(),
                "service delay_model loses column wind".to_owned()
            ),
        ]
    );
}

#[tokio::test]
async fn new_keys_and_request_fields_break_at_their_cause() {
    let project = Project::new(all_tables()).await;
    let small = "
entities:
  - {name: airport, join_keys: [{name: origin, type: string}]}
  - {name: route, join_keys: [{name: origin, type: string}, {name: dest, type: string}]}
sources:
  - {name: departures, table: departures, timestamp: at}
feature_views:
  - {name: delays, entities: [airport], source: departures, features: [{name: delay, type: int64}]}
on_demand_feature_views:
  - name: late
    inputs: [delays]
    request: [{name: slack, type: int64}]
    features: [{name: late, type: int64, sql: delay + 0}]
feature_services:
  - {name: s, features: [delays, late]}
";
    project.apply(small).await;
    let changed = small
        .replace(
            "name: delays, entities: [airport]",
            "name: delays, entities: [route]",
        )
        .replace("sql: delay + 0", "sql: delay - slack");
    let plan = project.plan(&changed).await;
    assert_eq!(
        breaks(&plan),
        [
            (
                "delays".to_owned(),
                "service s needs the new key dest (string)".to_owned()
            ),
            (
                "late".to_owned(),
                "service s needs the new request field slack (int64)".to_owned()
            ),
        ]
    );
    let fewer = small.replace("features: [delays, late]", "features: [late]");
    assert_eq!(
        breaks(&project.plan(&fewer).await),
        [("s".to_owned(), "service s loses column delay".to_owned())]
    );
}
