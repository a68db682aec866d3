//! Calls that must fail, and what they leave behind.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, RecordBatch, RecordBatchOptions};
use arrow_schema::Schema;
use provender_core::error::{Error, codes};
use provender_core::request::{ViewLayout, WriteSummary};
use provender_core::{BatchStream, Context, ErrorKind, ValueType};

use super::judge::{check, int, latest, layout, plan, prepare, row, string, write};
use super::{Harness, ensure, fails, works};
use crate::generate::{key_batch, write_batch};
use crate::oracle::{LatestRows, OnlineRow, Value};

fn flights(cx: &Context) -> ViewLayout {
    let keys = [ValueType::String, ValueType::Int64];
    layout(
        cx,
        "flights",
        &keys,
        &[ValueType::Float64, ValueType::String],
    )
}

fn key(name: &str) -> Vec<Value> {
    vec![string(name), int(1)]
}

fn flight(name: &str, event_us: i64) -> OnlineRow {
    row(key(name), event_us, vec![Value::Float64(0.5), string(name)])
}

pub(super) async fn other_columns_are_refused(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let layout = flights(&cx);
    let right = write_batch(&layout, &[flight("a", 2)])?;
    let n_columns = right.num_columns();
    let all: Vec<usize> = (0..n_columns).collect();
    let mut swapped = all.clone();
    swapped.swap(n_columns - 2, n_columns - 1);
    let mut swapped_keys = all.clone();
    swapped_keys.swap(0, 1);
    let mut wrong = vec![
        (
            "a feature is missing",
            project(&right, &all[..n_columns - 1])?,
        ),
        ("a key is missing", project(&right, &all[1..])?),
        ("there are no columns", project(&right, &[])?),
        (
            "a column is there twice",
            project(&right, &[&all[..], &[0]].concat())?,
        ),
        ("features are swapped", project(&right, &swapped)?),
        ("keys are swapped", project(&right, &swapped_keys)?),
    ];
    type Change = fn(&mut ViewLayout);
    let changes: [(&str, Change); 5] = [
        ("a key is of another type", |layout| {
            layout.join_keys[1].value_type = ValueType::Int32;
        }),
        ("a feature is of another type", |layout| {
            layout.features[0].1 = ValueType::Float32;
        }),
        ("a feature is binary instead of text", |layout| {
            layout.features[1].1 = ValueType::Binary;
        }),
        ("there is a tie breaker", |layout| {
            layout.tie_breakers.push(ValueType::Int64);
        }),
        ("there is one more feature", |layout| {
            layout.features.push(("more".to_owned(), ValueType::Int64));
        }),
    ];
    for (what, change) in changes {
        let mut other = layout.clone();
        change(&mut other);
        wrong.push((what, write_batch(&other, &nulls(&other))?));
    }
    for (what, batch) in &wrong {
        let what = format!("a write where {what}");
        refused(
            &what,
            &layout,
            write_stream(harness, &cx, &layout, batch).await,
        )?;
    }
    let keys = key_batch(&layout.join_keys, &[key("a")])?;
    let wrong_keys = [
        ("a key is missing", project(&keys, &[0])?),
        ("keys are swapped", project(&keys, &[1, 0])?),
        ("there are more columns", right.clone()),
    ];
    write(harness.handle(0), &cx, &layout, &[flight("a", 1)]).await?;
    for (what, batch) in wrong_keys {
        let what = format!("a delete where {what}");
        refused(
            &what,
            &layout,
            harness.handle(0).delete(&cx, &layout, batch).await,
        )?;
    }
    let expected = latest(&[flight("a", 1)]);
    check(harness.handle(1), &cx, &layout, &[key("a")], &expected)
        .await
        .map_err(|why| format!("after refused calls: {why}"))
}

