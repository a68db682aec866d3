//! The latest row per key.

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field};
use provender_core::error::{Error, codes};
use provender_core::request::{ColumnRange, LatestPerKey};

use super::Value;
use super::compare::{check_columns, is_identical_row, read_row};
use super::source::{SourceRow, SourceRows, newest};
use crate::Tables;

/// What may be answered for one key.
#[derive(Clone, Debug)]
pub struct ExpectedKey {
    /// The key's parts.
    pub keys: Vec<Value>,
    /// Each row that may win: event time, created time if the source has one, tie breakers, features.
    pub rows: Vec<Vec<Result<Value, String>>>,
}

/// The right answers: one per key with a row inside of all ranges, in the order of first appearance.
///
/// # Errors
/// A text if the request cannot be evaluated.
pub fn latest(latest: &LatestPerKey, tables: &Tables) -> Result<Vec<ExpectedKey>, String> {
    let source = SourceRows::load(tables, &latest.source, &latest.keys)?;
    let mut groups: Vec<(Vec<Value>, Vec<&SourceRow>)> = Vec::new();
    for row in candidates(latest, &source)? {
        match groups
            .iter_mut()
            .find(|(keys, _)| is_identical_row(keys, &row.keys))
        {
            Some((_, rows)) => rows.push(row),
            None => groups.push((row.keys.clone(), vec![row])),
        }
    }
    let mut answers = Vec::new();
    for (keys, rows) in groups {
        let mut acceptable = Vec::new();
        for winner in newest(&rows) {
            let mut cells = vec![Ok(instant(winner.event_us))];
            if latest.source.created_timestamp.is_some() {
                cells.push(Ok(instant(winner.created_us)));
            }
            for column in &latest.source.tie_breakers {
                cells.push(Ok(source.cell(winner, column)?));
            }
            for feature in &latest.features {
                cells.push(source.feature(winner, &feature.column, &feature.value_type)?);
            }
            acceptable.push(cells);
        }
        answers.push(ExpectedKey {
            keys,
            rows: acceptable,
        });
    }
    Ok(answers)
}

/// Says whether an answer is right: one row per key, in any order; keys, event time, created time, tie
/// breakers, features. Times and tie breakers may have any type that holds their values.
///
/// # Errors
/// A text that names key, what was expected and what was got.
pub fn check_latest(
    request: &LatestPerKey,
    tables: &Tables,
    answer: &RecordBatch,
) -> Result<(), String> {
    let expected = latest(request, tables)?;
    let loose = |name: &String| (Field::new(name, DataType::Null, true), false);
    let mut columns = Vec::new();
    for key in &request.keys {
        columns.push((key.value_type.to_field(&key.spine), true));
    }
    columns.push(loose(&request.source.timestamp));
    columns.extend(request.source.created_timestamp.iter().map(loose));
    columns.extend(request.source.tie_breakers.iter().map(loose));
    for feature in &request.features {
        columns.push((feature.value_type.to_field(&feature.output), true));
    }
    check_columns(answer, &columns)?;
    let mut seen = vec![false; expected.len()];
    for row in 0..answer.num_rows() {
        let got = read_row(answer, row)?;
        let (keys, mut cells) = (
            &got[..request.keys.len()],
            got[request.keys.len()..].to_vec(),
        );
        let Some(at) = expected
            .iter()
            .position(|expected| is_identical_row(&expected.keys, keys))
        else {
            return Err(format!("key {keys:?} has no row in the asked ranges"));
        };
        if std::mem::replace(&mut seen[at], true) {
            return Err(format!("key {keys:?} is answered twice"));
        }
        let n_times = 1 + usize::from(request.source.created_timestamp.is_some());
        for time in &mut cells[..n_times] {
            *time = instant(time.instant_us()?);
        }
        let is_right = |row: &Vec<Result<Value, String>>| {
            let values: Result<Vec<Value>, _> = row.iter().cloned().collect();
            values.is_ok_and(|values| is_identical_row(&values, &cells))
        };
        if !expected[at].rows.iter().any(is_right) {
            return Err(format!(
                "key {keys:?}: expected one of {:?}, got {cells:?}",
                expected[at].rows
            ));
        }
    }
    match seen.iter().position(|seen| !seen) {
        None => Ok(()),
        Some(at) => Err(format!("key {:?} is not answered", expected[at].keys)),
    }
}

/// Says whether a request was right to fail: with `P501` if a value of a requested column does not fit.
///
/// # Errors
/// A text that says why it should not have failed.
pub fn check_latest_error(
    request: &LatestPerKey,
    tables: &Tables,
    error: &Error,
) -> Result<(), String> {
    let source = SourceRows::load(tables, &request.source, &request.keys)?;
    for feature in &request.features {
        for row in &source.rows {
            let fits = source.feature(row, &feature.column, &feature.value_type)?;
            if fits.is_err() && error.code() == codes::CHECKED_CAST.id {
                return Ok(());
            }
        }
    }
    Err(format!("expected an answer, got the error {error:?}"))
}

fn candidates<'r>(
    latest: &LatestPerKey,
    source: &'r SourceRows<'_>,
) -> Result<Vec<&'r SourceRow>, String> {
    let mut candidates = Vec::new();
    'rows: for row in &source.rows {
        if row.event_us.is_none() || row.keys.iter().any(Value::is_null) {
            continue;
        }
        for range in &latest.ranges {
            if !contains(range, source.cell(row, &range.column)?.instant_us()?) {
                continue 'rows;
            }
        }
        candidates.push(row);
    }
    Ok(candidates)
}

/// Whether an instant lies in a range, both ends included; null lies in none.
pub(crate) fn contains(range: &ColumnRange, instant_us: Option<i64>) -> bool {
    instant_us.is_some_and(|us| {
        range.min_us.is_none_or(|min_us| min_us <= us)
            && range.max_us.is_none_or(|max_us| us <= max_us)
    })
}

fn instant(us: Option<i64>) -> Value {
    us.map_or(Value::Null, Value::Timestamp)
}
