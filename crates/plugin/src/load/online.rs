//! Online stores of a library, and prepared reads.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use provender_core::provider::{
    OnlineCapabilities, OnlineReader, OnlineStore, Provider, ProviderConfig, ProviderInfo,
    ViewVersion,
};
use provender_core::request::{OnlineRows, OnlineStats, ReadPlan, ViewLayout, WriteSummary};
use provender_core::{BatchStream, Context, ErrorKind, Result};
use serde_json::Value;

use super::call::{Loaded, Rows};
use super::provider::{Instance, info, open};
use crate::abi::method;
use crate::columns::{broken, export_batch, import_batch, import_schema, same_columns};
use crate::control::{
    CheckpointControl, HoldsControl, LayoutControl, Prepared, ReadNotes, Role, ViewControl, parse,
};
use crate::reads::{batch_to_rows, rows_schema};

#[derive(Debug)]
struct PluginOnlineStore {
    instance: Instance,
    info: ProviderInfo,
    capabilities: OnlineCapabilities,
}

#[derive(Debug)]
struct PluginReader {
    instance: Instance,
    plan: Arc<ReadPlan>,
    rows: SchemaRef,
}

impl Loaded {
    /// Opens one of the library's types as an online store.
    ///
    /// # Errors
    /// What the library says, with its name.
    pub async fn open_online(
        &'static self,
        cx: &Context,
        config: ProviderConfig,
    ) -> Result<Arc<dyn OnlineStore>> {
        let (instance, opened) = open(self, cx, Role::OnlineStore, config).await?;
        Ok(Arc::new(PluginOnlineStore {
            instance,
            info: info(&opened),
            capabilities: opened.online.unwrap_or_default(),
        }))
    }
}

#[async_trait]
impl Provider for PluginOnlineStore {
    fn info(&self) -> ProviderInfo {
        self.info.clone()
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.instance.check(cx).await
    }
}

#[async_trait]
impl OnlineStore for PluginOnlineStore {
    fn capabilities(&self) -> OnlineCapabilities {
        self.capabilities.clone()
    }

    async fn prepare(&self, cx: &Context, plan: Arc<ReadPlan>) -> Result<Arc<dyn OnlineReader>> {
        let loaded = self.instance.loaded;
        let rows = rows_schema(&plan)?;
        let ended = loaded
            .call(
                cx,
                self.instance.id,
                method::ONLINE_PREPARE,
                &*plan,
                Rows::default(),
            )
            .await?;
        let named = |error| self.instance.named(error);
        let prepared: Prepared = parse(&ended.control, "an answer").map_err(named)?;
        let instance = Instance {
            loaded,
            id: prepared.instance,
        };
        // Reads answer arrays without a schema, so what was agreed on here is what they are read as.
        let promised = ended
            .schema
            .ok_or_else(|| named(broken("a prepared read without a schema")))?;
        let promised = import_schema(&promised).map_err(named)?;
        if !same_columns(&promised, &rows) {
            return Err(named(broken(format!(
                "a prepared read of the columns {promised} where {rows} were asked for"
            ))));
        }
        Ok(Arc::new(PluginReader {
            instance,
            plan,
            rows,
        }))
    }

    async fn write(
        &self,
        cx: &Context,
        view: &ViewLayout,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        let control = LayoutControl { view: view.clone() };
        self.instance
            .send(cx, method::ONLINE_WRITE, control, rows)
            .await
    }

    async fn delete(&self, cx: &Context, view: &ViewLayout, keys: RecordBatch) -> Result<()> {
        let control = LayoutControl { view: view.clone() };
        let keys = BatchStream::from_batches(keys.schema(), vec![keys]);
        let _: Value = self
            .instance
            .send(cx, method::ONLINE_DELETE, control, keys)
            .await?;
        Ok(())
    }

    async fn views(&self, cx: &Context) -> Result<Vec<ViewVersion>> {
        self.instance
            .ask(cx, method::ONLINE_VIEWS, Value::Null)
            .await
    }

    async fn stats(&self, cx: &Context, view: &ViewVersion) -> Result<OnlineStats> {
        let control = ViewControl { view: view.clone() };
        self.instance.ask(cx, method::ONLINE_STATS, control).await
    }

    async fn drop_view(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        let control = ViewControl { view: view.clone() };
        let _: Value = self
            .instance
            .ask(cx, method::ONLINE_DROP_VIEW, control)
            .await?;
        Ok(())
    }

    async fn checkpoint(
        &self,
        cx: &Context,
        view: &ViewVersion,
        since: Option<i64>,
    ) -> Result<Option<i64>> {
        let control = CheckpointControl {
            view: view.clone(),
            since,
        };
        let made = self.instance.ask(cx, method::ONLINE_CHECKPOINT, control);
        match made.await {
            // A library that does not know the method marks nothing.
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
            made => made,
        }
    }

    async fn holds(&self, cx: &Context, view: &ViewVersion, checkpoint: i64) -> Result<bool> {
        let control = HoldsControl {
            view: view.clone(),
            checkpoint,
        };
        match self.instance.ask(cx, method::ONLINE_HOLDS, control).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(true),
            holds => holds,
        }
    }
}

#[async_trait]
impl OnlineReader for PluginReader {
    async fn read(&self, cx: &Context, keys: &RecordBatch) -> Result<OnlineRows> {
        let rows = Rows {
            streams: Vec::new(),
            array: Some(export_batch(keys)),
        };
        let loaded = self.instance.loaded;
        let ended = loaded
            .call(cx, self.instance.id, method::ONLINE_READ, (), rows)
            .await?;
        let read = || {
            let array = ended.array.ok_or_else(|| broken("a read without rows"))?;
            let notes = if ended.control.is_empty() {
                ReadNotes::default()
            } else {
                parse(&ended.control, "an answer")?
            };
            let batch = import_batch(array, &self.rows)?;
            batch_to_rows(&self.plan, batch, notes, keys.num_rows())
        };
        read().map_err(|error| self.instance.named(error))
    }
}
