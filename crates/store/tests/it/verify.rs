//! Online rows compared with point-in-time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, new_null_array};
use provender_conformance::memory::OnlineCall;
use provender_conformance::oracle::Value;
use provender_conformance::{Table, Tables};
use provender_core::provider::OnlineStore;
use provender_core::request::ViewLayout;
use provender_store::{Materialize, MaterializeRange, PushTarget, VerifiedView, Verify};

use crate::cleanup::materialise;
use crate::push::push;
use crate::support::{
    DEFINITIONS, HOUR, Project, TestStore, all_tables, batch, floats, hours, ints, strings, tables,
};

async fn verify_with(project: &Project, view: &str, sample: Option<usize>) -> VerifiedView {
    let verify = Verify {
        views: Some(vec![view.to_owned()]),
        sample,
        seed: 7,
        max_shown: 10,
    };
    let n_writes = (
        project.online.n_calls(OnlineCall::Write),
        project.online.n_calls(OnlineCall::Delete),
        project.online.n_calls(OnlineCall::DropView),
    );
    let mut verified = project.store.verify(&project.cx, &verify).await.unwrap();
    assert_eq!(verified.len(), 1);
    let verified = verified.remove(0);
    // Whatever is found, nothing is changed, and each key is counted once.
    assert_eq!(n_writes.0, project.online.n_calls(OnlineCall::Write));
    assert_eq!(n_writes.1, project.online.n_calls(OnlineCall::Delete));
    assert_eq!(n_writes.2, project.online.n_calls(OnlineCall::DropView));
    let counted = verified.n_agree + verified.n_newer + verified.n_expired + verified.n_differ;
    assert_eq!(counted, verified.n_keys);
    verified
}

/// Verifies every key and a sample of all, which must say the same but for the note.
async fn verify(project: &Project, view: &str) -> VerifiedView {
    let all = verify_with(project, view, None).await;
    let mut sample = verify_with(project, view, Some(1_000)).await;
    let mut sorted = all.clone();
    for one in [&mut sorted, &mut sample] {
        one.first.sort_by(|a, b| a.key.cmp(&b.key));
        one.note = None;
    }
    assert_eq!(sorted, sample);
    all
}

/// agree, newer, expired, differ
fn counts(verified: &VerifiedView) -> [u64; 4] {
    [
        verified.n_agree,
        verified.n_newer,
        verified.n_expired,
        verified.n_differ,
    ]
}

/// `key feature online | offline`, sorted.
fn differences(verified: &VerifiedView) -> Vec<String> {
    let mut all: Vec<String> = verified
        .first
        .iter()
        .map(|one| {
            format!(
                "{} {}: {} | {}",
                one.key, one.feature, one.online, one.offline
            )
        })
        .collect();
    all.sort();
    all
}

const READINGS: &str = "
entities:
  - {name: place, join_keys: [{name: place, type: string}]}
sources:
  - {name: readings, table: readings, timestamp: at}
feature_views:
  - name: reading
    entities: [place]
    source: readings
    features: [{name: level, type: int64}, {name: value, type: float64}]
";

fn readings() -> Tables {
    let value: ArrayRef = Arc::new(Float64Array::from(vec![
        Some(0.5),
        Some(f64::NAN),
        None,
        Some(-0.0),
        Some(4.5),
        Some(5.5),
    ]));
    tables(&[(
        "readings",
        batch(&[
            ("place", strings(&["a", "b", "c", "d", "e", "e"])),
            ("at", hours(&[1, 2, 3, 4, 5, 9])),
            ("level", ints(&[1, 2, 3, 4, 5, 9])),
            ("value", value),
        ]),
    )])
}

/// Readings, materialised to the eighth hour.
async fn reading(definitions: &str) -> Project {
    let project = Project::new(readings()).await;
    project.apply(definitions).await;
    materialise(&project, "reading", 8).await;
    project
}

/// Writes to the online store behind everybody's back.
async fn overwrite(project: &Project, place: &str, hour: i64, level: i64, value: Option<f64>) {
    let catalog = project.store.catalog(&project.cx).await.unwrap();
    let (version, view) = catalog.feature_view("reading", None).unwrap();
    let layout = ViewLayout::of("flights", version, &view).unwrap();
    let schema = Arc::new(layout.write_schema());
    let created = new_null_array(schema.field(2).data_type(), 1);
    let value: ArrayRef = Arc::new(Float64Array::from(vec![value]));
    let row = RecordBatch::try_new(
        schema,
        vec![
            strings(&[place]),
            hours(&[hour]),
            created,
            Arc::new(BooleanArray::from(vec![false])),
            ints(&[level]),
            value,
        ],
    )
    .unwrap();
    let rows = Table::of(row).stream();
    project
        .online
        .write(&project.cx, &layout, rows)
        .await
        .unwrap();
}

