//! Random requests against the naive oracle: in the warehouse, directly, and by the engine over scans
//! of the warehouse. `PROVENDER_CASES` sets how many, `PROVENDER_SEED` runs one seed alone.
//!
//! The right answers are those over the rows as they were written. Cases whose types are not held,
//! or whose request would be another one over the types that are, are passed over.

use std::future::Future;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field};
use futures::StreamExt;
use provender_conformance::generate::{JoinCase, LatestCase, WindowsCase};
use provender_conformance::oracle::{
    check_latest, check_latest_error, check_point_in_time_join, check_point_in_time_join_error,
    check_windows, check_windows_error,
};
use provender_conformance::{Table, Tables};
use provender_core::model::Relation;
use provender_core::provider::OfflineStore;
use provender_core::request::{
    FeatureColumn, KeyColumn, Spine, TimedSource, WindowAggregate, WriteMode,
};
use provender_core::time::instant_type;
use provender_core::{BatchStream, CastRule, ValueType};
use serde_json::json;

use crate::support::*;

fn n_cases(by_default: u64) -> u64 {
    std::env::var("PROVENDER_CASES").map_or(by_default, |text| text.parse().unwrap())
}

/// Runs seeds until so many cases have been checked; a case that is passed over answers `false`.
async fn run<F>(n_at_once: usize, n_wanted: u64, check: impl Fn(u64) -> F)
where
    F: Future<Output = Result<bool, String>>,
{
    let only: Option<u64> = std::env::var("PROVENDER_SEED")
        .ok()
        .map(|text| text.parse().unwrap());
    let seeds = only.map_or(0..n_wanted * 60, |seed| seed..seed + 1);
    let mut checks = futures::stream::iter(seeds)
        .map(|seed| {
            let checked = check(seed);
            async move { checked.await.map_err(|why| format!("seed {seed}: {why}")) }
        })
        .buffer_unordered(n_at_once);
    let (mut n_run, mut failures) = (0, Vec::new());
    while let Some(checked) = checks.next().await {
        match checked {
            Ok(was_run) => n_run += u64::from(was_run),
            Err(why) => failures.push(why),
        }
        if n_run >= n_wanted || failures.len() >= 3 {
            break;
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
    assert!(only.is_some() || n_run >= n_wanted, "only {n_run} cases");
}

/// Where requests are answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Warehouse,
    Direct,
}

/// Where a rule is checked: in the stand-in, or in the workspace that the environment names.
#[derive(Clone)]
pub enum At {
    StandIn,
    Real(Workspace),
}

impl At {
    fn n_at_once(&self) -> usize {
        match self {
            Self::StandIn => 4,
            Self::Real(_) => 1,
        }
    }

    async fn workspace(&self, seed: u64) -> Option<Workspace> {
        let chunk_rows = if seed.is_multiple_of(3) { 1000 } else { 7 };
        match self {
            Self::StandIn => Workspace::stand_in(json!({"chunk_rows": chunk_rows})).await,
            Self::Real(workspace) => Some(workspace.clone()),
        }
    }
}

/// A store that holds the case's tables as `t0`, `t1`, ...
async fn store_of(
    at: &At,
    mode: Mode,
    seed: u64,
    tables: &Tables,
) -> Option<Arc<dyn OfflineStore>> {
    let workspace = at.workspace(seed).await?;
    let store = workspace.with(json!({
        "execution": if mode == Mode::Direct { "direct" } else { "warehouse" },
        "inline_rows": if seed.is_multiple_of(2) { 100 } else { 0 },
        "insert_bytes": if seed.is_multiple_of(5) { 300 } else { 4_000_000 },
    }));
    let store = store.open().await;
    for (at, (name, table)) in tables.iter().enumerate() {
        let rows = BatchStream::from_batches(table.schema.clone(), table.batches.clone());
        let request = request(&format!("t{at}"), WriteMode::Overwrite);
        let written = store.write(&cx(), request, rows).await;
        let written =
            written.unwrap_or_else(|error| panic!("seed {seed}: writing {name:?}: {error:?}"));
        assert_eq!(written.n_applied, table.n_rows() as u64);
    }
    Some(store)
}

/// The source with its table under the name that the store has for it.
fn stored_source(tables: &Tables, source: &TimedSource) -> TimedSource {
    let mut source = source.clone();
    if let Relation::Table(name) = &mut source.source.relation {
        let at = tables.keys().position(|known| known == name).unwrap();
        *name = format!("t{at}");
    }
    source
}

async fn collected(stream: provender_core::Result<BatchStream>) -> provender_core::Result<Table> {
    Table::collect(stream?).await
}

pub async fn joins(at: &At, mode: Mode, n_wanted: u64) {
    run(at.n_at_once(), n_wanted, |seed| async move {
        let mut case = JoinCase::random(seed)?;
        let views = case.join.views.clone();
        let uses: Vec<Use<'_>> = views
            .iter()
            .map(|view| Use {
                source: &view.source,
                keys: &view.keys,
                features: &view.features,
                aggregations: &view.aggregations,
            })
            .collect();
        let Some(tables) = held_tables(&case.tables, &uses, mode, false) else {
            return Ok(false);
        };
        case.tables = tables;
        let mut asked = case.join.clone();
        for view in &mut asked.views {
            view.source = stored_source(&case.tables, &view.source);
        }
        let store = store_of(at, mode, seed, &case.tables).await.unwrap();
        let spine = Spine::Rows(case.spine.to_rows());
        let answered = joined(&store, asked.clone(), spine).await;
        let mut answers = vec![("by the store", collected(answered).await)];
        if seed % 4 == 0 {
            let (join, spine) = (asked, case.spine.to_rows());
            let scanned =
                provender_engine::point_in_time_join(&cx(), &resources(), store, join, spine).await;
            answers.push(("over scans", collected(scanned).await));
        }
        for (how, answer) in answers {
            let checked = match answer {
                Ok(table) => table.one_batch().and_then(|answer| {
                    check_point_in_time_join(&case.join, &case.tables, &case.spine, &answer)
                }),
                Err(error) => {
                    check_point_in_time_join_error(&case.join, &case.tables, &case.spine, &error)
                }
            };
            checked.map_err(|why| format!("{how}: {why}\n{case}"))?;
        }
        Ok(true)
    })
    .await;
}

pub async fn latest_rows(at: &At, mode: Mode, n_wanted: u64) {
    run(at.n_at_once(), n_wanted, |seed| async move {
        let mut case = LatestCase::random(seed)?;
        let latest = case.latest.clone();
        let uses = [Use {
            source: &latest.source,
            keys: &latest.keys,
            features: &latest.features,
            aggregations: &[],
        }];
        let Some(tables) = held_tables(&case.tables, &uses, mode, true) else {
            return Ok(false);
        };
        case.tables = tables;
        let mut asked = latest.clone();
        asked.source = stored_source(&case.tables, &latest.source);
        let store = store_of(at, mode, seed, &case.tables).await.unwrap();
        let answered = match store.capabilities().latest {
            true => store.latest(&cx(), asked).await,
            false => provender_engine::latest(&cx(), &resources(), store, asked).await,
        };
        let checked = match collected(answered).await {
            Ok(table) => check_latest(&latest, &case.tables, &table.one_batch()?),
            Err(error) => check_latest_error(&latest, &case.tables, &error),
        };
        checked.map_err(|why| format!("{why}\n{case}"))?;
        Ok(true)
    })
    .await;
}

pub async fn windows(at: &At, mode: Mode, n_wanted: u64) {
    run(at.n_at_once(), n_wanted, |seed| async move {
        let mut case = WindowsCase::random(seed)?;
        let windows = case.windows.clone();
        let uses = [Use {
            source: &windows.source,
            keys: &windows.keys,
            features: &[],
            aggregations: &windows.aggregations,
        }];
        let Some(tables) = held_tables(&case.tables, &uses, mode, false) else {
            return Ok(false);
        };
        case.tables = tables;
        let mut asked = windows.clone();
        asked.source = stored_source(&case.tables, &windows.source);
        let store = store_of(at, mode, seed, &case.tables).await.unwrap();
        let answered = match store.capabilities().windows {
            true => store.windows(&cx(), asked).await,
            false => provender_engine::windows(&cx(), &resources(), store, asked).await,
        };
        let checked = match collected(answered).await {
            Ok(table) => check_windows(&windows, &case.tables, &table.one_batch()?),
            Err(error) => check_windows_error(&windows, &case.tables, &error),
        };
        checked.map_err(|why| format!("{why}\n{case}"))?;
        Ok(true)
    })
    .await;
}

async fn has_stand_in() -> bool {
    Workspace::stand_in(json!({})).await.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_joins_in_the_warehouse_equal_the_oracle() {
    if has_stand_in().await {
        joins(&At::StandIn, Mode::Warehouse, n_cases(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_joins_read_directly_equal_the_oracle() {
    if has_stand_in().await {
        joins(&At::StandIn, Mode::Direct, n_cases(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_latest_rows_in_the_warehouse_equal_the_oracle() {
    if has_stand_in().await {
        latest_rows(&At::StandIn, Mode::Warehouse, n_cases(12)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_latest_rows_read_directly_equal_the_oracle() {
    if has_stand_in().await {
        latest_rows(&At::StandIn, Mode::Direct, n_cases(12)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_windows_in_the_warehouse_equal_the_oracle() {
    if has_stand_in().await {
        windows(&At::StandIn, Mode::Warehouse, n_cases(12)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_windows_read_directly_equal_the_oracle() {
    if has_stand_in().await {
        windows(&At::StandIn, Mode::Direct, n_cases(12)).await;
    }
}

/// What a request reads of a source.
struct Use<'a> {
    source: &'a TimedSource,
    keys: &'a [KeyColumn],
    features: &'a [FeatureColumn],
    aggregations: &'a [WindowAggregate],
}

/// The tables without columns that are not held or that Spark cannot tell apart; `None` if the request
/// needs one of these, or could not be asked of what is held instead.
fn held_tables(
    tables: &Tables,
    uses: &[Use<'_>],
    mode: Mode,
    answers_ties: bool,
) -> Option<Tables> {
    let mut kept_tables = Tables::new();
    for (name, table) in tables {
        let uses: Vec<&Use<'_>> = uses
            .iter()
            .filter(|it| it.source.source.relation == Relation::Table(name.clone()))
            .collect();
        let mut kept = Vec::new();
        for (at, field) in table.schema.fields().iter().enumerate() {
            let is_used = uses.iter().any(|it| reads(it, field.name()));
            let is_decoy = ["C0", "TS"].contains(&field.name().as_str());
            match held(field) {
                Some(held)
                    if uses
                        .iter()
                        .all(|it| can_ask(it, field, &held, answers_ties)) =>
                {
                    kept.extend((is_used || !is_decoy).then_some(at));
                }
                _ if is_used => return None,
                _ => {}
            }
        }
        let schema = Arc::new(table.schema.project(&kept).ok()?);
        let batches = table.batches.iter().map(|batch| {
            let columns = kept.iter().map(|&at| match mode {
                Mode::Warehouse => with_one_nan(batch.column(at)),
                Mode::Direct => batch.column(at).clone(),
            });
            let columns = columns.collect();
            RecordBatch::try_new_with_options(
                schema.clone(),
                columns,
                &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
            )
        });
        let batches = batches.collect::<Result<Vec<_>, _>>().ok()?;
        kept_tables.insert(name.clone(), Table { schema, batches });
    }
    Some(kept_tables)
}

/// A warehouse has one NaN, whatever the bits of those that were written.
fn with_one_nan(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            Arc::new(values.unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v }))
        }
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            Arc::new(values.unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v }))
        }
        _ => column.clone(),
    }
}

fn reads(it: &Use<'_>, column: &str) -> bool {
    it.source.timestamp == column
        || it.source.created_timestamp.as_deref() == Some(column)
        || it.source.tie_breakers.iter().any(|other| other == column)
        || it.keys.iter().any(|key| key.column == column)
        || it.features.iter().any(|feature| feature.column == column)
        || it
            .aggregations
            .iter()
            .any(|a| a.column.as_deref() == Some(column))
}

fn can_ask(it: &Use<'_>, field: &Field, held: &DataType, answers_ties: bool) -> bool {
    let name = field.name();
    let fits = |declared: &ValueType, checked: bool| match declared.cast_from(held) {
        CastRule::Lossless => true,
        CastRule::Checked => checked || declared.implies_checked(held),
        CastRule::Never => false,
    };
    let found = ValueType::from_arrow(field.data_type());
    let is_same = found == ValueType::from_arrow(held);
    let is_tie = it.source.tie_breakers.contains(name);
    let is_key = |key: &&KeyColumn| key.column == *name;
    let is_feature = |feature: &&FeatureColumn| feature.column == *name;
    it.keys.iter().filter(is_key).all(|key| fits(&key.value_type, false))
        && it.features.iter().filter(is_feature).all(|f| fits(&f.value_type, f.checked))
        && (!is_tie || !answers_ties || is_same)
        // The type of an aggregate follows from that of the column.
        && it.aggregations.iter().filter(|a| a.column.as_ref() == Some(name)).all(|a| {
            a.function.result_type(ValueType::from_arrow(held).as_ref()).as_ref() == Some(&a.value_type)
        })
}

/// The type that a column is held as; `None` where there is none.
fn held(field: &Field) -> Option<DataType> {
    Some(match field.data_type() {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => field.data_type().clone(),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Timestamp(_, _) => instant_type(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, value) => {
            return held(&Field::new("", value.as_ref().clone(), true));
        }
        DataType::List(item) | DataType::LargeList(item) => {
            let item = held(item)?;
            DataType::List(Arc::new(Field::new("element", item, true)))
        }
        _ => return None,
    })
}
