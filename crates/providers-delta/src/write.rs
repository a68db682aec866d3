//! Writing: rows become Parquet files as they come, and one commit at the end makes them visible.
//!
//! The commit is the only step that others see. Whatever fails before it leaves the table as it was;
//! files already written are removed. Writers of one table do not lose each other's rows: a commit
//! that finds a newer version is checked against it and repeated.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::logstore::LogStoreRef;
use deltalake::operations::get_num_idx_cols_and_stats_columns;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError, ObjectStore};
use futures::StreamExt;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use provender_core::model::SourceVersion;
use provender_core::request::{OfflineWrite, WriteMode, WriteSummary};
use provender_core::{BatchStream, Context, Error, Result, codes};

use crate::error::{OnTable, fenced, is_conflict};
use crate::making::{Making, sync, sync_log};
use crate::store::DeltaOfflineStore;
use crate::tables::{Kind, Place};
use crate::target::Target;

/// How often a commit is made again over another writer's newer version, with a pause before each.
pub(crate) const MAX_COMMIT_ATTEMPTS: u32 = 20;
/// How often it is made again before each of these pauses.
const QUICK_RETRIES: usize = 5;
const MAX_PAUSE_MS: u64 = 2_000;
/// Small enough that ranges of time skip most of a file, large enough to compress well.
const ROW_GROUP_ROWS: usize = 256 * 1024;
pub(crate) const TARGET_FILE_BYTES: u64 = 128 << 20;

/// Adds rows to a table, or replaces them; makes the table if there is none.
pub(crate) async fn write(
    store: &DeltaOfflineStore,
    cx: &Context,
    write: OfflineWrite,
    rows: BatchStream,
) -> Result<WriteSummary> {
    cx.check()?;
    let place = store.tables.find(&write.table).await?;
    if place.kind == Kind::Parquet {
        return Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!("{:?} holds Parquet files, which are read only", write.table),
        )
        .help("write to a Delta table, or import the files into one")
        .context("table", write.table));
    }
    let making = Making::begin(store, &place).await?;
    let result = Job {
        store,
        cx,
        write: &write,
        place: &place,
        making: &making,
    }
    .run(rows)
    .await;
    making.end(result.is_err()).await;
    result
}

struct Job<'a> {
    store: &'a DeltaOfflineStore,
    cx: &'a Context,
    write: &'a OfflineWrite,
    place: &'a Place,
    making: &'a Making,
}

/// Data files that no commit names yet.
struct Written {
    files: Vec<Add>,
    n_rows: u64,
}

