//! Definitions as they are written: one type for each mapping of a file, nothing checked beyond its
//! shape. The comments on the fields are the descriptions of the JSON Schema.

mod entity;
mod on_demand;
mod service;
mod source;
mod view;

pub(crate) use entity::{EntitySpec, JoinKeySpec};
pub(crate) use on_demand::{OnDemandFeatureSpec, OnDemandViewSpec};
use schemars::JsonSchema;
use serde::Deserialize;
pub(crate) use service::{LongReferenceSpec, ReferenceSpec, ServiceSpec};
pub(crate) use source::{SourceSpec, VersionSpec};
pub(crate) use view::{AggregationSpec, FeatureSpec, FeatureViewSpec};

/// Definitions of a Provender project: a file below its folder `features`. A project may have one
/// such file or many.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "definitions")]
// Files are read object by object; this type is their schema and their list of keys.
#[allow(dead_code)]
pub(crate) struct DefinitionsSpec {
    /// What features describe: airports, routes, customers. Each has one or more join keys.
    #[serde(default)]
    entities: Vec<EntitySpec>,
    /// Tables and queries of the offline store that rows come from.
    #[serde(default)]
    sources: Vec<SourceSpec>,
    /// Features that share entities and a source.
    #[serde(default)]
    feature_views: Vec<FeatureViewSpec>,
    /// Features computed at request time from other features and the request.
    #[serde(default)]
    on_demand_feature_views: Vec<OnDemandViewSpec>,
    /// The features that one model uses, under one name.
    #[serde(default)]
    feature_services: Vec<ServiceSpec>,
}

/// The keys of a definition file.
pub(crate) const SECTIONS: &[&str] = &[
    "entities",
    "sources",
    "feature_views",
    "on_demand_feature_views",
    "feature_services",
];
