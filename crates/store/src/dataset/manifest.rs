//! The manifest: everything that is recorded of a dataset.
//!
//! Decides the fields alone; they are kept as JSON, so what is written once must be read for ever.

use provender_core::model::{FeatureRef, Relation, SourceVersion};
use provender_core::provider::{ObjectKind, Revision};
use provender_core::request::SourceRef;
use provender_core::time::format_instant;
use serde::{Deserialize, Serialize};

use super::split::Split;
use super::statistics::Statistics;
use crate::request::{HistoricalRequest, Selection};

/// The form of manifests that this program writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// A dataset, as its manifest tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// The manifest's own form.
    pub format: u32,
    /// The name.
    pub name: String,
    /// The version; counts from 1.
    pub version: u32,
    /// When the rows were durable, RFC 3339, UTC.
    pub created_at: String,
    /// By whom.
    pub created_by: String,
    /// What was typed, or whatever else says how it was made.
    pub command: String,
    /// The version of this program.
    pub program: String,
    /// What was asked for.
    pub request: DatasetRequest,
    /// The definitions it was built by.
    pub definitions: UsedDefinitions,
    /// The states of the sources it was built from.
    pub sources: Vec<UsedSource>,
    /// The rows that features were found for.
    pub spine: StoredSpine,
    /// How rows are divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Where the rows are.
    pub table: StoredTable,
    /// How many rows.
    pub n_rows: u64,
    /// The hash of the rows, as `docs/datasets.md` defines it.
    pub hash: String,
    /// The columns, in order.
    pub columns: Vec<DatasetColumn>,
}

/// The request behind a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRequest {
    /// The service, with its version, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The features, each with its view's version.
    pub features: Vec<FeatureRef>,
    /// The spine's timestamp column.
    pub timestamp: String,
    /// Whether only rows that were known at the spine's time were used.
    pub as_known: bool,
    /// Whether columns are named `view__feature`.
    pub full_feature_names: bool,
}

/// Definitions of one revision of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedDefinitions {
    /// The revision, in which they can be read as they were.
    pub revision: Revision,
    /// The service, and all views that values come from, inputs of on-demand views included.
    pub used: Vec<UsedDefinition>,
}

/// One definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UsedDefinition {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
}

/// A state of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedSource {
    /// The source's name in the definitions.
    pub source: String,
    /// The views that read it, with versions: `weather@2`.
    pub views: Vec<String>,
    /// The named offline store; `None` is the project's `offline_store`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// A table or a query.
    #[serde(flatten)]
    pub relation: Relation,
    /// The condition on its rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The state that was read; `None` if the store cannot name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<SourceVersion>,
    /// Why there is no version, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_pinned: Option<String>,
}

/// A table of an offline store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTable {
    /// The named offline store; `None` is the project's `offline_store`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// The table's name.
    pub table: String,
    /// The state that holds the rows; `None` if the store names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<SourceVersion>,
}

/// A spine, kept as a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSpine {
    /// Where it is.
    #[serde(flatten)]
    pub table: StoredTable,
    /// The table's column of row numbers, from 0 on, which keep the order.
    pub row_number: String,
    /// How many rows.
    pub n_rows: u64,
    /// The hash of its rows, without the row numbers.
    pub hash: String,
}

/// A column of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetColumn {
    /// The name.
    pub name: String,
    /// The type, as it goes into the hash.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Where it comes from.
    pub role: ColumnRole,
    /// The feature behind it: `weather@2:temp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The hash of its values in order.
    pub hash: String,
    /// Its values, in figures.
    pub statistics: Statistics,
}

/// Where a column comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnRole {
    /// The spine brought it.
    Spine,
    /// A feature.
    Feature,
    /// The part of the split.
    Split,
}

impl Dataset {
    /// `name@version`.
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Sources whose state could not be named, so that the rows may come out otherwise another time.
    pub fn unpinned(&self) -> impl Iterator<Item = &UsedSource> {
        self.sources
            .iter()
            .filter(|source| source.version.is_none())
    }

    /// The request that gives the same rows from the same definitions.
    pub(crate) fn historical_request(&self) -> HistoricalRequest {
        HistoricalRequest {
            selection: Selection::Features(self.request.features.clone()),
            timestamp: Some(self.request.timestamp.clone()),
            as_known: self.request.as_known,
            full_feature_names: self.request.full_feature_names,
        }
    }

    /// The names of the spine's columns.
    pub(crate) fn spine_columns(&self) -> Vec<String> {
        (self.columns.iter())
            .filter(|column| column.role == ColumnRole::Spine)
            .map(|column| column.name.clone())
            .collect()
    }
}

impl UsedSource {
    /// What to read.
    pub(crate) fn source_ref(&self) -> SourceRef {
        SourceRef {
            relation: self.relation.clone(),
            filter: self.filter.clone(),
            version: self.version.clone(),
        }
    }

    /// The table's name, or the query.
    pub fn relation_text(&self) -> &str {
        match &self.relation {
            Relation::Table(text) | Relation::Query(text) => text,
        }
    }
}

impl StoredTable {
    /// What to read.
    pub(crate) fn source_ref(&self) -> SourceRef {
        SourceRef {
            version: self.version.clone(),
            ..SourceRef::table(&self.table)
        }
    }
}

/// A state of a source for people: `version 3`, or a time.
pub fn version_text(version: &SourceVersion) -> String {
    match version {
        SourceVersion::Number(number) => format!("version {number}"),
        SourceVersion::TimestampUs(us) => format!("as of {}", format_instant(*us)),
        SourceVersion::Token(token) => format!("version {token}"),
    }
}
