//! Which stores requests are answered by, for those who count and tell.

use provender_core::model::split_version;
use provender_core::{Context, Result};

use crate::FeatureStore;
use crate::request::Selection;
use crate::request::resolve::resolve;
use crate::stores::Role;

impl FeatureStore {
    /// The types of the offline stores that training sets of these features are read from, each once,
    /// in the order of their first use; none if all features are computed from the request.
    ///
    /// # Errors
    /// `NotFound` (`P401`), `InvalidArgument` (`P406`), `P306`.
    pub async fn offline_types(&self, cx: &Context, selection: &Selection) -> Result<Vec<String>> {
        let catalog = self.applied_catalog(cx).await?;
        let references = selection.references(&catalog)?;
        // Under full names nothing clashes that is not there twice.
        let resolved = resolve(&catalog, &references, true)?;
        let mut types: Vec<String> = Vec::new();
        for join in &resolved.joins {
            let name = join.view.source.store.as_deref();
            let found = self.stores().scheme(Role::Offline, name);
            if !types.contains(&found) {
                types.push(found);
            }
        }
        Ok(types)
    }

    /// The types of a view's stores: that of its source, and that of its online rows. `view` is `v`
    /// (the newest version) or `v@2`.
    ///
    /// # Errors
    /// `NotFound` (`P401`), `P306`.
    pub async fn view_types(&self, cx: &Context, view: &str) -> Result<(String, String)> {
        let catalog = self.applied_catalog(cx).await?;
        let (name, version) = split_version(view).unwrap_or((view, None));
        let (_, view) = catalog.feature_view(name, version)?;
        let offline = view.source.store.as_deref();
        let online = view.online_store.as_deref();
        Ok((
            self.stores().scheme(Role::Offline, offline),
            self.stores().scheme(Role::Online, online),
        ))
    }
}
