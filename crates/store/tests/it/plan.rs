//! Definitions against their sources, and what is refused.

use std::sync::atomic::Ordering;

use provender_core::model::split_version;
use provender_core::{ErrorKind, ValueType};

use crate::support::{
    DEFINITIONS, Project, all_tables, batch, codes_of, entries, floats, hours, ints, load, strings,
    tables,
};

#[tokio::test]
async fn first_plan_creates_everything_and_apply_commits_once() {
    let project = Project::new(all_tables()).await;
    let plan = project.plan(DEFINITIONS).await;
    assert!(!plan.is_empty() && !plan.has_deletes());
    assert_eq!(
        entries(&plan),
        [
            "Create entity airport -->1",
            "Create entity route -->1",
            "Create source airports -->1",
            "Create source departures -->1",
            "Create source weather -->1",
            "Create feature_view airport_facts -->1",
            "Create feature_view airport_weather -->1",
            "Create feature_view route_delay -->1",
            "Create on_demand_feature_view comfort -->1",
            "Create on_demand_feature_view feel -->1",
            "Create feature_service delay_model -->1",
        ]
    );
    let revision = project.commit(&plan).await.unwrap();
    assert_eq!(revision.0, 1);
    let history = project.store.history(&project.cx, 10).await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].author.name, "ann");
    assert_eq!(history[0].changes.len(), 11);

    let again = project.plan(DEFINITIONS).await;
    assert!(again.is_empty(), "{:?}", entries(&again));
    assert_eq!(project.commit(&again).await.unwrap(), revision);
    assert_eq!(
        project.store.history(&project.cx, 10).await.unwrap().len(),
        1
    );
}

#[tokio::test]
async fn applied_objects_hold_versions_features_and_types() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let catalog = project.store.catalog(&project.cx).await.unwrap();
    let (_, view) = catalog.feature_view("route_delay", None).unwrap();
    assert!(
        view.aggregations
            .iter()
            .all(|a| a.value_type == Some(ValueType::Int64))
    );
    let (_, comfort) = catalog.on_demand_view("comfort", None).unwrap();
    assert_eq!(comfort.inputs, ["feel@1", "airport_facts@1"]);
    assert!(
        comfort
            .inputs
            .iter()
            .all(|input| split_version(input).is_some())
    );
    let (_, service) = catalog.feature_service("delay_model", None).unwrap();
    assert!(
        service
            .features
            .iter()
            .all(|reference| reference.version == Some(1))
    );
    assert_eq!(
        service.features[0].features.as_deref(),
        Some(&["temp".to_owned(), "wind".to_owned()][..])
    );
}

