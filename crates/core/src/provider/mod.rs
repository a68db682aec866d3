//! What stores implement: one base trait and one for each of offline, online and registry.
//!
//! A provider answers only what its capabilities declare; any other call answers `Unsupported`
//! (use [`unsupported`]). Calls are concurrent. Every call carries a [`Context`]; dropping a call's
//! future, or a stream it returned, cancels the work behind it.

mod factory;
mod offline;
mod online;
mod registry;

use std::fmt::Debug;

use async_trait::async_trait;
pub use factory::{Factory, ProviderConfig, Providers, Resources, options};
pub use offline::{OfflineCapabilities, OfflineStore, RowAccess, WantedKeys};
pub use online::{OnlineCapabilities, OnlineReader, OnlineStore};
pub use registry::{
    Author, Change, Commit, Interval, Lease, Object, ObjectKind, Registry, RegistrySnapshot,
    Revision, ViewVersion,
};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Error, Result, codes};

/// Who a provider is. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderInfo {
    /// The `type:` of the configuration.
    pub scheme: String,
    /// The provider's own version.
    pub version: String,
    /// What people call this instance, such as `Delta tables in ./data`.
    pub display_name: String,
}

/// What every provider has.
#[async_trait]
pub trait Provider: Debug + Send + Sync + 'static {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// Whether the store is reachable and its user may work there; what `provender doctor` calls.
    /// Answers findings for people: versions, limits, settings worth a look.
    ///
    /// # Errors
    /// `Unavailable`, `Unauthenticated` or `PermissionDenied`.
    async fn check(&self, cx: &Context) -> Result<Vec<String>>;
}

/// The answer to a call that needs a capability which is not declared.
pub fn unsupported(info: &ProviderInfo, what: &str) -> Error {
    Error::new(
        &codes::UNSUPPORTED,
        format!("{} does not support {what}", info.display_name),
    )
    .context("provider", info.scheme.clone())
}
