//! SQL in sources, as far as every engine spells it alike.

use provender_core::model::Relation;
use provender_core::request::{Scan, SourceRef};
use provender_core::{Context, ErrorKind, ValueType};

use super::tables::{Rows, all_of, as_declared, int, made, plain, same_rows, scanned};
use super::{Harness, ensure, fails, works};

pub(super) async fn filters_are_applied(harness: &Harness, cx: Context) -> Result<(), String> {
    let rows = plain(&["a", "b"], 1);
    let table = made(harness.handle(0), &cx, &rows).await?;
    for (filter, expected) in [("1 = 1", rows.clone()), ("1 = 0", plain(&[], 1))] {
        let scan = Scan {
            source: SourceRef {
                filter: Some(filter.to_owned()),
                ..SourceRef::table(&table)
            },
            ..all_of(&table)
        };
        let found = scanned(harness.handle(1), &cx, scan).await?;
        same_rows(&found, &expected).map_err(|why| format!("filter {filter:?}: {why}"))?;
    }
    Ok(())
}

pub(super) async fn queries_are_sources(harness: &Harness, cx: Context) -> Result<(), String> {
    let query = |text: &str| SourceRef {
        relation: Relation::Query(text.to_owned()),
        filter: None,
        version: None,
    };
    let scan = |text: &str| Scan {
        source: query(text),
        columns: None,
        ranges: Vec::new(),
    };
    let (store, right) = (harness.handle(0), "SELECT 1 AS n");
    let schema = works("schema of a query", store.schema(&cx, &query(right)).await)?;
    let found = scanned(store, &cx, scan(right)).await?;
    ensure(schema == found.schema, || {
        format!("schema answers {schema}, a scan {}", found.schema)
    })?;
    // What quotes a name is not alike, and engines may fold the case of one without.
    let names: Vec<&str> = found
        .schema
        .fields()
        .iter()
        .map(|it| it.name().as_str())
        .collect();
    ensure(
        names.len() == 1 && names[0].eq_ignore_ascii_case("n"),
        || format!("{right} answers the columns {names:?}"),
    )?;
    let rows = as_declared(
        &found,
        &Rows::new(&[(names[0], ValueType::Int64)], Vec::new()),
    )?;
    ensure(
        matches!(&rows[..], [row] if row[0].is_identical(&int(1))),
        || format!("{right} answers {rows:?}"),
    )?;
    let wrong = "SELECT * FROM (";
    let answer = store.schema(&cx, &query(wrong)).await;
    fails(
        &format!("schema of the query {wrong:?}"),
        ErrorKind::InvalidArgument,
        answer,
    )?;
    Ok(())
}
