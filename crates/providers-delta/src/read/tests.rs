#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use provender_core::BatchStream;
use provender_core::model::SourceVersion;
use provender_core::provider::{OfflineStore, ProviderConfig, Resources};
use provender_core::request::{ColumnRange, OfflineWrite, SourceRef, WriteMode};
use provender_core::time::UTC;

use super::*;

const N_ROWS: i64 = 1_000;

/// Rows whose `n` counts up; times rise by ten, with a null in one of fifty.
fn rows(first: i64, n_rows: i64) -> RecordBatch {
    let numbers = first..first + n_rows;
    let times = numbers.clone().map(|n| (n % 50 != 7).then_some(n * 10));
    let times: TimestampMicrosecondArray = times.collect();
    let texts = numbers
        .clone()
        .map(|n| (n % 3 > 0).then(|| format!("text\0{n}")));
    RecordBatch::try_from_iter_with_nullable([
        (
            "n",
            Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef,
            true,
        ),
        ("t", Arc::new(times.with_timezone(UTC)) as ArrayRef, true),
        (
            "text",
            Arc::new(texts.collect::<StringArray>()) as ArrayRef,
            true,
        ),
    ])
    .unwrap()
}

/// Row groups of 130 rows in pages of about 20.
fn write(path: &Path, statistics: EnabledStatistics) {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(130))
        .set_data_page_row_count_limit(20)
        .set_write_batch_size(10)
        .set_statistics_enabled(statistics)
        .build();
    let batch = rows(0, N_ROWS);
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn scan_of(table: &str, columns: &[&str], range: Option<(i64, i64)>) -> Scan {
    Scan {
        source: SourceRef::table(table),
        columns: Some(columns.iter().map(|&name| name.to_owned()).collect()),
        ranges: range
            .map(|(min, max)| ColumnRange {
                column: "t".to_owned(),
                min_us: Some(min),
                max_us: Some(max),
            })
            .into_iter()
            .collect(),
    }
}

async fn all(streams: Vec<BatchStream>) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for stream in streams {
        batches.extend(stream.collect().await.unwrap());
    }
    batches
}

/// The numbers of rows and the values of their first column.
async fn numbered(access: &dyn RowAccess, columns: &[&str]) -> Vec<(u64, i64)> {
    let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
    let cx = Context::new("test");
    let batches = all(access.scan(&cx, &columns).await.unwrap()).await;
    let mut found = Vec::new();
    for batch in batches {
        let numbers = batch.columns().last().unwrap();
        let numbers = numbers.as_primitive::<UInt64Type>().values();
        let values = batch.column(0).as_primitive::<Int64Type>().values();
        found.extend(numbers.iter().copied().zip(values.iter().copied()));
    }
    found.sort_unstable();
    found
}

async fn fetched(access: &dyn RowAccess, columns: &[&str], wanted: &[u64]) -> Vec<RecordBatch> {
    let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
    let wanted = UInt64Array::from(wanted.to_vec());
    let cx = Context::new("test");
    all(access.fetch(&cx, &columns, wanted).await.unwrap()).await
}

