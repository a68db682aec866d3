//! `provender dataset`

use std::time::Instant;

use provender_store::{
    CreateDataset, Dataset, DatasetDiff, DatasetSpine, Recreation, RowDiff, Split, SplitOptions,
    version_text,
};

use provender_core::{Error, codes};
use serde::Serialize;

use super::training::{request, spine_file, sql_spine};
use crate::args::{
    DatasetCommand, DatasetCreateArgs, DatasetDeleteArgs, DatasetDiffArgs, DatasetRecreateArgs,
    DatasetShowArgs, OutputFormat,
};
use crate::confirm::confirmed;
use crate::errors::{DONE, Failure, Outcome, say, usage};
use crate::input::Input;
use crate::output::{self, Destination, Rows};
use crate::progress::{Progress, plural};
use crate::session::Session;

mod show;

/// Does what was asked of datasets.
///
/// # Errors
/// The subcommand's.
pub(crate) async fn run(session: &Session, command: DatasetCommand) -> Outcome {
    match command {
        DatasetCommand::Create(args) => create(session, *args).await,
        DatasetCommand::List => list(session).await,
        DatasetCommand::Show(args) => show(session, &args).await,
        DatasetCommand::Diff(args) => diff(session, &args).await,
        DatasetCommand::Recreate(args) => recreate(session, &args).await,
        DatasetCommand::Delete(args) => delete(session, &args).await,
    }
}

/// # Errors
/// As `historical`, and `P421` if the dataset exists.
async fn create(session: &Session, args: DatasetCreateArgs) -> Outcome {
    let request = request(&args.training)?;
    let split = match &args.split {
        None => None,
        Some(text) => {
            let options = SplitOptions {
                seed: args.seed,
                columns: args.split_by,
                parts: args.split_names,
                column: args.split_column,
            };
            Some(Split::parse(text, options).map_err(Failure::Usage)?)
        }
    };
    let file = spine_file(&args.training)?;
    let store = session.store().await?;
    let started = Instant::now();
    let (spine, total) = match file {
        None => (DatasetSpine::Sql(sql_spine(&args.training)), None),
        Some(file) => {
            let Input { stream, n_rows } = file.open(&session.cx).await?;
            (DatasetSpine::Rows(stream), n_rows)
        }
    };
    let create = CreateDataset {
        name: args.name,
        new_version: args.new_version,
        request,
        store: args.store,
        split,
        command: typed(),
    };
    let progress = Progress::rows(&format!("building {}", create.name), total);
    let made = store
        .create_dataset(&session.cx, &create, spine, |rows| progress.watch(rows))
        .await?;
    drop(progress);
    if session.output == Some(OutputFormat::Json) {
        output::json(&made)?;
    }
    say(&format!(
        "made dataset {} of {} and {} in table {} ({:.1} s)",
        made.full_name(),
        plural(made.n_rows, "row"),
        plural(made.columns.len() as u64, "column"),
        made.table.table,
        started.elapsed().as_secs_f64()
    ));
    warn(&made);
    Ok(DONE)
}

/// Says what is worth a look though it is no mistake.
fn warn(dataset: &Dataset) {
    let parts = dataset.columns.last();
    if let (Some(split), Some(parts)) = (&dataset.split, parts)
        && parts.statistics.distinct < split.parts.len() as u64
    {
        say(&format!(
            "warning: {} has {} parts, and there are rows in {} of them",
            split.rule_text(),
            split.parts.len(),
            parts.statistics.distinct
        ));
    }
    for used in dataset.unpinned() {
        say(&format!(
            "warning: source {} was read in a state that cannot be named, so the rows may not come out the same again: {}",
            used.source,
            used.not_pinned.as_deref().unwrap_or("the store names none")
        ));
    }
}

/// What was typed, quoted for a shell.
fn typed() -> String {
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./:,=@+%".contains(c))
    };
    let mut words = vec!["provender".to_owned()];
    for word in std::env::args_os().skip(1) {
        let word = word.to_string_lossy();
        words.push(if plain(&word) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        });
    }
    words.join(" ")
}

