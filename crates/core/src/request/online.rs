//! Requests to online stores, and what they answer.

use std::sync::Arc;

use arrow_array::{ArrayRef, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::ValueType;
use crate::error::{Error, Result, codes};
use crate::model::{FeatureView, JoinKey};
use crate::provider::ViewVersion;
use crate::time::instant_type;

/// What an online store holds for one version of a view: the shape of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewLayout {
    /// The project.
    pub project: String,
    /// The view.
    pub view: String,
    /// Its version; rows of different versions never mix.
    pub version: u32,
    /// The join keys.
    pub join_keys: Vec<JoinKey>,
    /// Names and types of all features.
    pub features: Vec<(String, ValueType)>,
    /// Types of the tie breakers that take part in newer-wins. Only writes need them, so a layout
    /// that only serves reads or deletes may leave them out.
    pub tie_breakers: Vec<ValueType>,
    /// After which age a store may drop a row; `None` is never.
    pub ttl_us: Option<i64>,
}

impl ViewLayout {
    /// The layout of a view's version, without tie breakers (their types are the source's).
    ///
    /// # Errors
    /// `DataLoss` (`P303`) for an aggregation that was applied without its type.
    pub fn of(project: &str, version: u32, view: &FeatureView) -> Result<Self> {
        let features = view
            .outputs()
            .into_iter()
            .map(|(name, value_type)| match value_type {
                Some(value_type) => Ok((name.to_owned(), value_type.clone())),
                None => Err(Error::new(
                    &codes::REGISTRY_DAMAGED,
                    format!(
                        "feature {name:?} of view {:?} was applied without its type",
                        view.name
                    ),
                )
                .help("apply the definitions again")),
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            project: project.to_owned(),
            view: view.name.clone(),
            version,
            join_keys: view.join_keys().into_iter().cloned().collect(),
            features,
            tie_breakers: Vec::new(),
            ttl_us: view.ttl_us,
        })
    }

    /// The project, view and version.
    pub fn view_version(&self) -> ViewVersion {
        ViewVersion {
            project: self.project.clone(),
            view: self.view.clone(),
            version: self.version,
        }
    }

    /// The columns of an online write, which stores find **by position**, since a feature may be named
    /// like a key: the join keys; the event time (us, UTC, never null); the created time (us, UTC,
    /// null is lowest); whether the row is a tombstone (bool, null is no); one column per tie breaker
    /// (null is lowest); the features. A tombstone's features are ignored.
    pub fn write_schema(&self) -> Schema {
        let mut fields: Vec<Field> = self.key_fields();
        fields.push(Field::new("__event_timestamp", instant_type(), true));
        fields.push(Field::new("__created_timestamp", instant_type(), true));
        fields.push(Field::new("__tombstone", DataType::Boolean, true));
        for (index, value_type) in self.tie_breakers.iter().enumerate() {
            fields.push(value_type.to_field(format!("__tie_{index}")));
        }
        let features = self.features.iter();
        fields.extend(features.map(|(name, value_type)| value_type.to_field(name)));
        Schema::new(fields)
    }

    /// The columns of an online delete, by position: the join keys.
    pub fn key_schema(&self) -> Schema {
        Schema::new(self.key_fields())
    }

    fn key_fields(&self) -> Vec<Field> {
        let keys = self.join_keys.iter();
        keys.map(|key| key.value_type.to_field(&key.name)).collect()
    }
}

/// What an online store holds of one version of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlineStats {
    /// Rows held, expired ones and tombstones included; `None` if counting is not cheap.
    pub n_rows: Option<u64>,
    /// Bytes that they take, with the store's own overhead; `None` if not known.
    pub n_bytes: Option<u64>,
}

/// Everything about an online request that does not change between calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadPlan {
    /// Names and types of the key columns that calls will bring, in order.
    pub keys: Vec<JoinKey>,
    /// What is read of each view.
    pub views: Vec<ViewRead>,
}

/// What is read of one view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRead {
    /// The view's rows.
    pub layout: Arc<ViewLayout>,
    /// For each join key of the layout, the index into [`ReadPlan::keys`].
    pub key_columns: Vec<usize>,
    /// The features, as indices into [`ViewLayout::features`], in output order.
    pub features: Vec<usize>,
}

/// The answer to N keys of a plan of M views: M entries of N rows each.
#[derive(Clone, Debug)]
pub struct OnlineRows {
    /// One entry per view of the plan.
    pub views: Vec<ViewRows>,
}

/// One view's rows, row j for key j.
#[derive(Clone, Debug)]
pub struct ViewRows {
    /// The event time of the row held (us, UTC); null where there is none.
    pub event_times: TimestampMicrosecondArray,
    /// The features, in the plan's order; null where there is no row.
    pub features: Vec<ArrayRef>,
    /// Rows whose stored bytes cannot be read, with the reason; their event time and features are null.
    pub unreadable: Vec<(usize, String)>,
}
