//! How a server stops: first it takes no more, then it is over.
//!
//! Decides what open streams do meanwhile: calls at work go on, and a stream whose client sends nothing
//! for a moment ends, since it may stay idle for days.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use provender_core::{Error, codes};
use tokio::sync::watch;

/// How long a stopping server waits for the next message of a client.
pub(crate) const IDLE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Stopping,
    Over,
}

/// Whether the server serves, stops, or is done.
#[derive(Debug)]
pub(crate) struct Stop {
    phases: watch::Sender<Phase>,
    /// Whether the first phase is over, set before those who wait are woken: what is asked for each
    /// message.
    has_begun: AtomicBool,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            phases: watch::Sender::new(Phase::Serving),
            has_begun: AtomicBool::new(false),
        }
    }
}

impl Stop {
    /// Calls at work may end; no others are taken.
    pub(crate) fn begin(&self) {
        self.enter(Phase::Stopping);
    }

    /// Whatever is still at work ends now.
    pub(crate) fn end(&self) {
        self.enter(Phase::Over);
    }

    fn enter(&self, phase: Phase) {
        self.has_begun.store(true, Ordering::Release);
        self.phases.send_replace(phase);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    /// Resolves once the server stops.
    pub(crate) fn begun(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reached(Phase::Stopping)
    }

    /// Resolves once calls at work may go on no longer.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reached(Phase::Over)
    }

    fn reached(&self, phase: Phase) -> impl Future<Output = ()> + Send + 'static {
        let mut phases = self.phases.subscribe();
        async move {
            // A server that is gone is over.
            let _ = phases.wait_for(|now| *now >= phase).await;
        }
    }
}

/// Something that seldom happens, waited for beside something that happens for each message. Polled
/// once by the task that waits, it wakes the task by itself, and is not looked at again before its
/// caller knows that something has moved.
pub(crate) struct Aside<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    polled_by: Option<Waker>,
}

impl<T> Aside<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            future: Box::pin(future),
            polled_by: None,
        }
    }

    /// As a future is polled. `has_moved` must be true from the first moment at which the future
    /// would wake the task, resolved or not, since one that is not polled then wakes nobody again.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, has_moved: bool) -> Poll<T> {
        let polled_by = self.polled_by.as_ref();
        if !has_moved && polled_by.is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.polled_by = Some(cx.waker().clone());
        self.future.as_mut().poll(cx)
    }
}

/// The error of calls that a stopping server ends.
pub(crate) fn stopping() -> Error {
    Error::new(&codes::SERVER_STOPPING, "the server is stopping")
        .help("open the stream again, on another server if there is one")
}
