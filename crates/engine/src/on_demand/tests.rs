//! Expressions with results worked out by hand, every refusal with its text, and the property that
//! batches give what rows give one by one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::*;
use arrow_select::concat::concat;
use provender_core::time::instant_type;
use provender_core::{Error, ErrorKind, ValueType};

use super::{Expression, InputColumn, compile};

fn input(view: Option<&str>, name: &str, value_type: &str) -> InputColumn {
    InputColumn {
        view: view.map(str::to_owned),
        name: name.to_owned(),
        value_type: value_type.parse().unwrap(),
    }
}

fn inputs() -> Vec<InputColumn> {
    vec![
        input(Some("v"), "a", "int64"),
        input(Some("v"), "b", "int64"),
        input(Some("v"), "x", "float64"),
        input(Some("v"), "s", "string"),
        input(Some("v"), "t", "timestamp"),
        input(Some("v"), "l", "list<int64>"),
        input(Some("v"), "p", "struct<lat: float64, Lon: float64>"),
        input(Some("v"), "temp", "float64"),
        input(Some("dest"), "temp", "float64"),
        input(None, "heading", "float64"),
        input(None, "case", "bool"),
        input(None, "abs", "int64"),
        input(Some("v"), "Mixed", "int64"),
        input(Some("v"), "d", "decimal(10,2)"),
        input(Some("v"), "u", "uint8"),
    ]
}

/// Three rows; the second is null everywhere.
fn columns() -> Vec<ArrayRef> {
    let floats = |values: [f64; 2]| -> ArrayRef {
        Arc::new(Float64Array::from(vec![
            Some(values[0]),
            None,
            Some(values[1]),
        ]))
    };
    let whole = |first, last| -> ArrayRef {
        Arc::new(Int64Array::from(vec![Some(first), None, Some(last)]))
    };
    let list = [Some(vec![Some(7), Some(8)]), None, Some(vec![])];
    let fields = match inputs()[6].value_type.to_arrow() {
        arrow_schema::DataType::Struct(fields) => fields,
        other => panic!("{other}"),
    };
    let point = vec![floats([50.5, -1.0]), floats([8.0, 2.0])];
    let decimals = Decimal128Array::from(vec![Some(150), None, Some(-25)]);
    vec![
        whole(7, -4),
        whole(2, 0),
        floats([1.5, f64::NAN]),
        Arc::new(StringArray::from(vec![Some("Wind"), None, Some("")])),
        Arc::new(
            TimestampMicrosecondArray::from(vec![Some(1_356_998_400_000_000), None, Some(-1)])
                .with_timezone("UTC"),
        ),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(list)),
        Arc::new(StructArray::new(fields, point, None)),
        floats([20.0, 30.0]),
        floats([1.0, 2.0]),
        floats([90.0, 270.0]),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        whole(-1, 1),
        whole(5, 6),
        Arc::new(decimals.with_precision_and_scale(10, 2).unwrap()),
        Arc::new(UInt8Array::from(vec![Some(200), None, Some(0)])),
    ]
}

