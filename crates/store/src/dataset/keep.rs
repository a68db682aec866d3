//! Where manifests are kept: in the registry, one object for each version of a dataset.

use std::sync::Arc;

use provender_core::catalog::to_object;
use provender_core::model::split_version;
use provender_core::names::did_you_mean;
use provender_core::provider::{Author, Change, Object, ObjectKind};
use provender_core::{Context, Error, Result, codes};

use super::manifest::{Dataset, FORMAT};
use crate::FeatureStore;

/// Other changes may be committed between a look at the registry and a commit, this often in a row.
const MAX_COMMIT_ATTEMPTS: usize = 20;

impl FeatureStore {
    /// All versions of all datasets, by name and version.
    ///
    /// # Errors
    /// `Unavailable` (`P304`), `DataLoss` (`P303`) for a manifest that cannot be read, and
    /// `FailedPrecondition` (`P302`) for one of a newer program.
    pub async fn datasets(&self, cx: &Context) -> Result<Vec<Dataset>> {
        self.check_context(cx)?;
        let snapshot = self.registry().snapshot(cx, None).await?;
        (snapshot.objects.iter())
            .filter(|object| object.kind == ObjectKind::Dataset)
            .map(read)
            .collect()
    }

    /// A dataset, by `name` (its newest version) or `name@version`.
    ///
    /// # Errors
    /// `NotFound` (`P420`) with the nearest name, and as [`Self::datasets`].
    pub async fn dataset(&self, cx: &Context, name: &str) -> Result<Dataset> {
        let (wanted, version) = split_version(name.trim())
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| {
                Error::new(&codes::BAD_REQUEST, format!("{name:?} names no dataset"))
                    .help("write dataset or dataset@3")
            })?;
        let all = self.datasets(cx).await?;
        let mut known: Vec<&str> = all.iter().map(|dataset| dataset.name.as_str()).collect();
        known.dedup();
        if !known.contains(&wanted) {
            return Err(Error::new(
                &codes::UNKNOWN_DATASET,
                format!("there is no dataset {wanted:?}"),
            )
            .help(did_you_mean(wanted, known)));
        }
        let mut versions = Vec::new();
        let mut found = None;
        for dataset in all.into_iter().filter(|dataset| dataset.name == wanted) {
            versions.push(dataset.version.to_string());
            if version.is_none_or(|version| version == dataset.version) {
                found = Some(dataset);
            }
        }
        found.ok_or_else(|| {
            Error::new(
                &codes::UNKNOWN_DATASET,
                format!(
                    "dataset {wanted:?} has no version {}",
                    version.unwrap_or_default()
                ),
            )
            .help(format!("known are {}", versions.join(", ")))
        })
    }

    /// The version that a new dataset of this name gets.
    ///
    /// # Errors
    /// `FailedPrecondition` (`P421`) if there is one and no new version of it is wanted, or if one is
    /// named the same but for case, which many stores do not tell apart.
    pub(super) async fn next_dataset_version(
        &self,
        cx: &Context,
        name: &str,
        new_version: bool,
    ) -> Result<u32> {
        let all = self.datasets(cx).await?;
        let lower = name.to_lowercase();
        let mut same = all
            .iter()
            .filter(|dataset| dataset.name.to_lowercase() == lower);
        let Some(newest) = same.next_back() else {
            return Ok(1);
        };
        if newest.name != name {
            return Err(Error::new(
                &codes::DATASET_EXISTS,
                format!(
                    "there is a dataset {:?}, whose name differs from {name:?} in case alone",
                    newest.name
                ),
            )
            .help("choose another name"));
        }
        if !new_version {
            return Err(Error::new(
                &codes::DATASET_EXISTS,
                format!(
                    "dataset {name:?} exists: version {} of {}, {} rows",
                    newest.version, newest.created_at, newest.n_rows
                ),
            )
            .help(format!(
                "choose another name, or make version {} with --new-version",
                newest.version + 1
            ))
            .context("dataset", name));
        }
        Ok(newest.version + 1)
    }

    /// Commits a manifest, over whatever others commit meanwhile.
    ///
    /// # Errors
    /// `Unavailable` (`P304`), `Conflict` (`P301`) if others commit all the time.
    pub(super) async fn keep_dataset(
        &self,
        cx: &Context,
        dataset: &Dataset,
        message: &str,
    ) -> Result<()> {
        let object = to_object(ObjectKind::Dataset, &dataset.name, dataset.version, dataset)?;
        self.commit_datasets(cx, &[Change::Put(object)], message)
            .await
    }

    /// Commits changes of manifests, over whatever others commit meanwhile.
    ///
    /// # Errors
    /// As [`Self::keep_dataset`].
    pub(super) async fn commit_datasets(
        &self,
        cx: &Context,
        changes: &[Change],
        message: &str,
    ) -> Result<()> {
        let author = Author {
            name: author(cx),
            message: message.to_owned(),
        };
        let registry = Arc::clone(self.registry());
        let mut n_left = MAX_COMMIT_ATTEMPTS;
        loop {
            let base = registry.revision(cx).await?;
            match registry.commit(cx, base, changes, &author).await {
                Ok(_) => return Ok(()),
                Err(error) if error.code() == codes::REVISION_CONFLICT.id && n_left > 0 => {
                    n_left -= 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Who makes a dataset.
pub(super) fn author(cx: &Context) -> String {
    cx.identity()
        .map_or_else(|| "unknown".to_owned(), |identity| identity.name.clone())
}

fn read(object: &Object) -> Result<Dataset> {
    let format = object
        .body
        .get("format")
        .and_then(serde_json::Value::as_u64);
    if format.is_some_and(|format| format > u64::from(FORMAT)) {
        return Err(Error::new(
            &codes::REGISTRY_TOO_NEW,
            format!(
                "dataset \"{}@{}\" was made by a newer version of this program",
                object.name, object.version
            ),
        )
        .help("update this program"));
    }
    serde_json::from_value(object.body.clone()).map_err(|error| {
        Error::new(
            &codes::REGISTRY_DAMAGED,
            format!(
                "the registry's manifest of dataset \"{}@{}\" cannot be read",
                object.name, object.version
            ),
        )
        .source(error)
    })
}
