use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int64Array, TimestampNanosecondArray};
use provender_core::model::SourceVersion;
use provender_core::provider::OfflineStore;
use provender_core::request::{ColumnRange, OfflineRequest, Scan, SourceRef, WriteMode};
use provender_core::time::now_us;

use crate::support::*;

async fn three_files(store: &dyn OfflineStore) {
    for (origin, first) in [("EWR", 0), ("JFK", 100), ("LGA", 200)] {
        append(store, "weather", weather(origin, first, 10))
            .await
            .unwrap();
    }
}

fn range(column: &str, min_us: i64, max_us: i64) -> ColumnRange {
    ColumnRange {
        column: column.to_owned(),
        min_us: Some(min_us),
        max_us: Some(max_us),
    }
}

#[tokio::test]
async fn columns_come_in_the_asked_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(&*store, "weather", weather("JFK", 5, 1))
        .await
        .unwrap();
    let scan = |columns: &[&str]| Scan {
        columns: Some(columns.iter().map(|c| (*c).to_owned()).collect()),
        ..all(SourceRef::table("weather"))
    };
    let batches = read(&*store, scan(&["Temp", "origin", "Temp"]))
        .await
        .unwrap();
    let names: Vec<String> = batches[0]
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["Temp", "origin", "Temp"]);
    assert_eq!(
        lines(&*store, scan(&["time_hour"])).await,
        ["1970-01-01T05:00:00Z"]
    );
    let none = read(&*store, scan(&[])).await.unwrap();
    assert_eq!(none.iter().map(|b| b.num_rows()).sum::<usize>(), 1);
    let error = failure(&*store, scan(&["tmp"])).await;
    assert_eq!(error.code(), "P121");
    assert!(
        error.to_string().contains("did you mean \"Temp\"?"),
        "{error}"
    );
}

#[tokio::test]
async fn ranges_skip_files_and_keep_every_row_inside() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    three_files(&*store).await;
    let scan = Scan {
        ranges: vec![range("time_hour", 105 * HOUR_US, 107 * HOUR_US)],
        ..all(SourceRef::table("weather"))
    };
    let found = lines(&*store, scan.clone()).await;
    for hour in 105..=107 {
        assert!(
            found.iter().any(|line| line.ends_with(&format!(",{hour}"))),
            "{found:?}"
        );
    }
    let files = |text: &str| text.matches(".parquet").count();
    let plan = store
        .explain(&cx(), &OfflineRequest::Scan(scan))
        .await
        .unwrap();
    let whole = store
        .explain(
            &cx(),
            &OfflineRequest::Scan(all(SourceRef::table("weather"))),
        )
        .await
        .unwrap();
    assert_eq!((files(&plan), files(&whole)), (1, 3), "{plan}\n{whole}");
    let beyond = Scan {
        ranges: vec![range("time_hour", i64::MIN, -1)],
        ..all(SourceRef::table("weather"))
    };
    assert!(lines(&*store, beyond).await.is_empty());
}

#[tokio::test]
async fn ranges_over_nanoseconds_keep_what_floors_into_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(
        &*store,
        "one",
        batch(vec![("x", Arc::new(Int64Array::from(vec![1])))]),
    )
    .await
    .unwrap();
    let source = query(
        "SELECT to_timestamp_nanos(-1001) AS t FROM one UNION ALL SELECT to_timestamp_nanos(-1) FROM one \
         UNION ALL SELECT to_timestamp_nanos(1999) FROM one UNION ALL SELECT to_timestamp_nanos(2000) FROM one",
    );
    let scan = Scan {
        ranges: vec![range("t", -1, 1)],
        ..all(source)
    };
    let mut found: Vec<i64> = Vec::new();
    for batch in read(&*store, scan).await.unwrap() {
        let column = batch
            .column(0)
            .as_any()
            .downcast_ref::<TimestampNanosecondArray>();
        found.extend(column.unwrap().values());
    }
    found.sort();
    assert_eq!(found, [-1, 1999]);
}

