//! What a read answers to which request.

use std::sync::Arc;

use provender_core::request::{ReadPlan, ViewLayout, ViewRead};
use provender_core::{Context, ValueType};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::judge::{
    check, check_reader, delete, int, join_keys, judge, latest, layout, prepare, read, row, string,
    tombstone, write, write_batches,
};
use super::{Harness, ensure, works};
use crate::generate::key_batch;
use crate::oracle::{LatestRows, OnlineRow, Value};

pub(super) async fn answers_follow_the_request(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let layout = layout(&cx, "asked", &[ValueType::String], &[ValueType::Int64]);
    let key = |name: &str| vec![string(name)];
    let rows = [
        row(key("b"), 3, vec![int(1)]),
        row(key("a"), 1, vec![int(2)]),
        row(key("d"), 2, vec![Value::Null]),
        tombstone(key("e"), 2, vec![int(5)]),
        row(key("c"), 2, vec![int(4)]),
    ];
    write(harness.handle(0), &cx, &layout, &rows).await?;
    let expected = latest(&rows);
    let requests: [&[&str]; 7] = [
        &["a", "b", "c", "d", "e"],
        &["e", "d", "c", "b", "a"],
        &["b", "b", "b"],
        &["c", "x", "a", "x", "c", "e", "c"],
        &["x"],
        &["d", "a", "d", "b", "a"],
        &["a"],
    ];
    let reader = prepare(harness.handle(1), &cx, &layout, &[0]).await?;
    for request in requests {
        let keys: Vec<Vec<Value>> = request.iter().map(|name| key(name)).collect();
        check_reader(reader.as_ref(), &cx, &layout, &[0], &keys, &expected)
            .await
            .map_err(|why| format!("a read of {request:?}: {why}"))?;
    }
    for seed in harness.seeds(10) {
        let mut rng = StdRng::seed_from_u64(seed);
        let names = ["a", "b", "c", "d", "e", "x", "y"];
        let n_keys = rng.random_range(0..60);
        let keys: Vec<Vec<Value>> = (0..n_keys)
            .map(|_| match rng.random_range(0..8) {
                7 => vec![Value::Null],
                at => key(names[at]),
            })
            .collect();
        check_reader(reader.as_ref(), &cx, &layout, &[0], &keys, &expected)
            .await
            .map_err(|why| format!("seed {seed}: {why}"))?;
        // A slice of a greater batch is a request of its own.
        let from = n_keys / 3;
        let batch = key_batch(&layout.join_keys, &keys)?.slice(from, n_keys - from);
        let mut found = works("read of a slice", reader.read(&cx, &batch).await)?;
        ensure(found.views.len() == 1, || "one view was asked".to_owned())?;
        judge(
            &found.views.remove(0),
            &layout,
            &[0],
            &keys[from..],
            |key| vec![expected.get(key)],
        )
        .map_err(|why| format!("seed {seed}, a slice: {why}"))?;
    }
    Ok(())
}

pub(super) async fn many_keys_are_answered_at_once(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let types = [ValueType::String, ValueType::Int64];
    let layout = layout(&cx, "many_keys", &types, &[ValueType::Float64]);
    let key = |at: usize| vec![string(&format!("k{}", at % 37)), int(at as i128)];
    // Every third is not held.
    let rows: Vec<OnlineRow> = (0..10_000)
        .filter(|at| at % 3 > 0)
        .map(|at| row(key(at), at as i64, vec![Value::Float64(at as f64 / 7.0)]))
        .collect();
    let batches: Vec<Vec<OnlineRow>> = rows.chunks(999).map(<[_]>::to_vec).collect();
    write_batches(harness.handle(0), &cx, &layout, &batches).await?;
    let mut rng = StdRng::seed_from_u64(harness.seed);
    let mut keys: Vec<Vec<Value>> = (0..10_000).map(key).collect();
    keys.shuffle(&mut rng);
    check(harness.handle(1), &cx, &layout, &keys, &latest(&rows)).await
}

