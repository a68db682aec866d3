//! Libraries that break their promises. Each costs its own callers an error, and nobody else.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use provender_core::model::JoinKey;
use provender_core::provider::OnlineStore;
use provender_core::request::{ReadPlan, ViewLayout, ViewRead};
use provender_core::{Context, ErrorKind, ValueType};
use provender_plugin::abi::{ABI_VERSION, Bytes, Plugin};
use provender_plugin::load::Loaded;
use serde_json::json;

use crate::doubles::config;
use crate::tricky::{Trick, Tricky, eventually, tricky};

pub fn plan() -> Arc<ReadPlan> {
    let key = JoinKey {
        name: "k".to_owned(),
        value_type: ValueType::Int64,
    };
    let layout = ViewLayout {
        project: "p".to_owned(),
        view: "v".to_owned(),
        version: 1,
        join_keys: vec![key.clone()],
        features: vec![("f".to_owned(), ValueType::Int64)],
        tie_breakers: Vec::new(),
        ttl_us: None,
    };
    Arc::new(ReadPlan {
        keys: vec![key],
        views: vec![ViewRead {
            layout: Arc::new(layout),
            key_columns: vec![0],
            features: vec![0],
        }],
    })
}

pub fn keys(n: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n));
    RecordBatch::try_from_iter_with_nullable([("k", column, true)]).unwrap()
}

async fn open(trick: Trick) -> (Arc<dyn OnlineStore>, &'static Loaded, &'static Tricky) {
    let (loaded, state) = tricky(trick);
    let config = config("tricky", "online_store", json!({}));
    let store = loaded
        .open_online(&Context::new("p"), config)
        .await
        .unwrap();
    (store, loaded, state)
}

#[tokio::test]
async fn second_completion_is_counted_and_released() {
    let (store, loaded, _) = open(Trick::Twice).await;
    assert_eq!(store.views(&Context::new("p")).await.unwrap(), []);
    eventually("the second completion", || loaded.n_misused() == 1).await;
    assert_eq!(
        store.check(&Context::new("p")).await.unwrap(),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn late_completion_finds_nobody() {
    let (store, loaded, state) = open(Trick::Late).await;
    let cx = Context::new("p").with_timeout(Duration::from_millis(50));
    let error = store.views(&cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    eventually("the cancellation", || {
        state.cancelled.lock().unwrap().len() == 1
    })
    .await;
    eventually("the late completion", || loaded.n_misused() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn library_that_never_returns_costs_its_callers_and_nobody_else() {
    let (store, loaded, state) = open(Trick::Hang).await;
    let (other, ..) = open(Trick::FromAnotherThread).await;
    let soon = || Context::new("p").with_timeout(Duration::from_millis(100));
    // Far more calls than the runtime has threads, from tasks on the runtime's own threads.
    for _ in 0..3 {
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let (store, cx) = (store.clone(), soon());
                tokio::spawn(async move { store.views(&cx).await.map(drop) })
            })
            .collect();
        let others: Vec<_> = (0..100)
            .map(|_| {
                let other = other.clone();
                tokio::spawn(async move { other.check(&Context::new("p")).await })
            })
            .collect();
        for answer in futures::future::join_all(others).await {
            assert_eq!(answer.unwrap().unwrap(), ["fine"]);
        }
        for answer in futures::future::join_all(calls).await {
            let error = answer.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
            assert!(error.message().starts_with("plug-in tricky: "), "{error}");
        }
    }
    // Nobody waits any more, and giving the store back waits for nobody either.
    assert_eq!(loaded.n_open(), 0);
    drop(store);
    assert_eq!(other.check(&Context::new("p")).await.unwrap(), ["fine"]);
    state.release();
}

#[tokio::test]
async fn call_that_never_ends_costs_its_deadline_or_is_cancelled() {
    let (store, loaded, state) = open(Trick::Never).await;
    let cx = Context::new("p").with_timeout(Duration::from_millis(20));
    assert_eq!(
        store.views(&cx).await.unwrap_err().kind(),
        ErrorKind::DeadlineExceeded
    );
    let cx = Context::new("p");
    let (answer, ()) = futures::join!(store.views(&cx), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        cx.cancel();
    });
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Cancelled);
    // Nobody waits any more, and the library was told both times.
    eventually("the cancellations", || {
        state.cancelled.lock().unwrap().len() == 2
    })
    .await;
    assert_eq!(loaded.n_open(), 0);
}

#[tokio::test]
async fn error_text_that_is_no_text_is_told_all_the_same() {
    let (store, ..) = open(Trick::InvalidText).await;
    let error = store.views(&Context::new("p")).await.unwrap_err();
    assert_eq!(error.code(), "P802");
    assert!(
        error.message().contains("plug-in tricky: ")
            && error.message().contains("no\0 good \u{fffd}"),
        "{error}"
    );
    let (store, ..) = open(Trick::NoText).await;
    let error = store.views(&Context::new("p")).await.unwrap_err();
    assert!(
        error.message().contains("failed without an error text"),
        "{error}"
    );
}

#[tokio::test]
async fn rows_that_were_not_promised_are_refused() {
    let cx = Context::new("p");
    let (store, ..) = open(Trick::WrongColumns).await;
    let error = store.prepare(&cx, plan()).await.err().unwrap();
    assert_eq!(error.code(), "P802");
    assert!(error.message().contains("where"), "{error}");
    let (store, ..) = open(Trick::WrongRowCount).await;
    let reader = store.prepare(&cx, plan()).await.unwrap();
    assert!(reader.read(&cx, &keys(2)).await.is_ok());
    let error = reader.read(&cx, &keys(5)).await.unwrap_err();
    assert!(
        error.message().contains("2 online rows for 5 keys"),
        "{error}"
    );
}

#[tokio::test]
async fn completion_from_a_foreign_thread_is_as_good_as_any() {
    let (store, loaded, _) = open(Trick::FromAnotherThread).await;
    for _ in 0..200 {
        assert_eq!(store.check(&Context::new("p")).await.unwrap(), ["fine"]);
    }
    assert_eq!((loaded.n_misused(), loaded.n_open()), (0, 0));
}

#[test]
fn structure_without_functions_is_refused() {
    let manifest = Bytes::EMPTY;
    let plugin = Plugin {
        size: size_of::<Plugin>(),
        abi_version: ABI_VERSION,
        prompt: 0,
        state: std::ptr::null_mut(),
        manifest,
        call: None,
        cancel: None,
        close: None,
    };
    // SAFETY: nothing in the structure points anywhere.
    let error = unsafe { Loaded::new("nowhere".to_owned(), plugin) }.unwrap_err();
    assert_eq!(error.code(), "P802");
}