#[tokio::test]
async fn past_versions_are_read_by_number_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let before = now_us();
    tokio::time::sleep(Duration::from_millis(30)).await;
    append(&*store, "weather", weather("EWR", 0, 1))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let between = now_us();
    tokio::time::sleep(Duration::from_millis(30)).await;
    append(&*store, "weather", weather("JFK", 1, 1))
        .await
        .unwrap();
    let mut overwrite = request("weather", WriteMode::Overwrite);
    overwrite.id = Some("o".to_owned());
    store
        .write(&cx(), overwrite, stream(vec![weather("LGA", 2, 1)]))
        .await
        .unwrap();

    let number = |n| at("weather", SourceVersion::Number(n));
    assert_eq!(n_rows(&*store, number(0)).await, 1);
    assert_eq!(n_rows(&*store, number(1)).await, 2);
    assert_eq!(
        lines(&*store, all(number(2))).await,
        ["LGA,1970-01-01T02:00:00Z,2"]
    );
    let then = at("weather", SourceVersion::TimestampUs(between));
    assert_eq!(
        lines(&*store, all(then)).await,
        ["EWR,1970-01-01T00:00:00Z,0"]
    );
    assert_eq!(
        n_rows(&*store, at("weather", SourceVersion::TimestampUs(now_us()))).await,
        1
    );

    let mut then = query("SELECT origin FROM weather");
    then.version = Some(SourceVersion::TimestampUs(between));
    assert_eq!(lines(&*store, all(then.clone())).await, ["EWR"]);
    then.version = Some(SourceVersion::Number(1));
    assert!(
        failure(&*store, all(then))
            .await
            .message()
            .contains("no version number")
    );

    let error = failure(&*store, all(number(7))).await;
    assert_eq!(error.code(), "P506");
    assert!(
        error
            .message()
            .contains("table \"weather\" has no version 7: there are versions 0 to 2"),
        "{error}"
    );
    let error = failure(
        &*store,
        all(at("weather", SourceVersion::TimestampUs(before))),
    )
    .await;
    assert_eq!(error.code(), "P506");
    assert!(
        error.message().contains("there are versions 0 ("),
        "{error}"
    );
    let error = failure(
        &*store,
        all(at("weather", SourceVersion::Token("x".into()))),
    )
    .await;
    assert!(error.to_string().contains("numbers or times"), "{error}");

    assert_eq!(
        store
            .pin(&cx(), &SourceRef::table("weather"))
            .await
            .unwrap(),
        SourceVersion::Number(2)
    );
    let pinned = store
        .pin(&cx(), &query("SELECT 1 FROM weather"))
        .await
        .unwrap();
    assert!(matches!(pinned, SourceVersion::TimestampUs(_)));
}

#[tokio::test]
async fn queries_and_filters_see_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    three_files(&*store).await;
    let found = lines(
        &*store,
        all(query(
            "WITH warm AS (SELECT * FROM WEATHER WHERE temp >= 205) \
             SELECT Origin, COUNT(*) AS n, TIMESTAMP '1970-01-01' AS known_at FROM warm GROUP BY origin",
        )),
    )
    .await;
    assert_eq!(found, ["LGA,5,1970-01-01T00:00:00"]);
    let schema = store
        .schema(&cx(), &query("SELECT Origin, temp FROM weather"))
        .await
        .unwrap();
    assert_eq!(schema.field(0).name(), "origin");
    assert_eq!(schema.field(1).name(), "Temp");

    let mut filtered = SourceRef::table("weather");
    filtered.filter = Some("origin = 'JFK' AND TEMP < 102".to_owned());
    assert_eq!(n_rows(&*store, filtered.clone()).await, 2);
    filtered.filter = Some("weather.origin = 'JFK'".to_owned());
    assert_eq!(n_rows(&*store, filtered.clone()).await, 10);
    filtered.filter = Some("orign = 'JFK'".to_owned());
    let error = failure(&*store, all(filtered)).await;
    assert_eq!(error.code(), "P123");
    assert!(error.message().contains("No field named orign"), "{error}");

    let error = failure(&*store, all(query("SELECT * FROM wether"))).await;
    assert_eq!(error.code(), "P120");
    let error = failure(
        &*store,
        all(query("SELECT a.Temp, b.Temp FROM weather a, weather b")),
    )
    .await;
    assert!(
        error.message().contains("two columns named \"Temp\""),
        "{error}"
    );
    let error = failure(&*store, all(query("SELECT Temp / 0 FROM weather"))).await;
    assert_eq!(error.code(), "P123", "{error:?}");
}

