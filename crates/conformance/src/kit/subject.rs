//! What is judged: how a provider is opened in each of its roles.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use provender_core::provider::{
    Factory, OfflineStore, OnlineStore, ProviderConfig, Providers, Registry, Resources,
};
use provender_core::{Context, Result};
use serde_json::{Map, Value};

use super::Role;

/// Opens a provider again and again, each time over the same data.
pub(super) type Open<T> = dyn Fn() -> LocalBoxFuture<'static, Result<Arc<T>>>;

/// A provider to judge, in one role or several.
#[derive(Default)]
pub struct Subject {
    pub(super) offline: Option<Box<Open<dyn OfflineStore>>>,
    pub(super) online: Option<Box<Open<dyn OnlineStore>>>,
    pub(super) registry: Option<Box<Open<dyn Registry>>>,
}

impl Subject {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a factory opens with these options, in each role that it has. Relative paths start at the
    /// working folder.
    pub fn of(factory: Factory, options: Map<String, Value>) -> Self {
        let scheme = factory.scheme().to_owned();
        let mut roles = Vec::new();
        roles.extend(factory.is_offline().then_some(Role::Offline));
        roles.extend(factory.is_online().then_some(Role::Online));
        roles.extend(factory.is_registry().then_some(Role::Registry));
        let mut providers = Providers::default();
        providers.register(factory);
        let config = ProviderConfig {
            scheme,
            block: String::new(),
            options,
            base_path: PathBuf::from("."),
            resources: Resources::default(),
        };
        Self::opened_by(providers, &roles, &config)
    }

    /// What `providers` open for a block of a configuration, in these roles. The block's name is the
    /// role's.
    pub fn opened_by(providers: Providers, roles: &[Role], config: &ProviderConfig) -> Self {
        let providers = Arc::new(providers);
        let mut subject = Self::new();
        for &role in roles {
            let providers = Arc::clone(&providers);
            let config = ProviderConfig {
                block: role.name().to_owned(),
                ..config.clone()
            };
            subject = match role {
                Role::Offline => subject.offline_store(move || {
                    let (providers, config) = (Arc::clone(&providers), config.clone());
                    async move { providers.open_offline(&opening(), config).await }
                }),
                Role::Online => subject.online_store(move || {
                    let (providers, config) = (Arc::clone(&providers), config.clone());
                    async move { providers.open_online(&opening(), config).await }
                }),
                Role::Registry => subject.registry(move || {
                    let (providers, config) = (Arc::clone(&providers), config.clone());
                    async move { providers.open_registry(&opening(), config).await }
                }),
            };
        }
        subject
    }

    /// The same with an offline store. `open` is called more than once, and every store that it opens
    /// must read and write the same tables.
    #[must_use]
    pub fn offline_store<F, W>(mut self, open: F) -> Self
    where
        F: Fn() -> W + 'static,
        W: Future<Output = Result<Arc<dyn OfflineStore>>> + 'static,
    {
        self.offline = Some(Box::new(move || Box::pin(open())));
        self
    }

    /// The same with an online store. `open` is called more than once if the store says that it is
    /// shared, and then every store that it opens must read and write the same rows.
    #[must_use]
    pub fn online_store<F, W>(mut self, open: F) -> Self
    where
        F: Fn() -> W + 'static,
        W: Future<Output = Result<Arc<dyn OnlineStore>>> + 'static,
    {
        self.online = Some(Box::new(move || Box::pin(open())));
        self
    }

    /// The same with a registry.
    #[must_use]
    pub fn registry<F, W>(mut self, open: F) -> Self
    where
        F: Fn() -> W + 'static,
        W: Future<Output = Result<Arc<dyn Registry>>> + 'static,
    {
        self.registry = Some(Box::new(move || Box::pin(open())));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("offline", &self.offline.is_some())
            .field("online", &self.online.is_some())
            .field("registry", &self.registry.is_some())
            .finish()
    }
}

fn opening() -> Context {
    Context::new("conformance")
}
