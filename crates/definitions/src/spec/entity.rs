//! Entities as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::located::{Attempt, Located, Pairs};
use crate::schema;

/// What features describe, identified by one or more join keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "entity")]
pub(crate) struct EntitySpec {
    /// The entity's name: letters, digits and `_`, not starting with a digit, without `__`.
    #[schemars(schema_with = "schema::name")]
    pub(crate) name: Located<String>,
    /// Its keys, all of which must match.
    #[schemars(length(min = 1))]
    pub(crate) join_keys: Vec<Attempt<JoinKeySpec>>,
    /// What it is, for people.
    pub(crate) description: Option<String>,
    /// Who answers for it.
    pub(crate) owner: Option<String>,
    /// Free labels.
    pub(crate) tags: Option<Pairs>,
}

/// One join key of an entity.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "join_key")]
pub(crate) struct JoinKeySpec {
    /// The key's name, which is also the spine's column unless a service maps it.
    #[schemars(schema_with = "schema::name")]
    pub(crate) name: Located<String>,
    /// Its type: a whole number, string, binary, bool, date or timestamp.
    #[serde(rename = "type")]
    #[schemars(schema_with = "schema::key_type")]
    pub(crate) value_type: Located<String>,
}
