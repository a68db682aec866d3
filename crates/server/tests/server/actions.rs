//! DoAction: JSON in and out.

use serde_json::json;
use tonic::Code;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_planned_applied_listed_and_described() {
    let served = serve().await;
    let more = DEFINITIONS.replace(
        "feature_services:\n",
        "feature_services:\n  - {name: small, features: [airport_facts]}\n",
    );
    let body = json!({"files": {"features/all.yaml": more}});
    let plan = served.act("plan", body.clone()).await.unwrap();
    assert!(plan[0].to_string().contains("small"), "{}", plan[0]);
    assert_eq!(
        served
            .refused(online("small", json!({"origin": ["JFK"]})))
            .await
            .code(),
        Code::NotFound
    );
    let applied = served.act("apply", body).await.unwrap();
    assert_eq!(applied[0]["revision"], 2);
    // Visible to the very next call.
    let rows = served
        .get(online("small", json!({"origin": ["JFK"]})))
        .await
        .unwrap();
    assert_eq!(text(&rows, "alt"), ["13"]);
    let list = served.act("list", json!({})).await.unwrap();
    assert!(
        list[0]
            .as_array()
            .unwrap()
            .iter()
            .any(|object| object["name"] == "small"),
        "{}",
        list[0]
    );
    let described = served
        .act("describe", json!({"name": "airport_weather@1"}))
        .await
        .unwrap();
    assert!(described[0].to_string().contains("temp"));
    let health = served.act("health", json!({})).await.unwrap();
    assert_eq!(
        (&health[0]["status"], &health[0]["revision"]),
        (&json!("serving"), &json!(2))
    );
    let fewer = DEFINITIONS.replace("  - name: global\n    features: [season]\n", "");
    let deletes = json!({"files": {"features/all.yaml": fewer}});
    let status = served.act("apply", deletes.clone()).await.unwrap_err();
    assert_status(
        &status,
        Code::FailedPrecondition,
        &["allow_deletes", "P307"],
    );
    let mut confirmed = deletes;
    confirmed["allow_deletes"] = json!(true);
    served.act("apply", confirmed).await.unwrap();
    assert_eq!(
        served.refused(online("global", json!({}))).await.code(),
        Code::NotFound
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn materialisation_streams_its_progress() {
    let served = serve().await;
    let body = json!({"start": 0, "end": "2100-01-01T00:00:00Z", "views": ["airport_facts"]});
    let steps = served.act("materialize", body).await;
    // A future end may be refused; an end that is now is not.
    drop(steps);
    let steps = served
        .act(
            "materialize",
            json!({"start": 0, "end": now_us(), "views": ["airport_facts"]}),
        )
        .await
        .unwrap();
    assert!(steps.iter().any(|step| step["rows"] == 3), "{steps:?}");
    assert_eq!(steps.last().unwrap(), &json!({"done": true, "views": 1}));
    let steps = served
        .act("materialize", json!({"views": ["airport_facts"]}))
        .await
        .unwrap();
    assert_eq!(steps.last().unwrap()["done"], true);
    let status = served.act("status", json!({})).await.unwrap();
    assert!(status[0].to_string().contains("airport_facts"));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_bodies_name_their_field() {
    let served = serve().await;
    for (action, body, texts) in [
        ("aply", json!({}), vec!["no action \"aply\"", "apply"]),
        ("plan", json!({"file": {}}), vec!["\"plan\"", "file"]),
        ("plan", json!({"files": {"a.yaml": 3}}), vec!["files"]),
        ("list", json!({"x": 1}), vec!["unknown field"]),
        ("describe", json!({}), vec!["name"]),
        (
            "materialize",
            json!({"start": 0}),
            vec!["\"end\" is missing"],
        ),
        (
            "materialize",
            json!({"start": "soon", "end": 1}),
            vec!["\"start\"", "RFC 3339"],
        ),
        (
            "plan",
            json!({"files": {"features/a.yaml": "entities: 3"}}),
            vec!["entities"],
        ),
    ] {
        let status = served.act(action, body).await.unwrap_err();
        assert_status(&status, Code::InvalidArgument, &texts);
    }
    let status = served
        .act("describe", json!({"name": "airport_facs"}))
        .await
        .unwrap_err();
    assert_status(&status, Code::NotFound, &["airport_facts"]);
    served.stop().await;
}
