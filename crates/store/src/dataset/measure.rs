//! What happens to the rows of a dataset on their way: the split's column is added, and hashes and
//! statistics are taken of every column.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use async_stream::try_stream;
use futures::StreamExt;
use provender_core::{BatchStream, Context, Error, Result, codes};

use super::encoding::{encode_column, plain, type_text};
use super::hash::{Hashed, TableHash};
use super::split::BoundSplit;
use super::statistics::{Profile, Statistics};

/// Hashes and statistics of all columns, as far as rows have passed.
#[derive(Clone, Debug)]
struct Measures {
    hash: TableHash,
    profiles: Vec<Profile>,
    /// Kept for their memory.
    encoded: Vec<u8>,
    ends: Vec<usize>,
    is_whole: bool,
}

impl Measures {
    fn new(schema: &Schema) -> Self {
        let profiles = schema.fields().iter();
        Self {
            hash: TableHash::new(schema),
            profiles: profiles
                .map(|field| Profile::new(field.data_type()))
                .collect(),
            encoded: Vec::new(),
            ends: Vec::new(),
            is_whole: false,
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.hash.add_rows(batch.num_rows());
        let schema = batch.schema();
        for (at, profile) in self.profiles.iter_mut().enumerate() {
            let name = schema.field(at).name();
            let column = plain(name, batch.column(at))?;
            self.encoded.clear();
            self.ends.clear();
            encode_column(name, &column, &mut self.encoded, &mut self.ends)?;
            self.hash.add_values(at, &self.encoded);
            profile.add(&column, &self.encoded, &self.ends)?;
        }
        Ok(())
    }
}

/// What the rows came to be.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// The hashes of all columns.
    pub(super) hashed: Hashed,
    /// The hash of the first columns alone, which are the spine's.
    pub(super) spine_hash: String,
    /// Names and types as they went into the hash.
    pub(super) columns: Vec<(String, String)>,
    /// Each column's.
    pub(super) statistics: Vec<Statistics>,
}

/// Where the measures are, once the stream has ended.
#[derive(Clone, Debug)]
pub(super) struct Measuring {
    schema: SchemaRef,
    measures: Arc<Mutex<Measures>>,
    n_spine_columns: usize,
}

impl Measuring {
    fn measures(&self) -> MutexGuard<'_, Measures> {
        self.measures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, batch: &RecordBatch) -> Result<()> {
        self.measures().add(batch)
    }

    fn end(&self) {
        self.measures().is_whole = true;
    }

    /// What was measured.
    ///
    /// # Errors
    /// `Internal` (`P802`) if the rows were not read to their end.
    pub(super) fn finish(&self) -> Result<Measured> {
        let measures = self.measures().clone();
        if !measures.is_whole {
            return Err(Error::new(
                &codes::PROVIDER_CONTRACT,
                "the offline store said that it has written rows which it did not read to their end",
            ));
        }
        let hashed = measures.hash.clone().finish();
        let mut spine = measures.hash;
        spine.keep_columns(self.n_spine_columns);
        Ok(Measured {
            spine_hash: spine.finish().hash,
            hashed,
            columns: (self.schema.fields().iter())
                .map(|field| (field.name().clone(), type_text(field.data_type())))
                .collect(),
            statistics: measures.profiles.iter().map(Profile::statistics).collect(),
        })
    }
}

/// The rows with the split's column, measured while they are read.
pub(super) fn measured(
    cx: Context,
    rows: BatchStream,
    split: Option<(BoundSplit, Field)>,
    n_spine_columns: usize,
) -> (BatchStream, Measuring) {
    let mut fields = rows.schema.fields().to_vec();
    let split = split.map(|(split, field)| {
        fields.push(Arc::new(field));
        split
    });
    // Metadata of the schema is about the spine's file and not part of a dataset.
    let schema = Arc::new(Schema::new(fields));
    let measuring = Measuring {
        schema: schema.clone(),
        measures: Arc::new(Mutex::new(Measures::new(&schema))),
        n_spine_columns,
    };
    let passing = measuring.clone();
    let answered = schema.clone();
    let mut batches = rows.batches;
    let stream = BatchStream::new(
        answered,
        try_stream! {
            while let Some(batch) = batches.next().await {
                cx.check()?;
                let batch = with_split(batch?, split.as_ref(), &schema)?;
                passing.add(&batch)?;
                yield batch;
            }
            passing.end();
        },
    );
    (stream, measuring)
}

fn with_split(
    batch: RecordBatch,
    split: Option<&BoundSplit>,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    if let Some(split) = split {
        columns.push(split.parts(&batch)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| {
        Error::new(&codes::INTERNAL, "a split does not fit its rows").source(error)
    })
}
