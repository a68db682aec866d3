//! `provender materialize` and `provender materialize-incremental`

use std::sync::Arc;

use provender_core::provider::ViewVersion;
use provender_core::time::format_instant;
use provender_store::{Materialize, MaterializeRange, MaterializedView, Progress};

use crate::args::{IncrementalArgs, MaterializeArgs};
use crate::errors::{DONE, Outcome, say, usage};
use crate::output::{self, Rows};
use crate::progress::{Bars, plural};
use crate::session::Session;
use crate::times::{interval, typed_instant};

/// Writes the newest rows of a range.
///
/// # Errors
/// Wrong usage for times that are none, `P401` for a view that is not applied, `P601` for one that is
/// not online, `P305` while another run of a view is in progress.
pub(crate) async fn run(session: &Session, args: MaterializeArgs) -> Outcome {
    let start_us = typed_instant("START", &args.start)?;
    let end_us = typed_instant("END", &args.end)?;
    if start_us >= end_us {
        return Err(usage(
            format!(
                "START {} is not before END {}",
                format_instant(start_us),
                format_instant(end_us)
            ),
            "rows after START are written, up to and with END",
        ));
    }
    let range = MaterializeRange::Explicit { start_us, end_us };
    materialize(session, args.views.named(), range).await
}

/// Writes what is new since the last run.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_incremental(session: &Session, args: IncrementalArgs) -> Outcome {
    let end_us = match &args.end {
        Some(text) => Some(typed_instant("--end", text)?),
        None => None,
    };
    let range = MaterializeRange::Incremental { end_us };
    materialize(session, args.views.named(), range).await
}

async fn materialize(
    session: &Session,
    views: Option<Vec<String>>,
    range: MaterializeRange,
) -> Outcome {
    let store = session.store().await?;
    let request = Materialize { views, range };
    let bars = Arc::new(Bars::default());
    let on_progress = {
        let bars = bars.clone();
        Arc::new(move |progress| match progress {
            Progress::Reading { view, n_rows } => bars.rows(&name(&view), "reading", n_rows, None),
            Progress::Writing {
                view,
                n_rows,
                n_total,
            } => bars.rows(&name(&view), "writing", n_rows, Some(n_total)),
            Progress::Done(view) => bars.done(&name(&view.view), &sentence(&view)),
        })
    };
    let done = store
        .materialize(&session.cx, &request, on_progress)
        .await?;
    drop(bars);
    if done.is_empty() {
        say("no feature view is online, so there is nothing to materialize");
    }
    if session.output.is_some() {
        output::write_rows(session.output, &rows(&done)?)?;
    }
    Ok(DONE)
}

/// `view@version`.
pub(super) fn name(view: &ViewVersion) -> String {
    format!("{}@{}", view.view, view.version)
}

fn sentence(done: &MaterializedView) -> String {
    let view = name(&done.view);
    match &done.skipped {
        Some(why) => format!("{view}: {why}"),
        None => {
            let written = format!(
                "{view}: {} of {} ({:.1} s)",
                plural(done.summary.n_rows, "row"),
                interval(&done.interval),
                done.elapsed.as_secs_f64()
            );
            match &done.lost {
                Some(lost) => format!("{written}; {lost}"),
                None => written,
            }
        }
    }
}

fn rows(done: &[MaterializedView]) -> Outcome<arrow_array::RecordBatch> {
    let all = || done.iter();
    let start = |view: &MaterializedView| view.interval.start_us.map(format_instant);
    let seconds = |view: &MaterializedView| view.elapsed.as_millis() as f64 / 1_000.0;
    Rows::default()
        .text("view", all().map(|view| &view.view.view))
        .versions("version", all().map(|view| Some(view.view.version)))
        .text_or_null("start", all().map(start))
        .text(
            "end",
            all().map(|view| format_instant(view.interval.end_us)),
        )
        .numbers("rows", all().map(|view| view.summary.n_rows))
        .numbers("changed", all().map(|view| view.summary.n_applied))
        .fractions("seconds", all().map(seconds))
        .text_or_null("skipped", all().map(|view| view.skipped.as_ref()))
        .text_or_null("lost", all().map(|view| view.lost.as_ref()))
        .batch()
}
