//! The rules of the conformance kit over what a factory opens.

use provender_conformance::{online, registry};
use provender_core::Context;
use provender_core::provider::Factory;
use provender_plugin::Role;
use serde_json::{Map, Value};

use super::check::config;

/// What was found by one rule.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The role that it judges.
    pub(super) role: Role,
    /// The rule's name.
    pub(super) rule: String,
    /// What of it does not hold.
    pub(super) broken: Option<String>,
}

/// Judges a provider in a role by every rule whose name holds one of the texts of `only`.
pub(super) async fn judge(
    factory: &Factory,
    role: Role,
    options: &Map<String, Value>,
    is_quick: bool,
    only: &[String],
) -> Vec<Outcome> {
    let is_asked = |rule: &str| only.is_empty() || only.iter().any(|text| rule.contains(text));
    let found = |rule: &str, result: Result<(), String>| Outcome {
        role,
        rule: rule.to_owned(),
        broken: result.err(),
    };
    let cx = Context::new("conformance");
    match role {
        Role::OnlineStore => {
            let open = || factory.open_online(&cx, config(factory, role, options));
            let mut harness = match online::Harness::open(open).await {
                Ok(harness) => harness,
                Err(why) => return vec![found("opens_again", Err(why))],
            };
            if is_quick {
                harness.n_histories = 5;
                harness.n_large_rows = 2_000;
                harness.n_large_bytes = 20_000;
            }
            let mut outcomes = Vec::new();
            for rule in online::RULES.iter().filter(|rule| is_asked(rule.name)) {
                outcomes.push(found(rule.name, rule.check(&harness).await));
            }
            outcomes
        }
        Role::Registry => {
            let opened = factory
                .open_registry(&cx, config(factory, role, options))
                .await;
            let judged = match opened {
                Ok(opened) => registry::all(&*opened).await,
                Err(error) => Err(error.to_string()),
            };
            vec![found("all_rules", judged)]
        }
        Role::OfflineStore => {
            let why = "this build's kit has no rules for offline stores".to_owned();
            vec![found("all_rules", Err(why))]
        }
    }
}
