//! One entry into the kit: a provider is opened in each of its roles and judged by every rule of that
//! role, whatever rule breaks on the way.
//!
//! This module decides how a provider is named, how long a rule may take, and that a panic or a hung
//! call breaks the rule that met it and no other. It deliberately knows no rule.

mod report;
mod subject;
#[cfg(test)]
mod tests;

use std::time::Duration;

use provender_core::provider::{Provider, ProviderInfo, Registry};
pub use report::{Outcome, Report, RoleReport, Verdict};
use subject::Open;
pub use subject::Subject;

use crate::harness::{Harness, Judged, Rule};
use crate::rules::guarded;
use crate::{offline, online, registry};

/// A role in which a provider is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// An offline store.
    Offline,
    /// An online store.
    Online,
    /// A registry.
    Registry,
}

impl Role {
    /// As a configuration spells it: `offline_store`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline_store",
            Self::Online => "online_store",
            Self::Registry => "registry",
        }
    }
}

/// How much work the rules do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The first of the seeds that random rules use; 0 if nobody says otherwise.
    pub seed: u64,
    /// How many random cases each random rule plays; 40.
    pub n_cases: u64,
    /// Rows of the greatest write; 200,000.
    pub n_large_rows: usize,
    /// Bytes of the greatest value; 1,000,000.
    pub n_large_bytes: usize,
    /// How long one rule may take; 5 minutes. A call that hangs costs no more.
    pub rule_timeout: Duration,
    /// Judges only rules whose names hold one of these texts; all if there are none.
    pub only: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            n_cases: 40,
            n_large_rows: 200_000,
            n_large_bytes: 1_000_000,
            rule_timeout: Duration::from_secs(300),
            only: Vec::new(),
        }
    }
}

impl Options {
    /// Less work, for a first look: a few cases, and no great writes.
    pub fn quick() -> Self {
        Self {
            n_cases: 5,
            n_large_rows: 2_000,
            n_large_bytes: 20_000,
            ..Self::default()
        }
    }

    fn asks_for(&self, rule: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| rule.contains(part.as_str()))
    }
}

/// Judges a provider in each of its roles. Rules work in projects and tables whose names no earlier run
/// used. What they write online they drop; a registry and an offline store keep it, so give those a
/// database or folder of their own.
pub async fn run(subject: &Subject, options: &Options) -> Report {
    let mut roles = Vec::new();
    if let Some(open) = &subject.offline {
        let opening = offline::Harness::open(open);
        roles.push(judge(Role::Offline, opening, offline::RULES, options).await);
    }
    if let Some(open) = &subject.online {
        let opening = online::Harness::open(open);
        roles.push(judge(Role::Online, opening, online::RULES, options).await);
    }
    if let Some(open) = &subject.registry {
        roles.push(judge_registry(open, options).await);
    }
    Report { roles }
}

/// Judges a store by the rules of its role.
async fn judge<S: Provider + ?Sized + 'static>(
    role: Role,
    opening: impl Future<Output = Result<Harness<S>, String>>,
    rules: &[Rule<Harness<S>>],
    options: &Options,
) -> RoleReport
where
    Harness<S>: Judged,
{
    let mut harness = match guarded(options.rule_timeout, opening).await {
        Ok(harness) => harness,
        Err(why) => return not_opened(role, why),
    };
    harness.seed = options.seed;
    harness.n_cases = options.n_cases;
    harness.n_large_rows = options.n_large_rows;
    harness.n_large_bytes = options.n_large_bytes;
    let mut report = RoleReport::new(role, harness.info(), harness.declared());
    for rule in rules.iter().filter(|rule| options.asks_for(rule.name)) {
        match rule.lacks(&harness) {
            Some(capability) => report.not_declared(rule.name, rule.proves, capability),
            None => {
                let checked = guarded(options.rule_timeout, rule.check(&harness)).await;
                report.add(rule.name, rule.proves, checked);
            }
        }
    }
    report
}

async fn judge_registry(open: &Open<dyn Registry>, options: &Options) -> RoleReport {
    let opening = async {
        open()
            .await
            .map_err(|error| format!("opening fails: {error:?}"))
    };
    let registry = match guarded(options.rule_timeout, opening).await {
        Ok(registry) => registry,
        Err(why) => return not_opened(Role::Registry, why),
    };
    let mut report = RoleReport::new(Role::Registry, registry.info(), Vec::new());
    for rule in registry::RULES
        .iter()
        .filter(|rule| options.asks_for(rule.name))
    {
        let checked = guarded(options.rule_timeout, rule.check(registry.as_ref())).await;
        report.add(rule.name, rule.proves, checked);
    }
    report
}

fn not_opened(role: Role, why: String) -> RoleReport {
    let nobody = ProviderInfo {
        scheme: String::new(),
        version: String::new(),
        display_name: String::new(),
    };
    let mut report = RoleReport::new(role, nobody, Vec::new());
    report.add("opens", "a provider opens with right options", Err(why));
    report
}