fn compiled(sql: &str, value_type: &str) -> Expression {
    compile("od", "f", &value_type.parse().unwrap(), sql, &inputs())
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

fn refused(sql: &str, value_type: &str) -> Error {
    match compile("od", "f", &value_type.parse().unwrap(), sql, &inputs()) {
        Ok(_) => panic!("{sql} compiles"),
        Err(error) => error,
    }
}

fn evaluated(sql: &str, value_type: &str) -> ArrayRef {
    let expression = compiled(sql, value_type);
    let result = expression
        .evaluate(&columns(), 3)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    assert_eq!(result.len(), 3, "{sql}");
    assert_eq!(
        result.data_type(),
        &expression.value_type().to_arrow(),
        "{sql}"
    );
    result
}

#[test]
fn whole_number_expressions_give_what_sql_says() {
    for (sql, expected) in [
        ("a + b", [Some(9), None, Some(-4)]),
        ("a - b * 2", [Some(3), None, Some(-4)]),
        ("-a", [Some(-7), None, Some(4)]),
        ("- (-a)", [Some(7), None, Some(-4)]),
        ("a / 2", [Some(3), None, Some(-2)]),
        ("a % 4", [Some(3), None, Some(0)]),
        ("V.A", [Some(7), None, Some(-4)]),
        ("\"a\" + \"v\".\"b\"", [Some(9), None, Some(-4)]),
        ("mixed", [Some(5), None, Some(6)]),
        ("\"Mixed\"", [Some(5), None, Some(6)]),
        ("abs(a)", [Some(7), None, Some(4)]),
        ("ABS(abs)", [Some(1), None, Some(1)]),
        (
            "CASE WHEN \"case\" THEN a ELSE b END",
            [Some(7), None, Some(0)],
        ),
        ("coalesce(a, 0)", [Some(7), Some(0), Some(-4)]),
        ("nvl(a, b + 1)", [Some(7), None, Some(-4)]),
        ("nvl2(a, 1, 2)", [Some(1), Some(2), Some(1)]),
        ("nullif(b, 0)", [Some(2), None, None]),
        ("a / nullif(b, 0)", [Some(3), None, None]),
        ("length(s)", [Some(4), None, Some(0)]),
        ("l[1]", [Some(7), None, None]),
        ("v.l[2] + 1", [Some(9), None, None]),
        ("cardinality(l)", [Some(2), None, Some(0)]),
        ("greatest(a, b)", [Some(7), None, Some(0)]),
        ("date_part('year', t)", [Some(2013), None, Some(1969)]),
        ("extract(hour FROM t)", [Some(0), None, Some(23)]),
        // NaN is no whole number: CAST would fail.
        ("TRY_CAST(x AS BIGINT)", [Some(1), None, None]),
        ("42", [Some(42); 3]),
        ("40 + 2 -- the answer", [Some(42); 3]),
        ("NULL", [None; 3]),
        ("arrow_cast(a, 'Int16')", [Some(7), None, Some(-4)]),
        ("d * 100", [Some(150), None, Some(-25)]),
        ("u + 100", [Some(300), None, Some(100)]),
        ("-9223372036854775808", [Some(i64::MIN); 3]),
    ] {
        let result = evaluated(sql, "int64");
        let found: Vec<_> = result.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(found, expected, "{sql}");
    }
}

#[test]
fn float_expressions_give_what_sql_says() {
    let near = |sql: &str, expected: [Option<f64>; 3]| {
        let result = evaluated(sql, "float64");
        for (found, expected) in result.as_primitive::<Float64Type>().iter().zip(expected) {
            match (found, expected) {
                (Some(found), Some(expected)) if expected.is_nan() => {
                    assert!(found.is_nan(), "{sql}")
                }
                (Some(found), Some(expected)) if found == expected => {}
                (Some(found), Some(expected)) => {
                    assert!(
                        (found - expected).abs() < 1e-9,
                        "{sql}: {found} for {expected}"
                    );
                }
                (found, expected) => assert_eq!(found, expected, "{sql}"),
            }
        }
    };
    near("x * 2", [Some(3.0), None, Some(f64::NAN)]);
    near("x / 0", [Some(f64::INFINITY), None, Some(f64::NAN)]);
    near("a / 2.0", [Some(3.5), None, Some(-2.0)]);
    near("a", [Some(7.0), None, Some(-4.0)]);
    near("v.temp - dest.temp", [Some(19.0), None, Some(28.0)]);
    near("p.lat + p.lon", [Some(58.5), None, Some(1.0)]);
    near("v.p.lat", [Some(50.5), None, Some(-1.0)]);
    near("p['Lon']", [Some(8.0), None, Some(2.0)]);
    near(
        "a * abs(sin(radians(heading)))",
        [Some(7.0), None, Some(-4.0)],
    );
    near("power(b, 2)", [Some(4.0), None, Some(0.0)]);
    near("d", [Some(1.5), None, Some(-0.25)]);
    near("round(dest.temp * 1.26, 1)", [Some(1.3), None, Some(2.5)]);
    near("pi()", [Some(std::f64::consts::PI); 3]);
}

#[test]
fn other_types_come_out_as_declared() {
    let texts = evaluated("upper(s) || '!'", "string");
    let texts: Vec<_> = texts.as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("WIND!"), None, Some("!")]);
    let texts = evaluated("CAST(a AS VARCHAR)", "string");
    let texts: Vec<_> = texts.as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("7"), None, Some("-4")]);
    let truths = evaluated("s LIKE 'W%' AND a > 0 OR b BETWEEN 0 AND 0", "bool");
    let truths: Vec<_> = truths.as_boolean().iter().collect();
    assert_eq!(truths, [Some(true), None, Some(true)]);
    let truths = evaluated("a IN (7, 8) OR a IS NULL", "bool");
    let truths: Vec<_> = truths.as_boolean().iter().collect();
    assert_eq!(truths, [Some(true), Some(true), Some(false)]);
    assert_eq!(
        evaluated("date_trunc('day', t)", "timestamp").data_type(),
        &instant_type()
    );
    assert_eq!(
        evaluated("t + INTERVAL '1 day'", "timestamp").null_count(),
        1
    );
    let days = evaluated("CAST(t AS DATE)", "date");
    assert_eq!(
        days.as_ref(),
        &Date32Array::from(vec![Some(15_706), None, Some(-1)]) as &dyn Array
    );
    assert_eq!(evaluated("[a, b]", "list<int64>").len(), 3);
    assert_eq!(evaluated("make_array(x, x)", "list<float64>").len(), 3);
    assert_eq!(evaluated("[1.0, 2.0]", "embedding<2>").len(), 3);
    assert_eq!(
        evaluated("named_struct('k', a)", "struct<k: int64>").len(),
        3
    );
    assert_eq!(evaluated("s", "json").len(), 3);
    assert_eq!(evaluated("l", "list<int64>").len(), 3);
    assert_eq!(evaluated("b", "decimal(38,2)").null_count(), 1);
}

