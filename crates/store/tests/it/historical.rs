//! Training sets, built by the engine over stores that only scan.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use futures::StreamExt;
use provender_conformance::Table;
use provender_conformance::generate::passthrough_columns;
use provender_core::BatchStream;
use provender_core::model::FeatureRef;
use provender_store::{HistoricalRequest, Selection};

use crate::support::{
    DEFINITIONS, HOUR, Project, TestStore, airports, all_tables, batch, floats, hours, ints, names,
    request, service, strings, tables, text, weather,
};

fn spine() -> RecordBatch {
    batch(&[
        ("label", ints(&[1, 0, 1, 0])),
        ("origin", strings(&["JFK", "LGA", "JFK", "SFO"])),
        ("dest", strings(&["LGA", "EWR", "EWR", "JFK"])),
        ("time_hour", hours(&[3, 2, 6, 3])),
    ])
}

#[tokio::test]
async fn a_service_joins_aliases_windows_and_chained_on_demand_features() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let rows = project
        .historical(&service("delay_model"), &spine())
        .await
        .unwrap();
    assert_eq!(
        names(&rows),
        [
            "label",
            "origin",
            "dest",
            "time_hour",
            "temp",
            "wind",
            "dest_airport__alt",
            "delay_sum",
            "n_departures",
            "comfort"
        ]
    );
    // At hour 6 the weather of hour 2 is older than 3h.
    assert_eq!(text(&rows, "temp"), ["20.0", "25.0", "-", "-"]);
    assert_eq!(text(&rows, "wind"), ["2", "3", "-", "-"]);
    assert_eq!(text(&rows, "dest_airport__alt"), ["21", "18", "18", "13"]);
    assert_eq!(text(&rows, "delay_sum"), ["12", "100", "-", "-"]);
    assert_eq!(text(&rows, "n_departures"), ["2", "1", "1", "0"]);
    // (temp - wind) * 10 + alt of the origin, which is joined beside the one of the destination.
    assert_eq!(text(&rows, "comfort"), ["193.0", "241.0", "-", "-"]);
    assert_eq!(rows.columns()[..4], spine().columns()[..]);
}

#[tokio::test]
async fn as_known_leaves_out_what_was_recorded_later() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let mut request = request("route_delay");
    request.as_known = true;
    let rows = project.historical(&request, &spine()).await.unwrap();
    assert_eq!(text(&rows, "delay_sum"), ["4", "100", "-", "-"]);

    let mut request = service("delay_model");
    request.as_known = true;
    let error = project.historical(&request, &spine()).await.unwrap_err();
    assert_eq!(error.code(), "P405");
    assert!(
        error
            .to_string()
            .contains("source \"weather\" of view \"airport_weather\" names no created_timestamp"),
        "{error}"
    );
}

#[tokio::test]
async fn one_view_under_two_aliases_is_joined_by_its_own_keys() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let reference = |alias: &str, key: &str| FeatureRef {
        view: "airport_facts".to_owned(),
        alias: Some(alias.to_owned()),
        join_keys: [("origin".to_owned(), key.to_owned())].into(),
        ..FeatureRef::default()
    };
    let request = HistoricalRequest::new(Selection::Features(vec![
        reference("a", "origin"),
        reference("b", "dest"),
    ]));
    let rows = project.historical(&request, &spine()).await.unwrap();
    assert_eq!(text(&rows, "a__alt"), ["13", "21", "13", "-"]);
    assert_eq!(text(&rows, "b__alt"), ["21", "18", "18", "13"]);

    let request = HistoricalRequest::new(Selection::Features(vec![FeatureRef {
        join_keys: [("orign".to_owned(), "dest".to_owned())].into(),
        ..reference("a", "dest")
    }]));
    let error = project.historical(&request, &spine()).await.unwrap_err();
    assert_eq!(error.code(), "P406");
    assert_eq!(
        error.to_string(),
        "join_keys maps \"orign\", which is no join key of view \"airport_facts\"; did you mean \"origin\"?"
    );
}

