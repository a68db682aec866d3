//! Online data of what is gone.

use std::sync::Arc;

use provender_conformance::memory::OnlineCall;
use provender_core::provider::Registry;
use provender_core::{Error, codes};
use provender_store::{Applied, Materialize, MaterializeRange};

use crate::support::{DEFINITIONS, HOUR, Project, all_tables, load};

/// Materialises one view up to an hour, from where the last run ended.
pub async fn materialise(project: &Project, view: &str, hour: i64) {
    let request = Materialize {
        views: Some(vec![view.to_owned()]),
        range: MaterializeRange::Incremental {
            end_us: Some(hour * HOUR),
        },
    };
    project
        .store
        .materialize(&project.cx, &request, Arc::new(|_| {}))
        .await
        .unwrap();
}

async fn apply(project: &Project, definitions: &str) -> Applied {
    let plan = project.plan(definitions).await;
    project.apply_plan(&plan).await.unwrap()
}

/// The warnings but for the store of the tests that is never there.
fn warnings(applied: &Applied) -> Vec<&str> {
    let warnings = applied.warnings.iter().map(String::as_str);
    warnings
        .filter(|warning| !warning.starts_with("online_stores.broken"))
        .collect()
}

/// Without the view of routes.
fn without_routes() -> String {
    let start = DEFINITIONS.find("  - name: route_delay").unwrap();
    let end = DEFINITIONS.find("on_demand_feature_views:").unwrap();
    let mut definitions = DEFINITIONS.to_owned();
    definitions.replace_range(start..end, "");
    definitions.replace("      - route_delay\n", "")
}

async fn is_filled(project: &Project, view: &str) -> bool {
    let view = project.view(view, 1);
    let intervals = project.registry.intervals(&project.cx, &view).await;
    !intervals.unwrap().is_empty()
}

#[tokio::test]
async fn a_deleted_view_loses_its_rows_and_its_progress() {
    let project = Project::new(all_tables()).await;
    let applied = apply(&project, DEFINITIONS).await;
    assert_eq!((applied.revision.0, applied.dropped.len()), (1, 0));
    materialise(&project, "route_delay", 5).await;
    materialise(&project, "airport_weather", 5).await;
    assert!(is_filled(&project, "route_delay").await);

    let applied = apply(&project, &without_routes()).await;
    assert_eq!(applied.dropped, [project.view("route_delay", 1)]);
    assert!(warnings(&applied).is_empty(), "{:?}", applied.warnings);
    assert!(
        project
            .online
            .rows(&project.view("route_delay", 1))
            .is_empty()
    );
    assert!(!is_filled(&project, "route_delay").await);
    assert!(
        !project
            .online
            .rows(&project.view("airport_weather", 1))
            .is_empty()
    );
    assert!(is_filled(&project, "airport_weather").await);
}

