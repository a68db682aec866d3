//! What single rows do: failures, guards, threads, and that batches give what rows give one by one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::*;
use arrow_select::concat::concat;
use provender_core::{Error, ErrorKind, ValueType};

use super::super::compile;
use super::{columns, compiled, evaluated, input};

#[test]
fn overflow_and_division_by_zero_fail_and_name_the_row() {
    let inputs = [input(Some("v"), "a", "int64"), input(None, "b", "int64")];
    let columns: [ArrayRef; 2] = [
        Arc::new(Int64Array::from(vec![
            Some(1),
            None,
            Some(i64::MAX),
            Some(i64::MIN),
            Some(5),
        ])),
        Arc::new(Int64Array::from(vec![
            Some(1),
            Some(0),
            Some(1),
            Some(-1),
            Some(0),
        ])),
    ];
    let error = |sql: &str| {
        let expression = compile("od", "f", &ValueType::Int64, sql, &inputs).unwrap();
        expression.evaluate(&columns, 5).unwrap_err()
    };
    for (sql, row) in [
        ("a + b", 2),
        ("a + 1", 2),
        ("1 + a", 2),
        ("a - 1", 3),
        ("a * 2", 2),
        ("-a", 3),
        ("abs(a)", 3),
        ("a / b", 3),
        ("a % b", 4),
        ("CAST(a AS INT)", 2),
    ] {
        let error = error(sql);
        assert_eq!(
            (error.code(), error.kind()),
            ("P508", ErrorKind::InvalidArgument),
            "{sql}"
        );
        let start = format!("on-demand feature \"od.f\" fails on row {row}: ");
        assert!(error.message().starts_with(&start), "{sql}: {error}");
        assert!(!error.causes().is_empty(), "{sql}");
    }
    assert_eq!(
        error("a % b").to_string(),
        "on-demand feature \"od.f\" fails on row 4: Divide by zero error; guard the expression, for example with CASE or nullif, or mend the inputs"
    );
    // Folding a constant does not wrap either.
    let refusal = compile(
        "od",
        "f",
        &ValueType::Int64,
        "9223372036854775807 + 1",
        &inputs,
    );
    assert!(refusal.unwrap_err().message().contains("verflow"));
    let message = error("a * (9223372036854775807 + 1)").message().to_owned();
    assert!(message.contains("fails on row 0"), "{message}");
}

#[test]
fn values_that_do_not_fit_the_declared_type_fail() {
    let inputs = [input(Some("v"), "a", "int64")];
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some((1 << 53) + 1)]));
    let expression = compile("od", "f", &ValueType::Float64, "a", &inputs).unwrap();
    let error = expression.evaluate(&[column], 3).unwrap_err();
    assert_eq!(error.code(), "P501");
    assert_eq!(
        error.message(),
        "on-demand feature \"od.f\" gives 9007199254740993 on row 2, which does not fit float64"
    );
}

#[test]
fn guards_protect_rows_of_a_batch_as_they_protect_a_row() {
    let truths =
        |sql: &str| -> Vec<Option<bool>> { evaluated(sql, "bool").as_boolean().iter().collect() };
    assert_eq!(
        truths("b <> 0 AND a / b > 1"),
        [Some(true), None, Some(false)]
    );
    assert_eq!(truths("b = 0 OR a / b > 1"), [Some(true), None, Some(true)]);
    assert_eq!(
        truths("CASE WHEN b = 0 THEN false ELSE a / b > 1 END"),
        [Some(true), None, Some(false)]
    );
}

#[test]
fn one_expression_serves_many_threads() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let expression = compiled(
        "v.temp * abs(sin(radians(heading))) + coalesce(a, 0)",
        "float64",
    );
    shared(&expression);
    let columns = columns();
    let expected = expression.evaluate(&columns, 3).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert_eq!(&expression.evaluate(&columns, 3).unwrap(), &expected);
                }
            });
        }
    });
}

