//! Expressions with results worked out by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod refusals;
mod rows;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::*;
use provender_core::time::instant_type;
use provender_core::{Error, ErrorKind};

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
