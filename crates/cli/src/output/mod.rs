//! Where results go and in which format: text, JSON, CSV, Arrow IPC or Parquet, to stdout or a file.
//!
//! A file appears under its name only when it is whole. Rows are written as they come; the table
//! alone shows no more than its first rows, and counts the others.

mod columns;
mod encoder;
mod encodings;
mod groups;
mod parquet;
mod rows;
mod table;
mod target;
mod writers;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use futures::StreamExt;
use provender_core::BatchStream;

pub(crate) use self::rows::Rows;
use self::target::Target;
use self::writers::{RowWriter, Written};
use crate::args::OutputFormat;
use crate::errors::{Outcome, usage};

/// A format as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    /// One array of objects.
    Json,
    /// One object a line.
    JsonLines,
    Csv,
    ArrowFile,
    ArrowStream,
    Parquet,
}

/// Where rows go.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    format: Format,
    path: Option<PathBuf>,
}

impl Destination {
    /// Standard output; a table unless another format is asked for.
    ///
    /// # Errors
    /// Wrong usage if bytes would be written to a terminal.
    pub(crate) fn stdout(format: Option<OutputFormat>) -> Outcome<Self> {
        let format = format.map_or(Format::Table, Format::from);
        let bytes = matches!(format, Format::ArrowStream | Format::Parquet);
        if bytes && std::io::stdout().is_terminal() {
            return Err(usage(
                "Arrow and Parquet are not for a terminal",
                "send stdout to a file or a program, or pass --out FILE where there is one",
            ));
        }
        Ok(Self { format, path: None })
    }

    /// A file; its format is the one asked for, else its extension's, else Parquet.
    ///
    /// # Errors
    /// Wrong usage for an unknown extension.
    pub(crate) fn file(path: &Path, format: Option<OutputFormat>) -> Outcome<Self> {
        if path == Path::new("-") {
            return Self::stdout(format);
        }
        let format = match format {
            Some(OutputFormat::Arrow) => Format::ArrowFile,
            Some(other) => other.into(),
            None => format_of(path)?,
        };
        Ok(Self {
            format,
            path: Some(path.to_owned()),
        })
    }

    /// Whether people read it.
    pub(crate) fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Opens it, so that a place that cannot be written to is known before any work is done.
    ///
    /// # Errors
    /// `PermissionDenied` (`P902`), `ResourceExhausted` (`P901`).
    pub(crate) fn open(self) -> Outcome<Opened> {
        let target = match &self.path {
            None => Target::stdout(),
            Some(path) => Target::file(path)?,
        };
        Ok(Opened {
            format: self.format,
            target,
        })
    }
}

fn format_of(path: &Path) -> Outcome<Format> {
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase());
    Ok(match extension.as_deref() {
        None | Some("parquet" | "pq") => Format::Parquet,
        Some("csv") => Format::Csv,
        Some("arrow" | "ipc" | "feather") => Format::ArrowFile,
        Some("arrows") => Format::ArrowStream,
        Some("json") => Format::Json,
        Some("jsonl" | "ndjson") => Format::JsonLines,
        Some(other) => {
            return Err(usage(
                format!("{} has the unknown extension {other:?}", path.display()),
                "known are parquet, csv, arrow, arrows, json and jsonl; or pass --output FORMAT",
            ));
        }
    })
}

/// A destination that is open. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Opened {
    format: Format,
    target: Target,
}

impl Opened {
    /// Writes all rows, as they come. `limit` is how many of them a table shows.
    ///
    /// # Errors
    /// The stream's, and `P901` or `P902` naming the place that cannot be written to.
    pub(crate) async fn write(self, mut rows: BatchStream, limit: usize) -> Outcome<Written> {
        let mut writer =
            RowWriter::new(self.format, self.target.clone(), rows.schema.clone(), limit)?;
        while let Some(batch) = rows.batches.next().await {
            writer.write(&batch?)?;
        }
        let written = writer.finish()?;
        self.target.commit()?;
        Ok(written)
    }
}

/// Writes rows that are already there; the table shows all of them, without a count.
///
/// # Errors
/// As [`Opened::write`].
pub(crate) fn write_rows(format: Option<OutputFormat>, rows: &RecordBatch) -> Outcome<()> {
    let destination = Destination::stdout(format)?;
    if destination.is_table() {
        return text(&table::plain(rows)?);
    }
    let opened = destination.open()?;
    let mut writer = RowWriter::new(
        opened.format,
        opened.target.clone(),
        rows.schema(),
        usize::MAX,
    )?;
    writer.write(rows)?;
    writer.finish()?;
    opened.target.commit()
}

/// Rows as text, all of them and nothing cut.
///
/// # Errors
/// `Unsupported` for values that have no text.
pub(crate) fn table(rows: &RecordBatch) -> Outcome<String> {
    table::plain(rows)
}

/// Writes JSON to stdout, indented.
///
/// # Errors
/// As [`text`].
pub(crate) fn json(value: &impl serde::Serialize) -> Outcome<()> {
    let mut json = serde_json::to_string_pretty(value).map_err(|error| {
        provender_core::Error::new(
            &provender_core::codes::INTERNAL,
            "the result cannot be written as JSON",
        )
        .source(error)
    })?;
    json.push('\n');
    text(&json)
}

/// Writes text to stdout.
///
/// # Errors
/// `P901` and the like if stdout cannot take it; a reader that went away is no error to speak of.
pub(crate) fn text(text: &str) -> Outcome<()> {
    let mut target = Target::stdout();
    match target.write_all(text.as_bytes()) {
        Ok(()) => target.commit(),
        Err(error) => Err(target.failure(&error)),
    }
}

impl From<OutputFormat> for Format {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Table => Self::Table,
            OutputFormat::Json => Self::Json,
            OutputFormat::Csv => Self::Csv,
            OutputFormat::Arrow => Self::ArrowStream,
            OutputFormat::Parquet => Self::Parquet,
        }
    }
}

#[cfg(test)]
mod tests;
