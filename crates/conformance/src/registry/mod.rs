//! The rules of a registry, each as a function over `&dyn Registry`.
//!
//! Every rule works in a project of its own with a name that no earlier run used, so that all of
//! them can run at once against a registry that others use too. A rule that is broken is answered as
//! a text that starts with the rule's name.
//!
//! This module deliberately knows no storage: what a restart keeps is for a provider's own tests.

mod commits;
#[cfg(test)]
mod mutants;
mod objects;
mod progress;
mod refusals;

pub use commits::{commit_is_compare_and_swap, history_lists_commits, snapshots_of_the_past_stay};
use futures::future::LocalBoxFuture;
pub use objects::{concurrent_work_is_whole, objects_come_back_as_they_were};
pub use progress::{intervals_are_merged, leases_exclude};
use provender_core::provider::Registry;
pub use refusals::{cancelled_and_late_calls_fail, check_answers_and_identity_stays};

use crate::rules::{ensure, fails, fresh_project, rule, sleep, works};

type Check = for<'a> fn(&'a dyn Registry) -> LocalBoxFuture<'a, Result<(), String>>;

/// One rule: its name, what it proves, and how.
pub struct Rule {
    /// The name, which every failure starts with.
    pub name: &'static str,
    /// What a registry that keeps it is known to do.
    pub proves: &'static str,
    check: Check,
}

impl Rule {
    /// Judges a registry by this rule.
    ///
    /// # Errors
    /// A text that says what of it does not hold.
    pub async fn check(&self, registry: &dyn Registry) -> Result<(), String> {
        (self.check)(registry).await
    }
}

macro_rules! rules {
    ($($name:ident $proves:literal),+ $(,)?) => {
        /// Every rule.
        pub static RULES: &[Rule] = &[$(Rule {
            name: stringify!($name),
            proves: $proves,
            check: |registry| Box::pin($name(registry)),
        }),+];
    };
}

rules! {
    commit_is_compare_and_swap
        "a commit on the newest revision makes the next one, on any other it is a Conflict that changes nothing, and of many at once one wins",
    history_lists_commits
        "history lists commits newest first, after a revision, at most so many, with author, time and changes",
    snapshots_of_the_past_stay
        "a snapshot holds the objects of its revision and never changes",
    objects_come_back_as_they_were
        "names, authors and bodies of any text and size come back as they were",
    intervals_are_merged
        "intervals are merged where they overlap or touch, belong to one version of a view, and make no revision",
    leases_exclude
        "a lease excludes other holders until it is released or runs out, and tokens only grow",
    concurrent_work_is_whole
        "commits, intervals and leases of many at once are all held",
    cancelled_and_late_calls_fail
        "a cancelled call is Cancelled, a late one DeadlineExceeded, and neither changes anything",
    check_answers_and_identity_stays
        "check works, and who the registry is does not change",
}

/// Judges a registry by every rule.
///
/// # Errors
/// The texts of all broken rules, one a line.
pub async fn all(registry: &dyn Registry) -> Result<(), String> {
    let mut broken = Vec::new();
    for rule in RULES {
        broken.extend(rule.check(registry).await.err());
    }
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
