//! What the kit found, for people: one line a rule, and below a broken one what went wrong.

use std::fmt;

use provender_core::provider::ProviderInfo;
use serde_json::{Value, json};

use super::Role;

/// What was found in all roles of a provider.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The roles, in the order in which they were judged.
    pub roles: Vec<RoleReport>,
}

/// What was found in one role.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RoleReport {
    /// The role.
    pub role: Role,
    /// Who the provider says it is.
    pub info: ProviderInfo,
    /// The capabilities that it can declare, and whether it does.
    pub capabilities: Vec<(String, bool)>,
    /// One for each rule.
    pub outcomes: Vec<Outcome>,
}

/// What was found by one rule.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The rule's name.
    pub rule: String,
    /// What a provider that keeps it is known to do.
    pub proves: String,
    /// Whether it is kept.
    pub verdict: Verdict,
}

/// Whether a rule is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Kept,
    /// It is not, and why: the smallest case that was found.
    Broken(String),
    /// It is about something that the provider does not declare, or that it could not be asked.
    NotAsked(String),
}

impl Report {
    /// Whether rules were judged and none of them is broken.
    pub fn passed(&self) -> bool {
        let mut verdicts = self.outcomes().map(|outcome| &outcome.verdict);
        let has_kept = self
            .outcomes()
            .any(|outcome| outcome.verdict == Verdict::Kept);
        has_kept && !verdicts.any(|verdict| matches!(verdict, Verdict::Broken(_)))
    }

    /// Every rule's outcome, role by role.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.roles.iter().flat_map(|role| &role.outcomes)
    }

    /// How many rules are kept, broken and not asked.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |is: fn(&Verdict) -> bool| self.outcomes().filter(|it| is(&it.verdict)).count();
        (
            count(|verdict| *verdict == Verdict::Kept),
            count(|verdict| matches!(verdict, Verdict::Broken(_))),
            count(|verdict| matches!(verdict, Verdict::NotAsked(_))),
        )
    }

    /// The same for programs: `passed`, and `roles` with `role`, `provider`, `capabilities` and `rules`,
    /// each with `rule`, `verdict` (`kept`, `broken`, `not_asked`) and `why`.
    pub fn to_json(&self) -> Value {
        let roles = self.roles.iter().map(|role| {
            let rules = role.outcomes.iter().map(|outcome| {
                let (verdict, why) = match &outcome.verdict {
                    Verdict::Kept => ("kept", Value::Null),
                    Verdict::Broken(why) => ("broken", json!(why)),
                    Verdict::NotAsked(why) => ("not_asked", json!(why)),
                };
                json!({
                    "rule": outcome.rule,
                    "proves": outcome.proves,
                    "verdict": verdict,
                    "why": why,
                })
            });
            json!({
                "role": role.role.name(),
                "provider": role.info,
                "capabilities": role
                    .capabilities
                    .iter()
                    .map(|(name, is_declared)| (name.clone(), json!(is_declared)))
                    .collect::<serde_json::Map<_, _>>(),
                "rules": rules.collect::<Vec<_>>(),
            })
        });
        json!({"passed": self.passed(), "roles": roles.collect::<Vec<_>>()})
    }
}

impl RoleReport {
    pub(super) fn new(role: Role, info: ProviderInfo, capabilities: Vec<(String, bool)>) -> Self {
        Self {
            role,
            info,
            capabilities,
            outcomes: Vec::new(),
        }
    }

    /// Takes note of a rule; the text of a broken one may start with the rule's name.
    pub(super) fn add(&mut self, rule: &str, proves: &str, checked: Result<(), String>) {
        let verdict = match checked {
            Ok(()) => Verdict::Kept,
            Err(why) => {
                let named = why
                    .strip_prefix(rule)
                    .and_then(|why| why.strip_prefix(": "));
                let why = named.unwrap_or(&why);
                let proof = format!(" [{proves}]");
                Verdict::Broken(why.strip_suffix(&proof).unwrap_or(why).to_owned())
            }
        };
        self.push(rule, proves, verdict);
    }

    /// Takes note of a rule about something that is not declared.
    pub(super) fn not_declared(&mut self, rule: &str, proves: &str, capability: &str) {
        let why = format!("{capability} is not declared");
        self.push(rule, proves, Verdict::NotAsked(why));
    }

    fn push(&mut self, rule: &str, proves: &str, verdict: Verdict) {
        self.outcomes.push(Outcome {
            rule: rule.to_owned(),
            proves: proves.to_owned(),
            verdict,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for role in &self.roles {
            writeln!(f, "{role}")?;
        }
        let (n_kept, n_broken, n_not_asked) = self.counts();
        let verdict = if self.passed() { "passes" } else { "fails" };
        write!(
            f,
            "{verdict}: {n_kept} rules kept, {n_broken} broken, {n_not_asked} not asked"
        )
    }
}

impl fmt::Display for RoleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.info;
        writeln!(
            f,
            "{}: {} {} ({})",
            self.role.name(),
            info.scheme,
            info.version,
            info.display_name
        )?;
        if !self.capabilities.is_empty() {
            let list = |wanted: bool| {
                let named = self.capabilities.iter().filter(|(_, is)| *is == wanted);
                let names: Vec<&str> = named.map(|(name, _)| name.as_str()).collect();
                match names.is_empty() {
                    true => "none".to_owned(),
                    false => names.join(", "),
                }
            };
            writeln!(f, "  declares     {}", list(true))?;
            writeln!(f, "  does not     {}", list(false))?;
        }
        for outcome in &self.outcomes {
            match &outcome.verdict {
                Verdict::Kept => writeln!(f, "  kept         {}", outcome.rule)?,
                Verdict::NotAsked(why) => {
                    writeln!(f, "  not asked    {} ({why})", outcome.rule)?;
                }
                Verdict::Broken(why) => {
                    writeln!(f, "  BROKEN       {}", outcome.rule)?;
                    writeln!(f, "               a provider must: {}", outcome.proves)?;
                    for line in why.lines() {
                        writeln!(f, "               {line}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
