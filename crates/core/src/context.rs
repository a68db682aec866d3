//! What every call carries: a deadline, cancellation, who asks, and for which project.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cancel::Cancellation;
use crate::error::{Error, Result, codes};

/// Who makes a call, as far as it is known. Recorded in the registry's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A user or service name.
    pub name: String,
}

/// Carried by every call to a provider, across the plugin ABI as well. Cheap to clone; clones share
/// their cancellation.
#[derive(Clone, Debug)]
pub struct Context {
    project: Arc<str>,
    trace_id: Arc<str>,
    identity: Option<Arc<Identity>>,
    deadline: Option<Instant>,
    memory_limit_bytes: Option<u64>,
    cancellation: Cancellation,
}

impl Context {
    /// A context without deadline or identity.
    pub fn new(project: impl Into<Arc<str>>) -> Self {
        Self {
            project: project.into(),
            trace_id: Arc::from(""),
            identity: None,
            deadline: None,
            memory_limit_bytes: None,
            cancellation: Cancellation::new(),
        }
    }

    /// The same with a deadline; an earlier one that is already set stays.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(
            self.deadline
                .map_or(deadline, |current| current.min(deadline)),
        );
        self
    }

    /// The same, failing after `timeout` from now.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.with_deadline(deadline),
            None => self,
        }
    }

    /// The same on behalf of somebody.
    #[must_use]
    pub fn with_identity(mut self, name: impl Into<String>) -> Self {
        self.identity = Some(Arc::new(Identity { name: name.into() }));
        self
    }

    /// The same, whose work on this machine holds at most `n_bytes` of rows in memory, or what the
    /// configuration allows if that is less. Calls that run beside each other share a limit so.
    #[must_use]
    pub fn with_memory_limit(mut self, n_bytes: u64) -> Self {
        self.memory_limit_bytes = Some(
            self.memory_limit_bytes
                .map_or(n_bytes, |current| current.min(n_bytes)),
        );
        self
    }

    /// The same with an identifier that ties logs of one call together.
    #[must_use]
    pub fn with_trace_id(mut self, trace_id: impl Into<Arc<str>>) -> Self {
        self.trace_id = trace_id.into();
        self
    }

    /// The project the call is made for.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Ties logs of one call together; empty if none was given.
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// Who calls, if known.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// When the call must have ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Time left, or `None` without a deadline. Zero once it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The bytes of rows that work for this call may hold, given what the configuration allows.
    pub fn memory_within(&self, limit_bytes: u64) -> u64 {
        self.memory_limit_bytes
            .map_or(limit_bytes, |own| own.min(limit_bytes))
    }

    /// Cancels the work of this context and of all its clones.
    pub fn cancel(&self) {
        self.cancellation.cancel();
    }

    /// Resolves once the call is cancelled; never if it is not.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.cancellation.signal()
    }

    /// Fails once the call is cancelled or its deadline has passed. Long loops call it now and then.
    ///
    /// # Errors
    /// `Cancelled` or `DeadlineExceeded`.
    pub fn check(&self) -> Result<()> {
        if self.cancellation.is_cancelled() {
            return Err(Error::new(&codes::CANCELLED, "the call was cancelled"));
        }
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Err(Error::new(&codes::DEADLINE, "the call's deadline passed"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn cancel_reaches_clones() {
        let cx = Context::new("p");
        let clone = cx.clone();
        assert!(clone.check().is_ok());
        cx.cancel();
        assert_eq!(
            clone.check().map_err(|e| e.kind()),
            Err(ErrorKind::Cancelled)
        );
        futures::executor::block_on(clone.cancelled());
    }

    #[test]
    fn the_least_memory_counts() {
        let cx = Context::new("p");
        assert_eq!(cx.memory_within(7), 7);
        let cx = cx.with_memory_limit(5).with_memory_limit(9);
        assert_eq!((cx.memory_within(7), cx.memory_within(3)), (5, 3));
    }

    #[test]
    fn earlier_deadline_wins() {
        let cx = Context::new("p")
            .with_timeout(Duration::ZERO)
            .with_timeout(Duration::from_secs(9));
        assert_eq!(
            cx.check().map_err(|e| e.kind()),
            Err(ErrorKind::DeadlineExceeded)
        );
    }
}
