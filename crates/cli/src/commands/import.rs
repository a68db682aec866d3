//! `provender import`

use std::time::Instant;

use provender_core::model::SourceVersion;
use provender_core::request::{WriteMode, WriteSummary};
use provender_core::time::format_instant;
use provender_store::Import;
use serde::Serialize;

use crate::args::{ImportArgs, OutputFormat};
use crate::errors::{DONE, Outcome, say};
use crate::input::InputFile;
use crate::output;
use crate::progress::{Progress, plural};
use crate::session::Session;

/// What `--output json` shows.
#[derive(Serialize)]
struct Imported<'a> {
    table: &'a str,
    #[serde(flatten)]
    summary: &'a WriteSummary,
}

/// Makes a table from a file, or appends to it.
///
/// # Errors
/// `P407` for a file that cannot be read, `P505` for columns that do not fit the table's.
pub(crate) async fn run(session: &Session, args: ImportArgs) -> Outcome {
    let file = InputFile::new(&args.file, args.format, args.columns.schema.as_deref())?;
    let name = file.name();
    let store = session.store().await?;
    let started = Instant::now();
    let input = file.open(&session.cx).await?;
    let progress = Progress::rows(&format!("importing {name}"), input.n_rows);
    let import = Import {
        table: args.table.clone(),
        store: args.store,
        mode: if args.overwrite {
            WriteMode::Overwrite
        } else if args.add_columns {
            WriteMode::Extend
        } else {
            WriteMode::Append
        },
        partition_by: args.partition_by,
    };
    let rows = progress.watch(input.stream);
    let summary = store.import(&session.cx, &import, rows).await?;
    drop(progress);
    if session.output == Some(OutputFormat::Json) {
        output::json(&Imported {
            table: &args.table,
            summary: &summary,
        })?;
    }
    let version = match &summary.version {
        None => String::new(),
        Some(SourceVersion::Number(number)) => format!(", now at version {number}"),
        Some(SourceVersion::TimestampUs(us)) => format!(", now as of {}", format_instant(*us)),
        Some(SourceVersion::Token(token)) => format!(", now at version {token}"),
    };
    say(&format!(
        "imported {} into table {}{version} ({:.1} s)",
        plural(summary.n_rows, "row"),
        args.table,
        started.elapsed().as_secs_f64()
    ));
    Ok(DONE)
}
