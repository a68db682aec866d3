//! Reading: names, columns, types in both encodings, order, and messages.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::DataType;
use provender_core::model::Relation;
use provender_core::request::{ColumnRange, OfflineRequest, Scan, SourceRef, Spine, SqlSpine};
use provender_core::time::{instant_type, parse_instant};
use serde_json::json;

use crate::support::*;

fn encodings() -> [serde_json::Value; 3] {
    [
        json!({}),
        json!({"realism": true, "ts_scale": 6}),
        json!({"realism": true, "ts_scale": 3, "chunk_rows": 1}),
    ]
}

#[tokio::test]
async fn every_type_is_read_the_same_in_every_encoding() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let table = unique("types");
    let made = account
        .run(&[
            format!(
                "CREATE TABLE \"{table}\" (\"i\" NUMBER(38,0), \"small\" NUMBER(3,0), \"d\" NUMBER(20,4), \"wide\" NUMBER(38,10), \
                 \"f\" FLOAT, \"s\" VARCHAR, \"b\" BOOLEAN, \"bin\" BINARY, \"day\" DATE, \"t\" TIME, \"ntz\" TIMESTAMP_NTZ(9), \
                 \"tz\" TIMESTAMP_TZ(9), \"ltz\" TIMESTAMP_LTZ(9), \"v\" VARIANT, \"e\" VECTOR(FLOAT, 2), \"o\" OBJECT, \"arr\" ARRAY)"
            ),
            format!(
                "INSERT INTO \"{table}\" SELECT 9007199254740993, -7, -12.3456, 1234567890123456789012345678.0123456789, 'NaN'::FLOAT, \
                 'ä \" ''', TRUE, TO_BINARY('00ff', 'HEX'), '1969-12-31'::DATE, '10:11:12.5'::TIME, \
                 '1969-12-31 23:59:59.999'::TIMESTAMP_NTZ, '2020-01-01 00:00:00.123'::TIMESTAMP_TZ, '1960-01-01 00:00:00.456'::TIMESTAMP_LTZ, PARSE_JSON('{{\"a\": [1, null]}}'), \
                 PARSE_JSON('[1.5, -2]')::VECTOR(FLOAT, 2), PARSE_JSON('{{\"a\": 1}}')::OBJECT, PARSE_JSON('[1, \"x\"]')::ARRAY"
            ),
            format!("INSERT INTO \"{table}\" (\"i\", \"f\") VALUES (-1, 'inf'::FLOAT)"),
            format!("INSERT INTO \"{table}\" (\"i\", \"f\") VALUES (NULL, '-inf'::FLOAT)"),
        ])
        .await;
    if !made {
        return;
    }
    for encoding in encodings() {
        let store = account.open(encoding.clone()).await;
        let source = SourceRef::table(&table);
        let schema = store.schema(&cx(), &source).await.unwrap();
        let batch = read(&*store, all(source)).await.unwrap();
        assert_eq!(batch.schema(), schema, "{encoding}");
        assert_eq!(*schema.field(0).data_type(), DataType::Decimal128(38, 0));
        assert_eq!(*schema.field(2).data_type(), DataType::Decimal128(20, 4));
        for at in 10..13 {
            assert_eq!(*schema.field(at).data_type(), instant_type());
        }
        assert_eq!(
            schema.field(13).metadata()["ARROW:extension:name"],
            "arrow.json"
        );
        let floats = batch["f"].as_primitive::<Float64Type>();
        let row = (0..3).find(|row| floats.value(*row).is_nan()).unwrap();
        for infinite in [f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(
                floats.values().iter().filter(|it| **it == infinite).count(),
                1
            );
        }
        let decimal = |name: &str| batch[name].as_primitive::<Decimal128Type>().value(row);
        assert_eq!(decimal("i"), 9_007_199_254_740_993);
        assert_eq!(decimal("small"), -7);
        assert_eq!(decimal("d"), -123_456);
        assert_eq!(
            decimal("wide"),
            12_345_678_901_234_567_890_123_456_780_123_456_789
        );
        assert_eq!(batch["s"].as_string::<i32>().value(row), "ä \" '");
        assert!(batch["b"].as_boolean().value(row));
        assert_eq!(batch["bin"].as_binary::<i32>().value(row), [0, 255]);
        assert_eq!(batch["day"].as_primitive::<Date32Type>().value(row), -1);
        assert_eq!(batch["t"].as_string::<i32>().value(row), "10:11:12.5");
        let instant = |name: &str| {
            batch[name]
                .as_primitive::<TimestampMicrosecondType>()
                .value(row)
        };
        assert_eq!(instant("ntz"), -1_000);
        assert_eq!(
            instant("tz"),
            parse_instant("2020-01-01T00:00:00.123Z").unwrap()
        );
        assert_eq!(
            instant("ltz"),
            parse_instant("1960-01-01T00:00:00.456Z").unwrap()
        );
        assert_eq!(
            batch["v"].as_string::<i32>().value(row).replace(' ', ""),
            "{\"a\":[1,null]}"
        );
        for (name, text) in [("o", "{\"a\":1}"), ("arr", "[1,\"x\"]")] {
            assert_eq!(
                batch[name].as_string::<i32>().value(row).replace(' ', ""),
                text
            );
            let field = schema.field_with_name(name).unwrap();
            assert_eq!(field.metadata()["ARROW:extension:name"], "arrow.json");
        }
        let vector = batch["e"].as_fixed_size_list().value(row);
        assert_eq!(vector.as_primitive::<Float32Type>().values(), &[1.5, -2.0]);
        for name in [
            "d", "s", "b", "bin", "day", "t", "ntz", "tz", "ltz", "v", "e", "o", "arr",
        ] {
            assert_eq!(batch[name].null_count(), 2, "{name} {encoding}");
        }
    }
}

