//! How a server stops: first it takes no more, then it is over.
//!
//! Decides what open streams do meanwhile: calls at work go on, and a stream whose client sends nothing
//! for a moment ends, since it may stay idle for days.

use std::future::Future;
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
pub(crate) struct Stop(watch::Sender<Phase>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }
}

impl Stop {
    /// Calls at work may end; no others are taken.
    pub(crate) fn begin(&self) {
        self.0.send_replace(Phase::Stopping);
    }

    /// Whatever is still at work ends now.
    pub(crate) fn end(&self) {
        self.0.send_replace(Phase::Over);
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
        let mut phases = self.0.subscribe();
        async move {
            // A server that is gone is over.
            let _ = phases.wait_for(|now| *now >= phase).await;
        }
    }
}

/// The error of calls that a stopping server ends.
pub(crate) fn stopping() -> Error {
    Error::new(&codes::SERVER_STOPPING, "the server is stopping")
        .help("open the stream again, on another server if there is one")
}
