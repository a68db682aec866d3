//! Making a dataset.
//!
//! Decides the order of steps: definitions and sources are fixed, the spine is written and read back
//! (so that whatever the store does to a type is done once and for all), rows are written, and last the
//! manifest is committed. Whatever ends before that leaves nothing that anybody sees; the tables it
//! leaves are overwritten by the next attempt.

use provender_core::model::{FeatureRef, Relation};
use provender_core::names::{SEPARATOR, check_name};
use provender_core::provider::{OfflineStore, unsupported};
use provender_core::request::{OfflineWrite, SourceRef, SqlSpine, WriteMode, WriteSummary};
use provender_core::time::{format_instant, now_us};
use provender_core::{BatchStream, Catalog, Context, Error, Result, codes};

use super::keep::author;
use super::manifest::{
    ColumnRole, Dataset, DatasetColumn, DatasetRequest, FORMAT, StoredSpine, StoredTable,
    UsedDefinitions,
};
use super::measure::{Measured, measured};
use super::pins::{definitions, fixed_features, pin, pinned_catalog};
use super::spine;
use super::split::Split;
use crate::FeatureStore;
use crate::historical::scanned;
use crate::materialize::lease::{HeldLease, Terms};
use crate::request::{HistoricalRequest, Selection};
use crate::training::Meaning;

/// A dataset to make.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateDataset {
    /// Its name; letters, digits and `_`.
    pub name: String,
    /// Makes the next version if there is a dataset of the name.
    pub new_version: bool,
    /// What it holds.
    pub request: HistoricalRequest,
    /// The named offline store that keeps it; `None` is the project's `offline_store`.
    pub store: Option<String>,
    /// How rows are divided.
    pub split: Option<Split>,
    /// What was typed, for the manifest.
    pub command: String,
}

/// The rows that features are found for.
#[derive(Debug)]
pub enum DatasetSpine {
    /// Rows that the caller brings.
    Rows(BatchStream),
    /// Rows of the project's `offline_store`.
    Sql(SqlSpine),
}

impl FeatureStore {
    /// Builds a training set and keeps it: its rows, in the spine's order, and its spine as tables of
    /// an offline store, and a manifest from which [`Self::recreate_dataset`] builds the same rows again.
    /// `watch` is given the rows on their way to the store, so that it can count them.
    ///
    /// The spine is kept in the types that the offline store has; the rows are built from what is kept.
    /// Nothing is visible before everything is durable, and nothing at all if anything fails.
    ///
    /// # Errors
    /// As [`Self::historical`], and `InvalidArgument` (`P104`) for the name, `FailedPrecondition`
    /// (`P421`) if the dataset exists, `Conflict` (`P305`) while it is being made by another,
    /// `Unsupported` (`P801`) for a store that does not write.
    pub async fn create_dataset(
        &self,
        cx: &Context,
        create: &CreateDataset,
        spine: DatasetSpine,
        watch: impl FnOnce(BatchStream) -> BatchStream + Send,
    ) -> Result<Dataset> {
        self.check_context(cx)?;
        check_name("a dataset", &create.name)?;
        let (lease, lost) = self.dataset_lease(cx, &create.name).await?;
        let outcome = tokio::select! {
            biased;
            error = lost.wait() => Err(error),
            outcome = self.create(cx, create, spine, watch, &lease) => outcome,
        };
        lease.release().await;
        outcome
    }

    /// The exclusive right to write the tables and the manifest of a dataset.
    pub(super) async fn dataset_lease(
        &self,
        cx: &Context,
        name: &str,
    ) -> Result<(HeldLease, crate::materialize::lease::Lost)> {
        // Stores that do not tell cases apart would keep both under one name.
        let name = format!("dataset/{}", name.to_lowercase());
        HeldLease::acquire(self.registry(), cx, &name, Terms::RUN).await
    }