#[test]
fn only_the_inputs_that_are_read_count() {
    assert_eq!(compiled("b + v.a + b", "int64").inputs(), [0, 1]);
    assert_eq!(compiled("dest.temp", "float64").inputs(), [8]);
    assert!(compiled("1 + 1", "int64").inputs().is_empty());
    let mut columns = columns();
    columns[3] = Arc::new(NullArray::new(1));
    assert!(compiled("a + b", "int64").evaluate(&columns, 3).is_ok());
    let error = compiled("s", "string").evaluate(&columns, 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    let error = compiled("s", "string")
        .evaluate(&columns[..2], 3)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "on-demand feature \"od.f\" was given 2 columns instead of 15"
    );
}

#[test]
fn no_rows_give_no_rows_of_the_declared_type() {
    let empty: Vec<ArrayRef> = columns().iter().map(|column| column.slice(0, 0)).collect();
    for (sql, value_type) in [("a / b", "float64"), ("1", "int8"), ("[a]", "list<int64>")] {
        let expression = compiled(sql, value_type);
        let result = expression.evaluate(&empty, 0).unwrap();
        assert_eq!(
            (result.len(), result.data_type()),
            (0, &expression.value_type().to_arrow())
        );
    }
}

#[test]
fn unknown_and_unclear_names_say_what_there_is() {
    let text = |sql: &str| refused(sql, "float64").to_string();
    let listed = "the inputs are v.a, v.b, v.x, v.s, v.t, v.l, v.p, v.temp, dest.temp, heading, case, abs, v.Mixed, v.d, v.u";
    assert_eq!(
        text("headin * 2"),
        format!(
            "on-demand feature \"od.f\" names the unknown input \"headin\"; did you mean \"heading\"? {listed}"
        )
    );
    assert_eq!(
        text("w.temperature"),
        format!("on-demand feature \"od.f\" names the unknown input \"w.temperature\"; {listed}")
    );
    assert_eq!(
        text("dest.tmp"),
        format!(
            "on-demand feature \"od.f\" names the unknown input \"dest.tmp\"; did you mean \"dest.temp\"? {listed}"
        )
    );
    assert_eq!(
        text("temp"),
        "on-demand feature \"od.f\" names \"temp\", which is not clear: it can be v.temp or dest.temp; write view.feature, for example v.temp"
    );
    assert_eq!(
        text("p.lng"),
        "on-demand feature \"od.f\" names the unknown field \"lng\" of v.p; the fields are lat, Lon"
    );
    let inputs = [
        input(Some("v"), "Ab", "int8"),
        input(Some("v"), "aB", "int8"),
    ];
    let error = compile("od", "f", &ValueType::Int8, "AB", &inputs).unwrap_err();
    assert!(
        error.message().ends_with("it can be v.Ab or v.aB"),
        "{error}"
    );
    assert!(compile("od", "f", &ValueType::Int8, "aB", &inputs).is_ok());
    let error = compile("od", "f", &ValueType::Int8, "a", &[]).unwrap_err();
    assert!(
        error.to_string().ends_with("there are no inputs"),
        "{error}"
    );
}

