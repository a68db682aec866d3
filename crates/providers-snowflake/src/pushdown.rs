//! Joins, latest rows and windows inside of Snowflake, so that only results travel.
//!
//! Decides which requests the dialect answers exactly; for the few others the engine does the work
//! over scans. Knows no SQL: the dialect writes it.

use std::sync::Arc;

use futures::StreamExt;
use provender_core::request::{
    LatestPerKey, OfflineRequest, PointInTimeJoin, SourceRef, Spine, SpineRows, SqlSpine, ViewJoin,
    WindowsAt,
};
use provender_core::{BatchStream, Context, Error, ErrorKind, Result, codes};
use provender_dialects::{
    self as dialects, Dialect, JoinPlan, Sources, SpineInput, SpineLayout, TableName,
};
use provender_engine::zip;

use crate::answers::{self, Names};
use crate::client::OwnSession;
use crate::names::shown_columns;
use crate::session::Statement;
use crate::spine::{self, PlacedSpine};
use crate::store::SnowflakeOfflineStore;
use crate::tables;

/// The join of a caller's spine or of one that Snowflake holds.
pub(crate) async fn join(
    store: &SnowflakeOfflineStore,
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
    store: &SnowflakeOfflineStore,
    cx: &Context,
    join: PointInTimeJoin,
    rows: SpineRows,
) -> Result<BatchStream> {
    let sources = store.sources(cx, dialects::sources_of(&join)).await?;
    if dialects::is_for_the_engine(dialects::supports(Dialect::Snowflake, &join, &sources))? {
        let scans = Arc::new(store.clone());
        let resources = store.resources.clone().within(cx);
        return provender_engine::point_in_time_join(cx, &resources, scans, join, rows).await;
    }
    let layout = SpineLayout::new(&join.views, &rows.timestamp, &rows.row_number)?;
    let (placed, layout) = spine::place(store, cx, layout, rows).await?;
    let limits = Dialect::Snowflake.limits();
    match placed {
        PlacedSpine::Inline(batch) => {
            let spine = SpineInput::Inline(&batch, &layout);
            let plan =
                dialects::point_in_time_join(Dialect::Snowflake, &join, spine, &sources, &limits)?;
            let session = match plan.setup.is_empty() && plan.answers.len() == 1 {
                true => None,
                false => Some(store.client.own_session()?),
            };
            run(store, cx, plan, session, names_of(&join.views)).await
        }
        PlacedSpine::Table(table, session) => {
            let spine = SpineInput::Table(&table, &layout);
            let plan =
                dialects::point_in_time_join(Dialect::Snowflake, &join, spine, &sources, &limits);
            match plan {
                Ok(plan) => run(store, cx, plan, Some(session), names_of(&join.views)).await,
                Err(error) => {
                    session.close().await;
                    Err(error)
                }
            }
        }
    }
}

async fn join_sql(
    store: &SnowflakeOfflineStore,
    cx: &Context,
    join: PointInTimeJoin,
    sql: SqlSpine,
) -> Result<BatchStream> {
    let sources = store.sources(cx, dialects::sources_of(&join)).await?;
    dialects::supports(Dialect::Snowflake, &join, &sources).map_err(|error| {
        error.help("give the spine as rows: Provender then computes the join itself")
    })?;
    let plan = sql_plan(store, cx, &join, &sql, &sources).await?;
    let session = match plan.setup.is_empty() && plan.answers.len() == 1 {
        true => None,
        false => Some(store.client.own_session()?),
    };
    run(store, cx, plan, session, names_of(&join.views)).await
}

async fn sql_plan(
    store: &SnowflakeOfflineStore,
    cx: &Context,
    join: &PointInTimeJoin,
    sql: &SqlSpine,
    sources: &Sources,
) -> Result<JoinPlan> {
    let source = SourceRef {
        relation: sql.relation.clone(),
        filter: None,
        version: None,
    };
    let found = store.find(cx, &source).await?;
    let scratch = spine::temporary_name(store);
    let input = SpineInput::Sql {
        spine: sql,
        schema: &found.columns.stored,
        table: found.table.as_ref(),
        scratch: &scratch,
    };
    let limits = Dialect::Snowflake.limits();
    let mut plan = dialects::point_in_time_join(Dialect::Snowflake, join, input, sources, &limits)?;
    // Columns of the spine come back under the names that its schema is told with.
    let shown = found.columns.answered.fields().iter();
    let own = plan
        .answers
        .iter_mut()
        .flat_map(|answer| &mut answer.columns)
        .filter(|column| column.value_type.is_none());
    for (column, field) in own.zip(shown) {
        column.name.clone_from(field.name());
    }
    Ok(plan)
}

