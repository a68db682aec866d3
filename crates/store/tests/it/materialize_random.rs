//! For every key, the row held online after materialising to T is the point-in-time row at T, whatever
//! order rows become known in. Judged by the conformance kit's oracle on random histories.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use provender_conformance::oracle::{ExpectedView, OnlineRow, Value, point_in_time_join};
use provender_conformance::{SpineTable, Table};
use provender_core::ValueType;
use provender_core::model::AggregateFunction;
use provender_core::request::{
    FeatureColumn, KeyColumn, PointInTimeJoin, SourceRef, TimedSource, ViewJoin, WindowAggregate,
};
use provender_core::time::format_instant;
use provender_store::MaterializeRange;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::materialize::{append, run};
use crate::support::{HOUR, Project, TestStore, hours, ints, tables};

const N_SEEDS: u64 = 80;
const N_STEPS: usize = 8;
const KEYS: [&str; 5] = ["a", "b", "c", "d", "never"];
/// How late rows of sources without created timestamp come at most.
const LOOKBACK: i64 = 6 * HOUR;

/// How a source lets late rows be found, and what its view computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Created,
    Ties,
    Lookback,
    Windows,
    LateWindows,
    /// Tells nothing of late rows, and so loses them.
    Forgetful,
}

impl Kind {
    fn has_created(self) -> bool {
        matches!(self, Self::Created | Self::Ties | Self::LateWindows)
    }

    fn has_windows(self) -> bool {
        matches!(self, Self::Windows | Self::LateWindows)
    }

    fn definitions(self) -> String {
        let times = match self {
            Self::Created => "created_timestamp: made",
            Self::Ties => "created_timestamp: made, tie_breakers: [seq]",
            Self::LateWindows => "created_timestamp: made",
            Self::Lookback => "lookback: 6h",
            Self::Windows => "tie_breakers: [seq]",
            Self::Forgetful => "columns: {k: k}",
        };
        let features = if self.has_windows() {
            "aggregations:
      - {feature: n, function: count, window: 5h}
      - {feature: total, function: sum, column: x, window: 5h}
      - {feature: mean, function: mean, column: y, window: 2h}
      - {feature: greatest, function: max, column: y, window: 9h}"
        } else {
            "features: [{name: x, type: int64}, {name: y, type: float64}]"
        };
        format!(
            "
entities: [{{name: e, join_keys: [{{name: k, type: string}}]}}]
sources: [{{name: s, table: t, timestamp: at, {times}}}]
feature_views:
  - name: v
    entities: [e]
    source: s
    {features}
"
        )
    }

    fn join(self) -> PointInTimeJoin {
        let feature = |name: &str, value_type: ValueType| FeatureColumn {
            column: name.to_owned(),
            output: name.to_owned(),
            value_type,
            checked: false,
        };
        let window =
            |output: &str, function, column: Option<&str>, hours, value_type| WindowAggregate {
                function,
                column: column.map(str::to_owned),
                window_us: hours * HOUR,
                output: output.to_owned(),
                value_type,
            };
        let (features, aggregations) = if self.has_windows() {
            let aggregations = vec![
                window("n", AggregateFunction::Count, None, 5, ValueType::Int64),
                window(
                    "total",
                    AggregateFunction::Sum,
                    Some("x"),
                    5,
                    ValueType::Int64,
                ),
                window(
                    "mean",
                    AggregateFunction::Mean,
                    Some("y"),
                    2,
                    ValueType::Float64,
                ),
                window(
                    "greatest",
                    AggregateFunction::Max,
                    Some("y"),
                    9,
                    ValueType::Float64,
                ),
            ];
            (Vec::new(), aggregations)
        } else {
            let features = vec![
                feature("x", ValueType::Int64),
                feature("y", ValueType::Float64),
            ];
            (features, Vec::new())
        };
        let has_ties = matches!(self, Self::Ties | Self::Windows);
        PointInTimeJoin {
            views: vec![ViewJoin {
                name: "v".to_owned(),
                source: TimedSource {
                    source: SourceRef::table("t"),
                    timestamp: "at".to_owned(),
                    created_timestamp: self.has_created().then(|| "made".to_owned()),
                    tie_breakers: if has_ties {
                        vec!["seq".to_owned()]
                    } else {
                        Vec::new()
                    },
                },
                keys: vec![KeyColumn {
                    spine: "k".to_owned(),
                    column: "k".to_owned(),
                    value_type: ValueType::String,
                }],
                ttl_us: None,
                features,
                aggregations,
            }],
            as_known: false,
        }
    }
}

