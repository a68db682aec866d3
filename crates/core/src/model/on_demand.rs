//! On-demand feature views: features computed at request time from other features and the request.

use serde::{Deserialize, Serialize};

use super::Documentation;
use crate::ValueType;

/// Features that Provender computes itself, the same way in training and serving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemandView {
    /// The name.
    pub name: String,
    /// The feature views and on-demand views whose features the expressions may use, as
    /// `view` or, to hold a version, `view@2`.
    pub inputs: Vec<String>,
    /// Values that the request (in training: the spine) brings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<RequestField>,
    /// The computed features.
    pub features: Vec<OnDemandFeature>,
    /// Description, owner, tags.
    #[serde(flatten)]
    pub documentation: Documentation,
}

/// A value that the request brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestField {
    /// The field's name; in training the spine's column of that name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub value_type: ValueType,
}

/// A computed feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemandFeature {
    /// The name.
    pub name: String,
    /// The type the expression's value is cast to; a value that does not fit is an error.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// A scalar SQL expression over the inputs' features (`view.feature` where names repeat) and
    /// the request's fields.
    pub sql: String,
    /// Description, owner, tags.
    #[serde(flatten)]
    pub documentation: Documentation,
}

impl OnDemandView {
    /// The definition without what makes no new version.
    pub fn meaning(&self) -> Self {
        let mut view = self.clone();
        view.documentation = Documentation::default();
        for feature in &mut view.features {
            feature.documentation = Documentation::default();
        }
        view
    }
}
