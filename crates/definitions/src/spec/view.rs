//! Feature views as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::located::{Attempt, Located, Pairs};
use crate::schema;

/// Features that share entities, a source and times: either `features` or `aggregations`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "feature_view")]
pub(crate) struct FeatureViewSpec {
    /// The view's name: letters, digits and `_`, not starting with a digit, without `__`; unique
    /// among all views and services.
    #[schemars(schema_with = "schema::name")]
    pub(crate) name: Located<String>,
    /// The names of its entities. Without any the view holds one global row.
    pub(crate) entities: Option<Vec<Attempt<Located<String>>>>,
    /// The name of its source.
    pub(crate) source: Located<String>,
    /// How old a row may be at the time asked for, both ends included: a whole number and us, ms,
    /// s, m, h or d. Without it there is no limit. Not together with `aggregations`.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration")]
    pub(crate) ttl: Option<Located<String>>,
    /// Features that are columns of the source.
    pub(crate) features: Option<Located<Vec<Attempt<FeatureSpec>>>>,
    /// Features over sliding windows, with the same values offline and online.
    pub(crate) aggregations: Option<Located<Vec<Attempt<AggregationSpec>>>>,
    /// Whether it is materialised into the online store; true unless told otherwise.
    pub(crate) online: Option<bool>,
    /// The online store it is served from, one of `online_stores` of provender.yaml; without it
    /// the project's `online_store`.
    pub(crate) online_store: Option<Located<String>>,
    /// What it is, for people.
    pub(crate) description: Option<String>,
    /// Who answers for it.
    pub(crate) owner: Option<String>,
    /// Free labels.
    pub(crate) tags: Option<Pairs>,
}

/// A feature that is a column of the source.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "feature")]
pub(crate) struct FeatureSpec {
    /// The feature's name: letters, digits and `_`, not starting with a digit, without `__`; not
    /// `status` or `event_timestamp`.
    #[schemars(schema_with = "schema::name")]
    pub(crate) name: Located<String>,
    /// The type it is served with.
    #[serde(rename = "type")]
    #[schemars(schema_with = "schema::value_type")]
    pub(crate) value_type: Located<String>,
    /// The source's column, where it is spelt otherwise than the feature.
    pub(crate) column: Option<Located<String>>,
    /// `checked` allows a cast that fails on values which do not fit. Without it only casts that
    /// can lose nothing are made.
    #[serde(default)]
    #[schemars(schema_with = "schema::cast")]
    pub(crate) cast: Option<Located<String>>,
    /// What it is, for people.
    pub(crate) description: Option<String>,
    /// Who answers for it.
    pub(crate) owner: Option<String>,
    /// Free labels.
    pub(crate) tags: Option<Pairs>,
}

/// A feature that aggregates a key's rows over a sliding window.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "aggregation")]
pub(crate) struct AggregationSpec {
    /// The feature's name: letters, digits and `_`, not starting with a digit, without `__`; not
    /// `status` or `event_timestamp`.
    #[schemars(schema_with = "schema::name")]
    pub(crate) feature: Located<String>,
    /// What is computed. Nulls are skipped.
    #[schemars(schema_with = "schema::function")]
    pub(crate) function: Located<String>,
    /// The source's column; only `count` can do without one, and then counts rows.
    pub(crate) column: Option<Located<String>>,
    /// The window's length: a whole number and us, ms, s, m, h or d. At time t it covers the rows
    /// with t - window < event time <= t.
    #[schemars(schema_with = "schema::duration")]
    pub(crate) window: Located<String>,
    /// What it is, for people.
    pub(crate) description: Option<String>,
    /// Who answers for it.
    pub(crate) owner: Option<String>,
    /// Free labels.
    pub(crate) tags: Option<Pairs>,
}