async fn erase(project: &Project, place: &str) {
    let catalog = project.store.catalog(&project.cx).await.unwrap();
    let (version, view) = catalog.feature_view("reading", None).unwrap();
    let layout = ViewLayout::of("flights", version, &view).unwrap();
    let schema = Arc::new(layout.key_schema());
    let keys = RecordBatch::try_new(schema, vec![strings(&[place])]).unwrap();
    project
        .online
        .delete(&project.cx, &layout, keys)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_materialised_agrees() {
    let project = reading(READINGS).await;
    let verified = verify(&project, "reading").await;
    assert_eq!(verified.view, project.view("reading", 1));
    assert_eq!(verified.end_us, Some(8 * HOUR));
    assert_eq!(counts(&verified), [5, 0, 0, 0]);
    assert_eq!((verified.share(), verified.note), (1.0, None));
    assert!(verified.first.is_empty());
}

#[tokio::test]
async fn missing_stale_changed_and_unreadable_rows_are_found() {
    let project = reading(READINGS).await;
    erase(&project, "a").await;
    erase(&project, "b").await;
    overwrite(&project, "b", 1, 2, Some(f64::NAN)).await;
    overwrite(&project, "c", 3, 33, Some(3.25)).await;
    let key = vec![Value::String("d".to_owned())];
    let view = project.view("reading", 1);
    project
        .online
        .damage(&view, &[key], "the checksum is wrong");
    let verified = verify(&project, "reading").await;
    assert_eq!(counts(&verified), [1, 0, 0, 4]);
    assert_eq!(verified.share(), 0.2);
    assert_eq!(
        differences(&verified),
        [
            "place=a row: absent | row of 1970-01-01T01:00:00Z",
            "place=b row: row of 1970-01-01T01:00:00Z | row of 1970-01-01T02:00:00Z",
            "place=c level: 33 | 3",
            "place=c value: 3.25 | null",
            "place=d row: unreadable: the checksum is wrong | row of 1970-01-01T04:00:00Z",
        ]
    );
}

#[tokio::test]
async fn every_bit_counts() {
    let project = reading(READINGS).await;
    let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
    overwrite(&project, "b", 2, 2, Some(other_nan)).await;
    overwrite(&project, "c", 3, 3, Some(f64::NAN)).await;
    overwrite(&project, "d", 4, 4, Some(0.0)).await;
    overwrite(&project, "a", 1, 1, Some(0.500_000_000_000_000_1)).await;
    let verified = verify(&project, "reading").await;
    assert_eq!(
        differences(&verified),
        [
            "place=a value: 0.5000000000000001 | 0.5",
            "place=b value: NaN (0x7ff8000000000001) | NaN (0x7ff8000000000000)",
            "place=c value: NaN | null",
            "place=d value: 0.0 | -0.0",
        ]
    );
    overwrite(&project, "b", 2, 2, None).await;
    let verified = verify(&project, "reading").await;
    assert!(differences(&verified).contains(&"place=b value: null | NaN".to_owned()));
}

#[tokio::test]
async fn newer_rows_are_counted_apart() {
    let project = reading(READINGS).await;
    let rows = batch(&[
        ("place", strings(&["a", "new"])),
        ("at", hours(&[7, 7])),
        ("level", ints(&[100, 100])),
        ("value", floats(&[1.0, 1.0])),
    ]);
    push(&project, "reading", PushTarget::Online, rows)
        .await
        .unwrap();
    let verified = verify(&project, "reading").await;
    assert_eq!(counts(&verified), [4, 1, 0, 0]);
    assert_eq!(verified.share(), 1.0);
    assert_eq!(
        verified.note.as_deref(),
        Some("6 rows are held online, and the source has 5 keys up to then")
    );
}

#[tokio::test]
async fn rows_that_a_store_dropped_as_expired_are_counted_apart() {
    let definitions = READINGS.replace("features:", "ttl: 1h\n    features:");
    let project = reading(&definitions).await;
    erase(&project, "a").await;
    overwrite(&project, "b", 2, 20, Some(f64::NAN)).await;
    let verified = verify(&project, "reading").await;
    // A row that is held is compared whatever its age.
    assert_eq!(counts(&verified), [3, 0, 1, 1]);
    assert_eq!(differences(&verified), ["place=b level: 20 | 2"]);

    let definitions = READINGS.replace("features:", "ttl: 1000000d\n    features:");
    let project = reading(&definitions).await;
    erase(&project, "a").await;
    let verified = verify(&project, "reading").await;
    assert_eq!(counts(&verified), [4, 0, 0, 1]);
}

#[tokio::test]
async fn the_row_of_the_last_end_counts_and_not_that_of_now() {
    let project = reading(READINGS).await;
    materialise(&project, "reading", 9).await;
    let verified = verify(&project, "reading").await;
    assert_eq!(verified.end_us, Some(9 * HOUR));
    assert_eq!(counts(&verified), [5, 0, 0, 0]);
}

#[tokio::test]
async fn views_that_were_never_materialised_are_a_note() {
    let project = Project::new(readings()).await;
    project.apply(READINGS).await;
    let verified = verify(&project, "reading").await;
    assert_eq!(
        (verified.end_us, verified.n_keys, verified.share()),
        (None, 0, 1.0)
    );
    let note = |view: VerifiedView| view.note.unwrap();
    assert_eq!(
        note(verify_with(&project, "reading", None).await),
        "never materialised"
    );
    overwrite(&project, "a", 1, 1, None).await;
    let rows = batch(&[
        ("place", strings(&["a"])),
        ("at", hours(&[7])),
        ("level", ints(&[100])),
        ("value", floats(&[1.0])),
    ]);
    push(&project, "reading", PushTarget::Online, rows)
        .await
        .unwrap();
    assert_eq!(
        note(verify_with(&project, "reading", None).await),
        "never materialised, only pushed to: there is no end to compare at"
    );
}

#[tokio::test]
async fn rows_outside_of_what_was_materialised_differ_and_a_note_says_why() {
    let project = Project::new(readings()).await;
    project.apply(READINGS).await;
    let request = Materialize {
        views: Some(vec!["reading".to_owned()]),
        range: MaterializeRange::Explicit {
            start_us: 2 * HOUR,
            end_us: 8 * HOUR,
        },
    };
    project
        .store
        .materialize(&project.cx, &request, Arc::new(|_| {}))
        .await
        .unwrap();
    let verified = verify(&project, "reading").await;
    assert_eq!(counts(&verified), [3, 0, 0, 2]);
    assert_eq!(
        verified.note.as_deref(),
        Some(
            "only (1970-01-01T02:00:00Z, 1970-01-01T08:00:00Z] was materialised; rows outside are not online"
        )
    );
}

fn many(n: i64) -> Tables {
    let keys: Vec<String> = (0..n).map(|at| format!("p{}", at / 3)).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let at: Vec<i64> = (0..n).map(|at| at % 8).collect();
    let level: Vec<i64> = (0..n).collect();
    let value: Vec<f64> = level.iter().map(|level| *level as f64 / 7.0).collect();
    let rows = batch(&[
        ("place", strings(&keys)),
        ("at", hours(&at)),
        ("level", ints(&level)),
        ("value", floats(&value)),
    ]);
    tables(&[("readings", rows)])
}

#[tokio::test]
async fn a_sample_is_of_distinct_keys_and_follows_the_seed() {
    let project = Project::new(many(30_000)).await;
    project.apply(READINGS).await;
    materialise(&project, "reading", 8).await;
    let all = verify_with(&project, "reading", None).await;
    assert_eq!((all.n_keys, all.n_agree), (10_000, 10_000));
    // Every row is wrong, so that what is shown are the keys that were drawn.
    let layout_rows = project.online.rows(&project.view("reading", 1));
    let keys: Vec<Vec<Value>> = layout_rows.into_iter().map(|row| row.key).collect();
    let view = project.view("reading", 1);
    project.online.damage(&view, &keys, "gone");
    let drawn = async |seed: u64, n: usize| {
        let verify = Verify {
            views: None,
            sample: Some(n),
            seed,
            max_shown: usize::MAX,
        };
        let verified = project.store.verify(&project.cx, &verify).await.unwrap();
        assert_eq!(verified[0].n_keys, n as u64);
        let keys = verified[0].first.iter().map(|one| one.key.clone());
        keys.collect::<std::collections::BTreeSet<_>>()
    };
    let one = drawn(1, 500).await;
    assert_eq!(one.len(), 500);
    assert_eq!(one, drawn(1, 500).await);
    let two = drawn(2, 500).await;
    assert!(one.intersection(&two).count() < 100);
    assert!(drawn(1, 501).await.is_superset(&one));
}

#[tokio::test]
async fn no_more_differences_are_shown_than_asked_for() {
    let project = reading(READINGS).await;
    for place in ["a", "b", "c", "d", "e"] {
        erase(&project, place).await;
    }
    let verify = Verify {
        views: None,
        sample: Some(4),
        seed: 0,
        max_shown: 2,
    };
    let verified = project.store.verify(&project.cx, &verify).await.unwrap();
    assert_eq!((verified[0].n_differ, verified[0].first.len()), (4, 2));
}

#[tokio::test]
async fn windows_are_compared_as_of_the_end_and_drained_ones_as_well() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    materialise(&project, "route_delay", 3).await;
    let verified = verify(&project, "route_delay").await;
    assert_eq!(counts(&verified), [3, 0, 0, 0]);
    materialise(&project, "route_delay", 200).await;
    let verified = verify(&project, "route_delay").await;
    assert_eq!(
        (verified.end_us, counts(&verified)),
        (Some(200 * HOUR), [3, 0, 0, 0])
    );
    // Windows in which nothing lies read the same whether they are held or not.
    let view = project.view("route_delay", 1);
    project.online.drop_view(&project.cx, &view).await.unwrap();
    let verified = verify(&project, "route_delay").await;
    assert_eq!(counts(&verified), [3, 0, 0, 0]);
}

