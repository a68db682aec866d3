//! SQL over tables that somebody else provides, on DataFusion.
//!
//! Decides how sessions are limited (memory, spilling, threads, UTC), what counts as a query (exactly
//! one SELECT, reproducible), how names match (exactly, else by the only match that ignores case) and
//! how DataFusion's failures read. It deliberately does not know where tables lie: a [`TableSource`]
//! finds them.

mod error;
mod names;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, TableProvider,
};
use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{
    SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext,
};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions, execute_stream_partitioned,
};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use futures::StreamExt;
use provender_core::provider::Resources;
use provender_core::{BatchStream, Context, Error, Result, codes};

pub use self::error::{datafusion_error, storage_error};
use self::names::{Condition, Query};

/// Finds the tables that a query names.
#[async_trait]
pub trait TableSource: Send + Sync {
    /// The table of this name, as the query spells it (unquoted names keep their case).
    ///
    /// # Errors
    /// `P120` if there is none.
    async fn table(&self, cx: &Context, name: &str) -> Result<Arc<dyn TableProvider>>;
}

/// A session that keeps the limits: memory, where it spills to, and threads. Its zone is UTC, its
/// identifiers keep their case, and it reads text as plain strings. Sessions are meant to be kept,
/// since the memory limit is shared by everything that runs in one.
///
/// # Errors
/// `P902` if the folder for spilled rows cannot be made.
pub fn session(resources: &Resources) -> Result<SessionContext> {
    let disk = match &resources.spill_path {
        None => DiskManagerMode::OsTmpDirectory,
        Some(path) => {
            std::fs::create_dir_all(path).map_err(|error| {
                Error::new(
                    &codes::NOT_WRITABLE,
                    format!(
                        "the folder for spilled rows {} cannot be made",
                        path.display()
                    ),
                )
                .help("name a folder that can be written to")
                .source(error)
            })?;
            DiskManagerMode::Directories(vec![path.clone()])
        }
    };
    let memory = usize::try_from(resources.memory_limit_bytes).unwrap_or(usize::MAX);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
        .with_disk_manager_builder(
            DiskManagerBuilder::default()
                .with_mode(disk)
                // The disk itself is the limit, and says so when it is full.
                .with_max_temp_directory_size(u64::MAX),
        )
        // Cached listings would hide files that are added while a session lives.
        .with_object_list_cache_limit(0)
        .build_arc()
        .map_err(datafusion_error)?;
    let mut config = SessionConfig::new()
        .with_target_partitions(resources.n_threads.max(1))
        .with_information_schema(false);
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".to_owned());
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    options.execution.parquet.pushdown_filters = true;
    // Dealing rows out by turns would make their order differ between runs.
    options.optimizer.enable_round_robin_repartition = false;
    // Lists pushed from a join's build side into scans are not safe with dictionary columns, which
    // partition columns of tables may be.
    options.optimizer.hash_join_inlist_pushdown_max_size = 0;
    options
        .optimizer
        .hash_join_inlist_pushdown_max_distinct_values = 0;
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// Plans one SELECT (or WITH ... SELECT) over the tables that `tables` finds. The session's own
/// catalog is neither read nor changed.
///
/// # Errors
/// `P123` for SQL that does not parse or plan, for anything but one query, and for functions whose
/// value differs between runs; what `tables` says about its tables.
pub async fn plan_query(
    cx: &Context,
    session: &SessionContext,
    tables: &dyn TableSource,
    sql: &str,
) -> Result<DataFrame> {
    cx.check()?;
    let mut query = Query::parse(sql)?;
    let context = SessionContext::new_with_state(with_own_catalog(session.state())?);
    for name in query.tables()? {
        let table = match tables.table(cx, &name).await {
            Ok(table) => table,
            Err(error) if error.code() == codes::MISSING_TABLE.id => {
                let is_function = context
                    .state()
                    .table_functions()
                    .contains_key(&name.to_lowercase());
                if is_function || query.respell_common_table(&name) {
                    continue;
                }
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        context
            .register_table(TableReference::bare(name), table)
            .map_err(datafusion_error)?;
    }
    let state = context.state();
    let plan = loop {
        match state.statement_to_plan(query.statement()).await {
            Ok(plan) => break plan,
            Err(error) => {
                if !query.respell_columns(&error) {
                    return Err(query_error(sql, error));
                }
            }
        }
    };
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|error| query_error(sql, error))?;
    refuse_changing_functions(&plan)?;
    Ok(DataFrame::new(state, plan))
}

/// Keeps the rows for which a SQL condition over the columns holds.
///
/// # Errors
/// `P123` for a condition that does not parse, names an unknown column, is not boolean, or uses a
/// function whose value differs between runs.
pub fn filter(df: DataFrame, sql_condition: &str) -> Result<DataFrame> {
    let schema = df.schema().clone();
    let (state, plan) = df.into_parts();
    let mut condition = Condition::parse(&state, sql_condition)?;
    let expression = loop {
        match state.create_logical_expr_from_sql_expr(condition.expression(), &schema) {
            Ok(expression) => break expression,
            Err(error) => {
                if !condition.respell_columns(&error) {
                    return Err(condition_error(sql_condition, error));
                }
            }
        }
    };
    let filtered = DataFrame::new(state, plan)
        .filter(expression)
        .map_err(|error| condition_error(sql_condition, error))?;
    refuse_changing_functions(filtered.logical_plan())?;
    Ok(filtered)
}

/// Runs a plan, one stream per partition. Over equal data the streams hold the same rows in the same
/// order on every run: a plan whose operators would shuffle rows between partitions runs as one.
///
/// The streams end with `Cancelled` or `DeadlineExceeded` as `cx` demands; dropping one cancels its
/// work. They must be read inside a tokio runtime.
///
/// # Errors
/// What [`datafusion_error`] makes of DataFusion's.
pub async fn partitions(cx: &Context, df: DataFrame) -> Result<Vec<BatchStream>> {
    cx.check()?;
    let (plan, task) = physical_plan(df).await?;
    let streams = execute_stream_partitioned(plan.clone(), task).map_err(datafusion_error)?;
    if streams.is_empty() {
        return Ok(vec![BatchStream::from_batches(plan.schema(), Vec::new())]);
    }
    Ok(streams
        .into_iter()
        .map(|stream| guarded(cx.clone(), stream))
        .collect())
}

/// The plan that [`partitions`] runs, as text for people.
///
/// # Errors
/// As [`partitions`].
pub async fn explain(df: DataFrame) -> Result<String> {
    let (plan, _) = physical_plan(df).await?;
    let text = datafusion::physical_plan::displayable(plan.as_ref())
        .indent(false)
        .to_string();
    Ok(text)
}

async fn physical_plan(df: DataFrame) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
    let (mut state, logical) = df.into_parts();
    let mut plan = state
        .create_physical_plan(&logical)
        .await
        .map_err(datafusion_error)?;
    if shuffles(&plan) {
        state.config_mut().options_mut().execution.target_partitions = 1;
        plan = state
            .create_physical_plan(&logical)
            .await
            .map_err(datafusion_error)?;
    } else {
        let options = state.config_options().clone();
        plan = spread(plan, options.execution.target_partitions, &options)
            .map_err(datafusion_error)?;
    }
    Ok((plan, state.task_ctx()))
}

/// Whether rows pass between partitions, in an order that depends on which is faster.
fn shuffles(plan: &Arc<dyn ExecutionPlan>) -> bool {
    const SHUFFLING: [&str; 4] = [
        "RepartitionExec",
        "CoalescePartitionsExec",
        "SortPreservingMergeExec",
        "InterleaveExec",
    ];
    SHUFFLING.contains(&plan.name()) || plan.children().into_iter().any(shuffles)
}

/// Splits scans into partitions where nothing above them minds: a plan that asks for nothing of its
/// scan is given one partition by DataFusion's own rules.
fn spread(
    plan: Arc<dyn ExecutionPlan>,
    n_partitions: usize,
    options: &datafusion::config::ConfigOptions,
) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
    // A limit counts per partition, so what holds one is not split.
    if plan.fetch().is_some() {
        return Ok(plan);
    }
    match plan.name() {
        "FilterExec" | "ProjectionExec" | "UnionExec" | "CooperativeExec" => {
            let children = plan
                .children()
                .into_iter()
                .map(|child| spread(child.clone(), n_partitions, options))
                .collect::<datafusion::error::Result<Vec<_>>>()?;
            plan.replace_children(
                children,
                ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
            )
        }
        _ => {
            let n_now = plan.properties().partitioning.partition_count();
            if n_now >= n_partitions {
                return Ok(plan);
            }
            Ok(plan.repartitioned(n_partitions, options)?.unwrap_or(plan))
        }
    }
}