#[tokio::test]
async fn each_source_is_asked_for_its_schema_once() {
    let project = Project::new(all_tables()).await;
    let two_views = DEFINITIONS.replace(
        "  - name: airport_facts\n",
        "  - {name: more, entities: [airport], source: weather, features: [{name: hot, type: float64, column: temp}]}\n  - name: airport_facts\n",
    );
    project.plan(&two_views).await;
    assert_eq!(project.offline.n_schemas.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn every_problem_of_every_view_is_told_with_its_place() {
    let project = Project::new(all_tables()).await;
    let definitions = "
entities:
  - {name: airport, join_keys: [{name: origin, type: int64}]}
sources:
  - {name: weather, table: weather, timestamp: tme}
  - {name: airports, table: airports, timestamp: alt, columns: {origin: fa}}
  - {name: gone, table: wether, timestamp: time}
feature_views:
  - name: a
    entities: [airport]
    source: weather
    features:
      - {name: temp, type: int64}
      - {name: wnd, type: int64}
      - {name: wind, type: string}
  - name: b
    entities: [airport]
    source: airports
    features: [{name: alt, type: int8}]
  - {name: c, entities: [airport], source: gone, features: [{name: x, type: int64}]}
  - {name: d, entities: [airport], source: gone, features: [{name: y, type: int64}]}
";
    let errors = project.plan_errors(definitions).await;
    let counts = codes_of(&errors);
    assert_eq!(
        counts["P120"], 1,
        "a source that two views share is told once: {errors:?}"
    );
    assert_eq!(counts["P121"], 3, "{errors:?}");
    assert_eq!(counts["P122"], 4, "{errors:?}");
    assert_eq!(counts["P124"], 1, "{errors:?}");
    let find = |part: &str| {
        let found = errors.iter().find(|error| error.to_string().contains(part));
        found
            .unwrap_or_else(|| panic!("{part:?} in {errors:?}"))
            .to_string()
    };
    let at = |line: &str, part: &str| {
        let (number, text) = definitions
            .lines()
            .enumerate()
            .find(|(_, text)| text.contains(line))
            .unwrap();
        format!(
            "features/all.yaml:{}:{}: ",
            number + 1,
            text.rfind(part).unwrap() + 1
        )
    };
    assert_eq!(
        find("\"tme\""),
        at("tme", "tme")
            + "view \"a\": timestamp: there is no column \"tme\" in source \"weather\" (table \"weather\"); did you mean \"time\"?"
    );
    assert_eq!(
        find("feature \"temp\""),
        at("name: temp", "int64")
            + "view \"a\": feature \"temp\" is declared int64, and column \"temp\" of source \"weather\" is float64; declare float64, or write `cast: checked` if every value fits"
    );
    assert!(
        find("feature \"wind\"")
            .ends_with("column \"WIND\" of source \"weather\" is int64; declare int64")
    );
    assert!(find("\"wnd\"").contains("did you mean \"WIND\"?"));
    assert!(find("neither a timestamp").contains("timestamp column \"alt\" is int64"));
    assert!(find("\"fa\"").contains("join key \"origin\": there is no column \"fa\""));
    assert!(
        find("join key \"origin\" is declared int64").contains("of source \"weather\" is string")
    );
    assert!(find("feature \"alt\"").contains("is declared int8"));
    assert!(
        find("wether").starts_with(&at("wether", "wether")),
        "{}",
        find("wether")
    );
}

#[tokio::test]
async fn checked_casts_are_allowed_where_asked_or_implied() {
    use std::sync::Arc;
    let decimal = arrow_array::Decimal128Array::from(vec![1, 2])
        .with_precision_and_scale(38, 0)
        .unwrap();
    let rows = batch(&[
        ("k", Arc::new(decimal)),
        ("t", hours(&[1, 2])),
        ("x", floats(&[1.0, 2.0])),
    ]);
    let project = Project::new(tables(&[("t", rows)])).await;
    project
        .plan("
entities: [{name: e, join_keys: [{name: k, type: int64}]}]
sources: [{name: s, table: t, timestamp: t}]
feature_views:
  - {name: v, entities: [e], source: s, features: [{name: x, type: int64, cast: checked}, {name: y, type: int32, column: k}]}
")
        .await;
}

#[tokio::test]
async fn aggregations_that_do_not_apply_are_refused() {
    let project = Project::new(all_tables()).await;
    let definitions = "
entities: [{name: airport, join_keys: [{name: origin, type: string}]}]
sources: [{name: departures, table: departures, timestamp: at}]
feature_views:
  - name: v
    entities: [airport]
    source: departures
    aggregations: [{feature: m, function: mean, column: dest, window: 1h}]
";
    let errors = project.plan_errors(definitions).await;
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].code(), "P122");
    let message = errors[0].to_string();
    assert!(message.contains("aggregation \"m\" takes the mean of column \"dest\" of source \"departures\", which is string"), "{message}");
}

#[tokio::test]
async fn on_demand_expressions_are_compiled_and_placed() {
    let project = Project::new(all_tables()).await;
    let broken = DEFINITIONS.replace("sql: temp - wind", "sql: temp - wint");
    let errors = project.plan_errors(&broken).await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].code(), "P111");
    assert!(
        errors[0].to_string().starts_with("features/all.yaml:"),
        "{}",
        errors[0]
    );
    assert!(errors[0].to_string().contains("wint"), "{}", errors[0]);
}

#[tokio::test]
async fn a_version_that_was_never_applied_is_refused() {
    let project = Project::new(all_tables()).await;
    let in_service =
        DEFINITIONS.replace("      - airport_weather\n", "      - airport_weather@7\n");
    let errors = project.plan_errors(&in_service).await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].code(), "P106");
    assert!(
        errors[0]
            .to_string()
            .contains("has no version 7; known are 1"),
        "{}",
        errors[0]
    );

    let in_view = DEFINITIONS.replace("inputs: [airport_weather]", "inputs: [airport_weather@7]");
    let errors = project.plan_errors(&in_view).await;
    assert_eq!(codes_of(&errors)["P106"], 1, "{errors:?}");
    // The version that this very plan makes is known.
    project.plan(&in_view.replace("@7", "@1")).await;
}

