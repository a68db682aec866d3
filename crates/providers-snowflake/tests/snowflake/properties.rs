//! Random requests against the naive oracle: pushed down with spines of the caller's and of Snowflake's own,
//! and by the engine over scans, in both encodings. `PROVENDER_CASES` sets how many, `PROVENDER_SEED` runs one seed alone.
//!
//! The right answers are those over the rows as they were written. Cases whose types Snowflake lacks,
//! or whose request would be another one over the types that it has, are passed over.

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

pub fn n_cases(by_default: u64) -> u64 {
    std::env::var("PROVENDER_CASES").map_or(by_default, |text| text.parse().unwrap())
}

/// Rules take turns in the one schema of a named account, since cases replace each other's tables.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs seeds until so many cases have been checked; a case that is passed over answers `false`.
async fn run<F>(n_at_once: usize, n_wanted: u64, check: impl Fn(u64) -> F)
where
    F: Future<Output = Result<bool, String>>,
{
    let only: Option<u64> = std::env::var("PROVENDER_SEED")
        .ok()
        .map(|text| text.parse().unwrap());
    let seeds = only.map_or(0..n_wanted * 60, |seed| seed..seed + 1);
    let _turn = match n_at_once {
        1 => Some(TURN.lock().await),
        _ => None,
    };
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

/// Cases on the stand-in have schemas of their own; those on a real account take turns in one.
fn n_at_once(account: &Account) -> usize {
    match account {
        Account::StandIn(_) => 4,
        Account::Real(_) => 1,
    }
}

/// A store that holds the case's tables, answered in one of the encodings, with few rows to a chunk.
async fn store_of(account: &Account, seed: u64, tables: &Tables) -> Arc<dyn OfflineStore> {
    let tag = match seed % 3 {
        0 => json!({"chunk_rows": 7}),
        1 => json!({"chunk_rows": 7, "realism": true, "ts_scale": 6}),
        _ => json!({"chunk_rows": 1000, "realism": true}),
    };
    let mut options = account.options(&tag);
    if matches!(account, Account::StandIn(_)) {
        options.insert("schema".to_owned(), unique("CASE").into());
    }
    options.insert(
        "inline_rows".to_owned(),
        (if seed.is_multiple_of(2) { 100 } else { 0 }).into(),
    );
    options.insert(
        "insert_bytes".to_owned(),
        (if seed.is_multiple_of(5) {
            300
        } else {
            1_000_000
        })
        .into(),
    );
    let store = open_with(options, resources()).await.unwrap();
    for (name, table) in tables {
        let rows = BatchStream::from_batches(table.schema.clone(), table.batches.clone());
        let written = store
            .write(&cx(), request(&spelled(name), WriteMode::Overwrite), rows)
            .await;
        let written =
            written.unwrap_or_else(|error| panic!("seed {seed}: writing {name:?}: {error:?}"));
        assert_eq!(written.n_applied, table.n_rows() as u64);
    }
    store
}

/// A name as a definition spells it: one with a dot in double quotes.
fn spelled(name: &str) -> String {
    match name.contains('.') {
        true => format!("\"{name}\""),
        false => name.to_owned(),
    }
}

fn spelled_source(source: &TimedSource) -> TimedSource {
    let mut source = source.clone();
    if let Relation::Table(name) = &mut source.source.relation {
        *name = spelled(name);
    }
    source
}

async fn collected(stream: provender_core::Result<BatchStream>) -> provender_core::Result<Table> {
    Table::collect(stream?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_joins_equal_the_oracle() {
    if let Some(account) = Account::under_test() {
        joins(&account, n_cases(60)).await;
    }
}

async fn joins(account: &Account, n_wanted: u64) {
    run(n_at_once(account), n_wanted, |seed| async move {
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
        let Some(tables) = held_tables(&case.tables, &uses, false) else {
            return Ok(false);
        };
        case.tables = tables;
        let mut asked = case.join.clone();
        for view in &mut asked.views {
            view.source = spelled_source(&view.source);
        }
        let store = store_of(account, seed, &case.tables).await;
        let pushed = store
            .point_in_time_join(&cx(), asked.clone(), Spine::Rows(case.spine.to_rows()))
            .await;
        let mut answers = vec![("pushed down", collected(pushed).await)];
        if seed % 4 == 0 {
            let (join, spine) = (asked.clone(), case.spine.to_rows());
            let scanned =
                provender_engine::point_in_time_join(&cx(), &resources(), store, join, spine).await;
            answers.push(("over scans", collected(scanned).await));
        }
        if seed % 3 != 0
            && let Some(spine) = held_spine(&case)
        {
            let joined = of_held_spine(account, seed, &case, &asked, spine).await;
            answers.push(("with a spine of Snowflake's own", joined));
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

/// The spine without columns that Snowflake cannot hold; `None` if the join needs one of these.
fn held_spine(case: &JoinCase) -> Option<Table> {
    let (spine, table) = (&case.spine, &case.spine.table);
    let keys: Vec<&KeyColumn> = case.join.views.iter().flat_map(|view| &view.keys).collect();
    let mut kept: Vec<usize> = Vec::new();
    for (at, field) in table.schema.fields().iter().enumerate() {
        let name = field.name();
        let is_key = keys.iter().any(|key| key.spine == *name);
        let is_needed = is_key || *name == spine.timestamp || *name == spine.row_number;
        let held = held(field);
        let fits = held.as_ref().is_some_and(|held| {
            keys.iter().filter(|key| key.spine == *name).all(|key| {
                key.value_type.cast_from(held) == CastRule::Lossless
                    || key.value_type.implies_checked(held)
            })
        });
        match fits {
            true => kept.push(at),
            false if is_needed => return None,
            false => {}
        }
    }
    let batches = table.batches.iter().map(|batch| batch.project(&kept));
    Some(Table {
        schema: Arc::new(table.schema.project(&kept).ok()?),
        batches: batches.collect::<Result<_, _>>().ok()?,
    })
}

/// The features of a join with a spine that is written to Snowflake first, in the spine's order.
async fn of_held_spine(
    account: &Account,
    seed: u64,
    case: &JoinCase,
    join: &provender_core::request::PointInTimeJoin,
    spine: Table,
) -> provender_core::Result<Table> {
    let name = "the spine";
    let mut tables = case.tables.clone();
    tables.insert(name.to_owned(), spine.clone());
    let store = store_of(account, seed, &tables).await;
    let relation = match seed % 2 {
        0 => Relation::Table(name.to_owned()),
        _ => Relation::Query(format!("SELECT * FROM \"{name}\" -- all")),
    };
    let spine_of_store = Spine::Sql(provender_core::request::SqlSpine {
        relation,
        timestamp: case.spine.timestamp.clone(),
    });
    let answer = store
        .point_in_time_join(&cx(), join.clone(), spine_of_store)
        .await;
    let answer = match answer {
        // The caller then brings the rows itself.
        Err(error) if error.kind() == provender_core::ErrorKind::Unsupported => {
            assert!(join.as_known, "{error:?}");
            let rows = Spine::Rows(case.spine.to_rows());
            return collected(store.point_in_time_join(&cx(), join.clone(), rows).await).await;
        }
        answer => collected(answer).await?.one_batch().unwrap(),
    };
    let n_spine = spine.schema.fields().len();
    let names: Vec<String> = spine
        .schema
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let schema = answer.schema();
    let found: Vec<&String> = schema.fields()[..n_spine]
        .iter()
        .map(|f| f.name())
        .collect();
    assert_eq!(found, names.iter().collect::<Vec<_>>());
    let numbers =
        answer[case.spine.row_number.as_str()].as_primitive::<arrow_array::types::Decimal128Type>();
    let mut order: Vec<u32> = (0..answer.num_rows() as u32).collect();
    order.sort_by_key(|row| numbers.value(*row as usize));
    let order = arrow_array::UInt32Array::from(order);
    let columns = answer.columns()[n_spine..]
        .iter()
        .map(|column| arrow_select::take::take(column, &order, None).unwrap())
        .collect();
    let fields = Arc::new(
        schema
            .project(&(n_spine..schema.fields().len()).collect::<Vec<_>>())
            .unwrap(),
    );
    let options = RecordBatchOptions::new().with_row_count(Some(answer.num_rows()));
    Ok(Table {
        schema: fields.clone(),
        batches: vec![RecordBatch::try_new_with_options(fields, columns, &options).unwrap()],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_latest_rows_equal_the_oracle() {
    if let Some(account) = Account::under_test() {
        latest_rows(&account, n_cases(30)).await;
    }
}

async fn latest_rows(account: &Account, n_wanted: u64) {
    run(n_at_once(account), n_wanted, |seed| async move {
        let mut case = LatestCase::random(seed)?;
        let latest = case.latest.clone();
        let uses = [Use {
            source: &latest.source,
            keys: &latest.keys,
            features: &latest.features,
            aggregations: &[],
        }];
        let Some(tables) = held_tables(&case.tables, &uses, true) else {
            return Ok(false);
        };
        case.tables = tables;
        let mut asked = latest.clone();
        asked.source = spelled_source(&latest.source);
        let store = store_of(account, seed, &case.tables).await;
        let checked = match collected(store.latest(&cx(), asked).await).await {
            Ok(table) => check_latest(&latest, &case.tables, &table.one_batch()?),
            Err(error) => check_latest_error(&latest, &case.tables, &error),
        };
        checked.map_err(|why| format!("{why}\n{case}"))?;
        Ok(true)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_windows_equal_the_oracle() {
    if let Some(account) = Account::under_test() {
        windows(&account, n_cases(30)).await;
    }
}

async fn windows(account: &Account, n_wanted: u64) {
    run(n_at_once(account), n_wanted, |seed| async move {
        let mut case = WindowsCase::random(seed)?;
        let windows = case.windows.clone();
        let uses = [Use {
            source: &windows.source,
            keys: &windows.keys,
            features: &[],
            aggregations: &windows.aggregations,
        }];
        let Some(tables) = held_tables(&case.tables, &uses, false) else {
            return Ok(false);
        };
        case.tables = tables;
        let mut asked = windows.clone();
        asked.source = spelled_source(&windows.source);
        let store = store_of(account, seed, &case.tables).await;
        let checked = match collected(store.windows(&cx(), asked).await).await {
            Ok(table) => check_windows(&windows, &case.tables, &table.one_batch()?),
            Err(error) => check_windows_error(&windows, &case.tables, &error),
        };
        checked.map_err(|why| format!("{why}\n{case}"))?;
        Ok(true)
    })
    .await;
}

/// What a request reads of a source.
struct Use<'a> {
    source: &'a TimedSource,
    keys: &'a [KeyColumn],
    features: &'a [FeatureColumn],
    aggregations: &'a [WindowAggregate],
}

/// The tables without columns that Snowflake cannot hold; `None` if the request needs one of these, or could not be asked of what is held instead.
fn held_tables(tables: &Tables, uses: &[Use<'_>], answers_ties: bool) -> Option<Tables> {
    let mut kept_tables = Tables::new();
    for (name, table) in tables {
        let uses: Vec<&Use<'_>> = uses
            .iter()
            .filter(|it| it.source.source.relation == Relation::Table(name.clone()))
            .collect();
        let mut kept = Vec::new();
        for (at, field) in table.schema.fields().iter().enumerate() {
            let is_used = uses.iter().any(|it| reads(it, field.name()));
            match held(field) {
                Some(held)
                    if uses
                        .iter()
                        .all(|it| can_ask(it, field, &held, answers_ties)) =>
                {
                    kept.push(at);
                }
                _ if is_used => return None,
                _ => {}
            }
        }
        let schema = Arc::new(table.schema.project(&kept).ok()?);
        let batches = table.batches.iter().map(|batch| {
            let columns = kept
                .iter()
                .map(|&at| with_one_nan(batch.column(at)))
                .collect();
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

/// Snowflake has one NaN, whatever the bits of those that were written.
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

/// The type that Snowflake's columns are answered as, for a column that held a type's values.
fn held(field: &Field) -> Option<DataType> {
    // VARIANT keeps the value and not its text.
    if field.metadata().contains_key("ARROW:extension:name") {
        return None;
    }
    Some(match field.data_type() {
        DataType::Boolean | DataType::Float64 | DataType::Date32 => field.data_type().clone(),
        DataType::Int8 | DataType::UInt8 => DataType::Decimal128(3, 0),
        DataType::Int16 | DataType::UInt16 => DataType::Decimal128(5, 0),
        DataType::Int32 | DataType::UInt32 => DataType::Decimal128(10, 0),
        DataType::Int64 => DataType::Decimal128(19, 0),
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float32 => DataType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Timestamp(_, _) | DataType::Date64 => instant_type(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::FixedSizeList(item, _) if *item.data_type() == DataType::Float32 => return None,
        DataType::Dictionary(_, value) => {
            return held(&Field::new("", value.as_ref().clone(), true));
        }
        _ => return None,
    })
}

/// Rows of the table that [`spine_of`] joins.
pub fn rows_of(n_rows: i64) -> RecordBatch {
    use arrow_array::{Float64Array, Int64Array, TimestampMicrosecondArray};
    let numbers = || 0..n_rows;
    RecordBatch::try_from_iter([
        ("k", Arc::new(numbers().collect::<Int64Array>()) as ArrayRef),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from_iter_values(numbers()).with_timezone("UTC")),
        ),
        (
            "f",
            Arc::new(
                numbers()
                    .map(|row| Some(row as f64))
                    .collect::<Float64Array>(),
            ),
        ),
    ])
    .unwrap()
}

/// A join over a table of `k`, `at` and `f`, and a spine of so many rows.
pub fn spine_of(table: &str, n_rows: i64) -> (provender_core::request::PointInTimeJoin, Spine) {
    let (join, rows) = join_over(table);
    let spine = rows.take(usize::try_from(n_rows).unwrap().div_ceil(10));
    (join, spine_rows(spine))
}

/// The same with a spine that does not end.
pub fn endless_spine(table: &str) -> (provender_core::request::PointInTimeJoin, Spine) {
    let (join, rows) = join_over(table);
    (join, spine_rows(rows))
}

fn spine_rows(rows: impl Iterator<Item = RecordBatch> + Send + 'static) -> Spine {
    let mut rows = rows.peekable();
    let schema = rows.peek().unwrap().schema();
    Spine::Rows(provender_core::request::SpineRows {
        rows: BatchStream::new(schema, futures::stream::iter(rows.map(Ok))),
        timestamp: "t".to_owned(),
        row_number: "row".to_owned(),
    })
}

fn join_over(
    table: &str,
) -> (
    provender_core::request::PointInTimeJoin,
    impl Iterator<Item = RecordBatch> + Send + 'static,
) {
    use arrow_array::{Int64Array, TimestampMicrosecondArray};
    let join = provender_core::request::PointInTimeJoin {
        views: vec![provender_core::request::ViewJoin {
            name: "v".to_owned(),
            source: TimedSource {
                source: provender_core::request::SourceRef::table(table),
                timestamp: "at".to_owned(),
                created_timestamp: None,
                tie_breakers: Vec::new(),
            },
            keys: vec![KeyColumn {
                spine: "k".to_owned(),
                column: "k".to_owned(),
                value_type: ValueType::Int64,
            }],
            ttl_us: None,
            features: vec![FeatureColumn {
                column: "f".to_owned(),
                output: "f".to_owned(),
                value_type: ValueType::Float64,
                checked: false,
            }],
            aggregations: Vec::new(),
        }],
        as_known: false,
    };
    let rows = (0..).map(|at: i64| {
        let numbers = at * 10..at * 10 + 10;
        RecordBatch::try_from_iter([
            (
                "k",
                Arc::new(Int64Array::from_iter_values(numbers.clone())) as arrow_array::ArrayRef,
            ),
            (
                "t",
                Arc::new(
                    TimestampMicrosecondArray::from_iter_values(numbers.clone())
                        .with_timezone("UTC"),
                ),
            ),
            ("row", Arc::new(Int64Array::from_iter_values(numbers))),
        ])
        .unwrap()
    });
    (join, rows)
}
