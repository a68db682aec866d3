//! What rows are worth, and rows that cannot be read.

use provender_conformance::oracle::Value;
use provender_core::model::FeatureRef;
use provender_store::{OnlineRequest, Selection};

use super::{ago, features, filled, origins, read, rows, service, with_status};
use crate::support::{batch, names, strings, text};

fn key(values: &[&str]) -> Vec<Value> {
    let values = values.iter();
    values
        .map(|value| Value::String((*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn each_view_has_a_status_and_an_event_time() {
    let project = filled().await;
    let request = with_status(features("airport_weather:temp,airport_facts"));
    let input = origins(&[Some("JFK"), Some("LGA"), Some("EWR"), Some("XXX"), None]);
    let before = [ago(1), ago(5)];
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!(
        names(&answer),
        [
            "origin",
            "temp",
            "alt",
            "airport_weather__status",
            "airport_weather__event_timestamp",
            "airport_facts__status",
            "airport_facts__event_timestamp"
        ]
    );
    assert_eq!(
        text(&answer, "airport_weather__status"),
        [
            "PRESENT",
            "OUTSIDE_MAX_AGE",
            "NULL_VALUE",
            "NOT_FOUND",
            "NOT_FOUND"
        ]
    );
    assert_eq!(text(&answer, "temp"), ["20.0", "-", "-", "-", "-"]);
    assert_eq!(
        text(&answer, "airport_facts__status"),
        ["PRESENT", "PRESENT", "NOT_FOUND", "NOT_FOUND", "NOT_FOUND"]
    );
    let times = answer.column(4).as_any();
    let times = times
        .downcast_ref::<arrow_array::TimestampMicrosecondArray>()
        .unwrap();
    let times: Vec<Option<i64>> = times.iter().collect();
    assert!(times[0].is_some_and(|us| us <= before[0]));
    assert!(
        times[1].is_some_and(|us| us <= before[1]),
        "its age is told"
    );
    assert!(times[2].is_some());
    assert_eq!(&times[3..], [None, None]);
}

#[tokio::test]
async fn a_status_looks_at_the_requested_features_alone() {
    let project = super::project().await;
    let wind = std::sync::Arc::new(arrow_array::Int64Array::from(vec![None::<i64>]));
    super::put(
        &project,
        "airport_weather",
        1,
        vec![strings(&["JFK"])],
        &[ago(1)],
        vec![crate::support::floats(&[1.0]), wind],
    )
    .await;
    let status = async |list: &str| {
        let request = with_status(features(list));
        let answer = read(&project, &request, &origins(&[Some("JFK")]))
            .await
            .unwrap();
        text(&answer, "airport_weather__status")
    };
    assert_eq!(status("airport_weather:wind").await, ["NULL_VALUE"]);
    assert_eq!(status("airport_weather").await, ["PRESENT"]);
    assert_eq!(status("airport_weather:temp").await, ["PRESENT"]);
}

#[tokio::test]
async fn views_under_on_demand_views_have_a_status_each() {
    let project = filled().await;
    let input = batch(&[("origin", strings(&["JFK"])), ("dest", strings(&["LGA"]))]);
    let answer = read(&project, &with_status(service("delay_model")), &input)
        .await
        .unwrap();
    assert_eq!(
        names(&answer)[8..],
        [
            "airport_weather__status",
            "airport_weather__event_timestamp",
            "dest_airport__status",
            "dest_airport__event_timestamp",
            "route_delay__status",
            "route_delay__event_timestamp",
            "airport_facts__status",
            "airport_facts__event_timestamp"
        ]
    );
    let aliased = FeatureRef {
        view: "comfort".to_owned(),
        alias: Some("there".to_owned()),
        join_keys: [("origin".to_owned(), "dest".to_owned())].into(),
        ..FeatureRef::default()
    };
    let request = with_status(OnlineRequest::new(Selection::Features(vec![aliased])));
    let input = batch(&[("dest", strings(&["JFK"]))]);
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!(
        names(&answer),
        [
            "dest",
            "there__comfort",
            "there__airport_weather__status",
            "there__airport_weather__event_timestamp",
            "there__airport_facts__status",
            "there__airport_facts__event_timestamp"
        ]
    );
    assert_eq!(text(&answer, "there__comfort"), ["193.0"]);
}

#[tokio::test]
async fn an_unreadable_row_fails_the_call_or_has_a_status() {
    let project = filled().await;
    project.online.damage(
        &project.view("route_delay", 1),
        &[key(&["JFK", "LGA"])],
        "the checksum is wrong",
    );
    let input = batch(&[
        ("origin", strings(&["LGA", "JFK"])),
        ("dest", strings(&["LGA", "LGA"])),
    ]);
    let error = read(&project, &service("delay_model"), &input)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P603");
    assert_eq!(
        error.message(),
        "the stored row of view \"route_delay@1\" for origin=JFK,dest=LGA cannot be read: the checksum is wrong"
    );
    let answer = read(&project, &with_status(service("delay_model")), &input)
        .await
        .unwrap();
    assert_eq!(text(&answer, "route_delay__status"), ["NOT_FOUND", "ERROR"]);
    assert_eq!(
        text(&answer, "n_departures"),
        ["0", "-"],
        "of a row that cannot be read nothing is known"
    );
    assert_eq!(
        text(&answer, "temp"),
        ["-", "20.0"],
        "the other views are answered"
    );
}

#[tokio::test]
async fn an_unreadable_global_row_is_named() {
    let project = filled().await;
    let view = project.view("fuel", 1);
    super::put(
        &project,
        "fuel",
        1,
        Vec::new(),
        &[0],
        vec![crate::support::floats(&[1.0])],
    )
    .await;
    project
        .online
        .damage(&view, &[Vec::new()], "it is too short");
    let error = read(&project, &features("fuel"), &rows(1))
        .await
        .unwrap_err();
    assert_eq!(
        error.message(),
        "the stored row of view \"fuel@1\" for the global row cannot be read: it is too short"
    );
}

#[tokio::test]
async fn a_label_that_stands_for_two_views_is_refused_with_statuses_only() {
    let project = filled().await;
    let reference = |column: &str, feature: &str| FeatureRef {
        view: "airport_weather".to_owned(),
        join_keys: [("origin".to_owned(), column.to_owned())].into(),
        features: Some(vec![feature.to_owned()]),
        ..FeatureRef::default()
    };
    let selection = Selection::Features(vec![reference("a", "temp"), reference("b", "wind")]);
    let request = OnlineRequest::new(selection);
    let input = batch(&[("a", strings(&["JFK"])), ("b", strings(&["JFK"]))]);
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!(names(&answer), ["a", "b", "temp", "wind"]);
    let error = read(&project, &with_status(request), &input)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P404");
    assert_eq!(
        error.message(),
        "airport_weather@1 by [a] and airport_weather@1 by [b] would both have their status put out as column \"airport_weather__status\""
    );
}
