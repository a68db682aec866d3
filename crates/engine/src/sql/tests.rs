#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::DataFusionError;
use datafusion::datasource::MemTable;
use provender_core::ErrorKind;

use super::*;

#[derive(Debug)]
struct Airports;

#[async_trait]
impl TableSource for Airports {
    async fn table(&self, _: &Context, name: &str) -> Result<Arc<dyn TableProvider>> {
        if !name.eq_ignore_ascii_case("airports") {
            return Err(Error::new(
                &codes::MISSING_TABLE,
                format!("there is no table {name:?}"),
            ));
        }
        let schema = Arc::new(Schema::new(vec![
            Field::new("faa", DataType::Utf8, false),
            Field::new("Temp", DataType::Int64, true),
            Field::new("a", DataType::Int64, true),
            Field::new("A", DataType::Int64, true),
        ]));
        let numbers = || Arc::new(Int64Array::from(vec![1, 2, 3])) as Arc<dyn Array>;
        let batch = RecordBatch::try_new(
            schema.clone(),
            vec![
                Arc::new(StringArray::from(vec!["JFK", "LGA", "EWR"])),
                numbers(),
                numbers(),
                numbers(),
            ],
        )
        .unwrap();
        Ok(Arc::new(
            MemTable::try_new(schema, vec![vec![batch]]).unwrap(),
        ))
    }
}

fn open() -> SessionContext {
    session(&Resources {
        n_threads: 2,
        ..Resources::default()
    })
    .unwrap()
}

async fn plan(sql: &str) -> Result<DataFrame> {
    plan_query(&Context::new("p"), &open(), &Airports, sql).await
}

async fn rows(df: DataFrame) -> String {
    let mut batches = Vec::new();
    for stream in partitions(&Context::new("p"), df).await.unwrap() {
        batches.extend(stream.collect().await.unwrap());
    }
    pretty_format_batches(&batches).unwrap().to_string()
}

async fn refused(sql: &str) -> Error {
    plan(sql).await.expect_err(sql)
}

#[tokio::test]
async fn names_match_exactly_else_by_the_only_other_case() {
    let df = plan(
        r#"SELECT FAA, airports.temp AS t, "a", A FROM Airports WHERE AIRPORTS.Faa = 'LGA' ORDER BY TEMP"#,
    )
    .await
    .unwrap();
    let names: Vec<String> = df
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["faa", "t", "a", "A"]);
    let text = rows(df).await;
    assert!(text.contains("| LGA | 2 | 2 | 2 |"), "{text}");
}

#[tokio::test]
async fn common_tables_and_functions_ignore_case_too() {
    let df = plan(
        "WITH Warm AS (SELECT faa, Temp FROM airports WHERE Temp > 1) \
         SELECT COUNT(*) AS n, Max(Temp) AS m, CAST(MIN(temp) AS DOUBLE) AS d FROM warm",
    )
    .await
    .unwrap();
    let text = rows(df).await;
    assert!(text.contains("| 2 | 3 | 2.0 |"), "{text}");
    let df = plan("SELECT value FROM generate_series(1, 3)")
        .await
        .unwrap();
    assert!(rows(df).await.contains("| 3     |"));
}

#[tokio::test]
async fn unknown_columns_and_tables_are_named() {
    let error = refused("SELECT fax FROM airports").await;
    assert_eq!(error.code(), "P123");
    assert!(error.message().contains("No field named fax"), "{error}");
    assert!(
        error.message().starts_with("the query cannot be planned: "),
        "{error}"
    );
    assert_eq!(refused("SELECT 1 FROM airport").await.code(), "P120");
    let error = refused("SELECT 1 FROM a.airports").await;
    assert!(
        error.message().contains("tables have one name only"),
        "{error}"
    );
}

#[tokio::test]
async fn anything_but_one_select_is_refused() {
    for (sql, word) in [
        ("", "empty"),
        ("SELECT 1; SELECT 2", "several statements"),
        ("DROP TABLE airports", "DROP"),
        ("INSERT INTO airports VALUES (1)", "INSERT"),
        ("COPY airports TO 'x.parquet'", "COPY"),
        ("SET datafusion.execution.batch_size = 1", "SET"),
        ("EXPLAIN SELECT 1", "EXPLAIN"),
        (
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x'",
            "CREATE",
        ),
        ("UPDATE airports SET Temp = 1", "UPDATE"),
    ] {
        let error = refused(sql).await;
        assert_eq!(error.code(), "P123", "{sql}");
        assert!(error.message().contains(word), "{sql}: {error}");
    }
    assert_eq!(
        refused("SELECT * INTO t FROM airports").await.code(),
        "P123"
    );
    assert_eq!(refused("SELECT faa FRM airports").await.code(), "P123");
}

