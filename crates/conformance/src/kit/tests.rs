//! The entry, the report, and the page that says what the rules prove.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use futures::executor::block_on;
use provender_core::error::{Error, codes};
use provender_core::provider::{Factory, OfflineCapabilities, OnlineStore};
use serde_json::{Map, json};

use super::{Options, Subject, Verdict, run};
use crate::rules::declared;
use crate::{memory, offline, online, registry};

fn options(value: serde_json::Value) -> Map<String, serde_json::Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn memory_provider_passes_in_all_roles() {
    let named = options(json!({"name": "passes in all roles", "offers_all": true}));
    let subject = Subject::of(memory::factory(), named);
    let report = block_on(run(&subject, &Options::quick()));
    assert!(report.passed(), "{report}");
    let roles: Vec<&str> = report.roles.iter().map(|role| role.role.name()).collect();
    assert_eq!(roles, ["offline_store", "online_store", "registry"]);
    let (n_kept, n_broken, n_not_asked) = report.counts();
    let n_rules = offline::RULES.len() + online::RULES.len() + registry::RULES.len();
    assert_eq!((n_kept + n_not_asked, n_broken), (n_rules, 0));
    let text = report.to_string();
    for line in [
        "offline_store: memory 0.",
        "  declares     ",
        "  kept         scans_repeat",
        "  not asked    filters_are_applied (sql_sources is not declared)",
        "passes: ",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    assert_eq!(report.to_json()["roles"][2]["rules"][0]["verdict"], "kept");
}

#[test]
fn provider_that_does_not_open_fails_with_its_error() {
    let refuses = Factory::new("acme", "refuses", || json!({})).online(|_, _| async {
        let error = Error::new(&codes::BAD_CONFIG, "online_store: the url is missing");
        Err::<std::sync::Arc<dyn OnlineStore>, _>(error)
    });
    let report = block_on(run(&Subject::of(refuses, Map::new()), &Options::quick()));
    assert!(!report.passed());
    let text = report.to_string();
    assert!(text.contains("BROKEN       opens"), "{text}");
    assert!(text.contains("the url is missing"), "{text}");
}

#[test]
fn subject_without_roles_does_not_pass() {
    let report = block_on(run(&Subject::new(), &Options::quick()));
    assert!(!report.passed());
}

#[test]
fn chosen_rules_alone_are_judged() {
    let mut quick = Options::quick();
    quick.only = vec!["tie_breakers_decide".to_owned()];
    let subject = Subject::of(memory::factory(), Map::new());
    let report = block_on(run(&subject, &quick));
    let judged: Vec<&str> = report.outcomes().map(|it| it.rule.as_str()).collect();
    assert_eq!(judged, ["tie_breakers_decide"]);
    let is_kept = report.outcomes().all(|it| it.verdict == Verdict::Kept);
    assert!(is_kept && report.passed(), "{report}");
}

#[test]
fn every_rule_needs_capabilities_that_can_be_declared() {
    let known = declared(&OfflineCapabilities::default());
    let needs = offline::RULES.iter().flat_map(|rule| rule.needs);
    for need in needs {
        assert!(known.iter().any(|(name, _)| name == need), "{need}");
    }
    assert!(online::RULES.iter().all(|rule| rule.needs.is_empty()));
}

#[test]
fn every_rule_stands_in_the_contract_and_the_contract_names_no_other() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PROVIDER.md");
    let page = std::fs::read_to_string(page).unwrap();
    let roles = ["offline/", "online/", "registry/"];
    let named: BTreeSet<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| roles.iter().any(|role| text.starts_with(role)))
        .collect();
    let offline = offline::RULES
        .iter()
        .map(|it| format!("offline/{}", it.name));
    let online = online::RULES.iter().map(|it| format!("online/{}", it.name));
    let registry = registry::RULES
        .iter()
        .map(|it| format!("registry/{}", it.name));
    let rules: BTreeSet<String> = offline.chain(online).chain(registry).collect();
    let rules: BTreeSet<&str> = rules.iter().map(String::as_str).collect();
    let unknown: Vec<_> = named.difference(&rules).collect();
    let missing: Vec<_> = rules.difference(&named).collect();
    assert!(
        unknown.is_empty(),
        "the contract names rules that are not there: {unknown:?}"
    );
    assert!(
        missing.is_empty(),
        "the contract does not name: {missing:?}"
    );
}
