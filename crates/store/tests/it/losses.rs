//! Rows that an online store acknowledged and then lost: noticed everywhere, and materialised again.

use provender_conformance::memory::OnlineCall;
use provender_conformance::oracle::Value;
use provender_core::provider::Registry;
use provender_core::{Error, codes};
use provender_store::{OnlineRequest, PushTarget, Selection, VerifiedView, ViewStatus};

use crate::materialize::{
    applied, explicit, held, incremental, materialize, recorded, request, run,
};
use crate::push::push;
use crate::support::{DEFINITIONS, Project, all_tables, batch, floats, hours, ints, strings, text};

const VIEW: &str = "airport_weather";
const ALL: [&str; 2] = ["JFK at 9: 90 9", "LGA at 2: 25 3"];

/// A project whose online store can lose rows, with everything up to an hour online.
async fn filled(end: i64) -> Project {
    let project = applied(all_tables(), DEFINITIONS).await;
    project.online.make_checkpoints();
    for view in ["airport_facts", VIEW, "route_delay"] {
        let done = run(&project, view, incremental(end)).await;
        assert_eq!(done.lost, None);
    }
    project
}

fn lose(project: &Project, keys: Option<&[&str]>) {
    let keys = keys.map(|keys| {
        let keys = keys.iter().map(|&key| vec![Value::String(key.to_owned())]);
        keys.collect::<Vec<_>>()
    });
    project.online.lose(&project.view(VIEW, 1), keys.as_deref());
}

async fn kept(project: &Project, view: &str) -> Option<i64> {
    let mark = project.view(&format!("{view}:checkpoint"), 1);
    let kept = project.registry.intervals(&project.cx, &mark).await;
    kept.unwrap().last().map(|kept| kept.end_us)
}

async fn status_of(project: &Project, view: &str) -> ViewStatus {
    let all = project.store.status(&project.cx).await.unwrap();
    all.into_iter().find(|one| one.view.view == view).unwrap()
}

fn is_of_losses(finding: &&provender_store::Finding) -> bool {
    finding.subject.starts_with("online rows of")
}

async fn verify(project: &Project) -> VerifiedView {
    let verify = provender_store::Verify {
        views: Some(vec![VIEW.to_owned()]),
        sample: None,
        seed: 1,
        max_shown: 3,
    };
    let verified = project.store.verify(&project.cx, &verify).await;
    verified.unwrap().remove(0)
}

#[tokio::test]
async fn every_run_keeps_a_checkpoint_that_goes_on_from_the_last() {
    let project = filled(1).await;
    let first = kept(&project, VIEW).await.unwrap();
    run(&project, VIEW, incremental(5)).await;
    let second = kept(&project, VIEW).await.unwrap();
    run(&project, VIEW, explicit(0, 1)).await;
    let third = kept(&project, VIEW).await.unwrap();
    assert!(first < second && second < third);
    let status = status_of(&project, VIEW).await;
    assert!(!status.lost && status.note.is_none());
    // A run with nothing to do has nothing to vouch for.
    let done = run(&project, VIEW, incremental(5)).await;
    assert!(done.skipped.is_some());
    assert_eq!(kept(&project, VIEW).await, Some(third));
}