pub(super) async fn features_come_in_the_asked_order(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    // Types of fixed and of varying width between each other, more than a byte of null bits.
    let types: Vec<ValueType> = (0..19)
        .map(|at| match at % 5 {
            0 => ValueType::Int64,
            1 => ValueType::String,
            2 => ValueType::Bool,
            3 => ValueType::Embedding(2),
            _ => ValueType::Int8,
        })
        .collect();
    let mut layout = layout(&cx, "features", &[ValueType::String], &types);
    // Columns are found by position, so a feature may be named like a key.
    layout.features[3].0 = "k0".to_owned();
    let value = |key: usize, feature: usize| {
        let number = (key * 19 + feature) as i128;
        match feature % 5 {
            _ if (key + feature) % 4 == 3 => Value::Null,
            0 => int(number),
            1 => string(&"x".repeat(key * 3 + feature)),
            2 => Value::Bool(number % 2 == 0),
            3 => Value::List(vec![Value::Float32(number as f32), Value::Null]),
            _ => int(number % 100),
        }
    };
    let rows: Vec<OnlineRow> = (0..9)
        .map(|key| {
            let features = (0..types.len()).map(|feature| value(key, feature));
            row(
                vec![string(&format!("k{key}"))],
                key as i64,
                features.collect(),
            )
        })
        .collect();
    write(harness.handle(0), &cx, &layout, &rows).await?;
    let expected = latest(&rows);
    let mut keys: Vec<Vec<Value>> = rows.iter().map(|row| row.key.clone()).collect();
    keys.push(vec![string("not held")]);
    let all: Vec<usize> = (0..types.len()).collect();
    let backwards: Vec<usize> = (0..types.len()).rev().collect();
    let mut subsets = vec![vec![], all.clone(), backwards];
    subsets.extend(all.iter().map(|&feature| vec![feature]));
    let mut rng = StdRng::seed_from_u64(harness.seed);
    for _ in 0..30 {
        let mut subset = all.clone();
        subset.shuffle(&mut rng);
        subset.truncate(rng.random_range(1..=types.len()));
        subsets.push(subset);
    }
    for features in subsets {
        let reader = prepare(harness.handle(1), &cx, &layout, &features).await?;
        check_reader(reader.as_ref(), &cx, &layout, &features, &keys, &expected)
            .await
            .map_err(|why| format!("seed {}, features {features:?}: {why}", harness.seed))?;
    }
    Ok(())
}

pub(super) async fn several_views_are_read_at_once(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let text = ValueType::String;
    let airport = layout(
        &cx,
        "airport",
        std::slice::from_ref(&text),
        &[ValueType::Int64, text.clone()],
    );
    let route = layout(
        &cx,
        "route",
        &[text.clone(), ValueType::Int32, text.clone()],
        &[ValueType::Float64],
    );
    let global = layout(&cx, "global", &[], &[ValueType::Int64]);
    let features = std::slice::from_ref(&text);
    let empty = layout(&cx, "never_written", &[ValueType::Int32], features);
    let names = ["JFK", "LAX", "", "SEA"];
    let airports: Vec<OnlineRow> = names[..3]
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let values = vec![int(at as i128), string(&format!("airport {name}"))];
            row(vec![string(name)], at as i64, values)
        })
        .collect();
    let mut routes = Vec::new();
    for (from_at, from) in names.iter().enumerate() {
        for (to_at, to) in names.iter().enumerate() {
            if (from_at + to_at) % 3 > 0 {
                let number = (from_at * 10 + to_at) as i128;
                let key = vec![string(from), int(number), string(to)];
                routes.push(row(key, number as i64, vec![Value::Float64(number as f64)]));
            }
        }
    }
    let globals = vec![row(Vec::new(), 77, vec![int(78)])];
    for (layout, rows) in [
        (&airport, &airports),
        (&route, &routes),
        (&global, &globals),
    ] {
        write(harness.handle(0), &cx, layout, rows).await?;
    }
    // Call keys: to, number, from. The airport is read twice: by each end of the route.
    let call = join_keys(&[text.clone(), ValueType::Int32, text]);
    let reads: [(&ViewLayout, &[usize], &[usize], LatestRows); 6] = [
        (&airport, &[2], &[1, 0], latest(&airports)),
        (&route, &[2, 1, 0], &[0], latest(&routes)),
        (&airport, &[0], &[0], latest(&airports)),
        (&global, &[], &[0], latest(&globals)),
        (&empty, &[1], &[0], LatestRows::default()),
        // Both ends of the route from one column.
        (&route, &[0, 1, 0], &[0], latest(&routes)),
    ];
    let plan = ReadPlan {
        keys: call.clone(),
        views: reads
            .iter()
            .map(|(layout, key_columns, features, _)| ViewRead {
                layout: Arc::new((*layout).clone()),
                key_columns: key_columns.to_vec(),
                features: features.to_vec(),
            })
            .collect(),
    };
    let answer = harness.handle(1).prepare(&cx, Arc::new(plan)).await;
    let reader = works("prepare", answer)?;
    let mut keys = Vec::new();
    for (from_at, from) in names.iter().enumerate() {
        for (to_at, to) in names.iter().enumerate() {
            let number = int((from_at * 10 + to_at) as i128);
            keys.push(vec![string(to), number, string(from)]);
        }
    }
    keys.push(vec![Value::Null, int(1), string("JFK")]);
    keys.push(vec![string("JFK"), Value::Null, Value::Null]);
    keys.push(keys[1].clone());
    let batch = key_batch(&call, &keys)?;
    let found = works("read", reader.read(&cx, &batch).await)?;
    ensure(found.views.len() == reads.len(), || {
        format!(
            "{} views asked, {} answered",
            reads.len(),
            found.views.len()
        )
    })?;
    for (at, (rows, (layout, key_columns, features, expected))) in
        found.views.iter().zip(&reads).enumerate()
    {
        let keys: Vec<Vec<Value>> = keys
            .iter()
            .map(|key| {
                key_columns
                    .iter()
                    .map(|&column| key[column].clone())
                    .collect()
            })
            .collect();
        judge(rows, layout, features, &keys, |key| vec![expected.get(key)])
            .map_err(|why| format!("entry {at} of the plan: {why}"))?;
    }
    Ok(())
}

