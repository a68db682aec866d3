//! What the status says of views online.

use provender_conformance::memory::OnlineCall;
use provender_core::provider::Interval;
use provender_core::time::now_us;
use provender_core::{Error, codes};

use crate::materialize::{applied, explicit, incremental, run};
use crate::support::{DEFINITIONS, HOUR, Project, all_tables};

#[tokio::test]
async fn each_view_shows_its_last_interval_age_and_rows() {
    let project = applied(all_tables(), DEFINITIONS).await;
    run(&project, "airport_weather", explicit(0, 1)).await;
    run(&project, "airport_weather", explicit(5, 9)).await;
    let before = now_us();
    let status = project.store.status(&project.cx).await.unwrap();
    let names: Vec<&str> = status
        .iter()
        .map(|status| status.view.view.as_str())
        .collect();
    assert_eq!(names, ["airport_facts", "airport_weather", "route_delay"]);
    let weather = &status[1];
    assert_eq!(weather.view, project.view("airport_weather", 1));
    let last = Interval {
        start_us: Some(5 * HOUR),
        end_us: 9 * HOUR,
    };
    assert_eq!(weather.last_interval, Some(last));
    assert_eq!((weather.n_intervals, weather.n_rows), (2, Some(1)));
    let age_us = weather.freshness_us.unwrap();
    assert!(age_us >= before - 9 * HOUR && age_us <= now_us() - 9 * HOUR);
    assert!(weather.online && !weather.pushed && weather.note.is_none());
    let facts = &status[0];
    assert_eq!(
        (
            facts.last_interval,
            facts.n_intervals,
            facts.freshness_us,
            facts.n_rows
        ),
        (None, 0, None, Some(0))
    );
    let json = serde_json::to_value(weather).unwrap();
    assert_eq!(json["last_interval"]["end_us"], 9 * HOUR);
    assert_eq!(json["view"]["version"], 1);
}

#[tokio::test]
async fn older_versions_show_while_they_hold_something() {
    let project = applied(all_tables(), DEFINITIONS).await;
    run(&project, "airport_weather", incremental(9)).await;
    project
        .apply(&DEFINITIONS.replace("ttl: 3h", "ttl: 4h"))
        .await;
    project
        .apply(&DEFINITIONS.replace("ttl: 3h", "ttl: 5h"))
        .await;
    let status = project.store.status(&project.cx).await.unwrap();
    let versions: Vec<(u32, bool)> = status
        .iter()
        .filter(|status| status.view.view == "airport_weather")
        .map(|status| (status.view.version, status.last_interval.is_some()))
        .collect();
    assert_eq!(versions, [(1, true), (3, false)]);
}

#[tokio::test]
async fn a_store_that_is_away_is_a_note() {
    let project = Project::new(all_tables()).await;
    let error = project.store.status(&project.cx).await.unwrap_err();
    assert_eq!(error.code(), "P306");
    let definitions = DEFINITIONS.replace(
        "source: airports\n",
        "source: airports\n    online_store: broken\n",
    );
    project.apply(&definitions).await;
    run(&project, "airport_weather", incremental(9)).await;
    let status = project.store.status(&project.cx).await.unwrap();
    let note = status[0].note.as_deref().unwrap();
    assert!(note.contains("the store is not there"), "{note}");
    assert_eq!((status[0].n_rows, status[0].online), (None, true));
    assert_eq!((status[1].n_rows, &status[1].note), (Some(2), &None));

    project.online.fail(OnlineCall::Stats, 0, 1, || {
        Error::new(&codes::ONLINE_UNAVAILABLE, "the disk is away")
    });
    let status = project.store.status(&project.cx).await.unwrap();
    for view in &status[1..] {
        assert_eq!(view.note.as_deref(), Some("the disk is away"));
        assert_eq!(view.n_rows, None);
    }
    assert!(status[1].last_interval.is_some());
}

#[tokio::test]
async fn a_view_that_is_not_online_shows_no_rows() {
    let definitions = DEFINITIONS.replace(
        "source: airports\n",
        "source: airports\n    online: false\n    online_store: broken\n",
    );
    let project = applied(all_tables(), &definitions).await;
    let status = project.store.status(&project.cx).await.unwrap();
    assert!(!status[0].online);
    assert_eq!((status[0].n_rows, &status[0].note), (None, &None));
}
