use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use arrow_array::{
    Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow_schema::{DataType, Field, Schema};
use provender_core::model::SourceVersion;
use provender_core::provider::Resources;
use provender_core::request::{SourceRef, WriteMode};
use provender_core::{BatchStream, Error, codes};

use crate::support::*;

#[tokio::test]
async fn appended_columns_are_cast_filled_and_matched_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(&*store, "weather", weather("JFK", 0, 1))
        .await
        .unwrap();
    let rows = batch(vec![
        ("TEMP", Arc::new(Int32Array::from(vec![5]))),
        (
            "time_hour",
            Arc::new(TimestampNanosecondArray::from(vec![-1])),
        ),
    ]);
    let summary = append(&*store, "Weather", rows).await.unwrap();
    assert_eq!(summary.version, Some(SourceVersion::Number(1)));
    assert_eq!(
        lines(&*store, all(SourceRef::table("weather"))).await,
        [
            ",1969-12-31T23:59:59.999999Z,5",
            "JFK,1970-01-01T00:00:00Z,0"
        ]
    );
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused_by_column() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("x", DataType::Int32, true),
    ]));
    let first = RecordBatch::try_new(
        schema,
        vec![
            Arc::new(Int32Array::from(vec![1])),
            Arc::new(Int32Array::from(vec![1])),
        ],
    )
    .unwrap();
    append(&*store, "t", first).await.unwrap();
    let rows = batch(vec![
        ("x", Arc::new(Float64Array::from(vec![1.5]))),
        ("wind", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let error = append(&*store, "t", rows).await.unwrap_err();
    assert_eq!(error.code(), "P505");
    for part in [
        "column \"id\" is missing and may not be null",
        "column \"x\" is Int32 and does not take Float64",
        "column \"wind\" is new",
    ] {
        assert!(error.message().contains(part), "{error}");
    }
    let rows = batch(vec![(
        "id",
        Arc::new(Int32Array::from(vec![Some(1), None])),
    )]);
    let error = append(&*store, "t", rows).await.unwrap_err();
    assert!(
        error
            .message()
            .contains("\"id\" of table \"t\" may not be null"),
        "{error}"
    );
    let rows = batch(vec![("id", Arc::new(Int64Array::from(vec![1])))]);
    let error = append(&*store, "t", rows).await.unwrap_err();
    assert!(error.message().contains("does not take Int64"), "{error}");
    let rows = batch(vec![
        ("id", Arc::new(Int32Array::from(vec![1]))),
        ("ID", Arc::new(Int32Array::from(vec![1]))),
    ]);
    let error = append(&*store, "new", rows).await.unwrap_err();
    assert!(
        error.message().contains("two columns named \"id\""),
        "{error}"
    );
    assert_eq!(n_rows(&*store, SourceRef::table("t")).await, 1);
}

#[tokio::test]
async fn an_id_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut write = request("weather", WriteMode::Append);
    write.id = Some("push-1".to_owned());
    for applied in [2, 0, 0] {
        let summary = store
            .write(&cx(), write.clone(), stream(vec![weather("JFK", 0, 2)]))
            .await
            .unwrap();
        assert_eq!(summary.n_applied, applied);
        assert_eq!(summary.version, Some(SourceVersion::Number(0)));
    }
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 2);
    // Many versions later, past a checkpoint, it is still known.
    for hour in 0..12 {
        append(&*store, "weather", weather("LGA", hour, 1))
            .await
            .unwrap();
    }
    assert!(
        folder
            .path()
            .join("data/weather/_delta_log/_last_checkpoint")
            .exists()
    );
    let again = store
        .write(&cx(), write, stream(vec![weather("JFK", 0, 2)]))
        .await
        .unwrap();
    assert_eq!(again.n_applied, 0);
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 14);
    assert_eq!(
        n_rows(&*store, at("weather", SourceVersion::Number(3))).await,
        5
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_lose_nothing_even_while_they_make_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut tasks = Vec::new();
    for writer in 0..8_i64 {
        // Each has a store of its own, as processes have.
        let store = open(folder.path()).await;
        tasks.push(tokio::spawn(async move {
            for round in 0..6 {
                let mut write = request("weather", WriteMode::Append);
                // Two writers each share an id: one of them counts.
                write.id = Some(format!("{}-{round}", writer / 2));
                store
                    .write(
                        &cx(),
                        write,
                        stream(vec![weather("JFK", writer / 2 * 100 + round, 1)]),
                    )
                    .await
                    .unwrap();
                append(&*store, "weather", weather("LGA", writer * 100 + round, 1))
                    .await
                    .unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let store = open(folder.path()).await;
    let found = lines(
        &*store,
        all(query(
            "SELECT origin, COUNT(*) AS n, COUNT(DISTINCT Temp) AS d FROM weather GROUP BY origin",
        )),
    )
    .await;
    assert_eq!(found, ["JFK,24,24", "LGA,48,48"]);
    let table = folder.path().join("data/weather");
    assert_eq!(
        data_files(&table).len(),
        72,
        "files of writes that did not count are removed"
    );
}

#[tokio::test]
async fn a_table_in_the_making_is_not_there_yet() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(&*store, "t", weather("JFK", 0, 1)).await.unwrap();
    // What a writer that was killed before its commit leaves behind.
    let log = folder.path().join("data/t/_delta_log");
    std::fs::remove_file(log.join("00000000000000000000.json")).unwrap();
    assert_eq!(
        failure(&*store, all(SourceRef::table("t"))).await.code(),
        "P120"
    );
    assert!(store.check(&cx()).await.unwrap()[0].starts_with("0 tables"));
    append(&*store, "t", weather("LGA", 0, 2)).await.unwrap();
    assert_eq!(n_rows(&*store, SourceRef::table("t")).await, 2);
}

#[tokio::test]
async fn overwriting_replaces_rows_and_columns_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    append(&*store, "t", weather("JFK", 0, 3)).await.unwrap();
    let other = batch(vec![("only", Arc::new(StringArray::from(vec!["x"])))]);
    let overwrite = request("t", WriteMode::Overwrite);
    store
        .write(&cx(), overwrite.clone(), stream(vec![other]))
        .await
        .unwrap();
    assert_eq!(lines(&*store, all(SourceRef::table("t"))).await, ["x"]);
    assert_eq!(n_rows(&*store, at("t", SourceVersion::Number(0))).await, 3);
    let none = batch(vec![(
        "only",
        Arc::new(StringArray::from(Vec::<&str>::new())),
    )]);
    store
        .write(&cx(), overwrite, stream(vec![none]))
        .await
        .unwrap();
    assert_eq!(n_rows(&*store, SourceRef::table("t")).await, 0);
}

#[tokio::test]
async fn partitions_are_folders_and_many_stay_within_memory() {
    let folder = tempfile::tempdir().unwrap();
    let small = Resources {
        memory_limit_bytes: 1 << 20,
        n_threads: 1,
        spill_path: None,
    };
    let store = open_with(folder.path(), small).await;
    let mut write = request("t", WriteMode::Append);
    write.partition_by = vec!["p".to_owned()];
    let n = 2_000_000_i64;
    let batches = (0..20)
        .map(|part| {
            let rows = part * n / 20..(part + 1) * n / 20;
            batch(vec![
                (
                    "p",
                    Arc::new(Int64Array::from_iter_values(rows.clone().map(|i| i % 8))),
                ),
                ("n", Arc::new(Int64Array::from_iter_values(rows))),
            ])
        })
        .collect();
    store
        .write(&cx(), write.clone(), stream(batches))
        .await
        .unwrap();
    let table = folder.path().join("data/t");
    assert!(table.join("p=3").is_dir());
    assert!(
        data_files(&table).len() > 8,
        "full files are closed on the way"
    );
    let found = lines(
        &*store,
        all(query(
            "SELECT COUNT(*) AS a, SUM(n) AS b FROM t WHERE p = 3",
        )),
    )
    .await;
    assert_eq!(
        found,
        [format!(
            "{},{}",
            n / 8,
            (0..n).filter(|i| i % 8 == 3).sum::<i64>()
        )]
    );

    write.table = "u".to_owned();
    for (by, message) in [
        ("q", "no such column"),
        ("n", "all of its columns"),
        ("f", "it is Float64"),
    ] {
        write.partition_by = if by == "n" {
            vec!["n".into()]
        } else {
            vec![by.into()]
        };
        let mut columns: Vec<(&str, arrow_array::ArrayRef)> =
            vec![("n", Arc::new(Int64Array::from(vec![1])))];
        if by == "f" {
            columns.push(("f", Arc::new(Float64Array::from(vec![1.0]))));
        }
        let error = store
            .write(&cx(), write.clone(), stream(vec![batch(columns)]))
            .await
            .unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
}

#[tokio::test]
async fn failing_rows_leave_the_table_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let failing = || {
        let rows = weather("JFK", 0, 10);
        BatchStream::new(
            rows.schema(),
            futures::stream::iter(vec![
                Ok(rows),
                Err(Error::new(&codes::BAD_INPUT_FILE, "line 11 is no weather")),
            ]),
        )
    };
    let error = store
        .write(&cx(), request("new", WriteMode::Append), failing())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P407");
    assert!(!folder.path().join("data").exists());
    // Files that were finished before the failure, in folders with names that are escaped.
    let small = Resources {
        memory_limit_bytes: 1 << 20,
        n_threads: 1,
        spill_path: None,
    };
    let small = open_with(folder.path(), small).await;
    let rows = || weather("J=F/K %", 0, 1_000_000);
    let long = BatchStream::new(
        rows().schema(),
        futures::stream::iter(vec![
            Ok(rows()),
            Ok(rows()),
            Err(Error::new(
                &codes::BAD_INPUT_FILE,
                "line 2000001 is no weather",
            )),
        ]),
    );
    let mut parts = request("parts", WriteMode::Append);
    parts.partition_by = vec!["origin".to_owned()];
    let error = small.write(&cx(), parts, long).await.unwrap_err();
    assert_eq!(error.code(), "P407");
    assert!(!folder.path().join("data").exists());
    append(&*store, "old", weather("LGA", 0, 1)).await.unwrap();
    for mode in [WriteMode::Append, WriteMode::Overwrite] {
        let error = store
            .write(&cx(), request("old", mode), failing())
            .await
            .unwrap_err();
        assert_eq!(error.code(), "P407");
    }
    let table = folder.path().join("data/old");
    assert_eq!(data_files(&table).len(), 1);
    assert_eq!(
        store.pin(&cx(), &SourceRef::table("old")).await.unwrap(),
        SourceVersion::Number(0)
    );
    let cancelled = cx();
    cancelled.cancel();
    let write = request("old", WriteMode::Append);
    let error = store
        .write(&cancelled, write, stream(vec![weather("LGA", 0, 1)]))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P906");
    // Also while the rows do not come.
    let waiting = cx();
    let rows = weather("LGA", 0, 1);
    let never = BatchStream::new(rows.schema(), futures::stream::pending());
    let canceller = waiting.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        canceller.cancel();
    });
    let error = store
        .write(&waiting, request("old", WriteMode::Append), never)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P906");
}

#[tokio::test]
async fn paths_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), b"a file").unwrap();
    let store = open(folder.path()).await;
    let error = append(&*store, "t", weather("LGA", 0, 1))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P902", "{error:?}");
    assert!(error.message().contains("data/t"), "{error}");
    let store = open(std::path::Path::new("/proc")).await;
    let error = append(&*store, "t", weather("LGA", 0, 1))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P902", "{error:?}");

    // Root may write anywhere, so this one says nothing there.
    let folder = tempfile::tempdir().unwrap();
    let locked = folder.path().join("data");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(locked.join("probe"), b"").is_err() {
        let store = open(folder.path()).await;
        let error = append(&*store, "t", weather("LGA", 0, 1))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "P902");
        assert_eq!(store.check(&cx()).await.unwrap_err().code(), "P902");
    }
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_the_table_as_it_was() {
    // /dev/shm of limited size needs rights to mount; a file size limit of a child process does not.
    let Ok(exe) = std::env::current_exe() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    if let Ok(path) = std::env::var("PROVENDER_TEST_FULL_DISK") {
        let store = open(std::path::Path::new(&path)).await;
        let noise = (0..400_000_i64).map(|i| i.wrapping_mul(0x5851_F42D_4C95_7F2D) ^ (i << 40));
        let rows = batch(vec![("n", Arc::new(Int64Array::from_iter_values(noise)))]);
        let error = append(&*store, "t", rows).await.unwrap_err();
        assert_eq!(error.code(), "P901", "{error:?}");
        assert!(error.message().contains("\"t\""), "{error}");
        return;
    }
    let store = open(folder.path()).await;
    append(
        &*store,
        "t",
        batch(vec![("n", Arc::new(Int64Array::from(vec![1])))]),
    )
    .await
    .unwrap();
    let output = std::process::Command::new("bash")
        .arg("-c")
        // Without the signal, a write beyond the limit fails with EFBIG.
        .arg("trap '' XFSZ; ulimit -f 256; exec \"$0\" --exact writing::a_full_disk_is_said_and_leaves_the_table_as_it_was --nocapture")
        .arg(exe)
        .env("PROVENDER_TEST_FULL_DISK", folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(n_rows(&*store, SourceRef::table("t")).await, 1);
    assert_eq!(data_files(&folder.path().join("data/t")).len(), 1);
}
