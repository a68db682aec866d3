//! Requests, batches and stores that are refused.

use std::sync::Arc;

use provender_conformance::memory::OnlineCall;
use provender_core::model::FeatureRef;
use provender_core::{Error, codes};
use provender_store::{OnlineRequest, Selection};

use super::doubles::{LeavesOut, ShortStore, reopened};
use super::{definitions, features, filled, more_tables, origins, project, read, read_of, service};
use crate::support::{Project, batch, floats, ints, strings, text};

async fn prepare(project: &Project, request: &OnlineRequest) -> Error {
    project
        .store
        .prepare_online(&project.cx, request)
        .await
        .unwrap_err()
}

#[tokio::test]
async fn unknown_names_are_refused_with_the_nearest_known() {
    let project = project().await;
    let error = prepare(&project, &service("delay_modle")).await;
    assert_eq!(
        (error.code(), error.help_text()),
        ("P401", Some("did you mean \"delay_model\"?"))
    );
    let error = prepare(&project, &service("delay_model@7")).await;
    assert_eq!(error.code(), "P401");
    let error = prepare(&project, &features("airport_wether")).await;
    assert_eq!(
        (error.code(), error.help_text()),
        ("P401", Some("did you mean \"airport_weather\"?"))
    );
    let error = prepare(&project, &features("airport_weather@9")).await;
    assert_eq!(error.code(), "P401");
    let error = prepare(&project, &features("airport_weather:tmp")).await;
    assert_eq!(
        (error.code(), error.help_text()),
        ("P401", Some("did you mean \"temp\"?"))
    );
    let error = prepare(
        &project,
        &OnlineRequest::new(Selection::Features(Vec::new())),
    )
    .await;
    assert_eq!(error.code(), "P406");
    let nothing = Project::new(more_tables()).await;
    assert_eq!(prepare(&nothing, &features("fuel")).await.code(), "P306");
}

#[tokio::test]
async fn a_view_that_is_not_online_is_refused_by_name() {
    let project = Project::new(more_tables()).await;
    let offline = definitions().replace(
        "    source: airports\n    features",
        "    source: airports\n    online: false\n    features",
    );
    project.apply(&offline).await;
    for request in [
        features("airport_facts"),
        features("comfort"),
        service("delay_model"),
    ] {
        let error = prepare(&project, &request).await;
        assert_eq!(error.code(), "P601");
        assert_eq!(
            error.message(),
            "view \"airport_facts@1\" has `online: false`, so it cannot be read online"
        );
    }
    assert!(
        project
            .store
            .prepare_online(&project.cx, &features("feel"))
            .await
            .is_ok(),
        "its features are not read"
    );
}

#[tokio::test]
async fn columns_that_are_missing_unknown_twice_there_or_of_another_type_are_named() {
    let project = filled().await;
    let query = project
        .store
        .prepare_online(&project.cx, &features("feel,airport_facts"))
        .await
        .unwrap();
    let refused = |columns: &[(&str, arrow_array::ArrayRef)]| {
        let fields: Vec<arrow_schema::Field> = columns
            .iter()
            .map(|(name, column)| arrow_schema::Field::new(*name, column.data_type().clone(), true))
            .collect();
        let error = query.bind(&arrow_schema::Schema::new(fields)).unwrap_err();
        (error.code().to_owned(), error.message().to_owned())
    };
    let (origin, humidity) = (strings(&["JFK"]), floats(&[1.0]));
    let (code, message) = refused(&[("orign", origin.clone()), ("humidity", humidity.clone())]);
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "P402",
            "the request has no column \"origin\", which is join key \"origin\" of view \"airport_weather\" (string)"
        )
    );
    let (code, message) = refused(&[("origin", origin.clone())]);
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "P402",
            "the request has no column \"humidity\", which is a request field of on-demand view \"feel\" (float64)"
        )
    );
    let (code, message) = refused(&[
        ("origin", origin.clone()),
        ("humidity", humidity.clone()),
        ("dest", origin.clone()),
    ]);
    assert_eq!(code, "P406");
    assert!(
        message.starts_with("the request has a column \"dest\", which is neither"),
        "{message}"
    );
    let (code, message) = refused(&[
        ("origin", origin.clone()),
        ("humidity", humidity.clone()),
        ("origin", origin.clone()),
    ]);
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("P404", "the request has two columns \"origin\"")
    );
    let (code, message) = refused(&[("origin", ints(&[1])), ("humidity", humidity)]);
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "P403",
            "column \"origin\" of the request is int64, and join key \"origin\" of view \"airport_weather\" is declared string"
        )
    );
    let (code, message) = refused(&[("origin", origin.clone()), ("humidity", origin)]);
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "P403",
            "column \"humidity\" of the request is string, and a request field of on-demand view \"feel\" is declared float64"
        )
    );
}

#[tokio::test]
async fn batches_of_another_schema_than_was_bound_are_refused() {
    let project = filled().await;
    let query = project
        .store
        .prepare_online(&project.cx, &features("airport_facts"))
        .await
        .unwrap();
    let call = query.bind(query.input_schema()).unwrap();
    let wide = batch(&[("origin", strings(&["JFK"])), ("dest", strings(&["JFK"]))]);
    let other = batch(&[("origin", ints(&[1]))]);
    for input in [wide, other] {
        let error = call.read(&project.cx, &input).await.unwrap_err();
        assert_eq!(error.code(), "P406");
        assert!(
            error
                .message()
                .starts_with("a batch of keys has other columns")
        );
    }
}

