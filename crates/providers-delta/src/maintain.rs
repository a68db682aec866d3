//! Looking after tables: small files become large ones, and files that no present row is in go away.
//!
//! Both leave a table's rows as they are. Optimising is a commit like any other, so readers and
//! writers go on meanwhile; vacuuming takes old versions away, so it keeps what is younger than the
//! table's own retention unless it is told to do otherwise.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;
use std::sync::Arc;

use arrow_array::temporal_conversions::duration_us_to_duration;
use deltalake::DeltaTable;
use deltalake::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
use deltalake::kernel::transaction::CommitProperties;
use deltalake::operations::optimize::OptimizeType;
use deltalake::operations::vacuum::VacuumMode;
use deltalake::table::config::TablePropertiesExt;
use futures::TryStreamExt;
use provender_core::model::SourceVersion;
use provender_core::names::{did_you_mean, find_column};
use provender_core::provider::{Provider, unsupported};
use provender_core::request::{Maintenance, MaintenanceSummary, MaintenanceWork, Optimise, Vacuum};
use provender_core::time::{format_duration, now_us};
use provender_core::{Context, Error, Result, codes};

use crate::error::{OnTable, fenced, is_conflict};
use crate::making::{sync, sync_log};
use crate::store::DeltaOfflineStore;
use crate::tables::{Kind, Place};
use crate::write::{MAX_COMMIT_ATTEMPTS, TARGET_FILE_BYTES, file_properties, pause};

/// Does the work on a table's files.
pub(crate) async fn maintain(
    store: &DeltaOfflineStore,
    cx: &Context,
    maintenance: &Maintenance,
) -> Result<MaintenanceSummary> {
    cx.check()?;
    let place = store.tables.find_existing(&maintenance.table).await?;
    if place.kind == Kind::Parquet {
        return Err(unsupported(&store.info(), "looking after Parquet files")
            .help("import them as a Delta table")
            .context("table", place.name));
    }
    store.tables.register(&store.session, &place)?;
    match &maintenance.work {
        MaintenanceWork::Optimise(how) => optimise(store, cx, &place, how).await,
        MaintenanceWork::Vacuum(which) => vacuum(store, cx, &place, which).await,
        _ => Err(unsupported(&store.info(), "this work on tables")),
    }
}

async fn optimise(
    store: &DeltaOfflineStore,
    cx: &Context,
    place: &Place,
    how: &Optimise,
) -> Result<MaintenanceSummary> {
    let name = &place.name;
    let target = how.target_bytes.unwrap_or(TARGET_FILE_BYTES).max(1);
    let mut attempt = 0;
    let (table, before, metrics) = loop {
        cx.check()?;
        let table = store.tables.open(place, None).await?;
        let order_by = columns(&table, name, &how.order_by)?;
        let before = file_paths(&table, name)?;
        let order = match order_by.is_empty() {
            true => OptimizeType::Compact,
            false => OptimizeType::ZOrder(order_by),
        };
        // Every file that is being written is in memory until it is whole.
        let memory_bytes = cx.memory_within(store.memory_limit_bytes);
        let n_at_once = usize::try_from(memory_bytes / 2 / target).unwrap_or(1);
        let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let optimising = table
            .optimize()
            .with_type(order)
            .with_target_size(NonZeroU64::new(target).unwrap_or(NonZeroU64::MIN))
            .with_max_concurrent_tasks(n_at_once.clamp(1, n_cores))
            .with_writer_properties(file_properties())
            .with_session_state(Arc::new(store.session.state()))
            .with_commit_properties(properties());
        let optimised = tokio::select! {
            optimised = fenced(name, "cannot be optimised", optimising.into_future()) => optimised?,
            () = cx.cancelled() => {
                cx.check()?;
                continue;
            }
        };
        attempt += 1;
        match optimised {
            Ok((_, metrics)) => {
                break (store.tables.open(place, None).await?, before, metrics);
            }
            Err(error) if is_conflict(&error) && attempt < MAX_COMMIT_ATTEMPTS => {
                pause(attempt).await;
            }
            Err(error) => return Err(error).on_table(name, "cannot be optimised"),
        }
    };
    let after = file_paths(&table, name)?;
    sync(&place.at, after.difference(&before).map(String::as_str))?;
    if let Some(version) = table.version() {
        sync_log(&place.at, version);
    }
    let size = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
    Ok(MaintenanceSummary {
        n_added: metrics.num_files_added,
        added_bytes: size(metrics.files_added.total_size),
        n_removed: metrics.num_files_removed,
        removed_bytes: size(metrics.files_removed.total_size),
        n_files: after.len() as u64,
        version: table.version().map(SourceVersion::Number),
        ..MaintenanceSummary::default()
    })
}

