use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::util::pretty::pretty_format_batches;
use provender_core::model::{Relation, SourceVersion};
use provender_core::provider::{OfflineStore, ProviderConfig, Providers, Resources};
use provender_core::request::{OfflineWrite, Scan, SourceRef, WriteMode, WriteSummary};
use provender_core::{BatchStream, Context, Error, Result};

pub const HOUR_US: i64 = 3_600_000_000;

pub fn cx() -> Context {
    Context::new("test")
}

pub async fn open(folder: &Path) -> Arc<dyn OfflineStore> {
    open_with(
        folder,
        Resources {
            n_threads: 2,
            ..Resources::default()
        },
    )
    .await
}

pub async fn open_with(folder: &Path, resources: Resources) -> Arc<dyn OfflineStore> {
    let mut providers = Providers::default();
    providers.register(provender_providers_delta::factory());
    let config = ProviderConfig {
        scheme: "delta".to_owned(),
        block: "offline_store".to_owned(),
        options: serde_json::Map::new(),
        base_path: folder.to_owned(),
        resources,
    };
    providers.open_offline(&cx(), config).await.unwrap()
}

pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

/// `n` rows of an airport, hourly from hour `first` on.
pub fn weather(origin: &str, first: i64, n: i64) -> RecordBatch {
    batch(vec![
        (
            "origin",
            Arc::new(StringArray::from(vec![origin; n as usize])),
        ),
        (
            "time_hour",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(
                    (first..first + n).map(|hour| hour * HOUR_US),
                )
                .with_timezone("UTC"),
            ),
        ),
        (
            "Temp",
            Arc::new(Int64Array::from_iter_values(first..first + n)),
        ),
    ])
}

pub fn stream(batches: Vec<RecordBatch>) -> BatchStream {
    BatchStream::from_batches(batches[0].schema(), batches)
}

pub fn request(table: &str, mode: WriteMode) -> OfflineWrite {
    OfflineWrite {
        table: table.to_owned(),
        mode,
        partition_by: Vec::new(),
        id: None,
    }
}

pub async fn append(
    store: &dyn OfflineStore,
    table: &str,
    rows: RecordBatch,
) -> Result<WriteSummary> {
    store
        .write(&cx(), request(table, WriteMode::Append), stream(vec![rows]))
        .await
}

pub fn query(sql: &str) -> SourceRef {
    SourceRef {
        relation: Relation::Query(sql.to_owned()),
        filter: None,
        version: None,
    }
}

pub fn at(table: &str, version: SourceVersion) -> SourceRef {
    SourceRef {
        version: Some(version),
        ..SourceRef::table(table)
    }
}

pub fn all(source: SourceRef) -> Scan {
    Scan {
        source,
        columns: None,
        ranges: Vec::new(),
    }
}

pub async fn read(store: &dyn OfflineStore, scan: Scan) -> Result<Vec<RecordBatch>> {
    let schema = store.schema(&cx(), &scan.source).await?;
    let is_all = scan.columns.is_none();
    let mut batches = Vec::new();
    for stream in store.scan(&cx(), scan).await? {
        if is_all {
            assert_eq!(stream.schema, schema, "schema and scan must agree");
        }
        let stream_schema = stream.schema.clone();
        for batch in stream.collect().await? {
            assert_eq!(batch.schema(), stream_schema);
            batches.push(batch);
        }
    }
    Ok(batches)
}

/// The rows as sorted lines of text.
pub async fn lines(store: &dyn OfflineStore, scan: Scan) -> Vec<String> {
    let batches = read(store, scan).await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let mut lines: Vec<String> = text
        .lines()
        .skip(3)
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            cells.join(",")
        })
        .collect();
    lines.sort();
    lines
}

pub async fn n_rows(store: &dyn OfflineStore, source: SourceRef) -> usize {
    let batches = read(store, all(source)).await.unwrap();
    batches.iter().map(RecordBatch::num_rows).sum()
}

pub async fn failure(store: &dyn OfflineStore, scan: Scan) -> Error {
    read(store, scan).await.expect_err("should fail")
}

/// The files of a table's folder that hold rows, committed or not.
pub fn data_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("_delta_log") {
            files.extend(data_files(&path));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            files.push(path);
        }
    }
    files.sort();
    files
}