#[tokio::test]
async fn lost_rows_are_noticed_and_filled_again_from_the_beginning() {
    for keys in [None, Some(&["LGA"][..])] {
        let project = filled(9).await;
        assert_eq!(held(&project, VIEW), ALL);
        lose(&project, keys);
        let left = held(&project, VIEW);
        assert_eq!(left.len(), usize::from(keys.is_some()));

        let status = status_of(&project, VIEW).await;
        let note = status.note.unwrap();
        assert!(
            status.lost && note.contains("materialize-incremental"),
            "{note}"
        );
        assert!(!status_of(&project, "airport_facts").await.lost);
        let note = verify(&project).await.note.unwrap();
        assert!(note.contains("acknowledged were lost"), "{note}");
        let found = project.store.doctor(&project.cx).await;
        let losses: Vec<_> = found.iter().filter(is_of_losses).collect();
        assert_eq!(losses.len(), 1, "{losses:?}");
        assert_eq!(losses[0].subject, "online rows of airport_weather@1");
        assert_eq!(losses[0].error.as_ref().unwrap().code(), "P612");

        // Although nothing has come since the last run.
        let done = run(&project, VIEW, incremental(9)).await;
        assert_eq!(done.interval.start_us, None);
        let told = done.lost.unwrap();
        assert!(told.contains("filled again from the beginning"), "{told}");
        assert!(!told.contains("pushed"), "{told}");
        assert_eq!(held(&project, VIEW), ALL);
        assert_eq!(recorded(&project, VIEW).await, [(None, 9)]);
        assert!(!status_of(&project, VIEW).await.lost);
        let found = project.store.doctor(&project.cx).await;
        assert_eq!(found.iter().filter(is_of_losses).count(), 0);
        let again = run(&project, VIEW, incremental(9)).await;
        assert!(again.skipped.is_some() && again.lost.is_none());
    }
}

#[tokio::test]
async fn windows_that_were_lost_come_back() {
    let project = filled(9).await;
    let before = held(&project, "route_delay");
    assert!(!before.is_empty());
    project.online.lose(&project.view("route_delay", 1), None);
    let done = run(&project, "route_delay", incremental(9)).await;
    assert!(done.lost.is_some());
    assert_eq!(held(&project, "route_delay"), before);
}

#[tokio::test]
async fn a_run_to_an_earlier_end_brings_back_all_that_was_recorded() {
    let project = filled(9).await;
    lose(&project, None);
    let done = run(&project, VIEW, incremental(1)).await;
    assert!(done.lost.is_some());
    assert_eq!(held(&project, VIEW), ALL);
}

#[tokio::test]
async fn an_explicit_range_leaves_the_rest_to_the_next_incremental_run_and_says_so() {
    let project = filled(9).await;
    lose(&project, None);
    let lost = kept(&project, VIEW).await;
    let done = run(&project, VIEW, explicit(1, 2)).await;
    let told = done.lost.unwrap();
    assert!(told.contains("only this range"), "{told}");
    assert_eq!(held(&project, VIEW), ["JFK at 2: 20 2", "LGA at 2: 25 3"]);
    assert_eq!(kept(&project, VIEW).await, lost);
    assert!(status_of(&project, VIEW).await.lost);
    let done = run(&project, VIEW, incremental(9)).await;
    assert!(done.lost.is_some());
    assert_eq!(held(&project, VIEW), ALL);
    assert!(!status_of(&project, VIEW).await.lost);
}

#[tokio::test]
async fn a_view_of_explicit_ranges_is_filled_again_from_where_they_began() {
    let project = applied(all_tables(), DEFINITIONS).await;
    project.online.make_checkpoints();
    run(&project, VIEW, explicit(1, 2)).await;
    run(&project, VIEW, explicit(5, 9)).await;
    lose(&project, None);
    // A range that holds all that was recorded is as good as a run without one.
    let done = run(&project, VIEW, explicit(1, 9)).await;
    let told = done.lost.unwrap();
    assert!(told.contains("from 1970-01-01T01:00:00Z"), "{told}");
    assert!(!status_of(&project, VIEW).await.lost);
    lose(&project, None);
    let done = run(&project, VIEW, incremental(9)).await;
    assert_eq!(done.interval.start_us, Some(crate::support::HOUR));
    assert_eq!(held(&project, VIEW), ALL);
    assert_eq!(recorded(&project, VIEW).await, [(Some(1), 9)]);
}

#[tokio::test]
async fn rows_lost_while_a_run_is_on_are_filled_again_by_that_run() {
    let project = filled(1).await;
    // Between the question and the write, once for each try.
    let (online, view) = (project.online.clone(), project.view(VIEW, 1));
    project.offline.before_scan.set(move |_| {
        online.lose(&view, None);
        Box::pin(async { Ok(()) })
    });
    let done = run(&project, VIEW, incremental(9)).await;
    assert!(done.lost.unwrap().contains("from the beginning"));
    assert_eq!(held(&project, VIEW), ALL);
    assert!(!status_of(&project, VIEW).await.lost);
}

