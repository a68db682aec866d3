//! Names of output columns, columns of the spine, and what does not fit.

use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, Int32Array, RecordBatch, StringArray};
use provender_core::ErrorKind;

use crate::support::{
    DEFINITIONS, Project, all_tables, batch, floats, hours, ints, names, request, service, strings,
    tables, text,
};

async fn applied() -> Project {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    project
}

fn spine(extra: &[(&str, ArrayRef)]) -> RecordBatch {
    let mut columns = vec![
        ("origin", strings(&["JFK"])),
        ("dest", strings(&["LGA"])),
        ("t", hours(&[3])),
    ];
    columns.extend(extra.iter().cloned());
    batch(&columns)
}

async fn refused(project: &Project, features: &str, spine: &RecordBatch) -> (String, String) {
    let error = project
        .historical(&request(features), spine)
        .await
        .unwrap_err();
    (error.code().to_owned(), error.to_string())
}

#[tokio::test]
async fn full_feature_names_carry_the_view_or_alias() {
    let project = applied().await;
    let mut request = service("delay_model");
    request.full_feature_names = true;
    let rows = project.historical(&request, &spine(&[])).await.unwrap();
    assert_eq!(
        names(&rows)[3..],
        [
            "airport_weather__temp",
            "airport_weather__wind",
            "dest_airport__alt",
            "route_delay__delay_sum",
            "route_delay__n_departures",
            "comfort__comfort"
        ]
    );
}

#[tokio::test]
async fn a_name_equal_to_a_spine_column_is_refused() {
    let project = applied().await;
    let clashing = spine(&[("temp", floats(&[1.0]))]);
    let (code, message) = refused(&project, "airport_weather", &clashing).await;
    assert_eq!(code, "P404");
    assert_eq!(
        message,
        "feature \"temp\" of \"airport_weather\" would be put out as column \"temp\", which the spine has too; rename the spine's column, use an alias (`as:`), or ask for full feature names"
    );
    let mut full = request("airport_weather");
    full.full_feature_names = true;
    project.historical(&full, &clashing).await.unwrap();
}

#[tokio::test]
async fn two_outputs_of_one_name_are_refused_with_both() {
    let project = applied().await;
    let twice = "airport_weather:temp,airport_facts,airport_weather:temp";
    let (code, message) = refused(&project, twice, &spine(&[])).await;
    assert_eq!(code, "P404");
    assert!(
        message.ends_with("would both be put out as column \"temp\"; ask for it once"),
        "{message}"
    );

    let more = DEFINITIONS.replace(
        "  - name: airport_facts\n",
        "  - {name: other, entities: [airport], source: weather, features: [{name: temp, type: float64}]}\n  - name: airport_facts\n",
    );
    project.apply(&more).await;
    let (code, message) = refused(&project, "airport_weather:temp,other", &spine(&[])).await;
    assert_eq!(code, "P404");
    assert!(
        message.starts_with(
            "feature \"temp\" of \"airport_weather\" and feature \"temp\" of \"other\" would both"
        ),
        "{message}"
    );
}

