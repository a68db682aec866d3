//! The conformance kit's rules of offline stores, in both encodings of results.

use provender_conformance::{Options, Subject, run};
use provender_providers_snowflake::factory;
use serde_json::{Value, json};

use crate::support::*;

async fn keeps_every_rule(account: Account, encoding: Value) {
    let mut options = account.options(&encoding);
    options.insert("time_travel".to_owned(), true.into());
    if matches!(account, Account::StandIn(_)) {
        options.insert("schema".to_owned(), unique("KIT").into());
    }
    let mut work = Options::quick();
    work.n_cases = crate::properties::n_cases(3);
    let report = run(&Subject::of(factory(), options), &work).await;
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn every_rule_is_kept() {
    if let Some(account) = Account::under_test() {
        keeps_every_rule(account, json!({"chunk_rows": 100})).await;
    }
}

#[tokio::test]
async fn every_rule_is_kept_with_scaled_numbers_and_times() {
    match Account::under_test() {
        Some(Account::Real(_)) => println!("skipped: an account has encodings of its own"),
        Some(account) => {
            let encoding = json!({"chunk_rows": 100, "realism": true, "ts_scale": 6});
            keeps_every_rule(account, encoding).await;
        }
        None => {}
    }
}
