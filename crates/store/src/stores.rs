//! The project's offline and online stores, by name, each opened at its first use.
//!
//! Decides which block of the configuration a name means; knows nothing of what the stores are.

use std::collections::BTreeMap;
use std::sync::Arc;

use provender_core::names::did_you_mean;
use provender_core::provider::{OfflineStore, OnlineStore, Providers, Resources};
use provender_core::{Context, Error, Result, codes};
use provender_definitions::{ProjectConfig, StoreBlock};
use tokio::sync::OnceCell;

/// Stores of one role; `None` is the one that is used where nothing is named.
type Opened<T> = BTreeMap<Option<String>, OnceCell<Arc<T>>>;

/// The stores of a project.
pub(crate) struct Stores {
    config: ProjectConfig,
    providers: Providers,
    offline: Opened<dyn OfflineStore>,
    online: Opened<dyn OnlineStore>,
}

/// What a store is used for, and so which blocks of the configuration are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Offline,
    Online,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
        }
    }

    /// The block of the configuration that a name means, for messages.
    pub(crate) fn block_name(self, name: Option<&str>) -> String {
        let role = self.name();
        name.map_or_else(
            || format!("{role}_store"),
            |name| format!("{role}_stores.{name}"),
        )
    }
}

impl Stores {
    pub(crate) fn new(config: ProjectConfig, providers: Providers) -> Self {
        Self {
            offline: unopened(&config.offline_stores),
            online: unopened(&config.online_stores),
            config,
            providers,
        }
    }

    /// The names of all configured stores; `None` is the one that is used where nothing is named.
    pub(crate) fn names(&self, role: Role) -> Vec<Option<&str>> {
        match role {
            Role::Offline => self.offline.keys().map(Option::as_deref).collect(),
            Role::Online => self.online.keys().map(Option::as_deref).collect(),
        }
    }

    /// The type that the configuration gives a store, for messages.
    pub(crate) fn scheme(&self, role: Role, name: Option<&str>) -> String {
        self.block(role, name)
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
        let block = self.block(Role::Offline, name)?;
        let cell = self
            .offline
            .get(&name.map(str::to_owned))
            .ok_or_else(|| self.undefined(Role::Offline, name))?;
        cell.get_or_try_init(|| async {
            let config = block.provider_config(&Role::Offline.block_name(name), &self.config);
            self.providers.open_offline(cx, config).await
        })
        .await
        .cloned()
    }

    /// The online store of a name, opened if it was not.
    ///
    /// # Errors
    /// As [`Self::offline`].
    pub(crate) async fn online(
        &self,
        cx: &Context,
        name: Option<&str>,
    ) -> Result<Arc<dyn OnlineStore>> {
        let block = self.block(Role::Online, name)?;
        let cell = self
            .online
            .get(&name.map(str::to_owned))
            .ok_or_else(|| self.undefined(Role::Online, name))?;
        cell.get_or_try_init(|| async {
            let config = block.provider_config(&Role::Online.block_name(name), &self.config);
            self.providers.open_online(cx, config).await
        })
        .await
        .cloned()
    }

    /// The limits for work on this machine.
    pub(crate) fn resources(&self) -> Resources {
        self.config.limits.clone()
    }

    /// The block of the configuration that a name means.
    ///
    /// # Errors
    /// `InvalidArgument` (`P106`) for a name that the configuration does not have.
    pub(crate) fn block(&self, role: Role, name: Option<&str>) -> Result<&StoreBlock> {
        let found = match (role, name) {
            (Role::Offline, None) => Some(&self.config.offline_store),
            (Role::Online, None) => Some(&self.config.online_store),
            (_, Some(name)) => self.named(role).get(name),
        };
        found.ok_or_else(|| self.undefined(role, name))
    }

    fn named(&self, role: Role) -> &BTreeMap<String, StoreBlock> {
        match role {
            Role::Offline => &self.config.offline_stores,
            Role::Online => &self.config.online_stores,
        }
    }

    fn undefined(&self, role: Role, name: Option<&str>) -> Error {
        let name = name.unwrap_or_default();
        let known = self.named(role).keys().map(String::as_str);
        let hint = did_you_mean(name, known);
        let role = role.name();
        Error::new(
            &codes::UNDEFINED_REFERENCE,
            format!("provender.yaml has no {role} store {name:?} under {role}_stores"),
        )
        .help(if hint.is_empty() {
            format!("add it there, or leave the store's name out to use {role}_store")
        } else {
            hint
        })
    }
}

fn unopened<T: ?Sized>(named: &BTreeMap<String, StoreBlock>) -> Opened<T> {
    let named = named.keys().cloned().map(Some);
    std::iter::once(None)
        .chain(named)
        .map(|name| (name, OnceCell::new()))
        .collect()
}
