//! Cancellation without an async runtime: one flag that many may wait for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Shared};

/// Dropped or fired by the owner of a call; observed by everyone who works for it.
#[derive(Clone)]
pub(crate) struct Cancellation {
    fired: Arc<AtomicBool>,
    sender: Arc<std::sync::Mutex<Option<oneshot::Sender<()>>>>,
    signal: Shared<BoxFuture<'static, ()>>,
}

impl Cancellation {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = oneshot::channel::<()>();
        Self {
            fired: Arc::default(),
            sender: Arc::new(std::sync::Mutex::new(Some(sender))),
            // A sender that is dropped unfired means that nobody can cancel any more.
            signal: async move {
                if receiver.await.is_err() {
                    futures::future::pending::<()>().await;
                }
            }
            .boxed()
            .shared(),
        }
    }

    pub(crate) fn cancel(&self) {
        self.fired.store(true, Ordering::Release);
        let sender = match self.sender.lock() {
            Ok(mut guard) => guard.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        if let Some(sender) = sender {
            // Nobody waiting is not a failure.
            let _ = sender.send(());
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }

    pub(crate) fn signal(&self) -> Shared<BoxFuture<'static, ()>> {
        self.signal.clone()
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancellation({})", self.is_cancelled())
    }
}
