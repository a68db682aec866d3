//! Online layouts, rows, and histories of writes and deletes.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::Schema;
use provender_core::ValueType;
use provender_core::model::JoinKey;
use provender_core::request::ViewLayout;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::build;
use super::types::{declared_type, declared_value, key_pool, key_type, pick};
use crate::oracle::{LatestRows, OnlineRow, Value};

/// Writes and deletes of one view, wholly decided by a seed. Keys and times are few, so that late,
/// repeated and tied rows are frequent.
#[derive(Clone, Debug)]
pub struct OnlineHistory {
    /// What makes this history again.
    pub seed: u64,
    /// The view.
    pub layout: ViewLayout,
    /// Keys to read: every key that is ever written, some that are not, and some with a null.
    pub keys: Vec<Vec<Value>>,
    /// What happens, in order.
    pub steps: Vec<OnlineStep>,
}

/// One call of a history.
#[derive(Clone, Debug)]
pub enum OnlineStep {
    /// A write of the rows of these batches, of which some may be empty.
    Write(Vec<Vec<OnlineRow>>),
    /// A delete of these keys, of which some may hold nulls.
    Delete(Vec<Vec<Value>>),
}

impl OnlineHistory {
    /// The history of a seed, over version 1 of a view `history_SEED` of a project.
    pub fn random(seed: u64, project: &str) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let layout = random_layout(&mut rng, project, &format!("history_{seed}"));
        let mut keys = random_keys(&mut rng, &layout.join_keys);
        let n_written = rng.random_range(1..=keys.len());
        let mut steps = Vec::new();
        for _ in 0..rng.random_range(2..=8) {
            if rng.random_bool(0.2) {
                let n_keys = rng.random_range(0..=3);
                let deleted = (0..n_keys).map(|_| pick(&mut rng, &keys).clone()).collect();
                steps.push(OnlineStep::Delete(deleted));
                continue;
            }
            let n_rows = rng.random_range(0..=40);
            let rows = random_rows(&mut rng, &layout, &keys[..n_written], n_rows);
            steps.push(OnlineStep::Write(split_rows(&mut rng, rows)));
        }
        if !layout.join_keys.is_empty() {
            let mut null_key = keys[0].clone();
            let at = rng.random_range(0..null_key.len());
            null_key[at] = Value::Null;
            keys.push(null_key);
        }
        Self {
            seed,
            layout,
            keys,
            steps,
        }
    }

    /// Every row of every write, in order.
    pub fn rows(&self) -> Vec<OnlineRow> {
        let writes = self.steps.iter().filter_map(|step| match step {
            OnlineStep::Write(batches) => Some(batches),
            OnlineStep::Delete(_) => None,
        });
        writes.flatten().flatten().cloned().collect()
    }

    /// What a store holds after the first `n_steps` steps.
    pub fn expected_after(&self, n_steps: usize) -> LatestRows {
        let mut expected = LatestRows::default();
        for step in self.steps.iter().take(n_steps) {
            step.apply(&mut expected);
        }
        expected
    }
}

impl OnlineStep {
    /// Does to the oracle what a store should do.
    pub fn apply(&self, expected: &mut LatestRows) {
        match self {
            Self::Write(batches) => {
                for row in batches.iter().flatten() {
                    expected.write(row.clone());
                }
            }
            Self::Delete(keys) => {
                for key in keys {
                    expected.delete(key);
                }
            }
        }
    }
}

/// Version 1 of a view with no to three join keys, one to eight features of any type, and no to two
/// tie breakers. Now and then a feature is named like a key.
pub fn random_layout(rng: &mut StdRng, project: &str, view: &str) -> ViewLayout {
    let n_keys = *pick(rng, &[0, 1, 1, 1, 1, 2, 2, 3]);
    let n_features = rng.random_range(1..=8);
    let n_ties = *pick(rng, &[0, 0, 1, 2]);
    let ties = [
        ValueType::Int64,
        ValueType::UInt64,
        ValueType::Int8,
        ValueType::String,
        ValueType::Binary,
        ValueType::Float32,
        ValueType::Float64,
        ValueType::Bool,
        ValueType::Date,
        ValueType::Timestamp,
        ValueType::Decimal(10, 2),
        ValueType::Decimal(38, 10),
    ];
    let mut features: Vec<(String, ValueType)> = (0..n_features)
        .map(|at| (format!("f{at}"), declared_type(rng, 0)))
        .collect();
    if n_keys > 0 && rng.random_bool(0.1) {
        features[0].0 = "k0".to_owned();
    }
    ViewLayout {
        project: project.to_owned(),
        view: view.to_owned(),
        version: 1,
        join_keys: (0..n_keys)
            .map(|at| JoinKey {
                name: format!("k{at}"),
                value_type: key_type(rng),
            })
            .collect(),
        features,
        tie_breakers: (0..n_ties).map(|_| pick(rng, &ties).clone()).collect(),
        ttl_us: None,
    }
}

