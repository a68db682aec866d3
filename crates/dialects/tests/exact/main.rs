//! The statements, run by engines that stand in for warehouses, against the naive oracle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod engine;
mod linear;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema};
use engine::{Engine, as_stored};
use provender_conformance::generate::{JoinCase, LatestCase, WindowsCase, build};
use provender_conformance::oracle::{
    Value, cast, check_latest, check_latest_error, check_point_in_time_join,
    check_point_in_time_join_error, check_windows, check_windows_error,
};
use provender_conformance::{Table, Tables};
use provender_core::ErrorKind;
use provender_core::error::{Error, codes};
use provender_core::model::Relation;
use provender_core::request::{SourceRef, SqlSpine};
use provender_dialects::{
    Answer, Dialect, Encoding, SourceTable, Sources, SpineInput, SpineLayout, TableName, latest,
    point_in_time_join, supports, windows,
};

/// The tables as the engine holds them, and what statements need to know of them.
fn load(dialect: Dialect, tables: &Tables) -> (BTreeMap<String, RecordBatch>, Sources) {
    let mut stored = BTreeMap::new();
    let mut sources = Sources::new();
    for (at, (name, table)) in tables.iter().enumerate() {
        let batch = as_stored(dialect, table);
        let own = match dialect {
            Dialect::Spark => format!("t{at}"),
            _ => name.clone(),
        };
        let known = SourceTable {
            schema: batch.schema(),
            table: Some(TableName::new([own.as_str()])),
        };
        sources.insert(&SourceRef::table(name), known);
        stored.insert(own, batch);
    }
    (stored, sources)
}

/// What a caller makes of an answer: declared types, or the error of a value that does not fit.
fn decoded(answer: &Answer, batch: &RecordBatch) -> Result<Vec<(String, ArrayRef, Field)>, Error> {
    let mut columns = Vec::new();
    let mut at = 0;
    for column in &answer.columns {
        let n_columns = column.n_columns();
        let decoded = column.decode(&batch.columns()[at..at + n_columns])?;
        at += n_columns;
        let name = column.name.clone();
        let (Encoding::Source { .. }, Some(to)) = (&column.encoding, &column.value_type) else {
            let field = match &column.value_type {
                Some(value_type) => value_type.to_field(&name),
                None => Field::new(&name, decoded.data_type().clone(), true),
            };
            columns.push((name, decoded, field));
            continue;
        };
        let values: Vec<Value> = (0..decoded.len())
            .map(|row| cast(&Value::read(decoded.as_ref(), row).unwrap(), to))
            .collect::<Result<_, _>>()
            .map_err(|why| Error::new(&codes::CHECKED_CAST, why))?;
        let field = to.to_field(&name);
        columns.push((name, build(&to.to_arrow(), &values).unwrap(), field));
    }
    assert_eq!(at, batch.num_columns());
    Ok(columns)
}

fn batch(columns: Vec<(String, ArrayRef, Field)>, n_rows: usize) -> RecordBatch {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns
        .into_iter()
        .map(|(_, array, field)| (field, array))
        .unzip();
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(n_rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).unwrap()
}

/// The rows of a batch in the order of an int64 column of it.
fn sorted(columns: Vec<(String, ArrayRef, Field)>, by: &str) -> Vec<(String, ArrayRef, Field)> {
    let numbers = columns
        .iter()
        .find(|(name, ..)| name == by)
        .unwrap()
        .1
        .clone();
    let mut rows: Vec<(Value, usize)> = (0..numbers.len())
        .map(|row| (Value::read(numbers.as_ref(), row).unwrap(), row))
        .collect();
    rows.sort_by_key(|(value, _)| match value {
        Value::Int(number) => *number,
        _ => panic!("{value:?}"),
    });
    columns
        .into_iter()
        .map(|(name, array, field)| {
            let values: Vec<Value> = rows
                .iter()
                .map(|(_, row)| Value::read(array.as_ref(), *row).unwrap())
                .collect();
            (name, build(array.data_type(), &values).unwrap(), field)
        })
        .collect()
}

#[derive(Debug, Default)]
struct Tally {
    right: usize,
    errors: usize,
    unsupported: usize,
}

