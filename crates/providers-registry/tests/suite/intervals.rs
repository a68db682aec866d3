//! Materialised intervals.

use provender_core::ErrorKind;
use provender_core::provider::{Interval, ViewVersion};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::common::{Backend, cx};

fn view(name: &str, version: u32) -> ViewVersion {
    ViewVersion {
        project: "flights".to_owned(),
        view: name.to_owned(),
        version,
    }
}

fn interval(start_us: impl Into<Option<i64>>, end_us: i64) -> Interval {
    Interval {
        start_us: start_us.into(),
        end_us,
    }
}

/// The microseconds that are covered, from 1 to 40; the first stands for all of time before it as well.
type Covered = [bool; 41];

fn cover(covered: &mut Covered, interval: Interval) {
    let first = interval.start_us.map_or(0, |start_us| start_us + 1);
    for us in first..=interval.end_us {
        covered[usize::try_from(us).unwrap()] = true;
    }
}

fn runs(covered: &Covered) -> Vec<Interval> {
    let mut runs: Vec<Interval> = Vec::new();
    for (us, _) in covered
        .iter()
        .enumerate()
        .filter(|(_, is_covered)| **is_covered)
    {
        let us = i64::try_from(us).unwrap();
        match runs.last_mut() {
            Some(run) if run.end_us == us - 1 => run.end_us = us,
            _ => runs.push(interval((us > 0).then_some(us - 1), us)),
        }
    }
    runs
}

pub async fn random_intervals_equal_a_naive_set(backend: &Backend) {
    let registry = backend.open().await;
    let mut random = StdRng::seed_from_u64(11);
    for case in 0..60 {
        let view = view(&format!("view_{case}"), 1);
        let mut covered: Covered = [false; 41];
        for _ in 0..random.random_range(1..12) {
            let end_us = random.random_range(0..=40);
            let start_us = if random.random_bool(0.08) {
                None
            } else {
                let longest = random.random_range(0..=12);
                Some((end_us - longest).max(0))
            };
            let added = interval(start_us, end_us);
            registry.record_interval(&cx(), &view, added).await.unwrap();
            cover(&mut covered, added);
            let read = registry.intervals(&cx(), &view).await.unwrap();
            assert_eq!(read, runs(&covered), "case {case} after {added:?}");
        }
    }
    // The ends of the range.
    let view = view("ends", 1);
    let ends = [
        interval(i64::MIN, -5),
        interval(None, i64::MIN),
        interval(5, i64::MAX),
    ];
    for added in ends {
        registry.record_interval(&cx(), &view, added).await.unwrap();
    }
    let read = registry.intervals(&cx(), &view).await.unwrap();
    assert_eq!(read, [interval(None, -5), interval(5, i64::MAX)]);
}

pub async fn concurrent_runs_merge_into_one_interval(backend: &Backend) {
    let pools = [backend.open().await, backend.open().await];
    let mut runs = tokio::task::JoinSet::new();
    for part in 0..32_i64 {
        let registry = pools[usize::try_from(part).unwrap() % 2].clone();
        runs.spawn(async move {
            // Odd parts first meet the gaps that even ones leave.
            let added = interval(part * 10, part * 10 + 10);
            registry
                .record_interval(&cx(), &view("v", 1), added)
                .await
                .unwrap();
        });
    }
    while let Some(ended) = runs.join_next().await {
        ended.unwrap();
    }
    let read = pools[0].intervals(&cx(), &view("v", 1)).await.unwrap();
    assert_eq!(read, [interval(0, 320)]);
    // Progress makes no revision.
    assert_eq!(pools[0].revision(&cx()).await.unwrap().0, 0);
}

pub async fn intervals_of_versions_are_apart_and_can_be_forgotten(backend: &Backend) {
    let registry = backend.open().await;
    let other = ViewVersion {
        project: "other".to_owned(),
        ..view("v", 1)
    };
    let (one, two) = (view("v", 1), view("v", 2));
    for (view, end_us) in [(&one, 1), (&two, 2), (&other, 3)] {
        registry
            .record_interval(&cx(), view, interval(0, end_us))
            .await
            .unwrap();
    }
    registry.forget_intervals(&cx(), &one).await.unwrap();
    registry
        .forget_intervals(&cx(), &view("never", 1))
        .await
        .unwrap();
    assert!(registry.intervals(&cx(), &one).await.unwrap().is_empty());
    assert_eq!(
        registry.intervals(&cx(), &two).await.unwrap(),
        [interval(0, 2)]
    );
    assert_eq!(
        registry.intervals(&cx(), &other).await.unwrap(),
        [interval(0, 3)]
    );
}

pub async fn backward_interval_is_refused_and_empty_one_is_no_news(backend: &Backend) {
    let registry = backend.open().await;
    let view = view("v", 1);
    let error = registry
        .record_interval(&cx(), &view, interval(2, 1))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::InvalidArgument, "P406")
    );
    assert_eq!(
        error.message(),
        "an interval of view \"v\" ends at 1 us, before it starts at 2 us"
    );
    registry
        .record_interval(&cx(), &view, interval(2, 2))
        .await
        .unwrap();
    assert!(registry.intervals(&cx(), &view).await.unwrap().is_empty());
}
