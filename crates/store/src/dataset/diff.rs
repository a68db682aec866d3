//! What differs between two datasets, as far as their manifests and definitions tell.
//!
//! Decides what is compared and under which heading a difference stands; reads no rows.

use std::collections::BTreeMap;

use provender_core::provider::ObjectKind;
use provender_core::{Catalog, Context, Result};
use serde::Serialize;

use super::manifest::{Dataset, DatasetColumn, UsedSource, version_text};
use super::statistics::Statistics;
use crate::FeatureStore;
use crate::plan::FieldChange;
use crate::plan::diff::diff;

/// The differences between two datasets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetDiff {
    /// The first, with its version.
    pub a: String,
    /// The second, with its version.
    pub b: String,
    /// Whether both hold the same rows in the same order, by their hashes.
    pub same_rows: bool,
    /// What differs, by part. Where, when and by whom the datasets were made is not compared.
    pub differences: Vec<DatasetDifference>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetDifference {
    /// What it is a part of.
    pub part: DiffPart,
    /// What differs: a view, a source, a column, or empty.
    pub name: String,
    /// In what.
    pub field: String,
    /// In the first; `None` if it is not there.
    pub a: Option<String>,
    /// In the second; `None` if it is not there.
    pub b: Option<String>,
}

/// The parts of a dataset that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffPart {
    /// What was asked for.
    Request,
    /// The views and the service, their versions and what changed in between.
    Definitions,
    /// The states of the sources.
    Sources,
    /// The spine's rows.
    Spine,
    /// The split.
    Split,
    /// Names, types and order of columns.
    Schema,
    /// The rows' number and hash.
    Rows,
    /// What is known of the values of columns that both have.
    Statistics,
}

impl DiffPart {
    /// As text: `definitions`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Definitions => "definitions",
            Self::Sources => "sources",
            Self::Spine => "spine",
            Self::Split => "split",
            Self::Schema => "schema",
            Self::Rows => "rows",
            Self::Statistics => "statistics",
        }
    }
}

impl FeatureStore {
    /// Compares two datasets, each named `dataset` (its newest version) or `dataset@2`.
    ///
    /// # Errors
    /// `NotFound` (`P420`), and what the registry says.
    pub async fn diff_datasets(&self, cx: &Context, a: &str, b: &str) -> Result<DatasetDiff> {
        let (a, b) = (self.dataset(cx, a).await?, self.dataset(cx, b).await?);
        // Versions alone tell where definitions cannot be read any more.
        let definitions = match (
            self.recorded_catalog(cx, &a).await,
            self.recorded_catalog(cx, &b).await,
        ) {
            (Ok(a), Ok(b)) => Some((a, b)),
            _ => None,
        };
        let mut found = Found(Vec::new());
        found.request(&a, &b);
        found.definitions(&a, &b, definitions.as_ref());
        found.sources(&a, &b);
        found.spine_and_split(&a, &b);
        found.schema(&a, &b);
        found.rows(&a, &b);
        found.statistics(&a, &b);
        Ok(DatasetDiff {
            a: a.full_name(),
            b: b.full_name(),
            same_rows: a.hash == b.hash,
            differences: found.0,
        })
    }
}

struct Found(Vec<DatasetDifference>);

impl Found {
    fn add(
        &mut self,
        part: DiffPart,
        name: &str,
        field: &str,
        a: Option<String>,
        b: Option<String>,
    ) {
        if a != b {
            self.0.push(DatasetDifference {
                part,
                name: name.to_owned(),
                field: field.to_owned(),
                a,
                b,
            });
        }
    }

    fn both(
        &mut self,
        part: DiffPart,
        name: &str,
        field: &str,
        a: impl ToString,
        b: impl ToString,
    ) {
        self.add(part, name, field, Some(a.to_string()), Some(b.to_string()));
    }

