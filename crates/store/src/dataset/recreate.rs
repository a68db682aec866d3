//! Building a dataset again from what it was built from, and proving that the rows are the same.
//!
//! Decides that nobody is given other rows as if they were the same: the stream of rows ends in an error
//! unless their hash is the recorded one, so whoever writes them makes nothing visible.

use async_stream::try_stream;
use futures::StreamExt;
use provender_core::provider::unsupported;
use provender_core::request::{Scan, SourceRef};
use provender_core::{BatchStream, Catalog, Context, Error, ErrorKind, Result, codes};

use super::create::overwrite;
use super::manifest::{Dataset, StoredTable, version_text};
use super::measure::Measured;
use super::pins::{described, pinned_catalog};
use crate::FeatureStore;

/// A dataset that is built again.
#[derive(Debug)]
pub struct Recreation {
    /// What was recorded.
    pub dataset: Dataset,
    /// The rows. The stream fails at its end (`P520`) if they are not bit for bit those that were
    /// recorded; so once it has ended well, they are.
    pub rows: BatchStream,
}

impl FeatureStore {
    /// Builds a dataset's rows again: by the definitions of the recorded revision, from the recorded
    /// states of its sources, for the kept spine. `name` is `dataset` (its newest version) or `dataset@2`.
    ///
    /// # Errors
    /// `NotFound`: `P420` for an unknown dataset, `P308` if the registry has lost the revision, `P506`
    /// if the recorded state of a source, or the spine, is gone, which the message names. The stream
    /// fails with `DataLoss` (`P520`) if other rows came out, and as [`Self::historical`].
    pub async fn recreate_dataset(&self, cx: &Context, name: &str) -> Result<Recreation> {
        let dataset = self.dataset(cx, name).await?;
        let catalog = self.recorded_catalog(cx, &dataset).await?;
        let pinned = pinned_catalog(&catalog, &dataset.sources);
        let columns = dataset.spine_columns();
        let built = self
            .dataset_rows(
                cx,
                &pinned,
                &dataset.historical_request(),
                (&dataset.spine, &columns),
                dataset.split.as_ref(),
            )
            .await;
        let (built, measuring) = match built {
            Ok(built) => built,
            Err(error) => return Err(self.what_is_gone(cx, &dataset, error).await),
        };
        let (store, cx, recorded) = (self.clone(), cx.clone(), dataset.clone());
        let schema = built.schema.clone();
        let mut batches = built.batches;
        let rows = BatchStream::new(
            schema,
            try_stream! {
                while let Some(batch) = batches.next().await {
                    match batch {
                        Ok(batch) => yield batch,
                        Err(error) => Err(store.what_is_gone(&cx, &recorded, error).await)?,
                    }
                }
                check_same(&recorded, &measuring.finish()?)?;
            },
        );
        Ok(Recreation { dataset, rows })
    }

    /// Builds a dataset again and puts its rows back into its table, for when the table was lost or
    /// changed. Nothing is changed unless the rows are the recorded ones.
    ///
    /// # Errors
    /// As [`Self::recreate_dataset`], `Conflict` (`P305`) while another works on the dataset, and what
    /// writing says.
    pub async fn restore_dataset(
        &self,
        cx: &Context,
        name: &str,
        watch: impl FnOnce(BatchStream) -> BatchStream + Send,
    ) -> Result<Dataset> {
        let named = self.dataset(cx, name).await?;
        let (lease, lost) = self.dataset_lease(cx, &named.name).await?;
        let outcome = tokio::select! {
            biased;
            error = lost.wait() => Err(error),
            outcome = async {
                let full_name = named.full_name();
                let Recreation { mut dataset, rows } = self.recreate_dataset(cx, &full_name).await?;
                let store = dataset.table.store.as_deref();
                let store = self.stores().offline(cx, store).await?;
                if !store.capabilities().write {
                    return Err(unsupported(&store.info(), "writing tables"));
                }
                let summary = overwrite(cx, store.as_ref(), &dataset.table.table, watch(rows)).await?;
                dataset.table.version =
                    summary.version.filter(|_| store.capabilities().versions);
                lease.confirm().await?;
                self.keep_dataset(cx, &dataset, &format!("dataset recreate {full_name}"))
                    .await?;
                Ok(dataset)
            } => outcome,
        };
        lease.release().await;
        outcome
    }

    /// The definitions that a dataset was built by.
    pub(super) async fn recorded_catalog(
        &self,
        cx: &Context,
        dataset: &Dataset,
    ) -> Result<Catalog> {
        let revision = dataset.definitions.revision;
        let snapshot = self
            .registry()
            .snapshot(cx, Some(revision))
            .await
            .map_err(|error| {
                if error.kind() != ErrorKind::NotFound {
                    return error;
                }
                let message = format!(
                    "dataset {:?} was built by revision {} of the definitions, which the registry does not have",
                    dataset.full_name(),
                    revision.0
                );
                Error::new(&codes::UNKNOWN_REVISION, message)
                    .help("restore the registry from a backup that has it")
                    .source(error)
            })?;
        Catalog::from_snapshot(&snapshot)
    }

