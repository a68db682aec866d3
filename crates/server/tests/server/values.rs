//! How values are spelled in JSON.

use serde_json::{Value, json};
use tonic::Code;

use crate::support::*;

/// A view whose request fields come back as they were read.
const FIELDS: [(&str, &str); 13] = [
    ("bool", "bool"),
    ("int8", "int8"),
    ("int64", "int64"),
    ("uint64", "uint64"),
    ("float32", "float32"),
    ("float64", "float64"),
    ("decimal", "decimal(20,2)"),
    ("string", "string"),
    ("binary", "binary"),
    ("date", "date"),
    ("timestamp", "timestamp"),
    ("list", "list<int64>"),
    ("json", "json"),
];

async fn echoing() -> Served {
    let requests = FIELDS.map(|(name, kind)| format!("{{name: r_{name}, type: \"{kind}\"}}"));
    let features =
        FIELDS.map(|(name, kind)| format!("{{name: e_{name}, type: \"{kind}\", sql: r_{name}}}"));
    let echo = format!(
        "on_demand_feature_views:
  - name: echo
    inputs: [airport_weather]
    request: [{}]
    features: [{}]
",
        requests.join(", "),
        features.join(", ")
    );
    let definitions = DEFINITIONS.replace("on_demand_feature_views:\n", &echo);
    Setup {
        definitions,
        ..Setup::default()
    }
    .serve()
    .await
}

fn command(field: &str, values: Value) -> Value {
    let mut request: serde_json::Map<String, Value> = FIELDS
        .iter()
        .map(|(name, _)| (format!("r_{name}"), Value::Null))
        .collect();
    let n_rows = values.as_array().map_or(2, Vec::len);
    request.insert(format!("r_{field}"), values);
    json!({"op": "online", "features": ["echo", "airport_weather:temp"], "entities": {"origin": vec!["JFK"; n_rows]}, "request": request})
}

#[tokio::test(flavor = "multi_thread")]
async fn each_type_takes_its_spellings() {
    let served = echoing().await;
    for (field, values, expected) in [
        (
            "bool",
            json!([true, false, null]),
            vec!["true", "false", "-"],
        ),
        ("int8", json!([127, "-128"]), vec!["127", "-128"]),
        (
            "int64",
            json!([9223372036854775807_i64, "-9223372036854775808"]),
            vec!["9223372036854775807", "-9223372036854775808"],
        ),
        (
            "uint64",
            json!([18446744073709551615_u64, "18446744073709551615"]),
            vec!["18446744073709551615"; 2],
        ),
        (
            "float64",
            json!([1, 0.5, "NaN", "Infinity", "-Infinity", null]),
            vec!["1.0", "0.5", "NaN", "inf", "-inf", "-"],
        ),
        ("float32", json!([0.1, "NaN"]), vec!["0.1", "NaN"]),
        (
            "decimal",
            json!([1.5, "123456789012345678.91", 7, "-0.5"]),
            vec!["1.50", "123456789012345678.91", "7.00", "-0.50"],
        ),
        ("string", json!(["", "ü"]), vec!["", "ü"]),
        ("binary", json!(["AAH/", ""]), vec!["0001ff", ""]),
        (
            "date",
            json!(["2026-01-31", "1969-12-31"]),
            vec!["2026-01-31", "1969-12-31"],
        ),
        (
            "timestamp",
            json!(["2026-01-31T01:00:00+01:00", 1_000_001]),
            vec!["2026-01-31T00:00:00Z", "1970-01-01T00:00:01.000001Z"],
        ),
        (
            "list",
            json!([[1, "2"], [], null]),
            vec!["[1, 2]", "[]", "-"],
        ),
        ("json", json!([{"a": 1}, "[2]"]), vec!["{\"a\":1}", "[2]"]),
        // One value for all rows.
        ("float64", json!(2.5), vec!["2.5", "2.5"]),
        ("string", json!("x"), vec!["x", "x"]),
    ] {
        let rows = served.get(command(field, values.clone())).await;
        let rows = rows.unwrap_or_else(|status| panic!("{field} {values}: {status}"));
        assert_eq!(
            text(&rows, &format!("e_{field}")),
            expected,
            "{field} {values}"
        );
    }
    for (field, values, expected) in [
        ("bool", json!([1]), "bool was expected"),
        (
            "int8",
            json!([128]),
            "int8 (a whole number, or a string of one)",
        ),
        ("int64", json!([1.5]), "has 1.5 in row 0"),
        ("int64", json!([1, "x"]), "has \"x\" in row 1"),
        ("int64", json!(["9223372036854775808"]), "int64"),
        ("uint64", json!([-1]), "uint64"),
        (
            "float64",
            json!(["inf"]),
            "\"NaN\", \"Infinity\" or \"-Infinity\"",
        ),
        ("decimal", json!(["1.234"]), "decimal(20,2)"),
        ("binary", json!(["?"]), "base64"),
        ("date", json!(["2026-01-31T00:00:00Z"]), "a date such as"),
        ("date", json!([7]), "a date such as"),
        (
            "timestamp",
            json!(["yesterday"]),
            "RFC 3339 or whole microseconds",
        ),
        ("timestamp", json!([1.5]), "RFC 3339 or whole microseconds"),
        (
            "list",
            json!([1]),
            "has 1 in row 0, and list<int64> was expected",
        ),
    ] {
        let status = served.refused(command(field, values)).await;
        assert_status(
            &status,
            Code::InvalidArgument,
            &[expected, &format!("request.r_{field}")],
        );
    }
    served.stop().await;
}
