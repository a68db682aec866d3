//! Values and keys of every type and size.

use provender_core::{Context, ValueType};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::judge::{
    check, check_reader, delete, int, latest, layout, prepare, row, string, write, write_batches,
};
use super::{Harness, ensure, works};
use crate::generate::{declared_value, every_type, key_values, special_values};
use crate::oracle::{LatestRows, OnlineRow, Value};

pub(super) async fn values_come_back_bit_for_bit(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let types = every_type()?;
    let layout = layout(&cx, "every_type", &[ValueType::Int64], &types);
    for seed in harness.seeds(2) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut rows: Vec<OnlineRow> = (0..80)
            .map(|at| {
                let features = types.iter().enumerate().map(|(feature, value_type)| {
                    let special = special_values(value_type).get(at).cloned();
                    let is_null = (at + feature) % 7 == 6;
                    special.unwrap_or_else(|| {
                        if is_null {
                            Value::Null
                        } else {
                            declared_value(&mut rng, value_type)
                        }
                    })
                });
                row(vec![int(at as i128)], 5, features.collect())
            })
            .collect();
        rows.push(row(vec![int(80)], 5, vec![Value::Null; types.len()]));
        let keys: Vec<Vec<Value>> = rows.iter().map(|row| row.key.clone()).collect();
        write(harness.handle(0), &cx, &layout, &rows).await?;
        check(harness.handle(1), &cx, &layout, &keys, &latest(&rows))
            .await
            .map_err(|why| format!("seed {seed}: {why}"))?;
    }
    Ok(())
}

pub(super) async fn keys_of_every_type_find_their_rows(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let types = [
        ValueType::Int8,
        ValueType::Int16,
        ValueType::Int32,
        ValueType::Int64,
        ValueType::UInt8,
        ValueType::UInt16,
        ValueType::UInt32,
        ValueType::UInt64,
        ValueType::String,
        ValueType::Binary,
        ValueType::Bool,
        ValueType::Date,
        ValueType::Timestamp,
    ];
    let mut views: Vec<Vec<ValueType>> = types.iter().map(|key| vec![key.clone()]).collect();
    for pair in [
        [ValueType::String, ValueType::String],
        [ValueType::Binary, ValueType::Binary],
        [ValueType::String, ValueType::Binary],
        [ValueType::Binary, ValueType::String],
        [ValueType::String, ValueType::Int32],
        [ValueType::Int8, ValueType::String],
        [ValueType::Date, ValueType::Timestamp],
        [ValueType::UInt64, ValueType::Bool],
    ] {
        views.push(pair.to_vec());
    }
    views.push(vec![ValueType::Bool, ValueType::String, ValueType::Bool]);
    for (number, types) in views.iter().enumerate() {
        let layout = layout(&cx, &format!("keys_{number}"), types, &[ValueType::Int64]);
        let mut keys: Vec<Vec<Value>> = vec![Vec::new()];
        for value_type in types {
            let values = key_values(value_type);
            keys = keys
                .iter()
                .flat_map(|key| {
                    values
                        .iter()
                        .map(move |value| [&key[..], std::slice::from_ref(value)].concat())
                })
                .collect();
        }
        write_every_other(harness, &cx, &layout, &keys)
            .await
            .map_err(|why| format!("keys of the types {types:?}: {why}"))?;
    }
    Ok(())
}