#[tokio::test]
async fn later_row_groups_come_last_wherever_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    let properties = WriterProperties::builder().build();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows(0, 1).schema(), Some(properties)).unwrap();
    for first in [500, 100, 900, 300] {
        writer.write(&rows(first, 50)).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    let scan = scan_of("rows", &["n", "t"], Some((0, 100_000)));
    let cx = Context::new("test");
    let access = parquet_file(&cx, "rows", &path, &scan, &[]).await;
    let access = access.unwrap().unwrap();
    let batches = all(access.scan(&cx, &["n".to_owned()]).await.unwrap()).await;
    let first_of = |batch: &RecordBatch| {
        let number = batch.column(1).as_primitive::<UInt64Type>().value(0);
        (batch.column(0).as_primitive::<Int64Type>().value(0), number)
    };
    // With the numbers that they have in the file.
    let expected = [(100, 50), (300, 150), (500, 0), (900, 100)];
    assert_eq!(batches.iter().map(first_of).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn ranges_at_every_page_boundary_leave_every_row_inside_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    for statistics in [
        EnabledStatistics::Page,
        EnabledStatistics::Chunk,
        EnabledStatistics::None,
    ] {
        write(&path, statistics);
        for start in (0..N_ROWS * 10).step_by(95) {
            for length in [0, 10, 199, 200, 1_300, 20_000] {
                let (min, max) = (start, start + length);
                let scan = scan_of("rows", &["n", "t", "text"], Some((min, max)));
                let cx = Context::new("test");
                let access = parquet_file(&cx, "rows", &path, &scan, &[])
                    .await
                    .unwrap()
                    .unwrap();
                let found = numbered(access.as_ref(), &["n", "t"]).await;
                assert!(found.iter().all(|&(number, n)| number == n as u64));
                for n in (0..N_ROWS).filter(|n| n % 50 != 7 && (min..=max).contains(&(n * 10))) {
                    assert!(
                        found.binary_search(&(n as u64, n)).is_ok(),
                        "row {n} of {min}..={max} is missing with {statistics:?} statistics"
                    );
                }
                if statistics == EnabledStatistics::Page && length < 200 {
                    assert!(found.len() <= 60, "{} rows for {min}..={max}", found.len());
                }
                let wanted: Vec<u64> = found.iter().map(|&(number, _)| number).step_by(3).collect();
                let batches = fetched(access.as_ref(), &["text", "n"], &wanted).await;
                let texts = batches.iter().flat_map(|batch| {
                    let texts = batch.column(0).as_string::<i32>();
                    texts
                        .iter()
                        .map(|text| text.map(str::to_owned))
                        .collect::<Vec<_>>()
                });
                let expected = wanted
                    .iter()
                    .map(|n| (n % 3 > 0).then(|| format!("text\0{n}")));
                assert!(texts.eq(expected));
            }
        }
    }
}

#[tokio::test]
async fn few_keys_leave_every_row_of_theirs_and_few_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    let keys = |column: &str, values: ArrayRef| WantedKeys {
        column: column.to_owned(),
        values,
    };
    let numbers = |values: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let texts = |values: &[i64]| -> ArrayRef {
        let texts = values.iter().map(|n| Some(format!("text\0{n}")));
        Arc::new(texts.collect::<StringArray>())
    };
    let cx = Context::new("test");
    let scan = scan_of("rows", &["n", "text"], None);
    for statistics in [
        EnabledStatistics::Page,
        EnabledStatistics::Chunk,
        EnabledStatistics::None,
    ] {
        write(&path, statistics);
        for wanted in [vec![0], vec![5, 999], vec![130, 259, 260], vec![-7, 5_000]] {
            for keys in [keys("n", numbers(&wanted)), keys("text", texts(&wanted))] {
                let column = keys.column.clone();
                let access = parquet_file(&cx, "rows", &path, &scan, &[keys]).await;
                let found = numbered(access.unwrap().unwrap().as_ref(), &["n"]).await;
                // Every third text is null.
                let is_held = |n: i64| (0..N_ROWS).contains(&n) && (column == "n" || n % 3 > 0);
                for &n in wanted.iter().filter(|&&n| is_held(n)) {
                    assert!(found.contains(&(n as u64, n)), "{wanted:?} of {column}");
                }
                let most = match (column.as_str(), statistics) {
                    ("n", EnabledStatistics::Page) => 25 * wanted.len(),
                    ("n", EnabledStatistics::Chunk) => 130 * wanted.len(),
                    _ => N_ROWS as usize,
                };
                assert!(found.len() <= most, "{} rows for {wanted:?}", found.len());
            }
        }
    }
    // Numbers that are spread over all row groups, which Bloom filters alone tell apart.
    let spread = (0..N_ROWS).map(|n| n * 7_919 % N_ROWS * 2);
    let batch = RecordBatch::try_from_iter([(
        "n",
        Arc::new(Int64Array::from_iter_values(spread)) as ArrayRef,
    )]);
    let batch = batch.unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(100))
        .set_bloom_filter_enabled(true)
        .build();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let scan = scan_of("rows", &["n"], None);
    let read = async |wanted: &[i64]| {
        let keys = [keys("n", numbers(wanted))];
        let access = parquet_file(&cx, "rows", &path, &scan, &keys).await;
        numbered(access.unwrap().unwrap().as_ref(), &["n"]).await
    };
    let found = read(&[400]).await;
    assert!(found.iter().any(|&(_, n)| n == 400) && found.len() <= 300);
    assert!(read(&[401]).await.len() <= 300);
}

