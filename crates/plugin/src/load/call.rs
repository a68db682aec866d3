//! Calls to a library: begun once, completed at most once, waited for no longer than the caller's
//! deadline.
//!
//! A completion names its call by number. One for a call that is over, because it was completed
//! before or because nobody waits any more, finds nothing, is counted, and what it brought is
//! released. So a library can complete twice, late or never without harm to others. One that does not
//! return from its functions holds up threads of its own, and at most one that others could use: a
//! runtime that loads libraries has one thread more than it needs.

use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use futures::future::{BoxFuture, Either, select};
use provender_core::{Context, Error, Result, codes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::promptness::Promptness;
use super::threads::{Threads, busy};
use crate::abi::{Answer, Bytes, Call, Plugin, status};
use crate::columns::broken;
use crate::control::{Caller, Control, Manifest, error_from_json, parse, write};
use crate::streams::Spawn;

/// A library that was loaded.
pub struct Loaded {
    origin: String,
    manifest: Manifest,
    plugin: Plugin,
    next_call: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Slot>>>,
    poisoned: AtomicBool,
    misused: AtomicU64,
    promptness: Promptness,
    /// Streams of the library that are read.
    streams: AtomicUsize,
    threads: Threads,
}

/// Whether a call is inside of a library on one of the runtime's own threads. There is never more than
/// one, so that libraries which say that they return at once, and do not, take one thread from the
/// program in all; further calls are made on the library's own threads.
static INSIDE: AtomicBool = AtomicBool::new(false);
/// Streams of one library that may be read at once, each by a thread.
const MAX_STREAMS: usize = 256;
/// How long before its deadline a call is given up.
const EARLY: Duration = Duration::from_millis(5);

// SAFETY: the ABI makes a library's functions callable from any thread at once; what the structure
// points at does not change as long as the process lives.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("name", &self.manifest.name)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Where a call's end is put.
#[derive(Default)]
struct Slot(Mutex<Ending>);

#[derive(Default)]
enum Ending {
    #[default]
    Unheard,
    Awaited(Waker),
    Ended(Box<Ended>),
    Taken,
}

/// The end of a call, taken over from the library's structure.
pub(super) struct Ended {
    status: u32,
    pub(super) control: Vec<u8>,
    pub(super) streams: Vec<FFI_ArrowArrayStream>,
    pub(super) array: Option<FFI_ArrowArray>,
    pub(super) schema: Option<FFI_ArrowSchema>,
}

/// What a call brings along beside its control bytes.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) streams: Vec<FFI_ArrowArrayStream>,
    pub(super) array: Option<FFI_ArrowArray>,
}

/// The threads of the program's runtime, for streams that go out.
pub(super) struct HostThreads(pub(super) tokio::runtime::Handle);

impl Spawn for HostThreads {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        self.0.spawn(future);
    }
}