#[tokio::test]
async fn windows_that_are_missing_stale_or_of_a_later_end_are_told_apart() {
    let project = Project::new(all_tables()).await;
    project.apply(DEFINITIONS).await;
    materialise(&project, "route_delay", 3).await;
    let catalog = project.store.catalog(&project.cx).await.unwrap();
    let (version, view) = catalog.feature_view("route_delay", None).unwrap();
    let layout = ViewLayout::of("flights", version, &view).unwrap();
    let schema = Arc::new(layout.write_schema());
    let rows = RecordBatch::try_new(
        schema.clone(),
        vec![
            strings(&["JFK", "LGA"]),
            strings(&["LGA", "EWR"]),
            hours(&[3, 4]),
            new_null_array(schema.field(3).data_type(), 2),
            Arc::new(BooleanArray::from(vec![false, false])),
            ints(&[13, 1]),
            ints(&[2, 1]),
        ],
    )
    .unwrap();
    let rows = Table::of(rows).stream();
    project
        .online
        .write(&project.cx, &layout, rows)
        .await
        .unwrap();
    let key = RecordBatch::try_new(
        Arc::new(layout.key_schema()),
        vec![strings(&["JFK"]), strings(&["EWR"])],
    )
    .unwrap();
    project
        .online
        .delete(&project.cx, &layout, key)
        .await
        .unwrap();
    let verified = verify(&project, "route_delay").await;
    assert_eq!(counts(&verified), [0, 1, 0, 2]);
    assert_eq!(
        differences(&verified),
        [
            "origin=JFK,dest=EWR row: absent | windows as of 1970-01-01T03:00:00Z",
            "origin=JFK,dest=LGA delay_sum: 13 | 12",
        ]
    );
}

