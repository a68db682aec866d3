//! Registries of a library.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use provender_core::provider::{
    Author, Change, Commit, Interval, Lease, Provider, ProviderConfig, ProviderInfo, Registry,
    RegistrySnapshot, Revision, ViewVersion,
};
use provender_core::{Context, Result};
use serde_json::Value;

use super::call::Loaded;
use super::provider::{Instance, info, open};
use crate::abi::method;
use crate::control::{
    AcquireControl, CommitControl, HistoryControl, IntervalControl, LeaseControl, Role,
    SnapshotControl, ViewControl,
};

#[derive(Debug)]
struct PluginRegistry {
    instance: Instance,
    info: ProviderInfo,
}

impl Loaded {
    /// Opens one of the library's types as a registry.
    ///
    /// # Errors
    /// What the library says, with its name.
    pub async fn open_registry(
        &'static self,
        cx: &Context,
        config: ProviderConfig,
    ) -> Result<Arc<dyn Registry>> {
        let (instance, opened) = open(self, cx, Role::Registry, config).await?;
        Ok(Arc::new(PluginRegistry {
            instance,
            info: info(&opened),
        }))
    }
}

#[async_trait]
impl Provider for PluginRegistry {
    fn info(&self) -> ProviderInfo {
        self.info.clone()
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.instance.check(cx).await
    }
}

#[async_trait]
impl Registry for PluginRegistry {
    async fn revision(&self, cx: &Context) -> Result<Revision> {
        self.instance
            .ask(cx, method::REGISTRY_REVISION, Value::Null)
            .await
    }

    async fn snapshot(&self, cx: &Context, at: Option<Revision>) -> Result<Arc<RegistrySnapshot>> {
        let control = SnapshotControl { at };
        let snapshot: RegistrySnapshot = self
            .instance
            .ask(cx, method::REGISTRY_SNAPSHOT, control)
            .await?;
        Ok(Arc::new(snapshot))
    }

    async fn commit(
        &self,
        cx: &Context,
        base: Revision,
        changes: &[Change],
        by: &Author,
    ) -> Result<Revision> {
        let control = CommitControl {
            base,
            changes: changes.to_vec(),
            by: by.clone(),
        };
        self.instance
            .ask(cx, method::REGISTRY_COMMIT, control)
            .await
    }

    async fn history(&self, cx: &Context, after: Revision, limit: usize) -> Result<Vec<Commit>> {
        let control = HistoryControl { after, limit };
        self.instance
            .ask(cx, method::REGISTRY_HISTORY, control)
            .await
    }

    async fn record_interval(
        &self,
        cx: &Context,
        view: &ViewVersion,
        interval: Interval,
    ) -> Result<()> {
        let control = IntervalControl {
            view: view.clone(),
            interval,
        };
        let _: Value = self
            .instance
            .ask(cx, method::REGISTRY_RECORD_INTERVAL, control)
            .await?;
        Ok(())
    }

    async fn intervals(&self, cx: &Context, view: &ViewVersion) -> Result<Vec<Interval>> {
        let control = ViewControl { view: view.clone() };
        self.instance
            .ask(cx, method::REGISTRY_INTERVALS, control)
            .await
    }

    async fn forget_intervals(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        let control = ViewControl { view: view.clone() };
        let _: Value = self
            .instance
            .ask(cx, method::REGISTRY_FORGET_INTERVALS, control)
            .await?;
        Ok(())
    }

    async fn acquire_lease(
        &self,
        cx: &Context,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease> {
        let control = AcquireControl {
            name: name.to_owned(),
            holder: holder.to_owned(),
            ttl_us: micros(ttl),
        };
        self.instance
            .ask(cx, method::REGISTRY_ACQUIRE_LEASE, control)
            .await
    }

    async fn renew_lease(&self, cx: &Context, lease: &Lease, ttl: Duration) -> Result<Lease> {
        let control = LeaseControl {
            lease: lease.clone(),
            ttl_us: micros(ttl),
        };
        self.instance
            .ask(cx, method::REGISTRY_RENEW_LEASE, control)
            .await
    }

    async fn release_lease(&self, cx: &Context, lease: &Lease) -> Result<()> {
        let control = LeaseControl {
            lease: lease.clone(),
            ttl_us: 0,
        };
        let _: Value = self
            .instance
            .ask(cx, method::REGISTRY_RELEASE_LEASE, control)
            .await?;
        Ok(())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