impl Loaded {
    /// Takes over what a library's `provender_plugin_init`, or
    /// [`export::plugin`](crate::export::plugin), filled in. Never freed.
    ///
    /// # Safety
    /// The structure must be as the ABI says, and what it points at valid as long as the process lives.
    ///
    /// # Errors
    /// `Internal` (`P802`) if functions are missing or the manifest cannot be read.
    pub unsafe fn new(origin: String, plugin: Plugin) -> Result<&'static Self> {
        if plugin.call.is_none() || plugin.cancel.is_none() || plugin.close.is_none() {
            return Err(broken("no function to call"));
        }
        // SAFETY: the caller vouches for the manifest's bytes.
        let manifest: Manifest = parse(unsafe { plugin.manifest.borrow() }, "a manifest")?;
        Ok(Box::leak(Box::new(Self {
            origin,
            manifest,
            plugin,
            next_call: AtomicU64::new(1),
            open: Mutex::default(),
            poisoned: AtomicBool::new(false),
            misused: AtomicU64::new(0),
            promptness: Promptness::new(),
            streams: AtomicUsize::new(0),
            threads: Threads::default(),
        })))
    }

    /// Who the library is and what it offers.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The file it was loaded from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether it panicked, and is not called any more.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// What calls answer after it panicked.
    pub fn poisoned_error(&self) -> Error {
        self.named(Error::new(
            &codes::PLUGIN_PANICKED,
            "the plug-in panicked before and is not called any more",
        ))
    }

    /// How many completions came for calls that were over.
    pub fn n_misused(&self) -> u64 {
        self.misused.load(Ordering::Relaxed)
    }

    /// How many calls are not completed yet.
    pub fn n_open(&self) -> usize {
        self.calls().len()
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, Arc<Slot>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an instance back, on a thread that may wait.
    pub(super) fn close(&'static self, instance: u64) {
        if let (false, Some(close)) = (self.is_poisoned(), self.plugin.close) {
            // One that is not given back for want of threads is the least of a library's worries.
            let _ = self.threads.run(move || {
                // SAFETY: the library's own state; no call of this instance is begun after this.
                unsafe { close(self.plugin.state, instance) };
            });
        }
    }

    /// Takes note of a stream that is read, until the answer is dropped.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P805`) if too many are.
    pub(super) fn reading(&'static self) -> Result<Reading> {
        let reading = Reading(self);
        match self.streams.fetch_add(1, Ordering::AcqRel) < MAX_STREAMS {
            true => Ok(reading),
            false => Err(self.named(busy(&format!("{MAX_STREAMS} of its streams are read")))),
        }
    }

    /// Calls a method and reads its answer.
    pub(super) async fn ask<A: Serialize, R: DeserializeOwned>(
        &'static self,
        cx: &Context,
        instance: u64,
        number: u32,
        arguments: A,
        rows: Rows,
    ) -> Result<R> {
        let ended = self.call(cx, instance, number, arguments, rows).await?;
        parse(&ended.control, "an answer").map_err(|error| self.named(error))
    }

    /// Calls a method.
    ///
    /// # Errors
    /// What the library says, with its name; `DeadlineExceeded` and `Cancelled` as the context has them;
    /// `Internal` (`P803`) if it panicked, now or before.
    pub(super) async fn call<A: Serialize>(
        &'static self,
        cx: &Context,
        instance: u64,
        number: u32,
        arguments: A,
        rows: Rows,
    ) -> Result<Ended> {
        cx.check()?;
        if self.is_poisoned() {
            return Err(self.poisoned_error());
        }
        let control = write(&Control {
            caller: Caller::of(cx),
            arguments,
        })?;
        let slot = Arc::new(Slot::default());
        let pending = Pending {
            loaded: self,
            id: self.next_call.fetch_add(1, Ordering::Relaxed),
            slot: slot.clone(),
        };
        self.calls().insert(pending.id, slot);
        let begun = Begun {
            id: pending.id,
            instance,
            number,
            timeout_us: cx.remaining().map_or(u64::MAX, |left| {
                u64::try_from(left.as_micros()).unwrap_or(u64::MAX)
            }),
            control,
            rows,
        };
        self.start(begun).map_err(|error| self.named(error))?;
        let ended = within(cx, pending.ended()).await;
        let ended = ended.map_err(|error| self.named(error))?;
        match ended.status {
            status::OK => Ok(ended),
            status::ERROR => Err(self.named(error_from_json(&ended.control))),
            _ => {
                self.poisoned.store(true, Ordering::Release);
                Err(self.named(error_from_json(&ended.control)))
            }
        }
    }

    /// Makes a call where it may wait. One that should return at once is made by a task that the
    /// runtime runs next, on this thread, so that it costs no change of threads. The caller is not
    /// inside of the library either way, so its deadline holds. Streams that go along are fed by tasks of
    /// the runtime, some of which only this thread could run next, so such a call never waits on it.
    fn start(&'static self, begun: Begun) -> Result<()> {
        use tokio::runtime::{Handle, RuntimeFlavor};

        let is_prompt = self.plugin.prompt != 0
            && begun.rows.streams.is_empty()
            && self.promptness.is_trusted();
        if let (true, Ok(runtime)) = (is_prompt, Handle::try_current())
            && runtime.runtime_flavor() == RuntimeFlavor::MultiThread
            && !INSIDE.swap(true, Ordering::AcqRel)
        {
            let inside = Inside;
            runtime.spawn(async move {
                let start = Instant::now();
                self.begin(begun);
                self.promptness.note(start.elapsed());
                drop(inside);
            });
            return Ok(());
        }
        self.threads.run(move || {
            // Nobody may wait for it any more.
            if self.calls().contains_key(&begun.id) {
                self.begin(begun);
            }
        })
    }

    fn begin(&'static self, mut begun: Begun) {
        let Some(function) = self.plugin.call else {
            return;
        };
        let mut call = Call {
            size: size_of::<Call>(),
            call_id: begun.id,
            instance: begun.instance,
            method: begun.number,
            reserved: 0,
            timeout_us: begun.timeout_us,
            control: Bytes::of(&begun.control),
            streams: begun.rows.streams.as_mut_ptr(),
            n_streams: begun.rows.streams.len(),
            array: begun
                .rows
                .array
                .as_mut()
                .map_or(std::ptr::null_mut(), std::ptr::from_mut),
            context: std::ptr::from_ref(self).cast_mut().cast::<c_void>(),
            complete: Some(complete),
        };
        // SAFETY: the structure and all it points at live until the function returns. What the
        // library does not move out is released by us afterwards.
        unsafe { function(self.plugin.state, &raw mut call) };
    }

    /// Puts the library's name to an error.
    pub(super) fn named(&self, error: Error) -> Error {
        if error.context_pairs().iter().any(|(key, _)| key == "plugin") {
            return error;
        }
        error
            .prefixed(format!("plug-in {}: ", self.manifest.name))
            .context("plugin", self.manifest.name.clone())
    }
}

