//! Offline stores of a library.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use provender_core::model::SourceVersion;
use provender_core::provider::{
    OfflineCapabilities, OfflineStore, Provider, ProviderConfig, ProviderInfo,
};
use provender_core::request::{
    LatestPerKey, Maintenance, MaintenanceSummary, OfflineRequest, OfflineWrite, PointInTimeJoin,
    Scan, SourceRef, Spine, WindowsAt, WriteSummary,
};
use provender_core::{BatchStream, Context, Result};

use super::call::{Loaded, Rows};
use super::provider::{Instance, info, open, outgoing};
use crate::abi::method;
use crate::columns::{broken, import_schema};
use crate::control::{DeleteControl, JoinControl, Role, SpineColumns, SpineControl};

#[derive(Debug)]
struct PluginOfflineStore {
    instance: Instance,
    info: ProviderInfo,
    capabilities: OfflineCapabilities,
}

impl Loaded {
    /// Opens one of the library's types as an offline store.
    ///
    /// # Errors
    /// What the library says, with its name.
    pub async fn open_offline(
        &'static self,
        cx: &Context,
        config: ProviderConfig,
    ) -> Result<Arc<dyn OfflineStore>> {
        let (instance, opened) = open(self, cx, Role::OfflineStore, config).await?;
        Ok(Arc::new(PluginOfflineStore {
            instance,
            info: info(&opened),
            capabilities: crossing(opened.offline.unwrap_or_default()),
        }))
    }
}

/// The capabilities that calls of the interface exist for.
fn crossing(mut declared: OfflineCapabilities) -> OfflineCapabilities {
    declared.row_access = false;
    declared
}

#[async_trait]
impl Provider for PluginOfflineStore {
    fn info(&self) -> ProviderInfo {
        self.info.clone()
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.instance.check(cx).await
    }
}

#[async_trait]
impl OfflineStore for PluginOfflineStore {
    fn capabilities(&self) -> OfflineCapabilities {
        self.capabilities.clone()
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        let loaded = self.instance.loaded;
        let rows = Rows::default();
        let ended = loaded
            .call(cx, self.instance.id, method::OFFLINE_SCHEMA, source, rows)
            .await?;
        let schema = ended
            .schema
            .ok_or_else(|| self.instance.named(broken("no schema")))?;
        let schema = import_schema(&schema).map_err(|error| self.instance.named(error))?;
        Ok(Arc::new(schema))
    }

    async fn scan(&self, cx: &Context, scan: Scan) -> Result<Vec<BatchStream>> {
        let streams = self
            .instance
            .streams(cx, method::OFFLINE_SCAN, scan, Rows::default())
            .await?;
        if streams.is_empty() {
            return Err(self.instance.named(broken("a scan without streams")));
        }
        Ok(streams)
    }

    async fn point_in_time_join(
        &self,
        cx: &Context,
        join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream> {
        let (spine, rows) = match spine {
            Spine::Sql(spine) => (SpineControl::Sql(spine), Rows::default()),
            Spine::Rows(spine) => {
                let columns = SpineColumns {
                    timestamp: spine.timestamp,
                    row_number: spine.row_number,
                };
                (SpineControl::Rows(columns), outgoing(spine.rows))
            }
        };
        let control = JoinControl { join, spine };
        self.instance
            .one_stream(cx, method::OFFLINE_POINT_IN_TIME_JOIN, control, rows)
            .await
    }

    async fn latest(&self, cx: &Context, latest: LatestPerKey) -> Result<BatchStream> {
        self.instance
            .one_stream(cx, method::OFFLINE_LATEST, latest, Rows::default())
            .await
    }

    async fn windows(&self, cx: &Context, windows: WindowsAt) -> Result<BatchStream> {
        self.instance
            .one_stream(cx, method::OFFLINE_WINDOWS, windows, Rows::default())
            .await
    }

    async fn write(
        &self,
        cx: &Context,
        write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        self.instance
            .send(cx, method::OFFLINE_WRITE, write, rows)
            .await
    }

    async fn delete(&self, cx: &Context, source: &SourceRef, keys: RecordBatch) -> Result<()> {
        let control = DeleteControl {
            source: source.clone(),
        };
        let keys = BatchStream::from_batches(keys.schema(), vec![keys]);
        let _: serde_json::Value = self
            .instance
            .send(cx, method::OFFLINE_DELETE, control, keys)
            .await?;
        Ok(())
    }

    async fn maintain(&self, cx: &Context, work: Maintenance) -> Result<MaintenanceSummary> {
        self.instance.ask(cx, method::OFFLINE_MAINTAIN, work).await
    }

    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String> {
        self.instance
            .ask(cx, method::OFFLINE_EXPLAIN, request)
            .await
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        self.instance.ask(cx, method::OFFLINE_PIN, source).await
    }
}