#[tokio::test]
async fn values_that_request_fields_cannot_hold_are_named() {
    let project = Project::new(more_tables()).await;
    let whole = definitions().replace(
        "{name: humidity, type: float64}",
        "{name: humidity, type: int8}",
    );
    project.apply(&whole).await;
    let input = batch(&[
        ("origin", strings(&["JFK", "JFK"])),
        ("humidity", ints(&[1, 300])),
    ]);
    let error = read(&project, &features("feel:mugginess"), &input)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P403");
    assert_eq!(
        error.message(),
        "column \"humidity\" cannot be read as int8: row 1: 300 does not fit int8"
    );
}

#[tokio::test]
async fn names_that_clash_are_refused() {
    let project = filled().await;
    let clash = async |request: &OnlineRequest| {
        let error = prepare(&project, request).await;
        assert_eq!(error.code(), "P404");
        error.message().to_owned()
    };
    assert_eq!(
        clash(&features("airport_weather:temp,airport_weather:temp")).await,
        "feature \"temp\" of \"airport_weather\" and feature \"temp\" of \"airport_weather\" would both be put out as column \"temp\""
    );
    let reference = |column: &str| FeatureRef {
        view: "airport_facts".to_owned(),
        join_keys: [("origin".to_owned(), column.to_owned())].into(),
        ..FeatureRef::default()
    };
    let request = OnlineRequest::new(Selection::Features(vec![reference("alt")]));
    assert_eq!(
        clash(&request).await,
        "feature \"alt\" of \"airport_facts\" would be put out as column \"alt\", which is a join key too"
    );
    let mut request = OnlineRequest::new(Selection::Features(vec![reference(
        "airport_facts__status",
    )]));
    assert!(
        project
            .store
            .prepare_online(&project.cx, &request)
            .await
            .is_ok()
    );
    request.status = true;
    assert_eq!(
        clash(&request).await,
        "the status of view \"airport_facts\" would be put out as column \"airport_facts__status\", which is there already"
    );
    let request = OnlineRequest::new(Selection::Features(vec![FeatureRef {
        view: "airport_facts".to_owned(),
        join_keys: [("dest".to_owned(), "origin".to_owned())].into(),
        ..FeatureRef::default()
    }]));
    assert_eq!(prepare(&project, &request).await.code(), "P406");
}

#[tokio::test]
async fn a_request_field_that_a_feature_is_named_like_does_not_clash() {
    let project = Project::new(more_tables()).await;
    let same = definitions()
        .replace(
            "{name: humidity, type: float64}",
            "{name: alt, type: float64}",
        )
        .replace("temp * humidity", "temp * alt");
    project.apply(&same).await;
    super::put(
        &project,
        "airport_facts",
        1,
        vec![strings(&["JFK"])],
        &[0],
        vec![ints(&[13])],
    )
    .await;
    let input = batch(&[("origin", strings(&["JFK"])), ("alt", floats(&[2.0]))]);
    let request = features("feel:mugginess,airport_facts");
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!(
        text(&answer, "alt"),
        ["13"],
        "request fields are not put out"
    );
}

#[tokio::test]
async fn a_store_that_answers_too_little_is_named() {
    let project = filled().await;
    let input = origins(&[Some("JFK"), Some("LGA")]);
    for (leaves_out, expected) in [
        (
            LeavesOut::LastRow,
            "latest rows in memory was asked for 2 keys and answered 1 event times of view \"airport_weather@1\"",
        ),
        (
            LeavesOut::LastView,
            "latest rows in memory was asked for 2 views and answered 1",
        ),
    ] {
        let short = ShortStore {
            inner: project.online.clone(),
            leaves_out,
        };
        let store = reopened(&project, project.registry.clone(), Arc::new(short)).await;
        let request = features("airport_weather,airport_facts");
        let error = read_of(&store, &project, &request, &input)
            .await
            .unwrap_err();
        assert_eq!((error.code(), error.message()), ("P802", expected));
    }
}

#[tokio::test]
async fn what_a_store_says_and_a_call_that_is_cancelled_are_passed_on() {
    let project = filled().await;
    let query = project
        .store
        .prepare_online(&project.cx, &features("airport_facts"))
        .await
        .unwrap();
    let input = origins(&[Some("JFK")]);
    let call = query.bind(&input.schema()).unwrap();
    project.online.fail(OnlineCall::Read, 0, 1, || {
        Error::new(&codes::ONLINE_UNAVAILABLE, "the store is away")
    });
    let error = call.read(&project.cx, &input).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("P602", true));
    assert!(call.read(&project.cx, &input).await.is_ok());
    let cx = project.cx.clone();
    cx.cancel();
    assert_eq!(call.read(&cx, &input).await.unwrap_err().code(), "P906");
}

#[tokio::test]
async fn a_context_of_another_project_is_refused() {
    let project = filled().await;
    let other = provender_core::Context::new("other");
    let error = project
        .store
        .prepare_online(&other, &features("airport_facts"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P406");
}
