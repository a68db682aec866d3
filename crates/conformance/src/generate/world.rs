//! The tables of a case: keys shared between them, times on one grid, columns of all types.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use provender_core::ValueType;
use provender_core::model::AggregateFunction;
use provender_core::request::{FeatureColumn, KeyColumn, SourceRef, TimedSource, WindowAggregate};
use provender_core::time::DAY_US;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::build;
use super::types::{
    ColumnKind, feature_kind, found_type, key_found_type, key_pool, key_type, pick, time_type,
};
use crate::oracle::Value;
use crate::{Table, Tables};

/// A join key that tables and the spine share.
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) declared: ValueType,
    pub(crate) pool: Vec<Value>,
}

/// A key's column in one table.
pub(crate) struct KeyInTable {
    pub(crate) key: usize,
    pub(crate) column: String,
    pub(crate) found: DataType,
}

/// A table and what is known of its columns.
pub(crate) struct TableKind {
    pub(crate) name: String,
    pub(crate) keys: Vec<KeyInTable>,
    pub(crate) source: TimedSource,
    pub(crate) features: Vec<(String, ColumnKind)>,
}

/// Everything that a case's request is drawn from.
pub(crate) struct World {
    pub(crate) keys: Vec<Key>,
    pub(crate) tables: Vec<TableKind>,
    pub(crate) rows: Tables,
    /// Event and created times that the tables hold, in microseconds.
    pub(crate) instants: Vec<i64>,
    pub(crate) step_us: i64,
    base_us: i64,
}

impl World {
    pub(crate) fn random(rng: &mut StdRng) -> Result<Self, String> {
        let n_keys = rng.random_range(1..=3);
        let keys = (0..n_keys)
            .map(|at| {
                let declared = key_type(rng);
                let pool = key_pool(rng, &declared);
                let names = [
                    format!("k{at}"),
                    format!("Key {at}"),
                    format!("schlüssel.{at}"),
                ];
                Key {
                    name: pick(rng, &names).clone(),
                    declared,
                    pool,
                }
            })
            .collect();
        let steps = [1, 7, 1_000, 1_000_000, 3_600_000_000, DAY_US, 30 * DAY_US];
        let mut world = Self {
            keys,
            tables: Vec::new(),
            rows: Tables::new(),
            instants: Vec::new(),
            step_us: *pick(rng, &steps),
            // From 1700 to 2200, and often across the epoch.
            base_us: if rng.random_bool(0.3) {
                -*pick(rng, &[0, 1, 2, 1_000_001, DAY_US])
            } else {
                rng.random_range(-8_520_336_000_000_000..7_258_118_400_000_000)
            },
        };
        let n_tables = rng.random_range(1..=3);
        for at in 0..n_tables {
            world.add_table(rng, at)?;
        }
        if world.instants.is_empty() {
            world.instants.push(world.base_us);
        }
        Ok(world)
    }

    /// An instant that a request asks about: one that a table holds, moved by nothing, by a microsecond,
    /// or by one of the lengths (ttls, windows) of the case and a microsecond to either side.
    pub(crate) fn asked_instant(&self, rng: &mut StdRng, lengths_us: &[i64]) -> i64 {
        let held = *pick(rng, &self.instants);
        let edge = *pick(rng, &[-1, 0, 0, 0, 1]);
        let moved = match rng.random_range(0..4) {
            0 | 1 if !lengths_us.is_empty() => {
                let length_us = *pick(rng, lengths_us);
                // Lengths of thousands of years stand for no limit; nothing lies at their edge.
                if length_us < 100_000 * DAY_US {
                    held + length_us
                } else {
                    held
                }
            }
            2 => held + self.step_us * rng.random_range(-1..=3),
            _ => held,
        };
        moved + edge
    }

    /// A ttl or window.
    pub(crate) fn length_us(&self, rng: &mut StdRng) -> i64 {
        match rng.random_range(0..20) {
            0 => i64::MAX,
            1 => 1,
            2 => 2,
            3 => 500 * 365 * DAY_US,
            4 | 5 => DAY_US,
            _ => self.step_us * rng.random_range(1..=4),
        }
    }

    fn instant(&self, rng: &mut StdRng) -> i64 {
        self.base_us + self.step_us * rng.random_range(0..6)
    }