#[test]
fn a_row_is_evaluated_in_microseconds() {
    let expression = compiled(
        "v.temp * abs(sin(radians(heading))) + coalesce(a, 0)",
        "float64",
    );
    let row: Vec<ArrayRef> = columns().iter().map(|column| column.slice(0, 1)).collect();
    let started = std::time::Instant::now();
    for _ in 0..10_000 {
        expression.evaluate(&row, 1).unwrap();
    }
    // A sanity check of the order of magnitude only, wide enough for any machine.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// Batches of random rows give, value for value and failure for failure, what their rows give alone.
#[test]
fn a_batch_gives_what_its_rows_give() {
    let inputs = [
        input(Some("v"), "a", "int64"),
        input(Some("v"), "b", "int64"),
        input(Some("v"), "x", "float64"),
        input(None, "s", "string"),
        input(None, "c", "bool"),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |end: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end
    };
    let whole = [
        Some(0),
        Some(1),
        Some(-3),
        None,
        Some(i64::MAX),
        Some(i64::MIN),
        Some(7),
    ];
    let floats = [
        Some(0.0),
        Some(-0.0),
        Some(1.5),
        None,
        Some(f64::NAN),
        Some(1e300),
    ];
    let texts = [Some(""), Some("12"), Some("x"), None];
    let truths = [Some(true), Some(false), None];
    for (sql, value_type) in [
        ("b <> 0 AND a / b > 1", "bool"),
        ("b = 0 OR a % b = 0 OR c", "bool"),
        (
            "CASE WHEN b = 0 THEN NULL WHEN c THEN a / b ELSE a - b END",
            "int64",
        ),
        ("coalesce(a + b, CAST(s AS BIGINT), 3)", "int64"),
        ("coalesce(x, a) * 2", "float64"),
        ("a", "float64"),
        ("x", "int64"),
        ("x + a", "float32"),
        ("c AND CAST(s AS BIGINT) > a", "bool"),
        ("NOT (c OR CAST(s AS BIGINT) > a)", "bool"),
        ("concat(s, a, x)", "string"),
        ("s LIKE '1%' OR length(s) > b", "bool"),
        ("a BETWEEN b AND 5", "bool"),
        ("a IN (1, 7, b)", "bool"),
        ("[a, b]", "list<int8>"),
        ("nullif(a, b)", "int16"),
        ("x IS DISTINCT FROM 0.0", "bool"),
        (
            "CASE s WHEN '12' THEN 1 WHEN 'x' THEN 1 / b ELSE -a END",
            "int64",
        ),
    ] {
        let value_type: ValueType = value_type.parse().unwrap();
        let expression = compile("od", "f", &value_type, sql, &inputs)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        for _ in 0..60 {
            let n = next(12) as usize;
            let mut take = |length: usize| -> Vec<usize> {
                (0..n).map(|_| next(length as u64) as usize).collect()
            };
            let pick =
                |rows: Vec<usize>| rows.into_iter().map(|at| whole[at]).collect::<Int64Array>();
            let a = pick(take(whole.len()));
            let b = pick(take(whole.len()));
            let x: Float64Array = take(floats.len())
                .into_iter()
                .map(|at| floats[at])
                .collect();
            let s: StringArray = take(texts.len()).into_iter().map(|at| texts[at]).collect();
            let c: BooleanArray = take(truths.len())
                .into_iter()
                .map(|at| truths[at])
                .collect();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(a),
                Arc::new(b),
                Arc::new(x),
                Arc::new(s),
                Arc::new(c),
            ];
            let alone: Vec<_> = (0..n)
                .map(|row| {
                    let row: Vec<ArrayRef> =
                        columns.iter().map(|column| column.slice(row, 1)).collect();
                    expression.evaluate(&row, 1)
                })
                .collect();
            let batch = expression.evaluate(&columns, n);
            let failed = |code: &str| {
                let fails =
                    |one: &Result<ArrayRef, Error>| one.as_ref().is_err_and(|e| e.code() == code);
                alone.iter().position(fails)
            };
            match failed("P508").or_else(|| failed("P501")) {
                Some(row) => {
                    let error = batch.unwrap_err();
                    let found = error.context_pairs().iter().find(|(key, _)| key == "row");
                    assert_eq!(
                        found.map(|(_, row)| row.clone()),
                        Some(row.to_string()),
                        "{sql}: {error}"
                    );
                }
                None => {
                    let batch = batch.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                    assert_eq!(
                        (batch.len(), batch.data_type()),
                        (n, &value_type.to_arrow())
                    );
                    let alone: Vec<ArrayRef> = alone.into_iter().map(Result::unwrap).collect();
                    let alone: Vec<&dyn Array> = alone.iter().map(AsRef::as_ref).collect();
                    if !alone.is_empty() {
                        assert_eq!(concat(&alone).unwrap().to_data(), batch.to_data(), "{sql}");
                    }
                }
            }
        }
    }
}

#[test]
fn decimals_do_not_grow_beyond_their_digits() {
    let inputs = [input(Some("v"), "m", "decimal(38,0)")];
    let expression = compile("od", "f", &inputs[0].value_type, "m * m", &inputs).unwrap();
    let column = |value: i128| -> ArrayRef {
        let values = Decimal128Array::from(vec![Some(3), None, Some(value)]);
        Arc::new(values.with_precision_and_scale(38, 0).unwrap())
    };
    assert!(expression.evaluate(&[column(1_000)], 3).is_ok());
    let error = expression
        .evaluate(&[column(12 * 10_i128.pow(18))], 3)
        .unwrap_err();
    assert_eq!(error.code(), "P501");
    assert!(
        error
            .message()
            .ends_with("on row 2, which does not fit decimal(38,0)"),
        "{error}"
    );
    let error = expression
        .evaluate(&[column(10_i128.pow(20))], 3)
        .unwrap_err();
    assert_eq!(error.code(), "P508");
}
