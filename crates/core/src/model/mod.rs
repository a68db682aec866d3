//! Definitions, resolved: what a project declares, with defaults filled in and references checked.
//!
//! The `definitions` crate reads these from YAML; the registry keeps them as JSON. A feature view
//! holds copies of its entities and its source, so that an older version of it still means what it
//! meant when they change.

mod on_demand;
mod service;
mod source;
mod view;

use std::collections::BTreeMap;

pub use on_demand::{OnDemandFeature, OnDemandView, RequestField};
use serde::{Deserialize, Serialize};
pub use service::{FeatureRef, FeatureService, split_version};
pub use source::{Relation, Source, SourceVersion};
pub use view::{AggregateFunction, Aggregation, Feature, FeatureView};

use crate::ValueType;

/// What every definition may carry beside its meaning; a change of it makes no new version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Documentation {
    /// What it is, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Free labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// What features describe: one or more join keys that identify it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// The name.
    pub name: String,
    /// Its keys, all of which must match.
    pub join_keys: Vec<JoinKey>,
    /// Description, owner, tags.
    #[serde(flatten)]
    pub documentation: Documentation,
}

/// One join key of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JoinKey {
    /// The name, which is also the spine's column unless mapped.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub value_type: ValueType,
}

/// Everything a project defines, resolved and checked, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    /// Entities.
    pub entities: BTreeMap<String, Entity>,
    /// Data sources.
    pub sources: BTreeMap<String, Source>,
    /// Feature views.
    pub feature_views: BTreeMap<String, FeatureView>,
    /// On-demand feature views.
    pub on_demand_feature_views: BTreeMap<String, OnDemandView>,
    /// Feature services.
    pub feature_services: BTreeMap<String, FeatureService>,
}
