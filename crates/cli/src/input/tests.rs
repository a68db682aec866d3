#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, Int64Array};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field, Schema};

use super::*;

fn file(folder: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    File::create(&path)
        .unwrap()
        .write_all(content.as_ref())
        .unwrap();
    path
}

async fn read(path: &Path, schema: Option<&str>) -> Result<Vec<RecordBatch>> {
    let input = InputFile::new(path, None, schema)
        .unwrap()
        .open(&Context::new("p"))
        .await?;
    input.stream.collect().await
}

fn types(batch: &RecordBatch) -> String {
    let schema = batch.schema();
    let names: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| {
            let value_type = provender_core::ValueType::from_arrow(field.data_type()).unwrap();
            format!("{}:{value_type}", field.name())
        })
        .collect();
    names.join(" ")
}

#[tokio::test]
async fn csv_types_follow_from_values_and_empty_is_null() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(
        &folder,
        "a.csv",
        "origin,t,temp,n,code,note\nJFK,2013-01-01T05:00:00Z,39.5,1,007,\n\"L\"\"G\nA\",2013-01-01 06:00:00+01:00,,2,8,\n",
    );
    let batches = read(&path, None).await.unwrap();
    let batch = &batches[0];
    assert_eq!(
        types(batch),
        "origin:string t:timestamp temp:float64 n:int64 code:string note:string"
    );
    assert_eq!(batch.column(0).as_string::<i32>().value(1), "L\"G\nA");
    let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(0), times.value(1));
    assert!(batch.column(2).as_primitive::<Float64Type>().is_null(1));
    assert_eq!(batch.column(5).null_count(), 2);
}

#[tokio::test]
async fn csv_misfit_after_the_sample_names_line_column_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "id,delay\n".to_owned();
    for row in 0..SAMPLE_ROWS + 5 {
        text.push_str(&format!("{row},{}\n", row % 60));
    }
    text.push_str("7,NA\n");
    let path = file(&folder, "late.csv", text);
    let error = read(&path, None).await.unwrap_err();
    assert_eq!(error.code(), "P407");
    assert!(
        error
            .message()
            .ends_with("late.csv, line 10007: \"NA\" in column \"delay\" is no int64"),
        "{error}"
    );
    assert!(error.help_text().unwrap().contains("--schema delay:string"));
    let batches = read(&path, Some("delay:string")).await.unwrap();
    let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(n_rows, SAMPLE_ROWS + 6);
    assert_eq!(types(&batches[0]), "id:int64 delay:string");
}

#[tokio::test]
async fn csv_faults_are_told_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("", "it is empty, not even a header"),
        ("a,a\n1,2\n", "its header has the column \"a\" twice"),
        (
            "a,b\n1,2\n\"x\ny\",1\n3\n",
            "line 5: it has 1 values, the header has 2",
        ),
    ] {
        let path = file(&folder, "bad.csv", text);
        let error = read(&path, None).await.unwrap_err();
        assert!(error.message().ends_with(expected), "{text:?}: {error}");
    }
    let path = file(&folder, "bytes.csv", b"a,b\n1,2\n\xff,3\n");
    let error = read(&path, None).await.unwrap_err();
    assert!(
        error.message().ends_with("line 3: it is not UTF-8"),
        "{error}"
    );
    let path = file(&folder, "good.csv", "origin\nJFK\n");
    let error = read(&path, Some("orign:string")).await.unwrap_err();
    assert_eq!(error.help_text(), Some("did you mean \"origin\"?"));
}

#[tokio::test]
async fn csv_without_rows_has_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "none.csv", "a,b\n");
    let input = InputFile::new(&path, None, Some("b:int8")).unwrap();
    let input = input.open(&Context::new("p")).await.unwrap();
    assert_eq!(input.stream.schema.field(1).data_type(), &DataType::Int8);
    assert!(input.stream.collect().await.unwrap().is_empty());
}

#[tokio::test]
async fn json_lines_keep_nested_values_and_read_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(
        &folder,
        "a.jsonl",
        "{\"id\":1,\"t\":\"2013-01-01T05:00:00Z\",\"tags\":[\"a\"],\"none\":null}\n\n{\"id\":2,\"text\":\"x\"}\n",
    );
    let batches = read(&path, None).await.unwrap();
    let batch = &batches[0];
    assert_eq!(
        types(batch),
        "id:int64 t:timestamp tags:list<string> none:string text:string"
    );
    assert_eq!(
        batch.column(0).as_primitive::<Int64Type>().values(),
        &[1, 2]
    );
    assert!(batch.column(1).is_null(1));
}

#[tokio::test]
async fn json_lines_misfit_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for row in 0..SAMPLE_ROWS {
        text.push_str(&format!("{{\"id\":{row}}}\n"));
    }
    for (last, expected) in [
        ("{\"id\":\"x\"}", "line 10002: "),
        ("{\"id\":1,\"new\":2}", "line 10002: "),
        ("{\"id\":", "line 10002: "),
    ] {
        let path = file(
            &folder,
            "late.jsonl",
            format!("{text}{{\"id\":0}}\n{last}\n"),
        );
        let error = read(&path, None).await.unwrap_err();
        assert_eq!(error.code(), "P407");
        assert!(error.message().contains(expected), "{error}");
    }
    let path = file(&folder, "empty.jsonl", "");
    let error = read(&path, None).await.unwrap_err();
    assert!(error.message().contains("is empty"), "{error}");
}