/// Ends a stream with the context's error once it is cancelled or too late.
fn guarded(cx: Context, mut stream: SendableRecordBatchStream) -> BatchStream {
    let schema = stream.schema();
    BatchStream::new(
        schema,
        async_stream::stream! {
            let mut cancelled = Box::pin(cx.cancelled());
            loop {
                if let Err(error) = cx.check() {
                    yield Err(error);
                    return;
                }
                let late = async {
                    match cx.remaining() {
                        Some(remaining) => tokio::time::sleep(remaining).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = &mut cancelled => {}
                    () = late => {}
                    next = stream.next() => match next {
                        None => return,
                        Some(Ok(batch)) => yield Ok(batch),
                        Some(Err(error)) => {
                            yield Err(datafusion_error(error));
                            return;
                        }
                    },
                }
            }
        },
    )
}

/// The same state (functions, limits, options) with an empty catalog of its own.
fn with_own_catalog(state: SessionState) -> Result<SessionState> {
    let names = state.config_options().catalog.clone();
    let catalog = MemoryCatalogProvider::new();
    catalog
        .register_schema(&names.default_schema, Arc::new(MemorySchemaProvider::new()))
        .map_err(datafusion_error)?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(names.default_catalog, Arc::new(catalog));
    Ok(SessionStateBuilder::new_from_existing(state)
        .with_catalog_list(Arc::new(catalogs))
        .build())
}

/// Training sets must come out the same on every run, so functions that do not are refused.
fn refuse_changing_functions(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|inner| {
                if let Expr::ScalarFunction(call) = inner
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    found = Some((
                        call.func.name().to_owned(),
                        call.func.signature().volatility,
                    ));
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(datafusion_error)?;
    let Some((name, volatility)) = found else {
        return Ok(());
    };
    let why = match volatility {
        Volatility::Stable => "depends on when the query runs",
        _ => "differs from one run to the next",
    };
    Err(Error::new(
        &codes::BAD_QUERY,
        format!("the query uses the function {name}, whose value {why}"),
    )
    .help("training sets must be reproducible, so write a constant or use a column instead"))
}

fn query_error(sql: &str, error: datafusion::error::DataFusionError) -> Error {
    datafusion_error(error).context("query", sql)
}

fn condition_error(sql: &str, error: datafusion::error::DataFusionError) -> Error {
    let error = datafusion_error(error);
    if error.code() != codes::BAD_QUERY.id {
        return error.context("filter", sql);
    }
    let message = error.message().replacen("the query", "the filter", 1);
    Error::new(&codes::BAD_QUERY, message)
        .context("filter", sql)
        .source(error)
}

#[cfg(test)]
mod tests;
