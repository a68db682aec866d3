//! Reading through a warehouse: results in order, types, names, queries, filters, past states.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use arrow_schema::DataType;
use provender_conformance::Table;
use provender_core::model::SourceVersion;
use provender_core::request::{ColumnRange, OfflineRequest, Scan, SourceRef, WriteMode};
use provender_core::time::instant_type;
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn results_of_many_chunks_come_in_order_and_whole() {
    let Some(workspace) = Workspace::stand_in(json!({"chunk_rows": 37})).await else {
        return;
    };
    let store = workspace.with(json!({"insert_bytes": 20_000})).open().await;
    append(&*store, "t", numbered(2_000)).await.unwrap();
    let in_order = query(&format!(
        "SELECT k, f FROM {} ORDER BY k",
        workspace.full("t")
    ));
    for n_downloads in [1, 8] {
        let store = workspace
            .with(json!({"parallel_downloads": n_downloads}))
            .open()
            .await;
        let rows = read(&*store, all(in_order.clone())).await.unwrap();
        let found = rows.column(0).as_primitive::<Int64Type>().values();
        assert_eq!(found.to_vec(), (0..2_000).collect::<Vec<i64>>());
        assert_eq!(
            rows.column(1).as_primitive::<Float64Type>().value(1_999),
            1_999.0
        );
    }
    // Streams are ranges of the result.
    let streams = store.scan(&cx(), all(in_order)).await.unwrap();
    assert_eq!(streams.len(), 2);
    assert_eq!(workspace.count("link_with_token").await, 0);
    assert_eq!(workspace.n_left().await, 0);
}

#[tokio::test]
async fn an_empty_result_has_its_columns() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open().await;
    append(&*store, "t", numbered(2)).await.unwrap();
    let none = query(&format!(
        "SELECT k AS `a b`, at FROM {} WHERE k < 0",
        workspace.full("t")
    ));
    let rows = read(&*store, all(none.clone())).await.unwrap();
    assert_eq!(rows.num_rows(), 0);
    assert_eq!(rows.schema(), store.schema(&cx(), &none).await.unwrap());
    assert_eq!(rows.schema().field(0).name(), "a b");
    assert_eq!(*rows.schema().field(1).data_type(), instant_type());
    // Rows without columns still count.
    let scan = Scan {
        columns: Some(Vec::new()),
        ..all(SourceRef::table("t"))
    };
    assert_eq!(read(&*store, scan).await.unwrap().num_rows(), 2);
}

#[tokio::test]
async fn every_type_of_the_warehouse_is_answered() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open().await;
    let rows = query(
        "SELECT CAST(1 AS TINYINT) AS i8, CAST(2 AS SMALLINT) AS i16, CAST(3 AS INT) AS i32, \
         CAST(4 AS BIGINT) AS i64, CAST(1.5 AS FLOAT) AS f32, CAST('NaN' AS DOUBLE) AS f64, \
         CAST('1.50' AS DECIMAL(10, 2)) AS d, 'é' AS s, X'00FF' AS b, TRUE AS t, \
         DATE'2024-02-29' AS day, TIMESTAMP'2024-01-01 00:00:00.000001+02:00' AS ts, \
         TIMESTAMP_NTZ'2024-01-01 00:00:00.000001' AS ntz, ARRAY(1, NULL) AS l, MAP('a', 1) AS m, \
         NAMED_STRUCT('x', 1, 'y', ARRAY('z')) AS st, PARSE_JSON('{\"a\": [1, 2]}') AS v",
    );
    let found = read(&*store, all(rows.clone())).await.unwrap();
    assert_eq!(found.schema(), store.schema(&cx(), &rows).await.unwrap());
    let types: Vec<String> = found
        .schema()
        .fields()
        .iter()
        .map(|field| {
            provender_core::ValueType::from_arrow(field.data_type())
                .map_or_else(|| "none".to_owned(), |found| found.to_string())
        })
        .collect();
    assert_eq!(
        types[..14],
        [
            "int8",
            "int16",
            "int32",
            "int64",
            "float32",
            "float64",
            "decimal(10,2)",
            "string",
            "binary",
            "bool",
            "date",
            "timestamp",
            "timestamp",
            "list<int32>"
        ]
        .map(str::to_owned)
    );
    let text = |name: &str| {
        let column = found.column_by_name(name).unwrap();
        arrow_cast::display::array_value_to_string(column, 0).unwrap()
    };
    assert_eq!(text("ts"), "2023-12-31T22:00:00.000001Z");
    assert_eq!(text("ntz"), "2024-01-01T00:00:00.000001");
    assert_eq!(text("d"), "1.50");
    assert_eq!(text("l"), "[1, ]");
    assert_eq!(text("st"), "{x: 1, y: [z]}");
    let json = found.schema().field_with_name("v").unwrap().clone();
    assert_eq!(json.metadata()["ARROW:extension:name"], "arrow.json");
    let value: serde_json::Value = serde_json::from_str(&text("v")).unwrap();
    assert_eq!(value, json!({"a": [1, 2]}));
    assert!(matches!(
        found.schema().field_with_name("m").unwrap().data_type(),
        DataType::Map(..)
    ));
}

