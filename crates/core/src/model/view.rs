//! Feature views: features of an entity, taken from a source as they are or over sliding windows.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Documentation, Entity, JoinKey, Source};
use crate::ValueType;

/// Features that share entities, a source and times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureView {
    /// The name.
    pub name: String,
    /// Copies of its entities, in order. None means that the view holds one global row.
    pub entities: Vec<Entity>,
    /// A copy of its source.
    pub source: Source,
    /// How old a row may be; `None` is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_us: Option<i64>,
    /// Features taken from the source's columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Feature>,
    /// Features computed over sliding windows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aggregations: Vec<Aggregation>,
    /// Whether it is materialised into the online store.
    pub online: bool,
    /// The named online store; `None` is the project's `online_store`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_store: Option<String>,
    /// Description, owner, tags.
    #[serde(flatten)]
    pub documentation: Documentation,
}

/// A feature that is a column of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// The name.
    pub name: String,
    /// The type it is served with.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// The source's column.
    pub column: String,
    /// Whether a cast is allowed that fails on values which do not fit.
    #[serde(default)]
    pub checked: bool,
    /// Description, owner, tags.
    #[serde(flatten)]
    pub documentation: Documentation,
}

/// A feature that aggregates the rows of a key over a sliding window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregation {
    /// The feature's name.
    pub feature: String,
    /// What is computed.
    pub function: AggregateFunction,
    /// The source's column; `None` only for `count`, which then counts rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The window's length in microseconds: rows with t - window < event time <= t count.
    pub window_us: i64,
    /// The result's type. It follows from the column's, so it is `None` until the source was seen.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub value_type: Option<ValueType>,
    /// Description, owner, tags.
    #[serde(flatten)]
    pub documentation: Documentation,
}

/// What a window computes. Nulls are skipped by all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AggregateFunction {
    /// Rows, or values that are not null; int64.
    Count,
    /// Whole numbers give int64 (overflow is an error), decimal(p,s) gives decimal(38,s), floats float64.
    Sum,
    /// Arithmetic mean; float64.
    Mean,
    /// The least value; of the column's type. NaN is the greatest.
    Min,
    /// The greatest value; of the column's type. NaN is the greatest.
    Max,
    /// Sample standard deviation; float64, null for fewer than two values.
    Stddev,
    /// The newest value that is not null; of the column's type.
    Last,
    /// How many different values; int64.
    CountDistinct,
}

impl AggregateFunction {
    /// Every function.
    pub const ALL: [Self; 8] = [
        Self::Count,
        Self::Sum,
        Self::Mean,
        Self::Min,
        Self::Max,
        Self::Stddev,
        Self::Last,
        Self::CountDistinct,
    ];

    /// As definitions spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Stddev => "stddev",
            Self::Last => "last",
            Self::CountDistinct => "count_distinct",
        }
    }

    /// The result's type over a column of type `input` (`None` for `count` of rows), or `None` if
    /// the function does not apply to that type.
    pub fn result_type(self, input: Option<&ValueType>) -> Option<ValueType> {
        let Some(input) = input else {
            return (self == Self::Count).then_some(ValueType::Int64);
        };
        let nested = matches!(
            input,
            ValueType::List(_)
                | ValueType::Struct(_)
                | ValueType::Map(_, _)
                | ValueType::Embedding(_)
        );
        match self {
            Self::Count => Some(ValueType::Int64),
            Self::Last => Some(input.clone()),
            Self::CountDistinct if !nested => Some(ValueType::Int64),
            Self::Min | Self::Max if !nested && *input != ValueType::Json => Some(input.clone()),
            Self::Sum if input.is_integer() => Some(ValueType::Int64),
            Self::Sum if input.is_float() => Some(ValueType::Float64),
            Self::Mean | Self::Stddev
                if input.is_integer()
                    || input.is_float()
                    || matches!(input, ValueType::Decimal(..)) =>
            {
                Some(ValueType::Float64)
            }
            Self::Sum => match input {
                ValueType::Decimal(_, scale) => Some(ValueType::Decimal(38, *scale)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether an empty window gives 0 and not null.
    pub fn is_count(self) -> bool {
        matches!(self, Self::Count | Self::CountDistinct)
    }
}

impl fmt::Display for AggregateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FeatureView {
    /// The join keys of all entities, in order; a key that several entities share appears once.
    pub fn join_keys(&self) -> Vec<&JoinKey> {
        let mut keys: Vec<&JoinKey> = Vec::new();
        for key in self.entities.iter().flat_map(|entity| &entity.join_keys) {
            if !keys.iter().any(|known| known.name == key.name) {
                keys.push(key);
            }
        }
        keys
    }

    /// Names and types of all features: columns first, then aggregations, as declared. The type of
    /// an aggregation is `None` until its source was seen.
    pub fn outputs(&self) -> Vec<(&str, Option<&ValueType>)> {
        let features = self
            .features
            .iter()
            .map(|f| (f.name.as_str(), Some(&f.value_type)));
        let aggregations = self
            .aggregations
            .iter()
            .map(|a| (a.feature.as_str(), a.value_type.as_ref()));
        features.chain(aggregations).collect()
    }

    /// The definition without what makes no new version: descriptions, owners, tags and `online`.
    /// Two views with equal meanings are the same version.
    pub fn meaning(&self) -> Self {
        let mut view = self.clone();
        view.documentation = Documentation::default();
        view.online = true;
        view.online_store = None;
        view.source.name = String::new();
        view.source.documentation = Documentation::default();
        view.source.lookback_us = None;
        for entity in &mut view.entities {
            entity.documentation = Documentation::default();
        }
        for feature in &mut view.features {
            feature.documentation = Documentation::default();
        }
        for aggregation in &mut view.aggregations {
            aggregation.documentation = Documentation::default();
        }
        view
    }
}
