//! Point-in-time joins, by the rules of the semantics in their order.

use arrow_array::RecordBatch;
use provender_core::error::{Error, codes};
use provender_core::request::{PointInTimeJoin, ViewJoin};

use super::aggregate::aggregate;
use super::compare::{check_columns, is_identical_row, read_row};
use super::source::{SourceRow, SourceRows, matches, newest};
use super::{Expected, Value, cast};
use crate::{SpineTable, Tables};

/// What one view may answer for one spine row.
#[derive(Clone, Debug)]
pub struct ExpectedView {
    /// The features of each row that may win: one, or several in a full tie. A value that does not fit
    /// its declared type is an error text.
    pub features: Vec<Vec<Result<Value, String>>>,
    /// The aggregations.
    pub aggregations: Vec<Expected>,
}

/// The right answers: for each spine row, one [`ExpectedView`] per view.
///
/// # Errors
/// A text if the request cannot be evaluated: a table or column is missing, or `as_known` meets a
/// view without created timestamp.
pub fn point_in_time_join(
    join: &PointInTimeJoin,
    tables: &Tables,
    spine: &SpineTable,
) -> Result<Vec<Vec<ExpectedView>>, String> {
    let mut answers = vec![Vec::new(); spine.table.n_rows()];
    for view in &join.views {
        if join.as_known && view.source.created_timestamp.is_none() {
            return Err(format!(
                "as_known needs a created timestamp of view {:?}",
                view.name
            ));
        }
        let source = SourceRows::load(tables, &view.source, &view.keys)?;
        let asked = asked(view, spine)?;
        for (answer, (keys, t)) in answers.iter_mut().zip(&asked) {
            answer.push(view_at(view, &source, keys, *t, join.as_known)?);
        }
    }
    Ok(answers)
}

/// Says whether an answer is right: one row per spine row, in order, with the features of all views in
/// order, a view's features before its aggregations.
///
/// # Errors
/// A text that names spine row, view, what was expected and what was got.
pub fn check_point_in_time_join(
    join: &PointInTimeJoin,
    tables: &Tables,
    spine: &SpineTable,
    answer: &RecordBatch,
) -> Result<(), String> {
    let expected = point_in_time_join(join, tables, spine)?;
    let mut columns = Vec::new();
    for view in &join.views {
        for feature in &view.features {
            columns.push((feature.value_type.to_field(&feature.output), true));
        }
        for aggregation in &view.aggregations {
            columns.push((aggregation.value_type.to_field(&aggregation.output), true));
        }
    }
    check_columns(answer, &columns)?;
    if answer.num_rows() != expected.len() {
        return Err(format!(
            "expected {} rows, one per spine row, got {}",
            expected.len(),
            answer.num_rows()
        ));
    }
    for (row, expected) in expected.iter().enumerate() {
        let got = read_row(answer, row)?;
        let mut got = got.as_slice();
        for (view, expected) in join.views.iter().zip(expected) {
            let (mine, rest) = got.split_at(view.features.len() + view.aggregations.len());
            got = rest;
            check_view(view, expected, mine)
                .map_err(|why| format!("spine row {row}, view {:?}: {why}", view.name))?;
        }
    }
    Ok(())
}

/// Says whether a join was right to fail: with `P501` if a value of a requested column does not fit
/// its declared type, with `P502` if a sum overflows, with `P405` for `as_known` without created timestamp.
///
/// # Errors
/// A text that says why the join should not have failed, or not so.
pub fn check_point_in_time_join_error(
    join: &PointInTimeJoin,
    tables: &Tables,
    spine: &SpineTable,
    error: &Error,
) -> Result<(), String> {
    if error.code() == codes::CREATED_REQUIRED.id {
        let lacks = |view: &ViewJoin| view.source.created_timestamp.is_none();
        if join.as_known && join.views.iter().any(lacks) {
            return Ok(());
        }
    } else if error.code() == codes::CHECKED_CAST.id {
        for view in &join.views {
            let source = SourceRows::load(tables, &view.source, &view.keys)?;
            for feature in &view.features {
                for row in &source.rows {
                    if source
                        .feature(row, &feature.column, &feature.value_type)?
                        .is_err()
                    {
                        return Ok(());
                    }
                }
            }
        }
    } else if error.code() == codes::SUM_OVERFLOW.id {
        let expected = point_in_time_join(join, tables, spine)?;
        let overflows = |view: &ExpectedView| {
            let mut aggregations = view.aggregations.iter();
            aggregations.any(|aggregation| matches!(aggregation, Expected::Overflow))
        };
        if expected.iter().flatten().any(overflows) {
            return Ok(());
        }
    }
    Err(format!("expected an answer, got the error {error:?}"))
}