#[tokio::test]
async fn unknown_names_come_with_the_nearest() {
    let project = applied().await;
    let cases = [
        (
            "airport_wether",
            "there is no feature view \"airport_wether\"; did you mean \"airport_weather\"?",
        ),
        (
            "airport_weather:tmp",
            "feature view \"airport_weather\" has no feature \"tmp\"; did you mean \"temp\"?",
        ),
        (
            "airport_weather@9",
            "feature view \"airport_weather\" has no version 9; known are 1",
        ),
        (
            "delay_model",
            "there is no feature view \"delay_model\"; \"delay_model\" is a feature service; ask for it as a service",
        ),
    ];
    for (features, expected) in cases {
        let (code, message) = refused(&project, features, &spine(&[])).await;
        assert_eq!((code.as_str(), message.as_str()), ("P401", expected));
    }
    let error = project
        .historical(&service("delay_modl"), &spine(&[]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains("did you mean \"delay_model\"?"),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_applied_is_said_so() {
    let project = Project::new(all_tables()).await;
    let error = project
        .historical(&service("s"), &spine(&[]))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P306");
    assert_eq!(
        error.to_string(),
        "nothing has been applied to project \"flights\"; run `provender apply`"
    );
}

#[tokio::test]
async fn the_timestamp_is_the_named_the_usual_or_the_only_one() {
    let project = applied().await;
    let features = "airport_weather:temp";
    // Without a usual name, the only timestamp; dates do not count.
    let dated = spine(&[("day", Arc::new(Date32Array::from(vec![0])))]);
    let rows = project
        .historical(&request(features), &dated)
        .await
        .unwrap();
    assert_eq!(text(&rows, "temp"), ["20.0"]);
    // `event_timestamp` goes first.
    let usual = spine(&[("event_timestamp", hours(&[1]))]);
    let rows = project
        .historical(&request(features), &usual)
        .await
        .unwrap();
    assert_eq!(text(&rows, "temp"), ["10.0"]);
    // A named one goes before it, and may be a date.
    let mut named = request(features);
    named.timestamp = Some("t".to_owned());
    let rows = project.historical(&named, &usual).await.unwrap();
    assert_eq!(text(&rows, "temp"), ["20.0"]);
    named.timestamp = Some("day".to_owned());
    let rows = project.historical(&named, &dated).await.unwrap();
    assert_eq!(text(&rows, "temp"), ["-"]);

    let two = spine(&[("u", hours(&[1]))]);
    let (code, message) = refused(&project, features, &two).await;
    assert_eq!(code, "P408");
    assert!(
        message.starts_with("the spine has several timestamp columns: t, u"),
        "{message}"
    );
    let none = batch(&[
        ("origin", strings(&["JFK"])),
        ("day", Arc::new(Date32Array::from(vec![0])) as ArrayRef),
    ]);
    let (code, message) = refused(&project, features, &none).await;
    assert_eq!(code, "P408");
    assert!(
        message.ends_with("name a date column as timestamp: day"),
        "{message}"
    );

    named.timestamp = Some("tt".to_owned());
    let error = project.historical(&named, &two).await.unwrap_err();
    assert_eq!(error.code(), "P402");
    assert!(
        error
            .to_string()
            .starts_with("the spine has no timestamp column \"tt\""),
        "{error}"
    );
    named.timestamp = Some("origin".to_owned());
    let error = project.historical(&named, &two).await.unwrap_err();
    assert_eq!(error.code(), "P403");
    assert!(
        error.to_string().contains("\"origin\" is string, neither"),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_key_names_the_view_and_the_way_out() {
    let project = applied().await;
    let without = batch(&[("Origin", strings(&["JFK"])), ("t", hours(&[3]))]);
    let (code, message) = refused(&project, "airport_weather", &without).await;
    assert_eq!(code, "P402");
    assert_eq!(
        message,
        "the spine has no column \"origin\", which is join key \"origin\" of view \"airport_weather\"; did you mean \"Origin\"? `join_keys: {origin: COLUMN}` reads the key from another column"
    );
    let error = project
        .historical(&service("delay_model"), &without.clone())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P402");
}

#[tokio::test]
async fn keys_of_types_that_never_match_are_refused() {
    let project = applied().await;
    let wrong = batch(&[("origin", ints(&[1])), ("t", hours(&[3]))]);
    let (code, message) = refused(&project, "airport_weather", &wrong).await;
    assert_eq!(code, "P403");
    assert_eq!(
        message,
        "the spine's column \"origin\" is int64, and join key \"origin\" of view \"airport_weather\" is declared string; cast the column to string"
    );
}

#[tokio::test]
async fn whole_numbers_of_another_width_match_by_value() {
    let rows = batch(&[
        ("id", Arc::new(Int32Array::from(vec![1, 44])) as ArrayRef),
        ("t", hours(&[0, 0])),
        ("x", ints(&[10, 440])),
    ]);
    let project = Project::new(tables(&[("t", rows)])).await;
    project
        .apply(
            "
entities: [{name: e, join_keys: [{name: id, type: int32}]}]
sources: [{name: s, table: t, timestamp: t}]
feature_views: [{name: v, entities: [e], source: s, features: [{name: x, type: int64}]}]
",
        )
        .await;
    // 2^32 + 44 is 44 in 32 bits, and must not find it.
    let spine = batch(&[
        ("id", ints(&[1, 44, (1 << 32) + 44])),
        ("t", hours(&[1, 1, 1])),
    ]);
    let rows = project.historical(&request("v"), &spine).await.unwrap();
    assert_eq!(text(&rows, "x"), ["10", "440", "-"]);
    assert_eq!(rows.columns()[..2], spine.columns()[..]);
}

#[tokio::test]
async fn a_view_without_entities_joins_every_row() {
    let rows = batch(&[("t", hours(&[0, 5])), ("x", ints(&[1, 2]))]);
    let project = Project::new(tables(&[("t", rows)])).await;
    project
        .apply(
            "
sources: [{name: s, table: t, timestamp: t}]
feature_views: [{name: v, entities: [], source: s, features: [{name: x, type: int64}]}]
",
        )
        .await;
    let spine = batch(&[("when", hours(&[1, 9, -1]))]);
    let rows = project.historical(&request("v"), &spine).await.unwrap();
    assert_eq!(text(&rows, "x"), ["1", "2", "-"]);
}

#[tokio::test]
async fn values_that_do_not_fit_name_view_feature_and_value() {
    let rows = batch(&[
        ("k", strings(&["a", "b"])),
        ("t", hours(&[0, 0])),
        ("x", floats(&[1.0, 1.5])),
    ]);
    let project = Project::new(tables(&[("t", rows)])).await;
    project
        .apply("
entities: [{name: e, join_keys: [{name: k, type: string}]}]
sources: [{name: s, table: t, timestamp: t}]
feature_views: [{name: v, entities: [e], source: s, features: [{name: x, type: int64, cast: checked}]}]
on_demand_feature_views:
  - {name: o, inputs: [v], features: [{name: tiny, type: int8, sql: x * 1000}]}
")
        .await;
    let at = |key: &str| batch(&[("k", strings(&[key])), ("t", hours(&[1]))]);
    let rows = project.historical(&request("v"), &at("a")).await.unwrap();
    assert_eq!(text(&rows, "x"), ["1"]);
    let (code, message) = refused(&project, "v", &at("b")).await;
    assert_eq!(code, "P501", "{message}");
    assert!(message.contains("1.5"), "{message}");
    let (code, message) = refused(&project, "o", &at("a")).await;
    assert_eq!(code, "P501", "{message}");
    assert!(
        message.contains("o.tiny") && message.contains("1000"),
        "{message}"
    );
}

#[tokio::test]
async fn a_needed_name_that_the_spine_has_twice_is_refused() {
    use arrow_schema::{Field, Schema};
    let project = applied().await;
    let text: ArrayRef = Arc::new(StringArray::from(vec!["JFK"]));
    let field = Field::new("origin", text.data_type().clone(), true);
    let time = hours(&[3]);
    let time_field = Field::new("t", time.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field.clone(), field, time_field]));
    let twice = RecordBatch::try_new(schema, vec![text.clone(), text, time]).unwrap();
    let (code, message) = refused(&project, "airport_weather", &twice).await;
    assert_eq!(code, "P404");
    assert_eq!(
        message,
        "the spine has two columns \"origin\"; rename one of them"
    );
}
