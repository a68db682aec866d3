//! Calls at once, through several handles.

use std::sync::Arc;

use arrow_array::Array;
use futures::future::{LocalBoxFuture, join_all};
use provender_core::{Context, ValueType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::judge::{
    check, check_reader, delete, int, judge, latest, layout, prepare, read, row, string, tombstone,
    winners, write,
};
use super::{Harness, ensure, works};
use crate::oracle::{LatestRows, OnlineRow, Value};

pub(super) async fn concurrent_writers_end_with_the_newest(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let mut layout = layout(&cx, "writers", &[ValueType::Int64], &[ValueType::String]);
    layout.tie_breakers = vec![ValueType::Int64];
    let keys: Vec<Vec<Value>> = (0..40).map(|key| vec![int(key)]).collect();
    for seed in harness.seeds(3) {
        let version = u32::try_from(seed - harness.seed).unwrap_or_default() + 1;
        layout.version = version;
        let mut rng = StdRng::seed_from_u64(seed);
        let writers: Vec<Vec<Vec<OnlineRow>>> = (0..8)
            .map(|writer| {
                (0..6)
                    .map(|batch| {
                        (0..30)
                            .map(|at| {
                                let key = keys[rng.random_range(0..keys.len())].clone();
                                let text = format!("writer {writer}, batch {batch}, row {at}");
                                OnlineRow {
                                    created_us: rng
                                        .random_bool(0.7)
                                        .then(|| rng.random_range(0..3)),
                                    ties: vec![int(rng.random_range(0..3))],
                                    is_tombstone: rng.random_bool(0.1),
                                    ..row(key, rng.random_range(0..4), vec![string(&text)])
                                }
                            })
                            .collect()
                    })
                    .collect()
            })
            .collect();
        let layout = &layout;
        let cx = &cx;
        let work = writers
            .iter()
            .enumerate()
            .map(|(writer, batches)| async move {
                for rows in batches {
                    write(harness.handle(writer), cx, layout, rows).await?;
                }
                Ok::<(), String>(())
            });
        for result in join_all(work).await {
            result.map_err(|why| format!("seed {seed}: {why}"))?;
        }
        let rows: Vec<OnlineRow> = writers.into_iter().flatten().flatten().collect();
        for handle in 0..3 {
            let reader = prepare(harness.handle(handle), cx, layout, &[0]).await?;
            let found = read(reader.as_ref(), cx, layout, &keys).await?;
            judge(&found, layout, &[0], &keys, |key| winners(&rows, key))
                .map_err(|why| format!("seed {seed}, handle {handle}: {why}"))?;
        }
    }
    Ok(())
}

pub(super) async fn rows_stay_whole_under_concurrent_writes(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    const N_FEATURES: usize = 12;
    let layout = &layout(
        &cx,
        "whole",
        &[ValueType::Int64],
        &vec![ValueType::Int64; N_FEATURES],
    );
    let cx = &cx;
    let keys: Vec<Vec<Value>> = (0..20).map(|key| vec![int(key)]).collect();
    let keys = &keys;
    let features: Vec<usize> = (0..N_FEATURES).collect();
    let features = &features;
    let mut calls: Vec<LocalBoxFuture<'_, Result<(), String>>> = Vec::new();
    for writer in 0..3 {
        calls.push(Box::pin(async move {
            for round in 0..15_i64 {
                let mark = round * 3 + writer;
                let rows: Vec<OnlineRow> = keys
                    .iter()
                    .map(|key| row(key.clone(), mark, vec![int(mark.into()); N_FEATURES]))
                    .collect();
                write(harness.handle(writer as usize), cx, layout, &rows).await?;
            }
            Ok(())
        }));
    }
    for reader in 0..3 {
        calls.push(Box::pin(async move {
            let prepared = prepare(harness.handle(reader), cx, layout, features).await?;
            for _ in 0..40 {
                let rows = read(prepared.as_ref(), cx, layout, keys).await?;
                for (at, key) in keys.iter().enumerate() {
                    let marks = rows
                        .features
                        .iter()
                        .map(|column| Value::read(column.as_ref(), at))
                        .collect::<Result<Vec<_>, _>>()?;
                    let time = rows
                        .event_times
                        .is_valid(at)
                        .then(|| rows.event_times.value(at));
                    let mark = time.map_or(Value::Null, |time| int(time.into()));
                    let is_whole = marks.iter().all(|other| other.is_identical(&mark));
                    ensure(is_whole, || {
                        format!(
                            "key {key:?}: expected one row's {mark:?} everywhere, got {marks:?}"
                        )
                    })?;
                }
            }
            Ok(())
        }));
    }
    for result in join_all(calls).await {
        result?;
    }
    Ok(())
}

pub(super) async fn handles_see_each_other(harness: &Harness, cx: Context) -> Result<(), String> {
    let layout = layout(&cx, "seen", &[ValueType::Int64], &[ValueType::String]);
    let keys: Vec<Vec<Value>> = (0..9).map(|key| vec![int(key)]).collect();
    let handles = 0..harness.handles.len();
    let mut readers = Vec::new();
    for handle in handles.clone() {
        readers.push(Arc::clone(
            &prepare(harness.handle(handle), &cx, &layout, &[0]).await?,
        ));
    }
    let mut rows: Vec<OnlineRow> = Vec::new();
    for handle in handles.clone() {
        let text = format!("written by handle {handle}");
        let written = [
            row(vec![int(handle as i128)], 1, vec![string(&text)]),
            row(vec![int(8)], handle as i64, vec![string(&text)]),
        ];
        write(harness.handle(handle), &cx, &layout, &written).await?;
        rows.extend(written);
        let expected = latest(&rows);
        for (number, reader) in readers.iter().enumerate() {
            check_reader(reader.as_ref(), &cx, &layout, &[0], &keys, &expected)
                .await
                .map_err(|why| format!("handle {handle} wrote, handle {number} reads: {why}"))?;
        }
    }
    let last = harness.handles.len();
    let mut expected = latest(&rows);
    delete(harness.handle(last - 1), &cx, &layout, &[vec![int(0)]]).await?;
    expected.delete(&[int(0)]);
    let gone = tombstone(vec![int(8)], 99, vec![string("")]);
    write(
        harness.handle(last),
        &cx,
        &layout,
        std::slice::from_ref(&gone),
    )
    .await?;
    expected.write(gone);
    for handle in handles.clone() {
        check(harness.handle(handle), &cx, &layout, &keys, &expected)
            .await
            .map_err(|why| format!("after a delete, handle {handle}: {why}"))?;
        let held = works("views", harness.handle(handle).views(&cx).await)?;
        ensure(held == [layout.view_version()], || {
            format!("handle {handle} should know the view, got {held:?}")
        })?;
    }
    let version = layout.view_version();
    let answer = harness.handle(last - 1).drop_view(&cx, &version).await;
    works("drop_view", answer)?;
    for (number, reader) in readers.iter().enumerate() {
        let nothing = LatestRows::default();
        check_reader(reader.as_ref(), &cx, &layout, &[0], &keys, &nothing)
            .await
            .map_err(|why| format!("after a drop, handle {number}: {why}"))?;
    }
    Ok(())
}