async fn list(session: &Session) -> Outcome {
    let store = session.store().await?;
    let datasets = store.datasets(&session.cx).await?;
    if datasets.is_empty() && matches!(session.output, None | Some(OutputFormat::Table)) {
        say("there is no dataset; `provender dataset create` makes one");
        return Ok(DONE);
    }
    let all = || datasets.iter();
    let asked = |dataset: &Dataset| match &dataset.request.service {
        Some(service) => service.clone(),
        None => {
            let views = dataset.request.features.iter();
            views
                .map(|of| of.view.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        }
    };
    let split = |dataset: &Dataset| dataset.split.as_ref().map(Split::rule_text);
    let rows = Rows::default()
        .text("name", all().map(|dataset| &dataset.name))
        .versions("version", all().map(|dataset| Some(dataset.version)))
        .text("created", all().map(|dataset| &dataset.created_at))
        .text("by", all().map(|dataset| &dataset.created_by))
        .text("features", all().map(asked))
        .numbers("rows", all().map(|dataset| dataset.n_rows))
        .numbers("columns", all().map(|dataset| dataset.columns.len() as u64))
        .text_or_null("split", all().map(split))
        .text("table", all().map(|dataset| &dataset.table.table));
    output::write_rows(session.output, &rows.batch()?)?;
    Ok(DONE)
}

/// As rows (CSV, Arrow, Parquet) its columns with their statistics.
///
/// # Errors
/// `P420` for an unknown dataset.
async fn show(session: &Session, args: &DatasetShowArgs) -> Outcome {
    let store = session.store().await?;
    let dataset = store.dataset(&session.cx, &args.name).await?;
    match session.output {
        None | Some(OutputFormat::Table) => output::text(&show::text(&dataset)?)?,
        Some(OutputFormat::Json) => output::json(&dataset)?,
        Some(_) => output::write_rows(session.output, &show::columns(&dataset)?)?,
    }
    Ok(DONE)
}

/// # Errors
/// `P420` for an unknown dataset; with `--rows` what the stores say.
async fn diff(session: &Session, args: &DatasetDiffArgs) -> Outcome {
    let store = session.store().await?;
    let diff = store.diff_datasets(&session.cx, &args.a, &args.b).await?;
    let rows = if args.rows {
        let rows = store
            .diff_dataset_rows(&session.cx, &diff.a, &diff.b, args.limit)
            .await?;
        Some(rows)
    } else {
        None
    };
    match (session.output, &rows) {
        (None | Some(OutputFormat::Table), _) => output::text(&diff_text(&diff, rows.as_ref())?)?,
        (Some(OutputFormat::Json), None) => output::json(&diff)?,
        (Some(_), Some(rows)) => {
            output::write_rows(session.output, &rows.rows)?;
            say(&count_text(&diff, rows));
        }
        (Some(_), None) => output::write_rows(session.output, &diff_rows(&diff)?)?,
    }
    Ok(DONE)
}

fn diff_rows(diff: &DatasetDiff) -> Outcome<arrow_array::RecordBatch> {
    let all = || diff.differences.iter();
    Rows::default()
        .text("part", all().map(|found| found.part.name()))
        .text("name", all().map(|found| &found.name))
        .text("field", all().map(|found| &found.field))
        .text_or_null(&diff.a, all().map(|found| found.a.as_ref()))
        .text_or_null(
            // Two columns of one name would be one in JSON.
            &if diff.a == diff.b {
                format!("{} ", diff.b)
            } else {
                diff.b.clone()
            },
            all().map(|found| found.b.as_ref()),
        )
        .batch()
}

fn diff_text(diff: &DatasetDiff, rows: Option<&RowDiff>) -> Outcome<String> {
    let mut text = if diff.differences.is_empty() {
        format!("{} and {} do not differ\n", diff.a, diff.b)
    } else {
        output::table(&diff_rows(diff)?)?
    };
    if diff.same_rows {
        text.push_str("\nboth hold the same rows in the same order, bit for bit\n");
    }
    if let Some(rows) = rows {
        text.push_str(&format!("\n{}\n", count_text(diff, rows)));
        if rows.rows.num_rows() > 0 {
            text.push_str(&output::table(&rows.rows)?);
        }
    }
    Ok(text)
}

fn count_text(diff: &DatasetDiff, rows: &RowDiff) -> String {
    format!(
        "{} only in {}, {} only in {}",
        plural(rows.only_a, "row"),
        diff.a,
        plural(rows.only_b, "row"),
        diff.b
    )
}

/// # Errors
/// `P506` for a recorded state that is gone, `P520` if other rows came out.
async fn recreate(session: &Session, args: &DatasetRecreateArgs) -> Outcome {
    if args.restore && !matches!(session.output, None | Some(OutputFormat::Json)) {
        return Err(usage(
            "--restore writes the rows to the dataset's table and none to stdout",
            "leave --output out, or use --output json for the manifest",
        ));
    }
    let destination = match &args.out {
        Some(path) => Destination::file(path, session.output)?,
        None => Destination::stdout(session.output)?,
    };
    let store = session.store().await?;
    let started = Instant::now();
    if args.restore {
        let progress = Progress::rows("building", None);
        let dataset = store
            .restore_dataset(&session.cx, &args.name, |rows| progress.watch(rows))
            .await?;
        drop(progress);
        if session.output == Some(OutputFormat::Json) {
            output::json(&dataset)?;
        }
        let version = dataset.table.version.as_ref().map(version_text);
        let version = version.map_or_else(String::new, |text| format!(", now at {text}"));
        same(&dataset, started);
        say(&format!(
            "they are in table {} again{version}",
            dataset.table.table
        ));
        return Ok(DONE);
    }
    let opened = destination.open()?;
    let Recreation { dataset, rows } = store.recreate_dataset(&session.cx, &args.name).await?;
    let progress = Progress::rows("building", Some(dataset.n_rows));
    opened.write(progress.watch(rows), args.limit).await?;
    drop(progress);
    same(&dataset, started);
    if let Some(path) = &args.out {
        say(&format!("wrote them to {}", path.display()));
    }
    Ok(DONE)
}

fn same(dataset: &Dataset, started: Instant) {
    say(&format!(
        "recreated dataset {}: the same {}, bit for bit, {} ({:.1} s)",
        dataset.full_name(),
        plural(dataset.n_rows, "row"),
        dataset.hash,
        started.elapsed().as_secs_f64()
    ));
}

/// What `dataset delete --output json` shows.
#[derive(Serialize)]
struct Deleted<'a> {
    deleted: Vec<String>,
    emptied: Vec<&'a str>,
}

