//! What the rules of stores are asked with: handles to one provider's data, how much work is done, and
//! a rule as a name, what it proves, what must be declared before it is asked, and a check.
//!
//! This module deliberately knows no rule; [`crate::offline`] and [`crate::online`] have them.

use std::sync::{Arc, Mutex};

use futures::future::LocalBoxFuture;
use provender_core::Context;
use provender_core::error::Result as CoreResult;
use provender_core::provider::{Provider, ProviderInfo};

use crate::offline::Held;
use crate::rules::{fresh_project, rule, works};

/// What the rules are judged on: handles to one provider's data, and how much work they do.
#[derive(Debug)]
pub struct Harness<S: ?Sized> {
    pub(crate) handles: Vec<Arc<S>>,
    /// The first of the seeds that random rules use.
    pub seed: u64,
    /// How many random cases each random rule plays.
    pub n_cases: u64,
    /// Rows of the greatest write.
    pub n_large_rows: usize,
    /// Bytes of the greatest value.
    pub n_large_bytes: usize,
    /// How an offline store holds types, as far as it is known.
    pub(crate) held: Arc<Mutex<Held>>,
}

impl<S: ?Sized> Clone for Harness<S> {
    fn clone(&self) -> Self {
        Self {
            handles: self.handles.clone(),
            held: self.held.clone(),
            ..*self
        }
    }
}

impl<S: Provider + ?Sized> Harness<S> {
    /// Judges a provider through one handle.
    pub fn over(store: Arc<S>) -> Self {
        Self {
            handles: vec![store],
            seed: 0,
            n_cases: 40,
            n_large_rows: 200_000,
            n_large_bytes: 1_000_000,
            held: Arc::default(),
        }
    }

    /// The same with one more handle to the same data, whatever the provider says of itself.
    #[must_use]
    pub fn with_handle(mut self, store: Arc<S>) -> Self {
        self.handles.push(store);
        self
    }

    /// Judges a provider through as many handles as `wanted` says of the first one.
    pub(crate) async fn opened<F, W>(open: F, wanted: fn(&S) -> usize) -> Result<Self, String>
    where
        F: Fn() -> W,
        W: Future<Output = CoreResult<Arc<S>>>,
    {
        let mut harness = Self::over(works("opening", open().await)?);
        for _ in 1..wanted(harness.handle(0)) {
            harness = harness.with_handle(works("opening another handle", open().await)?);
        }
        Ok(harness)
    }

    /// Who the provider says it is.
    pub(crate) fn info(&self) -> ProviderInfo {
        self.handle(0).info()
    }

    /// One of the handles; numbers go round.
    pub(crate) fn handle(&self, number: usize) -> &S {
        self.handles[number % self.handles.len()].as_ref()
    }

    pub(crate) fn seeds(&self, n_seeds: u64) -> impl Iterator<Item = u64> + use<S> {
        self.seed..self.seed.saturating_add(n_seeds)
    }
}

/// What differs between the roles whose rules are asked with a [`Harness`].
pub trait Judged {
    /// The capabilities that a provider can declare, and whether this one does.
    fn declared(&self) -> Vec<(String, bool)>;

    /// Drops what a rule wrote, where a provider can.
    fn clean(&self, cx: &Context) -> impl Future<Output = Result<(), String>>;
}

pub(crate) type Check<H> = for<'a> fn(&'a H, Context) -> LocalBoxFuture<'a, Result<(), String>>;

/// One rule: its name, what it proves, of which providers it is asked, and how.
pub struct Rule<H: 'static> {
    /// The name, which every failure starts with.
    pub name: &'static str,
    /// What a provider that keeps it is known to do.
    pub proves: &'static str,
    /// The capabilities without which it is not asked.
    pub needs: &'static [&'static str],
    pub(crate) check: Check<H>,
}

impl<H: Judged> Rule<H> {
    /// The first capability that the rule needs and that is not declared.
    pub fn lacks(&self, harness: &H) -> Option<&'static str> {
        let declared = harness.declared();
        let is_declared = |need: &str| declared.iter().any(|(name, is)| *is && name == need);
        let mut needs = self.needs.iter().copied();
        needs.find(|need| !is_declared(need))
    }

    /// Judges a provider by this rule, in a project and tables of its own. One that does not declare
    /// what the rule needs keeps it.
    ///
    /// # Errors
    /// A text that says what of it does not hold.
    pub async fn check(&self, harness: &H) -> Result<(), String> {
        if self.lacks(harness).is_some() {
            return Ok(());
        }
        rule(self.name, async {
            let cx = fresh_project(self.name);
            let result = (self.check)(harness, cx.clone()).await;
            let cleaned = harness.clean(&cx).await;
            result.map_err(|why| format!("{why} [{}]", self.proves))?;
            cleaned
        })
        .await
    }
}

/// Judges a provider by every rule; the error has the texts of all broken ones, one a line.
pub(crate) async fn all<H: Judged>(rules: &[Rule<H>], harness: &H) -> Result<(), String> {
    let mut broken = Vec::new();
    for rule in rules {
        broken.extend(rule.check(harness).await.err());
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("\n"))
    }
}

/// Judges a provider by the rule of this name.
pub(crate) async fn named<H: Judged>(
    rules: &[Rule<H>],
    name: &str,
    harness: &H,
) -> Result<(), String> {
    match rules.iter().find(|rule| rule.name == name) {
        Some(rule) => rule.check(harness).await,
        None => Err(format!("there is no rule {name:?}")),
    }
}

/// A role's `RULES`, and judging by all of them or one, over its `Harness`.
macro_rules! rules {
    ($($module:ident: $($name:ident $([$($need:ident),*])? $proves:literal),+;)+) => {
        /// Every rule.
        pub static RULES: &[Rule] = &[$($(Rule {
            name: stringify!($name),
            proves: $proves,
            needs: &[$($(stringify!($need)),*)?],
            check: |harness, cx| Box::pin($module::$name(harness, cx)),
        }),+),+];

        /// Judges a store by every rule.
        ///
        /// # Errors
        /// The texts of all broken rules, one a line.
        pub async fn all(harness: &Harness) -> Result<(), String> {
            $crate::harness::all(RULES, harness).await
        }

        /// Judges a store by the rule of this name.
        ///
        /// # Errors
        /// The rule's text if it is broken, or one that says that there is no such rule.
        pub async fn check(name: &str, harness: &Harness) -> Result<(), String> {
            $crate::harness::named(RULES, name, harness).await
        }
    };
}

pub(crate) use rules;
