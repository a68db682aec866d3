//! The vendor's side: providers of this library behind the C ABI.
//!
//! A vendor implements the traits of `provender-core`, lists factories and names a [`Spawn`] for its
//! futures; [`export_plugin!`](crate::export_plugin) makes the library's one symbol of that. This
//! side decides how a call becomes a future and a future a completion: once, whatever happens to the
//! future. It knows no async runtime.

mod completion;
mod dispatch;
mod offline;
mod online;
mod registry;
mod spawn;

use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context as Polling, Poll, Waker};

use arrow_array::ffi::FFI_ArrowArray;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_schema::SchemaRef;
use futures::FutureExt;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use provender_core::provider::{Factory, OfflineStore, OnlineReader, OnlineStore, Registry};
use provender_core::{Context, Error, codes};

use self::completion::{Completion, Reply};
pub use self::spawn::ThreadPerCall;
use crate::abi::{self, Answer, Bytes, Call, Plugin};
use crate::control::{Manifest, ManifestProvider, Role};
use crate::fence::panicked;
use crate::streams::Spawn;

/// What a library exports.
pub struct Exports {
    /// The library's name, for messages and metrics.
    pub name: String,
    /// The library's version.
    pub version: String,
    /// Its providers.
    pub factories: Vec<Factory>,
    /// Where its futures run.
    pub spawn: Arc<dyn Spawn>,
}

/// An open store, or a prepared read.
#[derive(Clone)]
enum Instance {
    Offline(Arc<dyn OfflineStore>),
    Online(Arc<dyn OnlineStore>),
    Reader(Reader),
    Registry(Arc<dyn Registry>),
}

#[derive(Clone)]
struct Reader {
    reader: Arc<dyn OnlineReader>,
    keys: SchemaRef,
    rows: SchemaRef,
}

/// The state behind a [`Plugin`]; lives as long as the process.
struct Exported {
    manifest: Vec<u8>,
    factories: Vec<Factory>,
    spawn: Arc<dyn Spawn>,
    instances: RwLock<HashMap<u64, Instance>>,
    next_instance: AtomicU64,
    running: Mutex<HashMap<u64, (Context, AbortHandle)>>,
    poisoned: AtomicBool,
}

/// A call, taken over from the host's structure.
struct Taken {
    instance: u64,
    method: u32,
    timeout_us: u64,
    control: Vec<u8>,
    streams: Vec<FFI_ArrowArrayStream>,
    array: Option<FFI_ArrowArray>,
}

/// Makes the plugin's structure. What it points at is never freed, as the ABI asks.
pub fn plugin(exports: Exports) -> Plugin {
    let manifest = Manifest {
        name: exports.name,
        version: exports.version,
        providers: exports.factories.iter().map(declared).collect(),
    };
    let exported: &'static Exported = Box::leak(Box::new(Exported {
        manifest: serde_json::to_vec(&manifest).unwrap_or_default(),
        factories: exports.factories,
        spawn: exports.spawn,
        instances: RwLock::default(),
        next_instance: AtomicU64::new(1),
        running: Mutex::default(),
        poisoned: AtomicBool::new(false),
    }));
    Plugin {
        size: size_of::<Plugin>(),
        abi_version: abi::ABI_VERSION,
        prompt: 1,
        state: std::ptr::from_ref(exported).cast_mut().cast::<c_void>(),
        manifest: Bytes::of(&exported.manifest),
        call: Some(call),
        cancel: Some(cancel),
        close: Some(close),
    }
}

fn declared(factory: &Factory) -> ManifestProvider {
    let roles = [
        factory.is_offline().then_some(Role::OfflineStore),
        factory.is_online().then_some(Role::OnlineStore),
        factory.is_registry().then_some(Role::Registry),
    ];
    ManifestProvider {
        scheme: factory.scheme().to_owned(),
        description: factory.description().to_owned(),
        roles: roles.into_iter().flatten().collect(),
        options_schema: factory.options_schema(),
    }
}

/// What [`export_plugin!`](crate::export_plugin) puts behind the library's symbol.
///
/// # Safety
/// `out` must point at a [`Plugin`] that may be written, whose `size` says how much of it is there.
pub unsafe fn init(host_abi: u32, out: *mut Plugin, exports: impl FnOnce() -> Exports) -> u32 {
    if host_abi != abi::ABI_VERSION || out.is_null() {
        return abi::ABI_VERSION + 1;
    }
    // SAFETY: the caller vouches for the pointer.
    let room = unsafe { (*out).size };
    if room < size_of::<Plugin>() {
        return abi::ABI_VERSION + 1;
    }
    match catch_unwind(AssertUnwindSafe(|| plugin(exports()))) {
        Ok(plugin) => {
            // SAFETY: there is room for the whole structure; what was there owns nothing.
            unsafe { std::ptr::write(out, plugin) };
            0
        }
        Err(_) => u32::MAX,
    }
}

/// Exports a library's providers: the expression answers [`Exports`](crate::export::Exports).
///
/// ```text
/// provender_plugin::export_plugin!(my_exports());
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($exports:expr) => {
        /// The library's one symbol.
        ///
        /// # Safety
        /// As the plugin ABI says: `out` points at a structure whose first field is its size.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn provender_plugin_init(
            host_abi: u32,
            out: *mut $crate::abi::Plugin,
        ) -> u32 {
            // SAFETY: the host vouches for `out`.
            unsafe { $crate::export::init(host_abi, out, || $exports) }
        }
    };
}

