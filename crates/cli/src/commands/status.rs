//! `provender status`

use provender_core::provider::Interval;
use provender_core::time::format_instant;
use provender_store::ViewStatus;

use crate::args::OutputFormat;
use crate::errors::{DONE, Outcome, say};
use crate::output::{self, Rows};
use crate::session::Session;
use crate::times::{interval, size, span};

/// Shows what the online store holds of each view.
///
/// # Errors
/// If the registry or an online store cannot be reached.
pub(crate) async fn run(session: &Session) -> Outcome {
    let store = session.store().await?;
    let views = store.status(&session.cx).await?;
    let table = matches!(session.output, None | Some(OutputFormat::Table));
    if views.is_empty() && table {
        say("no feature view is applied; `provender apply` applies what is in features/");
        return Ok(DONE);
    }
    let rows = if table {
        for_people(&views)?
    } else {
        rows(&views)?
    };
    output::write_rows(session.output, &rows)?;
    Ok(DONE)
}

fn for_people(views: &[ViewStatus]) -> Outcome<arrow_array::RecordBatch> {
    let all = || views.iter();
    let online = |view: &ViewStatus| match (view.online, view.pushed) {
        (false, _) => "no",
        (true, false) => "yes",
        (true, true) => "yes, pushed to",
    };
    let last = |view: &ViewStatus| match &view.last_interval {
        Some(last) => interval(last),
        None => "never".to_owned(),
    };
    let rows = Rows::default()
        .text(
            "view",
            all().map(|view| super::materialize::name(&view.view)),
        )
        .text("online", all().map(online))
        .text("last materialised", all().map(last))
        .text_or_null("age", all().map(|view| view.freshness_us.map(span)))
        .numbers_or_null("rows", all().map(|view| view.n_rows))
        .text_or_null("size", all().map(|view| view.n_bytes.map(size)));
    // Stores that do not answer, or lost rows, are seldom, and the column is wide.
    if all().all(|view| view.note.is_none()) {
        return rows.batch();
    }
    rows.text_or_null("note", all().map(|view| view.note.as_ref()))
        .batch()
}

fn rows(views: &[ViewStatus]) -> Outcome<arrow_array::RecordBatch> {
    let all = || views.iter();
    let start = |last: &Interval| last.start_us.map(format_instant);
    let last = |view: &ViewStatus| view.last_interval;
    Rows::default()
        .text("view", all().map(|view| &view.view.view))
        .versions("version", all().map(|view| Some(view.view.version)))
        .bools("online", all().map(|view| view.online))
        .text_or_null(
            "start",
            all().map(|view| last(view).as_ref().and_then(start)),
        )
        .text_or_null(
            "end",
            all().map(|view| last(view).map(|last| format_instant(last.end_us))),
        )
        .signed_or_null("freshness_us", all().map(|view| view.freshness_us))
        .bools("pushed", all().map(|view| view.pushed))
        .numbers_or_null("rows", all().map(|view| view.n_rows))
        .numbers_or_null("bytes", all().map(|view| view.n_bytes))
        .bools("lost", all().map(|view| view.lost))
        .text_or_null("note", all().map(|view| view.note.as_ref()))
        .batch()
}
