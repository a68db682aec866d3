//! Writing: rows become Parquet files as they come, and one commit at the end makes them visible.
//!
//! The commit is the only step that others see. Whatever fails before it leaves the table as it was;
//! files already written are removed. Writers of one table do not lose each other's rows: a commit
//! that finds a newer version is checked against it and repeated.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
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
use object_store::ObjectStoreExt;
use object_store::path::Path as ObjectPath;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use provender_core::model::SourceVersion;
use provender_core::request::{OfflineWrite, WriteMode, WriteSummary};
use provender_core::{BatchStream, Context, Error, Result, codes};

use crate::error::{OnTable, is_conflict, write_error};
use crate::store::DeltaOfflineStore;
use crate::tables::{Kind, LOG_FOLDER, Place};
use crate::target::Target;

/// How often a commit is made again over another writer's newer version.
const MAX_COMMIT_ATTEMPTS: u32 = 20;
/// Small enough that ranges of time skip most of a file, large enough to compress well.
const ROW_GROUP_ROWS: usize = 256 * 1024;
const TARGET_FILE_BYTES: u64 = 128 << 20;

/// Adds rows to a table, or replaces them; makes the table if there is none.
pub(crate) async fn write(
    store: &DeltaOfflineStore,
    cx: &Context,
    write: OfflineWrite,
    rows: BatchStream,
) -> Result<WriteSummary> {
    cx.check()?;
    let place = store.tables.find(&write.table)?;
    if place.kind == Kind::Parquet {
        return Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!("{:?} holds Parquet files, which are read only", write.table),
        )
        .help("write to a Delta table, or import the files into one")
        .context("table", write.table));
    }
    let made = make_folder(&place)?;
    let result = Job {
        store,
        cx,
        write: &write,
        place: &place,
    }
    .run(rows)
    .await;
    if result.is_err() {
        unmake(&place, &made);
    }
    result
}

/// Makes the table's folder and that of its log, which tells others that files beside it are no rows
/// until a commit says so. Answers the folders that were not there, innermost first.
fn make_folder(place: &Place) -> Result<Vec<PathBuf>> {
    let missing = place
        .path
        .ancestors()
        .take_while(|folder| !folder.exists())
        .map(PathBuf::from)
        .collect();
    std::fs::create_dir_all(place.path.join(LOG_FOLDER))
        .map_err(|error| write_error(&place.path, error))?;
    Ok(missing)
}