pub(super) async fn nulls_in_keys_and_event_times_are_refused(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let layout = flights(&cx);
    let rows = [flight("a", 2), flight("b", 2), flight("c", 2)];
    let right = write_batch(&layout, &rows)?;
    for (column, what) in [
        (0, "its first key"),
        (1, "its second key"),
        (2, "its event time"),
    ] {
        let mut columns = right.columns().to_vec();
        // The second row's value is taken away.
        let kept = columns[column].slice(0, 1);
        let null = arrow_array::new_null_array(kept.data_type(), 1);
        let rest = columns[column].slice(2, 1);
        let parts: [&dyn Array; 3] = [&kept, &null, &rest];
        columns[column] = arrow_select::concat::concat(&parts).map_err(|why| why.to_string())?;
        let batch = RecordBatch::try_new(right.schema(), columns).map_err(|why| why.to_string())?;
        let what = format!("a write of a row with a null in {what}");
        refused(
            &what,
            &layout,
            write_stream(harness, &cx, &layout, &batch).await,
        )?;
    }
    // Rows of the failed calls may be held or not, and writing all again is right.
    write(harness.handle(1), &cx, &layout, &rows).await?;
    let keys = [
        key("a"),
        key("b"),
        key("c"),
        vec![Value::Null, int(1)],
        vec![string("b"), Value::Null],
        vec![string(""), int(1)],
        vec![string("b"), int(0)],
    ];
    check(harness.handle(0), &cx, &layout, &keys, &latest(&rows)).await
}

pub(super) async fn plans_that_do_not_fit_are_refused(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let layout = flights(&cx);
    let plans = [
        ("a feature that is not there", plan(&layout, &[0, 2])),
        ("a key column that is not there", {
            let mut plan = plan(&layout, &[0]);
            plan.views[0].key_columns = vec![0, 2];
            plan
        }),
        ("too few key columns", {
            let mut plan = plan(&layout, &[0]);
            plan.views[0].key_columns = vec![0];
            plan
        }),
        ("too many key columns", {
            let mut plan = plan(&layout, &[0]);
            plan.views[0].key_columns = vec![0, 1, 1];
            plan
        }),
        ("keys of each other's types", {
            let mut plan = plan(&layout, &[0]);
            plan.views[0].key_columns = vec![1, 0];
            plan
        }),
        ("a key of another width", {
            let mut plan = plan(&layout, &[0]);
            plan.keys[1].value_type = ValueType::Int32;
            plan
        }),
    ];
    for (what, plan) in plans {
        let answer = harness.handle(0).prepare(&cx, Arc::new(plan)).await;
        let what = format!("a plan with {what}");
        fails(
            &what,
            ErrorKind::InvalidArgument,
            answer.map(|_| "a reader"),
        )?;
    }
    Ok(())
}

pub(super) async fn cancelled_and_late_calls_fail(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let layout = flights(&cx);
    let version = layout.view_version();
    let store = harness.handle(0);
    let held = [flight("held", 1)];
    write(store, &cx, &layout, &held).await?;
    let reader = prepare(store, &cx, &layout, &[0, 1]).await?;
    let cancelled = Context::new(cx.project());
    cancelled.cancel();
    let late = Context::new(cx.project()).with_timeout(Duration::ZERO);
    let contexts = [
        (&cancelled, ErrorKind::Cancelled),
        (&late, ErrorKind::DeadlineExceeded),
    ];
    for (ended, kind) in contexts {
        let keys = key_batch(&layout.join_keys, &[key("held")])?;
        let batch = write_batch(&layout, &[flight("held", 9), flight("new", 9)])?;
        fails("read", kind, reader.read(ended, &keys).await)?;
        let answer = store.prepare(ended, Arc::new(plan(&layout, &[0]))).await;
        fails("prepare", kind, answer.map(|_| "a reader"))?;
        let stream = BatchStream::from_batches(batch.schema(), vec![batch]);
        fails("write", kind, store.write(ended, &layout, stream).await)?;
        fails("delete", kind, store.delete(ended, &layout, keys).await)?;
        fails("views", kind, store.views(ended).await)?;
        fails("stats", kind, store.stats(ended, &version).await)?;
        fails("drop_view", kind, store.drop_view(ended, &version).await)?;
        let keys = [key("held"), key("new")];
        check(harness.handle(1), &cx, &layout, &keys, &latest(&held))
            .await
            .map_err(|why| format!("after calls that fail with {kind:?}: {why}"))?;
    }
    Ok(())
}

