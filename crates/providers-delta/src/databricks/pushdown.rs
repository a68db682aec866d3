//! Joins, latest rows, windows and scans, each where its route says.
//!
//! In the warehouse the dialect writes the statement; the few requests that it cannot answer exactly,
//! and all that are answered directly, are the engine's over scans.

use std::sync::Arc;

use futures::StreamExt;
use provender_core::provider::OfflineStore;
use provender_core::request::{
    LatestPerKey, OfflineRequest, PointInTimeJoin, Scan, SourceRef, Spine, SpineRows, SqlSpine,
    WindowsAt,
};
use provender_core::{BatchStream, Context, Error, ErrorKind, Result, codes};
use provender_dialects::{
    self as dialects, Dialect, JoinPlan, Sources, SpineInput, SpineLayout, TableName,
};
use provender_engine::zip;

use super::answers::{self, Names};
use super::config::Execution;
use super::route::{direct_table, route};
use super::scratch::{self, Scratch};
use super::spine::{self, PlacedSpine};
use super::statement::Statement;
use super::store::DatabricksOfflineStore;
use super::tables::{self, find_all};

const SPARK: Dialect = Dialect::Spark;

/// The join of a caller's spine or of one that the warehouse holds.
pub(crate) async fn join(
    store: &DatabricksOfflineStore,
    cx: &Context,
    join: PointInTimeJoin,
    spine: Spine,
) -> Result<BatchStream> {
    match spine {
        Spine::Rows(rows) => join_rows(store, cx, join, rows).await,
        Spine::Sql(sql) => join_sql(store, cx, join, sql).await,
    }
}

async fn join_rows(
    store: &DatabricksOfflineStore,
    cx: &Context,
    join: PointInTimeJoin,
    rows: SpineRows,
) -> Result<BatchStream> {
    let by_engine = |execution, join, rows| async move {
        let scans = Arc::new(store.clone().fixed(execution));
        // Large enough to be too much for a thread's stack, beside what waits for it.
        Box::pin(provender_engine::point_in_time_join(
            cx,
            &store.resources,
            scans,
            join,
            rows,
        ))
        .await
    };
    if route(store, cx, dialects::sources_of(&join))
        .await?
        .is_direct
    {
        return by_engine(Execution::Direct, join, rows).await;
    }
    let sources = find_all(store, cx, dialects::sources_of(&join)).await?;
    if dialects::is_for_the_engine(dialects::supports(SPARK, &join, &sources))? {
        return by_engine(Execution::Warehouse, join, rows).await;
    }
    let layout = SpineLayout::new(&join.views, &rows.timestamp, &rows.row_number)?;
    let (placed, layout) = spine::place(store, cx, layout, rows).await?;
    let limits = SPARK.limits();
    let names = answers::of_views(&join.views);
    match placed {
        PlacedSpine::Inline(batch) => {
            let spine = SpineInput::Inline(&batch, &layout);
            let plan = dialects::point_in_time_join(SPARK, &join, spine, &sources, &limits)?;
            run(store, cx, plan, None, names).await
        }
        PlacedSpine::Table(scratch) => {
            let spine = SpineInput::Table(&scratch.table, &layout);
            let plan = dialects::point_in_time_join(SPARK, &join, spine, &sources, &limits)?;
            run(store, cx, plan, Some(*scratch), names).await
        }
    }
}

async fn join_sql(
    store: &DatabricksOfflineStore,
    cx: &Context,
    join: PointInTimeJoin,
    sql: SqlSpine,
) -> Result<BatchStream> {
    let sources = find_all(store, cx, dialects::sources_of(&join)).await?;
    dialects::supports(SPARK, &join, &sources).map_err(|error| {
        error.help("give the spine as rows: Provender then computes the join itself")
    })?;
    let scratch = store.scratch()?;
    let plan = sql_plan(store, cx, &join, &sql, &sources, &scratch.table).await;
    let scratch = match &plan {
        Ok(plan) if !plan.setup.is_empty() => Some(scratch),
        _ => {
            scratch.forget();
            None
        }
    };
    let plan = plan?;
    run(store, cx, plan, scratch, answers::of_views(&join.views)).await
}