#[test]
fn what_is_no_function_of_one_row_is_refused() {
    for (sql, expected) in [
        (
            "random()",
            "uses random, whose value changes from call to call",
        ),
        (
            "a + random() * 2",
            "uses random, whose value changes from call to call",
        ),
        ("uuid()", "uses uuid, whose value changes from call to call"),
        ("now()", "uses now, which tells the time of the call"),
        (
            "current_timestamp",
            "uses now, which tells the time of the call",
        ),
        (
            "current_timestamp()",
            "uses now, which tells the time of the call",
        ),
        (
            "current_date",
            "uses current_date, which tells the time of the call",
        ),
        (
            "current_time()",
            "uses current_time, which tells the time of the call",
        ),
        ("t - now()", "uses now, which tells the time of the call"),
        ("(SELECT 1)", "holds a subquery"),
        ("EXISTS (SELECT 1)", "holds a subquery"),
        ("a IN (SELECT 1)", "holds a subquery"),
        ("sum(a)", "uses the aggregate function sum"),
        ("count(*)", "holds *"),
        ("count(a)", "uses the aggregate function count"),
        ("1 + max(a)", "uses the aggregate function max"),
        (
            "row_number() OVER ()",
            "uses the window function row_number",
        ),
        ("sum(a) OVER (ORDER BY t)", "uses the window function sum"),
        ("*", "holds *"),
        ("v.*", "holds *"),
        ("$1", "holds the parameter $1"),
        ("a + $x", "holds the parameter $x"),
        ("?", "holds the parameter ?"),
        ("unnest(l)", "makes several rows of one"),
    ] {
        let error = refused(sql, "float64");
        assert_eq!(error.code(), "P111", "{sql}");
        assert_eq!(
            error.message(),
            format!("on-demand feature \"od.f\" {expected}"),
            "{sql}"
        );
        assert!(error.help_text().is_some(), "{sql}");
    }
}

