//! The layout of the plugin ABI, as `include/provender.h` declares it for C.
//!
//! It decides sizes, offsets, numbers and who owns what; it does not know what methods mean. A
//! structure begins with its size, so that later versions can append fields; a change that does not
//! append is a new [`ABI_VERSION`].

use std::ffi::c_void;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;

/// The version of this layout. A library of another version is refused.
pub const ABI_VERSION: u32 = 0;

/// The one symbol that a library exports, of the type [`Init`].
pub const INIT_SYMBOL: &str = "provender_plugin_init";

/// Fills `out`, whose `size` the host has set to what it allocated. Answers 0, or the ABI version that
/// the library wants instead plus one.
pub type Init = unsafe extern "C" fn(host_abi: u32, out: *mut Plugin) -> u32;

/// Bytes that belong to somebody else. `data` may be null if `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// The first byte.
    pub data: *const u8,
    /// How many.
    pub len: usize,
}

impl Bytes {
    /// No bytes.
    pub const EMPTY: Self = Self {
        data: std::ptr::null(),
        len: 0,
    };

    /// Lends a slice.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    /// The bytes, as long as whoever lent them keeps them.
    ///
    /// # Safety
    /// `data` must point at `len` readable bytes that live and do not change for `'a`, or `len` be 0.
    pub unsafe fn borrow<'a>(self) -> &'a [u8] {
        if self.len == 0 || self.data.is_null() {
            return &[];
        }
        // SAFETY: the caller vouches for pointer, length and lifetime.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// What a library gives when it is loaded. It must stay valid as long as the process lives, since a
/// library is never unloaded.
#[repr(C)]
#[derive(Debug)]
pub struct Plugin {
    /// Bytes of this structure: set by the host before, and by the library after.
    pub size: usize,
    /// The library's [`ABI_VERSION`].
    pub abi_version: u32,
    /// Not 0 if `call` returns at once whatever the method, and completes from a thread of the
    /// library's own. Otherwise the host makes calls from threads that may wait.
    pub prompt: u32,
    /// The library's own; given to each of its functions.
    pub state: *mut c_void,
    /// Who the library is and what it offers, as JSON.
    pub manifest: Bytes,
    /// Begins a call. Everything in `call` is borrowed until it returns, but for the streams and the
    /// array, which the library moves out.
    pub call: Option<unsafe extern "C" fn(state: *mut c_void, call: *mut Call)>,
    /// The host does not wait for a call any more. It may still be completed, once.
    pub cancel: Option<unsafe extern "C" fn(state: *mut c_void, call_id: u64)>,
    /// Gives an instance back; it gets no further calls.
    pub close: Option<unsafe extern "C" fn(state: *mut c_void, instance: u64)>,
}

/// One call of the host.
#[repr(C)]
#[derive(Debug)]
pub struct Call {
    /// Bytes of this structure.
    pub size: usize,
    /// Names the call in `cancel` and `complete`; never used twice.
    pub call_id: u64,
    /// What `open` or `prepare` answered; 0 for calls to the library itself.
    pub instance: u64,
    /// What to do; see [`method`].
    pub method: u32,
    /// Kept for later; 0.
    pub reserved: u32,
    /// Microseconds until the host stops waiting; `u64::MAX` is without a deadline.
    pub timeout_us: u64,
    /// The arguments, as JSON.
    pub control: Bytes,
    /// Streams of rows, to be moved out.
    pub streams: *mut FFI_ArrowArrayStream,
    /// How many.
    pub n_streams: usize,
    /// Rows that need no stream, as a struct array to be moved out, or null. Its schema was agreed
    /// before.
    pub array: *mut FFI_ArrowArray,
    /// The host's own; given to `complete`.
    pub context: *mut c_void,
    /// Ends the call, once, from any thread, inside of `call` or later.
    pub complete:
        Option<unsafe extern "C" fn(context: *mut c_void, call_id: u64, answer: *mut Answer)>,
}

/// The end of a call. Everything in it is borrowed until `complete` returns, but for the streams, the
/// array and the schema, which the host moves out.
#[repr(C)]
#[derive(Debug)]
pub struct Answer {
    /// Bytes of this structure.
    pub size: usize,
    /// See [`status`].
    pub status: u32,
    /// Kept for later; 0.
    pub reserved: u32,
    /// The answer or the error, as JSON.
    pub control: Bytes,
    /// Streams of rows.
    pub streams: *mut FFI_ArrowArrayStream,
    /// How many.
    pub n_streams: usize,
    /// A short answer's rows as a struct array, or null.
    pub array: *mut FFI_ArrowArray,
    /// A schema, where the method answers one, or null.
    pub schema: *mut FFI_ArrowSchema,
}

/// How a call ended.
pub mod status {
    /// The control bytes are the answer.
    pub const OK: u32 = 0;
    /// The control bytes are an error.
    pub const ERROR: u32 = 1;
    /// As [`ERROR`], and the library must not be called any more.
    pub const POISONED: u32 = 2;
}

/// Numbers of methods. A number, once released, keeps its meaning; an unknown one is answered with an
/// error of the kind `unsupported`.
#[allow(missing_docs)]
pub mod method {
    pub const OPEN: u32 = 1;
    pub const CHECK: u32 = 2;

    pub const OFFLINE_SCHEMA: u32 = 100;
    pub const OFFLINE_SCAN: u32 = 101;
    pub const OFFLINE_POINT_IN_TIME_JOIN: u32 = 102;
    pub const OFFLINE_LATEST: u32 = 103;
    pub const OFFLINE_WINDOWS: u32 = 104;
    pub const OFFLINE_WRITE: u32 = 105;
    pub const OFFLINE_DELETE: u32 = 106;
    pub const OFFLINE_EXPLAIN: u32 = 107;
    pub const OFFLINE_PIN: u32 = 108;
    pub const OFFLINE_MAINTAIN: u32 = 109;

    pub const ONLINE_PREPARE: u32 = 200;
    pub const ONLINE_READ: u32 = 201;
    pub const ONLINE_WRITE: u32 = 202;
    pub const ONLINE_DELETE: u32 = 203;
    pub const ONLINE_VIEWS: u32 = 204;
    pub const ONLINE_STATS: u32 = 205;
    pub const ONLINE_DROP_VIEW: u32 = 206;
    pub const ONLINE_CHECKPOINT: u32 = 207;
    pub const ONLINE_HOLDS: u32 = 208;

    pub const REGISTRY_REVISION: u32 = 300;
    pub const REGISTRY_SNAPSHOT: u32 = 301;
    pub const REGISTRY_COMMIT: u32 = 302;
    pub const REGISTRY_HISTORY: u32 = 303;
    pub const REGISTRY_RECORD_INTERVAL: u32 = 304;
    pub const REGISTRY_INTERVALS: u32 = 305;
    pub const REGISTRY_FORGET_INTERVALS: u32 = 306;
    pub const REGISTRY_ACQUIRE_LEASE: u32 = 307;
    pub const REGISTRY_RENEW_LEASE: u32 = 308;
    pub const REGISTRY_RELEASE_LEASE: u32 = 309;
}
