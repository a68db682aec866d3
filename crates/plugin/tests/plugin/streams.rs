//! Streams of a library that break their promises.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Schema};
use futures::StreamExt;
use provender_core::provider::OfflineStore;
use provender_core::request::{Scan, SourceRef};
use provender_core::{BatchStream, Context, Error, ErrorKind, Result};
use serde_json::json;

use crate::doubles::config;
use crate::tricky::{StreamTrick, Trick, Tricky, tricky};

/// What is behind a stream's private data.
struct Behind {
    trick: StreamTrick,
    state: &'static Tricky,
}

pub fn tricky_stream(trick: StreamTrick, state: &'static Tricky) -> FFI_ArrowArrayStream {
    if trick == StreamTrick::Released {
        return FFI_ArrowArrayStream::empty();
    }
    FFI_ArrowArrayStream {
        get_schema: Some(get_schema),
        get_next: Some(get_next),
        get_last_error: Some(get_last_error),
        release: Some(release),
        private_data: Box::into_raw(Box::new(Behind { trick, state })).cast::<c_void>(),
    }
}

/// # Safety
/// The stream must be one of [`tricky_stream`] that is not released.
unsafe fn behind(stream: *mut FFI_ArrowArrayStream) -> &'static Behind {
    // SAFETY: as the caller vouches; tests use it before they release.
    unsafe { &*(*stream).private_data.cast_const().cast::<Behind>() }
}

unsafe extern "C" fn get_schema(
    stream: *mut FFI_ArrowArrayStream,
    out: *mut FFI_ArrowSchema,
) -> c_int {
    // SAFETY: the host calls before it releases.
    let behind = unsafe { behind(stream) };
    if behind.trick == StreamTrick::SchemaHangs {
        behind.state.hang();
    }
    let schema = Schema::new(vec![Field::new("f", DataType::Int64, true)]);
    // SAFETY: the host's structure may be written.
    unsafe { std::ptr::write(out, FFI_ArrowSchema::try_from(schema).unwrap()) };
    0
}

unsafe extern "C" fn get_next(
    stream: *mut FFI_ArrowArrayStream,
    out: *mut FFI_ArrowArray,
) -> c_int {
    // SAFETY: the host calls before it releases.
    let behind = unsafe { behind(stream) };
    match behind.trick {
        StreamTrick::ErrorText | StreamTrick::NoErrorText => return 5,
        StreamTrick::NextHangs => behind.state.hang(),
        _ => {}
    }
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let columns = [("f", column.clone(), true), ("g", column, true)];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let array = FFI_ArrowArray::new(&StructArray::from(batch).to_data());
    // SAFETY: the host's structure may be written.
    unsafe { std::ptr::write(out, array) };
    0
}

unsafe extern "C" fn get_last_error(stream: *mut FFI_ArrowArrayStream) -> *const c_char {
    // SAFETY: the host calls before it releases.
    match unsafe { behind(stream) }.trick {
        StreamTrick::NoErrorText => std::ptr::null(),
        _ => {
            const TEXT: &CStr = c"disk \xff full";
            TEXT.as_ptr()
        }
    }
}

unsafe extern "C" fn release(stream: *mut FFI_ArrowArrayStream) {
    // SAFETY: the host releases once, with its own copy of the structure.
    unsafe {
        drop(Box::from_raw((*stream).private_data.cast::<Behind>()));
        (*stream).release = None;
    }
}

async fn scanned(store: &dyn OfflineStore, cx: &Context) -> Result<Vec<BatchStream>> {
    let scan = Scan {
        source: SourceRef::table("t"),
        columns: None,
        ranges: Vec::new(),
    };
    store.scan(cx, scan).await
}

async fn opened(trick: StreamTrick) -> (Arc<dyn OfflineStore>, &'static Tricky) {
    let (loaded, state) = tricky(Trick::Stream(trick));
    let config = config("tricky", "offline_store", json!({}));
    let store = loaded.open_offline(&Context::new("p"), config).await;
    (store.unwrap(), state)
}

/// The error that reading what a scan answers ends in.
async fn failure(store: &dyn OfflineStore, cx: &Context) -> Error {
    match scanned(store, cx).await {
        Err(error) => error,
        Ok(mut streams) => {
            let next = streams[0].batches.next().await.unwrap();
            next.expect_err("the stream must fail")
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_streams_fail_their_reader_with_the_name_of_the_library() {
    let cases = [
        (
            StreamTrick::OtherColumns,
            "an array of 2 columns where 1 were promised",
        ),
        (
            StreamTrick::ErrorText,
            "a stream failed: disk \u{fffd} full",
        ),
        (StreamTrick::NoErrorText, "a stream error 5 without a text"),
        (StreamTrick::Released, "a stream that is released already"),
    ];
    for (trick, message) in cases {
        let (store, _) = opened(trick).await;
        let error = failure(&*store, &Context::new("p")).await;
        assert_eq!(error.code(), "P802", "{trick:?}: {error}");
        assert!(
            error.message().starts_with("plug-in tricky: "),
            "{trick:?}: {error}"
        );
        assert!(error.message().contains(message), "{trick:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_that_hangs_costs_its_reader_the_deadline_and_a_library_has_only_so_many() {
    for trick in [StreamTrick::SchemaHangs, StreamTrick::NextHangs] {
        let (store, state) = opened(trick).await;
        let soon = Context::new("p").with_timeout(Duration::from_millis(100));
        let error = failure(&*store, &soon).await;
        assert_eq!(
            error.kind(),
            ErrorKind::DeadlineExceeded,
            "{trick:?}: {error}"
        );
        assert!(
            error.message().starts_with("plug-in tricky: "),
            "{trick:?}: {error}"
        );
        // Readers that do not wait, until the library has no more threads to hang.
        let mut refused = None;
        for _ in 0..1_000 {
            let cx = Context::new("p").with_timeout(Duration::from_millis(2));
            match scanned(&*store, &cx).await {
                Err(error) if error.code() == "P805" => {
                    refused = Some(error);
                    break;
                }
                Ok(mut streams) => {
                    let next = streams[0].batches.next();
                    drop(tokio::time::timeout(Duration::from_millis(1), next).await);
                }
                Err(_) => {}
            }
        }
        assert!(refused.is_some(), "{trick:?}");
        state.release();
        let cx = Context::new("p");
        // What was held is given back once the library returns.
        let again = async {
            for _ in 0..1_000 {
                if scanned(&*store, &cx).await.is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{trick:?}: threads never came back");
        };
        again.await;
    }
}
