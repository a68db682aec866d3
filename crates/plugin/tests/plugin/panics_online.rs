//! A panic in any method of an online store is an error of that call, and takes its library out of service.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use provender_core::provider::{
    Factory, OnlineCapabilities, OnlineReader, OnlineStore, Provider, ProviderInfo, ViewVersion,
};
use provender_core::request::{OnlineRows, OnlineStats, ReadPlan, ViewLayout, WriteSummary};
use provender_core::{BatchStream, Context, Error, Result};
use serde_json::json;

use crate::doubles::{config, library};
use crate::hostile::{keys, plan};

/// A store that panics where its name says.
#[derive(Debug)]
struct Panicking(String);

impl Panicking {
    fn at(&self, place: &str) {
        assert!(self.0 != place, "as asked in {place}");
    }
}

#[async_trait]
impl Provider for Panicking {
    fn info(&self) -> ProviderInfo {
        self.at("info");
        ProviderInfo {
            scheme: "panicking".to_owned(),
            version: "0".to_owned(),
            display_name: "a store that panics".to_owned(),
        }
    }

    async fn check(&self, _: &Context) -> Result<Vec<String>> {
        self.at("check");
        Ok(Vec::new())
    }
}

#[async_trait]
impl OnlineStore for Panicking {
    fn capabilities(&self) -> OnlineCapabilities {
        self.at("capabilities");
        OnlineCapabilities::default()
    }

    async fn prepare(&self, _: &Context, _: Arc<ReadPlan>) -> Result<Arc<dyn OnlineReader>> {
        self.at("prepare");
        Ok(Arc::new(PanickingReader))
    }

    async fn write(&self, _: &Context, _: &ViewLayout, rows: BatchStream) -> Result<WriteSummary> {
        self.at("write");
        let _ = rows.collect().await?;
        Ok(WriteSummary::default())
    }

    async fn delete(&self, _: &Context, _: &ViewLayout, _: RecordBatch) -> Result<()> {
        self.at("delete");
        Ok(())
    }

    async fn views(&self, _: &Context) -> Result<Vec<ViewVersion>> {
        self.at("views");
        Ok(Vec::new())
    }

    async fn stats(&self, _: &Context, _: &ViewVersion) -> Result<OnlineStats> {
        self.at("stats");
        Ok(OnlineStats::default())
    }

    async fn drop_view(&self, _: &Context, _: &ViewVersion) -> Result<()> {
        self.at("drop_view");
        Ok(())
    }

    async fn checkpoint(
        &self,
        _: &Context,
        _: &ViewVersion,
        _: Option<i64>,
    ) -> Result<Option<i64>> {
        self.at("checkpoint");
        Ok(None)
    }

    async fn holds(&self, _: &Context, _: &ViewVersion, _: i64) -> Result<bool> {
        self.at("holds");
        Ok(true)
    }
}

struct PanickingReader;

#[async_trait]
impl OnlineReader for PanickingReader {
    async fn read(&self, _: &Context, _: &RecordBatch) -> Result<OnlineRows> {
        panic!("as asked in read");
    }
}

fn panicking() -> Factory {
    Factory::new("panicking", "Panics", || json!({})).online(|_, config| async move {
        let place = config.options["place"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(place != "open", "as asked in open");
        Ok(Arc::new(Panicking(place)) as Arc<dyn OnlineStore>)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_in_any_method_poisons_the_library_alone() {
    let cx = Context::new("p");
    let layout = &plan().views[0].layout.clone();
    let places = [
        "open",
        "info",
        "capabilities",
        "check",
        "prepare",
        "read",
        "write",
        "delete",
        "views",
        "stats",
        "drop_view",
        "checkpoint",
        "holds",
    ];
    for place in places {
        let library = library("panicking", vec![panicking()]);
        let config = config("panicking", "online_store", json!({"place": place}));
        let opened = library.open_online(&cx, config).await;
        let error = match opened {
            Err(error) => error,
            Ok(store) => {
                let view = layout.view_version();
                let rows = || BatchStream::empty(layout.write_schema());
                let calls: HashMap<&str, _> = HashMap::from([
                    ("check", store.check(&cx).map(|r| r.map(drop)).boxed()),
                    (
                        "prepare",
                        store.prepare(&cx, plan()).map(|r| r.map(drop)).boxed(),
                    ),
                    (
                        "read",
                        async {
                            let reader = store.prepare(&cx, plan()).await?;
                            reader.read(&cx, &keys(1)).await.map(drop)
                        }
                        .boxed(),
                    ),
                    (
                        "write",
                        store
                            .write(&cx, layout, rows())
                            .map(|r| r.map(drop))
                            .boxed(),
                    ),
                    ("delete", store.delete(&cx, layout, keys(1)).boxed()),
                    ("views", store.views(&cx).map(|r| r.map(drop)).boxed()),
                    (
                        "stats",
                        store.stats(&cx, &view).map(|r| r.map(drop)).boxed(),
                    ),
                    ("drop_view", store.drop_view(&cx, &view).boxed()),
                    (
                        "checkpoint",
                        store
                            .checkpoint(&cx, &view, None)
                            .map(|r| r.map(drop))
                            .boxed(),
                    ),
                    (
                        "holds",
                        store.holds(&cx, &view, 1).map(|r| r.map(drop)).boxed(),
                    ),
                ]);
                let mut error = None;
                for (name, call) in calls {
                    if name == place {
                        error = call.await.err();
                    }
                }
                let error = error.unwrap_or_else(|| panic!("{place} did not panic"));
                // The library is not called any more.
                let after = store.views(&cx).await.unwrap_err();
                assert!(
                    after.message().contains("is not called any more"),
                    "{after}"
                );
                error
            }
        };
        assert_eq!(error.code(), "P803", "{place}: {error:?}");
        assert!(
            error
                .message()
                .contains(&format!("panicked: as asked in {place}")),
            "{place}: {error}"
        );
        assert!(library.is_poisoned(), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_inside_of_a_stream_is_an_error_of_the_call() {
    let library = library("panicking", vec![panicking()]);
    let config = config("panicking", "online_store", json!({"place": ""}));
    let cx = Context::new("p");
    let store = library.open_online(&cx, config).await.unwrap();
    let schema = Arc::new(plan().views[0].layout.write_schema());
    let rows = futures::stream::iter([1, 2]).map(|n| -> Result<RecordBatch> {
        panic!("row {n} of the program's own stream");
    });
    let stream = BatchStream::new(schema, rows);
    // The task behind the stream is gone, so the other side sees a stream that ended early or failed.
    let layout = plan().views[0].layout.clone();
    let outcome = tokio::time::timeout(Duration::from_secs(20), store.write(&cx, &layout, stream))
        .await
        .expect("the call must end");
    let error: Error = outcome.expect_err("a stream that broke off must not count as whole");
    assert!(error.message().contains("panicked"), "{error}");
    assert!(!library.is_poisoned());
}
