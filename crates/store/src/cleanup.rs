//! Online data that nothing needs any more.
//!
//! Decides what is not needed from what the stores hold and what is applied, not from what one plan
//! deleted, so that a clean-up which was interrupted is made up for by the next. The stores are asked
//! before the definitions are read: what appears in between is known already.
//!
//! Progress is forgotten before rows are dropped: rows without progress are filled again, progress
//! without rows would leave gaps.

use std::sync::Arc;

use provender_core::provider::{OnlineStore, ViewVersion};
use provender_core::{Catalog, Context, Result};

use crate::FeatureStore;
use crate::apply::Applied;
use crate::stores::Role;

/// An online store and what it holds.
struct Holding {
    name: Option<String>,
    store: Arc<dyn OnlineStore>,
    views: Vec<ViewVersion>,
}

impl FeatureStore {
    /// Drops online data that nothing needs, in every configured online store that can be opened, and
    /// tells in `applied` what was dropped and what could not be.
    pub(crate) async fn clean_up(&self, cx: &Context, applied: &mut Applied) {
        let mut holdings: Vec<Holding> = Vec::new();
        for name in self.stores().names(Role::Online) {
            // Two blocks that say the same are one store, which is looked at once.
            let is_known = |known: &Holding| self.is_same_online_store(known.name.as_deref(), name);
            if holdings.iter().any(is_known) {
                continue;
            }
            match self.holding(cx, name).await {
                Ok(holding) => holdings.push(holding),
                Err(error) => applied.warnings.push(format!(
                    "{} was not cleaned up: {error}",
                    Role::Online.block_name(name)
                )),
            }
        }
        if holdings.iter().all(|holding| holding.views.is_empty()) {
            return;
        }
        let catalog = match self.catalog(cx).await {
            Ok(catalog) => catalog,
            Err(error) => {
                applied
                    .warnings
                    .push(format!("online stores were not cleaned up: {error}"));
                return;
            }
        };
        for holding in &holdings {
            for view in &holding.views {
                self.clean_view(cx, &catalog, &holdings, (holding, view), applied)
                    .await;
            }
        }
    }

    async fn holding(&self, cx: &Context, name: Option<&str>) -> Result<Holding> {
        let store = self.stores().online(cx, name).await?;
        let mut views = store.views(cx).await?;
        views.retain(|view| view.project == self.project());
        Ok(Holding {
            name: name.map(str::to_owned),
            store,
            views,
        })
    }

    async fn clean_view(
        &self,
        cx: &Context,
        catalog: &Catalog,
        holdings: &[Holding],
        (holding, view): (&Holding, &ViewVersion),
        applied: &mut Applied,
    ) {
        let versions = catalog.feature_views.get(&view.view);
        if let Some(definition) = versions.and_then(|versions| versions.get(&view.version)) {
            let own = definition.online_store.as_deref();
            if self.is_same_online_store(own, holding.name.as_deref()) {
                return;
            }
            let own_holding = holdings
                .iter()
                .find(|other| self.is_same_online_store(own, other.name.as_deref()));
            let block = Role::Online.block_name(holding.name.as_deref());
            match own_holding {
                // A store that cannot be looked into now may hold them; the warning is there already.
                None => return,
                // Two blocks can name one store in different words, so rows that are in both places
                // may be the same rows.
                Some(other) if other.views.contains(view) => {
                    applied.warnings.push(format!(
                        "{}@{} is held by {block} beside its own store, {}; if they are two stores, the rows there are not used",
                        view.view,
                        view.version,
                        Role::Online.block_name(own)
                    ));
                    return;
                }
                Some(_) => {}
            }
        }
        let dropped = async {
            self.forget_online_state(cx, view).await?;
            holding.store.drop_view(cx, view).await
        };
        match dropped.await {
            Ok(()) => applied.dropped.push(view.clone()),
            Err(error) => applied.warnings.push(format!(
                "online data of {}@{} were not dropped: {error}",
                view.view, view.version
            )),
        }
    }
}
