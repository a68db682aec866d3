//! How configurations become providers: one explicit list of factories.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
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
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (path, why) = (error.path().to_string(), error.inner().to_string());
        let is_named = error.path().iter().next_back().is_none_or(|last| {
            let name = last.to_string();
            why.contains(&format!("`{}`", name.trim_matches('.')))
        });
        let option = if is_named {
            String::new()
        } else {
            format!("{path}: ")
        };
        Error::new(
            &codes::BAD_CONFIG,
            format!("{} (type {}): {option}{why}", config.block, config.scheme),
        )
    })
}

/// Opens a store of one role.
type Open<S> =
    Arc<dyn Fn(Context, ProviderConfig) -> BoxFuture<'static, Result<Arc<S>>> + Send + Sync>;

/// What a provider crate, or a loaded plug-in, offers under one `type:`.
///
/// ```
/// # use provender_core::{Error, codes, provider::{Factory, OnlineStore, ProviderConfig}};
/// # fn connect(_: &ProviderConfig) -> provender_core::Result<std::sync::Arc<dyn OnlineStore>> {
/// #     Err(Error::new(&codes::INTERNAL, "an example"))
/// # }
/// let factory = Factory::new("acme", "Online rows in Acme", || serde_json::json!({"type": "object"}))
///     .online(|_cx, config| async move { connect(&config) });
/// assert_eq!(factory.scheme(), "acme");
/// assert!(factory.is_online() && !factory.is_offline());
/// ```
#[derive(Clone)]
pub struct Factory {
    scheme: String,
    description: String,
    options_schema: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    offline: Option<Open<dyn OfflineStore>>,
    online: Option<Open<dyn OnlineStore>>,
    registry: Option<Open<dyn Registry>>,
}

impl Factory {
    /// A factory that opens nothing yet: its `type:` in the configuration, one line for people, and
    /// its options as a JSON Schema.
    pub fn new(
        scheme: impl Into<String>,
        description: impl Into<String>,
        options_schema: impl Fn() -> serde_json::Value + Send + Sync + 'static,
    ) -> Self {
        Self {
            scheme: scheme.into(),
            description: description.into(),
            options_schema: Arc::new(options_schema),
            offline: None,
            online: None,
            registry: None,
        }
    }

    /// Says how it is opened as an offline store.
    #[must_use]
    pub fn offline<F, W>(mut self, open: F) -> Self
    where
        F: Fn(Context, ProviderConfig) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Arc<dyn OfflineStore>>> + Send + 'static,
    {
        self.offline = Some(Arc::new(move |cx, config| open(cx, config).boxed()));
        self
    }

    /// Says how it is opened as an online store.
    #[must_use]
    pub fn online<F, W>(mut self, open: F) -> Self
    where
        F: Fn(Context, ProviderConfig) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Arc<dyn OnlineStore>>> + Send + 'static,
    {
        self.online = Some(Arc::new(move |cx, config| open(cx, config).boxed()));
        self
    }

    /// Says how it is opened as a registry.
    #[must_use]
    pub fn registry<F, W>(mut self, open: F) -> Self
    where
        F: Fn(Context, ProviderConfig) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Arc<dyn Registry>>> + Send + 'static,
    {
        self.registry = Some(Arc::new(move |cx, config| open(cx, config).boxed()));
        self
    }

    /// The `type:` of the configuration.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// One line for people.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Its options as a JSON Schema, for editors and for checks before anything is opened.
    pub fn options_schema(&self) -> serde_json::Value {
        (self.options_schema)()
    }

    /// Whether it opens as an offline store.
    pub fn is_offline(&self) -> bool {
        self.offline.is_some()
    }

    /// Whether it opens as an online store.
    pub fn is_online(&self) -> bool {
        self.online.is_some()
    }

    /// Whether it opens as a registry.
    pub fn is_registry(&self) -> bool {
        self.registry.is_some()
    }

    /// Opens it as an offline store.
    ///
    /// # Errors
    /// `InvalidArgument` (`P204`, `P203`) if it is none or for bad options, and what opening says.
    pub async fn open_offline(
        &self,
        cx: &Context,
        config: ProviderConfig,
    ) -> Result<Arc<dyn OfflineStore>> {
        open(self.offline.as_ref(), cx, config, "offline store").await
    }

    /// Opens it as an online store.
    ///
    /// # Errors
    /// As [`Self::open_offline`].
    pub async fn open_online(
        &self,
        cx: &Context,
        config: ProviderConfig,
    ) -> Result<Arc<dyn OnlineStore>> {
        open(self.online.as_ref(), cx, config, "online store").await
    }

    /// Opens it as a registry.
    ///
    /// # Errors
    /// As [`Self::open_offline`].
    pub async fn open_registry(
        &self,
        cx: &Context,
        config: ProviderConfig,
    ) -> Result<Arc<dyn Registry>> {
        open(self.registry.as_ref(), cx, config, "registry").await
    }
}

async fn open<S: ?Sized>(
    open: Option<&Open<S>>,
    cx: &Context,
    config: ProviderConfig,
    role: &str,
) -> Result<Arc<S>> {
    match open {
        Some(open) => open(cx.clone(), config).await,
        None => Err(Error::new(
            &codes::UNKNOWN_PROVIDER,
            format!("{}: type {:?} is no {role}", config.block, config.scheme),
        )),
    }
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
        self.factories.insert(factory.scheme.clone(), factory);
    }

    /// The factory of a type.
    pub fn get(&self, scheme: &str) -> Option<&Factory> {
        self.factories.get(scheme)
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
        let factory = self.find(&config, Factory::is_offline)?;
        factory.open_offline(cx, config).await
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
        let factory = self.find(&config, Factory::is_online)?;
        factory.open_online(cx, config).await
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
        let factory = self.find(&config, Factory::is_registry)?;
        factory.open_registry(cx, config).await
    }

    fn find(&self, config: &ProviderConfig, role: fn(&Factory) -> bool) -> Result<&Factory> {
        let found = self.factories.get(&config.scheme);
        found.filter(|factory| role(factory)).ok_or_else(|| {
            let known = self.factories.values().filter(|factory| role(factory));
            Error::new(
                &codes::UNKNOWN_PROVIDER,
                format!("{} has the unknown type {:?}", config.block, config.scheme),
            )
            .help(did_you_mean(&config.scheme, known.map(Factory::scheme)))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::Secret;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Block {
        #[allow(dead_code)]
        n: u8,
        nested: Nested,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Nested {
        password: Option<Secret>,
    }

    fn read(options: serde_json::Value) -> Result<Block> {
        let options = options.as_object().cloned().unwrap_or_default();
        super::options(&ProviderConfig {
            scheme: "acme".to_owned(),
            block: "online_store".to_owned(),
            options,
            base_path: PathBuf::new(),
            resources: Resources::default(),
        })
    }

    #[test]
    fn what_is_wrong_is_told_with_its_option_once() {
        let block = read(json!({"nested": {"password": "sesame"}})).unwrap_or_default();
        assert_eq!(block.nested.password, Some(Secret::new("sesame")));
        for (options, told) in [
            (
                json!({"nested": {"password": 5}}),
                "nested.password: a secret is",
            ),
            (json!({"n": "many"}), "n: invalid type"),
            (json!({"nested": {"pass": 5}}), "unknown field `pass`"),
            (
                json!({"nested": {"passwort": 5}}),
                "(type acme): unknown field `passwort`",
            ),
        ] {
            let failed = read(options).err().map(|error| error.to_string());
            assert!(
                failed.as_ref().is_some_and(|failed| failed.contains(told)),
                "{failed:?}"
            );
        }
    }
}
