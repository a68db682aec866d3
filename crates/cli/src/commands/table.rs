//! `provender table`

use std::time::Instant;

use provender_core::model::SourceVersion;
use provender_core::request::{Maintenance, MaintenanceSummary, MaintenanceWork, Optimise, Vacuum};
use provender_core::size::parse_size;
use provender_core::time::parse_duration;
use serde::Serialize;

use crate::args::{OptimiseArgs, OutputFormat, TableCommand, VacuumArgs};
use crate::errors::{DONE, Outcome, say, usage};
use crate::output;
use crate::progress::plural;
use crate::session::Session;
use crate::times::size;

/// What `--output json` shows.
#[derive(Serialize)]
struct Done<'a> {
    table: &'a str,
    #[serde(flatten)]
    summary: &'a MaintenanceSummary,
}

/// Looks after a table.
///
/// # Errors
/// `P120` if there is no such table, `P515` for a time to keep files that is too short, `P801` for a
/// store that does not look after tables.
pub(crate) async fn run(session: &Session, command: TableCommand) -> Outcome {
    match command {
        TableCommand::Optimise(args) => optimise(session, args).await,
        TableCommand::Vacuum(args) => vacuum(session, args).await,
    }
}

async fn optimise(session: &Session, args: OptimiseArgs) -> Outcome {
    let target_bytes = args
        .target_size
        .as_deref()
        .map(|text| {
            parse_size(text).map_err(|why| {
                usage(
                    format!("--target-size {text:?} is no size: {why}"),
                    "write a whole number and a unit, such as 256MiB",
                )
            })
        })
        .transpose()?;
    let work = MaintenanceWork::Optimise(Optimise {
        target_bytes,
        order_by: args.order_by,
    });
    let started = Instant::now();
    let (table, summary) = work_on(session, args.store, args.table, work).await?;
    let seconds = started.elapsed().as_secs_f64();
    if summary.n_removed == 0 {
        let files = plural(summary.n_files, "file");
        say(&format!("table {table} has nothing to optimise: {files}"));
        return Ok(DONE);
    }
    say(&format!(
        "optimised table {table}: {} ({}) became {} ({}), {} now{} ({seconds:.1} s)",
        plural(summary.n_removed, "file"),
        size(summary.removed_bytes),
        summary.n_added,
        size(summary.added_bytes),
        plural(summary.n_files, "file"),
        at_version(&summary),
    ));
    Ok(DONE)
}

async fn vacuum(session: &Session, args: VacuumArgs) -> Outcome {
    let retain_us = args.keep.as_deref().map(kept).transpose()?;
    let work = MaintenanceWork::Vacuum(Vacuum {
        retain_us,
        force: args.force,
        forget_history: args.forget_history,
        dry_run: args.dry_run,
    });
    let started = Instant::now();
    let (table, summary) = work_on(session, args.store, args.table, work).await?;
    let seconds = started.elapsed().as_secs_f64();
    let files = plural(summary.n_removed, "file");
    let bytes = size(summary.removed_bytes);
    if args.dry_run {
        if matches!(session.output, None | Some(OutputFormat::Table)) {
            let lines = summary.removed.iter().map(|path| format!("{path}\n"));
            output::text(&lines.collect::<String>())?;
        }
        say(&format!(
            "vacuuming table {table} would remove {files} ({bytes}); nothing was removed"
        ));
        return Ok(DONE);
    }
    let forgotten = match (args.forget_history, summary.n_forgotten) {
        (false, _) => String::new(),
        (true, 0) => ", and no past version was old enough to be forgotten".to_owned(),
        (true, 1) => ", and 1 entry of its log".to_owned(),
        (true, n) => format!(", and {n} entries of its log"),
    };
    say(&format!(
        "vacuumed table {table}: removed {files} ({bytes}){forgotten}, {} left{} ({seconds:.1} s)",
        plural(summary.n_files, "file"),
        at_version(&summary),
    ));
    Ok(DONE)
}

/// A time to keep files; none at all is one too.
fn kept(text: &str) -> Outcome<u64> {
    let is_zero = text
        .trim()
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        == "0";
    if is_zero {
        return Ok(0);
    }
    let us = parse_duration(text).map_err(|error| {
        usage(
            format!("--keep {text:?} is no duration: {}", error.message()),
            "write a whole number and a unit, such as 30d, or 0",
        )
    })?;
    Ok(us.unsigned_abs())
}

async fn work_on(
    session: &Session,
    store: Option<String>,
    table: String,
    work: MaintenanceWork,
) -> Outcome<(String, MaintenanceSummary)> {
    let feature_store = session.store().await?;
    let maintenance = Maintenance { table, work };
    let summary = feature_store
        .maintain(&session.cx, store.as_deref(), &maintenance)
        .await?;
    if session.output == Some(OutputFormat::Json) {
        output::json(&Done {
            table: &maintenance.table,
            summary: &summary,
        })?;
    }
    Ok((maintenance.table, summary))
}

fn at_version(summary: &MaintenanceSummary) -> String {
    match &summary.version {
        Some(SourceVersion::Number(number)) => format!(", at version {number}"),
        _ => String::new(),
    }
}
