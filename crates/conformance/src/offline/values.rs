//! What columns hold: every type, and names of any kind.

use provender_core::request::WriteMode;
use provender_core::{Context, ValueType};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::held::may_refuse;
use super::tables::{
    Rows, all_of, as_declared, clipped, fresh_table, int, is_same_json, is_same_value, made,
    request, same_rows, scanned, send, string,
};
use super::{Harness, ensure};
use crate::generate::{declared_value, every_type, special_values};
use crate::oracle::Value;

pub(super) async fn plain_types_are_held(harness: &Harness, cx: Context) -> Result<(), String> {
    let columns = [
        ("bool", ValueType::Bool),
        ("int64", ValueType::Int64),
        ("float64", ValueType::Float64),
        ("string", ValueType::String),
        ("date", ValueType::Date),
        ("timestamp", ValueType::Timestamp),
    ];
    let row = |is: bool, n: i64, x: f64, text: &str, day: i32| {
        vec![
            Value::Bool(is),
            int(n.into()),
            Value::Float64(x),
            string(text),
            Value::Date(day),
            Value::Timestamp(n),
        ]
    };
    let rows = vec![
        row(true, 1_700_000_000_000_001, 0.1, "", 0),
        row(
            false,
            -1,
            -1.0 / 3.0,
            "é 日本 💡 'a' \"b\" \\ \n;--",
            -25_000,
        ),
        vec![Value::Null; columns.len()],
        row(true, (1 << 53) + 1, 1e300, &"é".repeat(5_000), 40_000),
    ];
    let rows = Rows::new(&columns, rows);
    let name = made(harness.handle(0), &cx, &rows).await?;
    let found = scanned(harness.handle(1), &cx, all_of(&name)).await?;
    same_rows(&found, &rows)
}

pub(super) async fn values_come_back_or_are_refused(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(harness.seed);
    for value_type in every_type()? {
        if harness.held(&cx, &value_type).await?.is_none() {
            continue;
        }
        let mut values = special_values(&value_type);
        values.extend((0..6).map(|_| declared_value(&mut rng, &value_type)));
        values.push(Value::Null);
        if !all_come_back(harness, &cx, &value_type, &values).await? {
            // One of them is refused, which must leave the others alone.
            for value in &values {
                all_come_back(harness, &cx, &value_type, std::slice::from_ref(value)).await?;
            }
        }
    }
    Ok(())
}

/// Writes values of a type and reads them; false if the write was refused in the right way.
async fn all_come_back(
    harness: &Harness,
    cx: &Context,
    value_type: &ValueType,
    values: &[Value],
) -> Result<bool, String> {
    let columns = [("n", ValueType::Int64), ("value", value_type.clone())];
    let rows = values.iter().enumerate();
    let rows = rows.map(|(at, value)| vec![int(at as i128), value.clone()]);
    let rows = Rows::new(&columns, rows.collect());
    let name = fresh_table(cx);
    let write = request(&name, WriteMode::Append);
    if let Err(error) = send(harness.handle(0), cx, write, &rows.table()?).await {
        ensure(may_refuse(error.kind()), || {
            format!("a write of {value_type} fails as if it were not refused: {error:?}")
        })?;
        ensure(error.to_string().contains("value"), || {
            format!("a refused write of {value_type} names the column \"value\", got {error}")
        })?;
        return Ok(false);
    }
    let found = scanned(harness.handle(1), cx, all_of(&name)).await?;
    let cells = as_declared(&found, &rows).map_err(|why| format!("{value_type}: {why}"))?;
    ensure(cells.len() == values.len(), || {
        format!(
            "{value_type}: {} rows written, {} found",
            values.len(),
            cells.len()
        )
    })?;
    for row in cells {
        let expected = match row[0] {
            Value::Int(at) => values.get(at as usize),
            _ => None,
        };
        let expected =
            expected.ok_or_else(|| format!("{value_type}: row {:?} was not written", row[0]))?;
        let is_same = match value_type {
            ValueType::Json => is_same_json(&row[1], expected),
            _ => is_same_value(&row[1], expected),
        };
        ensure(is_same, || {
            format!(
                "{value_type}: {} was written, {} came back",
                clipped(expected),
                clipped(&row[1])
            )
        })?;
    }
    Ok(true)
}

pub(super) async fn names_come_back_or_are_refused(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let columns = [
        "plain",
        "two words",
        "Upper",
        "select",
        "é 日本 💡",
        "a.b",
        "a\"b",
        "a'b",
        "a`b",
        "a;b",
        "a,b",
        "a=b",
        "a{b}",
        "(a)",
        "a\tb",
        "a\nb",
        "a\\b",
        "a/b",
        "%20",
        " ",
        "__a",
    ];
    for column in columns {
        let rows = Rows::new(
            &[("n", ValueType::Int64), (column, ValueType::String)],
            vec![vec![int(1), string("a")], vec![int(2), Value::Null]],
        );
        held_or_refused(harness, &cx, &fresh_table(&cx), &rows)
            .await
            .map_err(|why| format!("a column {column:?}: {why}"))?;
    }
    let rows = Rows::new(
        &[("a", ValueType::Int64), ("A", ValueType::Int64)],
        vec![vec![int(1), int(2)]],
    );
    held_or_refused(harness, &cx, &fresh_table(&cx), &rows)
        .await
        .map_err(|why| format!("columns \"a\" and \"A\": {why}"))?;
    for part in ["Ä", "two words", "a'b", "a\"b", "a;b", "%20", "a$b"] {
        let rows = Rows::new(&[("n", ValueType::Int64)], vec![vec![int(1)]]);
        let name = format!("{} {part}", fresh_table(&cx));
        held_or_refused(harness, &cx, &name, &rows)
            .await
            .map_err(|why| format!("a table {name:?}: {why}"))?;
    }
    Ok(())
}

async fn held_or_refused(
    harness: &Harness,
    cx: &Context,
    table: &str,
    rows: &Rows,
) -> Result<(), String> {
    let write = request(table, WriteMode::Append);
    match send(harness.handle(0), cx, write, &rows.table()?).await {
        Ok(_) => {
            let found = scanned(harness.handle(1), cx, all_of(table)).await?;
            same_rows(&found, rows)
        }
        Err(error) => ensure(may_refuse(error.kind()), || {
            format!("a write fails as if it were not refused: {error:?}")
        }),
    }
}