    fn add_table(&mut self, rng: &mut StdRng, at: usize) -> Result<(), String> {
        let n_rows = match rng.random_range(0..10) {
            0 => rng.random_range(0..=1),
            1..4 => rng.random_range(2..=8),
            _ => rng.random_range(9..=60),
        };
        let mut columns = Columns::default();
        let mut keys = Vec::new();
        for (key_at, key) in self.keys.iter().enumerate() {
            if rng.random_bool(0.3) {
                continue;
            }
            let column = match rng.random_range(0..3) {
                0 => key.name.clone(),
                1 => format!("key_{key_at}_of_table"),
                _ => format!("K{key_at}"),
            };
            let found = key_found_type(rng, &key.declared);
            columns.add(rng, &column, &found, n_rows, 0.08, |rng| {
                pick(rng, &key.pool).clone()
            })?;
            keys.push(KeyInTable {
                key: key_at,
                column,
                found,
            });
        }
        let timestamp = pick(rng, &["event time", "ts", "select"]).to_string();
        let event_type = time_type(rng);
        let nulls = if rng.random() { 0.1 } else { 0.0 };
        columns.add(rng, &timestamp, &event_type, n_rows, nulls, |rng| {
            Value::Timestamp(self.instant(rng))
        })?;
        let created_timestamp = rng.random_bool(0.65).then(|| "created \"at\"".to_owned());
        if let Some(column) = &created_timestamp {
            let created_type = time_type(rng);
            let nulls = if rng.random() { 0.25 } else { 0.0 };
            columns.add(rng, column, &created_type, n_rows, nulls, |rng| {
                Value::Timestamp(self.instant(rng))
            })?;
        }
        let n_tie_breakers = pick(rng, &[0, 0, 1, 1, 2]);
        let mut tie_breakers = Vec::new();
        for at in 0..*n_tie_breakers {
            let column = format!("seq{at}");
            let types = [
                ValueType::Int64,
                ValueType::UInt8,
                ValueType::String,
                ValueType::Float64,
                ValueType::Float32,
                ValueType::Bool,
                ValueType::Date,
                ValueType::Timestamp,
                ValueType::Decimal(10, 2),
                ValueType::Binary,
            ];
            let declared = pick(rng, &types).clone();
            let found = found_type(rng, &declared);
            let pool = key_pool(rng, &declared);
            columns.add(rng, &column, &found, n_rows, 0.2, |rng| {
                pick(rng, &pool).clone()
            })?;
            tie_breakers.push(column);
        }
        let mut features = Vec::new();
        for feature_at in 0..rng.random_range(1..=5) {
            let kind = feature_kind(rng);
            let names = [
                format!("c{feature_at}"),
                format!("temp °C {feature_at}"),
                format!("a.b{feature_at}"),
            ];
            let column = pick(rng, &names).clone();
            columns.add(rng, &column, &kind.found, n_rows, 0.15, |rng| {
                pick(rng, &kind.pool).clone()
            })?;
            if kind.declared == ValueType::Json && rng.random() {
                columns.mark_json();
            }
            features.push((column, kind));
        }
        if rng.random_bool(0.3) {
            // Names differ from another column's in case alone.
            columns.add(rng, "C0", &DataType::Int64, n_rows, 0.0, |_| {
                Value::Int(-77)
            })?;
            columns.add(rng, "TS", &DataType::Int64, n_rows, 0.0, |_| {
                Value::Int(-78)
            })?;
        }
        for column in [Some(&timestamp), created_timestamp.as_ref()] {
            if let Some(array) = column.and_then(|column| columns.array(column)) {
                for row in 0..n_rows {
                    let instant_us = Value::read(array.as_ref(), row)?.instant_us()?;
                    self.instants.extend(instant_us);
                }
            }
        }
        let name = pick(rng, &["t", "weather ", "Ä.b"]).to_string() + &at.to_string();
        let batch = columns.into_batch(rng)?;
        self.rows.insert(name.clone(), split(rng, batch));
        self.tables.push(TableKind {
            source: TimedSource {
                source: SourceRef::table(&name),
                timestamp,
                created_timestamp,
                tie_breakers,
            },
            name,
            keys,
            features,
        });
        Ok(())
    }
}

impl TableKind {
    /// Keys of a view of this table: mostly all of them, in any order, seldom fewer.
    pub(crate) fn view_keys(
        &self,
        rng: &mut StdRng,
        keys: &[Key],
        spine_name: impl Fn(&mut StdRng, &Key) -> String,
    ) -> Vec<KeyColumn> {
        let mut chosen: Vec<&KeyInTable> = self.keys.iter().collect();
        chosen.shuffle(rng);
        if rng.random_bool(0.1) {
            chosen.truncate(rng.random_range(0..=chosen.len()));
        }
        chosen
            .into_iter()
            .map(|in_table| KeyColumn {
                spine: spine_name(rng, &keys[in_table.key]),
                column: in_table.column.clone(),
                value_type: keys[in_table.key].declared.clone(),
            })
            .collect()
    }

