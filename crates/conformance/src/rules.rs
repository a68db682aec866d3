//! What all rules over a provider are made of: projects of their own, checks, and texts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::channel::oneshot;
use provender_core::error::Error;
use provender_core::time::now_us;
use provender_core::{Context, ErrorKind};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A project that no other call of any process gets.
pub(crate) fn fresh_project(rule: &str) -> Context {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    Context::new(format!("conformance_{rule}_{}_{process}_{count}", now_us()))
}

/// Puts the rule's name before what broke it.
pub(crate) async fn rule(
    name: &str,
    work: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    work.await.map_err(|why| format!("{name}: {why}"))
}

pub(crate) fn ensure(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// The result of a call that should work.
pub(crate) fn works<T>(what: &str, result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| format!("{what} fails: {error:?}"))
}

/// The error of a call that should fail with this kind.
pub(crate) fn fails<T: std::fmt::Debug>(
    what: &str,
    kind: ErrorKind,
    result: Result<T, Error>,
) -> Result<Error, String> {
    match result {
        Ok(value) => Err(format!(
            "{what} should fail with {kind:?}, answers {value:?}"
        )),
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => Err(format!(
            "{what} should fail with {kind:?}, fails: {error:?}"
        )),
    }
}

/// Waits without needing an async runtime.
pub(crate) async fn sleep(duration: Duration) {
    let (sender, receiver) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        std::thread::sleep(duration);
        // Nobody waiting is not a failure.
        let _ = sender.send(());
    });
    let _ = receiver.await;
}
