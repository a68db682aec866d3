//! Features of Delta tables that others write: deletion vectors, column mapping, widened types. The
//! tables and what they hold were made by `tests/fixtures/make.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use provender_core::request::{Maintenance, MaintenanceWork, Optimise, SourceRef};

use crate::support::*;

/// A copy, since opening a store may not change what others read.
fn copy_of(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_of(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn expected() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(fixtures().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn deletion_vectors_column_mapping_and_widened_types_read_as_others_read_them() {
    let folder = tempfile::tempdir().unwrap();
    copy_of(&fixtures(), &folder.path().join("data"));
    let store = open(folder.path()).await;
    for (table, expected) in expected() {
        let mut source = SourceRef::table(&table);
        if table.starts_with("mapped_by") {
            source = query(&format!("SELECT id, \"my key, or = so\", x FROM {table}"));
        }
        let found = lines(&*store, all(source)).await;
        assert_eq!(found.len(), expected.len(), "{table}");
        assert_eq!(found, expected, "{table}");
    }
    // What a filter skips by statistics and deletion vectors is skipped right too.
    let skipping =
        query("SELECT count(*), min(id), max(id) FROM vectors WHERE id BETWEEN 1090 AND 2110");
    assert_eq!(lines(&*store, all(skipping)).await, ["17,1090,2110"]);
    let by_name =
        query("SELECT count(*) FROM mapped_by_id WHERE \"my key, or = so\" = 'k3' AND x > 10");
    assert_eq!(lines(&*store, all(by_name)).await.len(), 1);
    let times = query("SELECT id, \"at\" FROM mapped_by_name WHERE id = 7");
    assert_eq!(lines(&*store, all(times)).await, ["7,1970-01-01T07:00:00Z"]);
}

#[tokio::test]
async fn the_vectors_closed_form_is_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    copy_of(&fixtures(), &folder.path().join("data"));
    let store = open(folder.path()).await;
    let mut by_hand: Vec<String> = (0_i64..3000)
        .filter(|id| id % 5 != 0 || *id >= 1000)
        .filter(|id| !(1100..=2100).contains(id))
        .filter(|id| id % 3 != 0 || *id <= 2000)
        .map(|id| format!("{id},k{},{:?}", id % 7, id as f64 * 0.5))
        .collect();
    by_hand.sort();
    assert_eq!(
        lines(&*store, all(SourceRef::table("vectors"))).await,
        by_hand
    );
}

#[tokio::test]
async fn tables_that_others_must_write_are_left_alone_by_name() {
    let folder = tempfile::tempdir().unwrap();
    copy_of(&fixtures(), &folder.path().join("data"));
    let store = open(folder.path()).await;
    for (table, what) in [
        ("mapped_by_name", "column mapping"),
        ("both", "column mapping"),
    ] {
        let rows = read(&*store, all(SourceRef::table(table))).await.unwrap();
        let error = append(&*store, table, rows[0].clone()).await.unwrap_err();
        assert_eq!(error.code(), "P801", "{error}");
        assert!(error.message().contains(what), "{error}");
        let work = Maintenance {
            table: table.to_owned(),
            work: MaintenanceWork::Optimise(Optimise::default()),
        };
        let error = store.maintain(&cx(), work).await.unwrap_err();
        assert_eq!(error.code(), "P801", "{error}");
        assert_eq!(
            lines(&*store, all(SourceRef::table(table))).await.len(),
            expected()[table].len()
        );
    }
}
