//! `provender historical`

use std::time::Instant;

use provender_core::BatchStream;
use provender_core::model::Relation;
use provender_core::request::SqlSpine;
use provender_store::{FeatureStore, HistoricalRequest, Selection};

use crate::args::HistoricalArgs;
use crate::errors::{DONE, Failure, Outcome, say, usage};
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
    let request = request(&args)?;
    let spine = match &args.spine {
        Some(path) => Some(InputFile::new(
            path,
            args.spine_format,
            args.columns.schema.as_deref(),
        )?),
        None => None,
    };
    let destination = match &args.out {
        Some(path) => Destination::file(path, session.output)?,
        None => Destination::stdout(session.output)?,
    };
    if args.explain {
        return explain(session, &request, spine).await;
    }
    let store = session.store().await?;
    let opened = destination.open()?;
    let started = Instant::now();
    let (rows, total) = match spine {
        Some(file) => from_file(session, &store, &request, file).await?,
        None => {
            let sql = sql_spine(&args);
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

fn request(args: &HistoricalArgs) -> Outcome<HistoricalRequest> {
    let selection = match &args.service {
        Some(service) => Selection::service(service),
        None => Selection::features(&args.features.join(",")),
    };
    Ok(HistoricalRequest {
        selection: selection.map_err(Failure::Usage)?,
        timestamp: args.timestamp.clone(),
        as_known: args.as_known,
        full_feature_names: args.full_feature_names,
    })
}

fn sql_spine(args: &HistoricalArgs) -> SqlSpine {
    SqlSpine {
        relation: Relation::Query(args.spine_sql.clone().unwrap_or_default()),
        // Without a name the store finds it as in any spine.
        timestamp: args.timestamp.clone().unwrap_or_default(),
    }
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
    request: &HistoricalRequest,
    spine: Option<InputFile>,
) -> Outcome {
    let Some(spine) = spine else {
        return Err(usage(
            "--explain needs the columns of a spine, and a --spine-sql has none before it runs",
            "pass --spine FILE",
        ));
    };
    let store = session.store().await?;
    let schema = spine.open(&session.cx).await?.stream.schema;
    let mut text = store
        .explain_historical(&session.cx, request, &schema)
        .await?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    output::text(&text)?;
    Ok(DONE)
}
