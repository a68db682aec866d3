//! Training sets: feature values as they were at each row of a spine.
//!
//! Decides that everything about a request is checked before the first row of the spine is read, who
//! joins (the store, or the engine over it), and that answers of several stores come side by side
//! with the spine's own columns. Nothing is collected whole but the spine, which spills.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use async_stream::try_stream;
use futures::{StreamExt, TryStreamExt};
use provender_core::model::Relation;
use provender_core::provider::{OfflineStore, ProviderInfo, Resources, unsupported};
use provender_core::request::{Scan, SourceRef, Spine, SqlSpine};
use provender_core::{BatchStream, Catalog, Context, Error, ErrorKind, Result, codes};
use provender_engine::spill::Spilled;
use provender_engine::zip::zip;

use crate::FeatureStore;
use crate::request::HistoricalRequest;
use crate::spine::{drain, spine_rows};
use crate::training::{Group, Meaning, Naming, Training};

impl FeatureStore {
    /// Joins features to a spine as they were at each row's time. N rows in, N rows out, in the
    /// spine's order: the spine's columns untouched, then the features in the order of the service
    /// or request, null where there was no value.
    ///
    /// Everything is checked when this returns; the spine is read when the answer is first polled,
    /// and read whole (spilling to disk) before the first row is answered.
    ///
    /// # Errors
    /// `P401` to `P408` for the request and the spine's schema, `P306` if nothing is applied,
    /// `P120` to `P124` for sources that have changed; the stream fails with what the stores say,
    /// `P501` and `P502` for values that do not fit, and `P802` for a provider that breaks its contract.
    pub async fn historical(
        &self,
        cx: &Context,
        request: &HistoricalRequest,
        spine: BatchStream,
    ) -> Result<BatchStream> {
        let catalog = self.applied_catalog(cx).await?;
        self.historical_of(cx, &catalog, request, spine).await
    }

    /// [`Self::historical`] by the definitions of a given catalog.
    ///
    /// # Errors
    /// As [`Self::historical`].
    pub(crate) async fn historical_of(
        &self,
        cx: &Context,
        catalog: &Catalog,
        request: &HistoricalRequest,
        spine: BatchStream,
    ) -> Result<BatchStream> {
        let meaning = Meaning::of(catalog, request, &spine.schema)?;
        let training =
            Training::prepare(self, cx, meaning, request.as_known, &Naming::Rows).await?;
        Ok(joined(cx.clone(), self.resources(cx), training, spine))
    }

    /// [`Self::historical`] over a spine that the offline store itself holds. A store that can joins
    /// it there, in any order of rows; else the spine is read from the project's `offline_store`.
    /// The timestamp's column is the request's, else the spine's if it is not empty, else the default.
    ///
    /// # Errors
    /// As [`Self::historical`], and `Unsupported` (`P801`) for a SELECT over a store without SQL.
    pub async fn historical_sql(
        &self,
        cx: &Context,
        request: &HistoricalRequest,
        spine: SqlSpine,
    ) -> Result<BatchStream> {
        let planned = self.planned_sql(cx, request, spine).await?;
        if let Some((training, spine)) = planned.pushed_down {
            match pushed_down(cx.clone(), training, spine).await {
                // Some joins a store knows only when it sees them that it cannot answer exactly.
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                answer => return answer,
            }
        }
        let store = planned.store.as_ref();
        let rows = scanned(cx, store, planned.source, planned.schema).await?;
        self.historical(cx, &planned.request, rows).await
    }

