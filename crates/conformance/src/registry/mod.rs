//! The rules of a registry, each as a function over `&dyn Registry`.
//!
//! Every rule works in a project of its own with a name that no earlier run used, so that all of
//! them can run at once against a registry that others use too. A rule that is broken is answered as
//! a text that starts with the rule's name.
//!
//! This module deliberately knows no storage: what a restart keeps is for a provider's own tests.

mod commits;
mod progress;

pub use commits::{commit_is_compare_and_swap, history_lists_commits, snapshots_of_the_past_stay};
pub use progress::{intervals_are_merged, leases_exclude};
use provender_core::provider::Registry;

use crate::rules::{ensure, fails, fresh_project, rule, sleep, works};

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
