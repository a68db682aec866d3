//! What an online read is asked.

use crate::request::Selection;

/// Features to read online.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OnlineRequest {
    /// Which features. Without a version a service, or a view of a list, is its newest version whose
    /// data are there, so that applying a change never empties an answer.
    pub selection: Selection,
    /// Names output columns `view__feature`.
    pub full_feature_names: bool,
    /// Also answers, per view, what its row is worth and its event time. Without it a row that cannot
    /// be read fails the call.
    pub status: bool,
}

impl OnlineRequest {
    /// A request with every option at its default.
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            full_feature_names: false,
            status: false,
        }
    }
}
