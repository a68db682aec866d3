//! Streams of batches over the C stream interface.
//!
//! Our streams are asynchronous, those of C block. Going out, a task of ours reads ahead by one batch
//! and the other side's thread waits for it; coming in, a thread of our own waits. So no thread of
//! an async runtime ever waits for the other side, and dropping either end ends the other.

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use futures::channel::{mpsc, oneshot};
use futures::future::{BoxFuture, Either, select};
use futures::{FutureExt, SinkExt, StreamExt};
use provender_core::{BatchStream, Error, Result, codes};

use crate::columns::{broken, import_batch, import_schema};
use crate::control::{error_from_text, error_to_text};
use crate::fence::{fenced, panicked, without_nul};

/// Runs futures of one side on that side's threads.
pub trait Spawn: Send + Sync + 'static {
    /// Runs a future to its end, on another thread.
    fn spawn(&self, future: BoxFuture<'static, ()>);

    /// Runs `work` on this thread, where futures may be polled as they are in [`Self::spawn`]. Async
    /// runtimes that want to be entered first do so here.
    fn enter(&self, work: &mut dyn FnMut()) {
        work();
    }
}

/// Hands a stream to the other side.
pub(crate) fn export_stream(spawn: &dyn Spawn, stream: BatchStream) -> FFI_ArrowArrayStream {
    let schema = stream.schema.clone();
    let (mut sender, batches) = mpsc::channel::<Piece>(0);
    let (open, mut closed) = oneshot::channel::<()>();
    spawn.spawn(Box::pin(async move {
        let mut rows = stream.batches;
        loop {
            let next = AssertUnwindSafe(rows.next()).catch_unwind();
            // The other side may let go of its end while nothing comes from ours.
            let next = match select(next, &mut closed).await {
                Either::Left((next, _)) => next,
                Either::Right(_) => return,
            };
            let piece = match next {
                Ok(Some(batch)) => Some(batch),
                Ok(None) => None,
                Err(panic) => Some(Err(panicked("a stream", &*panic))),
            };
            let last = !matches!(piece, Some(Ok(_)));
            if sender.send(piece).await.is_err() || last {
                return;
            }
        }
    }));
    FFI_ArrowArrayStream::new(Box::new(Outgoing {
        schema,
        batches,
        ended: false,
        _open: open,
    }))
}

/// A batch, an error, or the end. A channel that closes without an end was broken off.
type Piece = Option<Result<RecordBatch>>;

/// What the other side reads from; its calls are fenced, since a panic must not cross.
struct Outgoing {
    schema: SchemaRef,
    batches: mpsc::Receiver<Piece>,
    ended: bool,
    /// Dropped with the stream, which tells the task behind it.
    _open: oneshot::Sender<()>,
}

impl Iterator for Outgoing {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = fenced("a stream", || {
            Ok(futures::executor::block_on(self.batches.next()))
        });
        self.ended = !matches!(next, Ok(Some(Some(Ok(_)))));
        match next {
            Ok(Some(None)) => None,
            Ok(Some(Some(Ok(batch)))) => Some(Ok(batch)),
            Ok(Some(Some(Err(error)))) | Err(error) => Some(Err(told(&error))),
            Ok(None) => Some(Err(told(&Error::new(
                &codes::CANCELLED,
                "a stream was broken off before its end",
            )))),
        }
    }
}