    /// Finds out whether a failure means that a recorded state is gone, and says which. Any other
    /// failure is answered as it is.
    async fn what_is_gone(&self, cx: &Context, dataset: &Dataset, error: Error) -> Error {
        if !is_loss(&error) {
            return error;
        }
        for used in dataset.sources.iter().filter(|used| used.version.is_some()) {
            let source = used.source_ref();
            if let Err(cause) = self.probe(cx, used.store.as_deref(), &source).await
                && is_loss(&cause)
            {
                let message = format!(
                    "dataset {:?} cannot be recreated: source {:?} ({}) cannot be read {} any more: {}",
                    dataset.full_name(),
                    used.source,
                    described(&used.relation),
                    at_version(used.version.as_ref()),
                    cause.message()
                );
                return gone(dataset, message, cause).context("source", used.source.clone());
            }
        }
        let spine: &StoredTable = &dataset.spine.table;
        let source = spine.source_ref();
        if let Err(cause) = self.probe(cx, spine.store.as_deref(), &source).await
            && is_loss(&cause)
        {
            let message = format!(
                "dataset {:?} cannot be recreated: its spine, table {:?}, cannot be read {} any more: {}",
                dataset.full_name(),
                spine.table,
                at_version(spine.version.as_ref()),
                cause.message()
            );
            return gone(dataset, message, cause).context("table", spine.table.clone());
        }
        error
    }

    /// Reads one column of a source to its end.
    async fn probe(&self, cx: &Context, store: Option<&str>, source: &SourceRef) -> Result<()> {
        let store = self.stores().offline(cx, store).await?;
        let schema = store.schema(cx, source).await?;
        let scan = Scan {
            source: source.clone(),
            columns: (schema.fields().first()).map(|field| vec![field.name().clone()]),
            ranges: Vec::new(),
        };
        for mut partition in store.scan(cx, scan).await? {
            while let Some(batch) = partition.batches.next().await {
                cx.check()?;
                batch?;
            }
        }
        Ok(())
    }
}

/// Whether an error may mean that something is not there any more.
fn is_loss(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::DataLoss | ErrorKind::InvalidArgument
    ) && error.code() != codes::DATASET_DIFFERS.id
}

fn at_version(version: Option<&provender_core::model::SourceVersion>) -> String {
    match version {
        None => "as it was".to_owned(),
        Some(version) => {
            let text = version_text(version);
            text.strip_prefix("version")
                .map_or_else(|| text.clone(), |rest| format!("at version{rest}"))
        }
    }
}

fn gone(dataset: &Dataset, message: String, cause: Error) -> Error {
    Error::new(&codes::VERSION_GONE, message)
        .help(format!(
            "the rows that were made are in table {:?} as long as it is kept; files that were \
             vacuumed come back from a backup only; `provender dataset create {} --new-version` \
             builds from today's state",
            dataset.table.table, dataset.name
        ))
        .context("dataset", dataset.full_name())
        .source(cause)
}

/// # Errors
/// `DataLoss` (`P520`) that names what differs.
fn check_same(dataset: &Dataset, found: &Measured) -> Result<()> {
    if found.hashed.hash == dataset.hash {
        return Ok(());
    }
    let full_name = dataset.full_name();
    let spine_differs = found.spine_hash != dataset.spine.hash;
    let what = if found.hashed.n_rows != dataset.n_rows {
        format!(
            "{} rows came out, and {} were recorded",
            found.hashed.n_rows, dataset.n_rows
        )
    } else if spine_differs {
        format!(
            "the kept spine, table {:?}, is not the recorded one",
            dataset.spine.table.table
        )
    } else {
        let differing: Vec<&str> = (dataset.columns.iter().zip(&found.hashed.columns))
            .filter(|(column, hash)| column.hash != **hash)
            .map(|(column, _)| column.name.as_str())
            .collect();
        if differing.is_empty() {
            "names or types of its columns are not the recorded ones".to_owned()
        } else {
            format!("other values came out in {}", differing.join(", "))
        }
    };
    let unpinned: Vec<String> = dataset
        .unpinned()
        .map(|used| format!("{:?}", used.source))
        .collect();
    let help = if spine_differs {
        "the spine's table was changed by others; restore it".to_owned()
    } else if unpinned.is_empty() {
        format!(
            "every source was read at its recorded state, so a query may not be deterministic, or \
             this program ({}) may compute otherwise than the recorded one ({})",
            env!("CARGO_PKG_VERSION"),
            dataset.program
        )
    } else {
        format!(
            "{} could not be pinned when the dataset was made and may have changed since",
            unpinned.join(", ")
        )
    };
    Err(Error::new(
        &codes::DATASET_DIFFERS,
        format!("dataset {full_name:?} cannot be recreated: {what}"),
    )
    .help(help)
    .context("dataset", full_name))
}
