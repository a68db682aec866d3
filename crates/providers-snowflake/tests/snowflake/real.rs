//! `PROVENDER_TEST_SNOWFLAKE_*` really take every rule to the account that they name.

use std::process::Command;

use crate::support::*;

/// The modules whose tests run on any account.
const RULES: [&str; 8] = [
    "kit::",
    "known::",
    "names::",
    "reading::",
    "writing::",
    "properties::",
    "travel::",
    "breadth::",
];

#[tokio::test]
async fn variables_take_every_rule_to_the_account_that_they_name() {
    if Account::named().is_some() {
        return;
    }
    let Some(url) = stand_in() else { return };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(RULES)
        .args(["--nocapture", "--test-threads=4"])
        // Nothing but the named account is left to run on.
        .env("PROVENDER_VENV", "/nonexistent")
        .env("CI", "true")
        .env("PROVENDER_CASES", "6");
    for (name, value) in [
        ("ACCOUNT", "named-account"),
        ("ENDPOINT", url),
        ("USER", "tester"),
        ("PASSWORD", "password-canary"),
        ("ROLE", "TESTER"),
        ("WAREHOUSE", "TEST_WH"),
        ("DATABASE", "NAMED"),
        ("SCHEMA", "RULES"),
    ] {
        command.env(format!("PROVENDER_TEST_SNOWFLAKE_{name}"), value);
    }
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    // Rules of writing that look into what the stand-in has seen, or make it fail, and the kit in another encoding.
    let n_skipped = text
        .lines()
        .filter(|line| line.contains("skipped: "))
        .count();
    assert_eq!(n_skipped, 7, "{text}");
    let statements = state("").await["statements"].as_array().unwrap().clone();
    let of_named =
        |s: &&serde_json::Value| s["sql"].as_str().unwrap().contains("\"NAMED\".\"RULES\"");
    assert!(statements.iter().filter(of_named).count() > 100);
}
