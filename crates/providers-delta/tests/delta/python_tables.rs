//! Tables that the Python `deltalake` package writes, read and continued here.

use std::path::PathBuf;
use std::process::Command;

use provender_core::model::SourceVersion;
use provender_core::request::{ColumnRange, SourceRef};
use provender_core::time::parse_instant;

use crate::support::*;

const SCRIPT: &str = include_str!("python_tables.py");

/// A Python that has the package, or a printed line that says why not.
fn python() -> Option<PathBuf> {
    let venv = std::env::var("PROVENDER_VENV").unwrap_or_else(|_| ".venv".to_owned());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(venv).join("bin/python");
    let has_package = Command::new(&python)
        .args(["-c", "import deltalake, pyarrow"])
        .output()
        .is_ok_and(|output| output.status.success());
    if has_package {
        return Some(python);
    }
    let reason = format!("skipped: {} has no deltalake and pyarrow", python.display());
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    println!("{reason}");
    None
}

#[tokio::test]
async fn tables_of_the_python_package_are_read_right_and_continued() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let output = Command::new(python)
        .arg("-c")
        .arg(SCRIPT)
        .arg(&data)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let written = String::from_utf8(output.stdout).unwrap();
    let store = open(folder.path()).await;

    // Partitioned; version 1 appended, version 2 deleted, version 3 merged.
    let number = |n| at("parts", SourceVersion::Number(n));
    assert_eq!(n_rows(&*store, number(0)).await, 4);
    assert_eq!(n_rows(&*store, number(1)).await, 6);
    assert_eq!(n_rows(&*store, number(2)).await, 4);
    assert_eq!(
        lines(&*store, all(SourceRef::table("parts"))).await,
        [
            ",3,2013-01-01T03:00:00Z,3.5",
            "JFK,1,2013-01-01T01:00:00Z,100.0",
            "JFK,9,2013-01-01T09:00:00Z,9.0",
            "LGA,4,2013-01-01T04:00:00Z,4.5",
            "LGA,6,2013-01-01T06:00:00Z,6.5",
        ]
    );
    let rows = read(&*store, all(SourceRef::table("parts"))).await.unwrap();
    append(&*store, "parts", rows[0].slice(0, 1)).await.unwrap();
    assert_eq!(n_rows(&*store, SourceRef::table("parts")).await, 6);

    // Every type that the package writes.
    let found = lines(&*store, all(SourceRef::table("types"))).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].starts_with("true,-128,-32768,1,"), "{found:?}");
    let five = parse_instant("2013-01-01T05:00:00Z").unwrap();
    for (max_us, n) in [(five, 1), (five - 1, 0)] {
        let mut scan = all(SourceRef::table("types"));
        scan.ranges = vec![ColumnRange {
            column: "without_zone".to_owned(),
            min_us: Some(five - 1),
            max_us: Some(max_us),
        }];
        assert_eq!(lines(&*store, scan).await.len(), n);
    }
    let rows = read(&*store, all(SourceRef::table("types"))).await.unwrap();
    append(&*store, "types", rows[0].clone()).await.unwrap();
    assert_eq!(n_rows(&*store, SourceRef::table("types")).await, 4);

    // Column mapping is read where the package could write it, and refused for writing.
    if written.contains("column_mapping") {
        let source = SourceRef::table("mapped");
        assert_eq!(lines(&*store, all(source)).await, ["1,a", "2,b"]);
        let rows = read(&*store, all(SourceRef::table("mapped")))
            .await
            .unwrap();
        let error = append(&*store, "mapped", rows[0].clone())
            .await
            .unwrap_err();
        assert_eq!(error.code(), "P801", "{error}");
        assert!(error.message().contains("column mapping"), "{error}");
    }
    // Constraints are not kept by other writers, so they do not write.
    let rows = read(&*store, all(SourceRef::table("checked")))
        .await
        .unwrap();
    let error = append(&*store, "checked", rows[0].clone())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P801", "{error}");
}