#[tokio::test]
async fn a_run_that_fails_half_way_leaves_the_loss_to_be_found_again() {
    let project = filled(9).await;
    lose(&project, None);
    for call in [OnlineCall::Write, OnlineCall::Checkpoint] {
        project.online.fail(call, 0, 1, || {
            Error::new(&codes::ONLINE_UNAVAILABLE, "away")
        });
        let failed = materialize(&project, &request(&[VIEW], incremental(9))).await;
        assert_eq!(failed.unwrap_err().code(), codes::ONLINE_UNAVAILABLE.id);
        assert!(status_of(&project, VIEW).await.lost);
    }
    let done = run(&project, VIEW, incremental(9)).await;
    assert!(done.lost.is_some());
    assert_eq!(held(&project, VIEW), ALL);
}

#[tokio::test]
async fn pushed_rows_that_were_lost_are_said_to_be() {
    let project = filled(9).await;
    let row = batch(&[
        ("wind", ints(&[7])),
        ("temp", floats(&[50.5])),
        ("time", hours(&[10])),
        ("origin", strings(&["BOS"])),
    ]);
    push(&project, VIEW, PushTarget::Online, row).await.unwrap();
    lose(&project, None);
    let note = status_of(&project, VIEW).await.note.unwrap();
    assert!(note.contains("have to be pushed again"), "{note}");
    let told = run(&project, VIEW, incremental(9)).await.lost.unwrap();
    assert!(told.contains("have to be pushed again"), "{told}");
    // Those that are in the offline store are back, the other is not.
    assert_eq!(held(&project, VIEW), ALL);
}

#[tokio::test]
async fn a_store_that_was_only_pushed_to_and_emptied_is_noticed() {
    let project = applied(all_tables(), DEFINITIONS).await;
    project.online.make_checkpoints();
    let row = || {
        batch(&[
            ("wind", ints(&[7])),
            ("temp", floats(&[50.5])),
            ("time", hours(&[10])),
            ("origin", strings(&["BOS"])),
        ])
    };
    push(&project, VIEW, PushTarget::Online, row())
        .await
        .unwrap();
    assert!(!status_of(&project, VIEW).await.lost);
    let n_before = project.online.n_calls(OnlineCall::Checkpoint);
    push(&project, VIEW, PushTarget::Online, row())
        .await
        .unwrap();
    assert_eq!(project.online.n_calls(OnlineCall::Checkpoint), n_before);
    lose(&project, None);
    assert!(status_of(&project, VIEW).await.lost);
    let note = verify(&project).await.note.unwrap();
    assert!(
        note.contains("only pushed to") && note.contains("pushed again"),
        "{note}"
    );
    run(&project, VIEW, incremental(9)).await;
    assert!(!status_of(&project, VIEW).await.lost);
}

/// The status of keys, by a query that is prepared now.
async fn statuses(project: &Project, keys: &[&str]) -> Vec<String> {
    let mut read = OnlineRequest::new(Selection::features(VIEW).unwrap());
    read.status = true;
    let query = project
        .store
        .prepare_online(&project.cx, &read)
        .await
        .unwrap();
    let keys = batch(&[("origin", strings(keys))]);
    let call = query.bind(&keys.schema()).unwrap();
    let answer = call.read(&project.cx, &keys).await.unwrap();
    text(&answer, "airport_weather__status")
}