    /// What a spine that the offline store holds has for columns, and whether it is joined there.
    pub(crate) async fn planned_sql(
        &self,
        cx: &Context,
        request: &HistoricalRequest,
        spine: SqlSpine,
    ) -> Result<PlannedSql> {
        let catalog = self.applied_catalog(cx).await?;
        let store = self.stores().offline(cx, None).await?;
        if matches!(spine.relation, Relation::Query(_)) && !store.capabilities().sql_sources {
            return Err(unsupported(&store.info(), "SQL for spines")
                .help("name a table of the store, or bring the rows of the spine yourself"));
        }
        let mut request = request.clone();
        if request.timestamp.is_none() && !spine.timestamp.is_empty() {
            request.timestamp = Some(spine.timestamp.clone());
        }
        let source = SourceRef {
            relation: spine.relation.clone(),
            filter: None,
            version: None,
        };
        let schema = self.source_columns(cx, &source).await?;
        let meaning = Meaning::of(&catalog, &request, &schema)?;
        let is_one_store = meaning
            .resolved
            .joins
            .iter()
            .all(|join| join.view.source.store.is_none());
        let mut pushed_down = None;
        if is_one_store && store.capabilities().sql_spine {
            let naming = Naming::sql(&schema);
            let training = Training::prepare(self, cx, meaning, request.as_known, &naming).await?;
            if training.groups.iter().all(Group::is_pushed_down) && !training.groups.is_empty() {
                let timestamp = schema.field(training.meaning.spine.timestamp);
                let spine = SqlSpine {
                    relation: spine.relation,
                    timestamp: timestamp.name().clone(),
                };
                pushed_down = Some((training, spine));
            }
        }
        Ok(PlannedSql {
            store,
            request,
            source,
            schema,
            pushed_down,
        })
    }

    /// The schema that [`Self::historical`] would answer. Reads and asks nothing but the registry.
    ///
    /// # Errors
    /// `P401` to `P408`, `P306`.
    pub async fn historical_schema(
        &self,
        cx: &Context,
        request: &HistoricalRequest,
        spine: &Schema,
    ) -> Result<SchemaRef> {
        let catalog = self.applied_catalog(cx).await?;
        Ok(Meaning::of(&catalog, request, spine)?.schema)
    }
}

/// How a join of a spine that the offline store holds is answered.
pub(crate) struct PlannedSql {
    /// The project's offline store, which holds the spine.
    pub(crate) store: Arc<dyn OfflineStore>,
    /// The request, which names the timestamp if the spine did.
    pub(crate) request: HistoricalRequest,
    /// The spine as a source.
    pub(crate) source: SourceRef,
    /// The spine's columns.
    pub(crate) schema: SchemaRef,
    /// The join for the store to answer; `None` reads the spine's rows and joins them as any others.
    pub(crate) pushed_down: Option<(Training, SqlSpine)>,
}

/// All rows of a source, which has this schema, one partition after the other.
pub(crate) async fn scanned(
    cx: &Context,
    store: &dyn OfflineStore,
    source: SourceRef,
    schema: SchemaRef,
) -> Result<BatchStream> {
    let scan = Scan {
        source,
        columns: None,
        ranges: Vec::new(),
    };
    let partitions = store.scan(cx, scan).await?;
    let rows = futures::stream::iter(partitions)
        .map(|partition| Ok::<_, Error>(partition.batches))
        .try_flatten();
    Ok(BatchStream::new(schema, rows))
}

/// Reads the spine, has each group of views joined to it, and puts all side by side.
fn joined(
    cx: Context,
    resources: Resources,
    training: Training,
    spine: BatchStream,
) -> BatchStream {
    BatchStream::new(
        training.meaning.schema.clone(),
        try_stream! {
            let spilled = drain(&cx, &resources, spine).await?;
            if spilled.n_rows() == 0 {
                return;
            }
            let resources = shared(&resources, training.groups.len());
            let mut streams = vec![spilled.stream()];
            for group in &training.groups {
                streams.push(answer(&cx, &resources, group, &training, &spilled).await?);
            }
            let mut joined = zip(training.joined_schema(), streams);
            let mut first_row = 0_u64;
            while let Some(batch) = joined.batches.next().await {
                cx.check()?;
                let batch = batch?;
                let n_rows = batch.num_rows() as u64;
                // Rows in messages count within a batch; this says where the batch is.
                yield training.assemble(&batch).map_err(|error| {
                    error.context("first_row_of_batch", first_row.to_string())
                })?;
                first_row += n_rows;
            }
        },
    )
}

/// Groups work at the same time, so each gets its share of the memory.
fn shared(resources: &Resources, n_groups: usize) -> Resources {
    Resources {
        memory_limit_bytes: resources.memory_limit_bytes / n_groups.max(1) as u64,
        ..resources.clone()
    }
}