#[tokio::test]
async fn mapped_keys_of_an_on_demand_view_reach_its_inputs() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let mapped = FeatureRef {
        view: "comfort".to_owned(),
        alias: Some("dest".to_owned()),
        join_keys: [("origin".to_owned(), "dest".to_owned())].into(),
        ..FeatureRef::default()
    };
    let request = HistoricalRequest::new(Selection::Features(vec![
        mapped,
        FeatureRef::parse("comfort").unwrap(),
    ]));
    let rows = project.historical(&request, &spine()).await.unwrap();
    assert_eq!(text(&rows, "dest__comfort"), ["241.0", "-", "-", "193.0"]);
    assert_eq!(text(&rows, "comfort"), ["193.0", "241.0", "-", "-"]);
}

#[tokio::test]
async fn request_fields_are_the_spines_columns() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let with = |name: &str| {
        let mut columns = vec![(name, floats(&[0.5, 2.0, 1.0, 1.0]))];
        let spine = spine();
        columns.push(("origin", spine.column_by_name("origin").unwrap().clone()));
        columns.push((
            "event_timestamp",
            spine.column_by_name("time_hour").unwrap().clone(),
        ));
        batch(&columns)
    };
    let rows = project
        .historical(&request("feel:mugginess"), &with("humidity"))
        .await
        .unwrap();
    assert_eq!(text(&rows, "mugginess"), ["10.0", "50.0", "-", "-"]);
    // A feature that does not use the field does not need it.
    project
        .historical(&request("feel:chill"), &with("other"))
        .await
        .unwrap();
    let error = project
        .historical(&request("feel:mugginess"), &with("humidty"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P402");
    assert_eq!(
        error.to_string(),
        "the spine has no column \"humidity\", which on-demand view \"feel\" needs as request field (float64); did you mean \"humidty\"?"
    );
}

#[tokio::test]
async fn views_of_several_stores_join_into_one_training_set() {
    let main = TestStore::new(tables(&[("weather", weather())]));
    let other = TestStore::new(tables(&[("airports", airports())]));
    let project = Project::over(main, other).await;
    let definitions = "
entities: [{name: airport, join_keys: [{name: origin, type: string}]}]
sources:
  - {name: weather, table: weather, timestamp: time}
  - {name: airports, store: other, table: airports, timestamp: known_at, columns: {origin: faa}}
feature_views:
  - {name: w, entities: [airport], source: weather, features: [{name: temp, type: float64}]}
  - {name: f, entities: [airport], source: airports, features: [{name: alt, type: int64}]}
on_demand_feature_views:
  - {name: both, inputs: [w, f], features: [{name: both, type: float64, sql: temp + alt}]}
";
    project.apply(definitions).await;
    let rows = project
        .historical(&request("f,both,w"), &spine())
        .await
        .unwrap();
    assert_eq!(names(&rows)[4..], ["alt", "both", "temp"]);
    assert_eq!(text(&rows, "alt"), ["13", "21", "13", "-"]);
    assert_eq!(text(&rows, "both"), ["33.0", "46.0", "33.0", "-"]);
    assert_eq!(text(&rows, "temp"), ["20.0", "25.0", "20.0", "-"]);
}

#[tokio::test]
async fn spine_columns_of_every_arrow_type_pass_through_untouched() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let n_rows = 40;
    for seed in 0..3 {
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for (field, column) in passthrough_columns(seed, n_rows).unwrap() {
            fields.push(field);
            columns.push(column);
        }
        let note = [("note".to_owned(), "of a field".to_owned())];
        let origin = Field::new("origin", DataType::Utf8, false).with_metadata(note.into());
        fields.push(origin);
        columns.push(strings(&["JFK"; 40]));
        fields.push(Field::new(
            "event_timestamp",
            hours(&[]).data_type().clone(),
            false,
        ));
        columns.push(hours(&[3; 40]));
        let metadata = [("from".to_owned(), "a notebook".to_owned())];
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata.into()));
        let spine = RecordBatch::try_new(schema.clone(), columns).unwrap();
        // Batches of different sizes, none among them.
        let cut = vec![spine.slice(0, 7), spine.slice(7, 0), spine.slice(7, 33)];
        let stream = BatchStream::from_batches(schema.clone(), cut);
        let answer = project
            .store
            .historical(&project.cx, &request("airport_weather:temp"), stream)
            .await
            .unwrap();
        assert_eq!(
            answer.schema.fields()[..schema.fields().len()],
            schema.fields()[..]
        );
        assert_eq!(answer.schema.metadata(), schema.metadata());
        let mut first = 0;
        for rows in answer.collect().await.unwrap() {
            for (at, column) in rows.columns()[..schema.fields().len()].iter().enumerate() {
                let given = spine.column(at).slice(first, rows.num_rows());
                assert_eq!(column.to_data(), given.to_data(), "{}", schema.field(at));
            }
            assert!(text(&rows, "temp").iter().all(|temp| temp == "20.0"));
            first += rows.num_rows();
        }
        assert_eq!(first, n_rows);
    }
}