#[tokio::test]
async fn keys_that_are_not_there_are_errors_until_the_view_is_filled_again() {
    // The rows are of 1970, so those that are there are old.
    let old = "OUTSIDE_MAX_AGE";
    let project = filled(9).await;
    let keys = ["JFK", "LGA", "BOS"];
    assert_eq!(statuses(&project, &keys).await, [old, old, "NOT_FOUND"]);
    lose(&project, Some(&["LGA"]));
    assert_eq!(statuses(&project, &keys).await, [old, "ERROR", "ERROR"]);
    let read = OnlineRequest::new(Selection::features(VIEW).unwrap());
    let query = project
        .store
        .prepare_online(&project.cx, &read)
        .await
        .unwrap();
    assert_eq!(query.lost(), ["airport_weather@1"]);
    let keys_batch = batch(&[("origin", strings(&["LGA"]))]);
    let call = query.bind(&keys_batch.schema()).unwrap();
    let error = call.read(&project.cx, &keys_batch).await.unwrap_err();
    assert_eq!(error.code(), "P603");
    assert!(
        error.to_string().contains("lost rows of this view"),
        "{error}"
    );
    run(&project, VIEW, incremental(9)).await;
    assert_eq!(statuses(&project, &keys).await, [old, old, "NOT_FOUND"]);
}

#[tokio::test]
async fn a_query_prepared_while_the_store_is_away_asks_before_it_answers() {
    let project = filled(9).await;
    lose(&project, Some(&["LGA"]));
    let away = || Error::new(&codes::ONLINE_UNAVAILABLE, "away");
    project.online.fail(OnlineCall::Holds, 0, 2, away);
    let mut read = OnlineRequest::new(Selection::features(VIEW).unwrap());
    read.status = true;
    let query = project
        .store
        .prepare_online(&project.cx, &read)
        .await
        .unwrap();
    assert!(query.lost().is_empty());
    let keys = batch(&[("origin", strings(&["LGA"]))]);
    let call = query.bind(&keys.schema()).unwrap();
    let error = call.read(&project.cx, &keys).await.unwrap_err();
    assert_eq!(error.code(), codes::ONLINE_UNAVAILABLE.id);
    for _ in 0..3 {
        let answer = call.read(&project.cx, &keys).await.unwrap();
        assert_eq!(text(&answer, "airport_weather__status"), ["ERROR"]);
    }
    assert_eq!(query.lost(), ["airport_weather@1"]);
    // Asked once by the query, and the two failures.
    let n_asked = project.online.n_calls(OnlineCall::Holds);
    call.read(&project.cx, &keys).await.unwrap();
    assert_eq!(project.online.n_calls(OnlineCall::Holds), n_asked);
}

#[tokio::test]
async fn stores_stand_for_themselves() {
    let definitions = DEFINITIONS.replace(
        "source: airports\n",
        "source: airports\n    online_store: other\n",
    );
    let project = applied(all_tables(), &definitions).await;
    project.online.make_checkpoints();
    run(&project, VIEW, incremental(9)).await;
    run(&project, "airport_facts", incremental(9)).await;
    // The other store makes no checkpoints, and is never asked.
    assert_eq!(kept(&project, "airport_facts").await, None);
    let facts = project.view("airport_facts", 1);
    project.other_online.lose(&facts, None);
    assert!(!status_of(&project, "airport_facts").await.lost);
    let done = run(&project, "airport_facts", incremental(9)).await;
    assert!(done.skipped.is_some());
    for call in [OnlineCall::Checkpoint, OnlineCall::Holds] {
        assert_eq!(project.other_online.n_calls(call), 0);
    }
    assert!(!status_of(&project, VIEW).await.lost);
    lose(&project, None);
    assert!(status_of(&project, VIEW).await.lost);
}

#[tokio::test]
async fn what_moves_to_another_store_leaves_its_checkpoint_behind() {
    let project = filled(9).await;
    assert!(kept(&project, VIEW).await.is_some());
    let moved = DEFINITIONS.replace(
        "source: weather\n",
        "source: weather\n    online_store: other\n",
    );
    project.apply(&moved).await;
    assert_eq!(kept(&project, VIEW).await, None);
    project.other_online.make_checkpoints();
    let done = run(&project, VIEW, incremental(9)).await;
    assert!(done.lost.is_none() && done.interval.start_us.is_none());
    assert!(kept(&project, VIEW).await.is_some());
}