impl Job<'_> {
    async fn run(&self, rows: BatchStream) -> Result<WriteSummary> {
        let table = self.current().await?;
        if let Some(summary) = self.done_before(table.as_ref()).await? {
            return Ok(summary);
        }
        let target = Target::new(self.write, table.as_ref(), &rows.schema)?;
        let log_store = match &table {
            Some(table) => table.log_store(),
            None => self.store.tables.unloaded(self.place)?.log_store(),
        };
        let object_store = log_store.object_store(None);
        let written = self
            .write_files(&target, table.as_ref(), &object_store, rows)
            .await?;
        let is_needless = written.files.is_empty()
            && table.is_some()
            && self.write.mode != WriteMode::Overwrite
            && !target.adds_columns()
            && self.write.id.is_none();
        if is_needless {
            return Ok(WriteSummary {
                n_rows: written.n_rows,
                n_applied: 0,
                version: table
                    .and_then(|table| table.version())
                    .map(SourceVersion::Number),
            });
        }
        let is_new = table.is_none();
        match self.commit(&target, table, &log_store, &written).await {
            Ok(Some(version)) => Ok(WriteSummary {
                n_rows: written.n_rows,
                n_applied: written.n_rows,
                version: Some(SourceVersion::Number(version)),
            }),
            Ok(None) => {
                self.making
                    .remove_files(&object_store, &written.files, false)
                    .await;
                let table = self.current().await?;
                Ok(WriteSummary {
                    n_rows: written.n_rows,
                    n_applied: 0,
                    version: table
                        .and_then(|table| table.version())
                        .map(SourceVersion::Number),
                })
            }
            Err(error) => {
                if !self.landed(&written.files).await {
                    self.making
                        .remove_files(&object_store, &written.files, is_new)
                        .await;
                }
                Err(error)
            }
        }
    }

    /// The table as it is now; `None` if there is none.
    async fn current(&self) -> Result<Option<DeltaTable>> {
        let place = self.store.tables.find(&self.write.table).await?;
        if place.kind != Kind::Delta {
            return Ok(None);
        }
        let mut table = self.store.tables.unloaded(&place)?;
        match table.load().await {
            Ok(()) => Ok(Some(table)),
            Err(DeltaTableError::NotATable(_)) => Ok(None),
            Err(error) => Err(error).on_table(&self.write.table, "cannot be opened"),
        }
    }

    /// The answer to a write whose id was committed before.
    async fn done_before(&self, table: Option<&DeltaTable>) -> Result<Option<WriteSummary>> {
        let (Some(id), Some(table)) = (&self.write.id, table) else {
            return Ok(None);
        };
        let log_store = table.log_store();
        let found = table
            .snapshot()
            .on_table(&self.write.table, "cannot be read")?
            .transaction_version(log_store.as_ref(), id)
            .await
            .on_table(&self.write.table, "cannot be asked for former writes")?;
        Ok(found.map(|_| WriteSummary {
            n_rows: 0,
            n_applied: 0,
            version: table.version().map(SourceVersion::Number),
        }))
    }

    async fn write_files(
        &self,
        target: &Target,
        table: Option<&DeltaTable>,
        object_store: &Arc<dyn ObjectStore>,
        mut rows: BatchStream,
    ) -> Result<Written> {
        let budget = usize::try_from(self.cx.memory_within(self.store.memory_limit_bytes) / 4)
            .unwrap_or(usize::MAX)
            .max(16 << 20);
        let new_writer = || DeltaWriter::new(object_store.clone(), writer_config(target, table));
        let mut written = Written {
            files: Vec::new(),
            n_rows: 0,
        };
        let mut writer = new_writer();
        let mut n_buffered = 0_usize;
        let result: Result<()> = async {
            let mut cancelled = Box::pin(self.cx.cancelled());
            loop {
                self.cx.check()?;
                let next = tokio::select! {
                    () = &mut cancelled => continue,
                    next = rows.batches.next() => next,
                };
                let Some(batch) = next else {
                    return self.cx.check();
                };
                let batch = target.convert(&batch?)?;
                if batch.num_rows() == 0 {
                    continue;
                }
                n_buffered = n_buffered.saturating_add(size_of(&batch));
                writer
                    .write(&batch)
                    .await
                    .on_table(&self.write.table, "cannot be written")?;
                written.n_rows += batch.num_rows() as u64;
                // Every open file holds rows in memory, and there is one for each partition.
                if n_buffered > budget {
                    let full = std::mem::replace(&mut writer, new_writer());
                    n_buffered = 0;
                    let files = fenced(&self.write.table, "cannot be written", full.close())
                        .await?
                        .on_table(&self.write.table, "cannot be written")?;
                    written.files.extend(files);
                }
            }
        }
        .await;
        let result = match result {
            Ok(()) => fenced(&self.write.table, "cannot be written", writer.close())
                .await
                .and_then(|closed| closed.on_table(&self.write.table, "cannot be written"))
                .map(|files| written.files.extend(files)),
            Err(error) => {
                let _ = writer.abort().await;
                Err(error)
            }
        };
        let result = result.and_then(|()| {
            let paths = written.files.iter().map(|file| file.path.as_str());
            sync(&self.place.at, paths)
        });
        match result {
            Ok(()) => Ok(written),
            Err(error) => {
                self.making
                    .remove_files(object_store, &written.files, table.is_none())
                    .await;
                Err(error)
            }
        }
    }

    /// Makes the files visible in one step. `None` if another writer committed the same id first.
    async fn commit(
        &self,
        target: &Target,
        mut table: Option<DeltaTable>,
        log_store: &LogStoreRef,
        written: &Written,
    ) -> Result<Option<u64>> {
        let name = &self.write.table;
        let mut attempt = 0;
        loop {
            let mut actions = target.actions(self.write, table.as_ref())?;
            actions.extend(written.files.iter().cloned().map(Action::Add));
            let state = match &table {
                Some(table) => Some(table.snapshot().on_table(name, "cannot be read")?),
                None => None,
            };
            // A new table is committed as version 0 or not at all, for its columns might be others.
            let n_retries = if state.is_some() { QUICK_RETRIES } else { 0 };
            let transactions = self
                .write
                .id
                .iter()
                .map(|id| Transaction::new(id, 1))
                .collect();
            let properties = CommitProperties::default()
                .with_max_retries(n_retries)
                .with_create_checkpoint(false)
                .with_cleanup_expired_logs(Some(false))
                .with_application_transactions(transactions);
            let operation = DeltaOperation::Write {
                mode: match self.write.mode {
                    WriteMode::Overwrite => SaveMode::Overwrite,
                    _ => SaveMode::Append,
                },
                partition_by: (!target.partition_by.is_empty())
                    .then(|| target.partition_by.clone()),
                predicate: None,
            };
            let commit = CommitBuilder::from(properties)
                .with_actions(actions)
                .build(
                    state.map(|state| state as &dyn TableReference),
                    log_store.clone(),
                    operation,
                )
                .await;
            let error = match commit {
                Ok(commit) => {
                    sync_log(&self.place.at, commit.version());
                    let every = commit.snapshot().table_config().checkpoint_interval;
                    self.checkpoint(commit.version(), every.map_or(10, |every| every.get()))
                        .await;
                    return Ok(Some(commit.version()));
                }
                Err(error) => error,
            };
            attempt += 1;
            if !is_conflict(&error) || attempt >= MAX_COMMIT_ATTEMPTS {
                return Err(error).on_table(name, "cannot be committed to");
            }
            self.cx.check()?;
            pause(attempt).await;
            table = self.current().await?;
            // A commit whose answer was lost, and that was therefore made again, met itself.
            if let Some(table) = &table
                && self.holds(table, &written.files)
            {
                return Ok(table.version());
            }
            if self.done_before(table.as_ref()).await?.is_some() {
                return Ok(None);
            }
            if let Some(table) = &table {
                target.check_still_fits(self.write, table)?;
            }
        }
    }

    /// Whether a commit that reported a failure is in the table all the same.
    async fn landed(&self, files: &[Add]) -> bool {
        match self.current().await {
            Ok(Some(table)) => self.holds(&table, files),
            Ok(None) => false,
            // When in doubt, a file too many is better than one too few.
            Err(_) => !files.is_empty(),
        }
    }

    /// Whether a table's present rows are in files that this write wrote.
    fn holds(&self, table: &DeltaTable, files: &[Add]) -> bool {
        let Some(first) = files.first() else {
            return false;
        };
        table.snapshot().is_ok_and(|state| {
            state
                .log_data()
                .iter()
                .any(|file| file.path() == first.path)
        })
    }

    /// Every so many versions the log is summed up, so that opening stays fast.
    async fn checkpoint(&self, version: u64, every: u64) {
        if version == 0 || !version.is_multiple_of(every) {
            return;
        }
        let table = match self.current().await {
            Ok(Some(table)) if table.version() == Some(version) => table,
            _ => return,
        };
        if let Err(error) = deltalake::checkpoints::create_checkpoint(&table, None).await {
            tracing::warn!(table = %self.write.table, %error, "a checkpoint was not written");
        }
    }
}