#[tokio::test]
async fn duplicates_nulls_and_the_order_of_rows_are_kept() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let origin = arrow_array::StringArray::from(vec![Some("JFK"), None, Some("JFK"), Some("LGA")]);
    let time = arrow_array::TimestampMillisecondArray::from(vec![
        Some(3 * HOUR / 1_000),
        Some(3 * HOUR / 1_000),
        Some(3 * HOUR / 1_000),
        None,
    ]);
    let spine = batch(&[("origin", Arc::new(origin)), ("when", Arc::new(time))]);
    let rows = project
        .historical(&request("airport_weather:temp"), &spine)
        .await
        .unwrap();
    assert_eq!(text(&rows, "temp"), ["20.0", "-", "20.0", "-"]);
    assert_eq!(rows.columns()[..2], spine.columns()[..]);
}

#[tokio::test]
async fn an_empty_spine_gives_the_schema_and_no_rows() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let empty = spine().slice(0, 0);
    let rows = project
        .historical(&service("delay_model"), &empty)
        .await
        .unwrap();
    assert_eq!((rows.num_rows(), rows.num_columns()), (0, 10));
    let schema = project
        .store
        .historical_schema(&project.cx, &service("delay_model"), &empty.schema())
        .await
        .unwrap();
    assert_eq!(schema, rows.schema());
}

#[tokio::test]
async fn mistakes_are_told_before_the_spine_is_read() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let schema = Arc::new(Schema::new(vec![Field::new("orgin", DataType::Utf8, true)]));
    let was_read = Arc::new(AtomicBool::new(false));
    let flag = was_read.clone();
    let rows = futures::stream::poll_fn(move |_| {
        flag.store(true, Ordering::SeqCst);
        std::task::Poll::Ready(None)
    });
    let spine = BatchStream::new(schema, rows);
    let error = project
        .store
        .historical(&project.cx, &request("airport_weather"), spine)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P408");
    assert!(!was_read.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_cancelled_call_ends_its_answer() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let spine = Table::of(spine()).stream();
    let mut answer = project
        .store
        .historical(&project.cx, &request("airport_weather"), spine)
        .await
        .unwrap();
    project.cx.cancel();
    let error = answer.batches.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), "P906");
}

#[tokio::test]
async fn a_source_that_changed_since_it_was_applied_is_named() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    let changed = batch(&[
        ("origin", strings(&["JFK"])),
        ("time", hours(&[1])),
        ("temp", strings(&["hot"])),
    ]);
    let import = provender_store::Import {
        table: "weather".to_owned(),
        store: None,
        mode: provender_core::request::WriteMode::Overwrite,
        partition_by: Vec::new(),
    };
    let rows = Table::of(changed).stream();
    project
        .store
        .import(&project.cx, &import, rows)
        .await
        .unwrap();
    let error = project
        .historical(&request("airport_weather"), &spine())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P122");
    assert!(
        error
            .to_string()
            .contains("feature \"temp\" is declared float64"),
        "{error}"
    );
    // Features whose columns are as they were still work; `wind` has gone.
    let error = project
        .historical(&request("airport_weather:wind"), &spine())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P121");

    let findings = project.store.doctor(&project.cx).await;
    let bad: Vec<&str> = findings
        .iter()
        .filter(|f| !f.ok)
        .map(|f| f.subject.as_str())
        .collect();
    assert_eq!(
        bad,
        [
            "offline_stores.broken (memory)",
            "online_stores.broken (memory)",
            "feature view airport_weather@1"
        ]
    );
}
