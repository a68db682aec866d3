//! Windows as of one instant.

use arrow_array::RecordBatch;
use provender_core::error::{Error, codes};
use provender_core::request::WindowsAt;

use super::aggregate::aggregate;
use super::compare::{check_columns, is_identical_row, read_row};
use super::source::{SourceRow, SourceRows, matches};
use super::{Expected, Value};
use crate::Tables;

/// What is answered for one key.
#[derive(Clone, Debug)]
pub struct ExpectedWindows {
    /// The key's parts.
    pub keys: Vec<Value>,
    /// Whether the key has a row in (active after, at], so that it is answered at all.
    pub is_active: bool,
    /// The aggregations.
    pub aggregations: Vec<Expected>,
}

/// The windows of every key of the source, in the order of first appearance.
///
/// # Errors
/// A text if the request cannot be evaluated.
pub fn windows(windows: &WindowsAt, tables: &Tables) -> Result<Vec<ExpectedWindows>, String> {
    let source = SourceRows::load(tables, &windows.source, &windows.keys)?;
    let mut answers: Vec<ExpectedWindows> = Vec::new();
    for row in &source.rows {
        let is_known = |answer: &ExpectedWindows| is_identical_row(&answer.keys, &row.keys);
        if row.keys.iter().any(Value::is_null) || answers.iter().any(is_known) {
            continue;
        }
        let mut mine: Vec<(&SourceRow, i64)> = Vec::new();
        for other in &source.rows {
            if let Some(event_us) = other.event_us
                && matches(other, &row.keys)
                && event_us <= windows.at_us
            {
                mine.push((other, event_us));
            }
        }
        let mut aggregations = Vec::new();
        for aggregation in &windows.aggregations {
            let inside = |event_us: i64| {
                i128::from(windows.at_us) - i128::from(event_us) < aggregation.window_us.into()
            };
            let rows: Vec<&SourceRow> = mine
                .iter()
                .filter(|(_, event_us)| inside(*event_us))
                .map(|(row, _)| *row)
                .collect();
            aggregations.push(aggregate(aggregation, &source, &rows)?);
        }
        answers.push(ExpectedWindows {
            keys: row.keys.clone(),
            is_active: mine
                .iter()
                .any(|(_, event_us)| *event_us > windows.active_after_us),
            aggregations,
        });
    }
    Ok(answers)
}

/// Says whether an answer is right: one row per active key, in any order; keys, then aggregations.
///
/// # Errors
/// A text that names key, what was expected and what was got.
pub fn check_windows(
    request: &WindowsAt,
    tables: &Tables,
    answer: &RecordBatch,
) -> Result<(), String> {
    let mut expected = windows(request, tables)?;
    expected.retain(|key| key.is_active);
    let keys = request.keys.iter();
    let aggregations = request.aggregations.iter();
    let columns: Vec<_> = keys
        .map(|key| (key.value_type.to_field(&key.spine), true))
        .chain(aggregations.map(|a| (a.value_type.to_field(&a.output), true)))
        .collect();
    check_columns(answer, &columns)?;
    let mut seen = vec![false; expected.len()];
    for row in 0..answer.num_rows() {
        let got = read_row(answer, row)?;
        let (keys, cells) = got.split_at(request.keys.len());
        let Some(at) = expected
            .iter()
            .position(|expected| is_identical_row(&expected.keys, keys))
        else {
            return Err(format!("key {keys:?} is not active"));
        };
        if std::mem::replace(&mut seen[at], true) {
            return Err(format!("key {keys:?} is answered twice"));
        }
        let asked = request.aggregations.iter().zip(&expected[at].aggregations);
        for ((aggregation, expected), got) in asked.zip(cells) {
            if !expected.accepts(got) {
                return Err(format!(
                    "key {keys:?}: {} {:?} over {}us: expected {expected:?}, got {got:?}",
                    aggregation.function, aggregation.output, aggregation.window_us
                ));
            }
        }
    }
    match seen.iter().position(|seen| !seen) {
        None => Ok(()),
        Some(at) => Err(format!("key {:?} is not answered", expected[at].keys)),
    }
}

/// Says whether a request was right to fail: with `P502` if the sum of any key overflows.
///
/// # Errors
/// A text that says why it should not have failed.
pub fn check_windows_error(
    request: &WindowsAt,
    tables: &Tables,
    error: &Error,
) -> Result<(), String> {
    let overflows = windows(request, tables)?
        .iter()
        .flat_map(|key| &key.aggregations)
        .any(|aggregation| matches!(aggregation, Expected::Overflow));
    if overflows && error.code() == codes::SUM_OVERFLOW.id {
        return Ok(());
    }
    Err(format!("expected an answer, got the error {error:?}"))
}
