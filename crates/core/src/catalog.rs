//! What a registry snapshot means: typed definitions with their versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result, codes};
use crate::model::{Entity, FeatureService, FeatureView, OnDemandView, Source};
use crate::names::did_you_mean;
use crate::provider::{Object, ObjectKind, RegistrySnapshot, Revision};

/// All versions of an object by number; never empty.
pub type Versions<T> = BTreeMap<u32, Arc<T>>;

/// The applied definitions of one revision.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The project.
    pub project: String,
    /// The revision.
    pub revision: Revision,
    /// Entities by name.
    pub entities: BTreeMap<String, Arc<Entity>>,
    /// Sources by name.
    pub sources: BTreeMap<String, Arc<Source>>,
    /// Feature views by name and version.
    pub feature_views: BTreeMap<String, Versions<FeatureView>>,
    /// On-demand feature views by name and version; their inputs hold versions (`view@2`).
    pub on_demand_feature_views: BTreeMap<String, Versions<OnDemandView>>,
    /// Feature services by name and version; their references hold versions.
    pub feature_services: BTreeMap<String, Versions<FeatureService>>,
}

impl Catalog {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// `DataLoss` (`P303`) for an object that is not what its kind says.
    pub fn from_snapshot(snapshot: &RegistrySnapshot) -> Result<Self> {
        let mut catalog = Self {
            project: snapshot.project.clone(),
            revision: snapshot.revision,
            ..Self::default()
        };
        for object in &snapshot.objects {
            let name = object.name.clone();
            match object.kind {
                ObjectKind::Entity => {
                    catalog.entities.insert(name, read(object)?);
                }
                ObjectKind::Source => {
                    catalog.sources.insert(name, read(object)?);
                }
                ObjectKind::FeatureView => {
                    let versions = catalog.feature_views.entry(name).or_default();
                    versions.insert(object.version, read(object)?);
                }
                ObjectKind::OnDemandFeatureView => {
                    let versions = catalog.on_demand_feature_views.entry(name).or_default();
                    versions.insert(object.version, read(object)?);
                }
                ObjectKind::FeatureService => {
                    let versions = catalog.feature_services.entry(name).or_default();
                    versions.insert(object.version, read(object)?);
                }
                // The manifest of a training set that was built from definitions is none itself.
                ObjectKind::Dataset => {}
            }
        }
        Ok(catalog)
    }

    /// A feature view by name and version; `None` is the newest.
    ///
    /// # Errors
    /// `NotFound` (`P401`) with the nearest name.
    pub fn feature_view(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<(u32, Arc<FeatureView>)> {
        find("feature view", &self.feature_views, name, version)
    }

    /// An on-demand feature view by name and version; `None` is the newest.
    ///
    /// # Errors
    /// `NotFound` (`P401`) with the nearest name.
    pub fn on_demand_view(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<(u32, Arc<OnDemandView>)> {
        find(
            "on-demand feature view",
            &self.on_demand_feature_views,
            name,
            version,
        )
    }

    /// A service by name and version; `None` is the newest.
    ///
    /// # Errors
    /// `NotFound` (`P401`) with the nearest name.
    pub fn feature_service(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<(u32, Arc<FeatureService>)> {
        find("feature service", &self.feature_services, name, version)
    }

    /// Names of all views, on-demand ones included, for hints.
    pub fn view_names(&self) -> impl Iterator<Item = &str> {
        self.feature_views
            .keys()
            .chain(self.on_demand_feature_views.keys())
            .map(String::as_str)
    }
}

/// The object that keeps a definition.
///
/// # Errors
/// `Internal` if the definition cannot be written as JSON.
pub fn to_object(
    kind: ObjectKind,
    name: &str,
    version: u32,
    definition: &impl Serialize,
) -> Result<Object> {
    let body = serde_json::to_value(definition).map_err(|error| {
        Error::new(
            &codes::INTERNAL,
            format!("{} {name:?} cannot be written as JSON", kind.name()),
        )
        .source(error)
    })?;
    Ok(Object {
        kind,
        name: name.to_owned(),
        version,
        body,
    })
}

fn read<T: DeserializeOwned>(object: &Object) -> Result<Arc<T>> {
    serde_json::from_value(object.body.clone())
        .map(Arc::new)
        .map_err(|error| {
            Error::new(
                &codes::REGISTRY_DAMAGED,
                format!(
                    "the registry's {} {:?} cannot be read",
                    object.kind.name(),
                    object.name
                ),
            )
            .source(error)
        })
}

fn find<T>(
    what: &str,
    all: &BTreeMap<String, Versions<T>>,
    name: &str,
    version: Option<u32>,
) -> Result<(u32, Arc<T>)> {
    let versions = all.get(name).ok_or_else(|| {
        Error::new(&codes::UNKNOWN_VIEW, format!("there is no {what} {name:?}"))
            .help(did_you_mean(name, all.keys().map(String::as_str)))
    })?;
    let found = match version {
        None => versions.last_key_value(),
        Some(version) => versions.get_key_value(&version),
    };
    found
        .map(|(version, object)| (*version, object.clone()))
        .ok_or_else(|| {
            let known: Vec<String> = versions.keys().map(u32::to_string).collect();
            Error::new(
                &codes::UNKNOWN_VIEW,
                format!(
                    "{what} {name:?} has no version {}",
                    version.unwrap_or_default()
                ),
            )
            .help(format!("known are {}", known.join(", ")))
        })
}
