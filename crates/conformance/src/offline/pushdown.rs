//! Joins, latest rows and windows that the store computes itself, against the oracle.

use std::sync::Arc;

use arrow_array::{Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use futures::future::LocalBoxFuture;
use provender_core::error::codes;
use provender_core::model::Relation;
use provender_core::provider::OfflineStore;
use provender_core::request::{
    FeatureColumn, KeyColumn, LatestPerKey, PointInTimeJoin, SourceRef, Spine, SqlSpine,
    TimedSource, ViewJoin, WriteMode,
};
use provender_core::{Context, ErrorKind, Result as CoreResult, ValueType};

use super::cases::{Use, renamed};
use super::deletes::odd_texts;
use super::reads::write_in_parts;
use super::tables::{Rows, fresh_table, int, made, put, request, string};
use super::{Harness, ensure, fails, works};
use crate::generate::{JoinCase, LatestCase, WindowsCase, build, candidates, chunks, without_rows};
use crate::oracle::{
    Value, check_latest, check_latest_error, check_point_in_time_join,
    check_point_in_time_join_error, check_windows, check_windows_error,
};
use crate::{SpineTable, Table, Tables};

/// How many smaller cases are tried to find the smallest that still fails.
const N_SMALLER: usize = 60;

/// Writes tables under new names, and answers old and new.
async fn written(
    harness: &Harness,
    cx: &Context,
    tables: &Tables,
    seed: u64,
) -> Result<Vec<(String, String)>, String> {
    let mut names = Vec::new();
    for (old, table) in tables {
        let new = fresh_table(cx);
        write_in_parts(harness, cx, &new, table, seed).await?;
        names.push((old.clone(), new));
    }
    Ok(names)
}

async fn collected(stream: CoreResult<provender_core::BatchStream>) -> CoreResult<Table> {
    Table::collect(stream?).await
}

/// What is wrong with a store's answer to a join, if anything.
async fn judge_join(harness: &Harness, cx: &Context, case: &JoinCase) -> Result<(), String> {
    let names = written(harness, cx, &case.tables, case.seed).await?;
    let mut join = case.join.clone();
    for view in &mut join.views {
        view.source = renamed(&view.source, &names);
    }
    let spine = Spine::Rows(case.spine.to_rows());
    let answer = harness.handle(1).point_in_time_join(cx, join, spine).await;
    match collected(answer).await {
        Ok(table) => {
            check_point_in_time_join(&case.join, &case.tables, &case.spine, &table.one_batch()?)
        }
        Err(error) => check_point_in_time_join_error(&case.join, &case.tables, &case.spine, &error),
    }
}

/// A join with one part less that still fails, over and over.
async fn smallest(harness: &Harness, cx: &Context, case: JoinCase, why: String) -> String {
    let (mut smallest, mut why, mut n_left) = (case, why, N_SMALLER);
    'smaller: loop {
        for case in candidates(&smallest) {
            if n_left == 0 {
                break 'smaller;
            }
            n_left -= 1;
            if let Err(still) = judge_join(harness, cx, &case).await {
                (smallest, why) = (case, still);
                continue 'smaller;
            }
        }
        break;
    }
    format!("{why}\n{smallest}")
}

/// Judges joins of random worlds, those that `is_asked` of, until so many were.
async fn judge_joins(
    harness: &Harness,
    cx: &Context,
    prepare: fn(&mut JoinCase),
    is_asked: fn(&JoinCase) -> bool,
) -> Result<(), String> {
    let mut n_left = harness.n_cases;
    let seeds = harness.seed..harness.seed + harness.n_cases * 60;
    for seed in seeds {
        if n_left == 0 {
            return Ok(());
        }
        let mut case = JoinCase::random(seed)?;
        prepare(&mut case);
        if !is_asked(&case) {
            continue;
        }
        let tables = {
            let uses: Vec<Use<'_>> = case.join.views.iter().map(Use::of).collect();
            harness.plain_tables(cx, &case.tables, &uses).await?
        };
        let Some(tables) = tables else { continue };
        case.tables = tables;
        n_left -= 1;
        if let Err(why) = judge_join(harness, cx, &case).await {
            return Err(smallest(harness, cx, case, why).await);
        }
    }
    Err("the store holds so few types that too few random joins can be asked".to_owned())
}

pub(super) async fn joins_equal_the_oracle(harness: &Harness, cx: Context) -> Result<(), String> {
    let without_windows = |case: &mut JoinCase| {
        case.join.views.retain(|view| view.aggregations.is_empty());
    };
    judge_joins(harness, &cx, without_windows, |case| {
        !case.join.views.is_empty()
    })
    .await
}