/// Rows of some of these keys, at few event and created times, tombstones among them.
pub fn random_rows(
    rng: &mut StdRng,
    layout: &ViewLayout,
    keys: &[Vec<Value>],
    n_rows: usize,
) -> Vec<OnlineRow> {
    let ties: Vec<Vec<Value>> = layout
        .tie_breakers
        .iter()
        .map(|value_type| key_pool(rng, value_type))
        .collect();
    (0..n_rows)
        .map(|_| OnlineRow {
            key: pick(rng, keys).clone(),
            event_us: *pick(rng, &[-1, 0, 1, 2, 1_700_000_000_000_000]),
            created_us: *pick(rng, &[None, Some(-1), Some(0), Some(5)]),
            ties: ties
                .iter()
                .map(|pool| or_null(rng, 0.2, |rng| pick(rng, pool).clone()))
                .collect(),
            is_tombstone: rng.random_bool(0.15),
            features: layout
                .features
                .iter()
                .map(|(_, value_type)| or_null(rng, 0.15, |rng| declared_value(rng, value_type)))
                .collect(),
        })
        .collect()
}

/// A batch of [`ViewLayout::write_schema`]. That a row is no tombstone is said by false and by null
/// in turn.
///
/// # Errors
/// A text if Arrow refuses a column.
pub fn write_batch(layout: &ViewLayout, rows: &[OnlineRow]) -> Result<RecordBatch, String> {
    let schema = Arc::new(layout.write_schema());
    let cells: Vec<Vec<Value>> = rows
        .iter()
        .enumerate()
        .map(|(at, row)| {
            let created = row.created_us.map_or(Value::Null, Value::Timestamp);
            let tombstone = match (row.is_tombstone, at % 2) {
                (true, _) => Value::Bool(true),
                (false, 0) => Value::Bool(false),
                (false, _) => Value::Null,
            };
            let header = [Value::Timestamp(row.event_us), created, tombstone];
            let parts = [&row.key[..], &header, &row.ties, &row.features];
            parts.concat()
        })
        .collect();
    batch(schema, &cells)
}

/// A batch of key columns, as reads and deletes take them; one row per key, also if there are no columns.
///
/// # Errors
/// A text if Arrow refuses a column.
pub fn key_batch(join_keys: &[JoinKey], keys: &[Vec<Value>]) -> Result<RecordBatch, String> {
    let fields: Vec<_> = join_keys
        .iter()
        .map(|key| key.value_type.to_field(&key.name))
        .collect();
    batch(Arc::new(Schema::new(fields)), keys)
}

/// Rows in batches of random sizes, some of them empty.
pub(crate) fn split_rows(rng: &mut StdRng, rows: Vec<OnlineRow>) -> Vec<Vec<OnlineRow>> {
    let mut batches = Vec::new();
    let mut rest = &rows[..];
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(rng.random_range(0..=rest.len()));
        batches.push(batch.to_vec());
        rest = after;
    }
    batches
}

fn batch(schema: Arc<Schema>, rows: &[Vec<Value>]) -> Result<RecordBatch, String> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (at, field) in schema.fields().iter().enumerate() {
        let values: Vec<Value> = rows.iter().map(|row| row[at].clone()).collect();
        columns.push(build(field.data_type(), &values)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(|error| error.to_string())
}

/// Up to eight different keys whose parts are drawn from few values.
fn random_keys(rng: &mut StdRng, join_keys: &[JoinKey]) -> Vec<Vec<Value>> {
    let mut keys: Vec<Vec<Value>> = vec![Vec::new()];
    for join_key in join_keys {
        let pool = key_pool(rng, &join_key.value_type);
        keys = keys
            .iter()
            .flat_map(|key| {
                pool.iter()
                    .map(move |value| [&key[..], std::slice::from_ref(value)].concat())
            })
            .collect();
    }
    keys.shuffle(rng);
    let mut different: Vec<Vec<Value>> = Vec::new();
    for key in keys {
        if different.len() < 8 && !different.iter().any(|other| is_same_key(other, &key)) {
            different.push(key);
        }
    }
    different
}

/// Whether two keys of one view are one.
pub(crate) fn is_same_key(a: &[Value], b: &[Value]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.is_identical(b))
}

fn or_null(rng: &mut StdRng, share: f64, value: impl FnOnce(&mut StdRng) -> Value) -> Value {
    if rng.random_bool(share) {
        Value::Null
    } else {
        value(rng)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rows_of_random_layouts_survive_their_batches() {
        for seed in 0..200 {
            let history = OnlineHistory::random(seed, "p");
            let rows = history.rows();
            let batch = write_batch(&history.layout, &rows).unwrap();
            let again = OnlineRow::read_all(&history.layout, &batch).unwrap();
            assert_eq!(format!("{rows:?}"), format!("{again:?}"), "seed {seed}");
        }
    }

    #[test]
    fn one_seed_makes_one_history() {
        let text = |seed| format!("{:?}", OnlineHistory::random(seed, "p"));
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }
}
