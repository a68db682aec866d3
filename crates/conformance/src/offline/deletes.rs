//! Deletes: which rows leave a table.

use arrow_array::RecordBatch;
use provender_core::provider::OfflineStore;
use provender_core::request::SourceRef;
use provender_core::{Context, ValueType};

use super::tables::{Rows, all_of, int, made, same_rows, scanned, string};
use super::{Harness, works};
use crate::oracle::Value;

async fn delete(
    store: &dyn OfflineStore,
    cx: &Context,
    table: &str,
    keys: RecordBatch,
) -> Result<(), String> {
    let source = SourceRef::table(table);
    works("a delete", store.delete(cx, &source, keys).await)
}

/// Deletes the rows of some keys, and compares what is left.
async fn check(
    harness: &Harness,
    cx: &Context,
    table: &str,
    keys: &Rows,
    left: &mut Rows,
) -> Result<(), String> {
    let at: Vec<usize> = keys
        .columns
        .iter()
        .filter_map(|(name, _)| left.columns.iter().position(|(other, _)| other == name))
        .collect();
    let is_deleted = |row: &Vec<Value>| {
        keys.rows.iter().any(|key| {
            key.iter()
                .zip(&at)
                .all(|(value, &at)| value.is_identical(&row[at]))
        })
    };
    left.rows.retain(|row| !is_deleted(row));
    delete(harness.handle(0), cx, table, keys.batch()?).await?;
    let found = scanned(harness.handle(1), cx, all_of(table)).await?;
    let told = |why: String| format!("after a delete of {} keys: {why}", keys.rows.len());
    same_rows(&found, left).map_err(told)
}

pub(super) async fn deletes_erase_their_keys(harness: &Harness, cx: Context) -> Result<(), String> {
    let columns = [
        ("k", ValueType::String),
        ("n", ValueType::Int64),
        ("v", ValueType::Float64),
    ];
    let mut rows = Vec::new();
    for key in ["a", "b", "c", "ab", ""] {
        for n in [0, 1, (1 << 53) + 1, 1 << 53] {
            // Each key twice: all of its rows go.
            rows.push(vec![string(key), int(n), Value::Float64(0.5)]);
            rows.push(vec![string(key), int(n), Value::Null]);
        }
    }
    rows.push(vec![Value::Null, int(1), Value::Float64(1.0)]);
    rows.push(vec![string("a"), Value::Null, Value::Float64(2.0)]);
    let mut left = Rows::new(&columns, rows);
    let table = made(harness.handle(0), &cx, &left).await?;
    let pair = [columns[0].clone(), columns[1].clone()];
    let other_order = [columns[1].clone(), columns[0].clone()];
    let keys = [
        Rows::new(&pair, vec![]),
        Rows::new(&pair, vec![vec![string("nobody"), int(1)]]),
        Rows::new(
            &pair,
            vec![vec![string("a"), int(1)], vec![string("b"), int(0)]],
        ),
        Rows::new(&pair, vec![vec![string("c"), int((1 << 53) + 1)]]),
        Rows::new(
            &other_order,
            vec![vec![int(0), string("ab")], vec![int(0), string("ab")]],
        ),
        Rows::new(
            &pair,
            vec![
                vec![string("a"), Value::Null],
                vec![string("c"), Value::Null],
            ],
        ),
        Rows::new(&pair[..1], vec![vec![string("b")], vec![string("")]]),
        Rows::new(&pair[..1], vec![vec![Value::Null]]),
    ];
    for keys in &keys {
        check(harness, &cx, &table, keys, &mut left).await?;
    }
    let rest: Vec<Vec<Value>> = left.rows.iter().map(|row| row[..2].to_vec()).collect();
    check(harness, &cx, &table, &Rows::new(&pair, rest), &mut left).await
}

pub(super) async fn deletes_take_keys_of_any_text(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let columns = [("k", ValueType::String), ("n", ValueType::Int64)];
    let texts = odd_texts();
    let rows = texts.iter().enumerate();
    let rows = rows.map(|(at, text)| vec![string(text), int(at as i128)]);
    let mut left = Rows::new(&columns, rows.collect());
    let table = made(harness.handle(0), &cx, &left).await?;
    for text in texts.iter().step_by(2) {
        let keys = Rows::new(&columns[..1], vec![vec![string(text)]]);
        check(harness, &cx, &table, &keys, &mut left).await?;
    }
    Ok(())
}

/// Different texts that are easily taken for each other, or for something else than text.
pub(super) fn odd_texts() -> Vec<String> {
    let texts = [
        "",
        " ",
        "a",
        "a ",
        " a",
        "A",
        "é",
        "e\u{301}",
        "日本",
        "💡",
        "a'b",
        "a''b",
        "a\"b",
        "a\\b",
        "a\\\\b",
        "a\nb",
        "a\tb",
        "%",
        "_",
        "a;b",
        "--",
        "/*",
        "$1",
        "?",
        "null",
        "NULL",
        "{\"a\": 1}",
        "0",
        "1e1",
    ];
    let mut texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let long = "é".repeat(5_000);
    texts.push(format!("{long}a"));
    texts.push(format!("{long}b"));
    texts.push(long);
    texts
}
