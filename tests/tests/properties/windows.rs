//! Windows as of one instant.

use provender_conformance::generate::WindowsCase;
use provender_conformance::oracle::{check_windows, check_windows_error};

use crate::runner::{Limited, answer, context, n_cases, resources, run};

#[test]
fn random_windows_equal_the_oracle() {
    let limited = Limited::default();
    run(n_cases() / 5, |seed| {
        let case = WindowsCase::random(seed)?;
        check(&case, &limited).map_err(|why| format!("{why}\n{case}"))
    });
    limited.assert_most_are_answered();
}

fn check(case: &WindowsCase, limited: &Limited) -> Result<(), String> {
    let (cx, resources) = (context(), resources(case.memory_limit_bytes));
    let answered = answer(provender_engine::windows(
        &cx,
        &resources,
        case.store(),
        case.windows.clone(),
    ))?;
    if limited.is_refusal(case.memory_limit_bytes, &answered) {
        return Ok(());
    }
    match answered {
        Ok(table) => check_windows(&case.windows, &case.tables, &table.one_batch()?),
        Err(error) => check_windows_error(&case.windows, &case.tables, &error),
    }
}
