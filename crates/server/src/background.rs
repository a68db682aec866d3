//! Where historical work and materialisation run: threads of their own, so that online reads never
//! wait for them.
//!
//! Decides how an answer crosses over: batch by batch through a short channel, so that a slow client
//! slows its own query only, and a client that goes away cancels the work behind it.

use std::future::Future;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_stream::stream;
use futures::StreamExt;
use provender_core::{BatchStream, Context, Error, Result, codes};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Batches that are ready before the client takes them.
const READY_BATCHES: usize = 2;

/// The threads of historical work.
#[derive(Debug)]
pub(crate) struct Background {
    /// Taken when the server ends; dropping a runtime inside another would block.
    runtime: Option<Runtime>,
    calls: Arc<Semaphore>,
    max_calls: usize,
}

/// Cancels the call's work when the client's side is dropped before the work is done.
#[derive(Debug)]
struct CancelOnDrop(Option<Context>);

impl CancelOnDrop {
    fn new(cx: &Context) -> Self {
        Self(Some(cx.clone()))
    }

    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cx) = &self.0 {
            cx.cancel();
        }
    }
}

impl Background {
    /// Starts the threads.
    ///
    /// # Errors
    /// `Unavailable` (`P903`) if the system gives no threads.
    pub(crate) fn start(n_threads: usize, max_calls: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(n_threads.max(1))
            .thread_name("provender-background")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(
                    &codes::IO,
                    "the threads of historical work cannot be started",
                )
                .source(error)
            })?;
        Ok(Self {
            runtime: Some(runtime),
            calls: Arc::new(Semaphore::new(max_calls)),
            max_calls,
        })
    }

    /// A place among the calls at work.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P701`) at once if there is none.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit> {
        self.calls.clone().try_acquire_owned().map_err(|_| {
            Error::new(
                &codes::CALL_LIMIT,
                format!(
                    "the server works on {} historical calls, its limit (server.max_background_calls)",
                    self.max_calls
                ),
            )
            .help("try again a little later")
        })
    }

    /// A place among the calls at work, waited for: for a call that was let in, and that is not to
    /// break off halfway because others work meanwhile.
    ///
    /// # Errors
    /// `Cancelled` if the server is gone.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = self.calls.clone().acquire_owned().await;
        place.map_err(|_| Error::new(&codes::CANCELLED, "the server is stopping"))
    }

    /// Runs `work` there, holding `place`, and answers what it makes. Dropping the future cancels `cx`;
    /// the work ends when it notices, so that it can put right what it has begun.
    ///
    /// # Errors
    /// What `work` says; `Internal` if it panicked.
    pub(crate) async fn run<T, F>(
        &self,
        cx: &Context,
        place: Option<OwnedSemaphorePermit>,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let cancel = CancelOnDrop::new(cx);
        let task = self.spawn(async move {
            let _place = place;
            work.await
        })?;
        let outcome = task.await.map_err(|error| broken(&error))?;
        cancel.done();
        outcome
    }

    /// Runs the stream that `work` makes there, and answers its batches here. Dropping the answer
    /// cancels `cx`, which is the call's own, and drops the stream wherever it waits.
    ///
    /// # Errors
    /// As [`Self::run`], and `P701` without a place; errors of the stream are the answer's.
    pub(crate) async fn stream<F>(&self, cx: &Context, work: F) -> Result<BatchStream>
    where
        F: Future<Output = Result<BatchStream>> + Send + 'static,
    {
        let place = self.admit()?;
        let cancel = CancelOnDrop::new(cx);
        let (batches, mut ready) = mpsc::channel(READY_BATCHES);
        let (schema, made) = tokio::sync::oneshot::channel();
        let cancelled = cx.cancelled();
        let task = self.spawn(async move {
            let _place = place;
            tokio::select! {
                () = passed_on(work, schema, batches) => {}
                () = cancelled => {}
            }
        })?;
        let schema = match made.await {
            Ok(schema) => schema?,
            Err(_) => {
                cx.check()?;
                return Err(defect());
            }
        };
        let batches = stream! {
            let _cancel = cancel;
            while let Some(batch) = ready.recv().await {
                yield batch;
            }
            // A task that panicked closes its channel as one that is done does.
            if let Err(error) = task.await {
                yield Err(broken(&error));
            }
        };
        Ok(BatchStream::new(schema, batches))
    }

    fn spawn<T, F>(&self, work: F) -> Result<tokio::task::JoinHandle<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.runtime
            .as_ref()
            .map(|runtime| runtime.spawn(work))
            .ok_or_else(defect)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Sends the schema of the stream that `work` makes, then its batches, until nobody takes them.
async fn passed_on(
    work: impl Future<Output = Result<BatchStream>>,
    schema: tokio::sync::oneshot::Sender<Result<SchemaRef>>,
    batches: mpsc::Sender<Result<RecordBatch>>,
) {
    let mut answer = match work.await {
        Ok(answer) => answer,
        Err(error) => {
            let _ = schema.send(Err(error));
            return;
        }
    };
    if schema.send(Ok(answer.schema.clone())).is_err() {
        return;
    }
    while let Some(batch) = answer.batches.next().await {
        if batches.send(batch).await.is_err() {
            return;
        }
    }
}

fn broken(error: &tokio::task::JoinError) -> Error {
    if error.is_cancelled() {
        return Error::new(&codes::CANCELLED, "the server is stopping");
    }
    defect()
}

fn defect() -> Error {
    Error::new(&codes::INTERNAL, "historical work ended without an answer")
}
