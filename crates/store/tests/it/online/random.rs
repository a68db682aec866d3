//! Random views, rows, requests and keys: answers equal a naive evaluation.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use provender_core::model::FeatureRef;
use provender_store::{OnlineRequest, Selection};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::{ago, put, read, rows};
use crate::support::{Project, batch, hours, ints, strings, tables, text};

type Key = Vec<Option<String>>;

#[derive(Debug)]
struct View {
    name: String,
    keys: Vec<&'static str>,
    has_ttl: bool,
    /// Windows: a count and a sum.
    is_windows: bool,
    features: Vec<String>,
    rows: BTreeMap<Key, Row>,
}

#[derive(Debug)]
struct Row {
    is_old: bool,
    features: Vec<Option<i64>>,
}

const ENTITIES: &str = "
entities:
  - {name: number, join_keys: [{name: k1, type: int64}]}
  - {name: word, join_keys: [{name: k2, type: string}]}
sources:
  - {name: rows, table: rows, timestamp: at}
feature_views:
";

fn random_view(rng: &mut StdRng, index: usize) -> View {
    let name = format!("v{index}");
    let keys = [vec!["k1"], vec!["k2"], vec!["k1", "k2"], vec![]];
    let is_windows = rng.random_bool(0.3);
    let n_features = if is_windows {
        2
    } else {
        rng.random_range(1..4)
    };
    let mut view = View {
        keys: keys[rng.random_range(0..keys.len())].clone(),
        has_ttl: !is_windows && rng.random(),
        is_windows,
        features: (0..n_features).map(|at| format!("{name}_f{at}")).collect(),
        rows: BTreeMap::new(),
        name,
    };
    for _ in 0..rng.random_range(0..12) {
        let key = random_key(rng, &view.keys, false);
        let mut features: Vec<Option<i64>> = (0..n_features)
            .map(|_| rng.random_bool(0.6).then(|| rng.random_range(-9..9)))
            .collect();
        if is_windows {
            features[0] = Some(features[0].unwrap_or(0).abs());
        }
        let is_old = rng.random();
        view.rows.insert(key, Row { is_old, features });
    }
    view
}

fn random_key(rng: &mut StdRng, keys: &[&str], may_be_null: bool) -> Key {
    keys.iter()
        .map(|key| {
            if may_be_null && rng.random_bool(0.15) {
                return None;
            }
            let number: i64 = rng.random_range(0..4);
            Some(match *key {
                "k1" => number.to_string(),
                _ => format!("w{number}"),
            })
        })
        .collect()
}

fn definition(view: &View) -> String {
    let entities: Vec<&str> = (view.keys.iter())
        .map(|key| if *key == "k1" { "number" } else { "word" })
        .collect();
    let name = &view.name;
    let mut text = format!("  - name: {name}\n    source: rows\n");
    if !entities.is_empty() {
        writeln!(text, "    entities: [{}]", entities.join(", ")).unwrap();
    }
    if view.has_ttl {
        text.push_str("    ttl: 3h\n");
    }
    if view.is_windows {
        text.push_str("    aggregations:\n");
        for (feature, function) in view.features.iter().zip(["count", "sum"]) {
            writeln!(
                text,
                "      - {{feature: {feature}, function: {function}, column: x, window: 1d}}"
            )
            .unwrap();
        }
    } else {
        text.push_str("    features:\n");
        for feature in &view.features {
            writeln!(text, "      - {{name: {feature}, type: int64, column: x}}").unwrap();
        }
    }
    text
}

fn key_columns(names: &[&str], keys: &[&Key]) -> Vec<ArrayRef> {
    (names.iter().enumerate())
        .map(|(at, name)| -> ArrayRef {
            let values = keys.iter().map(|key| key[at].clone());
            match *name {
                "k1" => Arc::new(
                    values
                        .map(|value| value.map(|value| value.parse::<i64>().unwrap()))
                        .collect::<Int64Array>(),
                ),
                _ => Arc::new(values.collect::<StringArray>()),
            }
        })
        .collect()
}

async fn write(project: &Project, view: &View) {
    let keys: Vec<&Key> = view.rows.keys().collect();
    let events: Vec<i64> = (view.rows.values())
        .map(|row| if row.is_old { ago(4) } else { ago(2) })
        .collect();
    let features = (0..view.features.len()).map(|at| -> ArrayRef {
        let values = view.rows.values().map(|row| row.features[at]);
        Arc::new(values.collect::<Int64Array>())
    });
    let keys = key_columns(&view.keys, &keys);
    put(project, &view.name, 1, keys, &events, features.collect()).await;
}

