//! Data sources: where a view's rows come from, and which of their columns tell time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Documentation;

/// A table or query of an offline store, with the columns that order its rows in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The name.
    pub name: String,
    /// The named offline store it lies in; `None` is the project's `offline_store`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// A table or a query.
    #[serde(flatten)]
    pub relation: Relation,
    /// A SQL condition that rows must fulfil.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Reads the table as it was at a version or time; `None` reads its newest state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<SourceVersion>,
    /// The column of event times.
    pub timestamp: String,
    /// The column of the times at which rows became known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_timestamp: Option<String>,
    /// Columns that decide between rows of equal event and created time: the greatest wins, null
    /// lowest, the first column first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tie_breakers: Vec<String>,
    /// Join key to column, where the source spells a key otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// How far back materialisation looks for late rows of a source without created timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookback_us: Option<i64>,
    /// Description, owner, tags.
    #[serde(flatten)]
    pub documentation: Documentation,
}

/// What a source reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// A table as the offline store names it; for stores of files also a path or URL.
    Table(String),
    /// A SELECT in the offline store's own SQL.
    Query(String),
}

/// A state of a table in its history.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceVersion {
    /// A version number, as Delta counts them.
    Number(u64),
    /// The state at an instant: microseconds since the epoch, UTC.
    TimestampUs(i64),
    /// A store's own token for a state.
    Token(String),
}

impl Source {
    /// The source's column for a join key.
    pub fn key_column<'a>(&'a self, join_key: &'a str) -> &'a str {
        self.columns.get(join_key).map_or(join_key, String::as_str)
    }
}
