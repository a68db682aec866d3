//! Rows of files by number: a row group is a stream, in a scan and in a fetch.

use std::sync::Arc;

use arrow_array::UInt64Array;
use arrow_schema::{Field, Schema, SchemaRef};
use async_stream::try_stream;
use async_trait::async_trait;
use provender_core::provider::RowAccess;
use provender_core::{BatchStream, Context, Error, Result, codes};

use super::file::{DataFile, Group, NUMBER_TYPE, Numbers, Wanted};
use super::pages::Memory;

/// Rows of a batch. More of them take turns in the caches; fewer cost more calls.
const BATCH_ROWS: usize = 8_192;
/// The column of rows' numbers.
const NUMBER: &str = "__row";

/// The files of a table at one state. A row's number is its place in all files' rows, one file after
/// the other.
#[derive(Debug)]
pub(super) struct FileRows {
    table: String,
    schema: SchemaRef,
    files: Vec<Arc<DataFile>>,
    /// Row groups that are read, ascending by their first row's number.
    groups: Vec<Piece>,
    memory: Arc<Memory>,
}

#[derive(Clone, Debug)]
struct Piece {
    file: usize,
    group: Arc<Group>,
    /// The number of its first row.
    first: u64,
}

impl FileRows {
    pub(super) fn new(table: &str, schema: SchemaRef, files: Vec<DataFile>) -> Self {
        let mut groups = Vec::new();
        let mut first = 0;
        for (number, file) in files.iter().enumerate() {
            groups.extend(file.groups.iter().map(|group| Piece {
                file: number,
                group: Arc::new(group.clone()),
                first: first + group.first_row,
            }));
            first += file.n_rows;
        }
        Self {
            table: table.to_owned(),
            schema,
            files: files.into_iter().map(Arc::new).collect(),
            groups,
            memory: Arc::default(),
        }
    }

    fn project(&self, columns: &[String]) -> Result<SchemaRef> {
        let fields = columns.iter().map(|name| {
            self.schema.field_with_name(name).cloned().map_err(|_| {
                Error::new(
                    &codes::INTERNAL,
                    format!(
                        "column {name:?} of {:?} was not named when its rows were opened",
                        self.table
                    ),
                )
            })
        });
        Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
    }
}

#[async_trait]
impl RowAccess for FileRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn scan(&self, cx: &Context, columns: &[String]) -> Result<Vec<BatchStream>> {
        let schema = self.project(columns)?;
        let mut fields = schema.fields().to_vec();
        fields.push(Arc::new(Field::new(NUMBER, NUMBER_TYPE, false)));
        let numbered = Arc::new(Schema::new(fields));
        if self.groups.is_empty() {
            return Ok(vec![BatchStream::from_batches(numbered, Vec::new())]);
        }
        // Later rows last, for those who look for the latest ones; files are in no order of time.
        let mut pieces: Vec<&Piece> = self.groups.iter().collect();
        pieces.sort_by_key(|piece| piece.group.earliest_us);
        let streams = pieces.into_iter().map(|piece| {
            let file = self.files[piece.file].clone();
            let (group, first) = (piece.group.clone(), piece.first);
            let (schema, numbered, cx) = (schema.clone(), numbered.clone(), cx.clone());
            let memory = self.memory.clone();
            BatchStream::new(
                numbered.clone(),
                try_stream! {
                    let wanted = match &group.selected {
                        None => Wanted::All,
                        Some(ranges) => Wanted::Ranges(ranges),
                    };
                    let mut batches = file.read(&group, &schema, wanted, BATCH_ROWS, &memory).await?;
                    let mut numbers = Numbers::new(numbered, &group, first);
                    while let Some(batch) = batches.next(Some(&mut numbers)) {
                        cx.check()?;
                        yield batch?;
                    }
                },
            )
        });
        Ok(streams.collect())
    }

    async fn fetch(
        &self,
        cx: &Context,
        columns: &[String],
        rows: UInt64Array,
    ) -> Result<Vec<BatchStream>> {
        let schema = self.project(columns)?;
        let mut streams = Vec::new();
        let mut next = 0;
        for piece in &self.groups {
            let end = piece.first + piece.group.n_rows as u64;
            let start = next;
            next += rows.values()[start..].partition_point(|&row| row < end);
            if rows.values()[start..next]
                .first()
                .is_some_and(|&row| row < piece.first)
            {
                return Err(unknown_row(&self.table));
            }
            if start < next {
                let wanted = rows.slice(start, next - start);
                streams.push(self.fetch_group(cx, piece, &schema, wanted));
            }
        }
        if next < rows.len() {
            return Err(unknown_row(&self.table));
        }
        if streams.is_empty() {
            streams.push(BatchStream::from_batches(schema, Vec::new()));
        }
        Ok(streams)
    }
}

impl FileRows {
    fn fetch_group(
        &self,
        cx: &Context,
        piece: &Piece,
        schema: &SchemaRef,
        rows: UInt64Array,
    ) -> BatchStream {
        let file = self.files[piece.file].clone();
        let (group, first) = (piece.group.clone(), piece.first);
        let (schema, cx, memory) = (schema.clone(), cx.clone(), self.memory.clone());
        BatchStream::new(
            schema.clone(),
            try_stream! {
                let places: Vec<usize> =
                    rows.values().iter().map(|&row| (row - first) as usize).collect();
                let wanted = Wanted::Rows(&places);
                let mut batches = file.read(&group, &schema, wanted, BATCH_ROWS, &memory).await?;
                while let Some(batch) = batches.next(None) {
                    cx.check()?;
                    yield batch?;
                }
            },
        )
    }
}

fn unknown_row(table: &str) -> Error {
    Error::new(
        &codes::INTERNAL,
        format!("a row of {table:?} was asked for that no scan answers"),
    )
}