/// # Errors
/// `P420` for an unknown dataset, `P406` for one of several versions, `P307` if nobody confirmed.
async fn delete(session: &Session, args: &DatasetDeleteArgs) -> Outcome {
    let store = session.store().await?;
    let datasets = store
        .datasets_to_delete(&session.cx, &args.name, args.all_versions)
        .await?;
    let names: Vec<String> = datasets.iter().map(Dataset::full_name).collect();
    let n_rows: u64 = datasets.iter().map(|dataset| dataset.n_rows).sum();
    let what = format!("{} ({})", names.join(", "), plural(n_rows, "row"));
    let question = format!("Delete {what}? It cannot be undone.");
    if !args.yes && !confirmed(&question).await {
        return Err(Error::new(
            &codes::DELETES_REFUSED,
            format!("{what} would be deleted, and nobody confirmed it; nothing was deleted"),
        )
        .help("confirm when asked, or pass --yes")
        .into());
    }
    store.delete_datasets(&session.cx, &datasets).await?;
    let tables = datasets.iter().flat_map(|dataset| {
        let tables = [&dataset.table, &dataset.spine.table];
        tables.map(|table| table.table.as_str())
    });
    let tables: Vec<&str> = tables.collect();
    say(&format!("deleted {what}"));
    say(&format!(
        "  note: older versions of {} hold the rows until they are vacuumed",
        tables.join(", ")
    ));
    if session.output == Some(OutputFormat::Json) {
        output::json(&Deleted {
            deleted: names,
            emptied: tables,
        })?;
    }
    Ok(DONE)
}
