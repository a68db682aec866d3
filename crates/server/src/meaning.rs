//! Commands in the store's terms: which features, which stores.

use provender_core::Result;
use provender_store::{PushTarget, Selection};

use crate::command::{FeatureItem, HistoricalCommand, OnlineCommand, Target, bad, references};

impl From<Target> for PushTarget {
    fn from(target: Target) -> Self {
        match target {
            Target::Online => Self::Online,
            Target::Offline => Self::Offline,
            Target::Both => Self::Both,
        }
    }
}

impl OnlineCommand {
    /// The features that are asked for.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for neither a service nor features and for both, and for names that are none.
    pub fn selection(&self) -> Result<Selection> {
        selection(self.service.as_deref(), self.features.as_deref())
    }
}

impl HistoricalCommand {
    /// The features that are asked for.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for neither a service nor features and for both, and for names that are none.
    pub fn selection(&self) -> Result<Selection> {
        selection(self.service.as_deref(), self.features.as_deref())
    }
}

/// What a request is counted under: a service as definitions spell it, at the version that was asked
/// for if one was; empty for lists of features.
pub(crate) fn service_label(selection: &Selection) -> String {
    match selection {
        Selection::Service {
            name,
            version: Some(version),
        } => format!("{name}@{version}"),
        Selection::Service { name, .. } => name.clone(),
        Selection::Features(_) => String::new(),
    }
}

fn selection(service: Option<&str>, features: Option<&[FeatureItem]>) -> Result<Selection> {
    match (service, features) {
        (Some(service), None) => Selection::service(service),
        (None, Some(features)) => references(features).map(Selection::Features),
        (Some(_), Some(_)) => Err(bad(
            "the command has both \"service\" and \"features\"".to_owned()
        )
        .help("send one of them")),
        (None, None) => Err(
            bad("the command has neither \"service\" nor \"features\"".to_owned())
                .help("send one of them"),
        ),
    }
}