#[tokio::test]
async fn a_clean_up_that_fails_is_a_warning_and_the_next_apply_makes_it_good() {
    let project = Project::new(all_tables()).await;
    apply(&project, DEFINITIONS).await;
    materialise(&project, "route_delay", 5).await;
    let away = || Error::new(&codes::ONLINE_UNAVAILABLE, "the online store is away");
    project.online.fail(OnlineCall::Views, 0, 1, away);
    let applied = apply(&project, &without_routes()).await;
    assert_eq!(applied.revision.0, 2);
    assert_eq!(
        warnings(&applied),
        ["online_store was not cleaned up: the online store is away"]
    );
    project.online.fail(OnlineCall::DropView, 0, 1, away);
    let applied = apply(&project, &without_routes()).await;
    assert_eq!(applied.revision.0, 2);
    assert_eq!(
        warnings(&applied),
        ["online data of route_delay@1 were not dropped: the online store is away"]
    );
    assert!(
        !project
            .online
            .rows(&project.view("route_delay", 1))
            .is_empty()
    );

    let applied = apply(&project, &without_routes()).await;
    assert_eq!(applied.dropped, [project.view("route_delay", 1)]);
    assert!(
        project
            .online
            .rows(&project.view("route_delay", 1))
            .is_empty()
    );
    let applied = apply(&project, &without_routes()).await;
    assert!(applied.dropped.is_empty());
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_a_warning() {
    let project = Project::new(all_tables()).await;
    let applied = apply(&project, DEFINITIONS).await;
    assert_eq!(
        applied.warnings,
        ["online_stores.broken was not cleaned up: the store is not there"]
    );
}

#[tokio::test]
async fn a_version_that_no_service_holds_any_more_goes_and_one_that_is_held_stays() {
    let newer = DEFINITIONS.replace("ttl: 3h", "ttl: 4h");
    let pinned = newer.replace(
        "      - airport_weather\n      - {view",
        "      - airport_weather@1\n      - {view",
    );
    let project = Project::new(all_tables()).await;
    apply(&project, DEFINITIONS).await;
    materialise(&project, "airport_weather", 5).await;
    let applied = apply(&project, &pinned).await;
    assert!(applied.dropped.is_empty());
    assert!(
        !project
            .online
            .rows(&project.view("airport_weather", 1))
            .is_empty()
    );
    let kept = project.store.catalog(&project.cx).await.unwrap();
    assert!(kept.feature_views["airport_weather"].contains_key(&1));
}

#[tokio::test]
async fn a_view_that_moves_to_another_store_leaves_the_old_and_fills_the_new_from_the_beginning() {
    let project = Project::new(all_tables()).await;
    apply(&project, DEFINITIONS).await;
    materialise(&project, "airport_weather", 5).await;
    let moved = DEFINITIONS.replace("ttl: 3h", "ttl: 3h\n    online_store: other");
    let applied = apply(&project, &moved).await;
    assert_eq!(applied.dropped, [project.view("airport_weather", 1)]);
    assert!(
        project
            .online
            .rows(&project.view("airport_weather", 1))
            .is_empty()
    );
    assert!(!is_filled(&project, "airport_weather").await);

    materialise(&project, "airport_weather", 6).await;
    let rows = project
        .other_online
        .rows(&project.view("airport_weather", 1));
    assert_eq!(rows.len(), 2, "rows of before the move are there too");
    let applied = apply(&project, &moved).await;
    assert!(applied.dropped.is_empty() && warnings(&applied).is_empty());
    assert_eq!(
        project
            .other_online
            .rows(&project.view("airport_weather", 1))
            .len(),
        2
    );
}

#[tokio::test]
async fn a_move_forgets_progress_even_if_the_old_store_is_away() {
    let project = Project::new(all_tables()).await;
    apply(&project, DEFINITIONS).await;
    materialise(&project, "airport_weather", 5).await;
    project.online.fail(OnlineCall::Views, 0, 1, || {
        Error::new(&codes::ONLINE_UNAVAILABLE, "the online store is away")
    });
    let moved = DEFINITIONS.replace("ttl: 3h", "ttl: 3h\n    online_store: other");
    let applied = apply(&project, &moved).await;
    assert_eq!(warnings(&applied).len(), 1);
    assert!(!is_filled(&project, "airport_weather").await);
    materialise(&project, "airport_weather", 6).await;
    let view = project.view("airport_weather", 1);
    assert_eq!(project.other_online.rows(&view).len(), 2);
    // Rows in two places may be one place under two names, so nothing is dropped unasked.
    let applied = apply(&project, &moved).await;
    assert_eq!(
        warnings(&applied),
        [
            "airport_weather@1 is held by online_store beside its own store, online_stores.other; \
          if they are two stores, the rows there are not used"
        ]
    );
    assert_eq!(project.other_online.rows(&view).len(), 2);
    assert!(is_filled(&project, "airport_weather").await);
}

#[tokio::test]
async fn an_online_store_that_is_not_configured_is_an_error_of_the_plan() {
    let project = Project::new(all_tables()).await;
    let errors = project
        .plan_errors(&DEFINITIONS.replace("ttl: 3h", "ttl: 3h\n    online_store: othr"))
        .await;
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].code(), "P106");
    let text = errors[0].to_string();
    assert!(
        text.contains("view \"airport_weather\": provender.yaml has no online store \"othr\" under online_stores; did you mean \"other\"?"),
        "{text}"
    );
    assert!(text.contains("features/all.yaml:"), "{text}");
}

#[tokio::test]
async fn nothing_is_dropped_where_nothing_was_ever_applied() {
    let project = Project::new(all_tables()).await;
    apply(&project, DEFINITIONS).await;
    materialise(&project, "airport_weather", 5).await;
    let empty = Project::new(all_tables()).await;
    let plan = empty
        .store
        .plan(&empty.cx, &load("entities: []"))
        .await
        .unwrap();
    let applied = empty.apply_plan(&plan).await.unwrap();
    assert_eq!((applied.revision.0, applied.warnings.len()), (0, 0));
    assert_eq!(empty.online.n_calls(OnlineCall::Views), 0);
}
