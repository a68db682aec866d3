//! The online store: what it offers, and which module does it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use provender_core::provider::{
    OnlineCapabilities, OnlineReader, OnlineStore, Provider, ProviderConfig, ProviderInfo,
    Resources, ViewVersion,
};
use provender_core::request::{OnlineStats, ReadPlan, ViewLayout, WriteSummary};
use provender_core::{BatchStream, Context, Error, Result, codes};

use crate::client::{Command, Commands};
use crate::config::{RedisConfig, Settings};
use crate::fleet::Fleet;
use crate::keys::{Keys, slot, view_field, view_of_field};
use crate::lane::Purpose;
use crate::read::RedisReader;
use crate::route::sound;
use crate::within::within;
use crate::{check, erase, marks, write};

/// Online rows in Redis or Valkey, which many processes may use at once. Cheap to clone; clones share their
/// connections.
#[derive(Clone)]
pub struct RedisOnlineStore {
    fleet: Arc<Fleet>,
    keys: Keys,
    /// Of rows that are gathered to be written.
    memory_limit_bytes: u64,
}

impl fmt::Debug for RedisOnlineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOnlineStore")
            .field("place", &self.fleet.settings.place())
            .field("prefix", &self.fleet.settings.prefix)
            .finish_non_exhaustive()
    }
}

impl RedisOnlineStore {
    /// Opens a store. Nothing is connected before the first call, so a project opens while Redis is away.
    ///
    /// # Errors
    /// `P203` for options that contradict themselves, and for certificates that cannot be read.
    pub fn open(options: &RedisConfig, config: &ProviderConfig) -> Result<Self> {
        let settings = Settings::new(options, &config.block, &config.base_path)?;
        Ok(Self::with(settings, config.resources.memory_limit_bytes))
    }

    /// Opens a store by options as a configuration writes them, such as `{"url": "redis://127.0.0.1"}`.
    /// Relative paths start at the current folder.
    ///
    /// # Errors
    /// As [`Self::open`], and for unknown options.
    pub fn from_options(options: serde_json::Value) -> Result<Self> {
        let options: RedisConfig = serde_json::from_value(options).map_err(|error| {
            Error::new(
                &codes::BAD_CONFIG,
                format!("online_store (type redis): {error}"),
            )
        })?;
        let settings = Settings::new(&options, "online_store", Path::new(""))?;
        Ok(Self::with(
            settings,
            Resources::default().memory_limit_bytes,
        ))
    }

    fn with(settings: Settings, memory_limit_bytes: u64) -> Self {
        if settings.tls.is_some() {
            // Several are compiled in, so that the library has no default of its own; whoever was first
            // has chosen one that is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let keys = Keys::new(&settings.prefix);
        Self {
            fleet: Fleet::new(settings),
            keys,
            memory_limit_bytes,
        }
    }
}

#[async_trait]
impl Provider for RedisOnlineStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: crate::SCHEME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            display_name: format!("online rows in Redis at {}", self.fleet.settings.place()),
        }
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        within(cx, check::examine(&self.fleet)).await
    }
}

#[async_trait]
impl OnlineStore for RedisOnlineStore {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut capabilities = OnlineCapabilities::default();
        capabilities.expiry = true;
        capabilities.shared = true;
        capabilities.checkpoints = true;
        capabilities
    }

    async fn prepare(&self, cx: &Context, plan: Arc<ReadPlan>) -> Result<Arc<dyn OnlineReader>> {
        cx.check()?;
        Ok(Arc::new(RedisReader::new(&self.fleet, &self.keys, &plan)?))
    }

    async fn write(
        &self,
        cx: &Context,
        view: &ViewLayout,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        let limit = cx.memory_within(self.memory_limit_bytes);
        write::write(cx, &self.fleet, &self.keys, limit, view, rows).await
    }

    async fn delete(&self, cx: &Context, view: &ViewLayout, keys: RecordBatch) -> Result<()> {
        erase::delete(cx, &self.fleet, &self.keys, view, &keys).await
    }

    async fn views(&self, cx: &Context) -> Result<Vec<ViewVersion>> {
        within(cx, async {
            let list = self.keys.views(cx.project());
            let commands = Commands::from_iter([Command::of("HKEYS", &[&list])]);
            let slots = [slot(&list)];
            let sent = self.fleet.send(Purpose::Read, &commands, &slots);
            let mut views = Vec::new();
            for reply in sent.await? {
                sound(&reply)?;
                views.extend(
                    reply
                        .into_items()
                        .iter()
                        .filter_map(|field| view_of_field(cx.project(), field.bytes()?)),
                );
            }
            views.sort();
            Ok(views)
        })
        .await
    }

    async fn stats(&self, cx: &Context, view: &ViewVersion) -> Result<OnlineStats> {
        within(cx, async {
            let list = self.keys.views(&view.project);
            let commands =
                Commands::from_iter([Command::of("HEXISTS", &[&list, &view_field(view)])]);
            let slots = [slot(&list)];
            let sent = self.fleet.send(Purpose::Read, &commands, &slots);
            let mut is_held = false;
            for reply in sent.await? {
                sound(&reply)?;
                is_held = reply.int() == Some(1);
            }
            // Counting would take a walk over all keys of the server.
            Ok(match is_held {
                true => OnlineStats::default(),
                false => OnlineStats {
                    n_rows: Some(0),
                    n_bytes: Some(0),
                },
            })
        })
        .await
    }

    async fn drop_view(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        erase::drop_view(cx, &self.fleet, &self.keys, view).await
    }

    async fn checkpoint(
        &self,
        cx: &Context,
        view: &ViewVersion,
        since: Option<i64>,
    ) -> Result<Option<i64>> {
        let made = marks::checkpoint(cx, &self.fleet, &self.keys, view, since);
        Ok(Some(made.await?))
    }

    async fn holds(&self, cx: &Context, view: &ViewVersion, checkpoint: i64) -> Result<bool> {
        marks::holds(cx, &self.fleet, &self.keys, view, checkpoint).await
    }
}
