//! The rules of the conformance kit over what a factory opens.

use provender_conformance::{Options, Subject, Verdict, run};
use provender_core::provider::{Factory, Providers};
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

/// Judges a provider in a role by every rule whose name holds one of the texts of `only`, but for those
/// about something that it does not declare.
pub(super) async fn judge(
    factory: &Factory,
    role: Role,
    options: &Map<String, Value>,
    is_quick: bool,
    only: &[String],
) -> Vec<Outcome> {
    let mut work = if is_quick {
        Options::quick()
    } else {
        Options::default()
    };
    work.only = only.to_vec();
    let judged = match role {
        Role::OnlineStore => provender_conformance::Role::Online,
        Role::Registry => provender_conformance::Role::Registry,
        Role::OfflineStore => provender_conformance::Role::Offline,
    };
    let mut providers = Providers::default();
    providers.register(factory.clone());
    let config = config(factory, role, options);
    let report = run(&Subject::opened_by(providers, &[judged], &config), &work).await;
    report
        .outcomes()
        .filter_map(|outcome| {
            let broken = match &outcome.verdict {
                Verdict::Kept => None,
                Verdict::Broken(why) => Some(why.clone()),
                Verdict::NotAsked(_) => return None,
            };
            Some(Outcome {
                role,
                rule: outcome.rule.clone(),
                broken,
            })
        })
        .collect()
}
