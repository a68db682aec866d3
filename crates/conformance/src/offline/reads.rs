//! Scans: which rows and columns they answer, in which streams.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use provender_core::error::codes;
use provender_core::provider::OfflineStore;
use provender_core::request::{ColumnRange, Scan, SourceRef, WriteMode};
use provender_core::{Context, ErrorKind, ValueType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::tables::{
    Rows, all_of, as_declared, fresh_table, int, made, plain, put, request, same_rows, scanned,
    string,
};
use super::{Harness, ensure, fails, works};
use crate::generate::{JoinCase, without_rows};
use crate::oracle::Value;
use crate::rules::guarded;
use crate::{Table, Tables};

/// Random tables of columns that the store holds, one or more for each seed, written in one call or two.
async fn random_tables(
    harness: &Harness,
    cx: &Context,
    seed: u64,
) -> Result<Vec<(String, Table)>, String> {
    let case = JoinCase::random(seed)?;
    let tables: Tables = case.tables;
    let Some(tables) = harness.plain_tables(cx, &tables, &[]).await? else {
        return Ok(Vec::new());
    };
    let mut written = Vec::new();
    for table in tables.into_values() {
        if table.schema.fields().is_empty() {
            continue;
        }
        let name = fresh_table(cx);
        write_in_parts(harness, cx, &name, &table, seed).await?;
        written.push((name, table));
    }
    Ok(written)
}

/// Writes a table in one call or, for every other seed, in two, so that its rows lie in several places.
pub(super) async fn write_in_parts(
    harness: &Harness,
    cx: &Context,
    name: &str,
    table: &Table,
    seed: u64,
) -> Result<(), String> {
    let n_rows = table.n_rows();
    let parts = match seed % 2 {
        0 => vec![table.clone()],
        _ => vec![
            without_rows(table, &(n_rows / 2..n_rows)),
            without_rows(table, &(0..n_rows / 2)),
        ],
    };
    for (at, part) in parts.iter().enumerate() {
        let write = request(name, WriteMode::Append);
        put(harness.handle(at), cx, write, part).await?;
    }
    Ok(())
}

pub(super) async fn scans_answer_what_was_written(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    for seed in harness.seeds(harness.n_cases) {
        for (name, table) in random_tables(harness, &cx, seed).await? {
            let told = |why: String| format!("seed {seed}, table {name}: {why}");
            let store = harness.handle(1);
            let schema = works("schema", store.schema(&cx, &SourceRef::table(&name)).await)?;
            let found = scanned(store, &cx, all_of(&name)).await.map_err(told)?;
            ensure(found.schema == schema, || {
                told(format!("schema answers {schema}, a scan {}", found.schema))
            })?;
            same_rows(&found, &Rows::of(&table)?).map_err(told)?;
        }
    }
    Ok(())
}

pub(super) async fn scans_follow_the_asked_columns(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    for seed in harness.seeds(harness.n_cases) {
        let mut rng = StdRng::seed_from_u64(seed);
        for (name, table) in random_tables(harness, &cx, seed).await? {
            let rows = Rows::of(&table)?;
            let n_columns = rows.columns.len();
            let n_asked = rng.random_range(0..=n_columns);
            let asked = rand::seq::index::sample(&mut rng, n_columns, n_asked).into_vec();
            for asked in [asked, Vec::new()] {
                let expected = Rows {
                    columns: asked.iter().map(|&at| rows.columns[at].clone()).collect(),
                    rows: rows
                        .rows
                        .iter()
                        .map(|row| asked.iter().map(|&at| row[at].clone()).collect())
                        .collect(),
                };
                let names: Vec<String> = expected.columns.iter().map(|it| it.0.clone()).collect();
                let told = |why: String| format!("seed {seed}, columns {names:?}: {why}");
                let scan = Scan {
                    columns: Some(names.clone()),
                    ..all_of(&name)
                };
                let found = scanned(harness.handle(0), &cx, scan).await.map_err(told)?;
                same_rows(&found, &expected).map_err(told)?;
            }
        }
    }
    Ok(())
}

pub(super) async fn ranges_leave_out_only_rows_outside(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    for seed in harness.seeds(harness.n_cases) {
        let mut rng = StdRng::seed_from_u64(seed);
        for (name, table) in random_tables(harness, &cx, seed).await? {
            let rows = Rows::of(&table)?;
            let times: Vec<usize> = (0..rows.columns.len())
                .filter(|&at| matches!(rows.columns[at].1, ValueType::Timestamp | ValueType::Date))
                .collect();
            let mut ranges = Vec::new();
            for &at in &times {
                let mut bound = || -> Result<Option<i64>, String> {
                    if rows.rows.is_empty() || rng.random_bool(0.3) {
                        return Ok(None);
                    }
                    let held = rows.rows[rng.random_range(0..rows.rows.len())][at].instant_us();
                    // A day beyond the range of microseconds bounds nothing.
                    Ok(held.unwrap_or(None).map(|us| us + rng.random_range(-1..=1)))
                };
                let (min_us, max_us) = (bound()?, bound()?);
                ranges.push((at, min_us, max_us));
            }
            check_ranges(harness, &cx, &name, &rows, &ranges)
                .await
                .map_err(|why| format!("seed {seed}, table {name}, ranges {ranges:?}: {why}"))?;
        }
    }
    Ok(())
}

/// What is answered with ranges (column, least, greatest) over rows that were written.
async fn check_ranges(
    harness: &Harness,
    cx: &Context,
    table: &str,
    rows: &Rows,
    ranges: &[(usize, Option<i64>, Option<i64>)],
) -> Result<(), String> {
    let scan = Scan {
        ranges: ranges
            .iter()
            .map(|&(at, min_us, max_us)| ColumnRange {
                column: rows.columns[at].0.clone(),
                min_us,
                max_us,
            })
            .collect(),
        ..all_of(table)
    };
    let found = scanned(harness.handle(1), cx, scan).await?;
    let is_inside = |row: &Vec<Value>| {
        ranges.iter().all(|&(at, min_us, max_us)| {
            let instant_us = row[at].instant_us().unwrap_or(None);
            instant_us.is_some_and(|us| {
                min_us.is_none_or(|min_us| min_us <= us) && max_us.is_none_or(|max_us| us <= max_us)
            })
        })
    };
    // Of the rows answered, those inside must be all that were written inside; the rest must be
    // rows that were written outside.
    let cells = as_declared(&found, rows)?;
    let (inside, outside): (Vec<_>, Vec<_>) = cells.into_iter().partition(is_inside);
    let expected = Rows {
        columns: rows.columns.clone(),
        rows: rows
            .rows
            .iter()
            .filter(|row| is_inside(row))
            .cloned()
            .collect(),
    };
    let of = |rows: Vec<Vec<Value>>| Rows {
        columns: expected.columns.clone(),
        rows,
    };
    same_rows(&of(inside).table()?, &expected).map_err(|why| format!("inside: {why}"))?;
    let mut left: Vec<&Vec<Value>> = rows.rows.iter().filter(|row| !is_inside(row)).collect();
    for row in &outside {
        let same = |other: &&Vec<Value>| {
            row.iter()
                .zip(*other)
                .all(|(a, b)| super::tables::is_same_value(a, b))
        };
        match left.iter().position(same) {
            Some(at) => left.swap_remove(at),
            None => {
                return Err(format!(
                    "a row was answered that was never written: {row:?}"
                ));
            }
        };
    }
    Ok(())
}

pub(super) async fn scans_repeat(harness: &Harness, cx: Context) -> Result<(), String> {
    for seed in harness.seeds(harness.n_cases) {
        for (name, _) in random_tables(harness, &cx, seed).await? {
            let first = scanned(harness.handle(0), &cx, all_of(&name)).await?;
            let second = scanned(harness.handle(0), &cx, all_of(&name)).await?;
            // Streams may be cut into batches anywhere.
            let (first, second) = (first.one_batch()?, second.one_batch()?);
            let is_same = first.num_rows() == second.num_rows()
                && (0..first.num_rows()).all(|row| {
                    let mut columns = first.columns().iter().zip(second.columns());
                    columns.all(|(a, b)| {
                        match (Value::read(a.as_ref(), row), Value::read(b.as_ref(), row)) {
                            (Ok(a), Ok(b)) => a.is_identical(&b),
                            _ => false,
                        }
                    })
                });
            ensure(is_same, || {
                format!("seed {seed}: two scans of table {name} answer rows in different orders")
            })?;
        }
    }
    Ok(())
}

pub(super) async fn large_tables_are_read_whole(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let columns = [("n", ValueType::Int64), ("text", ValueType::String)];
    let name = fresh_table(&cx);
    let n_rows = harness.n_large_rows;
    let batch_rows = 50_000.min(n_rows.max(1));
    let mut batches = Vec::new();
    for start in (0..n_rows).step_by(batch_rows) {
        let rows = (start..n_rows.min(start + batch_rows))
            .map(|at| vec![int(at as i128), string(&format!("row {at} é"))]);
        batches.push(Rows::new(&columns, rows.collect()).batch()?);
    }
    let great = "é💡a".repeat(harness.n_large_bytes / 7);
    let last = Rows::new(&columns, vec![vec![int(-1), Value::String(great.clone())]]);
    batches.push(last.batch()?);
    let table = Table {
        schema: last.schema(),
        batches,
    };
    put(
        harness.handle(0),
        &cx,
        request(&name, WriteMode::Append),
        &table,
    )
    .await?;
    let found = scanned(harness.handle(1), &cx, all_of(&name)).await?;
    let mut seen = vec![false; n_rows];
    let mut has_great = false;
    for row in as_declared(&found, &last)? {
        match &row[..] {
            [Value::Int(-1), Value::String(text)] => {
                ensure(*text == great && !has_great, || {
                    format!(
                        "the great value of {} bytes comes back with {}",
                        great.len(),
                        text.len()
                    )
                })?;
                has_great = true;
            }
            [Value::Int(at), Value::String(text)]
                if *text == format!("row {at} é")
                    && seen.get(*at as usize).is_some_and(|seen| !seen) =>
            {
                seen[*at as usize] = true;
            }
            other => return Err(format!("a row that was not written, or twice: {other:?}")),
        }
    }
    ensure(has_great, || {
        "the row with the great value is missing".to_owned()
    })?;
    match seen.iter().position(|seen| !seen) {
        None => Ok(()),
        Some(at) => Err(format!("row {at} of {n_rows} is missing")),
    }
}

pub(super) async fn concurrent_scans_do_not_mix(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let mut tables = Vec::new();
    for at in 0..4 {
        let rows = plain(&["a", "b", "c"], at * 100);
        tables.push((made(harness.handle(0), &cx, &rows).await?, rows));
    }
    let scans = (0..16).map(|at| {
        let (name, rows) = &tables[at % tables.len()];
        let cx = &cx;
        async move {
            let found = scanned(harness.handle(at), cx, all_of(name)).await?;
            same_rows(&found, rows)
        }
    });
    for answer in join_all(scans).await {
        answer.map_err(|why| format!("of 16 scans at once: {why}"))?;
    }
    Ok(())
}

pub(super) async fn streams_can_be_dropped(harness: &Harness, cx: Context) -> Result<(), String> {
    let columns = [("n", ValueType::Int64)];
    let n_rows = harness.n_large_rows.min(20_000);
    let rows = Rows::new(
        &columns,
        (0..n_rows as i128).map(|n| vec![int(n)]).collect(),
    );
    let store = harness.handle(0);
    let name = made(store, &cx, &rows).await?;
    for is_cancelled in [false, true] {
        for n_read in [0, 1] {
            let call = Context::new(cx.project());
            let mut streams = works("a scan", store.scan(&call, all_of(&name)).await)?;
            for stream in streams.iter_mut().take(1) {
                for _ in 0..n_read {
                    if let Some(batch) = stream.batches.next().await {
                        works("a batch", batch)?;
                    }
                }
            }
            if is_cancelled {
                call.cancel();
                // What is left may still come, or end in an error, but it must end.
                for stream in streams {
                    let rest = async { Ok(stream.collect().await) };
                    let ended = guarded(Duration::from_secs(30), rest).await;
                    let ended =
                        ended.map_err(|why| format!("a stream whose call was cancelled {why}"))?;
                    if let Err(error) = ended {
                        ensure(error.kind() == ErrorKind::Cancelled, || {
                            format!("a stream whose call was cancelled ends in {error:?}")
                        })?;
                    }
                }
            }
        }
    }
    let found = scanned(store, &cx, all_of(&name)).await?;
    same_rows(&found, &rows).map_err(|why| format!("after dropped streams: {why}"))
}

pub(super) async fn missing_tables_and_columns_are_told(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let store = harness.handle(0);
    let missing = fresh_table(&cx);
    let source = SourceRef::table(&missing);
    let answers = [
        ("schema", store.schema(&cx, &source).await.map(|_| ())),
        (
            "a scan",
            store.scan(&cx, all_of(&missing)).await.map(|_| ()),
        ),
    ];
    for (what, answer) in answers {
        let what = format!("{what} of a table that is not there");
        let error = fails(&what, ErrorKind::NotFound, answer)?;
        ensure(error.code() == codes::MISSING_TABLE.id, || {
            format!("{what} has the code P120, got {error:?}")
        })?;
        ensure(error.to_string().contains(&missing), || {
            format!("{what} names the table, got {error:?}")
        })?;
    }
    if !harness.capabilities().write {
        return Ok(());
    }
    let name = made(store, &cx, &plain(&["a"], 1)).await?;
    for ask in [vec!["no_such_column"], vec!["k", "no_such_column"]] {
        let scan = Scan {
            columns: Some(ask.into_iter().map(str::to_owned).collect()),
            ..all_of(&name)
        };
        let answer = first_error(store, &cx, scan).await;
        let what = "a scan of a column that is not there";
        let error = fails(what, ErrorKind::InvalidArgument, answer)?;
        ensure(error.code() == codes::MISSING_COLUMN.id, || {
            format!("{what} has the code P121, got {error:?}")
        })?;
        ensure(error.to_string().contains("no_such_column"), || {
            format!("{what} names the column, got {error:?}")
        })?;
    }
    Ok(())
}

/// Reads a scan whole, so that an error is seen wherever it comes.
pub(super) async fn first_error(
    store: &dyn OfflineStore,
    cx: &Context,
    scan: Scan,
) -> provender_core::Result<()> {
    for stream in store.scan(cx, scan).await? {
        stream.collect().await?;
    }
    Ok(())
}
