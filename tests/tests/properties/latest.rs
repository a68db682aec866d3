//! The latest row per key.

use provender_conformance::generate::LatestCase;
use provender_conformance::oracle::{check_latest, check_latest_error};

use crate::runner::{Limited, answer, context, n_cases, resources, run};

#[test]
fn random_latest_rows_equal_the_oracle() {
    let limited = Limited::default();
    run(n_cases() / 5, |seed| {
        let case = LatestCase::random(seed)?;
        check(&case, &limited).map_err(|why| format!("{why}\n{case}"))
    });
    limited.assert_most_are_answered();
}

fn check(case: &LatestCase, limited: &Limited) -> Result<(), String> {
    let (cx, resources) = (context(), resources(case.memory_limit_bytes));
    let answered = answer(provender_engine::latest(
        &cx,
        &resources,
        case.store(),
        case.latest.clone(),
    ))?;
    if limited.is_refusal(case.memory_limit_bytes, &answered) {
        return Ok(());
    }
    match answered {
        Ok(table) => check_latest(&case.latest, &case.tables, &table.one_batch()?),
        Err(error) => check_latest_error(&case.latest, &case.tables, &error),
    }
}