#[tokio::test]
async fn names_filters_and_ranges_reach_the_warehouse() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open().await;
    append(&*store, "t", numbered(10)).await.unwrap();
    assert_eq!(n_rows(&*store, &workspace.full("t")).await, 10);
    let filtered = SourceRef {
        filter: Some("k >= 4 -- the later ones".to_owned()),
        ..SourceRef::table("t")
    };
    assert_eq!(
        read(&*store, all(filtered.clone()))
            .await
            .unwrap()
            .num_rows(),
        6
    );
    let scan = Scan {
        source: filtered,
        columns: Some(vec!["f".to_owned()]),
        ranges: vec![ColumnRange {
            column: "at".to_owned(),
            min_us: None,
            max_us: Some(5_000_000),
        }],
    };
    let rows = read(&*store, scan.clone()).await.unwrap();
    assert_eq!((rows.num_columns(), rows.num_rows()), (1, 2));
    let text = store
        .explain(&cx(), &OfflineRequest::Scan(scan))
        .await
        .unwrap();
    assert!(
        text.starts_with("-- answered in the SQL warehouse: execution is warehouse\nSELECT"),
        "{text}"
    );
}

#[tokio::test]
async fn failures_name_what_was_asked_for() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open().await;
    append(&*store, "weather", numbered(1)).await.unwrap();
    let error = failure(&*store, all(SourceRef::table("wether"))).await;
    assert_eq!(error.code(), "P120", "{error}");
    assert!(
        error.message().contains("has no table \"wether\" in sail."),
        "{error}"
    );
    assert!(error.help_text().unwrap().contains("weather"), "{error}");
    let error = failure(&*store, all(SourceRef::table("a.b.c.d"))).await;
    assert!(error.message().contains("more than three parts"), "{error}");
    let error = failure(&*store, all(query("SELECT nope FROM (SELECT 1 AS a)"))).await;
    assert_eq!(error.code(), "P123", "{error}");
    assert!(
        error.message().starts_with("the query \"SELECT nope"),
        "{error}"
    );
    let filter = SourceRef {
        filter: Some("nope > 1".to_owned()),
        ..SourceRef::table("weather")
    };
    let error = failure(&*store, all(filter)).await;
    assert_eq!(error.code(), "P123", "{error}");
    let scan = Scan {
        columns: Some(vec!["kk".to_owned()]),
        ..all(SourceRef::table("weather"))
    };
    let error = failure(&*store, scan).await;
    assert_eq!(error.code(), "P121", "{error}");
    let error = failure(&*store, all(query("SELECT 1/0 AS x"))).await;
    let message = error.message().to_lowercase();
    assert!(message.contains("by zero"), "{error}");
    let error = failure(&*store, all(query("SELECT 1 AS a; DROP TABLE weather"))).await;
    assert_eq!(error.code(), "P123", "{error}");
}

#[tokio::test]
async fn past_states_are_pinned_and_read() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    // Once asked of the warehouse, and once read from the table's log.
    for execution in ["warehouse", "direct"] {
        let store = workspace.open_as(execution).await;
        let name = format!("t_{execution}");
        append(&*store, &name, numbered(3)).await.unwrap();
        let pinned = store.pin(&cx(), &SourceRef::table(&*name)).await.unwrap();
        assert!(matches!(pinned, SourceVersion::Number(_)), "{pinned:?}");
        append(&*store, &name, numbered(4)).await.unwrap();
        assert_eq!(n_rows(&*store, &name).await, 7);
        let past = SourceRef {
            version: Some(pinned),
            ..SourceRef::table(&*name)
        };
        assert_eq!(
            read(&*store, all(past.clone())).await.unwrap().num_rows(),
            3
        );
        let error = store.pin(&cx(), &query("SELECT 1 AS a")).await.unwrap_err();
        assert_eq!(error.code(), "P801", "{error}");
    }
}