#[tokio::test]
async fn functions_that_differ_between_runs_are_refused() {
    for (sql, name) in [
        ("SELECT random() AS r FROM airports", "random"),
        ("SELECT uuid() AS r FROM airports", "uuid"),
        (
            "SELECT faa FROM airports WHERE now() > TIMESTAMP '2013-01-01'",
            "now",
        ),
        (
            "SELECT faa FROM airports WHERE faa IN (SELECT CAST(current_date() AS TEXT))",
            "current_date",
        ),
    ] {
        let error = refused(sql).await;
        assert_eq!(error.code(), "P123", "{sql}");
        assert!(
            error.message().contains(&format!("the function {name},")),
            "{error}"
        );
        assert!(error.to_string().contains("reproducible"), "{error}");
    }
    let df = plan("SELECT * FROM airports").await.unwrap();
    assert!(filter(df, "random() > 0.5").is_err());
}

#[tokio::test]
async fn filters_keep_rows_and_say_what_is_wrong() {
    let df = plan("SELECT * FROM airports").await.unwrap();
    let kept = filter(df.clone(), "TEMP >= 2 AND faa <> 'EWR'").unwrap();
    let text = rows(kept).await;
    assert!(
        text.contains("LGA") && !text.contains("EWR") && !text.contains("JFK"),
        "{text}"
    );
    for (condition, message) in [
        (
            "fax = 1",
            "the filter cannot be planned: No field named fax",
        ),
        ("faa", "non-boolean"),
        (
            "Temp > 1; DROP TABLE airports",
            "the filter cannot be planned",
        ),
        ("Temp > 1 AS x", "has no name"),
    ] {
        let error = filter(df.clone(), condition).unwrap_err();
        assert_eq!(error.code(), "P123", "{condition}");
        assert!(error.message().contains(message), "{condition}: {error}");
    }
}

#[tokio::test]
async fn shuffling_plans_run_as_one_partition() {
    let df = plan("SELECT a.faa, COUNT(*) AS n FROM airports a JOIN airports b ON a.faa = b.faa GROUP BY a.faa")
        .await
        .unwrap();
    let streams = partitions(&Context::new("p"), df.clone()).await.unwrap();
    assert_eq!(streams.len(), 1);
    let first = rows(df.clone()).await;
    for _ in 0..5 {
        assert_eq!(rows(df.clone()).await, first);
    }
}

#[tokio::test]
async fn streams_end_when_cancelled_or_late() {
    let endless = "SELECT a.value FROM generate_series(1, 100000000) a CROSS JOIN generate_series(1, 100000000) b WHERE a.value < 0";
    for late in [false, true] {
        let cx = Context::new("p");
        let df = plan(endless).await.unwrap();
        let cx = if late {
            cx.with_timeout(Duration::from_millis(200))
        } else {
            cx
        };
        let stream = partitions(&cx, df).await.unwrap().remove(0);
        let canceller = cx.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if !late {
                canceller.cancel();
            }
        });
        let kind = stream.collect().await.unwrap_err().kind();
        let expected = if late {
            ErrorKind::DeadlineExceeded
        } else {
            ErrorKind::Cancelled
        };
        assert_eq!(kind, expected);
    }
}

#[tokio::test]
async fn memory_limit_is_named() {
    let small = session(&Resources {
        memory_limit_bytes: 64 << 10,
        spill_path: None,
        n_threads: 1,
    })
    .unwrap();
    let sql = "SELECT array_agg(value) AS v FROM generate_series(1, 2000000)";
    let df = plan_query(&Context::new("p"), &small, &Airports, sql)
        .await
        .unwrap();
    let stream = partitions(&Context::new("p"), df).await.unwrap().remove(0);
    let error = stream.collect().await.unwrap_err();
    assert_eq!(error.code(), "P904", "{error:?}");
    assert!(error.to_string().contains("limits.memory"), "{error}");
}

#[test]
fn errors_mean_what_lies_below_them() {
    let own = || Error::new(&codes::CHECKED_CAST, "a value does not fit").context("view", "v");
    let through = datafusion_error(DataFusionError::External(Box::new(own())));
    assert_eq!(through.code(), "P501");
    let shared = Arc::new(DataFusionError::External(Box::new(own())));
    let through = datafusion_error(DataFusionError::Shared(shared.clone()));
    assert_eq!(through.code(), "P501");
    assert_eq!(through.context_pairs().len(), 1);
    drop(shared);
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert_eq!(
        datafusion_error(DataFusionError::IoError(full)).code(),
        "P901"
    );
    let hidden = std::io::Error::other(std::io::Error::from(std::io::ErrorKind::StorageFull));
    assert_eq!(
        datafusion_error(DataFusionError::IoError(hidden)).code(),
        "P901"
    );
    let missing = datafusion::object_store::Error::NotFound {
        path: "weather/a.parquet".to_owned(),
        source: "gone".into(),
    };
    let error = datafusion_error(DataFusionError::ObjectStore(Box::new(missing)));
    assert_eq!(error.code(), "P504");
    assert!(error.message().contains("weather/a.parquet"));
}

#[test]
fn spill_folder_that_cannot_be_made_is_named() {
    let error = session(&Resources {
        spill_path: Some("/dev/null/spill".into()),
        ..Resources::default()
    })
    .err()
    .unwrap();
    assert_eq!(error.code(), "P902");
    assert!(error.message().contains("/dev/null/spill"));
}