pub(super) async fn windows_in_joins_equal_the_oracle(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let has_windows = |case: &JoinCase| {
        let mut views = case.join.views.iter();
        views.any(|view| !view.aggregations.is_empty())
    };
    judge_joins(harness, &cx, |_| (), has_windows).await
}

/// A view of readings: key `k` (string), `t`, features `v` (int64) and `note` (string).
fn readings(table: &str) -> ViewJoin {
    let feature = |column: &str, value_type| FeatureColumn {
        column: column.to_owned(),
        output: format!("out_{column}"),
        value_type,
        checked: true,
    };
    ViewJoin {
        name: "readings".to_owned(),
        source: TimedSource {
            source: SourceRef::table(table),
            timestamp: "t".to_owned(),
            created_timestamp: None,
            tie_breakers: Vec::new(),
        },
        keys: vec![KeyColumn {
            spine: "key".to_owned(),
            column: "k".to_owned(),
            value_type: ValueType::String,
        }],
        ttl_us: None,
        features: vec![
            feature("v", ValueType::Int64),
            feature("note", ValueType::String),
        ],
        aggregations: Vec::new(),
    }
}

fn reading_rows(rows: Vec<(String, i64, i128)>) -> Rows {
    let columns = [
        ("k", ValueType::String),
        ("t", ValueType::Timestamp),
        ("v", ValueType::Int64),
        ("note", ValueType::String),
    ];
    let rows = rows.into_iter().map(|(key, at, v)| {
        let note = string(&format!("{v} é"));
        vec![Value::String(key), Value::Timestamp(at), int(v), note]
    });
    Rows::new(&columns, rows.collect())
}