/// What a view is worth for a key: its status and the wanted features.
fn naive(view: &View, key: &Key, wanted: &[usize]) -> (&'static str, Vec<Option<i64>>) {
    let is_null = key.iter().any(Option::is_none);
    let found = if is_null { None } else { view.rows.get(key) };
    match found {
        None => {
            let value = |&at: &usize| (view.is_windows && at == 0 && !is_null).then_some(0);
            ("NOT_FOUND", wanted.iter().map(value).collect())
        }
        Some(row) if view.has_ttl && row.is_old => ("OUTSIDE_MAX_AGE", vec![None; wanted.len()]),
        Some(row) => {
            let values: Vec<Option<i64>> = wanted.iter().map(|&at| row.features[at]).collect();
            let is_there = values.iter().any(Option::is_some);
            (if is_there { "PRESENT" } else { "NULL_VALUE" }, values)
        }
    }
}

/// A reference to some features of a view, and the columns its keys are read from.
fn random_reference(rng: &mut StdRng, view: &View, index: usize) -> (FeatureRef, Vec<usize>) {
    let mut wanted: Vec<usize> = (0..view.features.len()).collect();
    wanted.shuffle(rng);
    wanted.truncate(rng.random_range(1..=wanted.len()));
    let mut reference = FeatureRef {
        view: view.name.clone(),
        features: Some(wanted.iter().map(|&at| view.features[at].clone()).collect()),
        alias: Some(format!("a{index}")),
        ..FeatureRef::default()
    };
    for key in &view.keys {
        if rng.random_bool(0.4) {
            let column = format!("other_{key}");
            reference.join_keys.insert((*key).to_owned(), column);
        }
    }
    (reference, wanted)
}

#[tokio::test]
async fn answers_equal_a_naive_evaluation() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let views: Vec<View> = (0..rng.random_range(1..5))
            .map(|index| random_view(&mut rng, index))
            .collect();
        let source = batch(&[
            ("k1", ints(&[1])),
            ("k2", strings(&["w"])),
            ("at", hours(&[0])),
            ("x", ints(&[1])),
        ]);
        let project = Project::new(tables(&[("rows", source)])).await;
        let all: String = views.iter().map(definition).collect();
        project.apply(&format!("{ENTITIES}{all}")).await;
        for view in &views {
            write(&project, view).await;
        }
        for round in 0..6 {
            compare(&mut rng, &project, &views, seed, round).await;
        }
    }
}

async fn compare(rng: &mut StdRng, project: &Project, views: &[View], seed: u64, round: usize) {
    let asked: Vec<(&View, FeatureRef, Vec<usize>)> = (0..rng.random_range(1..5))
        .map(|index| {
            let view = &views[rng.random_range(0..views.len())];
            let (reference, wanted) = random_reference(rng, view, index);
            (view, reference, wanted)
        })
        .collect();
    let references = asked.iter().map(|(_, reference, _)| reference.clone());
    let mut request = OnlineRequest::new(Selection::Features(references.collect()));
    request.status = rng.random();
    let query = project
        .store
        .prepare_online(&project.cx, &request)
        .await
        .unwrap();
    let columns: Vec<String> = (query.input_schema().fields().iter())
        .map(|field| field.name().clone())
        .collect();
    let n_rows = rng.random_range(0..12);
    let kinds: Vec<&str> = columns
        .iter()
        .map(|name| if name.ends_with("k1") { "k1" } else { "k2" })
        .collect();
    let keys: Vec<Key> = (0..n_rows).map(|_| random_key(rng, &kinds, true)).collect();
    let arrays = key_columns(&kinds, &keys.iter().collect::<Vec<_>>());
    let input = if columns.is_empty() {
        rows(n_rows)
    } else {
        RecordBatch::try_new(query.input_schema().clone(), arrays).unwrap()
    };
    let answer = read(project, &request, &input).await.unwrap();
    for (view, reference, wanted) in asked {
        let alias = reference.alias.clone().unwrap();
        let positions: Vec<usize> = (view.keys.iter())
            .map(|key| {
                let column = reference.key_column(key);
                columns.iter().position(|name| name == column).unwrap()
            })
            .collect();
        let expected: Vec<_> = keys
            .iter()
            .map(|row| {
                let key = positions.iter().map(|&at| row[at].clone()).collect();
                naive(view, &key, &wanted)
            })
            .collect();
        let place = format!("seed {seed}, round {round}, {alias} of {view:?}, keys {keys:?}");
        for (slot, &at) in wanted.iter().enumerate() {
            let column = format!("{alias}__{}", view.features[at]);
            let expected: Vec<String> = (expected.iter())
                .map(|(_, values)| values[slot].map_or("-".to_owned(), |value| value.to_string()))
                .collect();
            assert_eq!(text(&answer, &column), expected, "{column}: {place}");
        }
        if request.status {
            // A view that several aliases ask for under the same keys is read once, and then
            // all that they ask for counts; so only those that stand alone are compared.
            let status = format!("{alias}__status");
            let expected: Vec<&str> = expected.iter().map(|(status, _)| *status).collect();
            let found = text(&answer, &status);
            for (found, expected) in found.iter().zip(expected) {
                let is_wider = expected == "NULL_VALUE" && found == "PRESENT";
                assert!(found == expected || is_wider, "{status}: {place}");
            }
        }
    }
}