#[tokio::test]
async fn results_of_many_chunks_come_in_order_and_empty_ones_with_their_schema() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let name = unique("fifty");
    let numbers: ArrayRef = Arc::new((0..50).rev().collect::<Int64Array>());
    let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    append(&*account.open(json!({})).await, &name, rows)
        .await
        .unwrap();
    for encoding in encodings() {
        let store = account.open(encoding).await;
        let source = query(&format!("SELECT * FROM {name} ORDER BY 1"));
        let batch = read(&*store, all(source)).await.unwrap();
        let found: Vec<i128> = batch["n"]
            .as_primitive::<Decimal128Type>()
            .values()
            .to_vec();
        assert_eq!(found, (0..50).collect::<Vec<i128>>());
        let source = query("SELECT 1::NUMBER(5,0) AS \"n\", 'x' AS \"s\" WHERE FALSE");
        let batch = read(&*store, all(source)).await.unwrap();
        assert_eq!(batch.num_rows(), 0);
        let types: Vec<DataType> = batch
            .schema()
            .fields()
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        assert_eq!(types, [DataType::Decimal128(5, 0), DataType::Utf8]);
    }
}

#[tokio::test]
async fn sums_of_numbers_are_exact() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let store = account.open(json!({"realism": true})).await;
    let source = query(
        "SELECT SUM(x) AS s FROM (SELECT 9007199254740993::NUMBER(38,0) AS x UNION ALL SELECT 1::NUMBER(38,0)) AS t",
    );
    let batch = read(&*store, all(source)).await.unwrap();
    assert_eq!(
        batch["s"].as_primitive::<Decimal128Type>().value(0),
        9_007_199_254_740_994
    );
}

#[tokio::test]
async fn tables_match_exactly_else_whatever_their_case_and_columns_come_as_asked() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let store = account.open(json!({})).await;
    let name = unique("Mixed Case");
    let day = |text: &str| Some(parse_instant(text).unwrap());
    let days = vec![day("2020-01-01"), day("2020-01-02"), None];
    let rows = RecordBatch::try_from_iter_with_nullable([
        (
            "Key",
            Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef,
            true,
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(days).with_timezone("UTC")),
            true,
        ),
    ])
    .unwrap();
    append(&*store, &name, rows).await.unwrap();
    let schema = account.upper("schema");
    let place = format!("{}.{schema}", account.upper("database"));
    for spelled in [
        name.clone(),
        name.to_uppercase(),
        format!("{schema}.\"{name}\""),
        format!("{}.{name}", place.to_lowercase()),
    ] {
        let batch = read(&*store, all(SourceRef::table(&spelled)))
            .await
            .unwrap();
        assert_eq!(batch.num_rows(), 3, "{spelled}");
    }
    let day = parse_instant("2020-01-02").unwrap();
    let scan = Scan {
        source: SourceRef::table(&name),
        columns: Some(vec!["at".to_owned(), "Key".to_owned()]),
        ranges: vec![ColumnRange {
            column: "at".to_owned(),
            min_us: Some(day),
            max_us: None,
        }],
    };
    let batch = read(&*store, scan.clone()).await.unwrap();
    assert_eq!(batch.schema().field(0).name(), "at");
    assert!(
        batch["Key"]
            .as_primitive::<Decimal128Type>()
            .values()
            .contains(&2)
    );
    let scan = Scan {
        columns: Some(Vec::new()),
        ranges: Vec::new(),
        ..scan
    };
    assert_eq!(read(&*store, scan).await.unwrap().num_rows(), 3);
}

