//! Whether the rows that are held of a view are those that they should be.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{Field, Schema};
use provender_conformance::generate::build;
use provender_conformance::oracle::{ExpectedView, Value, latest, point_in_time_join, windows};
use provender_conformance::{SpineTable, Table, Tables};
use provender_core::request::{ColumnRange, LatestPerKey, PointInTimeJoin, ViewJoin, WindowsAt};
use provender_core::time::{instant_type, now_us};

use super::{HeldRows, Met, add};

/// Says whether the rows held of a view are those that they should be.
pub struct Judge<'a> {
    pub view: &'a ViewJoin,
    pub keys: &'a [Vec<Value>],
    pub at_us: i64,
    pub met: &'a Met,
}

impl Judge<'_> {
    pub fn rows(&self, tables: &Tables, held: &HeldRows) -> Result<(), String> {
        let join = PointInTimeJoin {
            views: vec![ViewJoin {
                ttl_us: None,
                ..self.view.clone()
            }],
            as_known: false,
        };
        let expected = point_in_time_join(&join, tables, &self.spine()?)?;
        let newest = latest(&times_of(self.view, Some(self.at_us)), tables)?;
        let windows = self.view.aggregations.iter();
        let longest_us = windows.map(|window| window.window_us).max().unwrap_or(0);
        let active_after_us = self.at_us.saturating_sub(longest_us);
        let active = windows_active(self.view, tables, self.at_us, active_after_us)?;
        for (row, key) in self.keys.iter().enumerate() {
            let got = (held.event_us[row], &held.features[row][..]);
            let mut newest = newest.iter();
            let newest = newest.find(|expected| is_same(&expected.keys, key));
            let newest_us = match newest {
                Some(expected) => expected.rows[0][0].clone()?.instant_us()?,
                None => None,
            };
            add(&self.met.n_keys, 1);
            add(&self.met.n_held, got.0.is_some().into());
            let judged = if self.view.aggregations.is_empty() {
                self.row(&expected[row][0], newest_us, got)
            } else {
                let is_active = active.iter().any(|other| is_same(other, key));
                self.windows(&expected[row][0], key, is_active, got)
            };
            judged.map_err(|why| format!("key {key:?}: {why}"))?;
        }
        Ok(())
    }

    fn spine(&self) -> Result<SpineTable, String> {
        let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
        for (at, key) in self.view.keys.iter().enumerate() {
            let values: Vec<Value> = self.keys.iter().map(|key| key[at].clone()).collect();
            let data_type = key.value_type.to_arrow();
            let values = build(&data_type, &values)?;
            columns.push((Field::new(&key.spine, data_type, true), values));
        }
        let times = vec![Value::Timestamp(self.at_us); self.keys.len()];
        let times = build(&instant_type(), &times)?;
        columns.push((Field::new("t", instant_type(), true), times));
        let numbers: Int64Array = (0..self.keys.len() as i64).collect();
        let number_field = Field::new("row", numbers.data_type().clone(), false);
        columns.push((number_field, Arc::new(numbers)));
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        Ok(SpineTable {
            table: Table::of(batch.map_err(|error| error.to_string())?),
            timestamp: "t".to_owned(),
            row_number: "row".to_owned(),
        })
    }

    /// A row of columns is the winner, event time and all.
    fn row(
        &self,
        expected: &ExpectedView,
        newest_us: Option<i64>,
        (event_us, features): (Option<i64>, &[Value]),
    ) -> Result<(), String> {
        if event_us != newest_us {
            let is_expired = newest_us.is_some_and(|us| is_expired(self.view, us));
            if event_us.is_none() && is_expired {
                add(&self.met.n_expired, 1);
                return Ok(());
            }
            return Err(format!(
                "expected the row of {newest_us:?}us, held is one of {event_us:?}us"
            ));
        }
        add(&self.met.n_ties, (expected.features.len() > 1).into());
        let is_right = |row: &Vec<Result<Value, String>>| {
            let row: Result<Vec<Value>, _> = row.iter().cloned().collect();
            row.is_ok_and(|row| is_same(&row, features))
        };
        if expected.features.iter().any(is_right) {
            return Ok(());
        }
        Err(format!(
            "expected one of {:?}, held is {features:?}",
            expected.features
        ))
    }

    /// Windows are as of the last run's end; a key without a row has empty ones.
    fn windows(
        &self,
        expected: &ExpectedView,
        key: &[Value],
        is_active: bool,
        (event_us, features): (Option<i64>, &[Value]),
    ) -> Result<(), String> {
        if is_active && event_us != Some(self.at_us) {
            return Err(format!(
                "its windows are as of {event_us:?}us and not of {}us",
                self.at_us
            ));
        }
        let empty = empty_windows(self.view, key);
        let got = if event_us.is_some() { features } else { &empty };
        let is_drained = event_us.is_some() && is_same(features, &empty);
        add(&self.met.n_drained, is_drained.into());
        let windows = self.view.aggregations.iter();
        for ((window, expected), got) in windows.zip(&expected.aggregations).zip(got) {
            if !expected.accepts(got) {
                return Err(format!(
                    "{} {:?} over {}us: expected {expected:?}, held is {got:?} as of {event_us:?}us",
                    window.function, window.output, window.window_us
                ));
            }
        }
        Ok(())
    }
}

/// The keys with a row in (after, at].
fn windows_active(
    view: &ViewJoin,
    tables: &Tables,
    at_us: i64,
    after_us: i64,
) -> Result<Vec<Vec<Value>>, String> {
    let request = WindowsAt {
        aggregations: Vec::new(),
        ..windows_of(view, at_us, after_us)
    };
    let keys = windows(&request, tables)?.into_iter();
    Ok(keys
        .filter(|key| key.is_active)
        .map(|key| key.keys)
        .collect())
}

/// The newest row of each key, or the newest that is not after an instant, without features.
pub fn times_of(view: &ViewJoin, at_us: Option<i64>) -> LatestPerKey {
    LatestPerKey {
        source: view.source.clone(),
        keys: view.keys.clone(),
        features: Vec::new(),
        ranges: at_us
            .map(|at_us| ColumnRange {
                column: view.source.timestamp.clone(),
                min_us: None,
                max_us: Some(at_us),
            })
            .into_iter()
            .collect(),
    }
}

pub fn windows_of(view: &ViewJoin, at_us: i64, active_after_us: i64) -> WindowsAt {
    WindowsAt {
        source: view.source.clone(),
        keys: view.keys.clone(),
        aggregations: view.aggregations.clone(),
        at_us,
        active_after_us,
    }
}

/// What a key without a row has: counts of zero, of a null key not even those.
pub fn empty_windows(view: &ViewJoin, key: &[Value]) -> Vec<Value> {
    let is_null = key.iter().any(Value::is_null);
    let windows = view.aggregations.iter();
    windows
        .map(|window| match window.function.is_count() && !is_null {
            true => Value::Int(0),
            false => Value::Null,
        })
        .collect()
}

/// Whether a row is older than its view's ttl now. The times of cases lie years from now.
pub fn is_expired(view: &ViewJoin, event_us: i64) -> bool {
    let oldest_us = view.ttl_us.map(|ttl_us| now_us().saturating_sub(ttl_us));
    oldest_us.is_some_and(|oldest_us| event_us < oldest_us)
}

/// Whether two keys or rows are the same, cell by cell.
pub fn is_same(a: &[Value], b: &[Value]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.is_identical(b))
}