/// Rows that become known in (`after`, `now`]: some in time, some late, some about what is to come.
fn arrivals(rng: &mut StdRng, kind: Kind, after: i64, now: i64, is_first: bool) -> RecordBatch {
    let n_rows = rng.random_range(0..6);
    let (mut keys, mut events, mut made, mut seq, mut x, mut y) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    // Whole half hours, so that edges of intervals and windows are met often.
    let half = HOUR / 2;
    for _ in 0..n_rows {
        let created = rng.random_range(after / half + 1..=now / half) * half;
        let event = match rng.random_range(0..4) {
            0 => created,
            // Rows to come are read once their time is there, whenever they became known.
            1 => created + rng.random_range(0..6) * half,
            _ if kind.has_created() || is_first => created - rng.random_range(0..40) * half,
            // Found while it lies after the last run's end minus the lookback.
            _ => (created - rng.random_range(0..12) * half).max(after - LOOKBACK + 1),
        };
        // A row without created time is found by its event time alone.
        let is_known = event <= after || rng.random_bool(0.9);
        keys.push(rng.random_bool(0.95).then(|| KEYS[rng.random_range(0..4)]));
        events.push(rng.random_bool(0.97).then_some(event));
        made.push(is_known.then_some(created));
        seq.push(rng.random_bool(0.9).then(|| rng.random_range(0..3_i64)));
        x.push(rng.random_bool(0.8).then(|| rng.random_range(0..100_i64)));
        y.push(
            rng.random_bool(0.8)
                .then(|| f64::from(rng.random_range(-9..9_i32)) / 4.0),
        );
    }
    let times = |values: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
    };
    let columns: [(&str, ArrayRef); 6] = [
        ("k", Arc::new(StringArray::from(keys))),
        ("at", times(events)),
        ("made", times(made)),
        ("seq", Arc::new(Int64Array::from(seq))),
        ("x", Arc::new(Int64Array::from(x))),
        ("y", Arc::new(Float64Array::from(y))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .unwrap()
}

fn expected(project: &Project, kind: Kind, at: i64) -> Vec<ExpectedView> {
    let n_keys = KEYS.len();
    let spine = RecordBatch::try_from_iter([
        ("k", Arc::new(StringArray::from(KEYS.to_vec())) as ArrayRef),
        ("t", {
            let times = TimestampMicrosecondArray::from_value(at, n_keys);
            Arc::new(times.with_timezone("UTC")) as ArrayRef
        }),
        ("row", ints(&(0..n_keys as i64).collect::<Vec<_>>())),
    ])
    .unwrap();
    let spine = SpineTable {
        table: Table::of(spine),
        timestamp: "t".to_owned(),
        row_number: "row".to_owned(),
    };
    let answers =
        point_in_time_join(&kind.join(), &project.offline.inner.tables(), &spine).unwrap();
    answers
        .into_iter()
        .map(|mut views| views.remove(0))
        .collect()
}

fn is_right(kind: Kind, expected: &ExpectedView, held: Option<&OnlineRow>) -> bool {
    if kind.has_windows() {
        // A key never seen has counts of 0 and nothing else.
        let nothing = [Value::Int(0), Value::Null, Value::Null, Value::Null];
        let got = held.map_or(&nothing[..], |row| &row.features);
        return expected
            .aggregations
            .iter()
            .zip(got)
            .all(|(expected, got)| expected.accepts(got));
    }
    let nothing = [Value::Null, Value::Null];
    let got = held.map_or(&nothing[..], |row| &row.features);
    expected.features.iter().any(|row| {
        row.iter().zip(got).all(|(expected, got)| {
            expected
                .as_ref()
                .is_ok_and(|expected| expected.is_identical(got))
        })
    })
}

/// What histories met, so that a test which meets nothing does not pass.
#[derive(Debug, Default)]
struct Met {
    n_compared: usize,
    n_held: usize,
    n_drained: usize,
    wrong: Vec<String>,
}

/// Materialises a source that grows, and compares after each run.
async fn history(seed: u64, kind: Kind, met: &mut Met) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut store = TestStore::new(tables(&[(
        "t",
        arrivals(&mut rng, kind, 40 * HOUR, 41 * HOUR, true),
    )]));
    // Stores may compute the answers themselves; the rules are the same.
    store.capabilities.latest = rng.random();
    store.capabilities.windows = rng.random();
    let project = Project::over(store, TestStore::new(tables(&[("u", seed_table())]))).await;
    project.apply(&kind.definitions()).await;
    let view = project.view("v", 1);
    let mut is_first = true;
    let mut now = 41 * HOUR;
    for step in 0..N_STEPS {
        let after = now;
        now += rng.random_range(1..20) * HOUR / 2;
        let rows = arrivals(&mut rng, kind, after, now, is_first);
        append(&project, "t", rows).await;
        if rng.random_bool(0.25) {
            continue;
        }
        let incremental = MaterializeRange::Incremental { end_us: Some(now) };
        run(&project, "v", incremental).await;
        is_first = false;
        if rng.random_bool(0.3) {
            let end_us = rng.random_range(1..=now / HOUR) * HOUR;
            let start_us = end_us - rng.random_range(1..40) * HOUR;
            let again = MaterializeRange::Explicit { start_us, end_us };
            run(&project, "v", again).await;
        }
        let rows = project.online.rows(&view);
        for (key, expected) in KEYS.iter().zip(expected(&project, kind, now)) {
            let held = rows
                .iter()
                .find(|row| matches!(&row.key[0], Value::String(held) if held == key));
            met.n_compared += 1;
            met.n_held += usize::from(held.is_some());
            let is_zero = |row: &OnlineRow| matches!(row.features[0], Value::Int(0));
            met.n_drained += usize::from(kind.has_windows() && held.is_some_and(is_zero));
            if !is_right(kind, &expected, held) {
                let at = format_instant(now);
                met.wrong.push(format!(
                    "seed {seed}, {kind:?}, step {step}: {key:?} at {at}: expected {expected:?}, held {held:?}"
                ));
            }
        }
    }
}

fn seed_table() -> RecordBatch {
    crate::support::batch(&[("at", hours(&[0]))])
}

async fn histories(kind: Kind) -> Met {
    let mut met = Met::default();
    for seed in 0..N_SEEDS {
        history(seed, kind, &mut met).await;
    }
    met
}

#[tokio::test]
async fn online_after_materialising_to_t_is_the_point_in_time_row_at_t() {
    for kind in [
        Kind::Created,
        Kind::Ties,
        Kind::Lookback,
        Kind::Windows,
        Kind::LateWindows,
    ] {
        let met = histories(kind).await;
        assert!(met.wrong.is_empty(), "{}", met.wrong.join("\n"));
        assert!(met.n_held * 2 > met.n_compared, "{met:?}");
        assert!(!kind.has_windows() || met.n_drained > 100, "{met:?}");
    }
}

#[tokio::test]
async fn late_rows_that_nothing_tells_of_are_missed_which_the_comparison_sees() {
    let met = histories(Kind::Forgetful).await;
    assert!(met.wrong.len() > 20, "{met:?}");
}