#[tokio::test]
async fn stores_that_join_themselves_are_asked_to() {
    let project = Project::over(
        TestStore::joining(all_tables()),
        TestStore::new(all_tables()),
    )
    .await;
    project.apply(DEFINITIONS).await;
    materialise(&project, "airport_weather", 5).await;
    let verified = verify(&project, "airport_weather").await;
    assert_eq!(counts(&verified), [2, 0, 0, 0]);
    assert_eq!(project.offline.n_joins.load(Ordering::SeqCst), 2);
    let joins = project.offline.joins.lock().unwrap();
    assert!(joins.iter().all(|join| join.views[0].ttl_us.is_none()));
}

#[tokio::test]
async fn a_global_view_has_one_row_to_verify() {
    let definitions = READINGS.replace("entities: [place]", "entities: []");
    let project = reading(&definitions).await;
    let verified = verify(&project, "reading").await;
    assert_eq!(counts(&verified), [1, 0, 0, 0]);
    let view = project.view("reading", 1);
    project.online.damage(&view, &[Vec::new()], "gone");
    let verified = verify(&project, "reading").await;
    assert_eq!(
        differences(&verified),
        ["the global row row: unreadable: gone | row of 1970-01-01T05:00:00Z"]
    );
}

#[tokio::test]
async fn unknown_views_and_views_that_are_not_online_are_errors() {
    let project = reading(READINGS).await;
    let error = async |view: &str| {
        let verify = Verify {
            views: Some(vec![view.to_owned()]),
            sample: None,
            seed: 0,
            max_shown: 1,
        };
        project
            .store
            .verify(&project.cx, &verify)
            .await
            .unwrap_err()
    };
    assert_eq!(error("readin").await.code(), "P401");
    assert_eq!(error("reading@x").await.code(), "P406");
}