/// A spine of keys and times, in batches of so many rows.
fn spine_of(rows: &[(String, i64)], batch_rows: usize) -> Result<SpineTable, String> {
    let fields = vec![
        ValueType::String.to_field("key"),
        ValueType::Timestamp.to_field("as_of"),
        Field::new("row", DataType::Int64, false),
    ];
    let schema = Arc::new(Schema::new(fields));
    let mut batches = Vec::new();
    for (at, rows) in rows.chunks(batch_rows.max(1)).enumerate() {
        let first = (at * batch_rows) as i64;
        let keys: Vec<Value> = rows
            .iter()
            .map(|(key, _)| Value::String(key.clone()))
            .collect();
        let times: Vec<Value> = rows.iter().map(|(_, us)| Value::Timestamp(*us)).collect();
        let numbers: Int64Array = (first..first + rows.len() as i64).collect();
        let columns: Vec<Arc<dyn Array>> = vec![
            build(&ValueType::String.to_arrow(), &keys)?,
            build(&ValueType::Timestamp.to_arrow(), &times)?,
            Arc::new(numbers),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
        batches.push(batch.map_err(|error| error.to_string())?);
    }
    Ok(SpineTable {
        table: Table { schema, batches },
        timestamp: "as_of".to_owned(),
        row_number: "row".to_owned(),
    })
}

fn join_of(view: ViewJoin) -> PointInTimeJoin {
    PointInTimeJoin {
        views: vec![view],
        as_known: false,
    }
}

/// The values of `out_v`, row by row, of a join over readings.
async fn joined(
    store: &dyn OfflineStore,
    cx: &Context,
    table: &str,
    spine: &SpineTable,
) -> Result<Vec<Value>, String> {
    let spine = Spine::Rows(spine.to_rows());
    let answer = store
        .point_in_time_join(cx, join_of(readings(table)), spine)
        .await;
    let answer = works("a point-in-time join", collected(answer).await)?.one_batch()?;
    let schema = answer.schema();
    let names: Vec<&String> = schema.fields().iter().map(|it| it.name()).collect();
    ensure(names == ["out_v", "out_note"], || {
        format!("a join answers its features alone, in order: got {names:?}")
    })?;
    (0..answer.num_rows())
        .map(|row| Value::read(answer.column(0).as_ref(), row))
        .collect()
}

pub(super) async fn joins_take_spines_of_any_size(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let key = |at: usize| format!("key {}", at % 50);
    let rows = (0..200).map(|at| (key(at), (at / 50) as i64 * 10, at as i128));
    let table = made(harness.handle(0), &cx, &reading_rows(rows.collect())).await?;
    let n_large = harness.n_large_rows.min(20_000);
    for n_rows in [0, 1, n_large] {
        // Times go up and down, so that the order of the spine is no other order.
        let asked: Vec<(String, i64)> = (0..n_rows)
            .map(|at| (key(at * 7), (at * 13 % 45) as i64))
            .collect();
        let spine = spine_of(&asked, 1_000)?;
        let found = joined(harness.handle(1), &cx, &table, &spine).await?;
        ensure(found.len() == n_rows, || {
            format!(
                "a spine of {n_rows} rows is answered by {} rows",
                found.len()
            )
        })?;
        for (at, (value, (_, us))) in found.iter().zip(&asked).enumerate() {
            let (key, step) = (at * 7 % 50, (*us / 10).min(3) as usize);
            let expected = int((step * 50 + key) as i128);
            ensure(value.is_identical(&expected), || {
                format!("spine row {at} of {n_rows}: expected {expected:?}, got {value:?}")
            })?;
        }
    }
    Ok(())
}

pub(super) async fn joins_tell_keys_of_any_text_apart(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let texts = odd_texts();
    let rows = texts.iter().enumerate();
    let rows = rows
        .map(|(at, text)| (text.clone(), 5, at as i128))
        .collect();
    let table = made(harness.handle(0), &cx, &reading_rows(rows)).await?;
    let asked: Vec<(String, i64)> = texts.iter().rev().map(|text| (text.clone(), 9)).collect();
    let found = joined(harness.handle(1), &cx, &table, &spine_of(&asked, 10)?).await?;
    ensure(found.len() == texts.len(), || {
        format!("{} keys asked, {} rows answered", texts.len(), found.len())
    })?;
    for (at, value) in found.iter().rev().enumerate() {
        ensure(value.is_identical(&int(at as i128)), || {
            let key: String = texts[at].chars().take(40).collect();
            format!("key {key:?} should find {at}, finds {value:?}")
        })?;
    }
    Ok(())
}

pub(super) async fn joins_take_spines_of_the_store(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let rows = vec![
        ("a".to_owned(), 10, 1),
        ("a".to_owned(), 20, 2),
        ("b".to_owned(), 10, 3),
    ];
    let table = made(harness.handle(0), &cx, &reading_rows(rows)).await?;
    let columns = [
        ("key", ValueType::String),
        ("as_of", ValueType::Timestamp),
        ("label", ValueType::Int64),
    ];
    let labels = [
        ("a", 15, 0),
        ("a", 15, 1),
        ("a", 9, 2),
        ("b", 10, 3),
        ("c", 99, 4),
    ];
    let label_rows =
        labels.map(|(key, us, label)| vec![string(key), Value::Timestamp(us), int(label)]);
    let spine = made(
        harness.handle(0),
        &cx,
        &Rows::new(&columns, label_rows.to_vec()),
    )
    .await?;
    let spine = Spine::Sql(SqlSpine {
        relation: Relation::Table(spine),
        timestamp: "as_of".to_owned(),
    });
    let answer = harness
        .handle(1)
        .point_in_time_join(&cx, join_of(readings(&table)), spine)
        .await;
    let answer = works("a join of the store's own spine", collected(answer).await)?.one_batch()?;
    let schema = answer.schema();
    let names: Vec<&String> = schema.fields().iter().map(|it| it.name()).collect();
    ensure(
        names == ["key", "as_of", "label", "out_v", "out_note"],
        || format!("the spine's columns come first, then the features: got {names:?}"),
    )?;
    let mut found = Vec::new();
    for row in 0..answer.num_rows() {
        let label = Value::read(answer.column(2).as_ref(), row)?;
        let label = crate::oracle::cast(&label, &ValueType::Int64)?;
        let value = Value::read(answer.column(3).as_ref(), row)?;
        found.push(format!("{label:?} {value:?}"));
    }
    found.sort();
    ensure(found == ["0 1", "1 1", "2 null", "3 3", "4 null"], || {
        format!("label and value: expected 0 1, 1 1, 2 null, 3 3, 4 null; got {found:?}")
    })
}

pub(super) async fn values_that_do_not_fit_are_told(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let rows = vec![("a".to_owned(), 10, 1), ("a".to_owned(), 20, 1 << 40)];
    let table = made(harness.handle(0), &cx, &reading_rows(rows)).await?;
    let mut view = readings(&table);
    view.features.truncate(1);
    view.features[0].value_type = ValueType::Int32;
    let spine = spine_of(&[("a".to_owned(), 25)], 1)?;
    let spine = Spine::Rows(spine.to_rows());
    let answer = harness
        .handle(1)
        .point_in_time_join(&cx, join_of(view), spine)
        .await;
    let what = "a join whose winner's value does not fit";
    let error = fails(what, ErrorKind::InvalidArgument, collected(answer).await)?;
    ensure(error.code() == codes::CHECKED_CAST.id, || {
        format!("{what} has the code P501, got {error:?}")
    })
}

/// A case that is made smaller by taking rows out of its one table.
async fn fewest_rows<'a, C: Clone + std::fmt::Display>(
    case: C,
    why: String,
    tables: fn(&mut C) -> &mut Tables,
    judge: impl Fn(C) -> LocalBoxFuture<'a, Result<(), String>>,
) -> String {
    let (mut smallest, mut why, mut n_left) = (case, why, N_SMALLER);
    'smaller: loop {
        let mut smaller = smallest.clone();
        for (name, table) in tables(&mut smaller).clone() {
            for range in chunks(table.n_rows()) {
                if n_left == 0 {
                    break 'smaller;
                }
                n_left -= 1;
                let mut case = smallest.clone();
                tables(&mut case).insert(name.clone(), without_rows(&table, &range));
                if let Err(still) = judge(case.clone()).await {
                    (smallest, why) = (case, still);
                    continue 'smaller;
                }
            }
        }
        break;
    }
    format!("{why}\n{smallest}")
}