unsafe extern "C" fn call(state: *mut c_void, call: *mut Call) {
    // SAFETY: the host gives back the state that `plugin` made, which is never freed.
    let exported: &'static Exported = unsafe { &*state.cast_const().cast::<Exported>() };
    // SAFETY: the host's structure is valid until this function returns.
    let call = unsafe { &mut *call };
    let Some(completion) = Completion::of(call) else {
        return;
    };
    let call_id = call.call_id;
    // SAFETY: as above; the streams and the array are the library's to move out.
    let taken = unsafe { take(call) };
    let begun = catch_unwind(AssertUnwindSafe(|| {
        begin(exported, call_id, taken, completion.clone())
    }));
    if let Err(panic) = begun {
        exported.poisoned.store(true, Ordering::Release);
        completion.poisoned(&panicked("the plug-in", &*panic));
    }
}

/// # Safety
/// All pointers of the call must be valid.
unsafe fn take(call: &mut Call) -> Taken {
    let mut streams = Vec::with_capacity(call.n_streams);
    for index in 0..call.n_streams {
        // SAFETY: there are `n_streams` of them, and each is moved out once.
        streams.push(unsafe { FFI_ArrowArrayStream::from_raw(call.streams.add(index)) });
    }
    let array = (!call.array.is_null())
        // SAFETY: the pointer is valid; an empty array stays behind.
        .then(|| unsafe { std::ptr::replace(call.array, FFI_ArrowArray::empty()) });
    Taken {
        instance: call.instance,
        method: call.method,
        timeout_us: call.timeout_us,
        // SAFETY: the bytes are borrowed until the call returns, and copied here.
        control: unsafe { call.control.borrow() }.to_vec(),
        streams,
        array,
    }
}

/// Polls a call's future once on the spot, and lets the rest run on the library's threads.
fn begin(exported: &'static Exported, call_id: u64, taken: Taken, completion: Completion) {
    if exported.poisoned.load(Ordering::Acquire) {
        let error = Error::new(&codes::PLUGIN_PANICKED, "the plug-in panicked before");
        return completion.poisoned(&error);
    }
    let (abort, registration) = AbortHandle::new_pair();
    let (cx, work) = match dispatch::begin(exported, taken) {
        Ok(begun) => begun,
        Err(error) => return completion.error(&error),
    };
    exported.running().insert(call_id, (cx, abort));
    let fenced = AssertUnwindSafe(work).catch_unwind();
    let mut future: BoxFuture<'static, ()> = Abortable::new(fenced, registration)
        .map(move |ended| {
            exported.running().remove(&call_id);
            match ended {
                Ok(Ok(Ok(reply))) => completion.reply(reply),
                Ok(Ok(Err(error))) => completion.error(&error),
                Ok(Err(panic)) => {
                    exported.poisoned.store(true, Ordering::Release);
                    completion.poisoned(&panicked("the plug-in", &*panic));
                }
                Err(_) => {
                    completion.error(&Error::new(&codes::CANCELLED, "the call was cancelled"))
                }
            }
        })
        .boxed();
    let mut first = Poll::Pending;
    exported.spawn.enter(&mut || {
        first = future.poll_unpin(&mut Polling::from_waker(Waker::noop()));
    });
    if first.is_pending() {
        exported.spawn.spawn(future);
    }
}

unsafe extern "C" fn cancel(state: *mut c_void, call_id: u64) {
    // SAFETY: as in `call`.
    let exported: &'static Exported = unsafe { &*state.cast_const().cast::<Exported>() };
    let found = exported.running().remove(&call_id);
    if let Some((cx, abort)) = found {
        // Dropping what waits for the context may run a provider's code.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            cx.cancel();
            abort.abort();
        }));
    }
}

unsafe extern "C" fn close(state: *mut c_void, instance: u64) {
    // SAFETY: as in `call`.
    let exported: &'static Exported = unsafe { &*state.cast_const().cast::<Exported>() };
    let closed = match exported.instances.write() {
        Ok(mut instances) => instances.remove(&instance),
        Err(poisoned) => poisoned.into_inner().remove(&instance),
    };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(closed)));
}

impl Exported {
    fn running(&self) -> MutexGuard<'_, HashMap<u64, (Context, AbortHandle)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, instance: Instance) -> u64 {
        let id = self.next_instance.fetch_add(1, Ordering::Relaxed);
        let mut instances = self
            .instances
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        instances.insert(id, instance);
        id
    }

    fn find(&self, id: u64) -> Option<Instance> {
        let instances = self
            .instances
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        instances.get(&id).cloned()
    }
}

/// An answer without rows.
fn answer<T: serde::Serialize>(value: &T) -> provender_core::Result<Reply> {
    Ok(Reply {
        control: crate::control::write(value)?,
        ..Reply::default()
    })
}

/// The structure of an answer over a reply's parts, which must outlive it.
fn answer_of(status: u32, reply: &mut Reply) -> Answer {
    Answer {
        size: size_of::<Answer>(),
        status,
        reserved: 0,
        control: Bytes::of(&reply.control),
        streams: reply.streams.as_mut_ptr(),
        n_streams: reply.streams.len(),
        array: reply
            .array
            .as_mut()
            .map_or(std::ptr::null_mut(), std::ptr::from_mut),
        schema: reply
            .schema
            .as_mut()
            .map_or(std::ptr::null_mut(), std::ptr::from_mut),
    }
}
