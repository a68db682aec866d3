//! On-demand feature views as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::located::{Attempt, Located, Pairs};
use crate::schema;

/// Features computed at request time, the same way in training and serving.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "on_demand_feature_view")]
pub(crate) struct OnDemandViewSpec {
    /// The view's name: letters, digits and `_`, not starting with a digit, without `__`; unique
    /// among all views and services.
    #[schemars(schema_with = "schema::name")]
    pub(crate) name: Located<String>,
    /// The feature views and on-demand views whose features the expressions use: `view`, or
    /// `view@2` to hold a version.
    pub(crate) inputs: Option<Vec<Attempt<Located<String>>>>,
    /// Values that the request brings; in training they are columns of the spine.
    pub(crate) request: Option<Vec<Attempt<RequestFieldSpec>>>,
    /// The computed features.
    #[schemars(length(min = 1))]
    pub(crate) features: Located<Vec<Attempt<OnDemandFeatureSpec>>>,
    /// What it is, for people.
    pub(crate) description: Option<String>,
    /// Who answers for it.
    pub(crate) owner: Option<String>,
    /// Free labels.
    pub(crate) tags: Option<Pairs>,
}

/// A value that the request brings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "request_field")]
pub(crate) struct RequestFieldSpec {
    /// The field's name; in training the spine's column of that name.
    #[schemars(schema_with = "schema::name")]
    pub(crate) name: Located<String>,
    /// Its type.
    #[serde(rename = "type")]
    #[schemars(schema_with = "schema::value_type")]
    pub(crate) value_type: Located<String>,
}

/// A computed feature.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "on_demand_feature")]
pub(crate) struct OnDemandFeatureSpec {
    /// The feature's name: letters, digits and `_`, not starting with a digit, without `__`; not
    /// `status` or `event_timestamp`.
    #[schemars(schema_with = "schema::name")]
    pub(crate) name: Located<String>,
    /// The type the expression's value is cast to.
    #[serde(rename = "type")]
    #[schemars(schema_with = "schema::value_type")]
    pub(crate) value_type: Located<String>,
    /// A SQL expression over the inputs' features (`view.feature` where names repeat) and the
    /// request's fields.
    pub(crate) sql: Located<String>,
    /// What it is, for people.
    pub(crate) description: Option<String>,
    /// Who answers for it.
    pub(crate) owner: Option<String>,
    /// Free labels.
    pub(crate) tags: Option<Pairs>,
}