pub(super) async fn latest_rows_equal_the_oracle(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let judge = async |case: LatestCase| {
        let names = written(harness, &cx, &case.tables, case.seed).await?;
        let request = LatestPerKey {
            source: renamed(&case.latest.source, &names),
            ..case.latest.clone()
        };
        match collected(harness.handle(1).latest(&cx, request).await).await {
            Ok(table) => check_latest(&case.latest, &case.tables, &table.one_batch()?),
            Err(error) => check_latest_error(&case.latest, &case.tables, &error),
        }
    };
    let mut n_left = harness.n_cases;
    for seed in harness.seed..harness.seed + harness.n_cases * 60 {
        if n_left == 0 {
            return Ok(());
        }
        let mut case = LatestCase::random(seed)?;
        let uses = [Use {
            source: &case.latest.source,
            keys: &case.latest.keys,
            features: &case.latest.features,
            aggregations: &[],
            answers_ties: true,
        }];
        let Some(tables) = harness.plain_tables(&cx, &case.tables, &uses).await? else {
            continue;
        };
        case.tables = tables;
        n_left -= 1;
        if let Err(why) = judge(case.clone()).await {
            let judge = |case| -> LocalBoxFuture<'_, _> { Box::pin(judge(case)) };
            return Err(fewest_rows(case, why, |case| &mut case.tables, judge).await);
        }
    }
    Err("the store holds so few types that too few latest rows can be asked".to_owned())
}

pub(super) async fn windows_equal_the_oracle(harness: &Harness, cx: Context) -> Result<(), String> {
    let judge = async |case: WindowsCase| {
        let names = written(harness, &cx, &case.tables, case.seed).await?;
        let mut request = case.windows.clone();
        request.source = renamed(&case.windows.source, &names);
        match collected(harness.handle(1).windows(&cx, request).await).await {
            Ok(table) => check_windows(&case.windows, &case.tables, &table.one_batch()?),
            Err(error) => check_windows_error(&case.windows, &case.tables, &error),
        }
    };
    let mut n_left = harness.n_cases;
    for seed in harness.seed..harness.seed + harness.n_cases * 60 {
        if n_left == 0 {
            return Ok(());
        }
        let mut case = WindowsCase::random(seed)?;
        let uses = [Use {
            source: &case.windows.source,
            keys: &case.windows.keys,
            features: &[],
            aggregations: &case.windows.aggregations,
            answers_ties: false,
        }];
        let Some(tables) = harness.plain_tables(&cx, &case.tables, &uses).await? else {
            continue;
        };
        case.tables = tables;
        n_left -= 1;
        if let Err(why) = judge(case.clone()).await {
            let judge = |case| -> LocalBoxFuture<'_, _> { Box::pin(judge(case)) };
            return Err(fewest_rows(case, why, |case| &mut case.tables, judge).await);
        }
    }
    Err("the store holds so few types that too few windows can be asked".to_owned())
}

/// A join that asks nothing of any table, for calls that must fail before they look.
pub(super) fn any_join(table: &str) -> Result<(PointInTimeJoin, Spine), String> {
    let spine = spine_of(&[("a".to_owned(), 25)], 1)?;
    Ok((join_of(readings(table)), Spine::Rows(spine.to_rows())))
}

/// A table that [`any_join`] can be asked of.
pub(super) async fn any_table(harness: &Harness, cx: &Context) -> Result<String, String> {
    let name = fresh_table(cx);
    let rows = reading_rows(vec![("a".to_owned(), 10, 1)]);
    let write = request(&name, WriteMode::Append);
    put(harness.handle(0), cx, write, &rows.table()?).await?;
    Ok(name)
}
