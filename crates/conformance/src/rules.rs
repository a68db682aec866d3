//! What all rules over a provider are made of: projects of their own, checks, and texts.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, select};
use provender_core::error::Error;
use provender_core::provider::Provider;
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

/// `check` works, and `info` says who the provider is, the same on every call.
pub(crate) async fn identity<P: Provider + ?Sized>(
    provider: &P,
    cx: &Context,
) -> Result<(), String> {
    let before = provider.info();
    for (what, text) in [
        ("scheme", &before.scheme),
        ("version", &before.version),
        ("display_name", &before.display_name),
    ] {
        ensure(!text.trim().is_empty(), || {
            format!("info has an empty {what}")
        })?;
    }
    for finding in works("check", provider.check(cx).await)? {
        ensure(!finding.trim().is_empty(), || {
            "check answers an empty finding".to_owned()
        })?;
    }
    let after = provider.info();
    ensure(after == before, || {
        format!("info was {before:?}, is {after:?}")
    })
}

/// Capabilities by name, and whether they are declared.
pub(crate) fn declared(capabilities: &impl serde::Serialize) -> Vec<(String, bool)> {
    let value = serde_json::to_value(capabilities).unwrap_or_default();
    let flags = value.as_object().into_iter().flatten();
    flags
        .filter_map(|(name, flag)| Some((name.clone(), flag.as_bool()?)))
        .collect()
}

/// Waits without needing an async runtime.
pub(crate) async fn sleep(duration: Duration) {
    let (alarm, _kept) = alarm(duration);
    let _ = alarm.await;
}

/// Work that may panic or hang, as a text in either case. The hung work is dropped.
pub(crate) async fn guarded<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let (alarm, _kept) = alarm(timeout);
    let work = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());
    match select(work, alarm).await {
        Either::Left((Ok(done), _)) => done,
        Either::Left((Err(panic), _)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("panics: {}", text.unwrap_or("without a text")))
        }
        Either::Right(_) => Err(format!("does not end within {timeout:?}")),
    }
}

/// What resolves after a time, and what gives the thread behind it back when it is dropped.
fn alarm(duration: Duration) -> (oneshot::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let (rings, alarm) = oneshot::channel::<()>();
    let (kept, gone) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if gone.recv_timeout(duration) == Err(RecvTimeoutError::Timeout) {
            // Nobody waiting is not a failure.
            let _ = rings.send(());
        }
    });
    (alarm, kept)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn hung_and_panicking_work_is_told_as_text() {
        let hung = guarded(
            Duration::from_millis(10),
            std::future::pending::<Result<(), String>>(),
        );
        assert_eq!(block_on(hung), Err("does not end within 10ms".to_owned()));
        let panics = guarded(Duration::from_secs(60), async {
            if std::hint::black_box(true) {
                panic!("out of order");
            }
            Ok(())
        });
        assert_eq!(block_on(panics), Err("panics: out of order".to_owned()));
    }
}
