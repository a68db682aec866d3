//! The latest row of each key, by plain comparison of every row that is written.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use provender_core::request::ViewLayout;

use super::{Value, order};

/// One row of an online write.
#[derive(Clone, Debug)]
pub struct OnlineRow {
    /// The join keys.
    pub key: Vec<Value>,
    /// The event time, in microseconds.
    pub event_us: i64,
    /// The created time, in microseconds; `None` is lowest.
    pub created_us: Option<i64>,
    /// The tie breakers; null is lowest.
    pub ties: Vec<Value>,
    /// Whether the row says that the key is gone.
    pub is_tombstone: bool,
    /// The features.
    pub features: Vec<Value>,
}

impl OnlineRow {
    /// Reads a batch of [`ViewLayout::write_schema`].
    ///
    /// # Errors
    /// A text that names the row for a null in a key or in the event time, or a type without values.
    pub fn read_all(layout: &ViewLayout, batch: &RecordBatch) -> Result<Vec<Self>, String> {
        let n_keys = layout.join_keys.len();
        let n_ties = layout.tie_breakers.len();
        let mut rows = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let mut cells = Vec::with_capacity(batch.num_columns());
            for column in batch.columns() {
                cells.push(Value::read(column.as_ref(), row)?);
            }
            let features = cells.split_off(n_keys + 3 + n_ties);
            let ties = cells.split_off(n_keys + 3);
            let header = cells.split_off(n_keys);
            if let Some(at) = cells.iter().position(Value::is_null) {
                let name = &layout.join_keys[at].name;
                return Err(format!("row {row} has a null in join key {name:?}"));
            }
            let event_us = header[0]
                .instant_us()?
                .ok_or_else(|| format!("row {row} has no event time"))?;
            rows.push(Self {
                key: cells,
                event_us,
                created_us: header[1].instant_us()?,
                ties,
                is_tombstone: matches!(header[2], Value::Bool(true)),
                features,
            });
        }
        Ok(rows)
    }

    /// Which of two rows of one key is newer; equal is a full tie.
    pub fn newness(&self, other: &Self) -> Ordering {
        self.event_us
            .cmp(&other.event_us)
            .then(self.created_us.cmp(&other.created_us))
            .then_with(|| order_values(&self.ties, &other.ties))
    }
}

/// What an online store holds of one version of a view: the newest row of each key, tombstones
/// included.
#[derive(Clone, Debug, Default)]
pub struct LatestRows {
    rows: BTreeMap<Key, OnlineRow>,
}

impl LatestRows {
    /// Takes a row in: it is held if no newer one is, and replaces one that it fully ties with.
    /// Answers whether it is held.
    pub fn write(&mut self, row: OnlineRow) -> bool {
        let key = Key(row.key.clone());
        if let Some(held) = self.rows.get(&key)
            && row.newness(held) == Ordering::Less
        {
            return false;
        }
        self.rows.insert(key, row);
        true
    }

    /// Forgets a key, whatever its times.
    pub fn delete(&mut self, key: &[Value]) {
        self.rows.remove(&Key(key.to_vec()));
    }

    /// The live row of a key: none if the newest is a tombstone, or if the key holds a null.
    pub fn get(&self, key: &[Value]) -> Option<&OnlineRow> {
        if key.iter().any(Value::is_null) {
            return None;
        }
        let row = self.rows.get(&Key(key.to_vec()))?;
        (!row.is_tombstone).then_some(row)
    }

    /// Every row, by key, tombstones included.
    pub fn rows(&self) -> impl Iterator<Item = &OnlineRow> {
        self.rows.values()
    }

    /// How many rows are held, tombstones included.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }
}

/// Keys by the order of their values. Keys are of types that have an order, and of one view each.
#[derive(Clone, Debug)]
struct Key(Vec<Value>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        order_values(&self.0, &other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

fn order_values(a: &[Value], b: &[Value]) -> Ordering {
    let mut pairs = a.iter().zip(b);
    pairs
        .find_map(|(a, b)| Some(order(a, b)).filter(|order| order.is_ne()))
        .unwrap_or(Ordering::Equal)
}
