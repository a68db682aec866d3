//! Deleting datasets: their tables are emptied, and then their manifests leave the registry.
//!
//! In this order a run that is killed leaves a dataset that is still listed, and that can be deleted
//! again.

use provender_core::model::split_version;
use provender_core::provider::{Change, ObjectKind, OfflineStore, unsupported};
use provender_core::request::SourceRef;
use provender_core::{BatchStream, Context, Error, Result, codes};

use super::create::overwrite;
use super::manifest::{Dataset, StoredTable};
use crate::FeatureStore;

impl FeatureStore {
    /// The datasets that [`Self::delete_datasets`] deletes under a name: `name@version` is one, and so
    /// is `name` of which there is one version; of several, all are meant only if `all_versions`.
    ///
    /// # Errors
    /// `NotFound` (`P420`); `InvalidArgument` (`P406`) for a name of several versions, and for a
    /// version together with `all_versions`.
    pub async fn datasets_to_delete(
        &self,
        cx: &Context,
        name: &str,
        all_versions: bool,
    ) -> Result<Vec<Dataset>> {
        let named = self.dataset(cx, name).await?;
        if split_version(name.trim()).is_some_and(|(_, version)| version.is_some()) {
            if all_versions {
                return Err(Error::new(
                    &codes::BAD_REQUEST,
                    format!("{name:?} names one version, and all versions are asked for"),
                )
                .help("leave out one of the two"));
            }
            return Ok(vec![named]);
        }
        let mut versions = self.datasets(cx).await?;
        versions.retain(|dataset| dataset.name == named.name);
        if versions.len() > 1 && !all_versions {
            let known: Vec<String> = versions.iter().map(Dataset::full_name).collect();
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "dataset {:?} has several versions: {}",
                    named.name,
                    known.join(", ")
                ),
            )
            .help("name one of them, or pass --all-versions"));
        }
        Ok(versions)
    }

    /// Deletes datasets of one name: their rows and spines leave their tables, which stay, empty; their
    /// manifests leave the registry. Older versions of the tables hold the rows until they are vacuumed.
    /// A deletion that failed can be made again.
    ///
    /// # Errors
    /// `Conflict` (`P305`) while another works on the dataset, `Unsupported` (`P801`) for a store that
    /// does not write, and what stores and registry say.
    pub async fn delete_datasets(&self, cx: &Context, datasets: &[Dataset]) -> Result<()> {
        let Some(first) = datasets.first() else {
            return Ok(());
        };
        let (lease, lost) = self.dataset_lease(cx, &first.name).await?;
        let outcome = tokio::select! {
            biased;
            error = lost.wait() => Err(error),
            outcome = async {
                for dataset in datasets {
                    for table in [&dataset.table, &dataset.spine.table] {
                        self.empty(cx, table).await?;
                    }
                }
                lease.confirm().await?;
                let changes: Vec<Change> = datasets
                    .iter()
                    .map(|dataset| Change::Delete {
                        kind: ObjectKind::Dataset,
                        name: dataset.name.clone(),
                        version: Some(dataset.version),
                    })
                    .collect();
                let names: Vec<String> = datasets.iter().map(Dataset::full_name).collect();
                let message = format!("dataset delete {}", names.join(" "));
                self.commit_datasets(cx, &changes, &message).await
            } => outcome,
        };
        lease.release().await;
        outcome
    }

    /// Takes all rows out of a table; one that is gone has none.
    async fn empty(&self, cx: &Context, table: &StoredTable) -> Result<()> {
        let store = self.stores().offline(cx, table.store.as_deref()).await?;
        if !store.capabilities().write {
            return Err(unsupported(&store.info(), "writing tables"));
        }
        let store: &dyn OfflineStore = store.as_ref();
        let schema = match store.schema(cx, &SourceRef::table(&table.table)).await {
            Ok(schema) => schema,
            Err(error) if error.code() == codes::MISSING_TABLE.id => return Ok(()),
            Err(error) => return Err(error),
        };
        let nothing = BatchStream::from_batches(schema, Vec::new());
        overwrite(cx, store, &table.table, nothing)
            .await
            .map(|_| ())
    }
}
