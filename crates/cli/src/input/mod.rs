//! Files of rows as streams: Parquet, CSV, Arrow IPC (file or stream) and JSON lines.
//!
//! Decides which format a file has and reads it on a thread of its own, a few batches ahead at most,
//! so that memory stays bounded however long the file is. It knows nothing of what the rows are for.

mod csv;
mod declared;
mod entity;
mod ipc;
mod jsonl;
mod parquet;
mod text;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use futures::StreamExt;
use provender_core::{BatchStream, Context, Error, Result, codes};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::declared::DeclaredTypes;
pub(crate) use self::entity::{Pair, pairs, repeated, typed};
use crate::args::InputFormat;
use crate::errors::{Failure, usage};

/// Rows in a batch.
const BATCH_ROWS: usize = 8_192;
/// From how many rows types are inferred.
const SAMPLE_ROWS: usize = 10_000;
/// Text held for one batch or the sample, at most, if a row is not longer by itself.
const BATCH_BYTES: usize = 16 << 20;
/// Batches read ahead.
const READ_AHEAD: usize = 2;

/// What to read, and how.
#[derive(Clone, Debug)]
pub(crate) struct InputFile {
    path: PathBuf,
    format: Option<InputFormat>,
    declared: DeclaredTypes,
}

/// A file's rows.
#[derive(Debug)]
pub(crate) struct Input {
    /// The rows, in the file's order.
    pub(crate) stream: BatchStream,
    /// How many rows there are, if the file says so.
    pub(crate) n_rows: Option<u64>,
}

/// A format's reader once it knows the columns. Made and used on the reading thread.
struct Opened {
    schema: SchemaRef,
    n_rows: Option<u64>,
    batches: Box<dyn Iterator<Item = Result<RecordBatch>>>,
}

impl InputFile {
    /// Decides the format: what is given, else the extension; `-` is stdin, which is looked at when
    /// it is read.
    ///
    /// # Errors
    /// Wrong usage for an unknown extension, or declared types that cannot be read.
    pub(crate) fn new(
        path: &Path,
        format: Option<InputFormat>,
        schema: Option<&str>,
    ) -> Result<Self, Failure> {
        let declared = DeclaredTypes::parse(schema.unwrap_or_default())?;
        let stdin = path == Path::new("-");
        let format = match format {
            Some(format) => Some(format),
            None if stdin => None,
            None => Some(format_of(path)?),
        };
        if stdin && format == Some(InputFormat::Parquet) {
            return Err(usage(
                "Parquet cannot be read from stdin: its reader starts at the end of the file",
                "name the file, or send CSV, Arrow IPC or JSON lines",
            ));
        }
        if !declared.is_empty() && matches!(format, Some(InputFormat::Parquet | InputFormat::Arrow))
        {
            return Err(usage(
                "--schema is for CSV and JSON lines; Parquet and Arrow files carry their types",
                "leave --schema out",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            format,
            declared,
        })
    }

    /// The same file, whose columns have the types that the definitions give them wherever the file
    /// itself carries none.
    #[must_use]
    pub(crate) fn expecting(mut self, schema: &Schema) -> Self {
        self.declared = DeclaredTypes::by_definition(schema);
        self
    }

    /// The file's name for messages.
    pub(crate) fn name(&self) -> String {
        if self.path == Path::new("-") {
            "standard input".to_owned()
        } else {
            self.path.display().to_string()
        }
    }

    /// Opens the file and reads as much as its columns' types need. Dropping the stream ends the
    /// reading, and so does cancelling the context, even while a pipe brings nothing.
    ///
    /// # Errors
    /// `InvalidArgument` (`P407`) that names the file, and the line and column where it is text.
    pub(crate) async fn open(self, cx: &Context) -> Result<Input> {
        let (schema_sender, schema_receiver) = oneshot::channel();
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let name = self.name();
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || self.read(schema_sender, &sender))
            .map_err(|error| {
                Error::new(&codes::IO, "a thread to read the input cannot be started").source(error)
            })?;
        let opened = tokio::select! {
            opened = schema_receiver => opened,
            () = cx.cancelled() => return Err(cancelled()),
        };
        let (schema, n_rows) = opened.map_err(|_| {
            Error::new(
                &codes::INTERNAL,
                format!("reading {name} ended without a word"),
            )
        })??;
        let state = Some((receiver, cx.clone()));
        let batches = futures::stream::unfold(state, async |state| {
            let (mut receiver, cx) = state?;
            tokio::select! {
                batch = receiver.recv() => batch.map(|batch| (batch, Some((receiver, cx)))),
                () = cx.cancelled() => Some((Err(cancelled()), None)),
            }
        });
        Ok(Input {
            stream: BatchStream::new(schema, batches.fuse()),
            n_rows,
        })
    }