pub(super) async fn huge_and_odd_keys_find_their_rows(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let long = |first: &str, filling: &str, last: &str| {
        format!("{first}{}{last}", filling.repeat(10_000 / filling.len()))
    };
    let mut texts = vec![
        long("", "a", ""),
        long("", "a", "a"),
        long("", "a", "b"),
        long("b", "a", ""),
        long("", "a", "\0"),
        long("\0", "a", ""),
        long("", "\0", ""),
        long("", "\0", "\0"),
        long("", "日本", ""),
        long("", "日本", "語"),
        long("", "💡", "e\u{301}"),
        long("", "💡", "é"),
    ];
    // Lengths around those that stores have limits or other paths at.
    for n_bytes in [
        254, 255, 256, 257, 510, 511, 512, 513, 1_023, 1_024, 4_096, 65_535, 65_536,
    ] {
        texts.push("k".repeat(n_bytes));
    }
    let odd = [
        "",
        " ",
        "  ",
        "a",
        "A",
        "a ",
        " a",
        "é",
        "e\u{301}",
        "ß",
        "ss",
        "ı",
        "I",
        "i",
        "İ",
        "{a}",
        "a:b",
        "a/b",
        "a\\b",
        "*",
        "?",
        "\n",
        "\r\n",
        "\u{feff}a",
        "\u{200b}",
        "\u{7f}",
        "\u{10ffff}",
        "null",
        "NULL",
        "\"a\"",
        "'a'",
        "%00",
        "👩‍👩‍👧",
    ];
    texts.extend(odd.map(str::to_owned));
    let keys: Vec<Vec<Value>> = texts.iter().map(|text| vec![string(text)]).collect();
    let one = layout(&cx, "texts", &[ValueType::String], &[ValueType::Int64]);
    write_every_other(harness, &cx, &one, &keys).await?;

    let bytes = [
        vec![0; 10_000],
        vec![0; 10_001],
        vec![0xff; 10_000],
        vec![0xff; 9_999],
        [vec![0xff; 9_999], vec![0]].concat(),
        [vec![0], vec![0xff; 9_999]].concat(),
    ];
    let pairs: Vec<Vec<Value>> = texts[..12]
        .iter()
        .flat_map(|text| {
            let bytes = bytes.iter();
            bytes.map(move |bytes| vec![Value::Binary(bytes.clone()), string(text)])
        })
        .collect();
    let types = [ValueType::Binary, ValueType::String];
    let two = layout(&cx, "bytes_and_texts", &types, &[ValueType::Int64]);
    write_every_other(harness, &cx, &two, &pairs).await
}

pub(super) async fn null_keys_find_nothing(harness: &Harness, cx: Context) -> Result<(), String> {
    // What a null could be mistaken for.
    let empties = [
        (ValueType::String, string("")),
        (ValueType::Binary, Value::Binary(Vec::new())),
        (ValueType::Int64, int(0)),
        (ValueType::UInt8, int(0)),
        (ValueType::Bool, Value::Bool(false)),
        (ValueType::Date, Value::Date(0)),
        (ValueType::Timestamp, Value::Timestamp(0)),
    ];
    for (number, (value_type, empty)) in empties.iter().enumerate() {
        let name = format!("empty_{number}");
        let types = std::slice::from_ref(value_type);
        let one = layout(&cx, &name, types, &[ValueType::Int64]);
        let keys = [vec![Value::Null], vec![empty.clone()], vec![Value::Null]];
        let rows = [row(vec![empty.clone()], 1, vec![int(1)])];
        write(harness.handle(0), &cx, &one, &rows).await?;
        check(harness.handle(0), &cx, &one, &keys, &latest(&rows)).await?;
        delete(harness.handle(1), &cx, &one, &keys[..1]).await?;
        check(harness.handle(0), &cx, &one, &keys, &latest(&rows))
            .await
            .map_err(|why| format!("after a delete of null: {why}"))?;

        let types = [value_type.clone(), ValueType::String];
        let two = layout(
            &cx,
            &format!("{name}_and_text"),
            &types,
            &[ValueType::Int64],
        );
        let rows = [
            row(vec![empty.clone(), string("")], 1, vec![int(1)]),
            row(vec![empty.clone(), string("a")], 1, vec![int(2)]),
        ];
        let keys = [
            vec![empty.clone(), string("")],
            vec![empty.clone(), Value::Null],
            vec![Value::Null, string("")],
            vec![Value::Null, string("a")],
            vec![Value::Null, Value::Null],
            vec![empty.clone(), string("a")],
        ];
        write(harness.handle(0), &cx, &two, &rows).await?;
        delete(harness.handle(1), &cx, &two, &keys[1..5]).await?;
        check(harness.handle(1), &cx, &two, &keys, &latest(&rows)).await?;
    }
    Ok(())
}

pub(super) async fn global_views_hold_one_row(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let features = [ValueType::String, ValueType::Int64];
    let layout = layout(&cx, "global", &[], &features);
    let reader = prepare(harness.handle(0), &cx, &layout, &[1, 0]).await?;
    let keys: [Vec<Value>; 4] = [const { Vec::new() }; 4];
    let rows = [
        row(Vec::new(), 2, vec![string("held"), int(2)]),
        row(Vec::new(), 1, vec![string("late"), int(1)]),
    ];
    let nothing = LatestRows::default();
    let expected = latest(&rows);
    let judge = async |what: &str, expected: &LatestRows| {
        for n_rows in [0, 1, 4] {
            let keys = &keys[..n_rows];
            check_reader(reader.as_ref(), &cx, &layout, &[1, 0], keys, expected)
                .await
                .map_err(|why| format!("{what}: {why}"))?;
        }
        Ok::<(), String>(())
    };
    judge("before a write", &nothing).await?;
    write(harness.handle(1), &cx, &layout, &rows).await?;
    judge("after a write", &expected).await?;
    let version = layout.view_version();
    let stats = works("stats", harness.handle(0).stats(&cx, &version).await)?;
    ensure(stats.n_rows.is_none_or(|n_rows| n_rows == 1), || {
        format!("a global view holds one row, got {stats:?}")
    })?;
    delete(harness.handle(0), &cx, &layout, &[]).await?;
    judge("after a delete of nothing", &expected).await?;
    delete(harness.handle(0), &cx, &layout, &keys[..2]).await?;
    judge("after a delete", &nothing).await
}

