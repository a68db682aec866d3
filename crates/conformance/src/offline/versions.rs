//! Past states of a table.

use provender_core::model::SourceVersion;
use provender_core::request::{Scan, SourceRef, WriteMode};
use provender_core::{Context, ErrorKind};

use super::reads::first_error;
use super::tables::{all_of, made, plain, put, request, same_rows, scanned};
use super::{Harness, ensure, fails, works};

pub(super) async fn pinned_states_stay(harness: &Harness, cx: Context) -> Result<(), String> {
    let store = harness.handle(0);
    let mut rows = plain(&["a"], 0);
    let table = made(store, &cx, &rows).await?;
    let mut states = Vec::new();
    for at in 1..=3 {
        let source = SourceRef::table(&table);
        let version = works("pin", store.pin(&cx, &source).await)?;
        states.push((version, rows.clone()));
        // States may be named by times, which need a moment between them.
        crate::rules::sleep(std::time::Duration::from_millis(20)).await;
        let more = plain(&["b", "c"], at * 10);
        let mode = match at {
            3 => WriteMode::Overwrite,
            _ => WriteMode::Append,
        };
        put(store, &cx, request(&table, mode), &more.table()?).await?;
        rows = match mode {
            WriteMode::Overwrite => more,
            _ => rows.and(&more.rows),
        };
    }
    for (version, rows) in &states {
        let source = SourceRef {
            version: Some(version.clone()),
            ..SourceRef::table(&table)
        };
        let told = |why: String| format!("version {version:?} of table {table}: {why}");
        let scan = Scan {
            source: source.clone(),
            ..all_of(&table)
        };
        let found = scanned(harness.handle(1), &cx, scan).await.map_err(told)?;
        same_rows(&found, rows).map_err(told)?;
        let schema = works("schema of a version", store.schema(&cx, &source).await)?;
        ensure(schema == found.schema, || {
            told(format!("schema answers {schema}, a scan {}", found.schema))
        })?;
        let again = works("pin of a pinned source", store.pin(&cx, &source).await)?;
        ensure(again == *version, || {
            told(format!("a source that is pinned is pinned to {again:?}"))
        })?;
    }
    let found = scanned(harness.handle(1), &cx, all_of(&table)).await?;
    same_rows(&found, &rows).map_err(|why| format!("the newest state: {why}"))
}

pub(super) async fn unknown_versions_are_told(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let store = harness.handle(0);
    let table = made(store, &cx, &plain(&["a"], 0)).await?;
    let never = match works("pin", store.pin(&cx, &SourceRef::table(&table)).await)? {
        SourceVersion::Number(_) => SourceVersion::Number(1 << 40),
        // A state of long before there was a table.
        SourceVersion::TimestampUs(_) => SourceVersion::TimestampUs(1_000_000),
        SourceVersion::Token(token) => SourceVersion::Token(format!("{token}-never")),
    };
    let source = SourceRef {
        version: Some(never.clone()),
        ..SourceRef::table(&table)
    };
    let scan = Scan {
        source: source.clone(),
        ..all_of(&table)
    };
    let read = first_error(store, &cx, scan).await;
    let what = format!("a read of version {never:?}, which never was,");
    fails(&what, ErrorKind::NotFound, read)?;
    Ok(())
}
