//! Calls that must fail, and what they leave behind; looking after tables; who the store is.

use std::time::Duration;

use provender_core::error::codes;
use provender_core::model::{AggregateFunction, Relation, SourceVersion};
use provender_core::provider::OfflineStore;
use provender_core::request::{
    LatestPerKey, Maintenance, MaintenanceWork, OfflineRequest, Optimise, Scan, SourceRef, Spine,
    SqlSpine, Vacuum, WindowAggregate, WindowsAt, WriteMode,
};
use provender_core::{Context, Error, ErrorKind, ValueType};

use super::pushdown::{any_join, any_table};
use super::tables::{
    Rows, all_of, fresh_table, made, plain, put, request, same_rows, scanned, send, string,
};
use super::{Harness, ensure, fails, works};

/// A call that was made, by name, and how it ended.
type Ended = (&'static str, Result<(), Error>);

fn count() -> WindowAggregate {
    WindowAggregate {
        function: AggregateFunction::Count,
        column: None,
        window_us: 1_000,
        output: "n".to_owned(),
        value_type: ValueType::Int64,
    }
}

fn keys() -> Result<arrow_array::RecordBatch, String> {
    Rows::new(&[("k", ValueType::String)], vec![vec![string("a")]]).batch()
}

/// Requests of latest rows and windows over a table of readings.
fn requests(table: &str) -> Result<(LatestPerKey, WindowsAt), String> {
    let (join, _) = any_join(table)?;
    let view = &join.views[0];
    let latest = LatestPerKey {
        source: view.source.clone(),
        keys: view.keys.clone(),
        features: view.features.clone(),
        ranges: Vec::new(),
    };
    let windows = WindowsAt {
        source: view.source.clone(),
        keys: view.keys.clone(),
        aggregations: vec![count()],
        at_us: 100,
        active_after_us: 0,
    };
    Ok((latest, windows))
}

fn unit<T>(answer: Result<T, Error>) -> Result<(), Error> {
    answer.map(|_| ())
}

async fn explained(store: &dyn OfflineStore, cx: &Context, table: &str) -> Result<(), Error> {
    let request = OfflineRequest::Scan(all_of(table));
    unit(store.explain(cx, &request).await)
}

pub(super) async fn undeclared_capabilities_are_unsupported(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let (store, declared) = (harness.handle(0), harness.capabilities());
    let rows = plain(&["a"], 1);
    let table = match declared.write {
        true => any_table(harness, &cx).await?,
        false => fresh_table(&cx),
    };
    let source = SourceRef::table(&table);
    let mut answers: Vec<Ended> = Vec::new();
    if !declared.write {
        let write = request(&table, WriteMode::Append);
        answers.push(("write", unit(send(store, &cx, write, &rows.table()?).await)));
    }
    if !declared.delete {
        answers.push(("delete", store.delete(&cx, &source, keys()?).await));
    }
    if !declared.point_in_time_join {
        let (join, spine) = any_join(&table)?;
        let answer = store.point_in_time_join(&cx, join, spine).await;
        answers.push(("point_in_time_join", unit(answer)));
    }
    if !declared.point_in_time_windows {
        let (mut join, spine) = any_join(&table)?;
        join.views[0].features.clear();
        join.views[0].aggregations.push(count());
        let answer = store.point_in_time_join(&cx, join, spine).await;
        answers.push(("point_in_time_windows", unit(answer)));
    }
    if !declared.sql_spine {
        let (join, _) = any_join(&table)?;
        let spine = Spine::Sql(SqlSpine {
            relation: Relation::Table(table.clone()),
            timestamp: "t".to_owned(),
        });
        let answer = store.point_in_time_join(&cx, join, spine).await;
        answers.push(("sql_spine", unit(answer)));
    }
    let (latest, windows) = requests(&table)?;
    if !declared.latest {
        answers.push(("latest", unit(store.latest(&cx, latest).await)));
    }
    if !declared.windows {
        answers.push(("windows", unit(store.windows(&cx, windows).await)));
    }
    if !declared.maintenance {
        let work = Maintenance {
            table: table.clone(),
            work: MaintenanceWork::Optimise(Optimise::default()),
        };
        answers.push(("maintenance", unit(store.maintain(&cx, work).await)));
    }
    if declared.write && !declared.new_columns {
        let write = request(&table, WriteMode::Extend);
        answers.push((
            "new_columns",
            unit(send(store, &cx, write, &rows.table()?).await),
        ));
    }
    if !declared.versions {
        answers.push(("versions (pin)", unit(store.pin(&cx, &source).await)));
        let pinned = SourceRef {
            version: Some(SourceVersion::Number(0)),
            ..source.clone()
        };
        let scan = Scan {
            source: pinned,
            ..all_of(&table)
        };
        answers.push(("versions (scan)", unit(store.scan(&cx, scan).await)));
    }
    if !declared.sql_sources {
        for (what, relation, filter) in [
            (
                "sql_sources (query)",
                Relation::Query("SELECT 1 AS n".to_owned()),
                None,
            ),
            (
                "sql_sources (filter)",
                Relation::Table(table.clone()),
                Some("1 = 1"),
            ),
        ] {
            let scan = Scan {
                source: SourceRef {
                    relation,
                    filter: filter.map(str::to_owned),
                    version: None,
                },
                ..all_of(&table)
            };
            answers.push((what, unit(store.scan(&cx, scan).await)));
        }
    }
    for (what, answer) in answers {
        let what = format!("a call that needs {what}, which is not declared,");
        let error = fails(&what, ErrorKind::Unsupported, answer)?;
        ensure(error.code() == codes::UNSUPPORTED.id, || {
            format!("{what} has the code P801, got {error:?}")
        })?;
    }
    if !declared.row_access && declared.write {
        match store.open_rows(&cx, all_of(&table)).await {
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            other => {
                return Err(format!(
                    "open_rows answers None or is Unsupported without row_access, got {other:?}"
                ));
            }
        }
    }
    Ok(())
}

pub(super) async fn cancelled_and_late_calls_fail(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let (store, declared) = (harness.handle(0), harness.capabilities());
    let rows = plain(&["a", "b"], 1);
    let table = made(store, &cx, &rows).await?;
    let readings = any_table(harness, &cx).await?;
    let source = SourceRef::table(&table);
    let new = fresh_table(&cx);
    let cancelled = Context::new(cx.project());
    cancelled.cancel();
    let late = Context::new(cx.project()).with_timeout(Duration::ZERO);
    for (ended, kind) in [
        (&cancelled, ErrorKind::Cancelled),
        (&late, ErrorKind::DeadlineExceeded),
    ] {
        let more = plain(&["c"], 9).table()?;
        let (join, spine) = any_join(&readings)?;
        let (latest, windows) = requests(&readings)?;
        let mut answers: Vec<Ended> = vec![
            ("schema", unit(store.schema(ended, &source).await)),
            ("scan", unit(store.scan(ended, all_of(&table)).await)),
        ];
        for (what, name, mode) in [
            ("append", &table, WriteMode::Append),
            ("overwrite", &table, WriteMode::Overwrite),
            ("write of a new table", &new, WriteMode::Append),
        ] {
            let write = request(name, mode);
            answers.push((what, unit(send(store, ended, write, &more).await)));
        }
        if declared.delete {
            answers.push(("delete", store.delete(ended, &source, keys()?).await));
        }
        if declared.versions {
            answers.push(("pin", unit(store.pin(ended, &source).await)));
        }
        if declared.point_in_time_join {
            let answer = store.point_in_time_join(ended, join, spine).await;
            answers.push(("point_in_time_join", unit(answer)));
        }
        if declared.latest {
            answers.push(("latest", unit(store.latest(ended, latest).await)));
        }
        if declared.windows {
            answers.push(("windows", unit(store.windows(ended, windows).await)));
        }
        if declared.row_access {
            answers.push((
                "open_rows",
                unit(store.open_rows(ended, all_of(&table)).await),
            ));
        }
        if declared.maintenance {
            let work = Maintenance {
                table: table.clone(),
                work: MaintenanceWork::Optimise(Optimise::default()),
            };
            answers.push(("maintain", unit(store.maintain(ended, work).await)));
        }
        for (what, answer) in answers {
            fails(what, kind, answer)?;
        }
        let found = scanned(harness.handle(1), &cx, all_of(&table)).await?;
        same_rows(&found, &rows)
            .map_err(|why| format!("after calls that fail with {kind:?}: {why}"))?;
        let answer = store.schema(&cx, &SourceRef::table(&new)).await;
        let what = format!("a table that was only written to with {kind:?}");
        fails(&what, ErrorKind::NotFound, answer)?;
    }
    Ok(())
}

pub(super) async fn maintenance_keeps_rows(harness: &Harness, cx: Context) -> Result<(), String> {
    let store = harness.handle(0);
    let mut rows = plain(&["a"], 0);
    let table = made(store, &cx, &rows).await?;
    for at in 1..4 {
        let more = plain(&["b", "c"], at * 10);
        put(
            store,
            &cx,
            request(&table, WriteMode::Append),
            &more.table()?,
        )
        .await?;
        rows = rows.and(&more.rows);
    }
    let vacuum = |dry_run| {
        MaintenanceWork::Vacuum(Vacuum {
            dry_run,
            ..Vacuum::default()
        })
    };
    let optimise = |columns: &[&str]| {
        MaintenanceWork::Optimise(Optimise {
            target_bytes: None,
            order_by: columns.iter().map(|name| (*name).to_owned()).collect(),
        })
    };
    for work in [vacuum(true), optimise(&[]), optimise(&["k"]), vacuum(false)] {
        let asked = Maintenance {
            table: table.clone(),
            work: work.clone(),
        };
        works(&format!("{work:?}"), store.maintain(&cx, asked).await)?;
        let found = scanned(harness.handle(1), &cx, all_of(&table)).await?;
        same_rows(&found, &rows).map_err(|why| format!("after {work:?}: {why}"))?;
    }
    let missing = Maintenance {
        table: fresh_table(&cx),
        work: vacuum(true),
    };
    let answer = store.maintain(&cx, missing).await;
    fails(
        "looking after a table that is not there",
        ErrorKind::NotFound,
        answer,
    )?;
    Ok(())
}

pub(super) async fn check_answers_and_identity_stays(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    crate::rules::identity(harness.handle(0), &cx).await?;
    let before = harness.capabilities();
    if before.write {
        let table = made(harness.handle(0), &cx, &plain(&["a"], 1)).await?;
        // An explanation is text, or nothing that the store offers.
        match explained(harness.handle(0), &cx, &table).await {
            Err(error) if error.kind() != ErrorKind::Unsupported => {
                return Err(format!("explain of a scan fails: {error:?}"));
            }
            _ => {}
        }
    }
    for at in 0..2 {
        let found = harness.handle(at).capabilities();
        ensure(found == before, || {
            format!("capabilities were {before:?}, are {found:?}")
        })?;
    }
    Ok(())
}
