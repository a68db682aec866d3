//! Where historical work and materialisation run: threads of their own, so that online reads never
//! wait for them, and with one limit of memory for all.
//!
//! Decides how an answer crosses over: in small parts through a short channel, so that a slow client
//! slows its own query only, and a client that goes away cancels the work behind it. Decides also how
//! calls share the memory: see [`Memory`].

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_stream::stream;
use futures::StreamExt;
use provender_core::{BatchStream, Context, Error, Result, codes};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::incoming::parts;
use crate::wire::row_bytes;

/// Parts of batches that are ready before the client takes them.
const READY_PARTS: usize = 1;
/// What a part aims at. A slow client holds the batch that its parts are of, and at the end of one the
/// next, so that parts are small and batches that wait are few.
const PART_BYTES: usize = 256 << 10;

/// The threads of historical work.
#[derive(Debug)]
pub(crate) struct Background {
    /// Taken when the server ends; dropping a runtime inside another would block.
    runtime: Option<Runtime>,
    calls: Arc<Semaphore>,
    max_calls: usize,
    memory: Arc<Memory>,
}

/// The memory that all calls share. A call is given its share when it begins, and keeps it: two thirds
/// of what is free, but that every call which may still come is left half of an even share. So one call
/// alone has much, many have little each, and none waits for another's.
#[derive(Debug)]
struct Memory {
    limit_bytes: u64,
    max_calls: u64,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    n_bytes: u64,
    n_calls: u64,
}

impl Memory {
    fn new(limit_bytes: u64, max_calls: usize) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            max_calls: (max_calls as u64).max(1),
            given: Mutex::default(),
        })
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share(self: &Arc<Self>) -> Share {
        let mut given = self.given();
        let least = self.limit_bytes / (2 * self.max_calls);
        let n_others = self.max_calls.saturating_sub(given.n_calls + 1);
        let free = self.limit_bytes.saturating_sub(given.n_bytes);
        let to_share = free.saturating_sub(n_others * least);
        let n_bytes = match n_others {
            0 => to_share,
            _ => (to_share / 3 * 2).max(least),
        };
        given.n_calls += 1;
        given.n_bytes += n_bytes;
        Share {
            of: self.clone(),
            n_bytes,
        }
    }
}

/// One call's part of the memory, given back when it is dropped.
#[derive(Debug)]
struct Share {
    of: Arc<Memory>,
    n_bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut given = self.of.given();
        given.n_calls = given.n_calls.saturating_sub(1);
        given.n_bytes = given.n_bytes.saturating_sub(self.n_bytes);
    }
}

/// A place among the calls at work, with its memory. Held until the work has ended.
#[derive(Debug)]
pub(crate) struct Place {
    share: Share,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// The call's context, whose work keeps to this place's memory, in stores as well.
    pub(crate) fn context(&self, cx: &Context) -> Context {
        cx.clone().with_memory_limit(self.share.n_bytes)
    }
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
    pub(crate) fn start(n_threads: usize, max_calls: usize, memory_bytes: u64) -> Result<Self> {
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
            memory: Memory::new(memory_bytes, max_calls),
        })
    }

    fn placed(&self, permit: OwnedSemaphorePermit) -> Place {
        Place {
            share: self.memory.share(),
            _permit: permit,
        }
    }

    /// A place among the calls at work.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P701`) at once if there is none.
    pub(crate) fn admit(&self) -> Result<Place> {
        let permit = self.calls.clone().try_acquire_owned().map_err(|_| {
            Error::new(
                &codes::CALL_LIMIT,
                format!(
                    "the server works on {} historical calls, its limit (server.max_background_calls)",
                    self.max_calls
                ),
            )
            .help("try again a little later")
        })?;
        Ok(self.placed(permit))
    }

    /// A place among the calls at work, waited for: for a call that was let in, and that is not to
    /// break off halfway because others work meanwhile.
    ///
    /// # Errors
    /// `Cancelled` if the server is gone.
    pub(crate) async fn place(&self) -> Result<Place> {
        let permit = self.calls.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::new(&codes::CANCELLED, "the server is stopping"))?;
        Ok(self.placed(permit))
    }

    /// Runs `work` there, holding `place`, and answers what it makes. Dropping the future cancels `cx`;
    /// the work ends when it notices, so that it can put right what it has begun.
    ///
    /// # Errors
    /// What `work` says; `Internal` if it panicked.
    pub(crate) async fn run<T, F>(&self, cx: &Context, place: Option<Place>, work: F) -> Result<T>
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

    /// Runs the stream that `work` makes there, holding `place`, and answers its batches here. Dropping the answer
    /// cancels `cx`, which is the call's own, and drops the stream wherever it waits.
    ///
    /// # Errors
    /// As [`Self::run`]; errors of the stream are the answer's.
    pub(crate) async fn stream<F>(&self, cx: &Context, place: Place, work: F) -> Result<BatchStream>
    where
        F: Future<Output = Result<BatchStream>> + Send + 'static,
    {
        let cancel = CancelOnDrop::new(cx);
        let (batches, mut ready) = mpsc::channel(READY_PARTS);
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
        let (batch, rows_per_part) = match batch {
            Ok(batch) => {
                let n_parts = row_bytes(&batch).div_ceil(PART_BYTES).max(1);
                let rows = batch.num_rows().div_ceil(n_parts).max(1);
                (batch, rows)
            }
            Err(error) => {
                let _ = batches.send(Err(error)).await;
                return;
            }
        };
        for part in parts(&batch, rows_per_part) {
            if batches.send(Ok(part)).await.is_err() {
                return;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_calls_stay_within_the_limit_and_none_is_left_without() {
        for (limit, max_calls) in [(1 << 30, 8), (64 << 20, 3), (1_000, 1), (7, 8)] {
            let memory = Memory::new(limit, max_calls);
            let least = limit / (2 * max_calls as u64);
            for _ in 0..3 {
                let shares: Vec<Share> = (0..max_calls).map(|_| memory.share()).collect();
                let sum: u64 = shares.iter().map(|share| share.n_bytes).sum();
                assert!(sum <= limit, "{shares:?}");
                assert!(shares.iter().all(|share| share.n_bytes >= least));
                assert!(shares[0].n_bytes >= limit / 3, "{shares:?}");
                drop(shares);
                assert_eq!(memory.given().n_bytes, 0);
            }
        }
    }

    #[test]
    fn memory_that_a_call_gave_back_is_shared_again() {
        let memory = Memory::new(1 << 30, 4);
        let first = memory.share();
        let second = memory.share();
        assert!(second.n_bytes < first.n_bytes);
        let n_bytes = first.n_bytes;
        drop(first);
        let third = memory.share();
        assert!(third.n_bytes > second.n_bytes && third.n_bytes <= n_bytes);
    }
}
