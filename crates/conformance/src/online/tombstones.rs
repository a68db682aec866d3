//! What makes rows go away: tombstones, deletes, drops and age.

use provender_core::time::now_us;
use provender_core::{Context, ValueType};

use super::judge::{
    check, check_reader, delete, int, judge, latest, layout, prepare, read, row, string, tombstone,
    write,
};
use super::{Harness, works};
use crate::oracle::{LatestRows, OnlineRow, Value};

const MINUTE_US: i64 = 60_000_000;

pub(super) async fn tombstones_obey_the_order(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let layout = layout(&cx, "tombstones", &[ValueType::String], &[ValueType::Int64]);
    let key = |name: &str| vec![string(name)];
    let live = |name: &str, at: i64| row(key(name), at, vec![int(at.into())]);
    let gone = |name: &str, at: i64| tombstone(key(name), at, vec![int(-1)]);
    let created = |row: OnlineRow, created_us: i64| OnlineRow {
        created_us: Some(created_us),
        ..row
    };
    let writes = [
        vec![
            live("hidden", 10),
            gone("hidden", 11),
            gone("too old to hide", 9),
            live("too old to hide", 10),
            gone("too old to come back", 11),
            live("too old to come back", 10),
            gone("never there", 5),
            live("a tie", 10),
            gone("a tie", 10),
            live("another key", 10),
            gone("back in one batch", 10),
            live("back in one batch", 10),
            created(live("hidden by a correction", 10), 1),
            created(gone("hidden by a correction", 10), 2),
            created(gone("corrected", 10), 1),
            created(live("corrected", 10), 2),
        ],
        vec![
            live("hidden", 10),
            live("never there", 4),
            gone("too old to hide", 9),
            live("back later", 3),
        ],
        vec![gone("back later", 4), gone("another", 99)],
        vec![live("back later", 5), live("never there", 6)],
        vec![gone("back later", 6), live("hidden", 12)],
    ];
    let names = [
        "hidden",
        "too old to hide",
        "too old to come back",
        "never there",
        "a tie",
        "another key",
        "another",
        "back in one batch",
        "hidden by a correction",
        "corrected",
        "back later",
    ];
    let keys = names.map(key);
    let reader = prepare(harness.handle(0), &cx, &layout, &[0]).await?;
    let mut expected = LatestRows::default();
    for (at, rows) in writes.iter().enumerate() {
        write(harness.handle(at), &cx, &layout, rows).await?;
        for row in rows {
            expected.write(row.clone());
        }
        check_reader(reader.as_ref(), &cx, &layout, &[0], &keys, &expected)
            .await
            .map_err(|why| format!("after write {at}: {why}"))?;
    }
    Ok(())
}

pub(super) async fn deletes_erase_whatever_the_time(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let types = [ValueType::String, ValueType::Int64];
    let layout = layout(&cx, "deletes", &types, &[ValueType::Int64]);
    let key = |name: &str, number: i128| vec![string(name), int(number)];
    let names = ["a", "b", "ab", "", "c"];
    let keys: Vec<Vec<Value>> = names
        .iter()
        .flat_map(|name| (0..3).map(move |number| key(name, number)))
        .collect();
    let mut rows: Vec<OnlineRow> = keys
        .iter()
        .map(|key| row(key.clone(), i64::MAX, vec![int(1)]))
        .collect();
    rows.push(tombstone(key("gone", 0), i64::MAX, vec![int(1)]));
    let mut expected = latest(&rows);
    write(harness.handle(0), &cx, &layout, &rows).await?;
    let deletes = [
        vec![],
        vec![key("a", 0)],
        // Not held, held, twice, and with nulls.
        vec![
            key("z", 0),
            key("b", 1),
            key("b", 1),
            vec![Value::Null, int(2)],
            vec![string("c"), Value::Null],
            vec![Value::Null, Value::Null],
            key("gone", 0),
        ],
        vec![key("a", 0), key("", 2)],
    ];
    for (at, deleted) in deletes.iter().enumerate() {
        delete(harness.handle(at), &cx, &layout, deleted).await?;
        for key in deleted {
            expected.delete(key);
        }
        check(harness.handle(at + 1), &cx, &layout, &keys, &expected)
            .await
            .map_err(|why| format!("after delete {at}: {why}"))?;
    }
    // Nothing is left that an old row could lose against.
    let old = [
        row(key("a", 0), i64::MIN, vec![int(2)]),
        row(key("gone", 0), -5, vec![int(3)]),
        row(key("c", 0), -5, vec![int(4)]),
    ];
    write(harness.handle(1), &cx, &layout, &old).await?;
    for row in old {
        expected.write(row);
    }
    let keys = [&keys[..], &[key("gone", 0)]].concat();
    check(harness.handle(0), &cx, &layout, &keys, &expected)
        .await
        .map_err(|why| format!("after older rows were written again: {why}"))
}