pub(super) async fn empty_reads_and_writes_work(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let layout = layout(&cx, "empty", &[ValueType::Int64], &[ValueType::String]);
    let keys = [vec![int(1)], vec![int(2)]];
    let rows = [row(vec![int(1)], 1, vec![string("held")])];
    for (round, rows) in [&rows[..0], &rows[..]].iter().enumerate() {
        let store = harness.handle(round);
        write(store, &cx, &layout, rows).await?;
        write_batches(store, &cx, &layout, &[]).await?;
        write_batches(store, &cx, &layout, &[vec![], vec![]]).await?;
        delete(store, &cx, &layout, &[]).await?;
        check(store, &cx, &layout, &[], &latest(rows)).await?;
        check(store, &cx, &layout, &keys, &latest(rows)).await?;
        let batches = [vec![], rows.to_vec(), vec![]];
        write_batches(store, &cx, &layout, &batches).await?;
        check(store, &cx, &layout, &keys, &latest(rows)).await?;
    }
    let plan = ReadPlan {
        keys: layout.join_keys.clone(),
        views: Vec::new(),
    };
    let answer = harness.handle(0).prepare(&cx, Arc::new(plan)).await;
    let reader = works("prepare of no views", answer)?;
    let batch = key_batch(&layout.join_keys, &keys)?;
    let found = works("read of no views", reader.read(&cx, &batch).await)?;
    ensure(found.views.is_empty(), || {
        format!("no views were asked, {} answered", found.views.len())
    })
}

pub(super) async fn readers_outlive_their_views(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let layout = layout(&cx, "outlived", &[ValueType::Int64], &[ValueType::Int64]);
    let keys: Vec<Vec<Value>> = (0..30).map(|key| vec![int(key)]).collect();
    let rows = |from: i128, to: i128, event_us: i64| -> Vec<OnlineRow> {
        (from..to)
            .map(|key| {
                row(
                    vec![int(key)],
                    event_us,
                    vec![int(key + i128::from(event_us))],
                )
            })
            .collect()
    };
    let mut readers = Vec::new();
    let mut expected = LatestRows::default();
    // Each round prepares one more reader and changes what is held; all readers see it.
    for round in 0..6_usize {
        let store = harness.handle(round);
        readers.push(prepare(store, &cx, &layout, &[0]).await?);
        let what = match round {
            0 => "before the first write",
            2 => {
                let answer = store.drop_view(&cx, &layout.view_version()).await;
                works("drop_view", answer)?;
                expected = LatestRows::default();
                "after a drop"
            }
            4 => {
                delete(store, &cx, &layout, &keys[..5]).await?;
                for key in &keys[..5] {
                    expected.delete(key);
                }
                "after a delete"
            }
            _ => {
                let at = round as i128;
                let rows = rows(at, at + 20, 100 - round as i64 * 10);
                write(store, &cx, &layout, &rows).await?;
                for row in rows {
                    expected.write(row);
                }
                "after a write"
            }
        };
        for (number, reader) in readers.iter().enumerate() {
            for _ in 0..2 {
                let found = read(reader.as_ref(), &cx, &layout, &keys).await?;
                judge(&found, &layout, &[0], &keys, |key| vec![expected.get(key)]).map_err(
                    |why| format!("round {round}, {what}, the reader of round {number}: {why}"),
                )?;
            }
        }
    }
    Ok(())
}