fn join_case(engine: &mut Engine, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let case = JoinCase::random(seed)?;
    let dialect = engine.dialect;
    let (mut stored, sources) = load(dialect, &case.tables);
    if let Err(error) = supports(dialect, &case.join, &sources) {
        if error.kind() != ErrorKind::Unsupported || !case.join.as_known {
            return Err(format!("{case}\nnot supported: {error:?}"));
        }
        tally.unsupported += 1;
        return Ok(());
    }
    let layout = SpineLayout::new(
        &case.join.views,
        &case.spine.timestamp,
        &case.spine.row_number,
    )
    .unwrap();
    let rows = case.spine.table.one_batch()?;
    let mut limits = dialect.limits();
    if seed.is_multiple_of(5) {
        limits.max_views = 1;
    }
    let table = TableName::new(["spine"]);
    let scratch = TableName::new(["scratch"]);
    let sql = SqlSpine {
        relation: Relation::Query("SELECT * FROM spine -- all".to_owned()),
        timestamp: case.spine.timestamp.clone(),
    };
    let mut setup = Vec::new();
    let mut cleanup = Vec::new();
    let as_stored = as_stored(dialect, &case.spine.table);
    let schema = as_stored.schema();
    let input = match seed % 3 {
        0 => SpineInput::Inline(&rows, &layout),
        1 => {
            if dialect == Dialect::Snowflake {
                setup.push(layout.create(dialect, &table).unwrap());
                limits.max_inline_rows = 7;
                setup.extend(layout.insert(dialect, &table, &rows, &limits).unwrap());
                cleanup.push(layout.drop(dialect, &table).unwrap());
            } else {
                stored.insert("spine".to_owned(), layout.encode(&rows).unwrap());
            }
            SpineInput::Table(&table, &layout)
        }
        _ => {
            stored.insert("spine".to_owned(), as_stored.clone());
            SpineInput::Sql {
                spine: &sql,
                schema: &schema,
                table: None,
                scratch: &scratch,
            }
        }
    };
    let plan = point_in_time_join(dialect, &case.join, input, &sources, &limits)
        .map_err(|error| format!("{case}\n{error:?}"))?;
    let is_sql = matches!(input, SpineInput::Sql { .. });
    setup.extend(plan.setup);
    cleanup.extend(plan.cleanup);
    let queries: Vec<String> = plan
        .answers
        .iter()
        .map(|answer| answer.sql.clone())
        .collect();
    let tell = |why: String| format!("{case}\n{}\n{why}", queries.join(";\n\n"));
    let answers = engine
        .run(&stored, &setup, &queries, &cleanup)
        .map_err(tell)?;
    let mut columns = Vec::new();
    let mut outcome = Ok(());
    for (index, (answer, batch)) in plan.answers.iter().zip(&answers).enumerate() {
        match decoded(answer, batch) {
            Ok(mut list) => {
                if is_sql && plan.answers.len() == 1 {
                    list = sorted(list, &case.spine.row_number);
                }
                let has_row = answer.columns[0].encoding == Encoding::RowNumber;
                let n_spine = usize::from(has_row)
                    + if is_sql && index == 0 {
                        schema.fields().len()
                    } else {
                        0
                    };
                if is_sql && plan.answers.len() > 1 && index == 0 {
                    columns.push(
                        list.iter()
                            .find(|(name, ..)| *name == case.spine.row_number)
                            .unwrap()
                            .clone(),
                    );
                }
                columns.extend(list.into_iter().skip(n_spine));
            }
            Err(error) => outcome = Err(error),
        }
    }
    if let Err(error) = outcome {
        tally.errors += 1;
        return check_point_in_time_join_error(&case.join, &case.tables, &case.spine, &error)
            .map_err(tell);
    }
    if is_sql && plan.answers.len() > 1 {
        columns = sorted(columns, &case.spine.row_number);
        columns.remove(0);
    }
    let answer = batch(columns, rows.num_rows());
    tally.right += 1;
    check_point_in_time_join(&case.join, &case.tables, &case.spine, &answer).map_err(tell)
}