#[tokio::test]
async fn missing_tables_and_bad_sql_are_told_by_name() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let store = account.open(json!({})).await;
    let name = unique("weather");
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let rows = RecordBatch::try_from_iter([("a", numbers)]).unwrap();
    append(&*store, &name, rows).await.unwrap();
    let wrong = name.replace("weather", "wether");
    let role = match account.options(&json!({})).get("role") {
        Some(role) => format!("role {}", role.as_str().unwrap()),
        None => "the user's role".to_owned(),
    };
    let error = failure(&*store, all(SourceRef::table(&wrong))).await;
    assert_eq!(error.code(), "P120");
    assert_eq!(
        error.to_string(),
        format!(
            "Snowflake has no table {wrong:?} in {}.{} that {role} may see; did you mean {name:?}?",
            account.upper("database"),
            account.upper("schema"),
        )
    );
    let error = failure(&*store, all(query("SELECT nothing FROM nowhere"))).await;
    assert_eq!(error.code(), "P123");
    assert!(
        error
            .message()
            .starts_with("the query \"SELECT nothing FROM nowhere\" fails: Snowflake refuses"),
        "{error}"
    );
    let mut source = SourceRef::table(&name);
    source.filter = Some("no_such_column > 1".to_owned());
    let error = failure(&*store, all(source)).await;
    assert_eq!(error.code(), "P123");
    assert!(error.message().contains("no_such_column > 1"), "{error}");
}

#[tokio::test]
async fn explain_answers_the_statements_that_run() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let tag = unique("log");
    let store = account.open(json!({"name": tag})).await;
    let name = unique("explained");
    let (join, spine) = crate::properties::spine_of(&name, 10);
    append(&*store, &name, crate::properties::rows_of(10))
        .await
        .unwrap();
    let explain = async |request| store.explain(&cx(), &request).await.unwrap();
    let text = explain(OfflineRequest::Scan(all(SourceRef::table(&name)))).await;
    assert!(
        text.starts_with("SELECT") && text.contains(&format!("\"{}\"", name.to_uppercase())),
        "{text}"
    );

    let uploaded = explain(OfflineRequest::PointInTimeJoin(join.clone(), None)).await;
    assert!(
        uploaded.starts_with("CREATE TEMPORARY TABLE \"PROVENDER_TMP_\" ("),
        "{uploaded}"
    );
    assert!(
        uploaded.contains("\n\nWITH \"pv_spine\" AS ("),
        "{uploaded}"
    );
    let own = SqlSpine {
        relation: Relation::Query(format!("SELECT k, \"AT\" FROM {name}")),
        timestamp: "at".to_owned(),
    };
    let request = OfflineRequest::PointInTimeJoin(join.clone(), Some(own.clone()));
    let explained = explain(request).await;
    assert!(!explained.contains("TEMPORARY"), "{explained}");
    let answer = store
        .point_in_time_join(&cx(), join.clone(), Spine::Sql(own))
        .await
        .unwrap();
    assert_eq!(answer.schema.fields().len(), 3);
    let n_rows: usize = answer
        .collect()
        .await
        .unwrap()
        .iter()
        .map(RecordBatch::num_rows)
        .sum();
    assert_eq!(n_rows, 10);
    let answer = store.point_in_time_join(&cx(), join, spine).await.unwrap();
    answer.collect().await.unwrap();
    if let Account::StandIn(_) = &account {
        let log = state(&tag).await;
        let ran: Vec<&str> = log["statements"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["sql"].as_str().unwrap())
            .collect();
        assert!(ran.contains(&explained.as_str()), "{explained}\n{ran:#?}");
    }

    let findings = store.check(&cx()).await.unwrap();
    let place = format!(
        "that the role may see in {}.{}",
        account.upper("database"),
        account.upper("schema")
    );
    assert!(findings[0].contains(&place), "{findings:?}");
}