#[tokio::test]
async fn rows_come_in_the_same_order_on_every_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    three_files(&*store).await;
    let mut query_source =
        query("SELECT a.origin, b.Temp FROM weather a JOIN weather b ON a.Temp = b.Temp");
    for source in [SourceRef::table("weather"), query_source.clone()] {
        let first = read(&*store, all(source.clone())).await.unwrap();
        for _ in 0..5 {
            assert_eq!(read(&*store, all(source.clone())).await.unwrap(), first);
        }
    }
    query_source.filter = Some("Temp > 1000".to_owned());
    let streams = store.scan(&cx(), all(query_source)).await.unwrap();
    assert!(!streams.is_empty(), "there is a stream even without rows");
}

#[tokio::test]
async fn cancelled_scans_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    three_files(&*store).await;
    let cx = cx();
    let mut streams = store
        .scan(&cx, all(SourceRef::table("weather")))
        .await
        .unwrap();
    cx.cancel();
    let error = streams.remove(0).collect().await.unwrap_err();
    assert_eq!(error.code(), "P906");
    assert_eq!(
        store
            .scan(&cx, all(SourceRef::table("weather")))
            .await
            .unwrap_err()
            .code(),
        "P906"
    );
}

#[tokio::test]
async fn large_tables_are_read_in_several_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    // Random enough not to compress away.
    let noise: Vec<i64> = (0..1_500_000_i64)
        .map(|i| i.wrapping_mul(0x5851_F42D_4C95_7F2D) ^ i.rotate_left(17).wrapping_mul(31))
        .collect();
    let rows = batch(vec![("n", Arc::new(Int64Array::from(noise)))]);
    append(&*store, "noise", rows).await.unwrap();
    let streams = store
        .scan(&cx(), all(SourceRef::table("noise")))
        .await
        .unwrap();
    assert_eq!(streams.len(), 2);
    drop(streams);
    assert_eq!(n_rows(&*store, SourceRef::table("noise")).await, 1_500_000);
    let limited = query("SELECT n FROM noise LIMIT 5");
    assert_eq!(n_rows(&*store, limited).await, 5);
}

#[tokio::test]
async fn rows_of_deletion_vectors_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(&*store, "weather", weather("JFK", 0, 30))
        .await
        .unwrap();
    let log = folder.path().join("data/weather/_delta_log");
    let first = std::fs::read_to_string(log.join("00000000000000000000.json")).unwrap();
    let mut added: serde_json::Value = first
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|action| action.get("add").is_some())
        .unwrap();
    // Rows 3, 4, 7, 11, 18 and 29.
    added["add"]["deletionVector"] = serde_json::json!({
        "storageType": "i",
        "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
        "sizeInBytes": 44,
        "cardinality": 6,
    });
    let removed = serde_json::json!({"remove": {
        "path": added["add"]["path"],
        "deletionTimestamp": 0,
        "dataChange": true,
    }});
    let protocol = serde_json::json!({"protocol": {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"],
        "writerFeatures": ["deletionVectors"],
    }});
    let commit = [protocol, removed, added]
        .map(|action| action.to_string())
        .join("\n");
    std::fs::write(log.join("00000000000000000001.json"), commit).unwrap();

    let left = query("SELECT Temp FROM weather WHERE Temp IN (3, 4, 5, 7, 11, 18, 28, 29)");
    assert_eq!(lines(&*store, all(left)).await, ["28", "5"]);
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 24);
    assert_eq!(
        lines(&*store, all(query("SELECT COUNT(*) AS n FROM weather"))).await,
        ["24"]
    );
    assert_eq!(
        n_rows(&*store, at("weather", SourceVersion::Number(0))).await,
        30
    );
    let scan = Scan {
        ranges: vec![range("time_hour", 27 * HOUR_US, 29 * HOUR_US)],
        ..all(SourceRef::table("weather"))
    };
    let found = lines(&*store, scan).await;
    assert!(found.iter().any(|line| line.ends_with(",28")), "{found:?}");
    assert!(!found.iter().any(|line| line.ends_with(",29")), "{found:?}");
}
