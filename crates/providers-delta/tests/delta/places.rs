use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Int32Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use provender_core::model::SourceVersion;
use provender_core::provider::{ProviderConfig, Resources, options};
use provender_core::request::{OfflineRequest, PointInTimeJoin, SourceRef};
use provender_providers_delta::{DeltaConfig, DeltaOfflineStore};

use crate::support::*;

fn write_parquet(path: &Path, rows: &RecordBatch) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

fn planes(tail: &str) -> RecordBatch {
    batch(vec![
        ("tailnum", Arc::new(StringArray::from(vec![tail]))),
        ("seats", Arc::new(Int32Array::from(vec![7]))),
    ])
}

#[tokio::test]
async fn parquet_files_folders_and_patterns_are_tables() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_parquet(&data.join("planes.parquet"), &planes("N1"));
    write_parquet(&data.join("fleet/a.parquet"), &planes("N2"));
    write_parquet(&data.join("fleet/b.parquet"), &planes("N3"));
    write_parquet(&data.join("by_year/year=2013/a.parquet"), &planes("N4"));
    write_parquet(
        &folder.path().join("else where/planes [1].parquet"),
        &planes("N5"),
    );
    let store = open(folder.path()).await;
    let absolute = data.join("planes.parquet").display().to_string();
    for (name, expected) in [
        ("planes.parquet", vec!["N1,7"]),
        (absolute.as_str(), vec!["N1,7"]),
        (&format!("file://{absolute}"), vec!["N1,7"]),
        ("./data/planes.parquet", vec!["N1,7"]),
        ("Fleet", vec!["N2,7", "N3,7"]),
        ("fleet/*.parquet", vec!["N2,7", "N3,7"]),
        ("./data/fleet/b*", vec!["N3,7"]),
        ("by_year", vec!["N4,7,2013"]),
        ("./else where/planes [1].parquet", vec!["N5,7"]),
    ] {
        assert_eq!(
            lines(&*store, all(SourceRef::table(name))).await,
            expected,
            "{name}"
        );
    }
    let joined = query(r#"SELECT a.tailnum, b.tailnum AS other FROM "planes.parquet" a, fleet b"#);
    assert_eq!(lines(&*store, all(joined)).await, ["N1,N2", "N1,N3"]);

    // A file that comes later is seen.
    write_parquet(&data.join("fleet/c.parquet"), &planes("N6"));
    assert_eq!(n_rows(&*store, SourceRef::table("fleet")).await, 3);

    let error = failure(&*store, all(at("fleet", SourceVersion::Number(0)))).await;
    assert!(error.message().contains("one state only"), "{error}");
    let error = append(&*store, "fleet", planes("N7")).await.unwrap_err();
    assert!(error.message().contains("read only"), "{error}");
    assert_eq!(
        store
            .pin(&cx(), &SourceRef::table("fleet"))
            .await
            .unwrap_err()
            .code(),
        "P801"
    );
    let error = failure(&*store, all(SourceRef::table("nothing-*.parquet"))).await;
    assert_eq!(error.code(), "P120", "{error}");

    write_parquet(
        &data.join("fleet/d.parquet"),
        &batch(vec![("seats", Arc::new(StringArray::from(vec!["x"])))]),
    );
    let error = failure(&*store, all(SourceRef::table("fleet"))).await;
    assert_eq!(error.code(), "P504", "{error:?}");
    std::fs::write(data.join("bad.parquet"), b"PAR1 not really").unwrap();
    let error = failure(&*store, all(SourceRef::table("bad.parquet"))).await;
    assert_eq!(error.code(), "P504", "{error:?}");
}

#[tokio::test]
async fn missing_table_is_named_with_the_nearest_and_how_to_make_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(&*store, "weather", weather("JFK", 0, 1))
        .await
        .unwrap();
    let error = failure(&*store, all(SourceRef::table("wether"))).await;
    assert_eq!(error.code(), "P120");
    let text = error.to_string();
    let location = folder.path().join("data").display().to_string();
    for part in [
        "there is no table \"wether\"",
        location.as_str(),
        "did you mean \"weather\"?",
        "`provender import wether FILE`",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(n_rows(&*store, SourceRef::table("WEATHER")).await, 1);
    let error = failure(&*store, all(SourceRef::table("ftp://bucket/weather"))).await;
    assert!(
        error.message().contains("unsupported kind ftp://"),
        "{error}"
    );
}

#[tokio::test]
async fn missing_files_and_damaged_logs_are_data_loss() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(&*store, "weather", weather("JFK", 0, 1))
        .await
        .unwrap();
    let table = folder.path().join("data/weather");
    std::fs::remove_file(&data_files(&table)[0]).unwrap();
    let error = failure(&*store, all(SourceRef::table("weather"))).await;
    assert_eq!(error.code(), "P504", "{error:?}");
    assert!(error.message().contains(".parquet"), "{error}");
    std::fs::write(table.join("_delta_log/00000000000000000000.json"), b"{oops").unwrap();
    let error = failure(&*store, all(SourceRef::table("weather"))).await;
    assert_eq!(error.code(), "P504", "{error:?}");
    assert!(error.message().contains("weather"), "{error}");
}

#[tokio::test]
async fn store_says_what_it_is_and_what_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let found = store.check(&cx()).await.unwrap();
    assert!(found[0].contains("does not exist yet"), "{found:?}");
    append(&*store, "weather", weather("JFK", 0, 1))
        .await
        .unwrap();
    let found = store.check(&cx()).await.unwrap();
    assert!(found[0].starts_with("1 table in "), "{found:?}");
    assert!(store.info().display_name.starts_with("Delta tables in "));
    let capabilities = store.capabilities();
    assert!(
        capabilities.sql_sources
            && capabilities.write
            && capabilities.delete
            && capabilities.versions
            && capabilities.new_columns
            && capabilities.maintenance
    );
    assert!(!capabilities.point_in_time_join && !capabilities.latest && !capabilities.windows);
    let join = OfflineRequest::PointInTimeJoin(
        PointInTimeJoin {
            views: Vec::new(),
            as_known: false,
        },
        None,
    );
    assert_eq!(
        store.explain(&cx(), &join).await.unwrap_err().code(),
        "P801"
    );
}

#[tokio::test]
async fn configuration_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let config = |json: serde_json::Value| ProviderConfig {
        scheme: "delta".to_owned(),
        block: "offline_store".to_owned(),
        options: json.as_object().cloned().unwrap(),
        base_path: folder.path().to_owned(),
        resources: Resources::default(),
    };
    let error = options::<DeltaConfig>(&config(serde_json::json!({"locaton": "x"}))).unwrap_err();
    assert_eq!(error.code(), "P203");
    let remote = config(
        serde_json::json!({"location": "ftp://b/x", "storage": {"secret_access_key": "hush"}}),
    );
    let options: DeltaConfig = options(&remote).unwrap();
    assert!(!format!("{options:?}").contains("hush"));
    let error = DeltaOfflineStore::open(&options, &remote).unwrap_err();
    assert_eq!(error.code(), "P203");
    assert!(error.message().contains("ftp://"), "{error}");
    let schema = provender_providers_delta::factory().options_schema();
    assert!(schema["properties"]["location"]["default"] == "./data");

    let store =
        DeltaOfflineStore::open(&DeltaConfig::default(), &config(serde_json::json!({}))).unwrap();
    append(&store, "b", weather("JFK", 0, 1)).await.unwrap();
    append(&store, "a", weather("JFK", 0, 1)).await.unwrap();
    assert_eq!(store.list_tables().await.unwrap(), ["a", "b"]);
}