    fn read(
        self,
        schema: oneshot::Sender<Result<(SchemaRef, Option<u64>)>>,
        sender: &mpsc::Sender<Result<RecordBatch>>,
    ) {
        let name = self.name();
        // A reader that panics on a damaged file is a file that cannot be read.
        let panicked = |_| bad_file(&name, "its content is damaged");
        let opened = catch_unwind(AssertUnwindSafe(|| self.open_blocking()))
            .unwrap_or_else(|panic| Err(panicked(panic)));
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let _ = schema.send(Err(error));
                return;
            }
        };
        if schema.send(Ok((opened.schema, opened.n_rows))).is_err() {
            return;
        }
        loop {
            let next = catch_unwind(AssertUnwindSafe(|| opened.batches.next().transpose()))
                .unwrap_or_else(|panic| Err(panicked(panic)));
            let (item, last) = match next {
                Ok(None) => return,
                Ok(Some(batch)) => (Ok(batch), false),
                Err(error) => (Err(error), true),
            };
            if sender.blocking_send(item).is_err() || last {
                return;
            }
        }
    }

    fn open_blocking(self) -> Result<Opened> {
        let name = self.name();
        if self.path == Path::new("-") {
            let mut reader = BufReader::with_capacity(1 << 16, std::io::stdin());
            let format = match self.format {
                Some(format) => format,
                None => sniff(&mut reader).map_err(|error| cannot_read(&name, error))?,
            };
            return match format {
                InputFormat::Arrow => ipc::open_pipe(name, reader),
                InputFormat::Jsonl => jsonl::open(name, Box::new(reader), &self.declared),
                InputFormat::Csv | InputFormat::Parquet => {
                    csv::open(name, Box::new(reader), &self.declared)
                }
            };
        }
        let file = File::open(&self.path).map_err(|error| cannot_read(&name, error))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(bad_file(&name, "it is a folder"));
        }
        match self.format {
            Some(InputFormat::Parquet) | None => parquet::open(name, file),
            Some(InputFormat::Arrow) => ipc::open_file(name, file),
            Some(InputFormat::Csv) => csv::open(name, buffered(file), &self.declared),
            Some(InputFormat::Jsonl) => jsonl::open(name, buffered(file), &self.declared),
        }
    }
}

/// A format's text, wherever it comes from.
type TextReader = Box<dyn BufRead>;

fn buffered(file: impl Read + 'static) -> TextReader {
    Box::new(BufReader::with_capacity(1 << 18, file))
}

fn format_of(path: &Path) -> Result<InputFormat, Failure> {
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase());
    Ok(match extension.as_deref() {
        Some("parquet" | "pq") => InputFormat::Parquet,
        Some("csv") => InputFormat::Csv,
        Some("arrow" | "arrows" | "ipc" | "feather") => InputFormat::Arrow,
        Some("jsonl" | "ndjson") => InputFormat::Jsonl,
        _ => {
            return Err(usage(
                format!(
                    "the format of {} is not clear from its name",
                    path.display()
                ),
                "formats are parquet, csv, arrow and jsonl; name the file so, or pass --format",
            ));
        }
    })
}

/// What the first bytes look like; CSV is what nothing else is.
fn sniff(reader: &mut impl BufRead) -> std::io::Result<InputFormat> {
    let start = reader.fill_buf()?;
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    Ok(if ipc::starts_as_arrow(start) {
        InputFormat::Arrow
    } else if first == Some(&b'{') {
        InputFormat::Jsonl
    } else {
        InputFormat::Csv
    })
}

fn cancelled() -> Error {
    Error::new(&codes::CANCELLED, "reading the input was cancelled")
}

fn cannot_read(name: &str, error: std::io::Error) -> Error {
    Error::new(
        &codes::BAD_INPUT_FILE,
        format!("{name} cannot be read: {error}"),
    )
    .source(error)
}

fn bad_file(name: &str, why: impl std::fmt::Display) -> Error {
    Error::new(
        &codes::BAD_INPUT_FILE,
        format!("{name} cannot be read: {why}"),
    )
}

#[cfg(test)]
mod tests;
