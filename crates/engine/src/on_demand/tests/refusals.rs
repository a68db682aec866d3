//! Every refusal with its text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use provender_core::ValueType;

use super::super::compile;
use super::{evaluated, input, refused};

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
