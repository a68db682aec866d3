//! What all providers behind a library have: an instance, who they are, and their `check`.

use std::fmt;

use futures::StreamExt;
use provender_core::provider::{ProviderConfig, ProviderInfo};
use provender_core::{BatchStream, Context, Error, Result};

use super::call::{Ended, HostThreads, Loaded, Rows, within};
use crate::abi::method;
use crate::columns::broken;
use crate::control::{Open, Opened, Role};
use crate::streams::{export_stream, import_waiting};

/// An open instance; given back when it is dropped.
pub(super) struct Instance {
    pub(super) loaded: &'static Loaded,
    pub(super) id: u64,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.loaded.manifest().name, self.id)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.loaded.close(self.id);
    }
}

/// Opens a provider in a role.
pub(super) async fn open(
    loaded: &'static Loaded,
    cx: &Context,
    role: Role,
    config: ProviderConfig,
) -> Result<(Instance, Opened)> {
    let arguments = Open { role, config };
    let opened: Opened = loaded
        .ask(cx, 0, method::OPEN, arguments, Rows::default())
        .await?;
    let instance = Instance {
        loaded,
        id: opened.instance,
    };
    Ok((instance, opened))
}

impl Instance {
    pub(super) async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.ask(cx, method::CHECK, serde_json::json!({})).await
    }

    /// A call whose arguments and answer are JSON.
    pub(super) async fn ask<A: serde::Serialize, R: serde::de::DeserializeOwned>(
        &self,
        cx: &Context,
        number: u32,
        arguments: A,
    ) -> Result<R> {
        let rows = Rows::default();
        self.loaded.ask(cx, self.id, number, arguments, rows).await
    }

    /// A call that brings one stream of rows.
    pub(super) async fn send<A: serde::Serialize, R: serde::de::DeserializeOwned>(
        &self,
        cx: &Context,
        number: u32,
        arguments: A,
        stream: BatchStream,
    ) -> Result<R> {
        let rows = outgoing(stream);
        self.loaded.ask(cx, self.id, number, arguments, rows).await
    }

    /// A call that answers streams of rows.
    pub(super) async fn streams<A: serde::Serialize>(
        &self,
        cx: &Context,
        number: u32,
        arguments: A,
        rows: Rows,
    ) -> Result<Vec<BatchStream>> {
        let ended: Ended = self
            .loaded
            .call(cx, self.id, number, arguments, rows)
            .await?;
        let mut streams = Vec::with_capacity(ended.streams.len());
        for stream in ended.streams {
            let reading = self.loaded.reading()?;
            let stream = within(cx, import_waiting(stream, reading)).await;
            let stream = stream.flatten().map_err(|error| self.named(error))?;
            streams.push(self.guarded(cx, stream));
        }
        Ok(streams)
    }

    /// A call that answers one stream of rows.
    pub(super) async fn one_stream<A: serde::Serialize>(
        &self,
        cx: &Context,
        number: u32,
        arguments: A,
        rows: Rows,
    ) -> Result<BatchStream> {
        let mut streams = self.streams(cx, number, arguments, rows).await?;
        match (streams.pop(), streams.len()) {
            (Some(stream), 0) => Ok(stream),
            _ => Err(self.named(broken("another number of streams than one"))),
        }
    }

    pub(super) fn named(&self, error: Error) -> Error {
        self.loaded.named(error)
    }

    /// A stream whose errors name the library, and which ends by the deadline of the call it is of.
    fn guarded(&self, cx: &Context, stream: BatchStream) -> BatchStream {
        let loaded = self.loaded;
        let rows = Some((stream.batches, cx.clone()));
        let batches = futures::stream::unfold(rows, move |rows| async move {
            let (mut rows, cx) = rows?;
            match within(&cx, rows.next()).await {
                Ok(Some(Ok(batch))) => Some((Ok(batch), Some((rows, cx)))),
                Ok(Some(Err(error))) | Err(error) => Some((Err(loaded.named(error)), None)),
                Ok(None) => None,
            }
        });
        BatchStream::new(stream.schema, batches)
    }
}

/// A stream to give to a call.
pub(super) fn outgoing(stream: BatchStream) -> Rows {
    let threads = HostThreads(tokio::runtime::Handle::current());
    Rows {
        streams: vec![export_stream(&threads, stream)],
        array: None,
    }
}

/// Who a provider is, as it said when it was opened.
pub(super) fn info(opened: &Opened) -> ProviderInfo {
    opened.info.clone()
}
