//! The project's offline stores, by name, each opened at its first use.
//!
//! Decides which block of the configuration a name means; knows nothing of what the stores are.

use std::collections::BTreeMap;
use std::sync::Arc;

use provender_core::names::did_you_mean;
use provender_core::provider::{OfflineStore, Providers, Resources};
use provender_core::{Context, Error, Result, codes};
use provender_definitions::{ProjectConfig, StoreBlock};
use tokio::sync::OnceCell;

/// The offline stores of a project.
pub(crate) struct Stores {
    config: ProjectConfig,
    providers: Providers,
    /// `None` is the project's `offline_store`.
    opened: BTreeMap<Option<String>, OnceCell<Arc<dyn OfflineStore>>>,
}

impl Stores {
    pub(crate) fn new(config: ProjectConfig, providers: Providers) -> Self {
        let named = config.offline_stores.keys().cloned().map(Some);
        let opened = std::iter::once(None)
            .chain(named)
            .map(|name| (name, OnceCell::new()))
            .collect();
        Self {
            config,
            providers,
            opened,
        }
    }

    /// The names of all configured offline stores; `None` is the project's `offline_store`.
    pub(crate) fn offline_names(&self) -> impl Iterator<Item = Option<&str>> {
        self.opened.keys().map(Option::as_deref)
    }

    /// The block of the configuration that a name means, for messages.
    pub(crate) fn block_name(name: Option<&str>) -> String {
        name.map_or_else(
            || "offline_store".to_owned(),
            |name| format!("offline_stores.{name}"),
        )
    }

    /// The type that the configuration gives a store, for messages.
    pub(crate) fn scheme(&self, name: Option<&str>) -> String {
        self.block(name)
            .map_or_else(|_| "unknown".to_owned(), |block| block.scheme.clone())
    }

    /// The offline store of a name, opened if it was not.
    ///
    /// # Errors
    /// `InvalidArgument` (`P106`) for a name that the configuration does not have, and what opening
    /// the store says; a store that could not be opened is tried again by the next call.
    pub(crate) async fn offline(
        &self,
        cx: &Context,
        name: Option<&str>,
    ) -> Result<Arc<dyn OfflineStore>> {
        let block = self.block(name)?;
        let cell = self
            .opened
            .get(&name.map(str::to_owned))
            .ok_or_else(|| self.undefined(name))?;
        cell.get_or_try_init(|| async {
            let config = block.provider_config(&Self::block_name(name), &self.config);
            self.providers.open_offline(cx, config).await
        })
        .await
        .cloned()
    }

    /// The limits for work on this machine.
    pub(crate) fn resources(&self) -> Resources {
        self.config.limits.clone()
    }

    fn block(&self, name: Option<&str>) -> Result<&StoreBlock> {
        match name {
            None => Ok(&self.config.offline_store),
            Some(named) => self
                .config
                .offline_stores
                .get(named)
                .ok_or_else(|| self.undefined(name)),
        }
    }

    fn undefined(&self, name: Option<&str>) -> Error {
        let name = name.unwrap_or_default();
        let known = self.config.offline_stores.keys().map(String::as_str);
        let hint = did_you_mean(name, known);
        Error::new(
            &codes::UNDEFINED_REFERENCE,
            format!("provender.yaml has no offline store {name:?} under offline_stores"),
        )
        .help(if hint.is_empty() {
            "add it there, or leave `store:` out to use offline_store".to_owned()
        } else {
            hint
        })
    }
}