pub(super) async fn errors_of_the_rows_are_passed_on(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let layout = flights(&cx);
    let rows = [flight("a", 1), flight("b", 1), flight("c", 1)];
    let batch = write_batch(&layout, &rows)?;
    let broken = Error::new(&codes::OFFLINE_UNAVAILABLE, "the source went away");
    let batches = [Ok(batch.slice(0, 2)), Err(broken)];
    let stream = BatchStream::new(batch.schema(), futures::stream::iter(batches));
    let answer = harness.handle(0).write(&cx, &layout, stream).await;
    let error = fails(
        "a write whose rows end in an error",
        ErrorKind::Unavailable,
        answer,
    )?;
    let is_passed_on = error.code() == codes::OFFLINE_UNAVAILABLE.id
        && error.to_string().contains("the source went away");
    ensure(is_passed_on, || {
        format!("the rows' own error should be passed on, got {error:?}")
    })?;
    write(harness.handle(1), &cx, &layout, &rows).await?;
    let keys = ["a", "b", "c", "d"].map(key);
    let expected: LatestRows = latest(&rows);
    check(harness.handle(0), &cx, &layout, &keys, &expected).await
}

pub(super) async fn check_answers_and_identity_stays(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    crate::rules::identity(harness.handle(0), &cx).await
}

pub(super) async fn checkpoints_hold(harness: &Harness, cx: Context) -> Result<(), String> {
    let layout = flights(&cx);
    let version = layout.view_version();
    let (first, second) = (harness.handle(0), harness.handle(1));
    write(first, &cx, &layout, &[flight("a", 1)]).await?;
    let mark = works("checkpoint", first.checkpoint(&cx, &version, None).await)?;
    let Some(mark) = mark else {
        // A store that cannot lose rows marks nothing, and holds whatever it is asked about.
        let holds = works("holds", second.holds(&cx, &version, 1).await)?;
        return ensure(holds, || {
            "a store without checkpoints says that rows are lost".to_owned()
        });
    };
    let holds = works("holds", second.holds(&cx, &version, mark).await)?;
    ensure(holds, || {
        format!("nothing was lost, and checkpoint {mark} does not hold")
    })?;
    write(second, &cx, &layout, &[flight("b", 1)]).await?;
    let next = works(
        "checkpoint",
        second.checkpoint(&cx, &version, Some(mark)).await,
    )?;
    ensure(next.is_some_and(|next| next > mark), || {
        format!("numbers of checkpoints grow: {next:?} after {mark}")
    })?;
    let holds = works(
        "holds",
        first.holds(&cx, &version, next.unwrap_or(mark)).await,
    )?;
    ensure(holds, || {
        format!("nothing was lost, and checkpoint {next:?} does not hold")
    })
}

/// One row of a layout, all nulls but for keys and times.
fn nulls(layout: &ViewLayout) -> Vec<OnlineRow> {
    let mut row = row(key("a"), 5, vec![Value::Null; layout.features.len()]);
    row.ties = vec![Value::Null; layout.tie_breakers.len()];
    vec![row]
}

async fn write_stream(
    harness: &Harness,
    cx: &Context,
    layout: &ViewLayout,
    batch: &RecordBatch,
) -> Result<WriteSummary, Error> {
    let stream = BatchStream::from_batches(batch.schema(), vec![batch.clone()]);
    harness.handle(0).write(cx, layout, stream).await
}

/// `InvalidArgument` (`P406`), with a text that names the view.
fn refused<T: std::fmt::Debug>(
    what: &str,
    layout: &ViewLayout,
    answer: Result<T, Error>,
) -> Result<(), String> {
    let error = fails(what, ErrorKind::InvalidArgument, answer)?;
    ensure(error.code() == codes::BAD_REQUEST.id, || {
        format!("{what} has the code P406, got {error:?}")
    })?;
    ensure(error.to_string().contains(&layout.view), || {
        format!("{what} names the view, got {error:?}")
    })
}

fn project(batch: &RecordBatch, columns: &[usize]) -> Result<RecordBatch, String> {
    let schema = batch.schema();
    let fields: Vec<_> = columns.iter().map(|&at| schema.field(at).clone()).collect();
    let arrays = columns.iter().map(|&at| batch.column(at).clone()).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|why| why.to_string())
}