#[test]
fn sql_that_is_no_expression_is_refused_with_its_place() {
    for (sql, expected) in [
        ("a +", "cannot be read: Expected: an expression, found: EOF"),
        (
            "a, b",
            "cannot be read: Expected: end of expression, found: , at Line: 1, Column: 2",
        ),
        (
            "a; b",
            "cannot be read: Expected: end of expression, found: ; at Line: 1, Column: 2",
        ),
        ("a AS c", "cannot be read: it holds the alias c"),
        ("", "cannot be read: Expected: an expression, found: EOF"),
        (
            "a + 'x",
            "cannot be read: Unterminated string literal at Line: 1, Column: 5",
        ),
        ("foo(a)", "cannot be planned: Invalid function 'foo'"),
        ("s - t", "cannot be planned: "),
        ("l", "gives list<int64>, which cannot become float64"),
        ("t - t", "gives Duration"),
        (
            "99999999999.5",
            "gives 99999999999.5 which does not fit float32",
        ),
    ] {
        let value_type = if sql.starts_with('9') {
            "float32"
        } else {
            "float64"
        };
        let error = refused(sql, value_type);
        let start = format!("on-demand feature \"od.f\" {expected}");
        assert_eq!(error.code(), "P111", "{sql}");
        assert!(error.message().starts_with(&start), "{sql}: {error}");
        let context: Vec<_> = error
            .context_pairs()
            .iter()
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(context, ["od", "f"], "{sql}");
    }
    assert!(!refused("foo(a)", "float64").causes().is_empty());
    assert!(
        refused("1 / 0", "int64")
            .message()
            .contains("fails on every row: Divide by zero")
    );
}

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
fn large_and_deep_sql_is_refused_within_any_stack() {
    let small_stack = |work: fn()| {
        let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        thread.spawn(work).unwrap().join().unwrap();
    };
    small_stack(|| {
        let deep = "is nested more than 200 deep";
        for (sql, expected) in [
            (" ".repeat(65_537), "is 65537 bytes of SQL, more than 65536"),
            ("a+".repeat(32_000) + "a", deep),
            ("a+".repeat(400) + "a", deep),
            ("(".repeat(30_000), deep),
            (
                "-".repeat(1_000).replace('-', "- ") + "a",
                "cannot be read: it is nested too deeply",
            ),
            ("NOT ".repeat(10_000) + "\"case\"", "cannot be read"),
            ("a".to_owned() + &"::int".repeat(10_000), deep),
            ("a::int".to_owned() + &"[]".repeat(20_000), deep),
            ("l".to_owned() + &"[1]".repeat(20_000), deep),
            (
                "p".to_owned() + &".x".repeat(30_000),
                "cannot be read: it is nested too deeply",
            ),
            (
                "p".to_owned() + &".x".repeat(150) + &"[1]".repeat(100),
                deep,
            ),
            ("CAST(a AS ".to_owned() + &"ARRAY<".repeat(9_000), deep),
            ("CAST(a AS ".to_owned() + &"STRUCT<a ".repeat(7_000), deep),
            ("[".repeat(30_000), deep),
        ] {
            let error = refused(&sql, "int64");
            let start = format!("on-demand feature \"od.f\" {expected}");
            assert!(
                error.message().starts_with(&start),
                "{}: {error}",
                &sql[..20]
            );
        }
        let mut between = "b BETWEEN 1 AND 2".to_owned();
        for _ in 0..40 {
            between = format!("({between}) BETWEEN false AND true");
        }
        let error = refused(&between, "bool");
        assert!(
            error.message().contains("too large once BETWEEN"),
            "{error}"
        );
    });
    small_stack(|| {
        let deepest = "a+".repeat(198) + "a";
        let result = evaluated(&deepest, "int64");
        assert_eq!(result.as_primitive::<Int64Type>().value(0), 199 * 7);
        let nested = "abs(".repeat(60) + "a" + &")".repeat(60);
        assert_eq!(
            evaluated(&nested, "int64")
                .as_primitive::<Int64Type>()
                .value(2),
            4
        );
        let cases: String = (0..2_000)
            .map(|i| format!("WHEN a = {i} THEN {i} + 1 "))
            .collect();
        let result = evaluated(&format!("CASE {cases} ELSE 0 END"), "int64");
        assert_eq!(result.as_primitive::<Int64Type>().value(0), 8);
    });
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