async fn vacuum(
    store: &DeltaOfflineStore,
    cx: &Context,
    place: &Place,
    which: &Vacuum,
) -> Result<MaintenanceSummary> {
    let name = &place.name;
    let table = store.tables.open(place, None).await?;
    let own = table
        .snapshot()
        .on_table(name, "cannot be read")?
        .table_config()
        .deleted_file_retention_duration();
    let own_us = u64::try_from(own.as_micros()).unwrap_or(u64::MAX);
    let retain_us = which.retain_us.unwrap_or(own_us);
    if retain_us < own_us && !which.force {
        let told = |us: u64| format_duration(i64::try_from(us).unwrap_or(i64::MAX));
        return Err(Error::new(
            &codes::RETENTION_TOO_SHORT,
            format!(
                "table {name:?} keeps replaced files for {}, and {} is shorter; nothing was removed",
                told(own_us),
                if retain_us == 0 { "no time at all".to_owned() } else { told(retain_us) },
            ),
        )
        .help("keep more; or force it, when nobody reads or writes the table meanwhile and its past versions are not needed")
        .context("table", name.clone()));
    }
    let retain_us = i64::try_from(retain_us).unwrap_or(i64::MAX / 2);
    let sizes = sizes(&table, name).await?;
    let (_, planned) = builder(table.clone(), retain_us)
        .with_dry_run(true)
        .await
        .on_table(name, "cannot be vacuumed")?;
    cx.check()?;
    let mut removed = planned.files_deleted;
    // What the log names may be gone already.
    removed.retain(|path| sizes.contains_key(path));
    if !which.dry_run && !removed.is_empty() {
        let (_, done) = builder(table, retain_us)
            .await
            .on_table(name, "cannot be vacuumed")?;
        removed = done.files_deleted;
        removed.retain(|path| sizes.contains_key(path));
    }
    removed.sort();
    let mut n_forgotten = 0;
    let mut table = store.tables.open(place, None).await?;
    if which.forget_history && !which.dry_run {
        n_forgotten = forget(&table, name, retain_us).await?;
        table = store.tables.open(place, None).await?;
    }
    if let Some(version) = table.version() {
        sync_log(&place.at, version);
    }
    Ok(MaintenanceSummary {
        n_removed: removed.len() as u64,
        removed_bytes: removed.iter().filter_map(|path| sizes.get(path)).sum(),
        n_files: file_paths(&table, name)?.len() as u64,
        n_forgotten,
        removed,
        version: table.version().map(SourceVersion::Number),
        ..MaintenanceSummary::default()
    })
}

fn builder(table: DeltaTable, retain_us: i64) -> deltalake::operations::vacuum::VacuumBuilder {
    table
        .vacuum()
        // Files of writers that were killed are named by no commit, and may hold erased rows too.
        .with_mode(VacuumMode::Full)
        .with_retention_period(duration_us_to_duration(retain_us))
        .with_enforce_retention_duration(false)
        .with_commit_properties(properties())
}

/// Sums the log up and removes what is older; answers how many entries went.
async fn forget(table: &DeltaTable, name: &str, retain_us: i64) -> Result<u64> {
    create_checkpoint(table, None)
        .await
        .on_table(name, "cannot be summed up")?;
    let cutoff_ms = (now_us() - retain_us).div_euclid(1_000);
    let n_removed = cleanup_expired_logs_for(
        table.version().unwrap_or_default(),
        table.log_store().as_ref(),
        cutoff_ms,
        None,
    )
    .await
    .on_table(name, "cannot forget its past versions")?;
    Ok(n_removed as u64)
}

fn properties() -> CommitProperties {
    CommitProperties::default()
        .with_create_checkpoint(false)
        .with_cleanup_expired_logs(Some(false))
}

fn file_paths(table: &DeltaTable, name: &str) -> Result<HashSet<String>> {
    let state = table.snapshot().on_table(name, "cannot be read")?;
    Ok(state
        .log_data()
        .iter()
        .map(|file| file.path().to_string())
        .collect())
}

/// The sizes of all objects in a table's folder, by their paths in it.
async fn sizes(table: &DeltaTable, name: &str) -> Result<HashMap<String, u64>> {
    let objects = table.log_store().object_store(None);
    objects
        .list(None)
        .map_ok(|object| (object.location.to_string(), object.size))
        .try_collect()
        .await
        .map_err(deltalake::DeltaTableError::from)
        .on_table(name, "cannot be listed")
}

/// The columns of the table that these names mean.
fn columns(table: &DeltaTable, name: &str, asked: &[String]) -> Result<Vec<String>> {
    let state = table.snapshot().on_table(name, "cannot be read")?;
    let schema = state.snapshot().arrow_schema();
    let partitions = state.metadata().partition_columns();
    let mut found: Vec<String> = Vec::with_capacity(asked.len());
    for column in asked {
        let names = || schema.fields().iter().map(|field| field.name().as_str());
        let refuse = |why: &str| {
            Error::new(
                &codes::OFFLINE_REQUEST,
                format!("table {name:?} cannot be ordered by {column:?}: {why}"),
            )
            .context("table", name)
        };
        let known = find_column(column, names().collect::<Vec<_>>())
            .map_err(|_| refuse("there is no such column").help(did_you_mean(column, names())))?;
        if partitions.iter().any(|partition| partition == known) {
            return Err(refuse("it is partitioned by it already").help("leave the column out"));
        }
        let is_nested = schema
            .field_with_name(known)
            .is_ok_and(|field| field.data_type().is_nested());
        if is_nested {
            return Err(refuse("its values have no order"));
        }
        if !found.iter().any(|other| other == known) {
            found.push(known.to_owned());
        }
    }
    Ok(found)
}
