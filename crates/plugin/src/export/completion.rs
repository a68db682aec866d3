//! Ends a call exactly once.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use provender_core::{Error, codes};

use super::answer_of;
use crate::abi::{Answer, Call, status};
use crate::control::error_to_json;

/// What a call answers.
#[derive(Default)]
pub(super) struct Reply {
    pub(super) control: Vec<u8>,
    pub(super) streams: Vec<FFI_ArrowArrayStream>,
    pub(super) array: Option<FFI_ArrowArray>,
    pub(super) schema: Option<FFI_ArrowSchema>,
}

/// The host's completion of one call. Clones share that it was used; if the last is dropped unused,
/// as when a runtime ends with the future in it, the call ends as cancelled.
#[derive(Clone)]
pub(super) struct Completion(Arc<Once>);

struct Once {
    used: AtomicBool,
    context: *mut c_void,
    call_id: u64,
    complete: unsafe extern "C" fn(*mut c_void, u64, *mut Answer),
}

// SAFETY: the ABI lets a call be completed from any thread; `context` is only handed back.
unsafe impl Send for Once {}
// SAFETY: as above; `used` decides which thread does.
unsafe impl Sync for Once {}

impl Completion {
    pub(super) fn of(call: &Call) -> Option<Self> {
        Some(Self(Arc::new(Once {
            used: AtomicBool::new(false),
            context: call.context,
            call_id: call.call_id,
            complete: call.complete?,
        })))
    }

    pub(super) fn reply(&self, reply: Reply) {
        self.0.end(status::OK, reply);
    }

    pub(super) fn error(&self, error: &Error) {
        self.0.end(status::ERROR, told(error));
    }

    pub(super) fn poisoned(&self, error: &Error) {
        self.0.end(status::POISONED, told(error));
    }
}

fn told(error: &Error) -> Reply {
    Reply {
        control: error_to_json(error),
        ..Reply::default()
    }
}

impl Once {
    fn end(&self, status: u32, mut reply: Reply) {
        if self.used.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut answer = answer_of(status, &mut reply);
        // SAFETY: the host gave function and context for this call, which is completed once; the
        // answer's parts live until the function returns.
        unsafe { (self.complete)(self.context, self.call_id, &raw mut answer) };
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        let error = Error::new(&codes::CANCELLED, "the plug-in ended before the call did");
        self.end(status::ERROR, told(&error));
    }
}