/// How files are written.
pub(crate) fn file_properties() -> WriterProperties {
    WriterProperties::builder()
        .set_created_by(concat!("provender ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build()
}

fn writer_config(target: &Target, table: Option<&DeltaTable>) -> WriterConfig {
    let properties = table
        .and_then(|table| table.snapshot().ok())
        .map(|state| state.table_config());
    let (indexed, named) = get_num_idx_cols_and_stats_columns(properties, HashMap::new());
    WriterConfig::new(
        target.schema.clone(),
        target.partition_by.clone(),
        Some(file_properties()),
        NonZeroU64::new(TARGET_FILE_BYTES),
        Some(8 * 1024),
        indexed,
        named,
    )
}

/// The memory that a batch's rows take; what they share with other batches is not counted twice.
fn size_of(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or_default())
        .sum()
}

/// Waits longer with each attempt, and each writer differently, so that writers that met once do not
/// meet again.
pub(crate) async fn pause(attempt: u32) {
    let most_ms = (25_u64 << attempt.min(7)).min(MAX_PAUSE_MS);
    let pause_ms = most_ms / 4 + u64::from(rand_like(attempt)) % most_ms;
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
}

/// A number that differs between writers; quality does not matter.
fn rand_like(attempt: u32) -> u32 {
    let now = provender_core::time::now_us();
    let mixed = (now ^ i64::from(std::process::id()) ^ i64::from(attempt)).unsigned_abs();
    u32::try_from(mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).unwrap_or(attempt)
}
