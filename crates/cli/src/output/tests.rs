#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{Field, Schema};
use provender_core::{Error, codes};

use super::*;
use crate::errors::Failure;

fn sample() -> RecordBatch {
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.values().append_value("a");
    tags.append(true);
    tags.append(false);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        (
            "t",
            Arc::new(TimestampMicrosecondArray::from(vec![0, 1_500_000]).with_timezone("UTC")),
        ),
        ("x", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
        ("tags", Arc::new(tags.finish())),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

async fn write(path: &Path, batches: Vec<RecordBatch>) -> Outcome<Written> {
    let stream = BatchStream::from_batches(batches[0].schema(), batches);
    Destination::file(path, None)?
        .open()?
        .write(stream, 20)
        .await
}

fn code(failure: &Failure) -> String {
    match failure {
        Failure::Errors(errors) => errors[0].code().to_owned(),
        other => format!("{other:?}"),
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn csv_has_nested_values_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let written = write(&path, vec![sample(), sample()]).await.unwrap();
    assert_eq!((written.n_rows, written.n_columns), (4, 4));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(
        lines[..3],
        [
            "id,t,x,tags",
            "1,1970-01-01T00:00:00Z,0.5,\"[\"\"a\"\"]\"",
            "2,1970-01-01T00:00:01.500Z,,"
        ]
    );
    let empty = RecordBatch::new_empty(sample().schema());
    write(&path, vec![empty]).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "id,t,x,tags\n");
}

#[tokio::test]
async fn json_is_one_array_and_json_lines_are_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    write(&path, vec![sample()]).await.unwrap();
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(value[1]["x"], serde_json::Value::Null);
    assert_eq!(value[0]["tags"][0], "a");
    let path = folder.path().join("a.jsonl");
    write(&path, vec![sample()]).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn parquet_and_arrow_read_back_equal() {
    use crate::input::InputFile;

    let folder = tempfile::tempdir().unwrap();
    for name in ["a.parquet", "a.arrow", "a.arrows", "a.feather"] {
        let path = folder.path().join(name);
        write(&path, vec![sample(), sample()]).await.unwrap();
        let input = InputFile::new(&path, None, None).unwrap();
        let input = input
            .open(&provender_core::Context::new("p"))
            .await
            .unwrap();
        let rows = input.stream.collect().await.unwrap();
        let rows = arrow_rows(&rows);
        assert_eq!(rows, 4, "{name}");
    }
    assert_eq!(
        entries(folder.path()),
        ["a.arrow", "a.arrows", "a.feather", "a.parquet"]
    );
}

#[tokio::test]
async fn row_groups_of_parquet_come_in_order_and_the_same_on_every_run() {
    use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    const N_ROWS: i64 = 900_000;
    let batch = |first: i64| {
        let numbers = first..N_ROWS.min(first + 7_000);
        let texts = numbers.clone().map(|n| (n % 3 > 0).then(|| n.to_string()));
        let columns: [(&str, ArrayRef); 2] = [
            ("n", Arc::new(Int64Array::from_iter_values(numbers))),
            ("text", Arc::new(texts.collect::<StringArray>())),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.parquet", "b.parquet"].map(|name| folder.path().join(name));
    for path in &paths {
        let batches = (0..N_ROWS).step_by(7_000).map(batch).collect();
        assert_eq!(write(path, batches).await.unwrap().n_rows, N_ROWS as u64);
    }
    let [one, other] = paths.map(|path| std::fs::read(path).unwrap());
    assert!(one == other);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(one)).unwrap();
    let groups = reader.metadata().row_groups().iter();
    let n_rows: Vec<i64> = groups.map(|group| group.num_rows()).collect();
    assert_eq!(n_rows, [1 << 18, 1 << 18, 1 << 18, N_ROWS - 3 * (1 << 18)]);
    let mut next = 0;
    for rows in reader.build().unwrap() {
        let rows = rows.unwrap();
        let numbers = rows.column(0).as_primitive::<Int64Type>();
        let texts = rows.column(1).as_string::<i32>();
        for (number, text) in numbers.values().iter().zip(texts) {
            assert_eq!(*number, next);
            let expected = (next % 3 > 0).then(|| next.to_string());
            assert_eq!(text, expected.as_deref());
            next += 1;
        }
    }
    assert_eq!(next, N_ROWS);
}

fn arrow_rows(batches: &[RecordBatch]) -> usize {
    let expected = sample();
    for batch in batches {
        assert_eq!(batch.column(3), &slice_like(&expected, 3, batch));
    }
    batches.iter().map(RecordBatch::num_rows).sum()
}

fn slice_like(expected: &RecordBatch, column: usize, batch: &RecordBatch) -> ArrayRef {
    // Formats may join batches; the two of the sample are equal.
    if batch.num_rows() == expected.num_rows() {
        return expected.column(column).clone();
    }
    let mut tags = ListBuilder::new(StringBuilder::new());
    for _ in 0..2 {
        tags.values().append_value("a");
        tags.append(true);
        tags.append(false);
    }
    Arc::new(tags.finish())
}

#[tokio::test]
async fn arrow_files_take_dictionaries_that_differ_between_batches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.arrow");
    let batch = |values: Vec<&str>| {
        let column: DictionaryArray<Int32Type> = values.into_iter().collect();
        let column: ArrayRef = Arc::new(column);
        let field = Field::new("d", column.data_type().clone(), true);
        RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap()
    };
    write(&path, vec![batch(vec!["a", "b"]), batch(vec!["c"])])
        .await
        .unwrap();
    let input = crate::input::InputFile::new(&path, None, None).unwrap();
    let rows = input
        .open(&provender_core::Context::new("p"))
        .await
        .unwrap()
        .stream
        .collect()
        .await
        .unwrap();
    let last: ArrayRef = Arc::new(StringArray::from(vec!["c"]));
    assert_eq!(rows[1].column(0), &last);
}

#[tokio::test]
async fn failure_leaves_the_old_file_and_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    std::fs::write(&path, "old").unwrap();
    let batches = vec![
        Ok(sample()),
        Err(Error::new(&codes::CHECKED_CAST, "a value does not fit")),
    ];
    let stream = BatchStream::new(sample().schema(), futures::stream::iter(batches));
    let opened = Destination::file(&path, None).unwrap().open().unwrap();
    let failure = opened.write(stream, 20).await.unwrap_err();
    assert_eq!(code(&failure), "P501");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(entries(folder.path()), ["a.parquet"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn full_and_unwritable_places_are_named() {
    let failure = write(Path::new("/dev/full"), vec![sample()])
        .await
        .unwrap_err();
    assert_eq!(code(&failure), "P901");
    let Failure::Errors(errors) = failure else {
        panic!("an error")
    };
    assert!(errors[0].message().contains("/dev/full"), "{}", errors[0]);
    for format in [
        OutputFormat::Csv,
        OutputFormat::Json,
        OutputFormat::Arrow,
        OutputFormat::Table,
    ] {
        let destination = Destination::file(Path::new("/dev/full"), Some(format)).unwrap();
        let stream = BatchStream::from_batches(sample().schema(), vec![sample()]);
        let failure = destination
            .open()
            .unwrap()
            .write(stream, 20)
            .await
            .unwrap_err();
        assert_eq!(code(&failure), "P901", "{format:?}");
    }
    assert!(Path::new("/dev/full").exists());
    for path in ["/proc/x/out.parquet", "/nowhere/out.csv", "/tmp"] {
        let failure = Destination::file(Path::new(path), Some(OutputFormat::Csv))
            .unwrap()
            .open()
            .unwrap_err();
        assert_eq!(code(&failure), "P902", "{path}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn links_stay_and_what_they_name_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("real.csv");
    let link = folder.path().join("link.csv");
    std::fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    write(&link, vec![sample()]).await.unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("id,t"));
}

#[test]
fn extensions_that_are_not_known_are_wrong_usage() {
    assert!(matches!(
        Destination::file(Path::new("a.xlsx"), None),
        Err(Failure::Usage(_))
    ));
    assert!(Destination::file(Path::new("a.xlsx"), Some(OutputFormat::Csv)).is_ok());
}

#[tokio::test]
async fn table_shows_the_first_rows_and_counts_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let destination = Destination::file(&path, Some(OutputFormat::Table)).unwrap();
    let stream = BatchStream::from_batches(sample().schema(), vec![sample(), sample()]);
    destination.open().unwrap().write(stream, 3).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("id"), "{text}");
    assert!(text.ends_with("4 rows (3 shown), 4 columns\n"), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
}

#[tokio::test]
async fn wide_rows_are_turned_unless_all_of_many_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let wide = |n_rows: i64| {
        let columns = (0..13).map(|column| {
            let values = (0..n_rows).map(|row| row * 100 + column);
            let column_of: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
            (format!("c{column}"), column_of)
        });
        RecordBatch::try_from_iter(columns).unwrap()
    };
    for (n_rows, limit, start, end) in [
        (
            2,
            usize::MAX,
            "column  type   row 1  row 2\n",
            "2 rows, 13 columns\n",
        ),
        (6, usize::MAX, " c0   c1", "512\n6 rows, 13 columns\n"),
        (
            6,
            20,
            "column  type   row 1",
            "6 rows (5 shown), 13 columns\n",
        ),
    ] {
        let path = folder.path().join(format!("{n_rows}-{limit}.txt"));
        let batch = wide(n_rows);
        let stream = BatchStream::from_batches(batch.schema(), vec![batch]);
        let opened = Destination::file(&path, Some(OutputFormat::Table)).unwrap();
        opened.open().unwrap().write(stream, limit).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(start) && text.ends_with(end), "{text}");
    }
}

#[test]
fn own_results_are_rows() {
    let rows = Rows::default()
        .text("name", ["a"].into_iter())
        .versions("version", [None].into_iter())
        .texts("changes", [vec!["x".to_owned()]].into_iter())
        .batch()
        .unwrap();
    assert_eq!(
        table::plain(&rows).unwrap(),
        "name  version  changes\na              [x]\n"
    );
}
