//! The rules of a registry, each as a function over `&dyn Registry`.
//!
//! Every rule works in a project of its own with a name that no earlier run used, so that all of
//! them can run at once against a registry that others use too. A rule that is broken is answered as
//! a text that starts with the rule's name.
//!
//! This module deliberately knows no storage: what a restart keeps is for a provider's own tests.

mod commits;
mod progress;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use commits::{commit_is_compare_and_swap, history_lists_commits, snapshots_of_the_past_stay};
use futures::channel::oneshot;
pub use progress::{intervals_are_merged, leases_exclude};
use provender_core::error::Error;
use provender_core::provider::Registry;
use provender_core::time::now_us;
use provender_core::{Context, ErrorKind};

/// Runs every rule.
///
/// # Errors
/// The texts of all broken rules, one a line.
pub async fn all(registry: &dyn Registry) -> Result<(), String> {
    let results = [
        commit_is_compare_and_swap(registry).await,
        history_lists_commits(registry).await,
        snapshots_of_the_past_stay(registry).await,
        intervals_are_merged(registry).await,
        leases_exclude(registry).await,
    ];
    let broken: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("\n"))
    }
}

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A project that no other call of any process gets.
fn fresh_project(rule: &str) -> Context {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    Context::new(format!("conformance_{rule}_{}_{process}_{count}", now_us()))
}

/// Puts the rule's name before what broke it.
async fn rule(name: &str, work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    work.await.map_err(|why| format!("{name}: {why}"))
}

fn ensure(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// The result of a call that should work.
fn works<T>(what: &str, result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| format!("{what} fails: {error:?}"))
}

/// The error of a call that should fail with this kind.
fn fails<T: std::fmt::Debug>(
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
async fn sleep(duration: Duration) {
    let (sender, receiver) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        std::thread::sleep(duration);
        // Nobody waiting is not a failure.
        let _ = sender.send(());
    });
    let _ = receiver.await;
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::memory::MemoryRegistry;

    #[test]
    fn memory_registry_keeps_every_rule() {
        assert_eq!(block_on(all(&MemoryRegistry::new())), Ok(()));
    }
}