#[tokio::test]
async fn unknown_and_unreachable_stores_are_named() {
    let project = Project::new(all_tables()).await;
    let elsewhere = |name: &str| {
        DEFINITIONS.replace(
            "{name: weather, table: weather,",
            &format!("{{name: weather, store: {name}, table: weather,"),
        )
    };
    let errors = project.plan_errors(&elsewhere("othr")).await;
    assert_eq!(errors[0].code(), "P106");
    assert!(
        errors[0]
            .to_string()
            .contains("no offline store \"othr\" under offline_stores; did you mean \"other\"?"),
        "{}",
        errors[0]
    );

    let errors = project.plan_errors(&elsewhere("broken")).await;
    assert_eq!(errors[0].kind(), ErrorKind::Unavailable, "{errors:?}");
}

#[tokio::test]
async fn sql_in_sources_needs_a_store_with_sql() {
    let project = Project::new(all_tables()).await;
    let query = DEFINITIONS.replace("table: weather, ", "query: SELECT 1 AS time, ");
    let errors = project.plan_errors(&query).await;
    assert_eq!(errors[0].code(), "P801");
    assert!(
        errors[0]
            .to_string()
            .contains("tables in memory does not support SQL in sources"),
        "{}",
        errors[0]
    );
}

#[tokio::test]
async fn a_stale_plan_conflicts_and_changes_nothing() {
    let project = Project::new(all_tables()).await;
    let first = project.plan(DEFINITIONS).await;
    let second = project
        .plan(&DEFINITIONS.replace("ttl: 3h", "ttl: 4h"))
        .await;
    project.commit(&first).await.unwrap();
    let error = project.commit(&second).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("P301", ErrorKind::Conflict));
    assert!(
        error
            .to_string()
            .contains("put feature_view airport_weather@1"),
        "{error}"
    );
    let catalog = project.store.catalog(&project.cx).await.unwrap();
    assert_eq!(catalog.revision.0, 1);
    let (_, view) = catalog.feature_view("airport_weather", None).unwrap();
    assert_eq!(view.ttl_us, Some(3 * crate::support::HOUR));
}

#[tokio::test]
async fn a_plan_or_context_of_another_project_is_refused() {
    let project = Project::new(all_tables()).await;
    let mut plan = project.plan(DEFINITIONS).await;
    plan.project = "trains".to_owned();
    let error = project.commit(&plan).await.unwrap_err();
    assert!(
        error.to_string().contains("made for project \"trains\""),
        "{error}"
    );
    let cx = provender_core::Context::new("trains");
    let errors = project
        .store
        .plan(&cx, &load(DEFINITIONS))
        .await
        .unwrap_err();
    assert_eq!(errors[0].code(), "P406");
}

#[tokio::test]
async fn columns_that_differ_only_in_case_are_not_clear() {
    let rows = batch(&[
        ("k", strings(&["a"])),
        ("t", hours(&[1])),
        ("X", ints(&[1])),
        ("x", ints(&[1])),
    ]);
    let project = Project::new(tables(&[("t", rows)])).await;
    let definitions = |column: &str| {
        format!(
            "
entities: [{{name: e, join_keys: [{{name: k, type: string}}]}}]
sources: [{{name: s, table: t, timestamp: T}}]
feature_views: [{{name: v, entities: [e], source: s, features: [{{name: f, type: int64, column: {column}}}]}}]
"
        )
    };
    project.plan(&definitions("X")).await;
    let rows = batch(&[
        ("k", strings(&["a"])),
        ("t", hours(&[1])),
        ("Ab", ints(&[1])),
        ("aB", ints(&[1])),
    ]);
    let project = Project::new(tables(&[("t", rows)])).await;
    let errors = project.plan_errors(&definitions("ab")).await;
    assert!(
        errors[0].to_string().contains("Ab, aB differ only in case"),
        "{}",
        errors[0]
    );
}
