//! Point-in-time joins.

use provender_conformance::generate::{JoinCase, shrink};
use provender_conformance::oracle::{check_point_in_time_join, check_point_in_time_join_error};
use provender_core::ErrorKind;

use crate::runner::{answer, context, n_cases, resources, run};

#[test]
fn random_joins_equal_the_oracle() {
    run(n_cases(), |seed| {
        let case = JoinCase::random(seed)?;
        check(&case).map_err(|why| {
            let small = shrink(&case, |case| check(case).is_err());
            let small_why = check(&small).err().unwrap_or_default();
            format!("{why}\nsmallest case that fails: {small_why}\n{small}")
        })
    });
}

#[test]
fn same_join_gives_the_same_rows_on_every_run() {
    run(n_cases() / 20, |seed| {
        let case = JoinCase::random(seed)?;
        let texts = [0; 2].map(|_| format!("{:?}", ask(&case)));
        if texts[0] == texts[1] {
            return Ok(());
        }
        Err(format!(
            "two runs differ: {} and {}\n{case}",
            texts[0], texts[1]
        ))
    });
}

#[test]
fn as_known_without_created_timestamp_is_invalid_argument() {
    let mut case = (0..)
        .map(|seed| JoinCase::random(seed).unwrap())
        .find(|case| {
            case.join
                .views
                .iter()
                .any(|v| v.source.created_timestamp.is_none())
        })
        .unwrap();
    case.join.as_known = true;
    let error = ask(&case).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
    assert_eq!(error.code(), "P405", "{error:?}");
}

fn check(case: &JoinCase) -> Result<(), String> {
    match ask(case)? {
        Ok(table) => {
            let answer = table.one_batch()?;
            check_point_in_time_join(&case.join, &case.tables, &case.spine, &answer)
        }
        Err(error) => check_point_in_time_join_error(&case.join, &case.tables, &case.spine, &error),
    }
}

fn ask(case: &JoinCase) -> Result<provender_core::Result<provender_conformance::Table>, String> {
    let (cx, resources) = (context(), resources(case.memory_limit_bytes));
    answer(provender_engine::point_in_time_join(
        &cx,
        &resources,
        case.store(),
        case.join.clone(),
        case.spine.to_rows(),
    ))
}