/// The features of one group: one row for each row of the spine, in order.
async fn answer(
    cx: &Context,
    resources: &Resources,
    group: &Group,
    training: &Training,
    spilled: &Spilled,
) -> Result<BatchStream> {
    cx.check()?;
    let rows = spine_rows(spilled, &training.meaning.spine, &group.keys);
    let answer = if group.is_pushed_down() {
        let spine = Spine::Rows(rows);
        group
            .store
            .point_in_time_join(cx, group.join.clone(), spine)
            .await?
    } else {
        let store = group.store.clone();
        provender_engine::point_in_time_join(cx, resources, store, group.join.clone(), rows).await?
    };
    let info = group.store.info();
    checked(answer, &group.fields, Some(spilled.n_rows()), info)
}

/// Has the store join its own spine.
async fn pushed_down(cx: Context, training: Training, spine: SqlSpine) -> Result<BatchStream> {
    let Some(group) = training.groups.first() else {
        return Err(Error::new(
            &codes::INTERNAL,
            "no store to push a join down to",
        ));
    };
    let answer = group
        .store
        .point_in_time_join(&cx, group.join.clone(), Spine::Sql(spine))
        .await?;
    let expected: Vec<Field> = training
        .joined_schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone())
        .collect();
    let mut answer = checked(answer, &expected, None, group.store.info())?;
    let schema = training.meaning.schema.clone();
    Ok(BatchStream::new(
        schema,
        try_stream! {
            while let Some(batch) = answer.batches.next().await {
                cx.check()?;
                yield training.assemble(&batch?)?;
            }
        },
    ))
}

/// An answer that is known to have the expected columns, and the expected number of rows if that is
/// known.
pub(crate) fn checked(
    answer: BatchStream,
    expected: &[Field],
    n_rows: Option<u64>,
    info: ProviderInfo,
) -> Result<BatchStream> {
    check_columns(&answer.schema, expected, &info)?;
    let expected = expected.to_vec();
    let mut batches = answer.batches;
    Ok(BatchStream::new(
        answer.schema,
        try_stream! {
            let mut n_answered = 0_u64;
            let mut known: Option<SchemaRef> = None;
            while let Some(batch) = batches.next().await {
                let batch: RecordBatch = batch?;
                // Batches of one stream mostly share a schema, which is then checked once.
                let schema = batch.schema();
                if known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &schema)) {
                    check_columns(&schema, &expected, &info)?;
                    known = Some(schema);
                }
                n_answered += batch.num_rows() as u64;
                if n_rows.is_some_and(|n_rows| n_answered > n_rows) {
                    Err(row_count(&info, n_answered, n_rows))?;
                }
                yield batch;
            }
            if n_rows.is_some_and(|n_rows| n_answered != n_rows) {
                Err(row_count(&info, n_answered, n_rows))?;
            }
        },
    ))
}

fn check_columns(found: &Schema, expected: &[Field], info: &ProviderInfo) -> Result<()> {
    let is_right = found.fields().len() == expected.len()
        && found
            .fields()
            .iter()
            .zip(expected)
            .all(|(found, expected)| {
                found.name() == expected.name() && found.data_type() == expected.data_type()
            });
    if is_right {
        return Ok(());
    }
    let list = |fields: &mut dyn Iterator<Item = &Field>| {
        let shown: Vec<String> = fields
            .map(|field| format!("{}: {}", field.name(), field.data_type()))
            .collect();
        shown.join(", ")
    };
    Err(Error::new(
        &codes::PROVIDER_CONTRACT,
        format!(
            "{} was asked for the columns [{}] and answered [{}]",
            info.display_name,
            list(&mut expected.iter()),
            list(&mut found.fields().iter().map(AsRef::as_ref))
        ),
    )
    .context("provider", info.scheme.clone()))
}

fn row_count(info: &ProviderInfo, found: u64, expected: Option<u64>) -> Error {
    Error::new(
        &codes::PROVIDER_CONTRACT,
        format!(
            "{} answered {found} rows to a spine of {} rows",
            info.display_name,
            expected.unwrap_or_default()
        ),
    )
    .context("provider", info.scheme.clone())
}
