//! Dates and times of years that a table's log cannot tell: refused by name when they are written here,
//! and an error instead of a panic where another program has written them.

use std::sync::Arc;

use arrow_array::builder::{Date32Builder, ListBuilder};
use arrow_array::{
    ArrayRef, Date32Array, Int64Array, RecordBatch, StructArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field};
use parquet::arrow::ArrowWriter;
use provender_core::model::SourceVersion;
use provender_core::provider::OfflineStore;
use provender_core::request::{
    ColumnRange, Maintenance, MaintenanceWork, Optimise, Scan, SourceRef,
};

use crate::support::*;

const DAY_US: i64 = 86_400_000_000;
/// 0001-01-01 and 9999-12-31, as days since 1970.
const FIRST_DAY: i32 = -719_162;
const LAST_DAY: i32 = 2_932_896;

fn times(us: i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![Some(us), None]).with_timezone("UTC"))
}

fn days(day: i32) -> ArrayRef {
    Arc::new(Date32Array::from(vec![Some(day), None]))
}

fn lists(day: i32) -> ArrayRef {
    let mut lists = ListBuilder::new(Date32Builder::new());
    lists.append_value([Some(0), None, Some(day)]);
    lists.append_null();
    Arc::new(lists.finish())
}

fn structs(us: i64) -> ArrayRef {
    let times = times(us);
    let field = Field::new("at", times.data_type().clone(), true);
    Arc::new(StructArray::from(vec![(Arc::new(field), times)]))
}

#[tokio::test]
async fn far_times_are_refused_by_their_column_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let columns = [
        days(FIRST_DAY - 1),
        days(LAST_DAY + 1),
        days(i32::MIN),
        days(100_000_000),
        times(i64::MIN),
        times(i64::MAX),
        times(i64::from(FIRST_DAY) * DAY_US - 1),
        times(i64::from(LAST_DAY + 1) * DAY_US),
        lists(i32::MAX),
        structs(i64::MAX),
    ];
    for column in columns {
        let what = format!("{column:?}");
        let error = append(&*store, "t", batch(vec![("value", column)])).await;
        let error = error.expect_err(&what);
        assert_eq!(error.code(), "P501", "{what}");
        assert_eq!(
            error.message(),
            "column \"value\" holds a time outside of the years 1 to 9999, which a Delta table cannot tell"
        );
        assert!(error.help_text().unwrap().contains("9999-12-31"));
    }
    assert!(!folder.path().join("data").exists());
    // Values that a list has, but none of its rows uses, are not written and so not judged.
    let unused = lists(i32::MAX).slice(1, 1);
    append(&*store, "t", batch(vec![("value", unused)]))
        .await
        .unwrap();
}

#[tokio::test]
async fn first_and_last_times_come_back_and_are_found_by_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (first_us, last_us) = (
        i64::from(FIRST_DAY) * DAY_US,
        i64::from(LAST_DAY + 1) * DAY_US - 1,
    );
    for (day, us) in [(FIRST_DAY, first_us), (LAST_DAY, last_us)] {
        let rows = batch(vec![
            ("day", days(day)),
            ("at", times(us)),
            ("days", lists(day)),
        ]);
        append(&*store, "t", rows).await.unwrap();
    }
    for (min_us, max_us, expected) in [
        (first_us, first_us, 1),
        (last_us - 999, last_us, 1),
        (first_us + 1, last_us - 1_000, 0),
    ] {
        let scan = Scan {
            source: SourceRef::table("t"),
            columns: Some(vec!["day".to_owned(), "at".to_owned()]),
            ranges: vec![ColumnRange {
                column: "at".to_owned(),
                min_us: Some(min_us),
                max_us: Some(max_us),
            }],
        };
        let batches = read(&*store, scan).await.unwrap();
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(found, expected, "{min_us} {max_us}");
    }
    let last = query("SELECT count(*) FROM t WHERE day > DATE '9999-12-30'");
    assert_eq!(lines(&*store, all(last)).await, ["1"]);
}

/// A table of two files, one of which another program has given a date that the log cannot tell.
async fn table_of_another_program(folder: &std::path::Path, store: &dyn OfflineStore) {
    for n in [1, 2] {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![n, n]));
        append(store, "t", batch(vec![("n", n), ("day", days(0))]))
            .await
            .unwrap();
    }
    let table = folder.join("data/t");
    let commit = table.join("_delta_log/00000000000000000001.json");
    let log = std::fs::read_to_string(&commit).unwrap();
    let mut actions: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let add = actions
        .iter_mut()
        .find_map(|action| action.get_mut("add"))
        .unwrap();
    let n: ArrayRef = Arc::new(Int64Array::from(vec![2, 2]));
    let rows = batch(vec![("n", n), ("day", days(100_000_000))]);
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    let bytes = writer.into_inner().unwrap();
    add["size"] = bytes.len().into();
    add["stats"] = r#"{"numRecords": 2}"#.into();
    std::fs::write(table.join(add["path"].as_str().unwrap()), bytes).unwrap();
    let lines: Vec<String> = actions.iter().map(ToString::to_string).collect();
    std::fs::write(commit, lines.join("\n")).unwrap();
}

#[tokio::test]
async fn far_times_of_another_program_are_read_and_no_work_on_them_panics() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    table_of_another_program(folder.path(), &*store).await;
    // Opened again, since what is known of a table may be held.
    let store = open(folder.path()).await;
    let before = read(&*store, all(SourceRef::table("t"))).await.unwrap();
    assert_eq!(before.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
    let far = before.iter().any(|rows| {
        let days = rows.column_by_name("day").unwrap();
        assert_eq!(*days.data_type(), DataType::Date32);
        let days: &Date32Array = days.as_any().downcast_ref().unwrap();
        days.iter().flatten().any(|day| day == 100_000_000)
    });
    assert!(far);
    let work = Maintenance {
        table: "t".to_owned(),
        work: MaintenanceWork::Optimise(Optimise::default()),
    };
    let error = store.maintain(&cx(), work).await.unwrap_err();
    assert!(error.message().contains("table \"t\" "), "{error}");
    // Rewriting the file of the far date fails; it goes on holding its rows.
    let keys = batch(vec![
        ("n", Arc::new(Int64Array::from(vec![2]))),
        ("day", Arc::new(Date32Array::from(vec![None::<i32>]))),
    ]);
    let source = SourceRef::table("t");
    let error = store.delete(&cx(), &source, keys).await.unwrap_err();
    assert!(error.message().contains("table \"t\" "), "{error}");
    let version = store.pin(&cx(), &source).await.unwrap();
    assert_eq!(version, SourceVersion::Number(1));
    assert_eq!(n_rows(&*store, at("t", version)).await, 4);
}