#[tokio::test]
async fn rows_that_no_scan_answers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write(&path, EnabledStatistics::Page);
    let cx = Context::new("test");
    let scan = scan_of("rows", &["n"], None);
    let access = parquet_file(&cx, "rows", &path, &scan, &[])
        .await
        .unwrap()
        .unwrap();
    let beyond = UInt64Array::from(vec![3, N_ROWS as u64]);
    let error = access
        .fetch(&cx, &["n".to_owned()], beyond)
        .await
        .unwrap_err();
    assert!(error.message().contains("that no scan answers"), "{error}");
    let error = access.scan(&cx, &["t".to_owned()]).await.unwrap_err();
    assert!(error.message().contains("was not named"), "{error}");
}

#[tokio::test]
async fn names_that_differ_in_case_are_left_to_plans() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write(&path, EnabledStatistics::Page);
    let scan = scan_of("rows", &["N"], None);
    let access = parquet_file(&Context::new("test"), "rows", &path, &scan, &[]).await;
    assert!(access.unwrap().is_none());
}

#[tokio::test]
async fn open_rows_stay_at_their_state_while_the_table_changes() {
    let folder = tempfile::tempdir().unwrap();
    let config = ProviderConfig {
        scheme: crate::SCHEME.to_owned(),
        block: "offline_store".to_owned(),
        options: serde_json::Map::new(),
        base_path: folder.path().to_owned(),
        resources: Resources::default(),
    };
    let mut providers = provender_core::provider::Providers::default();
    providers.register(crate::factory());
    let cx = Context::new("test");
    let store: Arc<dyn OfflineStore> = providers.open_offline(&cx, config).await.unwrap();
    let append = |first: i64, mode: WriteMode| {
        let request = OfflineWrite {
            table: "rows".to_owned(),
            mode,
            partition_by: Vec::new(),
            id: None,
        };
        let batch = rows(first, 100);
        let stream = BatchStream::from_batches(batch.schema(), vec![batch]);
        store.write(&cx, request, stream)
    };
    append(0, WriteMode::Append).await.unwrap();
    append(100, WriteMode::Append).await.unwrap();
    let scan = scan_of("rows", &["n", "text"], None);
    let before = store.open_rows(&cx, scan.clone()).await.unwrap().unwrap();
    append(500, WriteMode::Overwrite).await.unwrap();
    let after = store.open_rows(&cx, scan.clone()).await.unwrap().unwrap();

    let values = |found: Vec<(u64, i64)>| {
        let mut values: Vec<i64> = found.into_iter().map(|(_, n)| n).collect();
        values.sort_unstable();
        values
    };
    let rows_before = numbered(before.as_ref(), &["n"]).await;
    assert_eq!(values(rows_before.clone()), (0..200).collect::<Vec<_>>());
    let rows_after = numbered(after.as_ref(), &["n"]).await;
    assert_eq!(values(rows_after), (500..600).collect::<Vec<_>>());
    let (number, n) = rows_before[150];
    let batches = fetched(before.as_ref(), &["n"], &[number]).await;
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), n);

    let mut past = scan;
    past.source.version = Some(SourceVersion::Number(0));
    let past = store.open_rows(&cx, past).await.unwrap().unwrap();
    let rows_past = numbered(past.as_ref(), &["n"]).await;
    assert_eq!(values(rows_past), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_vanished_is_named() {
    let error = unreadable(
        "part-0.parquet",
        std::io::Error::from(std::io::ErrorKind::NotFound),
    );
    assert!(
        error
            .message()
            .contains("\"part-0.parquet\" cannot be read"),
        "{error}"
    );
}
