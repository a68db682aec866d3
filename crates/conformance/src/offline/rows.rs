//! Rows by number.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, UInt64Array};
use arrow_schema::DataType;
use provender_core::Context;
use provender_core::request::{SourceRef, WriteMode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::reads::write_in_parts;
use super::tables::{
    Rows, all_of, as_declared, collected, fresh_table, is_same_value, plain, put, request,
};
use super::{Harness, ensure, works};
use crate::Table;
use crate::oracle::Value;

pub(super) async fn rows_are_read_by_number(harness: &Harness, cx: Context) -> Result<(), String> {
    for seed in harness.seeds(harness.n_cases) {
        let mut rng = StdRng::seed_from_u64(seed);
        let keys: Vec<String> = (0..rng.random_range(0..60))
            .map(|at| format!("key {at}"))
            .collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let rows = plain(&keys, 0);
        let name = fresh_table(&cx);
        write_in_parts(harness, &cx, &name, &rows.table()?, seed).await?;
        check(harness, &cx, &name, &rows, &mut rng)
            .await
            .map_err(|why| format!("seed {seed}, {} rows: {why}", rows.rows.len()))?;
    }
    Ok(())
}

async fn check(
    harness: &Harness,
    cx: &Context,
    name: &str,
    rows: &Rows,
    rng: &mut StdRng,
) -> Result<(), String> {
    let store = harness.handle(0);
    let opened = works("open_rows", store.open_rows(cx, all_of(name)).await)?;
    let Some(access) = opened else {
        return Err("a plain table is not opened for rows by number, which is declared".to_owned());
    };
    let schema = store.schema(cx, &SourceRef::table(name)).await;
    let schema = works("schema", schema)?;
    ensure(*access.schema() == schema, || {
        format!(
            "opened rows have the schema {}, the table {schema}",
            access.schema()
        )
    })?;
    // What is written now is not seen by what is open.
    let late = plain(&["late"], 1_000_000);
    put(store, cx, request(name, WriteMode::Append), &late.table()?).await?;

    let asked = ["n".to_owned(), "k".to_owned()];
    let streams = works("a scan by number", access.scan(cx, &asked).await)?;
    ensure(!streams.is_empty(), || {
        "a scan by number answers no stream".to_owned()
    })?;
    let scanned = collected(streams, None, name).await?;
    let fields = scanned.schema.fields();
    let has_number =
        fields.len() == 3 && *fields[2].data_type() == DataType::UInt64 && !fields[2].is_nullable();
    ensure(has_number, || {
        format!(
            "after the asked columns comes a uint64 that is never null, got {}",
            scanned.schema
        )
    })?;
    let mut by_number = BTreeMap::new();
    let numbers = [
        ("n", rows.columns[1].1.clone()),
        ("k", rows.columns[0].1.clone()),
    ];
    for batch in &scanned.batches {
        let column = batch.column(2).as_primitive::<UInt64Type>();
        let cells = batch.project(&[0, 1]).map_err(|error| error.to_string())?;
        let cells = as_declared(&Table::of(cells), &Rows::new(&numbers, Vec::new()))?;
        for (row, cells) in cells.into_iter().enumerate() {
            let number = column.value(row);
            ensure(column.is_valid(row) && number < 1 << 63, || {
                format!("a row has the number {number}, which is not below 2^63")
            })?;
            ensure(by_number.insert(number, cells).is_none(), || {
                format!("two rows have the number {number}")
            })?;
        }
    }
    let written: Vec<Vec<Value>> = rows
        .rows
        .iter()
        .map(|row| vec![row[1].clone(), row[0].clone()])
        .collect();
    ensure(by_number.len() == written.len(), || {
        format!(
            "{} rows expected, {} have numbers",
            written.len(),
            by_number.len()
        )
    })?;

    let wanted: Vec<u64> = by_number
        .keys()
        .copied()
        .filter(|_| rng.random_bool(0.4))
        .collect();
    for wanted in [wanted, Vec::new(), by_number.keys().copied().collect()] {
        let columns = ["k".to_owned(), "x".to_owned(), "n".to_owned()];
        let fetched = access
            .fetch(cx, &columns, UInt64Array::from(wanted.clone()))
            .await;
        let fetched = collected(works("fetch", fetched)?, Some(&columns), name).await?;
        let types = [
            ("k", rows.columns[0].1.clone()),
            ("x", rows.columns[2].1.clone()),
            ("n", rows.columns[1].1.clone()),
        ];
        let cells = as_declared(&fetched, &Rows::new(&types, Vec::new()))?;
        ensure(cells.len() == wanted.len(), || {
            format!(
                "{} rows were asked for by number, {} answered",
                wanted.len(),
                cells.len()
            )
        })?;
        for (number, cells) in wanted.iter().zip(&cells) {
            let expected = rows.rows.iter().find(|row| {
                by_number.get(number).is_some_and(|scanned| {
                    is_same_value(&scanned[0], &row[1]) && is_same_value(&scanned[1], &row[0])
                })
            });
            let is_right = expected.is_some_and(|row| {
                is_same_value(&cells[0], &row[0])
                    && is_same_value(&cells[1], &row[2])
                    && is_same_value(&cells[2], &row[1])
            });
            ensure(is_right, || {
                format!("row {number}: expected {expected:?} (k, n, x, t), got (k, x, n) {cells:?}")
            })?;
        }
    }
    Ok(())
}
