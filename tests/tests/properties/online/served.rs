//! Whether a prepared request for the service of all views answers what is held.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};
use provender_conformance::generate::build;
use provender_conformance::oracle::Value;
use provender_core::request::ViewJoin;
use provender_store::{OnlineRequest, Selection};

use super::HeldRows;
use super::judge::{empty_windows, is_expired};
use super::project::Project;
use super::world::{History, SERVICE};

/// Asks for the service of all views, and compares each cell with what the views' readers gave, seen
/// through the ttl.
pub async fn serve(
    project: &Project,
    history: &History,
    held: &[(Vec<Vec<Value>>, HeldRows)],
) -> Result<(), String> {
    let n_rows = held.iter().map(|(keys, _)| keys.len()).max().unwrap_or(0);
    let selection = Selection::service(SERVICE).map_err(|error| error.to_string())?;
    let request = OnlineRequest {
        status: true,
        ..OnlineRequest::new(selection)
    };
    let columns = |schema: &Schema| {
        let mut columns = Vec::new();
        for field in schema.fields() {
            columns.push(key_column(history, held, field, n_rows)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        RecordBatch::try_new_with_options(Arc::new(schema.clone()), columns, &options)
            .map_err(|error| error.to_string())
    };
    let answer = project.serve(&request, columns).await?;
    if answer.num_rows() != n_rows {
        return Err(format!("{} rows for {n_rows} keys", answer.num_rows()));
    }
    let column = |name: &str| {
        let column = answer.column_by_name(name);
        column.ok_or_else(|| format!("no column {name:?}"))
    };
    for (view, (keys, rows)) in history.views.iter().zip(held) {
        let statuses = column(&format!("{}__status", view.name))?.as_string::<i32>();
        let times = column(&format!("{}__event_timestamp", view.name))?;
        for row in 0..n_rows {
            let at = row % keys.len();
            let (status, features) = served(view, &keys[at], rows.event_us[at], &rows.features[at]);
            let told = |what: &str| format!("view {:?}, key {:?}: {what}", view.name, keys[at]);
            if statuses.value(row) != status {
                let why = format!("status {} and not {status}", statuses.value(row));
                return Err(told(&why));
            }
            if Value::read(times.as_ref(), row)?.instant_us()? != rows.event_us[at] {
                return Err(told("another event time"));
            }
            let features_of = view.features.iter().map(|feature| &feature.output);
            let windows_of = view.aggregations.iter().map(|window| &window.output);
            for (name, expected) in features_of.chain(windows_of).zip(&features) {
                let got = Value::read(column(name)?.as_ref(), row)?;
                if !got.is_identical(expected) {
                    return Err(told(&format!("{name:?} is {got:?} and not {expected:?}")));
                }
            }
        }
    }
    Ok(())
}

/// The column of a join key, its values again and again for as many rows as are asked.
fn key_column(
    history: &History,
    held: &[(Vec<Vec<Value>>, HeldRows)],
    field: &Field,
    n_rows: usize,
) -> Result<ArrayRef, String> {
    for (view, (keys, _)) in history.views.iter().zip(held) {
        let mut names = view.keys.iter();
        if let Some(at) = names.position(|key| key.spine == *field.name()) {
            let values = keys.iter().cycle().take(n_rows);
            let values: Vec<Value> = values.map(|key| key[at].clone()).collect();
            return build(field.data_type(), &values);
        }
    }
    Err(format!("nobody knows the key {:?}", field.name()))
}

/// What a request is answered for a row that is held.
fn served(
    view: &ViewJoin,
    key: &[Value],
    event_us: Option<i64>,
    features: &[Value],
) -> (&'static str, Vec<Value>) {
    let nothing = || match view.aggregations.is_empty() {
        true => vec![Value::Null; view.features.len()],
        false => empty_windows(view, key),
    };
    match event_us {
        None => ("NOT_FOUND", nothing()),
        Some(event_us) if is_expired(view, event_us) => ("OUTSIDE_MAX_AGE", nothing()),
        Some(_) if features.iter().all(Value::is_null) => ("NULL_VALUE", features.to_vec()),
        Some(_) => ("PRESENT", features.to_vec()),
    }
}
