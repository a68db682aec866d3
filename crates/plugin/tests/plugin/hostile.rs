//! Libraries that break their promises. Each costs its own callers an error, and nobody else.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StructArray};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use provender_core::model::JoinKey;
use provender_core::provider::{
    Factory, OnlineCapabilities, OnlineReader, OnlineStore, Provider, ProviderInfo, ViewVersion,
};
use provender_core::request::{
    OnlineRows, OnlineStats, ReadPlan, ViewLayout, ViewRead, WriteSummary,
};
use provender_core::{BatchStream, Context, Error, ErrorKind, Result, ValueType};
use provender_plugin::abi::{ABI_VERSION, Answer, Bytes, Call, Plugin, method, status};
use provender_plugin::load::Loaded;
use serde_json::json;

use crate::doubles::{config, library};
use crate::streams::tricky_stream;

/// What a hand-made library does with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trick {
    Twice,
    Late,
    Never,
    InvalidText,
    NoText,
    WrongRowCount,
    WrongColumns,
    FromAnotherThread,
    /// A scan answers a stream that does this.
    Stream(StreamTrick),
    /// Neither `call` nor `cancel` nor `close` returns before it is released.
    Hang,
}

/// What a hand-made stream does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StreamTrick {
    SchemaHangs,
    NextHangs,
    OtherColumns,
    ErrorText,
    NoErrorText,
    Released,
}

/// What is behind the state pointer of a hand-made library.
pub struct Tricky {
    trick: Trick,
    cancelled: Mutex<Vec<u64>>,
    released: (Mutex<bool>, Condvar),
}

impl Tricky {
    pub fn hang(&self) {
        let (released, woken) = &self.released;
        let guard = released.lock().unwrap();
        drop(woken.wait_while(guard, |released| !*released).unwrap());
    }

    pub fn release(&self) {
        *self.released.0.lock().unwrap() = true;
        self.released.1.notify_all();
    }
}

pub fn tricky(trick: Trick) -> (&'static Loaded, &'static Tricky) {
    let state: &'static Tricky = Box::leak(Box::new(Tricky {
        trick,
        cancelled: Mutex::default(),
        released: Default::default(),
    }));
    let manifest = json!({"name": "tricky", "version": "0", "providers": []}).to_string();
    let plugin = Plugin {
        size: size_of::<Plugin>(),
        abi_version: ABI_VERSION,
        prompt: 1,
        state: std::ptr::from_ref(state).cast_mut().cast(),
        manifest: Bytes::of(Box::leak(manifest.into_bytes().into_boxed_slice())),
        call: Some(answer_with_a_trick),
        cancel: Some(note_cancel),
        close: Some(close_or_hang),
    };
    // SAFETY: all parts are leaked.
    let loaded = unsafe { Loaded::new("this process".to_owned(), plugin) };
    (loaded.unwrap(), state)
}

/// A completion that may go to another thread.
#[derive(Clone, Copy)]
struct Ending {
    complete: unsafe extern "C" fn(*mut c_void, u64, *mut Answer),
    context: *mut c_void,
    call_id: u64,
}

// SAFETY: the ABI allows completions from any thread.
unsafe impl Send for Ending {}

impl Ending {
    fn end(
        self,
        status: u32,
        control: &[u8],
        array: Option<StructArray>,
        schema: Option<FFI_ArrowSchema>,
    ) {
        let mut array = array.map(|array| FFI_ArrowArray::new(&array.to_data()));
        let mut schema = schema;
        let mut answer = Answer {
            size: size_of::<Answer>(),
            status,
            reserved: 0,
            control: Bytes::of(control),
            streams: std::ptr::null_mut(),
            n_streams: 0,
            array: array
                .as_mut()
                .map_or(std::ptr::null_mut(), std::ptr::from_mut),
            schema: schema
                .as_mut()
                .map_or(std::ptr::null_mut(), std::ptr::from_mut),
        };
        // SAFETY: all parts live until the function returns.
        unsafe { (self.complete)(self.context, self.call_id, &raw mut answer) };
    }
}

