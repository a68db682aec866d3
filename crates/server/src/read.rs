//! The operation `read`: offline rows of a view.

use arrow_schema::SchemaRef;
use provender_core::time::parse_instant;
use provender_core::{BatchStream, Context, Error, Result, codes};
use serde_json::Value;

use crate::state::State;

/// The columns of [`view_rows`].
///
/// # Errors
/// `NotFound` (`P401`) for an unknown view.
pub(crate) async fn view_schema(state: &State, cx: &Context, view: &str) -> Result<SchemaRef> {
    state.store.rows_schema(cx, view).await
}

/// A view's rows of `start < event time <= end`, read on the threads of historical work.
///
/// # Errors
/// `NotFound` (`P401`) for an unknown view, `InvalidArgument` (`P406`) for a time that is none.
pub(crate) async fn view_rows(
    state: &State,
    cx: &Context,
    view: &str,
    start: Option<&Value>,
    end: Option<&Value>,
) -> Result<BatchStream> {
    let start_us = instant("start", start)?;
    let end_us = instant("end", end)?;
    let place = state.background.admit()?;
    let store = state.store.clone();
    let work_cx = place.context(cx);
    let view = view.to_owned();
    let work = async move { store.rows(&work_cx, &view, start_us, end_us).await };
    state.background.stream(cx, place, work).await
}

/// RFC 3339 or whole microseconds; null is none.
pub(crate) fn instant(field: &str, value: Option<&Value>) -> Result<Option<i64>> {
    let read = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => parse_instant(text).ok(),
        Some(_) => None,
    };
    read.map(Some).ok_or_else(|| {
        Error::new(
            &codes::BAD_REQUEST,
            format!(
                "the field {field:?} is {}, and RFC 3339 or whole microseconds were expected",
                value.map(Value::to_string).unwrap_or_default()
            ),
        )
    })
}
