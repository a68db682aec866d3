//! What is held, and for which version of which view of which project.

use provender_core::provider::ViewVersion;
use provender_core::request::ViewLayout;
use provender_core::{Context, ValueType};

use super::judge::{
    check, delete, int, latest, layout, prepare, read, row, string, tombstone, write,
};
use super::{Harness, ensure, works};
use crate::harness::Judged;
use crate::oracle::{LatestRows, OnlineRow, Value};

pub(super) async fn versions_views_and_projects_do_not_mix(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    // Names that run into each other if they are joined without care.
    let views = [
        ("v", 1),
        ("v", 2),
        ("v", 11),
        ("v", 256),
        ("v", u32::MAX),
        ("v1", 1),
        ("v_1", 1),
        ("v_", 1),
        ("vv", 1),
        ("V2", 1),
    ];
    let other = Context::new(format!("{}_", cx.project()));
    let third = Context::new(format!("{}_v", cx.project()));
    let projects = [&cx, &other, &third];
    let result = do_not_mix(harness, &projects, &views).await;
    for project in &projects[1..] {
        harness.clean(project).await?;
    }
    result
}

async fn do_not_mix(
    harness: &Harness,
    projects: &[&Context],
    views: &[(&str, u32)],
) -> Result<(), String> {
    let keys: Vec<Vec<Value>> = ["", "1", "v", "1v", "x"]
        .map(|key| vec![string(key)])
        .to_vec();
    let mut held: Vec<(&Context, ViewLayout, LatestRows)> = Vec::new();
    for &project in projects {
        for (view, version) in views {
            let mut layout = layout(project, view, &[ValueType::String], &[ValueType::Int64]);
            layout.version = *version;
            // What is written first is newest, so that a mix-up would lose the later ones.
            let number = held.len();
            let rows: Vec<OnlineRow> = keys[..4]
                .iter()
                .map(|key| {
                    row(
                        key.clone(),
                        1_000 - number as i64,
                        vec![int(number as i128)],
                    )
                })
                .collect();
            write(harness.handle(number), project, &layout, &rows).await?;
            held.push((project, layout, latest(&rows)));
        }
    }
    check_all(harness, &held, &keys, "after all writes").await?;
    for changed in [0, 3, 6, 11] {
        let (project, layout, expected) = &mut held[changed];
        delete(harness.handle(0), project, layout, &keys[..2]).await?;
        for key in &keys[..2] {
            expected.delete(key);
        }
    }
    check_all(harness, &held, &keys, "after deletes from some").await?;
    for changed in [1, 5, 10, 22] {
        let (project, layout, expected) = &mut held[changed];
        let version = layout.view_version();
        let answer = harness.handle(1).drop_view(project, &version).await;
        works("drop_view", answer)?;
        *expected = LatestRows::default();
    }
    check_all(harness, &held, &keys, "after some were dropped").await
}

async fn check_all(
    harness: &Harness,
    held: &[(&Context, ViewLayout, LatestRows)],
    keys: &[Vec<Value>],
    when: &str,
) -> Result<(), String> {
    for (number, (project, layout, expected)) in held.iter().enumerate() {
        check(harness.handle(number), project, layout, keys, expected)
            .await
            .map_err(|why| format!("{when}, project {}: {why}", project.project()))?;
    }
    for (number, (project, _, _)) in held.iter().enumerate() {
        let of_project = held
            .iter()
            .filter(|(other, _, rows)| other.project() == project.project() && rows.n_rows() > 0);
        let expected = of_project.map(|(_, layout, _)| layout.view_version());
        check_views(harness, number, project, expected.collect(), when).await?;
    }
    Ok(())
}

async fn check_views(
    harness: &Harness,
    handle: usize,
    cx: &Context,
    mut expected: Vec<ViewVersion>,
    when: &str,
) -> Result<(), String> {
    let mut found = works("views", harness.handle(handle).views(cx).await)?;
    found.sort();
    expected.sort();
    ensure(found == expected, || {
        format!("{when}: expected the views {expected:?}, got {found:?}")
    })
}

pub(super) async fn views_and_stats_tell_what_is_held(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let layout = layout(&cx, "counted", &[ValueType::Int64], &[ValueType::String]);
    let version = layout.view_version();
    let key = |key: i128| vec![int(key)];
    let check_stats = async |handle: usize, n_rows: u64, when: &str| {
        let stats = works("stats", harness.handle(handle).stats(&cx, &version).await)?;
        ensure(stats.n_rows.is_none_or(|found| found == n_rows), || {
            format!("{when}: {n_rows} rows are held, got {stats:?}")
        })?;
        let is_empty = stats.n_bytes.is_some_and(|n_bytes| n_bytes == 0);
        ensure(n_rows == 0 || !is_empty, || {
            format!("{when}: rows take no bytes, got {stats:?}")
        })
    };
    check_stats(0, 0, "never written").await?;
    check_views(harness, 0, &cx, Vec::new(), "never written").await?;
    let _ = prepare(harness.handle(0), &cx, &layout, &[0]).await?;
    check_views(harness, 0, &cx, Vec::new(), "only prepared").await?;
    let mut rows: Vec<OnlineRow> = (0..100)
        .map(|at| row(key(at % 40), at as i64, vec![string("a")]))
        .collect();
    rows.push(tombstone(key(3), 1_000, vec![string("")]));
    rows.push(tombstone(key(40), 1_000, vec![string("")]));
    for round in 0..2 {
        write(harness.handle(round), &cx, &layout, &rows).await?;
        let when = format!("after write {round} of 41 keys");
        check_stats(round + 1, 41, &when).await?;
        check_views(harness, round + 1, &cx, vec![version.clone()], &when).await?;
    }
    delete(harness.handle(1), &cx, &layout, &[key(0), key(3), key(99)]).await?;
    check_stats(0, 39, "after a delete of two held keys").await?;
    let answer = harness.handle(1).drop_view(&cx, &version).await;
    works("drop_view", answer)?;
    check_stats(0, 0, "after a drop").await?;
    check_views(harness, 0, &cx, Vec::new(), "after a drop").await
}

pub(super) async fn summaries_count_rows(harness: &Harness, cx: Context) -> Result<(), String> {
    let layout = layout(&cx, "summed", &[ValueType::Int64], &[ValueType::Int64]);
    let rows = |event_us: i64| -> Vec<OnlineRow> {
        (0..50)
            .map(|key| row(vec![int(key)], event_us, vec![int(event_us.into())]))
            .collect()
    };
    let steps = [
        (10, 50, "new keys"),
        (9, 0, "older rows"),
        (11, 50, "newer rows"),
    ];
    for (event_us, n_applied, what) in steps {
        let summary = write(harness.handle(0), &cx, &layout, &rows(event_us)).await?;
        ensure(summary.n_applied == n_applied, || {
            format!("of 50 rows with {what} {n_applied} change something, got {summary:?}")
        })?;
    }
    let keys = [vec![int(0)], vec![int(49)]];
    let reader = prepare(harness.handle(0), &cx, &layout, &[0]).await?;
    read(reader.as_ref(), &cx, &layout, &keys).await?;
    check(harness.handle(1), &cx, &layout, &keys, &latest(&rows(11))).await
}
