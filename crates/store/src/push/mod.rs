//! Rows that are brought rather than read: into the source's table, the online store, or both.
//!
//! Decides that every row is looked at before the first is written anywhere, that history comes
//! before the latest value, and what makes a repeated push count once: online newer-wins, offline the
//! push's id. Without an id, a repeated push to the table appends its rows again.

mod columns;
mod offline;

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::SchemaRef;
use async_stream::try_stream;
pub(crate) use columns::PushColumns;
use futures::StreamExt;
use provender_core::model::{FeatureView, split_version};
use provender_core::provider::{OfflineStore, OnlineStore, ViewVersion};
use provender_core::request::{OfflineWrite, SourceRef, ViewLayout, WriteMode, WriteSummary};
use provender_core::time::instant_type;
use provender_core::{BatchStream, Catalog, Context, Error, Result, codes};
use provender_engine::spill::{SpillBuffer, Spilled};
use serde::{Deserialize, Serialize};

use crate::FeatureStore;
use crate::plan::source_schema;
use crate::spine::defect;
use offline::TableRows;
pub(crate) use offline::{exact, table_of};

/// Which stores rows go to, or keys leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushTarget {
    /// The online store alone.
    Online,
    /// The offline store alone.
    Offline,
    /// Both, the offline store first.
    Both,
}

impl PushTarget {
    /// Whether the online store is meant.
    pub fn is_online(self) -> bool {
        self != Self::Offline
    }

    /// Whether the offline store is meant.
    pub fn is_offline(self) -> bool {
        self != Self::Online
    }
}

/// Rows to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The view: `route_delay` (its newest version) or `route_delay@2`.
    pub view: String,
    /// Where they go.
    pub to: PushTarget,
    /// Makes a retry count once in the offline store, where the same rows are otherwise appended
    /// again. Online, a retry changes nothing with or without it.
    pub id: Option<String>,
}

/// What a push did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PushSummary {
    /// The view's version.
    pub view: ViewVersion,
    /// Rows brought.
    pub n_rows: u64,
    /// What the offline store says; `None` if it was not asked, or there were no rows.
    pub offline: Option<WriteSummary>,
    /// What the online store says; `None` if it was not asked, or there were no rows.
    pub online: Option<WriteSummary>,
}

impl FeatureStore {
    /// Writes rows to the table of a view's source, to its online store, or to both. Durable when it
    /// returns. Columns are found by name, in any order, and are exactly those of
    /// [`Self::push_schema`]: join keys and features by their definition names, the event time, the
    /// created time (which may be null) and tie breakers by the source's. All rows are read, and
    /// looked at, before the first is written; beyond the memory limit they wait on disk.
    ///
    /// # Errors
    /// Nothing is written: `P401` for the view, `InvalidArgument` `P406` for the columns and `P409`
    /// for a row; `FailedPrecondition` `P607` for a push of a view with aggregations to online, `P601`
    /// for one with `online: false`, `P509` for a source that takes no rows; `Unsupported` (`P801`)
    /// for a store that does not write. Otherwise what the stores say; a push to both may then have
    /// reached the offline store, and is repeated with the same id.
    pub async fn push(&self, cx: &Context, push: &Push, rows: BatchStream) -> Result<PushSummary> {
        let catalog = self.applied_catalog(cx).await?;
        let (version, view) = named_view(&catalog, &push.view)?;
        if push.to.is_online() {
            check_no_windows(&view)?;
            check_online(&catalog, &view)?;
        }
        let work = Work::prepare(self, cx, version, &view, push.to).await?;
        let brought = Arc::new(work.read(self, cx, rows).await?);
        let mut summary = PushSummary {
            view: self.view_version(&view.name, version),
            n_rows: brought.n_rows(),
            offline: None,
            online: None,
        };
        if summary.n_rows == 0 {
            return Ok(summary);
        }
        if let Some(offline) = &work.offline {
            let write = OfflineWrite {
                table: offline.table.clone(),
                mode: WriteMode::Append,
                partition_by: Vec::new(),
                id: push.id.clone(),
            };
            let rows = offline.rows.clone();
            let schema = rows.schema().clone();
            let stream = made(cx, &brought, schema, move |batch, first| {
                rows.of(batch, first)
            });
            let written = offline.store.write(cx, write, stream).await;
            summary.offline = Some(written.map_err(|error| of_view(error, &view))?);
        }
        if let Some(online) = &work.online {
            let rows = online.rows.clone();
            let schema = Arc::new(rows.layout.write_schema());
            let stream = made(cx, &brought, schema, move |batch, first| {
                rows.of(batch, first)
            });
            let written = online.store.write(cx, &online.rows.layout, stream).await;
            let written = match written {
                Ok(written) => written,
                Err(error) if summary.offline.is_none() => return Err(of_view(error, &view)),
                // The next push is to online alone, or to both with the same id.
                Err(error) => {
                    let done = "the rows are in the offline store, and not all online: ";
                    return Err(of_view(error, &view).prefixed(done));
                }
            };
            summary.online = Some(written);
            let store = online.store.as_ref();
            self.mark_pushed(cx, store, &summary.view).await?;
        }
        Ok(summary)
    }

