//! Which versions serve a request.

use std::sync::{Arc, PoisonError};

use provender_core::provider::Registry;

use super::doubles::{CountingRegistry, reopened};
use super::{ago, definitions, features, fill, more_tables, origins, put, read, service};
use crate::support::{Project, floats, ints, strings, text};

const WEATHER: &str = "
  - name: weather_only
    features: [airport_weather]
  - name: felt
    features: [\"feel:chill\"]
";

/// The first version of everything is applied and filled, and weather has got a second one.
async fn two_versions() -> Project {
    let first = format!("{}{}", definitions(), &WEATHER[1..]);
    let project = Project::new(more_tables()).await;
    project.apply(&first).await;
    for view in ["airport_weather", "airport_facts", "route_delay"] {
        fill(&project, view, 1).await;
    }
    weather(&project, 1, 10.0).await;
    project.apply(&first.replace("ttl: 3h", "ttl: 4h")).await;
    project
}

async fn weather(project: &Project, version: u32, temp: f64) {
    put(
        project,
        "airport_weather",
        version,
        vec![strings(&["JFK"])],
        &[ago(1)],
        vec![floats(&[temp]), ints(&[1])],
    )
    .await;
}

async fn selected(project: &Project, request: &provender_store::OnlineRequest) -> String {
    let query = project.store.prepare_online(&project.cx, request).await;
    query.unwrap().selected().to_owned()
}

#[tokio::test]
async fn a_service_stays_at_the_version_whose_views_are_filled() {
    let project = two_versions().await;
    let jfk = origins(&[Some("JFK")]);
    assert_eq!(
        selected(&project, &service("delay_model")).await,
        "delay_model@1"
    );
    assert_eq!(selected(&project, &service("felt")).await, "felt@1");
    // Rows of a run that has not finished do not count.
    weather(&project, 2, 20.0).await;
    let answer = read(&project, &service("weather_only"), &jfk)
        .await
        .unwrap();
    assert_eq!(text(&answer, "temp"), ["10.0"]);
    fill(&project, "airport_weather", 2).await;
    let answer = read(&project, &service("weather_only"), &jfk)
        .await
        .unwrap();
    assert_eq!(text(&answer, "temp"), ["20.0"]);
    for (name, expected) in [
        ("delay_model", "delay_model@2"),
        ("felt", "felt@2"),
        ("weather_only@1", "weather_only@1"),
        ("weather_only@2", "weather_only@2"),
    ] {
        assert_eq!(selected(&project, &service(name)).await, expected);
    }
    let answer = read(&project, &service("weather_only@1"), &jfk)
        .await
        .unwrap();
    assert_eq!(text(&answer, "temp"), ["10.0"], "a held version stays");
}

#[tokio::test]
async fn a_pinned_version_is_read_even_if_it_is_not_filled() {
    let project = two_versions().await;
    let request = super::with_status(service("weather_only@2"));
    let answer = read(&project, &request, &origins(&[Some("JFK")]))
        .await
        .unwrap();
    assert_eq!(text(&answer, "airport_weather__status"), ["NOT_FOUND"]);
}

#[tokio::test]
async fn without_any_filled_version_the_newest_is_read() {
    let project = two_versions().await;
    for view in ["airport_weather", "airport_facts", "route_delay"] {
        let view = project.view(view, 1);
        let forgotten = project.registry.forget_intervals(&project.cx, &view).await;
        forgotten.unwrap();
    }
    for (request, expected) in [
        (service("delay_model"), "delay_model@2"),
        (
            features("airport_weather,feel"),
            "airport_weather@2, feel@2",
        ),
    ] {
        assert_eq!(selected(&project, &request).await, expected);
    }
}

#[tokio::test]
async fn views_of_a_list_follow_the_same_rule() {
    let project = two_versions().await;
    let list = features("airport_weather,feel:chill,airport_facts");
    assert_eq!(
        selected(&project, &list).await,
        "airport_weather@1, feel@1, airport_facts@1"
    );
    assert_eq!(
        selected(&project, &features("comfort,airport_weather@2:wind")).await,
        "comfort@1, airport_weather@2"
    );
    fill(&project, "airport_weather", 2).await;
    assert_eq!(
        selected(&project, &list).await,
        "airport_weather@2, feel@2, airport_facts@1"
    );
}

#[tokio::test]
async fn a_push_fills_a_version_too() {
    let project = two_versions().await;
    let pushed = project.view("airport_weather:pushed", 2);
    let interval = provender_core::provider::Interval {
        start_us: None,
        end_us: 0,
    };
    let marked = project
        .registry
        .record_interval(&project.cx, &pushed, interval)
        .await;
    marked.unwrap();
    assert_eq!(selected(&project, &service("felt")).await, "felt@2");
}

#[tokio::test]
async fn views_that_are_not_online_do_not_hold_a_service_back() {
    let facts_offline = |text: String| {
        text.replace(
            "    source: airports\n    features",
            "    source: airports\n    online: false\n    features",
        )
        .replace("sql: chill * 10 + alt", "sql: chill * 10")
    };
    let only = "  - {name: comfortable, features: [comfort]}\n";
    let first = format!("{}{only}", facts_offline(definitions()));
    let project = Project::new(more_tables()).await;
    project.apply(&first).await;
    fill(&project, "airport_weather", 1).await;
    project.apply(&first.replace("ttl: 3h", "ttl: 4h")).await;
    assert_eq!(
        selected(&project, &service("comfortable")).await,
        "comfortable@1"
    );
    fill(&project, "airport_weather", 2).await;
    assert_eq!(
        selected(&project, &service("comfortable")).await,
        "comfortable@2"
    );
    let error = project
        .store
        .prepare_online(&project.cx, &service("delay_model"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P601", "reading one is refused all the same");
}

#[tokio::test]
async fn each_version_is_asked_for_once() {
    let project = two_versions().await;
    fill(&project, "airport_weather", 2).await;
    let registry = Arc::new(CountingRegistry::new(project.registry.clone()));
    let online = Arc::new(project.online.clone());
    let store = reopened(&project, registry.clone(), online).await;
    let list = features("airport_weather:temp,feel:chill,airport_weather:wind,comfort");
    store.prepare_online(&project.cx, &list).await.unwrap();
    let asked = registry
        .intervals_of
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    assert_eq!(asked, ["airport_weather@2", "airport_facts@1"]);
}