pub(super) async fn large_writes_and_values_are_held(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let n_rows = harness.n_large_rows;
    let features = [ValueType::Float64, ValueType::String];
    let many = layout(&cx, "many", &[ValueType::Int64], &features);
    let written = |event_us: &dyn Fn(usize) -> i64, text: &str| -> Vec<OnlineRow> {
        (0..n_rows)
            .map(|at| {
                let values = vec![
                    Value::Float64(at as f64 / 3.0),
                    string(&format!("{text} {at}")),
                ];
                // Neighbours in the write are far apart by key.
                row(
                    vec![int((at * 7_919 % n_rows) as i128)],
                    event_us(at),
                    values,
                )
            })
            .collect()
    };
    let first = written(&|_| 10, "first");
    // Every second row of the second write is older, so it loses.
    let second = written(&|at| if at % 2 == 0 { 9 } else { 11 }, "second");
    write(harness.handle(0), &cx, &many, &first).await?;
    let batches: Vec<Vec<OnlineRow>> = second.chunks(30_000).map(<[_]>::to_vec).collect();
    write_batches(harness.handle(1), &cx, &many, &batches).await?;
    let mut expected = latest(&first);
    for row in &second {
        expected.write(row.clone());
    }
    let keys: Vec<Vec<Value>> = (0..n_rows + 5)
        .step_by((n_rows / 20_000).max(1))
        .map(|key| vec![int(key as i128)])
        .collect();
    check(harness.handle(0), &cx, &many, &keys, &expected).await?;
    let version = many.view_version();
    let stats = works("stats", harness.handle(0).stats(&cx, &version).await)?;
    let n_held = expected.n_rows() as u64;
    ensure(stats.n_rows.is_none_or(|n_rows| n_rows == n_held), || {
        format!("{n_held} rows are held, got {stats:?}")
    })?;

    let n_bytes = harness.n_large_bytes;
    let features = [
        ValueType::String,
        ValueType::Binary,
        ValueType::List(Box::new(ValueType::Int32)),
        ValueType::Int8,
    ];
    let great = layout(&cx, "great", &[ValueType::String], &features);
    let great_row = |key: &str, shift: usize| {
        let text = "ä💡".repeat(n_bytes / 6 - shift);
        let bytes: Vec<u8> = (0..n_bytes).map(|at| (at * 31 + shift) as u8).collect();
        let items = (0..n_bytes / 4).map(|at| int((at * shift) as i128));
        let list = Value::List(items.collect());
        let values = vec![Value::String(text), Value::Binary(bytes), list, int(7)];
        row(vec![string(key)], shift as i64, values)
    };
    let rows = [great_row("a", 1), great_row("b", 2), great_row("a", 3)];
    write(harness.handle(0), &cx, &great, &rows).await?;
    let keys = ["b", "c", "a", "b"].map(|key| vec![string(key)]);
    check(harness.handle(1), &cx, &great, &keys, &latest(&rows)).await
}

/// Writes the first, third, fifth key and so on, each with its own number, and reads all.
async fn write_every_other(
    harness: &Harness,
    cx: &Context,
    layout: &provender_core::request::ViewLayout,
    keys: &[Vec<Value>],
) -> Result<(), String> {
    let mut rows: Vec<OnlineRow> = Vec::new();
    for (at, key) in keys.iter().enumerate().step_by(2) {
        rows.push(row(key.clone(), 1, vec![int(at as i128)]));
    }
    write(harness.handle(0), cx, layout, &rows).await?;
    check(harness.handle(1), cx, layout, keys, &latest(&rows)).await?;
    // The others are apart from them too.
    let mut others: Vec<OnlineRow> = Vec::new();
    for (at, key) in keys.iter().enumerate().skip(1).step_by(2) {
        others.push(row(key.clone(), 0, vec![int(at as i128)]));
    }
    write(harness.handle(1), cx, layout, &others).await?;
    rows.extend(others);
    check(harness.handle(0), cx, layout, keys, &latest(&rows)).await
}
