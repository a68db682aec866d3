//! Point-in-time joins.

use provender_conformance::generate::{JoinCase, shrink};
use provender_conformance::oracle::{
    Value, check_point_in_time_join, check_point_in_time_join_error,
};
use provender_core::ErrorKind;

use crate::runner::{Limited, answer, context, n_cases, resources, run};

#[test]
fn random_joins_equal_the_oracle() {
    let limited = Limited::default();
    run(n_cases(), |seed| {
        let case = JoinCase::random(seed)?;
        check(&case, &limited).map_err(|why| {
            let ignored = Limited::default();
            let small = shrink(&case, |case| check(case, &ignored).is_err());
            let small_why = check(&small, &ignored).err().unwrap_or_default();
            format!("{why}\nsmallest case that fails: {small_why}\n{small}")
        })
    });
    limited.assert_most_are_answered();
}

#[test]
fn same_join_gives_the_same_rows_on_every_run() {
    run(n_cases() / 20, |seed| {
        let case = JoinCase::random(seed)?;
        let [first, second] = [0; 2].map(|_| ask(&case));
        let is_same = match (first?, second?) {
            (Ok(first), Ok(second)) => first.one_batch()? == second.one_batch()?,
            (Err(first), Err(second)) => first.code() == second.code(),
            _ => false,
        };
        if is_same {
            Ok(())
        } else {
            Err(format!("two runs differ\n{case}"))
        }
    });
}

#[test]
fn as_known_without_created_timestamp_leaks_nothing() {
    // The request is refused before it comes here; whoever asks the engine all the same gets no value.
    let lacks_created = |case: &JoinCase| {
        let view = &case.join.views[0];
        view.source.created_timestamp.is_none() && !view.features.is_empty()
    };
    let cases = (0..2_000).map(|seed| JoinCase::random(seed).unwrap());
    let mut n_cases = 0;
    for mut case in cases.filter(lacks_created) {
        case.join.as_known = true;
        case.memory_limit_bytes = None;
        n_cases += 1;
        match ask(&case).unwrap() {
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}"),
            Ok(table) => {
                let answer = table.one_batch().unwrap();
                for column in 0..case.join.views[0].features.len() {
                    for row in 0..answer.num_rows() {
                        let value = Value::read(answer.column(column).as_ref(), row).unwrap();
                        assert!(value.is_null(), "row {row} got {value:?}\n{case}");
                    }
                }
            }
        }
    }
    assert!(n_cases > 100, "{n_cases}");
}

fn check(case: &JoinCase, limited: &Limited) -> Result<(), String> {
    let answered = ask(case)?;
    if limited.is_refusal(case.memory_limit_bytes, &answered) {
        return Ok(());
    }
    match answered {
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