    /// The columns that [`Self::push`] takes for a view, under their types; what readers of CSV and
    /// JSON read rows as. The offline store is asked only for tie breakers and aggregations.
    ///
    /// # Errors
    /// `P401`, and `P120` to `P124` for a source that has changed.
    pub async fn push_schema(&self, cx: &Context, view: &str) -> Result<SchemaRef> {
        let catalog = self.applied_catalog(cx).await?;
        let (_, view) = named_view(&catalog, view)?;
        Ok(self.push_columns(cx, &view).await?.schema)
    }

    async fn push_columns(&self, cx: &Context, view: &FeatureView) -> Result<PushColumns> {
        if view.source.tie_breakers.is_empty() && view.aggregations.is_empty() {
            return PushColumns::of(view, None);
        }
        let schema = self.schema_of_source(cx, view).await?;
        PushColumns::of(view, Some(&schema))
    }

    async fn schema_of_source(&self, cx: &Context, view: &FeatureView) -> Result<SchemaRef> {
        let source = SourceRef::from(&view.source);
        source_schema(self, cx, view.source.store.as_deref(), &source)
            .await
            .map_err(|error| of_view(error, view))
    }

    /// What a version of a view is written online as: with the types of its tie breakers, which the
    /// offline store is asked for if there are any.
    ///
    /// # Errors
    /// As [`Self::push_schema`].
    pub(crate) async fn pushed_layout(
        &self,
        cx: &Context,
        version: u32,
        view: &FeatureView,
    ) -> Result<ViewLayout> {
        let columns = self.push_columns(cx, view).await?;
        layout(self.project(), version, view, &columns)
    }
}

/// The view of `view` (its newest version) or `view@2`.
///
/// # Errors
/// `NotFound` (`P401`), `InvalidArgument` (`P406`) for a version that is no number.
pub(crate) fn named_view(catalog: &Catalog, text: &str) -> Result<(u32, Arc<FeatureView>)> {
    let Some((name, version)) = split_version(text.trim()) else {
        return Err(
            Error::new(&codes::BAD_REQUEST, format!("{text:?} names no view"))
                .help("write view or view@2"),
        );
    };
    if catalog.on_demand_feature_views.contains_key(name) {
        return Err(Error::new(
            &codes::BAD_REQUEST,
            format!("{name:?} is an on-demand feature view, which holds no rows"),
        )
        .help("name one of the feature views that it is computed from"));
    }
    catalog.feature_view(name, version)
}

/// The refusal of rows in order for a view whose online rows are windows.
///
/// # Errors
/// `FailedPrecondition` (`P607`) if the view has aggregations.
pub(crate) fn check_no_windows(view: &FeatureView) -> Result<()> {
    if view.aggregations.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        &codes::WINDOWS_NOT_PUSHED,
        format!(
            "view {:?} has aggregations, whose online values are windows over all rows of a key",
            view.name
        ),
    )
    .help("push the rows to offline, and materialise the view")
    .context("view", view.name.clone()))
}

/// The refusal of rows for a view that is not served online.
///
/// # Errors
/// `FailedPrecondition` (`P601`) if the newest version says `online: false`.
pub(crate) fn check_online(catalog: &Catalog, view: &FeatureView) -> Result<()> {
    // `online` makes no version, so what the newest says holds for all.
    let versions = catalog.feature_views.get(&view.name);
    let newest = versions.and_then(|versions| versions.last_key_value());
    if newest.is_none_or(|(_, newest)| newest.online) {
        return Ok(());
    }
    Err(Error::new(
        &codes::NOT_ONLINE,
        format!(
            "view {:?} has `online: false`, so its online store takes no rows",
            view.name
        ),
    )
    .help("use the offline store alone, or apply the view without `online: false`")
    .context("view", view.name.clone()))
}

fn layout(
    project: &str,
    version: u32,
    view: &FeatureView,
    columns: &PushColumns,
) -> Result<ViewLayout> {
    let mut layout = ViewLayout::of(project, version, view)?;
    let ties = columns.ties.iter();
    layout.tie_breakers = ties.map(|(_, value_type)| value_type.clone()).collect();
    Ok(layout)
}

fn of_view(error: Error, view: &FeatureView) -> Error {
    error.context("view", view.name.clone())
}

/// A push whose stores are open and whose columns are known.
struct Work {
    columns: Arc<PushColumns>,
    offline: Option<OfflinePart>,
    online: Option<OnlinePart>,
}

struct OfflinePart {
    store: Arc<dyn OfflineStore>,
    table: String,
    rows: TableRows,
}

struct OnlinePart {
    store: Arc<dyn OnlineStore>,
    rows: OnlineRows,
}