/// Holds [`INSIDE`].
struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.store(false, Ordering::Release);
    }
}

/// A stream of a library that is read.
pub(super) struct Reading(&'static Loaded);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a library's function is given.
struct Begun {
    id: u64,
    instance: u64,
    number: u32,
    timeout_us: u64,
    control: Vec<u8>,
    rows: Rows,
}

/// A call that is waited for. Dropping it tells the library that nobody does any more.
struct Pending {
    loaded: &'static Loaded,
    id: u64,
    slot: Arc<Slot>,
}

impl Pending {
    async fn ended(&self) -> Ended {
        poll_fn(|polling| {
            let mut ending = self.slot.0.lock().unwrap_or_else(PoisonError::into_inner);
            match std::mem::replace(&mut *ending, Ending::Taken) {
                Ending::Ended(ended) => Poll::Ready(*ended),
                _ => {
                    *ending = Ending::Awaited(polling.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let unfinished = self.loaded.calls().remove(&self.id).is_some();
        if let (true, Some(cancel)) = (unfinished, self.loaded.plugin.cancel) {
            let (loaded, id) = (self.loaded, self.id);
            // A library that holds all its threads is past being told.
            let _ = loaded.threads.run(move || {
                // SAFETY: the library's own state; it may not know the number any more.
                unsafe { cancel(loaded.plugin.state, id) };
            });
        }
    }
}

/// Waits for work as long as the context allows.
pub(super) async fn within<T>(cx: &Context, work: impl Future<Output = T>) -> Result<T> {
    let work = pin!(work);
    let cancelled = pin!(cx.cancelled());
    let either = select(work, cancelled);
    let ended = match cx.remaining() {
        None => either.await,
        Some(left) => {
            // A little early, so that whoever waits for the same deadline hears whose fault it is.
            let early = (left / 20).min(EARLY);
            match tokio::time::timeout(left - early, either).await {
                Ok(ended) => ended,
                Err(_) => {
                    return Err(Error::new(
                        &codes::DEADLINE,
                        "no answer before the call's deadline",
                    ));
                }
            }
        }
    };
    match ended {
        Either::Left((value, _)) => Ok(value),
        Either::Right(_) => Err(Error::new(&codes::CANCELLED, "the call was cancelled")),
    }
}

unsafe extern "C" fn complete(context: *mut c_void, call_id: u64, answer: *mut Answer) {
    // Whatever is wrong here, unwinding into the library would be worse.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if context.is_null() || answer.is_null() {
            return;
        }
        // SAFETY: the context is the `Loaded` that made the call, which is never freed.
        let loaded: &'static Loaded = unsafe { &*context.cast_const().cast::<Loaded>() };
        // SAFETY: the answer is valid until this function returns.
        let ended = unsafe { take(&mut *answer) };
        let slot = loaded.calls().remove(&call_id);
        let Some(slot) = slot else {
            loaded.misused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let before = {
            let mut ending = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *ending, Ending::Ended(Box::new(ended)))
        };
        if let Ending::Awaited(waker) = before {
            waker.wake();
        }
    }));
}

/// # Safety
/// All pointers of the answer must be valid.
unsafe fn take(answer: &mut Answer) -> Ended {
    let mut streams = Vec::with_capacity(answer.n_streams);
    if !answer.streams.is_null() {
        for index in 0..answer.n_streams {
            // SAFETY: there are `n_streams` of them, and each is moved out once.
            streams.push(unsafe { FFI_ArrowArrayStream::from_raw(answer.streams.add(index)) });
        }
    }
    Ended {
        status: answer.status,
        // SAFETY: the bytes are borrowed until `complete` returns, and copied here.
        control: unsafe { answer.control.borrow() }.to_vec(),
        streams,
        array: (!answer.array.is_null())
            // SAFETY: the pointer is valid; an empty array stays behind.
            .then(|| unsafe { std::ptr::replace(answer.array, FFI_ArrowArray::empty()) })
            .filter(|array| array.release.is_some()),
        schema: (!answer.schema.is_null())
            // SAFETY: the pointer is valid; an empty schema stays behind.
            .then(|| unsafe { std::ptr::replace(answer.schema, FFI_ArrowSchema::empty()) })
            .filter(|schema| schema.release.is_some()),
    }
}
