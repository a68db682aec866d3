//! Looking after tables of an offline store: their files, never their rows.

use provender_core::provider::unsupported;
use provender_core::request::{Maintenance, MaintenanceSummary};
use provender_core::{Context, Result};

use crate::FeatureStore;

impl FeatureStore {
    /// Rewrites a table's files as fewer and larger ones, or removes those that no present row is in.
    /// `store` is the named offline store; `None` is the project's `offline_store`.
    ///
    /// # Errors
    /// `Unsupported` (`P801`) for a store that does not look after tables; `NotFound` (`P120`)
    /// if there is no such table; `FailedPrecondition` (`P515`) for a time to keep files that is too
    /// short and was not forced.
    pub async fn maintain(
        &self,
        cx: &Context,
        store: Option<&str>,
        maintenance: &Maintenance,
    ) -> Result<MaintenanceSummary> {
        self.check_context(cx)?;
        let store = self.stores().offline(cx, store).await?;
        if !store.capabilities().maintenance {
            return Err(unsupported(&store.info(), "looking after tables")
                .help("use the store's own tools"));
        }
        store
            .maintain(cx, maintenance.clone())
            .await
            .map_err(|error| error.context("table", maintenance.table.clone()))
    }
}