/// How pushed rows become rows of the online store.
#[derive(Clone)]
struct OnlineRows {
    columns: Arc<PushColumns>,
    layout: Arc<ViewLayout>,
}

impl Work {
    async fn prepare(
        store: &FeatureStore,
        cx: &Context,
        version: u32,
        view: &FeatureView,
        to: PushTarget,
    ) -> Result<Self> {
        let (columns, offline) = if to.is_offline() {
            let table = table_of(view, "rows cannot be added to")?;
            let schema = store.schema_of_source(cx, view).await?;
            let columns = Arc::new(PushColumns::of(view, Some(&schema))?);
            let name = view.source.store.as_deref();
            let offline = store.stores().offline(cx, name).await?;
            let rows = TableRows::new(columns.clone(), offline.as_ref(), &table, schema)?;
            let part = OfflinePart {
                store: offline,
                table,
                rows,
            };
            (columns, Some(part))
        } else {
            (Arc::new(store.push_columns(cx, view).await?), None)
        };
        let online = if to.is_online() {
            let layout = layout(store.project(), version, view, &columns)?;
            let name = view.online_store.as_deref();
            Some(OnlinePart {
                store: store.stores().online(cx, name).await?,
                rows: OnlineRows {
                    columns: columns.clone(),
                    layout: Arc::new(layout),
                },
            })
        } else {
            None
        };
        Ok(Self {
            columns,
            offline,
            online,
        })
    }

    /// Reads all rows and tries everything that is done to them later, so that nothing but a store
    /// can fail once the first row is written.
    async fn read(
        &self,
        store: &FeatureStore,
        cx: &Context,
        mut rows: BatchStream,
    ) -> Result<Spilled> {
        let schema = rows.schema.clone();
        let found = self.columns.find(&schema)?;
        let resources = store.resources(cx);
        let mut buffer = SpillBuffer::new(&resources, self.columns.schema.clone());
        let mut first_row = 0_u64;
        while let Some(batch) = rows.batches.next().await {
            cx.check()?;
            let batch = batch?;
            check_same_columns(&batch, &schema)?;
            let read = self.columns.read(&batch, &found, first_row)?;
            if let Some(offline) = &self.offline {
                offline.rows.of(&read, first_row)?;
            }
            if let Some(online) = &self.online {
                online.rows.of(&read, first_row)?;
            }
            first_row += read.num_rows() as u64;
            buffer.push(read).await?;
        }
        buffer.finish()
    }
}

/// Refuses a batch whose columns are not those of its stream.
///
/// # Errors
/// `InvalidArgument` (`P406`).
pub(crate) fn check_same_columns(batch: &RecordBatch, schema: &SchemaRef) -> Result<()> {
    if Arc::ptr_eq(batch.schema_ref(), schema) {
        return Ok(());
    }
    let found = batch.schema_ref().fields().iter();
    let same = batch.num_columns() == schema.fields().len()
        && found.zip(schema.fields()).all(|(found, expected)| {
            found.name() == expected.name() && found.data_type() == expected.data_type()
        });
    if same {
        return Ok(());
    }
    Err(Error::new(
        &codes::BAD_REQUEST,
        "a batch of rows has other columns than the schema that came first",
    ))
}

impl OnlineRows {
    /// Rows of [`PushColumns::schema`] as rows of [`ViewLayout::write_schema`].
    fn of(&self, rows: &RecordBatch, first_row: u64) -> Result<RecordBatch> {
        let n_rows = rows.num_rows();
        let mut arrays: Vec<ArrayRef> = rows.columns()[..self.columns.n_keys].to_vec();
        arrays.push(rows.column(self.columns.event).clone());
        arrays.push(match self.columns.created {
            Some(created) => rows.column(created).clone(),
            None => new_null_array(&instant_type(), n_rows),
        });
        arrays.push(Arc::new(BooleanArray::from(vec![false; n_rows])));
        for (column, value_type) in self.columns.ties.iter().chain(&self.columns.features) {
            arrays.push(
                self.columns
                    .cast_again(rows, *column, value_type, first_row)?,
            );
        }
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        let schema = Arc::new(self.layout.write_schema());
        RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(|error| defect("pushed rows do not fit the view's layout", error))
    }
}

/// The rows that were brought, as something else.
fn made(
    cx: &Context,
    brought: &Arc<Spilled>,
    schema: SchemaRef,
    make: impl Fn(&RecordBatch, u64) -> Result<RecordBatch> + Send + 'static,
) -> BatchStream {
    let (cx, mut rows) = (cx.clone(), brought.stream());
    BatchStream::new(
        schema,
        try_stream! {
            let mut first_row = 0_u64;
            while let Some(batch) = rows.batches.next().await {
                cx.check()?;
                let batch = batch?;
                yield make(&batch, first_row)?;
                first_row += batch.num_rows() as u64;
            }
        },
    )
}
