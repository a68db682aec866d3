//! Requests to online stores, and what they answer.

use std::sync::Arc;

use arrow_array::{ArrayRef, TimestampMicrosecondArray};
use serde::{Deserialize, Serialize};

use crate::ValueType;
use crate::model::JoinKey;

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
    /// Types of the tie breakers that take part in newer-wins.
    pub tie_breakers: Vec<ValueType>,
    /// After which age a store may drop a row; `None` is never.
    pub ttl_us: Option<i64>,
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
