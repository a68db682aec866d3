//! The answer of one call on its way out.
//!
//! Decides how each verb's answer ends: by its own end, by its error, by the client's deadline, by the
//! end of the server, by the client that goes away. Each failure is counted and logged once, here.
//! The answer's headers are sent before any work, so that clients that wait for them before they send
//! are not kept waiting.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use arrow_flight::{ActionType, FlightData, FlightInfo, PutResult};
use futures::{Stream, StreamExt, TryStreamExt};
use provender_core::{Error, ErrorKind, Result, codes};
use tonic::Status;

use crate::inflight::Held;
use crate::metrics::Operation;
use crate::state::{Call, State};
use crate::status::status;
use crate::stop::Aside;

/// What a verb makes.
pub(crate) type Answer<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// A message that is held until the transport asks for the next one.
pub(crate) trait Weigh {
    /// Its bytes.
    fn n_bytes(&self) -> usize;
}

impl Weigh for FlightData {
    fn n_bytes(&self) -> usize {
        self.data_header.len() + self.data_body.len() + self.app_metadata.len()
    }
}

impl Weigh for PutResult {
    fn n_bytes(&self) -> usize {
        self.app_metadata.len()
    }
}

impl Weigh for arrow_flight::Result {
    fn n_bytes(&self) -> usize {
        self.body.len()
    }
}

impl Weigh for FlightInfo {
    fn n_bytes(&self) -> usize {
        self.schema.len()
    }
}

impl Weigh for ActionType {
    fn n_bytes(&self) -> usize {
        self.description.len()
    }
}

/// The stream that the transport reads. The call is at work until it has ended or is dropped.
pub(crate) struct Answering<T> {
    /// Gone once the answer has ended, and with it whatever it held.
    answer: Option<Answer<T>>,
    ended: Aside<Error>,
    held: Held,
    call: Arc<Call>,
    state: Arc<State>,
}

impl<T: Weigh + Send + 'static> Answering<T> {
    /// The answer that `work` leads to.
    pub(crate) fn new(
        state: &Arc<State>,
        call: &Arc<Call>,
        work: impl Future<Output = Result<Answer<T>>> + Send + 'static,
    ) -> Self {
        Self {
            answer: Some(futures::stream::once(work).try_flatten().boxed()),
            ended: Aside::new(ended(state, call)),
            held: Held::none(&state.in_flight),
            call: call.clone(),
            state: state.clone(),
        }
    }

    fn fail(&mut self, error: &Error) -> Status {
        self.answer = None;
        failed(&self.state, &self.call, error)
    }
}

impl<T: Weigh + Send + 'static> Stream for Answering<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(None);
        };
        // A panic is a defect of ours, and ends this call alone.
        let polled = catch_unwind(AssertUnwindSafe(|| answer.poll_next_unpin(cx)));
        let polled = polled.unwrap_or_else(|_| {
            Poll::Ready(Some(Err(Error::new(
                &codes::INTERNAL,
                "the call broke off",
            ))))
        });
        Poll::Ready(match polled {
            Poll::Ready(Some(Ok(message))) => {
                // The message before it is with the transport now.
                match self.held.set(message.n_bytes()) {
                    Ok(()) => Some(Ok(message)),
                    Err(error) => Some(Err(self.fail(&error))),
                }
            }
            Poll::Ready(Some(Err(error))) => Some(Err(self.fail(&error))),
            Poll::Ready(None) => {
                self.answer = None;
                None
            }
            Poll::Pending => {
                let _ = self.held.set(0);
                let is_late = |deadline| Instant::now() >= deadline;
                let has_moved =
                    self.state.stop.has_begun() || self.call.cx.deadline().is_some_and(is_late);
                let error = std::task::ready!(self.ended.poll(cx, has_moved));
                Some(Err(self.fail(&error)))
            }
        })
    }
}

impl<T> Drop for Answering<T> {
    fn drop(&mut self) {
        if self.answer.take().is_some() {
            let error = Error::new(&codes::CANCELLED, "the client went away");
            failed(&self.state, &self.call, &error);
        }
    }
}

/// The one answer that `work` leads to, within the call's deadline.
///
/// # Errors
/// The work's, counted and logged.
pub(crate) async fn single<T>(
    state: &Arc<State>,
    call: &Arc<Call>,
    work: impl Future<Output = Result<T>>,
) -> Result<T, Status> {
    tokio::select! {
        biased;
        outcome = work => outcome,
        error = ended(state, call) => Err(error),
    }
    .map_err(|error| failed(state, call, &error))
}

/// Resolves when the call may go on no longer, with the reason.
fn ended(state: &State, call: &Call) -> impl Future<Output = Error> + Send + 'static {
    let deadline = call.cx.deadline();
    let over = state.stop.over();
    async move {
        let passed = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = passed => Error::new(&codes::DEADLINE, "the call's deadline passed"),
            () = over => crate::stop::stopping(),
        }
    }
}

/// Counts and logs a failure, and turns it into a status. The log has no message but of failures that
/// are not the client's, since messages may name values and keys.
pub(crate) fn failed(state: &State, call: &Call, error: &Error) -> Status {
    let operation = call.operation.get().copied().unwrap_or(Operation::other);
    state.metrics.failed(operation, error);
    let (code, trace_id) = (error.code(), call.cx.trace_id());
    let duration_ms = elapsed_ms(call.started);
    match error.kind() {
        ErrorKind::Internal => {
            let causes = causes(error);
            tracing::error!(?operation, code, trace_id, duration_ms, %error, causes, "a call failed inside");
        }
        ErrorKind::Unavailable => {
            let causes = causes(error);
            tracing::warn!(?operation, code, trace_id, duration_ms, %error, causes, "a call failed");
        }
        ErrorKind::DataLoss | ErrorKind::ResourceExhausted | ErrorKind::DeadlineExceeded => {
            tracing::info!(?operation, code, trace_id, duration_ms, "a call failed");
        }
        _ => tracing::debug!(?operation, code, trace_id, duration_ms, "a call failed"),
    }
    status(error)
}

fn elapsed_ms(since: Instant) -> f64 {
    since.elapsed().as_micros() as f64 / 1e3
}

/// What led to an error, outermost first.
fn causes(error: &Error) -> String {
    let mut texts = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        texts.push(found.to_string());
        cause = found.source();
    }
    texts.join(": ")
}
