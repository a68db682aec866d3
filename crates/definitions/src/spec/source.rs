//! Data sources as they are written.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::located::{Attempt, Located, Pairs};
use crate::schema;

/// A table or a query of an offline store, with the columns that order its rows in time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "source")]
pub(crate) struct SourceSpec {
    /// The source's name: letters, digits and `_`, not starting with a digit, without `__`.
    #[schemars(schema_with = "schema::name")]
    pub(crate) name: Located<String>,
    /// The offline store it lies in, one of `offline_stores` of provender.yaml; without it the
    /// project's `offline_store`.
    pub(crate) store: Option<Located<String>>,
    /// The table as the offline store names it, or a path or URL where the store takes one. Either
    /// this or `query`.
    pub(crate) table: Option<Located<String>>,
    /// A SELECT in the offline store's own SQL. Either this or `table`.
    pub(crate) query: Option<Located<String>>,
    /// A SQL condition that rows must fulfil.
    pub(crate) filter: Option<Located<String>>,
    /// Reads the table as it was: a version number, or a time as RFC 3339 text. Without it the
    /// newest state is read. Not together with `query`.
    #[serde(default)]
    #[schemars(schema_with = "schema::source_version")]
    pub(crate) version: Option<Located<VersionSpec>>,
    /// The column of event times: a timestamp or a date.
    pub(crate) timestamp: Located<String>,
    /// The column of the times at which rows became known. It decides between rows of equal event
    /// time, and lets materialisation find late rows.
    pub(crate) created_timestamp: Option<Located<String>>,
    /// Columns that decide between rows of equal event and created time: the greatest value wins,
    /// null is lowest, the first column counts first.
    pub(crate) tie_breakers: Option<Vec<Attempt<Located<String>>>>,
    /// Join key to column, where the source spells a key otherwise.
    pub(crate) columns: Option<Pairs>,
    /// How far back materialisation looks for late rows of a source without `created_timestamp`:
    /// a whole number and us, ms, s, m, h or d.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration")]
    pub(crate) lookback: Option<Located<String>>,
    /// What it is, for people.
    pub(crate) description: Option<String>,
    /// Who answers for it.
    pub(crate) owner: Option<String>,
    /// Free labels.
    pub(crate) tags: Option<Pairs>,
}

/// A version number or a time.
#[derive(Clone, Debug)]
pub(crate) enum VersionSpec {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for VersionSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = VersionSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version number or a time as RFC 3339 text")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<VersionSpec, E> {
                Ok(VersionSpec::Number(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<VersionSpec, E> {
                Ok(VersionSpec::Text(value.to_owned()))
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}
