//! How configurations become providers: one explicit list of factories.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{OfflineStore, OnlineStore, Registry};
use crate::context::Context;
use crate::error::{Error, Result, codes};
use crate::names::did_you_mean;

/// Limits that a provider keeps when it works on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Memory for rows held at once, in bytes; work beyond it spills to disk.
    pub memory_limit_bytes: u64,
    /// Where spilled rows go; `None` is the system's folder for temporary files.
    pub spill_path: Option<PathBuf>,
    /// Threads for work on rows.
    pub n_threads: usize,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            memory_limit_bytes: 2 << 30,
            spill_path: None,
            n_threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

impl Resources {
    /// The same, with no more memory than a call's own limit.
    #[must_use]
    pub fn within(self, cx: &Context) -> Self {
        Self {
            memory_limit_bytes: cx.memory_within(self.memory_limit_bytes),
            ..self
        }
    }
}

/// One block of `provender.yaml`: a provider's type and options. `Debug` shows no option values,
/// since they may hold secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct ProviderConfig {
    /// The provider's type, such as `delta`.
    pub scheme: String,
    /// The block's name in the configuration, such as `offline_store`, for messages.
    pub block: String,
    /// The other options of the block.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// What relative paths start at: the folder of the configuration file.
    pub base_path: PathBuf,
    /// Limits.
    pub resources: Resources,
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("scheme", &self.scheme)
            .field("block", &self.block)
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Reads a block's options into a provider's own type (serde, `deny_unknown_fields`).
///
/// # Errors
/// `InvalidArgument` (`P203`) that names the block and the option.
pub fn options<T: DeserializeOwned>(config: &ProviderConfig) -> Result<T> {
    let value = serde_json::Value::Object(config.options.clone());
    serde_json::from_value(value).map_err(|error| {
        Error::new(
            &codes::BAD_CONFIG,
            format!("{} (type {}): {error}", config.block, config.scheme),
        )
    })
}

/// Opens an offline store.
pub type OpenOffline =
    fn(Context, ProviderConfig) -> BoxFuture<'static, Result<Arc<dyn OfflineStore>>>;
/// Opens an online store.
pub type OpenOnline =
    fn(Context, ProviderConfig) -> BoxFuture<'static, Result<Arc<dyn OnlineStore>>>;
/// Opens a registry.
pub type OpenRegistry =
    fn(Context, ProviderConfig) -> BoxFuture<'static, Result<Arc<dyn Registry>>>;

/// What a provider crate offers under one `type:`.
#[derive(Clone)]
pub struct Factory {
    /// The `type:` of the configuration.
    pub scheme: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// Its options as a JSON Schema, for editors and for checks before anything is opened.
    pub options_schema: fn() -> serde_json::Value,
    /// Opens it as offline store, if it is one.
    pub offline: Option<OpenOffline>,
    /// Opens it as online store, if it is one.
    pub online: Option<OpenOnline>,
    /// Opens it as registry, if it is one.
    pub registry: Option<OpenRegistry>,
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factory")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// The providers that a program knows, by type.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    factories: BTreeMap<String, Factory>,
}

impl Providers {
    /// Adds a factory; one of the same type is replaced.
    pub fn register(&mut self, factory: Factory) {
        self.factories.insert(factory.scheme.to_owned(), factory);
    }

    /// All factories, by type.
    pub fn iter(&self) -> impl Iterator<Item = &Factory> {
        self.factories.values()
    }

    /// Opens an offline store.
    ///
    /// # Errors
    /// `InvalidArgument` (`P204`, `P203`) for an unknown type or bad options, and what opening says.
    pub async fn open_offline(
        &self,
        cx: &Context,
        config: ProviderConfig,
    ) -> Result<Arc<dyn OfflineStore>> {
        let open = self.find(&config, |factory| factory.offline)?;
        open(cx.clone(), config).await
    }

    /// Opens an online store.
    ///
    /// # Errors
    /// As [`Self::open_offline`].
    pub async fn open_online(
        &self,
        cx: &Context,
        config: ProviderConfig,
    ) -> Result<Arc<dyn OnlineStore>> {
        let open = self.find(&config, |factory| factory.online)?;
        open(cx.clone(), config).await
    }

    /// Opens a registry.
    ///
    /// # Errors
    /// As [`Self::open_offline`].
    pub async fn open_registry(
        &self,
        cx: &Context,
        config: ProviderConfig,
    ) -> Result<Arc<dyn Registry>> {
        let open = self.find(&config, |factory| factory.registry)?;
        open(cx.clone(), config).await
    }

    fn find<T>(&self, config: &ProviderConfig, role: impl Fn(&Factory) -> Option<T>) -> Result<T> {
        let found = self.factories.get(&config.scheme).and_then(&role);
        found.ok_or_else(|| {
            let known = self
                .factories
                .values()
                .filter(|factory| role(factory).is_some());
            Error::new(
                &codes::UNKNOWN_PROVIDER,
                format!("{} has the unknown type {:?}", config.block, config.scheme),
            )
            .help(did_you_mean(
                &config.scheme,
                known.map(|factory| factory.scheme),
            ))
        })
    }
}