impl RecordBatchReader for Outgoing {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// An error as the text of a stream's error, which the other side reads back.
fn told(error: &Error) -> ArrowError {
    ArrowError::ExternalError(Box::new(std::io::Error::other(without_nul(
        &error_to_text(error),
    ))))
}

/// Takes a stream from the other side.
///
/// # Errors
/// `Internal` (`P802`) if the stream is released already or lacks functions, and what its schema says.
pub(crate) fn import_stream(stream: FFI_ArrowArrayStream) -> Result<BatchStream> {
    let incoming = Incoming::new(stream)?;
    let schema = incoming.schema.clone();
    let (sender, batches) = mpsc::channel(0);
    on_a_thread(move || pump(incoming, sender))?;
    Ok(BatchStream::new(schema, batches))
}

/// As [`import_stream`], from a side that may be slow to say even the schema. `held` is dropped when
/// the stream is not read any more.
#[cfg(feature = "load")]
pub(crate) async fn import_waiting(
    stream: FFI_ArrowArrayStream,
    held: impl Send + 'static,
) -> Result<BatchStream> {
    let (opened, opening) = oneshot::channel::<Result<SchemaRef>>();
    let (sender, batches) = mpsc::channel(0);
    on_a_thread(move || {
        let _held = held;
        match fenced("a stream", || Incoming::new(stream)) {
            Ok(incoming) => {
                if opened.send(Ok(incoming.schema.clone())).is_ok() {
                    pump(incoming, sender);
                }
            }
            // Nobody may wait for it any more.
            Err(error) => drop(opened.send(Err(error))),
        }
    })?;
    let schema = opening
        .await
        .map_err(|_| broken("a stream that ended before it began"))??;
    Ok(BatchStream::new(schema, batches))
}

fn on_a_thread(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name("plugin-stream".to_owned());
    thread.spawn(work).map(drop).map_err(|error| {
        Error::new(&codes::INTERNAL, "no thread could be started for a stream").source(error)
    })
}

/// Reads a stream to its end, or until nobody wants more.
fn pump(mut incoming: Incoming, mut sender: mpsc::Sender<Result<RecordBatch>>) {
    loop {
        let next = fenced("a stream", || incoming.next());
        let (next, last) = match next {
            Ok(None) => return,
            Ok(Some(batch)) => (Ok(batch), false),
            Err(error) => (Err(error), true),
        };
        if futures::executor::block_on(sender.send(next)).is_err() || last {
            return;
        }
    }
}

/// A stream of the other side, read by one thread.
struct Incoming {
    stream: FFI_ArrowArrayStream,
    schema: SchemaRef,
}

impl Incoming {
    fn new(mut stream: FFI_ArrowArrayStream) -> Result<Self> {
        let (Some(get_schema), Some(_), Some(_)) =
            (stream.get_schema, stream.get_next, stream.release)
        else {
            return Err(broken("a stream that is released already"));
        };
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: the stream is not released, and both pointers are to live structures of ours.
        let code = unsafe { get_schema(&raw mut stream, &raw mut schema) };
        if code != 0 {
            return Err(last_error(&mut stream, code));
        }
        if schema.release.is_none() {
            return Err(broken("a stream without a schema"));
        }
        Ok(Self {
            schema: Arc::new(import_schema(&schema)?),
            stream,
        })
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(get_next) = self.stream.get_next else {
            return Err(broken("a stream that lost its functions"));
        };
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: the stream is not released, both pointers are to live structures of ours, and one
        // thread alone reads the stream.
        let code = unsafe { get_next(&raw mut self.stream, &raw mut array) };
        if code != 0 {
            return Err(last_error(&mut self.stream, code));
        }
        if array.release.is_none() {
            return Ok(None);
        }
        import_batch(array, &self.schema).map(Some)
    }
}

fn last_error(stream: &mut FFI_ArrowArrayStream, code: i32) -> Error {
    let text = stream.get_last_error.and_then(|get_last_error| {
        // SAFETY: the stream is not released; the text is read before it is called again.
        let text = unsafe { get_last_error(std::ptr::from_mut(stream)) };
        if text.is_null() {
            return None;
        }
        // SAFETY: the interface promises text that ends with NUL and lives until the next call.
        let text = unsafe { CStr::from_ptr(text) };
        Some(text.to_string_lossy().into_owned())
    });
    match text {
        Some(text) => error_from_text(&text),
        None => broken(format!("a stream error {code} without a text")),
    }
}