#[tokio::test]
async fn a_spine_that_the_warehouse_holds_stays_there() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open().await;
    append(&*store, "t", numbered(10)).await.unwrap();
    let labels = batch(vec![
        ("k", Arc::new(Int64Array::from(vec![1, 2, 99])) as ArrayRef),
        ("when", numbered(60).column(1).slice(57, 3)),
        (
            "note",
            Arc::new(StringArray::from(vec![Some("a"), None, Some("c")])) as _,
        ),
    ]);
    write(&*store, request("labels", WriteMode::Append), labels)
        .await
        .unwrap();
    let (join, _) = crate::faults::spine_of("t", 1);
    let spine = provender_core::request::SqlSpine {
        relation: query(&format!("SELECT * FROM {}", workspace.full("labels"))).relation,
        timestamp: "when".to_owned(),
    };
    let request = OfflineRequest::PointInTimeJoin(join.clone(), Some(spine.clone()));
    let text = store.explain(&cx(), &request).await.unwrap();
    assert!(text.contains("LEFT JOIN"), "{text}");
    let spine = provender_core::request::Spine::Sql(spine);
    let stream = store.point_in_time_join(&cx(), join, spine).await.unwrap();
    let names: Vec<String> = stream
        .schema
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["k", "when", "note", "f"]);
    let rows = stream.collect().await.unwrap();
    let mut found: Vec<(i64, Option<f64>)> = rows
        .iter()
        .flat_map(|rows| {
            let keys = rows.column(0).as_primitive::<Int64Type>();
            let values = rows.column(3).as_primitive::<Float64Type>();
            let value = |row| values.is_valid(row).then(|| values.value(row));
            (0..rows.num_rows())
                .map(|row| (keys.value(row), value(row)))
                .collect::<Vec<_>>()
        })
        .collect();
    found.sort_by_key(|(key, _)| *key);
    assert_eq!(found, [(1, Some(1.0)), (2, Some(2.0)), (99, None)]);
}

#[tokio::test]
async fn features_of_nested_types_and_variants_are_joined_in_the_warehouse() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open().await;
    let source = query(
        "SELECT id AS k, TIMESTAMP'1970-01-01 00:00:01+00:00' AS at, TIMESTAMP_NTZ'1970-01-01 00:00:01' AS ntz, \
         ARRAY(CAST(id AS INT), NULL) AS l, MAP('a', id) AS m, \
         NAMED_STRUCT('x', CAST(id AS INT), 'y', ARRAY('z')) AS st, \
         PARSE_JSON('{\"a\": [1, null], \"b\": \"é\"}') AS v, CAST('-1.50' AS DECIMAL(38, 2)) AS d \
         FROM RANGE(1, 2)",
    );
    let (mut join, _) = crate::faults::spine_of("t", 1);
    let view = &mut join.views[0];
    view.source.source = source;
    let declared = [
        ("ntz", "timestamp"),
        ("l", "list<int32>"),
        ("m", "map<string, int64>"),
        ("st", "struct<x: int32, y: list<string>>"),
        ("v", "json"),
        ("d", "decimal(38,2)"),
    ];
    view.features = declared
        .iter()
        .map(
            |(column, declared)| provender_core::request::FeatureColumn {
                column: (*column).to_owned(),
                output: (*column).to_owned(),
                value_type: declared.parse().unwrap(),
                checked: false,
            },
        )
        .collect();
    let latest = provender_core::request::LatestPerKey {
        source: view.source.clone(),
        keys: view.keys.clone(),
        features: view.features.clone(),
        ranges: Vec::new(),
    };
    let check = |rows: &arrow_array::RecordBatch, row: usize| {
        let text = |name: &str| {
            let column = rows.column_by_name(name).unwrap();
            arrow_cast::display::array_value_to_string(column, row).unwrap()
        };
        let expected = ["1970-01-01T00:00:01Z", "[1, ]", "{a: 1}", "{x: 1, y: [z]}"];
        assert_eq!(["ntz", "l", "m", "st"].map(text), expected);
        let value: serde_json::Value = serde_json::from_str(&text("v")).unwrap();
        assert_eq!(value, json!({"a": [1, null], "b": "é"}));
        assert_eq!(text("d"), "-1.50");
        for (name, declared) in declared {
            let declared: provender_core::ValueType = declared.parse().unwrap();
            let found = rows.schema().field_with_name(name).unwrap().clone();
            assert_eq!(found, declared.to_field(name));
        }
    };
    for n_inline in [100, 0] {
        let store = workspace
            .with(json!({"inline_rows": n_inline}))
            .open()
            .await;
        let (_, spine) = crate::faults::spine_of("t", 10);
        let answer = store.point_in_time_join(&cx(), join.clone(), spine).await;
        let rows = Table::collect(answer.unwrap())
            .await
            .unwrap()
            .one_batch()
            .unwrap();
        assert!(
            rows.columns()
                .iter()
                .all(|column| column.len() == 10 && column.is_null(0))
        );
        check(&rows, 1);
    }
    let answer = store.latest(&cx(), latest).await.unwrap();
    let rows = Table::collect(answer).await.unwrap().one_batch().unwrap();
    assert_eq!(rows.num_rows(), 1);
    check(&rows, 0);
}
