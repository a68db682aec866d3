//! Work that blocks, off the threads of the async runtime.

use std::future::Future;
use std::pin::pin;

use futures::future::{Either, select};
use provender_core::{Context, Error, Result, codes};

/// Runs `work` on a thread that may block. A caller that is cancelled, or whose deadline passes, does not
/// wait for its end; the work itself looks at the context where it can stop.
pub(crate) async fn run<T: Send + 'static>(
    cx: &Context,
    work: impl FnOnce(&Context) -> Result<T> + Send + 'static,
) -> Result<T> {
    cx.check()?;
    let own = cx.clone();
    let task = tokio::task::spawn_blocking(move || work(&own));
    let stop = pin!(stopped(cx));
    match select(task, stop).await {
        Either::Left((Ok(result), _)) => result,
        Either::Left((Err(error), _)) => Err(Error::new(
            &codes::INTERNAL,
            "work on the online store ended without a result",
        )
        .source(error)),
        Either::Right((error, _)) => Err(error),
    }
}

/// Runs work that blocks and that nobody waits for, on a thread of the runtime; outside of one it is done
/// here and now.
pub(crate) fn beside(work: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        // The task goes on without its handle.
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

/// Resolves with the error once the call is cancelled or its deadline has passed.
async fn stopped(cx: &Context) -> Error {
    let cancelled = pin!(cx.cancelled());
    let late = pin!(deadline(cx));
    select(cancelled, late).await;
    cx.check()
        .err()
        .unwrap_or_else(|| Error::new(&codes::DEADLINE, "the call's deadline passed"))
}

fn deadline(cx: &Context) -> impl Future<Output = ()> + use<> {
    let remaining = cx.remaining();
    async move {
        match remaining {
            Some(remaining) => tokio::time::sleep(remaining).await,
            None => futures::future::pending().await,
        }
    }
}