    fn request(&mut self, a: &Dataset, b: &Dataset) {
        let part = DiffPart::Request;
        let (a, b) = (&a.request, &b.request);
        self.add(part, "", "service", a.service.clone(), b.service.clone());
        self.both(part, "", "timestamp", &a.timestamp, &b.timestamp);
        self.both(part, "", "as_known", a.as_known, b.as_known);
        self.both(
            part,
            "",
            "full_feature_names",
            a.full_feature_names,
            b.full_feature_names,
        );
    }

    fn definitions(&mut self, a: &Dataset, b: &Dataset, catalogs: Option<&(Catalog, Catalog)>) {
        let used = |dataset: &Dataset| {
            let mut versions: BTreeMap<(ObjectKind, String), Vec<u32>> = BTreeMap::new();
            for used in &dataset.definitions.used {
                let of = versions.entry((used.kind, used.name.clone())).or_default();
                of.push(used.version);
            }
            versions
        };
        let (used_a, used_b) = (used(a), used(b));
        let text = |versions: Option<&Vec<u32>>| {
            let shown = versions?.iter().map(u32::to_string).collect::<Vec<_>>();
            Some(shown.join(", "))
        };
        let mut all: Vec<_> = used_a.keys().chain(used_b.keys()).collect();
        all.sort();
        all.dedup();
        for key in all {
            let (of_a, of_b) = (used_a.get(key), used_b.get(key));
            let name = format!("{} {}", key.0.name(), key.1);
            let part = DiffPart::Definitions;
            self.add(part, &name, "version", text(of_a), text(of_b));
            if let (Some(&[a]), Some(&[b]), Some((catalog_a, catalog_b))) =
                (of_a.map(Vec::as_slice), of_b.map(Vec::as_slice), catalogs)
            {
                for change in changes(key.0, &key.1, (catalog_a, a), (catalog_b, b)) {
                    self.add(part, &name, &change.path, change.before, change.after);
                }
            }
        }
    }

    fn sources(&mut self, a: &Dataset, b: &Dataset) {
        let part = DiffPart::Sources;
        let find = |all: &Dataset, name: &str| -> Option<UsedSource> {
            let mut sources = all.sources.iter();
            sources.find(|used| used.source == name).cloned()
        };
        let mut names: Vec<&str> = (a.sources.iter().chain(&b.sources))
            .map(|used| used.source.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (a, b) = (find(a, name), find(b, name));
            let field = |of: fn(&UsedSource) -> Option<String>| {
                (a.as_ref().and_then(of), b.as_ref().and_then(of))
            };
            let (of_a, of_b) = field(|used| Some(used.relation_text().to_owned()));
            self.add(part, name, "table", of_a, of_b);
            let (of_a, of_b) = field(|used| used.store.clone());
            self.add(part, name, "store", of_a, of_b);
            let (of_a, of_b) = field(|used| used.filter.clone());
            self.add(part, name, "filter", of_a, of_b);
            let (of_a, of_b) = field(|used| {
                let version = used.version.as_ref().map(version_text);
                Some(version.unwrap_or_else(|| "not pinned".to_owned()))
            });
            self.add(part, name, "version", of_a, of_b);
        }
    }

    fn spine_and_split(&mut self, a: &Dataset, b: &Dataset) {
        let part = DiffPart::Spine;
        self.both(part, "", "rows", a.spine.n_rows, b.spine.n_rows);
        self.both(part, "", "hash", &a.spine.hash, &b.spine.hash);
        let shown = |dataset: &Dataset| {
            let split = dataset.split.as_ref()?;
            serde_json::to_string(split).ok()
        };
        if a.split != b.split {
            self.add(DiffPart::Split, "", "split", shown(a), shown(b));
        }
    }