fn latest_case(engine: &mut Engine, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let case = LatestCase::random(seed)?;
    let (stored, sources) = load(engine.dialect, &case.tables);
    let answer = latest(engine.dialect, &case.latest, &sources)
        .map_err(|error| format!("{case}\n{error:?}"))?;
    let tell = |why: String| format!("{case}\n{}\n{why}", answer.sql);
    let rows = engine
        .run(&stored, &[], std::slice::from_ref(&answer.sql), &[])
        .map_err(tell)?;
    match decoded(&answer, &rows[0]) {
        Ok(mut columns) => {
            let request = &case.latest;
            let first =
                request.keys.len() + 1 + usize::from(request.source.created_timestamp.is_some());
            // Some tie breakers are held by the engine in another type than by the table.
            let table: &Table = case.tables.values().next().unwrap();
            for ((_, array, field), name) in columns[first..]
                .iter_mut()
                .zip(&request.source.tie_breakers)
            {
                let to = table.schema.field_with_name(name).unwrap().data_type();
                if provender_core::ValueType::from_arrow(to).is_some_and(|to| to.is_integer()) {
                    let values: Vec<Value> = (0..array.len())
                        .map(|row| match Value::read(array.as_ref(), row).unwrap() {
                            Value::Decimal(number, 0) => Value::Int(number),
                            value => value,
                        })
                        .collect();
                    *array = build(to, &values).unwrap();
                    *field = Field::new(field.name(), to.clone(), true);
                }
            }
            tally.right += 1;
            let answer = batch(columns, rows[0].num_rows());
            check_latest(&case.latest, &case.tables, &answer).map_err(tell)
        }
        Err(error) => {
            tally.errors += 1;
            check_latest_error(&case.latest, &case.tables, &error).map_err(tell)
        }
    }
}

fn windows_case(engine: &mut Engine, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let case = WindowsCase::random(seed)?;
    let (stored, sources) = load(engine.dialect, &case.tables);
    let answer = windows(engine.dialect, &case.windows, &sources)
        .map_err(|error| format!("{case}\n{error:?}"))?;
    let tell = |why: String| format!("{case}\n{}\n{why}", answer.sql);
    let rows = engine
        .run(&stored, &[], std::slice::from_ref(&answer.sql), &[])
        .map_err(tell)?;
    match decoded(&answer, &rows[0]) {
        Ok(columns) => {
            tally.right += 1;
            let answer = batch(columns, rows[0].num_rows());
            check_windows(&case.windows, &case.tables, &answer).map_err(tell)
        }
        Err(error) => {
            tally.errors += 1;
            check_windows_error(&case.windows, &case.tables, &error).map_err(tell)
        }
    }
}

fn all_cases(dialect: Dialect, n_joins: u64, n_others: u64) {
    let first: u64 = std::env::var("PROVENDER_TEST_SEED").map_or(0, |seed| seed.parse().unwrap());
    let n_scale: u64 =
        std::env::var("PROVENDER_TEST_CASES").map_or(1, |times| times.parse().unwrap());
    let mut engine = Engine::start(dialect);
    let mut failures = Vec::new();
    let mut tallies = Vec::new();
    let mut run =
        |n: u64, what: &str, case: fn(&mut Engine, u64, &mut Tally) -> Result<(), String>| {
            let mut tally = Tally::default();
            for seed in first..first + n * n_scale {
                if let Err(why) = case(&mut engine, seed, &mut tally) {
                    failures.push(format!("{what} {seed}: {why}"));
                }
            }
            tallies.push((what.to_owned(), tally));
        };
    run(n_joins, "join", join_case);
    run(n_others, "latest", latest_case);
    run(n_others, "windows", windows_case);
    let shown: Vec<&String> = failures.iter().take(3).collect();
    let seeds: Vec<&str> = failures
        .iter()
        .map(|why| why.split(':').next().unwrap())
        .collect();
    for why in &shown {
        eprintln!("{why}\n");
    }
    assert!(
        failures.is_empty(),
        "{} failures: {seeds:?}",
        failures.len()
    );
    for (what, tally) in tallies {
        let n_cases = tally.right + tally.errors + tally.unsupported;
        assert!(tally.right > n_cases / 2, "{what}: {tally:?}");
    }
}

#[test]
fn random_requests_are_answered_as_the_oracle_says_in_snowflake_sql() {
    all_cases(Dialect::Snowflake, 120, 60);
}

#[test]
fn random_requests_are_answered_as_the_oracle_says_in_spark_sql() {
    all_cases(Dialect::Spark, 120, 60);
}