#[tokio::test]
async fn arrow_files_and_streams_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    let rows = RecordBatch::try_new(
        schema.clone(),
        vec![Arc::new(Int64Array::from(vec![Some(1), None]))],
    )
    .unwrap();
    let path = folder.path().join("file.arrow");
    let mut writer = FileWriter::try_new(File::create(&path).unwrap(), &schema).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    let mut stream = Vec::new();
    let mut writer = StreamWriter::try_new(&mut stream, &schema).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    drop(writer);
    assert_eq!(read(&path, None).await.unwrap()[0], rows);
    let path = file(&folder, "stream.arrow", &stream);
    assert_eq!(read(&path, None).await.unwrap()[0], rows);
    // Through a pipe, a file is read as the stream it contains.
    let piped = std::fs::read(folder.path().join("file.arrow")).unwrap();
    let opened = ipc::open_pipe("pipe".to_owned(), std::io::Cursor::new(piped)).unwrap();
    let batches: Vec<_> = opened.batches.map(Result::unwrap).collect();
    assert_eq!(batches, [rows]);
}

#[tokio::test]
async fn damaged_files_are_errors_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("a.parquet", &b"PAR1 no footer"[..]),
        ("b.arrow", b"\xff\xff\xff\xff\xff\xff\xff\x7f"),
        ("c.arrow", b"ARROW1\0\0 no footer"),
        ("d.arrow", b""),
        ("e.jsonl", b"[1"),
    ] {
        let path = file(&folder, name, content);
        let error = read(&path, None).await.unwrap_err();
        assert_eq!(error.code(), "P407", "{name}");
        assert!(error.message().contains(name), "{error}");
    }
    let error = read(Path::new("/nowhere/x.csv"), None).await.unwrap_err();
    assert!(error.message().contains("/nowhere/x.csv"), "{error}");
    let error = read(folder.path().join("f.csv").as_path(), None).await;
    assert!(error.is_err());
}

#[test]
fn formats_that_are_not_clear_are_wrong_usage() {
    for (path, schema) in [
        ("spine", None),
        ("spine.txt", None),
        ("a.parquet", Some("a:int8")),
    ] {
        assert!(matches!(
            InputFile::new(Path::new(path), None, schema),
            Err(Failure::Usage(_))
        ));
    }
    assert!(matches!(
        InputFile::new(Path::new("-"), Some(InputFormat::Parquet), None),
        Err(Failure::Usage(_))
    ));
    let sniffed = |bytes: &[u8]| sniff(&mut std::io::Cursor::new(bytes.to_vec())).unwrap();
    assert_eq!(sniffed(b"  {\"a\":1}"), InputFormat::Jsonl);
    assert_eq!(sniffed(b"ARROW1\0\0"), InputFormat::Arrow);
    assert_eq!(sniffed(b"a,b\n"), InputFormat::Csv);
}

/// A file of `n` rows in row groups of some sizes, and where the last group's rows begin in it.
fn grouped(folder: &tempfile::TempDir, n: i64, group_rows: usize) -> (PathBuf, u64) {
    let path = folder.path().join("groups.parquet");
    let field = Field::new("n", DataType::Int64, false);
    let schema = Arc::new(Schema::new(vec![field]));
    let properties = ::parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .set_dictionary_enabled(false)
        .build();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(
        File::create(&path).unwrap(),
        schema.clone(),
        Some(properties),
    )
    .unwrap();
    let numbers = Arc::new(Int64Array::from_iter_values(0..n));
    let batch = RecordBatch::try_new(schema, vec![numbers]).unwrap();
    writer.write(&batch).unwrap();
    let metadata = writer.close().unwrap();
    let last = metadata.row_groups().last();
    (path, last.map_or(0, |last| last.column(0).byte_range().0))
}

#[tokio::test]
async fn row_groups_of_parquet_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    for (n, group_rows) in [(0, 10), (1, 10), (100_000, 7_000), (100_000, 100_000)] {
        let (path, _) = grouped(&folder, n, group_rows);
        let batches = read(&path, None).await.unwrap();
        let columns = batches.iter().map(|batch| batch.column(0));
        let numbers: Vec<i64> = columns
            .flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(numbers, (0..n).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn damage_in_a_late_row_group_of_parquet_comes_after_the_rows_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, last) = grouped(&folder, 100_000, 30_000);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = usize::try_from(last).unwrap();
    bytes[last..last + 64].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let input = InputFile::new(&path, None, None).unwrap();
    let mut stream = input.open(&Context::new("p")).await.unwrap().stream;
    let mut n_rows = 0;
    let error = loop {
        match stream.batches.next().await.unwrap() {
            Ok(batch) => n_rows += batch.num_rows(),
            Err(error) => break error,
        }
    };
    assert_eq!(n_rows, 90_000);
    assert_eq!(error.code(), codes::BAD_INPUT_FILE.id);
    assert!(error.to_string().contains("groups.parquet"), "{error}");
    assert!(stream.batches.next().await.is_none());
}
