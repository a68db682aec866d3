//! A library made by hand, function by function, that breaks one promise at a time.

use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StructArray};
use provender_core::ValueType;
use provender_plugin::abi::{ABI_VERSION, Answer, Bytes, Call, Plugin, method, status};
use provender_plugin::load::Loaded;
use serde_json::json;

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
    pub cancelled: Mutex<Vec<u64>>,
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