/// Runs a plan: its preparations, its answers side by side, and, when they have been read or dropped,
/// what it leaves to remove.
async fn run(
    store: &SnowflakeOfflineStore,
    cx: &Context,
    plan: JoinPlan,
    session: Option<OwnSession>,
    names: Names,
) -> Result<BatchStream> {
    let result = run_plan(store, cx, &plan, session.as_ref(), names).await;
    let (stream, session) = match (result, session) {
        (Ok(stream), session) => (stream, session),
        (Err(error), session) => {
            if let Some(session) = session {
                session.close().await;
            }
            return Err(error);
        }
    };
    let schema = stream.schema.clone();
    let Some(session) = session else {
        return Ok(stream);
    };
    // The session, and with it everything temporary, lives as long as the answer is read.
    let ended = futures::stream::once(async move {
        session.close().await;
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
    store: &SnowflakeOfflineStore,
    cx: &Context,
    plan: &JoinPlan,
    session: Option<&OwnSession>,
    names: Names,
) -> Result<BatchStream> {
    if let Some(session) = session {
        for sql in &plan.setup {
            session.execute(cx, Statement::new(sql.clone())).await?;
        }
    }
    let mut streams = Vec::new();
    for answer in &plan.answers {
        let result = match session {
            Some(session) => session.query(cx, answer.sql.clone()).await?,
            None => store.client.query_in_order(cx, answer.sql.clone()).await?,
        };
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
    store: &SnowflakeOfflineStore,
    cx: &Context,
    latest: LatestPerKey,
) -> Result<BatchStream> {
    let sources = store.sources(cx, [&latest.source.source]).await?;
    let answer = match dialects::latest(Dialect::Snowflake, &latest, &sources) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let resources = store.resources.clone().within(cx);
            return provender_engine::latest(cx, &resources, Arc::new(store.clone()), latest).await;
        }
        answer => answer?,
    };
    let result = store.client.query_in_order(cx, answer.sql.clone()).await?;
    answers::decode(&answer, result, Arc::new(|output| format!("{output:?}")))
}

/// Windows as of one instant.
pub(crate) async fn windows(
    store: &SnowflakeOfflineStore,
    cx: &Context,
    windows: WindowsAt,
) -> Result<BatchStream> {
    let sources = store.sources(cx, [&windows.source.source]).await?;
    let answer = match dialects::windows(Dialect::Snowflake, &windows, &sources) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let resources = store.resources.clone().within(cx);
            return provender_engine::windows(cx, &resources, Arc::new(store.clone()), windows)
                .await;
        }
        answer => answer?,
    };
    let result = store.client.query_in_order(cx, answer.sql.clone()).await?;
    answers::decode(&answer, result, Arc::new(|output| format!("{output:?}")))
}

/// The statements of a request, for people.
pub(crate) async fn explain(
    store: &SnowflakeOfflineStore,
    cx: &Context,
    request: &OfflineRequest,
) -> Result<String> {
    match request {
        OfflineRequest::Scan(scan) => Ok(scan_answer(store, cx, scan).await?.sql),
        OfflineRequest::Latest(latest) => {
            let sources = store.sources(cx, [&latest.source.source]).await?;
            dialects::explained(
                dialects::latest(Dialect::Snowflake, latest, &sources).map(|answer| answer.sql),
            )
        }
        OfflineRequest::Windows(windows) => {
            let sources = store.sources(cx, [&windows.source.source]).await?;
            dialects::explained(
                dialects::windows(Dialect::Snowflake, windows, &sources).map(|answer| answer.sql),
            )
        }
        OfflineRequest::PointInTimeJoin(join, spine) => {
            let sources = store.sources(cx, dialects::sources_of(join)).await?;
            if let Err(error) = dialects::supports(Dialect::Snowflake, join, &sources) {
                return dialects::explained(Err(error));
            }
            let plan = match spine {
                Some(sql) => sql_plan(store, cx, join, sql, &sources).await?,
                None => {
                    let layout = SpineLayout::new(&join.views, "t", "r")?;
                    let table = TableName::new([spine::TEMPORARY_PREFIX]);
                    let input = SpineInput::Table(&table, &layout);
                    let limits = Dialect::Snowflake.limits();
                    let mut plan = dialects::point_in_time_join(
                        Dialect::Snowflake,
                        join,
                        input,
                        &sources,
                        &limits,
                    )?;
                    plan.setup
                        .insert(0, layout.create(Dialect::Snowflake, &table)?);
                    plan
                }
            };
            let answers = plan.answers.into_iter().map(|answer| answer.sql);
            let statements: Vec<String> = plan
                .setup
                .into_iter()
                .chain(answers)
                .chain(plan.cleanup)
                .collect();
            Ok(statements.join(";\n\n"))
        }
        _ => Err(provender_core::provider::unsupported(
            &provender_core::provider::Provider::info(store),
            "explaining this request",
        )),
    }
}

/// How messages call an output: by its view and feature.
fn names_of(views: &[ViewJoin]) -> Names {
    let known: Vec<(String, String)> = views
        .iter()
        .flat_map(|view| {
            view.features.iter().map(|feature| {
                let text = format!("feature {:?} of view {:?}", feature.column, view.name);
                (feature.output.clone(), text)
            })
        })
        .collect();
    Arc::new(move |output| {
        let found = known.iter().find(|(name, _)| name == output);
        found.map_or_else(|| format!("{output:?}"), |(_, text)| text.clone())
    })
}

/// The rows of a scan.
pub(crate) async fn scan(
    store: &SnowflakeOfflineStore,
    cx: &Context,
    scan: provender_core::request::Scan,
) -> Result<Vec<BatchStream>> {
    let answer = scan_answer(store, cx, &scan).await?;
    let streams = store
        .client
        .query(cx, answer.sql.clone())
        .await
        .map_err(|error| tables::on_source(error, &scan.source))?;
    let decoded = streams
        .into_iter()
        .map(|stream| answers::decode(&answer, stream, Arc::new(|output| format!("{output:?}"))));
    decoded.collect()
}

/// The statement of a scan. All columns come under the names that the source's schema is told with, others as
/// they were asked for.
async fn scan_answer(
    store: &SnowflakeOfflineStore,
    cx: &Context,
    scan: &provender_core::request::Scan,
) -> Result<dialects::Answer> {
    let sources = store.sources(cx, [&scan.source]).await?;
    let mut scan = scan.clone();
    if scan.columns.is_none() {
        scan.columns = Some(shown_columns(&sources.get(&scan.source)?.schema));
    }
    dialects::scan(Dialect::Snowflake, &scan, &sources)
}