unsafe extern "C" fn answer_with_a_trick(state: *mut c_void, call: *mut Call) {
    // SAFETY: the state is the leaked `Tricky`, and the call is valid until we return.
    let (state, call) = unsafe { (&*state.cast_const().cast::<Tricky>(), &*call) };
    let ending = Ending {
        complete: call.complete.unwrap(),
        context: call.context,
        call_id: call.call_id,
    };
    let opened = json!({
        "instance": 1,
        "info": {"scheme": "tricky", "version": "0", "display_name": "a tricky store"},
        "online": {"expiry": false, "shared": false},
    });
    match (call.method, state.trick) {
        (method::OPEN, _) => ending.end(status::OK, opened.to_string().as_bytes(), None, None),
        (method::ONLINE_PREPARE, trick) => {
            let mut fields = vec![arrow_schema::Field::new(
                "0:event",
                provender_core::time::instant_type(),
                true,
            )];
            if trick != Trick::WrongColumns {
                fields.push(ValueType::Int64.to_field("0:f"));
            }
            let schema = FFI_ArrowSchema::try_from(arrow_schema::Schema::new(fields)).unwrap();
            ending.end(status::OK, br#"{"instance": 2}"#, None, Some(schema));
        }
        (method::ONLINE_READ, Trick::WrongRowCount) => {
            ending.end(status::OK, b"", Some(rows(2)), None);
        }
        (_, Trick::Twice) => {
            ending.end(status::OK, b"[]", None, None);
            ending.end(status::OK, b"[]", Some(rows(3)), None);
        }
        (_, Trick::Late) => {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                ending.end(status::OK, b"[]", Some(rows(3)), None);
            });
        }
        (_, Trick::Never | Trick::WrongColumns | Trick::WrongRowCount) => {}
        (_, Trick::InvalidText) => ending.end(status::ERROR, b"no\0 good \xff\xfe", None, None),
        (_, Trick::NoText) => ending.end(status::ERROR, b"", None, None),
        (method::OFFLINE_SCAN, Trick::Stream(trick)) => {
            let mut stream = tricky_stream(trick, state);
            let mut answer = Answer {
                size: size_of::<Answer>(),
                status: status::OK,
                reserved: 0,
                control: Bytes::of(b"{}"),
                streams: &raw mut stream,
                n_streams: 1,
                array: std::ptr::null_mut(),
                schema: std::ptr::null_mut(),
            };
            // SAFETY: all parts live until the function returns.
            unsafe { (ending.complete)(ending.context, ending.call_id, &raw mut answer) };
        }
        (_, Trick::Stream(_)) => ending.end(status::OK, b"[]", None, None),
        (_, Trick::Hang) => state.hang(),
        (_, Trick::FromAnotherThread) => {
            std::thread::spawn(move || ending.end(status::OK, b"[\"fine\"]", None, None));
        }
    }
}

unsafe extern "C" fn note_cancel(state: *mut c_void, call_id: u64) {
    // SAFETY: the state is the leaked `Tricky`.
    let state = unsafe { &*state.cast_const().cast::<Tricky>() };
    state.cancelled.lock().unwrap().push(call_id);
    if state.trick == Trick::Hang {
        state.hang();
    }
}

unsafe extern "C" fn close_or_hang(state: *mut c_void, _: u64) {
    // SAFETY: the state is the leaked `Tricky`.
    let state = unsafe { &*state.cast_const().cast::<Tricky>() };
    if state.trick == Trick::Hang {
        state.hang();
    }
}

/// Waits for what another thread is about to do.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} never came");
}

fn rows(n: usize) -> StructArray {
    let event = arrow_array::new_null_array(&provender_core::time::instant_type(), n);
    let feature: ArrayRef = Arc::new(Int64Array::from(vec![Some(1); n]));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("e", event, true), ("f", feature, true)]);
    StructArray::from(batch.unwrap())
}

fn plan() -> Arc<ReadPlan> {
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

fn keys(n: i64) -> RecordBatch {
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
