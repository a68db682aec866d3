//! Newer wins: which of a key's rows is held.

use provender_core::{Context, ValueType};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::Harness;
use super::judge::{
    check, check_reader, int, judge, latest, layout, perform, prepare, read, row, string, winners,
    write, write_batches,
};
use crate::generate::{EDGES, OnlineHistory, OnlineStep, ordered_values, split_rows};
use crate::oracle::{LatestRows, OnlineRow, Value};

/// What decides between two rows.
#[derive(Clone, Debug)]
struct Stamp {
    event_us: i64,
    created_us: Option<i64>,
    ties: Vec<Value>,
}

impl Stamp {
    fn at(event_us: i64, created_us: Option<i64>, ties: &[Value]) -> Self {
        let ties = ties.to_vec();
        Self {
            event_us,
            created_us,
            ties,
        }
    }
}

pub(super) async fn event_times_decide(harness: &Harness, cx: Context) -> Result<(), String> {
    let stamps: Vec<Stamp> = EDGES.iter().map(|&at| Stamp::at(at, None, &[])).collect();
    check_pairs(harness, &cx, "events", &[], &stamps).await
}

pub(super) async fn created_times_decide_and_null_is_lowest(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let created = [None].into_iter().chain(EDGES.map(Some));
    let stamps: Vec<Stamp> = created.map(|created| Stamp::at(7, created, &[])).collect();
    check_pairs(harness, &cx, "created", &[], &stamps).await
}

pub(super) async fn tie_breakers_decide(harness: &Harness, cx: Context) -> Result<(), String> {
    for (number, (value_type, values)) in ordered_values().into_iter().enumerate() {
        let null = [Value::Null];
        let stamps: Vec<Stamp> = null
            .iter()
            .chain(&values)
            .map(|tie| Stamp::at(7, None, std::slice::from_ref(tie)))
            .collect();
        check_pairs(
            harness,
            &cx,
            &format!("ties_{number}"),
            std::slice::from_ref(&value_type),
            &stamps,
        )
        .await
        .map_err(|why| format!("a tie breaker of the type {value_type}: {why}"))?;
    }
    Ok(())
}

pub(super) async fn event_time_comes_before_created_time_before_tie_breakers(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let stamps = [
        Stamp::at(1, None, &[Value::Null, Value::Null]),
        Stamp::at(1, None, &[Value::Null, int(9)]),
        Stamp::at(1, None, &[string(""), int(9)]),
        Stamp::at(1, None, &[string("a"), int(-5)]),
        Stamp::at(1, None, &[string("a"), int(5)]),
        Stamp::at(1, None, &[string("a\0"), int(0)]),
        Stamp::at(1, None, &[string("ab"), Value::Null]),
        Stamp::at(1, None, &[string("ab"), int(-9)]),
        Stamp::at(1, None, &[string("b"), Value::Null]),
        Stamp::at(1, Some(3), &[Value::Null, Value::Null]),
        Stamp::at(1, Some(3), &[Value::Null, int(1)]),
        Stamp::at(1, Some(4), &[Value::Null, Value::Null]),
        Stamp::at(2, None, &[Value::Null, Value::Null]),
        Stamp::at(2, Some(-9), &[Value::Null, Value::Null]),
    ];
    let types = [ValueType::String, ValueType::Int16];
    check_pairs(harness, &cx, "all", &types, &stamps).await
}

pub(super) async fn full_ties_are_replaced_by_the_later(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let mut layout = layout(&cx, "ties", &[ValueType::Int64], &[ValueType::Int64]);
    layout.tie_breakers = vec![ValueType::Float64];
    let tied = |key: i128, value: i128| OnlineRow {
        created_us: Some(3),
        // NaNs of any bits are one value.
        ties: vec![Value::Float64(if value % 2 == 0 {
            f64::NAN
        } else {
            -f64::NAN
        })],
        ..row(vec![int(key)], 5, vec![int(value)])
    };
    // Within a batch, between batches, and between calls.
    let writes = [
        vec![vec![tied(1, 10), tied(2, 20), tied(1, 11)]],
        vec![vec![tied(3, 30)], vec![tied(3, 31), tied(2, 21)]],
        vec![vec![tied(2, 22)]],
        vec![vec![tied(2, 23), tied(2, 24)]],
    ];
    let keys = [vec![int(1)], vec![int(2)], vec![int(3)]];
    let mut expected = LatestRows::default();
    for (at, batches) in writes.iter().enumerate() {
        write_batches(harness.handle(at), &cx, &layout, batches).await?;
        OnlineStep::Write(batches.clone()).apply(&mut expected);
        check(harness.handle(at + 1), &cx, &layout, &keys, &expected)
            .await
            .map_err(|why| format!("after write {at}: {why}"))?;
    }
    Ok(())
}

pub(super) async fn newer_wins_in_random_histories(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    for seed in harness.seeds(harness.n_cases) {
        let history = OnlineHistory::random(seed, cx.project());
        play(harness, &cx, &history)
            .await
            .map_err(|why| format!("seed {seed}, {why}"))?;
    }
    Ok(())
}

