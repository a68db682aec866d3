//! Rows in each format.

use arrow_array::RecordBatch;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_json::writer::{JsonArray, LineDelimited};
use arrow_schema::SchemaRef;
use provender_core::{Error, codes};

use super::columns::{Plain, Texts};
use super::parquet::ParquetRows;
use super::table::Preview;
use super::target::Target;
use super::{Format, Outcome};
use crate::errors::Failure;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Rows.
    pub(crate) n_rows: u64,
    /// Columns.
    pub(crate) n_columns: usize,
}

/// Writes batches of one schema to a target.
pub(super) struct RowWriter {
    kind: Kind,
    target: Target,
    written: Written,
}

enum Kind {
    Table(Preview),
    Json(arrow_json::Writer<Target, JsonArray>),
    JsonLines(arrow_json::Writer<Target, LineDelimited>),
    Csv(Texts, Box<arrow_csv::Writer<Target>>),
    ArrowFile(Plain, Box<FileWriter<Target>>),
    ArrowStream(Box<StreamWriter<Target>>),
    Parquet(Box<ParquetRows>),
}

impl RowWriter {
    pub(super) fn new(
        format: Format,
        target: Target,
        schema: SchemaRef,
        limit: usize,
    ) -> Outcome<Self> {
        let to = target.clone();
        let kind = match format {
            Format::Table => Kind::Table(Preview::new(schema.clone(), limit)),
            Format::Json => Kind::Json(json_options().build(to)),
            Format::JsonLines => Kind::JsonLines(json_options().build(to)),
            Format::Csv => {
                let texts = Texts::new(&schema);
                let mut writer = Box::new(arrow_csv::Writer::new(to));
                // The header stands even where no row follows.
                writer
                    .write(&RecordBatch::new_empty(texts.schema()))
                    .map_err(|error| target.failure(&error))?;
                Kind::Csv(texts, writer)
            }
            Format::ArrowFile => {
                let plain = Plain::new(&schema);
                let writer = FileWriter::try_new(to, &plain.schema())
                    .map_err(|error| target.failure(&error))?;
                Kind::ArrowFile(plain, Box::new(writer))
            }
            Format::ArrowStream => Kind::ArrowStream(Box::new(
                StreamWriter::try_new(to, &schema).map_err(|error| target.failure(&error))?,
            )),
            Format::Parquet => Kind::Parquet(Box::new(ParquetRows::new(to, schema.clone()))),
        };
        Ok(Self {
            kind,
            target,
            written: Written {
                n_rows: 0,
                n_columns: schema.fields().len(),
            },
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Outcome<()> {
        self.written.n_rows += batch.num_rows() as u64;
        let written = match &mut self.kind {
            Kind::Table(preview) => {
                preview.take(batch);
                return Ok(());
            }
            Kind::Json(writer) => writer.write(batch),
            Kind::JsonLines(writer) => writer.write(batch),
            Kind::Csv(texts, writer) => texts.convert(batch).and_then(|batch| writer.write(&batch)),
            Kind::ArrowFile(plain, writer) => {
                plain.convert(batch).and_then(|batch| writer.write(&batch))
            }
            Kind::ArrowStream(writer) => writer.write(batch),
            Kind::Parquet(writer) => {
                return writer
                    .write(batch)
                    .map_err(|error| self.target.failure(&error));
            }
        };
        written.map_err(|error| self.target.failure(&error))
    }

    pub(super) fn finish(self) -> Outcome<Written> {
        let target = self.target;
        let finished = match self.kind {
            Kind::Table(preview) => {
                let text = preview.finish(self.written.n_rows)?;
                let mut to = target.clone();
                std::io::Write::write_all(&mut to, text.as_bytes())
                    .map_err(|error| target.failure(&error))?;
                Ok(())
            }
            Kind::Json(mut writer) => writer.finish(),
            Kind::JsonLines(mut writer) => writer.finish(),
            // Each batch was flushed when it was written.
            Kind::Csv(..) => Ok(()),
            Kind::ArrowFile(_, mut writer) => writer.finish(),
            Kind::ArrowStream(mut writer) => writer.finish(),
            Kind::Parquet(writer) => {
                writer.finish().map_err(|error| target.failure(&error))?;
                Ok(())
            }
        };
        finished.map_err(|error| target.failure(&error))?;
        Ok(self.written)
    }
}

fn json_options() -> arrow_json::WriterBuilder {
    arrow_json::WriterBuilder::new().with_explicit_nulls(true)
}

/// A failure to show values as text.
pub(super) fn not_shown(error: &arrow_schema::ArrowError) -> Failure {
    Error::new(
        &codes::UNSUPPORTED,
        format!("the rows cannot be shown as text: {error}"),
    )
    .help("write them to a file: .parquet or .arrow")
    .into()
}