    fn schema(&mut self, a: &Dataset, b: &Dataset) {
        let part = DiffPart::Schema;
        for column in &a.columns {
            let other = find_column(b, &column.name);
            let field = if other.is_some() { "type" } else { "column" };
            let types = (
                Some(column.data_type.clone()),
                other.map(|other| other.data_type.clone()),
            );
            self.add(part, &column.name, field, types.0, types.1);
            if let Some(other) = other {
                let from = (column.from.clone(), other.from.clone());
                self.add(part, &column.name, "from", from.0, from.1);
            }
        }
        for column in &b.columns {
            if find_column(a, &column.name).is_none() {
                let data_type = Some(column.data_type.clone());
                self.add(part, &column.name, "column", None, data_type);
            }
        }
        let shared = |of: &Dataset, other: &Dataset| {
            let names = (of.columns.iter()).filter(|c| find_column(other, &c.name).is_some());
            names.map(|c| c.name.clone()).collect::<Vec<_>>().join(", ")
        };
        self.both(part, "", "order", shared(a, b), shared(b, a));
    }

    fn rows(&mut self, a: &Dataset, b: &Dataset) {
        self.both(DiffPart::Rows, "", "rows", a.n_rows, b.n_rows);
        self.both(DiffPart::Rows, "", "hash", &a.hash, &b.hash);
    }

    fn statistics(&mut self, a: &Dataset, b: &Dataset) {
        let part = DiffPart::Statistics;
        for column in &a.columns {
            let Some(other) = find_column(b, &column.name) else {
                continue;
            };
            if column.hash == other.hash && column.data_type == other.data_type {
                continue;
            }
            let before = self.0.len();
            let (of_a, of_b) = (figures(&column.statistics), figures(&other.statistics));
            for ((field, a), (_, b)) in of_a.into_iter().zip(of_b) {
                self.add(part, &column.name, field, a, b);
            }
            if self.0.len() == before {
                // Values moved from one row to another, say.
                self.both(part, &column.name, "values", &column.hash, &other.hash);
            }
        }
    }
}

fn find_column<'a>(dataset: &'a Dataset, name: &str) -> Option<&'a DatasetColumn> {
    dataset.columns.iter().find(|column| column.name == name)
}

fn figures(statistics: &Statistics) -> [(&'static str, Option<String>); 8] {
    let value = |value: &Option<serde_json::Value>| {
        value.as_ref().map(|value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    [
        ("count", Some(statistics.count.to_string())),
        ("nulls", Some(statistics.nulls.to_string())),
        ("nans", Some(statistics.nans.to_string())),
        ("min", value(&statistics.min)),
        ("max", value(&statistics.max)),
        ("mean", statistics.mean.map(|mean| mean.to_string())),
        ("stddev", statistics.stddev.map(|stddev| stddev.to_string())),
        ("distinct", Some(statistics.distinct.to_string())),
    ]
}

/// What changed in a definition between two versions, documentation left out.
fn changes(
    kind: ObjectKind,
    name: &str,
    (catalog_a, a): (&Catalog, u32),
    (catalog_b, b): (&Catalog, u32),
) -> Vec<FieldChange> {
    let (a, b) = (Some(a), Some(b));
    match kind {
        ObjectKind::FeatureView => {
            let views = (
                catalog_a.feature_view(name, a),
                catalog_b.feature_view(name, b),
            );
            match views {
                (Ok((_, a)), Ok((_, b))) => diff(&a.meaning(), &b.meaning()),
                _ => Vec::new(),
            }
        }
        ObjectKind::OnDemandFeatureView => {
            let views = (
                catalog_a.on_demand_view(name, a),
                catalog_b.on_demand_view(name, b),
            );
            match views {
                (Ok((_, a)), Ok((_, b))) => diff(a.as_ref(), b.as_ref()),
                _ => Vec::new(),
            }
        }
        ObjectKind::FeatureService => {
            let services = (
                catalog_a.feature_service(name, a),
                catalog_b.feature_service(name, b),
            );
            match services {
                (Ok((_, a)), Ok((_, b))) => diff(&a.features, &b.features),
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}
