//! `provender historical`

use std::time::Instant;

use provender_core::BatchStream;
use provender_store::{FeatureStore, HistoricalRequest};

use super::training::{request, spine_file, sql_spine};
use crate::args::HistoricalArgs;
use crate::errors::{DONE, Outcome, say};
use crate::input::{Input, InputFile};
use crate::output::{self, Destination};
use crate::progress::{Progress, plural};
use crate::session::Session;

/// Builds a training set.
///
/// # Errors
/// `P401` to `P408` for a request or spine that does not fit, `P901` and `P902` for an output that
/// cannot be written.
pub(crate) async fn run(session: &Session, args: HistoricalArgs) -> Outcome {
    let request = request(&args.training)?;
    let spine = spine_file(&args.training)?;
    let destination = match &args.out {
        Some(path) => Destination::file(path, session.output)?,
        None => Destination::stdout(session.output)?,
    };
    if args.explain {
        return explain(session, &args, &request, spine).await;
    }
    let store = session.store().await?;
    let opened = destination.open()?;
    let started = Instant::now();
    let (rows, total) = match spine {
        Some(file) => from_file(session, &store, &request, file).await?,
        None => {
            let sql = sql_spine(&args.training);
            let rows = store.historical_sql(&session.cx, &request, sql).await?;
            (rows, None)
        }
    };
    let progress = Progress::rows("building", total);
    let written = opened.write(progress.watch(rows), args.limit).await?;
    drop(progress);
    if let Some(path) = &args.out {
        say(&format!(
            "wrote {} of {} to {} ({:.1} s)",
            plural(written.n_rows, "row"),
            plural(written.n_columns as u64, "column"),
            path.display(),
            started.elapsed().as_secs_f64()
        ));
    }
    Ok(DONE)
}

async fn from_file(
    session: &Session,
    store: &FeatureStore,
    request: &HistoricalRequest,
    file: InputFile,
) -> Outcome<(BatchStream, Option<u64>)> {
    let Input { stream, n_rows } = file.open(&session.cx).await?;
    let rows = store.historical(&session.cx, request, stream).await?;
    Ok((rows, n_rows))
}

async fn explain(
    session: &Session,
    args: &HistoricalArgs,
    request: &HistoricalRequest,
    spine: Option<InputFile>,
) -> Outcome {
    let store = session.store().await?;
    let cx = &session.cx;
    let mut text = match spine {
        Some(spine) => {
            let schema = spine.open(cx).await?.stream.schema;
            store.explain_historical(cx, request, &schema).await?
        }
        None => {
            let sql = sql_spine(&args.training);
            store.explain_historical_sql(cx, request, sql).await?
        }
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    output::text(&text)?;
    Ok(DONE)
}