pub(super) async fn dropped_views_are_gone(harness: &Harness, cx: Context) -> Result<(), String> {
    let dropped = layout(&cx, "dropped", &[ValueType::Int64], &[ValueType::String]);
    let mut kept = dropped.clone();
    kept.version = 2;
    let keys: Vec<Vec<Value>> = (0..200).map(|key| vec![int(key)]).collect();
    let rows = |event_us: i64, text: &str| -> Vec<OnlineRow> {
        keys.iter()
            .map(|key| row(key.clone(), event_us, vec![string(text)]))
            .collect()
    };
    let version = dropped.view_version();
    let answer = harness.handle(0).drop_view(&cx, &version).await;
    works("drop_view of a version that is not held", answer)?;
    write(harness.handle(0), &cx, &dropped, &rows(10, "first")).await?;
    write(harness.handle(1), &cx, &kept, &rows(10, "kept")).await?;
    let readers = [
        prepare(harness.handle(0), &cx, &dropped, &[0]).await?,
        prepare(harness.handle(1), &cx, &dropped, &[0]).await?,
    ];
    let expected = latest(&rows(10, "first"));
    for reader in &readers {
        check_reader(reader.as_ref(), &cx, &dropped, &[0], &keys, &expected).await?;
    }
    for round in 0..2 {
        let answer = harness.handle(round).drop_view(&cx, &version).await;
        works("drop_view", answer)?;
        let nothing = LatestRows::default();
        for (number, reader) in readers.iter().enumerate() {
            check_reader(reader.as_ref(), &cx, &dropped, &[0], &keys, &nothing)
                .await
                .map_err(|why| format!("drop {round}, reader {number} of before: {why}"))?;
        }
        check(harness.handle(1), &cx, &dropped, &keys, &nothing)
            .await
            .map_err(|why| format!("drop {round}, a new reader: {why}"))?;
        let stats = works("stats", harness.handle(0).stats(&cx, &version).await)?;
        super::ensure(stats.n_rows.unwrap_or_default() == 0, || {
            format!("drop {round}: a dropped version holds no rows, got {stats:?}")
        })?;
        // Older than what was dropped: no trace of that is left.
        let rows = rows(5, "again");
        write(harness.handle(round + 1), &cx, &dropped, &rows[..50]).await?;
        let expected = latest(&rows[..50]);
        for (number, reader) in readers.iter().enumerate() {
            check_reader(reader.as_ref(), &cx, &dropped, &[0], &keys, &expected)
                .await
                .map_err(|why| format!("rewrite {round}, reader {number} of before: {why}"))?;
        }
    }
    check(
        harness.handle(0),
        &cx,
        &kept,
        &keys,
        &latest(&rows(10, "kept")),
    )
    .await
    .map_err(|why| format!("the version that was not dropped: {why}"))
}

pub(super) async fn fresh_rows_stay_until_their_ttl(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let mut layout = layout(&cx, "ages", &[ValueType::String], &[ValueType::Int64]);
    layout.ttl_us = Some(60 * MINUTE_US);
    let now_us = now_us();
    let key = |name: &str| vec![string(name)];
    let at = |minutes: i64| now_us + minutes * MINUTE_US;
    let live = |name: &str, minutes: i64| row(key(name), at(minutes), vec![int(minutes.into())]);
    let rows = [
        live("fresh", -1),
        live("of the future", 30),
        live("fresh after expired", -200),
        live("fresh after expired", -2),
        live("hidden", -3),
        tombstone(key("hidden"), at(-1), vec![int(0)]),
        live("hidden", -2),
        live("expired after fresh", -2),
        live("expired after fresh", -200),
    ];
    for (number, row) in rows.iter().enumerate() {
        let rows = std::slice::from_ref(row);
        write(harness.handle(number), &cx, &layout, rows).await?;
    }
    let expired = [live("expired", -300), live("expired", -200)];
    write(harness.handle(0), &cx, &layout, &expired).await?;
    let names = [
        "fresh",
        "of the future",
        "fresh after expired",
        "hidden",
        "expired after fresh",
        "expired",
    ];
    let keys = names.map(key);
    let reader = prepare(harness.handle(1), &cx, &layout, &[0]).await?;
    let found = read(reader.as_ref(), &cx, &layout, &keys).await?;
    let expected = latest(&rows);
    judge(&found, &layout, &[0], &keys, |asked| {
        if asked[0].is_identical(&string("expired")) {
            // Dropped or not, but never another row than one that was written.
            return vec![None, Some(&expired[0]), Some(&expired[1])];
        }
        vec![expected.get(asked)]
    })
}
