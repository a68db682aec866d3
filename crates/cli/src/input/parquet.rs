//! Parquet files.

use std::fs::File;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use provender_core::{Error, Result, codes};

use super::{BATCH_ROWS, Opened};

/// Reads the footer; rows are read group by group.
pub(super) fn open(name: String, file: File) -> Result<Opened> {
    let fail = {
        let name = name.clone();
        move |error: &dyn std::fmt::Display| {
            Error::new(
                &codes::BAD_INPUT_FILE,
                format!("{name} cannot be read as Parquet: {error}"),
            )
        }
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|error| fail(&error).source(error))?
        .with_batch_size(BATCH_ROWS);
    let n_rows = u64::try_from(builder.metadata().file_metadata().num_rows()).ok();
    let schema = builder.schema().clone();
    let reader = builder
        .build()
        .map_err(|error| fail(&error).source(error))?;
    Ok(Opened {
        schema,
        n_rows,
        batches: Box::new(
            reader.map(move |batch| batch.map_err(|error| fail(&error).source(error))),
        ),
    })
}