/// Removes folders that a failed write made, as long as nobody else put something in them.
fn unmake(place: &Place, made: &[PathBuf]) {
    let is_mine = made.first() == Some(&place.path)
        && std::fs::read_dir(&place.path).is_ok_and(|entries| entries.count() == 1);
    if !is_mine {
        return;
    }
    // Folders that hold something are not removed by these.
    let _ = std::fs::remove_dir(place.path.join(LOG_FOLDER));
    for folder in made {
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

struct Job<'a> {
    store: &'a DeltaOfflineStore,
    cx: &'a Context,
    write: &'a OfflineWrite,
    place: &'a Place,
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
            && self.write.mode == WriteMode::Append
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
                self.remove_files(&object_store, &written.files, false)
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
                    self.remove_files(&object_store, &written.files, is_new)
                        .await;
                }
                Err(error)
            }
        }
    }

    /// The table as it is now; `None` if there is none.
    async fn current(&self) -> Result<Option<DeltaTable>> {
        let place = self.store.tables.find(&self.write.table)?;
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
        let budget = usize::try_from(self.store.memory_limit_bytes / 4)
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
                    let files = full
                        .close()
                        .await
                        .on_table(&self.write.table, "cannot be written")?;
                    written.files.extend(files);
                }
            }
        }
        .await;
        let result = match result {
            Ok(()) => writer
                .close()
                .await
                .on_table(&self.write.table, "cannot be written")
                .map(|files| written.files.extend(files)),
            Err(error) => {
                let _ = writer.abort().await;
                Err(error)
            }
        };
        let result = result.and_then(|()| self.sync(&written.files));
        match result {
            Ok(()) => Ok(written),
            Err(error) => {
                self.remove_files(object_store, &written.files, table.is_none())
                    .await;
                Err(error)
            }
        }
    }

    /// Removes files that no commit names; of a table that never came to be, their folders too.
    async fn remove_files(
        &self,
        object_store: &Arc<dyn ObjectStore>,
        files: &[Add],
        with_folders: bool,
    ) {
        for file in files {
            // Paths of partitions are escaped already.
            let path = ObjectPath::parse(&file.path);
            let removed = match path {
                Ok(path) => object_store.delete(&path).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = removed {
                tracing::warn!(path = %file.path, %error, "a file without a commit stays behind");
            }
            if with_folders {
                let path = self.place.path.join(&file.path);
                for folder in path.ancestors().skip(1) {
                    if folder == self.place.path || std::fs::remove_dir(folder).is_err() {
                        break;
                    }
                }
            }
        }
    }

    /// Sends files to the disk itself, so that a commit never outlives the data it names.
    fn sync(&self, files: &[Add]) -> Result<()> {
        for file in files {
            let path = self.place.path.join(&file.path);
            std::fs::File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|error| write_error(&path, error))?;
        }
        Ok(())
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
            let n_retries = if state.is_some() { 15 } else { 0 };
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
                    self.sync_log(commit.version());
                    self.checkpoint(commit.version()).await;
                    return Ok(Some(commit.version()));
                }
                Err(error) => error,
            };
            attempt += 1;
            if !is_conflict(&error) || attempt >= MAX_COMMIT_ATTEMPTS {
                return Err(error).on_table(name, "cannot be committed to");
            }
            self.cx.check()?;
            // Writers that met once should not meet again.
            let pause_ms = u64::from(rand_like(attempt)) % 50;
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            table = self.current().await?;
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
        let Some(first) = files.first() else {
            return false;
        };
        match self.current().await {
            Ok(Some(table)) => table.snapshot().is_ok_and(|state| {
                state
                    .log_data()
                    .iter()
                    .any(|file| file.path() == first.path)
            }),
            Ok(None) => false,
            // When in doubt, a file too many is better than one too few.
            Err(_) => true,
        }
    }

    /// The commit is done; that the disk may still hold it back is not worth failing for.
    fn sync_log(&self, version: u64) {
        let folder = self.place.path.join(LOG_FOLDER);
        for path in [folder.join(format!("{version:020}.json")), folder] {
            if let Err(error) = std::fs::File::open(&path).and_then(|file| file.sync_all()) {
                tracing::warn!(path = %path.display(), %error, "a commit was not synced");
            }
        }
    }

    /// Every so many versions the log is summed up, so that opening stays fast.
    async fn checkpoint(&self, version: u64) {
        let name = &self.write.table;
        let table = match self.current().await {
            Ok(Some(table)) => table,
            _ => return,
        };
        let every = table
            .snapshot()
            .ok()
            .and_then(|state| state.table_config().checkpoint_interval);
        let every = every.map_or(10, |every| every.get());
        if version == 0 || !version.is_multiple_of(every) || table.version() != Some(version) {
            return;
        }
        if let Err(error) = deltalake::checkpoints::create_checkpoint(&table, None).await {
            tracing::warn!(table = %name, %error, "a checkpoint was not written");
        }
    }
}

fn writer_config(target: &Target, table: Option<&DeltaTable>) -> WriterConfig {
    let properties = table
        .and_then(|table| table.snapshot().ok())
        .map(|state| state.table_config());
    let (indexed, named) = get_num_idx_cols_and_stats_columns(properties, HashMap::new());
    WriterConfig::new(
        target.schema.clone(),
        target.partition_by.clone(),
        Some(
            WriterProperties::builder()
                .set_created_by(concat!("provender ", env!("CARGO_PKG_VERSION")).to_owned())
                .set_compression(Compression::SNAPPY)
                .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                .build(),
        ),
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

/// A number that differs between writers; quality does not matter.
fn rand_like(attempt: u32) -> u32 {
    let now = provender_core::time::now_us();
    let mixed = (now ^ i64::from(std::process::id()) ^ i64::from(attempt)).unsigned_abs();
    u32::try_from(mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).unwrap_or(attempt)
}
