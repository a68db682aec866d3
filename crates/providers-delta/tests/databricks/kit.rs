//! Every rule of the conformance kit, in each way of execution.

use std::path::PathBuf;

use provender_conformance::{Options, Report, Role, Subject, Verdict, run};
use provender_core::provider::{ProviderConfig, Providers, Resources};
use serde_json::{Value, json};

use crate::support::Workspace;

/// The report on a store with these options, or `None` without a stand-in.
fn judged(options: Value, n_cases: u64) -> Option<Report> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let workspace = runtime.block_on(Workspace::stand_in(json!({})))?;
    let mut providers = Providers::default();
    providers.register(provender_providers_delta::databricks::factory());
    let config = ProviderConfig {
        scheme: "databricks".to_owned(),
        block: String::new(),
        options: workspace.with(options).options,
        base_path: PathBuf::from("."),
        resources: Resources::default(),
    };
    let mut work = Options::quick();
    work.n_cases = n_cases;
    if let Ok(only) = std::env::var("PROVENDER_RULE") {
        work.only = vec![only];
    }
    let subject = Subject::opened_by(providers, &[Role::Offline], &config);
    Some(runtime.block_on(run(&subject, &work)))
}

/// Names of the rules that a report says are broken.
fn broken(report: &Report) -> Vec<&str> {
    let broken = report
        .outcomes()
        .filter(|outcome| matches!(outcome.verdict, Verdict::Broken(_)));
    broken
        .map(|outcome| outcome.rule.rsplit('/').next().unwrap())
        .collect()
}

#[test]
fn the_warehouse_keeps_every_rule() {
    if let Some(report) = judged(json!({"execution": "warehouse"}), 2) {
        assert!(broken(&report).is_empty() && report.passed(), "\n{report}");
    }
}

#[test]
fn direct_reading_and_the_choice_by_size_keep_every_rule() {
    for execution in ["direct", "auto"] {
        if let Some(report) = judged(json!({"execution": execution}), 2) {
            let broken = broken(&report);
            assert!(
                broken.is_empty() && report.passed(),
                "{execution}:\n{report}"
            );
        }
    }
}