async fn sql_plan(
    store: &DatabricksOfflineStore,
    cx: &Context,
    join: &PointInTimeJoin,
    sql: &SqlSpine,
    sources: &Sources,
    scratch: &TableName,
) -> Result<JoinPlan> {
    let source = SourceRef {
        relation: sql.relation.clone(),
        filter: None,
        version: None,
    };
    let (schema, table) = tables::find(store, store.client()?, cx, &source).await?;
    let input = SpineInput::Sql {
        spine: sql,
        schema: &schema,
        table: table.as_ref(),
        scratch,
    };
    dialects::point_in_time_join(SPARK, join, input, sources, &SPARK.limits())
}

/// Runs a plan: its preparations, its answers side by side, and, when they have been read or dropped,
/// what it leaves to remove.
async fn run(
    store: &DatabricksOfflineStore,
    cx: &Context,
    plan: JoinPlan,
    scratch: Option<Scratch>,
    names: Names,
) -> Result<BatchStream> {
    let stream = match run_plan(store, cx, &plan, names).await {
        Ok(stream) => stream,
        Err(error) => {
            if let Some(scratch) = scratch {
                scratch.close().await;
            }
            return Err(error);
        }
    };
    let Some(scratch) = scratch else {
        return Ok(stream);
    };
    // The table lives as long as the answer is read.
    let schema = stream.schema.clone();
    let ended = futures::stream::once(async move {
        scratch.close().await;
        None
    });
    let batches = stream
        .batches
        .map(Some)
        .chain(ended)
        .filter_map(futures::future::ready);
    Ok(BatchStream::new(schema, batches))
}

async fn run_plan(
    store: &DatabricksOfflineStore,
    cx: &Context,
    plan: &JoinPlan,
    names: Names,
) -> Result<BatchStream> {
    let client = store.client()?;
    for sql in &plan.setup {
        client.execute(cx, &Statement::change(sql.clone())).await?;
    }
    let mut streams = Vec::new();
    for answer in &plan.answers {
        let result = client.query_in_order(cx, &answer.sql).await?;
        streams.push(answers::decode(answer, result, names.clone())?);
    }
    let fields: Vec<_> = streams
        .iter()
        .flat_map(|stream| stream.schema.fields().iter().cloned())
        .collect();
    match streams.len() {
        1 => streams
            .pop()
            .ok_or_else(|| Error::new(&codes::INTERNAL, "a join has no answer")),
        _ => Ok(zip::zip(
            Arc::new(arrow_schema::Schema::new(fields)),
            streams,
        )),
    }
}

/// The latest rows per key.
pub(crate) async fn latest(
    store: &DatabricksOfflineStore,
    cx: &Context,
    latest: LatestPerKey,
) -> Result<BatchStream> {
    let source = &latest.source.source;
    let by_engine = |execution, latest| async move {
        let scans = Arc::new(store.clone().fixed(execution));
        Box::pin(provender_engine::latest(
            cx,
            &store.resources,
            scans,
            latest,
        ))
        .await
    };
    if route(store, cx, [source]).await?.is_direct {
        return by_engine(Execution::Direct, latest).await;
    }
    let sources = find_all(store, cx, [source]).await?;
    let answer = match dialects::latest(SPARK, &latest, &sources) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return by_engine(Execution::Warehouse, latest).await;
        }
        answer => answer?,
    };
    let result = store.client()?.query_in_order(cx, &answer.sql).await?;
    answers::decode(&answer, result, answers::plain())
}

/// Windows as of one instant.
pub(crate) async fn windows(
    store: &DatabricksOfflineStore,
    cx: &Context,
    windows: WindowsAt,
) -> Result<BatchStream> {
    let source = &windows.source.source;
    let by_engine = |execution, windows| async move {
        let scans = Arc::new(store.clone().fixed(execution));
        Box::pin(provender_engine::windows(
            cx,
            &store.resources,
            scans,
            windows,
        ))
        .await
    };
    if route(store, cx, [source]).await?.is_direct {
        return by_engine(Execution::Direct, windows).await;
    }
    let sources = find_all(store, cx, [source]).await?;
    let answer = match dialects::windows(SPARK, &windows, &sources) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return by_engine(Execution::Warehouse, windows).await;
        }
        answer => answer?,
    };
    let result = store.client()?.query_in_order(cx, &answer.sql).await?;
    answers::decode(&answer, result, answers::plain())
}