fn check_view(view: &ViewJoin, expected: &ExpectedView, got: &[Value]) -> Result<(), String> {
    let (features, aggregations) = got.split_at(view.features.len());
    let is_right = |row: &Vec<Result<Value, String>>| {
        let values: Result<Vec<Value>, _> = row.iter().cloned().collect();
        values.is_ok_and(|values| is_identical_row(&values, features))
    };
    if !expected.features.iter().any(is_right) {
        let names: Vec<&str> = view.features.iter().map(|f| f.output.as_str()).collect();
        return Err(format!(
            "features {names:?}: expected one of {:?}, got {features:?}",
            expected.features
        ));
    }
    for ((aggregation, expected), got) in view
        .aggregations
        .iter()
        .zip(&expected.aggregations)
        .zip(aggregations)
    {
        if !expected.accepts(got) {
            return Err(format!(
                "{} {:?} over {}us: expected {expected:?}, got {got:?}",
                aggregation.function, aggregation.output, aggregation.window_us
            ));
        }
    }
    Ok(())
}

/// The keys and the time of a spine row.
type Asked = (Vec<Value>, Option<i64>);

/// The view's keys and the time of every spine row.
fn asked(view: &ViewJoin, spine: &SpineTable) -> Result<Vec<Asked>, String> {
    let mut asked = Vec::new();
    for batch in &spine.table.batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &str| {
                let array = batch
                    .column_by_name(column)
                    .ok_or_else(|| format!("the spine has no column {column:?}"))?;
                Value::read(array.as_ref(), row)
            };
            let mut keys = Vec::new();
            for key in &view.keys {
                keys.push(cast(&cell(&key.spine)?, &key.value_type)?);
            }
            asked.push((keys, cell(&spine.timestamp)?.instant_us()?));
        }
    }
    Ok(asked)
}

fn view_at(
    view: &ViewJoin,
    source: &SourceRows<'_>,
    keys: &[Value],
    t: Option<i64>,
    as_known: bool,
) -> Result<ExpectedView, String> {
    let nulls = ExpectedView {
        features: vec![vec![Ok(Value::Null); view.features.len()]],
        aggregations: vec![Expected::exactly(Value::Null); view.aggregations.len()],
    };
    let Some(t) = t else { return Ok(nulls) };
    if keys.iter().any(Value::is_null) {
        return Ok(nulls);
    }
    // Differences of instants are taken in 128 bits, so that no ttl or window is too long for them.
    let mut known: Vec<(&SourceRow, i128)> = Vec::new();
    for row in &source.rows {
        let Some(event_us) = row.event_us else {
            continue;
        };
        let is_known = !as_known || row.created_us.is_some_and(|created_us| created_us <= t);
        if matches(row, keys) && event_us <= t && is_known {
            known.push((row, i128::from(t) - i128::from(event_us)));
        }
    }
    let candidates: Vec<&SourceRow> = known
        .iter()
        .filter(|(_, age_us)| view.ttl_us.is_none_or(|ttl_us| *age_us <= ttl_us.into()))
        .map(|(row, _)| *row)
        .collect();
    let mut answer = nulls;
    if !candidates.is_empty() {
        answer.features.clear();
        for winner in newest(&candidates) {
            let mut features = Vec::new();
            for feature in &view.features {
                features.push(source.feature(winner, &feature.column, &feature.value_type)?);
            }
            answer.features.push(features);
        }
    }
    answer.aggregations.clear();
    for aggregation in &view.aggregations {
        let rows: Vec<&SourceRow> = known
            .iter()
            .filter(|(_, age_us)| *age_us < aggregation.window_us.into())
            .map(|(row, _)| *row)
            .collect();
        answer
            .aggregations
            .push(aggregate(aggregation, source, &rows)?);
    }
    Ok(answer)
}