    /// Features of a view of this table, under output names that start with the prefix.
    pub(crate) fn view_features(
        &self,
        rng: &mut StdRng,
        keys: &[Key],
        prefix: &str,
    ) -> Vec<FeatureColumn> {
        (0..rng.random_range(1..=4))
            .map(|at| {
                let output = format!("{prefix}{at}");
                if rng.random_bool(0.08) {
                    return FeatureColumn {
                        column: self.source.timestamp.clone(),
                        output,
                        value_type: ValueType::Timestamp,
                        checked: false,
                    };
                }
                if !self.keys.is_empty() && rng.random_bool(0.08) {
                    let key = pick(rng, &self.keys);
                    let value_type = keys[key.key].declared.clone();
                    return FeatureColumn {
                        column: key.column.clone(),
                        output,
                        checked: value_type.implies_checked(&key.found),
                        value_type,
                    };
                }
                let (column, kind) = pick(rng, &self.features);
                FeatureColumn {
                    column: column.clone(),
                    output,
                    value_type: kind.declared.clone(),
                    checked: kind.checked,
                }
            })
            .collect()
    }

    /// Windows over columns of this table, under output names that start with the prefix.
    pub(crate) fn view_aggregations(
        &self,
        rng: &mut StdRng,
        world: &World,
        prefix: &str,
    ) -> Vec<WindowAggregate> {
        let n_aggregations = rng.random_range(1..=5);
        let mut aggregations = Vec::new();
        while aggregations.len() < n_aggregations {
            let (name, kind) = pick(rng, &self.features);
            // Sums of numbers at the edges of their type, so that some overflow.
            let function = if !kind.is_moderate && rng.random_bool(0.3) {
                AggregateFunction::Sum
            } else {
                *pick(rng, &AggregateFunction::ALL)
            };
            let counts_rows = function == AggregateFunction::Count && rng.random();
            let input = ValueType::from_arrow(&kind.found);
            let input = if counts_rows { None } else { input };
            let adds = matches!(
                function,
                AggregateFunction::Sum | AggregateFunction::Mean | AggregateFunction::Stddev
            );
            if input.as_ref().is_some_and(ValueType::is_float) && adds && !kind.is_moderate {
                continue;
            }
            if input.is_none() && function != AggregateFunction::Count {
                continue;
            }
            if let Some(value_type) = function.result_type(input.as_ref()) {
                aggregations.push(WindowAggregate {
                    function,
                    column: input.is_some().then(|| name.clone()),
                    window_us: world.length_us(rng),
                    output: format!("{prefix}{}", aggregations.len()),
                    value_type,
                });
            }
        }
        aggregations
    }
}

/// Columns of one table while it is made.
#[derive(Default)]
struct Columns {
    columns: Vec<(Field, ArrayRef)>,
}

impl Columns {
    fn add(
        &mut self,
        rng: &mut StdRng,
        name: &str,
        data_type: &DataType,
        n_rows: usize,
        nulls: f64,
        value: impl Fn(&mut StdRng) -> Value,
    ) -> Result<(), String> {
        let values: Vec<Value> = (0..n_rows)
            .map(|_| {
                if rng.random_bool(nulls) {
                    Value::Null
                } else {
                    value(rng)
                }
            })
            .collect();
        let array = build(data_type, &values)?;
        let has_nulls = *data_type == DataType::Null || array.null_count() > 0;
        let is_nullable = has_nulls || rng.random_bool(0.7);
        self.columns
            .push((Field::new(name, data_type.clone(), is_nullable), array));
        Ok(())
    }

    /// Gives the newest column JSON's extension name, if its type is the one that the name allows.
    fn mark_json(&mut self) {
        if let Some((field, _)) = self.columns.last_mut()
            && *field.data_type() == DataType::Utf8
        {
            let json = ValueType::Json.to_field("");
            field.set_metadata(json.metadata().clone());
        }
    }

    fn array(&self, name: &str) -> Option<&ArrayRef> {
        let mut columns = self.columns.iter();
        columns
            .find(|(field, _)| field.name() == name)
            .map(|(_, array)| array)
    }

    fn into_batch(mut self, rng: &mut StdRng) -> Result<RecordBatch, String> {
        self.columns.shuffle(rng);
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = self.columns.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|error| error.to_string())
    }
}

/// The rows of a batch in several batches, some of them empty, or in one, or in none if it is empty.
pub(crate) fn split(rng: &mut StdRng, batch: RecordBatch) -> Table {
    let schema = batch.schema();
    if batch.num_rows() == 0 && rng.random() {
        return Table::empty(schema);
    }
    if rng.random_bool(0.3) {
        return Table::of(batch);
    }
    let mut batches = Vec::new();
    let mut start = 0;
    while start < batch.num_rows() {
        let n_rows = rng.random_range(0..=(batch.num_rows() - start).min(12));
        batches.push(batch.slice(start, n_rows));
        start += n_rows;
    }
    Table { schema, batches }
}
