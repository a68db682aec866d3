//! What plans and errors tell, in short.

use std::collections::HashMap;

use provender_core::Error;
use provender_store::Plan;

/// `action kind name from->to`, for each entry of a plan.
pub fn entries(plan: &Plan) -> Vec<String> {
    let number = |version: Option<u32>| version.map_or("-".to_owned(), |v| v.to_string());
    plan.entries
        .iter()
        .map(|entry| {
            format!(
                "{:?} {} {} {}->{}",
                entry.action,
                entry.kind.name(),
                entry.name,
                number(entry.from_version),
                number(entry.to_version)
            )
        })
        .collect()
}

/// What breaks, by the name of the entry it lies at.
pub fn breaks(plan: &Plan) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in &plan.entries {
        for sentence in &entry.breaks {
            found.push((entry.name.clone(), sentence.clone()));
        }
    }
    found
}

/// The codes of errors, counted.
pub fn codes_of(errors: &[Error]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for error in errors {
        *counts.entry(error.code().to_owned()).or_default() += 1;
    }
    counts
}
