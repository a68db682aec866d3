//! Offline rows of a view as they are, and the columns of things without running them.
//!
//! Decides what a view's rows are called: keys and features by the definition's names, times by the
//! source's. Of a view of windows the rows are those that the windows are computed from.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use async_stream::try_stream;
use futures::StreamExt;
use provender_core::model::FeatureView;
use provender_core::request::{ColumnRange, Scan, SourceRef};
use provender_core::time::{instant_type, to_instants};
use provender_core::{BatchStream, Context, Error, ErrorKind, Result, ValueType, codes};
use provender_engine::cast::cast_value;

use crate::FeatureStore;
use crate::plan::source_schema;
use crate::request::HistoricalRequest;
use crate::request::resolve::resolve;
use crate::request::source::{Bound, BoundOutput, bind};

/// A column of the answer: where it is in the source, and what it becomes.
struct Column {
    source: String,
    output: Field,
    value_type: Option<ValueType>,
    checked: bool,
}

/// What reading a view's rows takes.
struct Plan {
    columns: Vec<Column>,
    timestamp: String,
    source: SourceRef,
    store: Option<String>,
}

impl FeatureStore {
    /// A view's offline rows of `start < event time <= end` (us; none is no bound), in no order: keys
    /// and features by the definition's names, the event time and, if there is one, the created time by
    /// the source's. `view` is `v` (the newest version) or `v@2`. Rows with a null event time are left out.
    ///
    /// # Errors
    /// `NotFound` (`P401`), `P120` to `P124` for a source that has changed; the stream fails with what
    /// the store says, and with `P501` for values that do not fit.
    pub async fn rows(
        &self,
        cx: &Context,
        view: &str,
        start_us: Option<i64>,
        end_us: Option<i64>,
    ) -> Result<BatchStream> {
        let (view, plan) = self.plan_rows(cx, view).await?;
        let schema = plan.schema();
        let store = self.stores().offline(cx, plan.store.as_deref()).await?;
        let mut columns: Vec<String> = Vec::new();
        for name in plan.columns.iter().map(|column| &column.source) {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        let scan = Scan {
            source: plan.source.clone(),
            columns: Some(columns),
            ranges: vec![ColumnRange {
                column: plan.timestamp.clone(),
                // The start is excluded, and times are whole microseconds.
                min_us: start_us.map(|start| start.saturating_add(1)),
                max_us: end_us,
            }],
        };
        let partitions = store.scan(cx, scan).await?;
        let cx = cx.clone();
        let answer = schema.clone();
        Ok(BatchStream::new(
            schema,
            try_stream! {
                for mut partition in partitions {
                    while let Some(batch) = partition.batches.next().await {
                        cx.check()?;
                        let rows = plan.answer(&view.name, &batch?, start_us, end_us, &answer)?;
                        if rows.num_rows() > 0 {
                            yield rows;
                        }
                    }
                }
            },
        ))
    }

    /// The columns of [`Self::rows`].
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn rows_schema(&self, cx: &Context, view: &str) -> Result<SchemaRef> {
        Ok(self.plan_rows(cx, view).await?.1.schema())
    }

    /// The features of a request alone: what [`Self::historical`] puts after the spine's columns.
    ///
    /// # Errors
    /// `P401`, `P404`, `P406`, `P306`.
    pub async fn features_schema(
        &self,
        cx: &Context,
        request: &HistoricalRequest,
    ) -> Result<SchemaRef> {
        let catalog = self.applied_catalog(cx).await?;
        let references = request.selection.references(&catalog)?;
        let resolved = resolve(&catalog, &references, request.full_feature_names)?;
        let fields = resolved
            .outputs
            .iter()
            .map(|output| output.value_type.to_field(&output.name));
        Ok(Arc::new(Schema::new(fields.collect::<Vec<Field>>())))
    }

    /// The columns of a table or query of the project's offline store that a request names.
    ///
    /// # Errors
    /// `NotFound` (`P120`) for a table that is not there, `P123`, and `Unsupported` (`P801`) for a query
    /// over a store without SQL.
    pub async fn source_columns(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        self.check_context(cx)?;
        let schema = source_schema(self, cx, None, source).await;
        schema.map_err(|error| match error.code() == codes::MISSING_TABLE.id {
            // In a definition it is a mistake of the definition; here the request names the table.
            true => error.with_kind(ErrorKind::NotFound),
            false => error,
        })
    }

    async fn plan_rows(&self, cx: &Context, view: &str) -> Result<(Arc<FeatureView>, Plan)> {
        let catalog = self.applied_catalog(cx).await?;
        let (name, version) = provender_core::model::split_version(view).ok_or_else(|| {
            Error::new(&codes::BAD_REQUEST, format!("{view:?} names no view"))
                .help("write view or view@2")
        })?;
        let (_, view) = catalog.feature_view(name, version)?;
        let source = SourceRef::from(&view.source);
        let store = view.source.store.clone();
        let schema = source_schema(self, cx, store.as_deref(), &source).await?;
        let wanted: Vec<usize> = (0..view.outputs().len()).collect();
        let bound = bind(&view, &schema, &wanted).map_err(|problems| {
            let first = problems.into_iter().next();
            first.map_or_else(
                || Error::new(&codes::INTERNAL, "a view does not fit its source"),
                |problem| problem.error,
            )
        })?;
        let plan = Plan::new(&view, &bound, &schema, source, store);
        Ok((view, plan))
    }
}

impl Plan {
    fn new(
        view: &FeatureView,
        bound: &Bound,
        schema: &Schema,
        source: SourceRef,
        store: Option<String>,
    ) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        for (key, column) in view.join_keys().into_iter().zip(&bound.keys) {
            columns.push(Column {
                source: column.clone(),
                output: key.value_type.to_field(&key.name),
                value_type: Some(key.value_type.clone()),
                checked: true,
            });
        }
        let times = std::iter::once(&bound.source.timestamp).chain(&bound.source.created_timestamp);
        for time in times {
            columns.push(Column {
                source: time.clone(),
                output: Field::new(time, instant_type(), true),
                value_type: None,
                checked: false,
            });
        }
        for ((name, value_type), output) in view.outputs().into_iter().zip(&bound.outputs) {
            match output {
                BoundOutput::Column { column, checked } => {
                    if let Some(value_type) = value_type {
                        columns.push(Column {
                            source: column.clone(),
                            output: value_type.to_field(name),
                            value_type: Some(value_type.clone()),
                            checked: *checked,
                        });
                    }
                }
                BoundOutput::Window {
                    column: Some(column),
                    ..
                } => {
                    let is_new = columns.iter().all(|known| known.output.name() != column);
                    let found = schema.column_with_name(column);
                    let value_type =
                        found.and_then(|(_, field)| ValueType::from_arrow(field.data_type()));
                    if let (true, Some(value_type)) = (is_new, value_type) {
                        columns.push(Column {
                            source: column.clone(),
                            output: value_type.to_field(column),
                            value_type: Some(value_type),
                            checked: true,
                        });
                    }
                }
                BoundOutput::Window { column: None, .. } => {}
            }
        }
        Self {
            columns,
            timestamp: bound.source.timestamp.clone(),
            source,
            store,
        }
    }

    fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| column.output.clone());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn answer(
        &self,
        view: &str,
        batch: &RecordBatch,
        start_us: Option<i64>,
        end_us: Option<i64>,
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let times = to_instants(found(batch, &self.timestamp)?)?;
        let inside: BooleanArray = times
            .iter()
            .map(|time| {
                Some(time.is_some_and(|time| {
                    start_us.is_none_or(|start| time > start)
                        && end_us.is_none_or(|end| time <= end)
                }))
            })
            .collect();
        let batch = arrow_select::filter::filter_record_batch(batch, &inside).map_err(|error| {
            Error::new(&codes::INTERNAL, "rows cannot be selected by time").source(error)
        })?;
        let columns = self
            .columns
            .iter()
            .map(|column| -> Result<ArrayRef> {
                let values = found(&batch, &column.source)?;
                match &column.value_type {
                    None => Ok(Arc::new(to_instants(values)?)),
                    Some(value_type) => {
                        cast_value(values, value_type, column.checked).map_err(|failure| {
                            Error::new(
                                &codes::CHECKED_CAST,
                                format!("view {view:?}: {:?}: {failure}", column.output.name()),
                            )
                        })
                    }
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| {
            Error::new(&codes::INTERNAL, "rows do not fit their types").source(error)
        })
    }
}

fn found<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(column).ok_or_else(|| {
        Error::new(
            &codes::PROVIDER_CONTRACT,
            format!("a scan answered without the column {column:?}"),
        )
    })
}