/// The rows of a scan.
pub(crate) async fn scan(
    store: &DatabricksOfflineStore,
    cx: &Context,
    mut scan: Scan,
) -> Result<Vec<BatchStream>> {
    let source = scan.source.clone();
    if route(store, cx, [&source]).await?.is_direct {
        let table = direct_table(store, cx, &source).await?;
        scan.source = table.source(&source);
        return table.store.scan(cx, scan).await;
    }
    let sources = find_all(store, cx, [&source]).await?;
    let answer = dialects::scan(SPARK, &scan, &sources)?;
    let streams = store.client()?.query(cx, &answer.sql).await;
    let streams = streams.map_err(|error| tables::on_source(error, &source))?;
    streams
        .into_iter()
        .map(|stream| answers::decode(&answer, stream, answers::plain()))
        .collect()
}

/// Where a request is answered and why, and the statements or the plan of it.
pub(crate) async fn explain(
    store: &DatabricksOfflineStore,
    cx: &Context,
    request: &OfflineRequest,
) -> Result<String> {
    let (sources, is_spine_sql): (Vec<SourceRef>, bool) = match request {
        OfflineRequest::Scan(scan) => (vec![scan.source.clone()], false),
        OfflineRequest::Latest(latest) => (vec![latest.source.source.clone()], false),
        OfflineRequest::Windows(windows) => (vec![windows.source.source.clone()], false),
        OfflineRequest::PointInTimeJoin(join, spine) => (
            dialects::sources_of(join).cloned().collect(),
            spine.is_some(),
        ),
        _ => {
            return Err(provender_core::provider::unsupported(
                &provender_core::provider::Provider::info(store),
                "explaining this request",
            ));
        }
    };
    let route = match is_spine_sql {
        true => super::route::Route {
            is_direct: false,
            why: "the warehouse holds the spine".to_owned(),
        },
        false => route(store, cx, &sources).await?,
    };
    let mut lines = vec![route.line()];
    if route.is_direct {
        for source in &sources {
            let table = direct_table(store, cx, source).await?;
            let size = table.size(source.version.as_ref()).await?;
            lines.push(format!(
                "-- {}: {} bytes in {} files at {}",
                table.name, size.n_bytes, size.n_files, table.store.tables.location
            ));
        }
        if let OfflineRequest::Scan(scan) = request {
            let table = direct_table(store, cx, &scan.source).await?;
            let mut scan = scan.clone();
            scan.source = table.source(&scan.source);
            lines.push(table.store.explain(cx, &OfflineRequest::Scan(scan)).await?);
        }
        return Ok(lines.join("\n"));
    }
    lines.push(statements(store, cx, request, &sources).await?);
    Ok(lines.join("\n"))
}

async fn statements(
    store: &DatabricksOfflineStore,
    cx: &Context,
    request: &OfflineRequest,
    sources: &[SourceRef],
) -> Result<String> {
    let sources = find_all(store, cx, sources).await?;
    match request {
        OfflineRequest::Scan(scan) => Ok(dialects::scan(SPARK, scan, &sources)?.sql),
        OfflineRequest::Latest(latest) => {
            dialects::explained(dialects::latest(SPARK, latest, &sources).map(|answer| answer.sql))
        }
        OfflineRequest::Windows(windows) => dialects::explained(
            dialects::windows(SPARK, windows, &sources).map(|answer| answer.sql),
        ),
        OfflineRequest::PointInTimeJoin(join, spine) => {
            if let Err(error) = dialects::supports(SPARK, join, &sources) {
                return dialects::explained(Err(error));
            }
            let table = TableName::new([scratch::PREFIX]);
            let plan = match spine {
                Some(sql) => sql_plan(store, cx, join, sql, &sources, &table).await?,
                None => {
                    let layout = SpineLayout::new(&join.views, "t", "r")?;
                    let input = SpineInput::Table(&table, &layout);
                    let limits = SPARK.limits();
                    let mut plan =
                        dialects::point_in_time_join(SPARK, join, input, &sources, &limits)?;
                    plan.setup.insert(0, layout.create(SPARK, &table)?);
                    plan.cleanup.push(layout.drop(SPARK, &table)?);
                    plan
                }
            };
            let answers = plan.answers.into_iter().map(|answer| answer.sql);
            let all = plan.setup.into_iter().chain(answers).chain(plan.cleanup);
            Ok(all.collect::<Vec<String>>().join(";\n\n"))
        }
        _ => Ok(String::new()),
    }
}