    async fn create(
        &self,
        cx: &Context,
        create: &CreateDataset,
        spine: DatasetSpine,
        watch: impl FnOnce(BatchStream) -> BatchStream + Send,
        lease: &HeldLease,
    ) -> Result<Dataset> {
        let version = self
            .next_dataset_version(cx, &create.name, create.new_version)
            .await?;
        let catalog = self.applied_catalog(cx).await?;
        let store = self.stores().offline(cx, create.store.as_deref()).await?;
        if !store.capabilities().write {
            return Err(unsupported(&store.info(), "writing tables")
                .help("keep the dataset in a store that does (`--store`), or build one with `provender historical`"));
        }
        let mut request = create.request.clone();
        let spine = self.spine_rows(cx, &mut request, spine).await?;
        let (service, features) = fixed_features(&catalog, &request)?;
        request.selection = Selection::Features(features.clone());
        // Mistakes are told before anything is written.
        let meaning = Meaning::of(&catalog, &request, &spine.schema)?;
        let timestamp = spine.schema.field(meaning.spine.timestamp).name().clone();
        request.timestamp = Some(timestamp.clone());
        let split = match &create.split {
            None => None,
            Some(split) => {
                split.bind(&meaning, &spine.schema)?;
                Some(split.resolved(&meaning, &spine.schema)?)
            }
        };
        let spine_columns: Vec<String> = (spine.schema.fields().iter())
            .map(|field| field.name().clone())
            .collect();
        let from = origins(&meaning, &features);
        let sources = pin(self, cx, &meaning.resolved.joins).await?;
        let pinned = pinned_catalog(&catalog, &sources);

        let table = ["dataset", &create.name, &version.to_string()].join(SEPARATOR);
        let row_number = spine::number_name(&spine.schema);
        let spine_table = format!("{table}{SEPARATOR}spine");
        let rows = spine::numbered(spine, &row_number);
        let kept = overwrite(cx, store.as_ref(), &spine_table, rows).await?;
        let stored = |table: &str, summary: &WriteSummary| StoredTable {
            store: create.store.clone(),
            table: table.to_owned(),
            version: summary
                .version
                .clone()
                .filter(|_| store.capabilities().versions),
        };
        let mut kept_spine = StoredSpine {
            table: stored(&spine_table, &kept),
            row_number,
            n_rows: kept.n_rows,
            hash: String::new(),
        };

        let (rows, measuring) = self
            .dataset_rows(
                cx,
                &pinned,
                &request,
                (&kept_spine, &spine_columns),
                split.as_ref(),
            )
            .await?;
        let written = overwrite(cx, store.as_ref(), &table, watch(rows)).await?;
        let measures = measuring.finish()?;
        check_counts(&kept, &written, &measures)?;
        kept_spine.hash.clone_from(&measures.spine_hash);
        let dataset = Dataset {
            format: FORMAT,
            name: create.name.clone(),
            version,
            created_at: format_instant(now_us()),
            created_by: author(cx),
            command: create.command.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            definitions: UsedDefinitions {
                revision: catalog.revision,
                used: definitions(&catalog, service.as_deref(), &features)?,
            },
            request: DatasetRequest {
                service,
                features,
                timestamp,
                as_known: request.as_known,
                full_feature_names: request.full_feature_names,
            },
            sources,
            spine: kept_spine,
            split,
            table: stored(&table, &written),
            n_rows: measures.hashed.n_rows,
            hash: measures.hashed.hash.clone(),
            columns: columns(measures, spine_columns.len(), from),
        };
        lease.confirm().await?;
        let message = format!("dataset create {}", dataset.full_name());
        self.keep_dataset(cx, &dataset, &message).await?;
        Ok(dataset)
    }