pub(super) async fn permuted_histories_end_alike(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    for seed in harness.seeds(harness.n_cases) {
        let mut rng = StdRng::seed_from_u64(seed);
        let history = OnlineHistory::random(seed, cx.project());
        let rows = history.rows();
        let mut layout = history.layout;
        let features: Vec<usize> = (0..layout.features.len()).collect();
        for version in 1..=2 {
            layout.version = version;
            let mut permuted = rows.clone();
            permuted.shuffle(&mut rng);
            for (at, batch) in split_rows(&mut rng, permuted).iter().enumerate() {
                write(harness.handle(at), &cx, &layout, batch).await?;
            }
            let reader = prepare(harness.handle(1), &cx, &layout, &features).await?;
            let found = read(reader.as_ref(), &cx, &layout, &history.keys).await?;
            judge(&found, &layout, &features, &history.keys, |key| {
                winners(&rows, key)
            })
            .map_err(|why| format!("seed {seed}, permutation {version}: {why}"))?;
        }
    }
    Ok(())
}

pub(super) async fn replays_change_nothing(harness: &Harness, cx: Context) -> Result<(), String> {
    for seed in harness.seeds(harness.n_cases.div_ceil(2)) {
        let mut history = OnlineHistory::random(seed, cx.project());
        history
            .steps
            .retain(|step| matches!(step, OnlineStep::Write(_)));
        let layout = &history.layout;
        let expected = latest(&history.rows());
        for replay in 0..3 {
            // The third starts in the middle, as a run does that was killed.
            let first = if replay == 2 {
                history.steps.len() / 2
            } else {
                0
            };
            for (at, step) in history.steps.iter().enumerate().skip(first) {
                perform(harness.handle(at + replay), &cx, layout, step).await?;
            }
            check(
                harness.handle(replay),
                &cx,
                layout,
                &history.keys,
                &expected,
            )
            .await
            .map_err(|why| format!("seed {seed}, time {replay}: {why}"))?;
        }
    }
    Ok(())
}

/// Plays a history through all handles in turn and compares after every step.
async fn play(harness: &Harness, cx: &Context, history: &OnlineHistory) -> Result<(), String> {
    let layout = &history.layout;
    let features: Vec<usize> = (0..layout.features.len()).collect();
    let early = prepare(harness.handle(0), cx, layout, &features).await?;
    let mut expected = LatestRows::default();
    for (at, step) in history.steps.iter().enumerate() {
        let what = match step {
            OnlineStep::Write(batches) => format!("a write of {} batches", batches.len()),
            OnlineStep::Delete(keys) => format!("a delete of {} keys", keys.len()),
        };
        let place = |why: String| format!("step {at}, {what}: {why}");
        perform(harness.handle(at), cx, layout, step)
            .await
            .map_err(place)?;
        step.apply(&mut expected);
        let keys = &history.keys;
        check_reader(early.as_ref(), cx, layout, &features, keys, &expected)
            .await
            .map_err(place)?;
        check(harness.handle(at + 1), cx, layout, keys, &expected)
            .await
            .map_err(place)?;
    }
    Ok(())
}

/// Writes each pair of stamps, lowest to greatest as given, to a key of its own, in both orders, in one
/// batch and in two calls.
async fn check_pairs(
    harness: &Harness,
    cx: &Context,
    view: &str,
    tie_breakers: &[ValueType],
    stamps: &[Stamp],
) -> Result<(), String> {
    let mut layout = layout(cx, view, &[ValueType::String], &[ValueType::String]);
    layout.tie_breakers = tie_breakers.to_vec();
    let (mut together, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
    let (mut keys, mut expected) = (Vec::new(), LatestRows::default());
    for (a_at, a) in stamps.iter().enumerate() {
        for (b_at, b) in stamps.iter().enumerate() {
            for in_one in [true, false] {
                let how = if in_one {
                    "in one batch"
                } else {
                    "in two calls"
                };
                let key = vec![string(&format!("{a:?}, then {b:?}, {how}"))];
                let stamped = |stamp: &Stamp, text: &str| OnlineRow {
                    created_us: stamp.created_us,
                    ties: stamp.ties.clone(),
                    ..row(key.clone(), stamp.event_us, vec![string(text)])
                };
                let (a, b) = (stamped(a, "the first"), stamped(b, "the second"));
                // Said by the place in the list, not by the oracle.
                expected.write(if b_at >= a_at { b.clone() } else { a.clone() });
                if in_one {
                    together.extend([a, b]);
                } else {
                    first.push(a);
                    second.push(b);
                }
                keys.push(key);
            }
        }
    }
    write(harness.handle(0), cx, &layout, &together).await?;
    write(harness.handle(1), cx, &layout, &first).await?;
    write(harness.handle(2), cx, &layout, &second).await?;
    check(harness.handle(0), cx, &layout, &keys, &expected).await
}