    /// The spine's rows, and in the request the timestamp that a spine of the store names.
    async fn spine_rows(
        &self,
        cx: &Context,
        request: &mut HistoricalRequest,
        spine: DatasetSpine,
    ) -> Result<BatchStream> {
        let sql = match spine {
            DatasetSpine::Rows(rows) => return Ok(rows),
            DatasetSpine::Sql(sql) => sql,
        };
        let store = self.stores().offline(cx, None).await?;
        if matches!(sql.relation, Relation::Query(_)) && !store.capabilities().sql_sources {
            return Err(unsupported(&store.info(), "SQL for spines")
                .help("name a table of the store, or bring the rows of the spine yourself"));
        }
        if request.timestamp.is_none() && !sql.timestamp.is_empty() {
            request.timestamp = Some(sql.timestamp);
        }
        let source = SourceRef {
            relation: sql.relation,
            filter: None,
            version: None,
        };
        let schema = self.source_columns(cx, &source).await?;
        scanned(cx, store.as_ref(), source, schema).await
    }

    /// The rows of a dataset, built from its kept spine by the definitions of a catalog.
    pub(super) async fn dataset_rows(
        &self,
        cx: &Context,
        catalog: &Catalog,
        request: &HistoricalRequest,
        (kept, columns): (&StoredSpine, &[String]),
        split: Option<&Split>,
    ) -> Result<(BatchStream, super::measure::Measuring)> {
        let store = self
            .stores()
            .offline(cx, kept.table.store.as_deref())
            .await?;
        let resources = self.resources(cx);
        let spine = spine::read(cx, store.as_ref(), &resources, kept, columns).await?;
        let schema = spine.schema.clone();
        let split = match split {
            None => None,
            Some(split) => {
                let meaning = Meaning::of(catalog, request, &schema)?;
                Some(split.bind(&meaning, &schema)?)
            }
        };
        let rows = self.historical_of(cx, catalog, request, spine).await?;
        Ok(measured(cx.clone(), rows, split, schema.fields().len()))
    }
}

/// Replaces all rows of a table of a dataset.
pub(super) async fn overwrite(
    cx: &Context,
    store: &dyn OfflineStore,
    table: &str,
    rows: BatchStream,
) -> Result<WriteSummary> {
    let write = OfflineWrite {
        table: table.to_owned(),
        mode: WriteMode::Overwrite,
        partition_by: Vec::new(),
        id: None,
    };
    store
        .write(cx, write, rows)
        .await
        .map_err(|error| error.context("table", table.to_owned()))
}

/// For each feature column, the view, at its version, and the feature behind it.
fn origins(meaning: &Meaning, features: &[FeatureRef]) -> Vec<String> {
    (meaning.resolved.outputs.iter())
        .map(|output| {
            let mut asked = features.iter();
            let asked = asked.find(|of| of.view == output.view && of.alias == output.alias);
            let version = asked.and_then(|of| of.version).unwrap_or_default();
            format!("{}@{version}:{}", output.view, output.feature)
        })
        .collect()
}

fn columns(measures: Measured, n_spine: usize, from: Vec<String>) -> Vec<DatasetColumn> {
    let mut columns = Vec::with_capacity(measures.columns.len());
    let hashes = measures.hashed.columns.into_iter();
    let figures = hashes.zip(measures.statistics);
    for (at, ((name, data_type), (hash, statistics))) in
        measures.columns.into_iter().zip(figures).enumerate()
    {
        let feature = at.checked_sub(n_spine).map(|at| from.get(at));
        columns.push(DatasetColumn {
            name,
            data_type,
            role: match feature {
                None => ColumnRole::Spine,
                Some(Some(_)) => ColumnRole::Feature,
                Some(None) => ColumnRole::Split,
            },
            from: feature.flatten().cloned(),
            hash,
            statistics,
        });
    }
    columns
}

fn check_counts(spine: &WriteSummary, rows: &WriteSummary, measures: &Measured) -> Result<()> {
    let n_rows = measures.hashed.n_rows;
    if spine.n_rows == n_rows && rows.n_rows == n_rows {
        return Ok(());
    }
    Err(Error::new(
        &codes::PROVIDER_CONTRACT,
        format!(
            "the offline store took {} rows of a spine and answered {n_rows}, and took {} rows of the training set",
            spine.n_rows, rows.n_rows
        ),
    ))
}
