//! An online read for batches of one schema: the hot path.

use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Schema};
use futures::future::try_join_all;
use provender_core::request::OnlineRows;
use provender_core::time::now_us;
use provender_core::{Context, Error, Result, codes};

use super::answer::{Answered, contract};
use super::query::{Prepared, StoreRead};
use crate::cast::{cast_key, cast_request};
use crate::on_demand::{Batch, evaluate};
use crate::request::resolve::Value;
use crate::spine::defect;

/// Reads features for batches of keys. Cheap to clone, and used by many calls at once.
#[derive(Clone)]
pub struct OnlineCall {
    prepared: Arc<Prepared>,
    input: Arc<Input>,
}

/// Where the columns are in a batch.
struct Input {
    /// The type of each column of the batch.
    types: Vec<DataType>,
    /// For each distinct key its column.
    keys: Vec<Position>,
    /// For each request field its column.
    requests: Vec<Position>,
}

struct Position {
    column: usize,
    /// Whether the column has the declared type already.
    is_exact: bool,
}

impl OnlineCall {
    pub(super) fn new(prepared: Arc<Prepared>, input: &Schema, positions: &[usize]) -> Self {
        let types: Vec<DataType> = (input.fields().iter())
            .map(|field| field.data_type().clone())
            .collect();
        let position = |column: usize, declared: DataType| Position {
            column: positions[column],
            is_exact: types[positions[column]] == declared,
        };
        let columns = &prepared.columns;
        let keys = columns
            .keys
            .iter()
            .map(|key| position(key.column, key.value_type.to_arrow()))
            .collect();
        let requests = columns
            .requests
            .iter()
            .zip(&prepared.resolved.requests)
            .map(|(&column, field)| position(column, field.value_type.to_arrow()))
            .collect();
        Self {
            input: Arc::new(Input {
                types,
                keys,
                requests,
            }),
            prepared,
        }
    }

    /// Reads the latest values: N rows of keys -> N rows of [`OnlineQuery::schema`], in the same order,
    /// duplicates included. Asks each online store once, at the same time, and nothing else.
    ///
    /// Join keys are echoed in their declared types; a value that the declared type cannot hold is echoed
    /// as null and finds nothing, as does a null. A row older than its view's ttl gives nulls.
    ///
    /// [`OnlineQuery::schema`]: super::OnlineQuery::schema
    ///
    /// # Errors
    /// `InvalidArgument`: `P406` for a batch of another schema than was bound, `P403` for request fields
    /// that do not fit, `P501` and `P508` for on-demand features; `DataLoss` (`P603`) for a row that
    /// cannot be read, unless statuses are asked for; what the stores say, and `P802` for one that breaks
    /// its contract.
    pub async fn read(&self, cx: &Context, input: &RecordBatch) -> Result<RecordBatch> {
        self.read_at(cx, input, now_us()).await
    }

    /// [`Self::read`] with "now" at an instant.
    pub(super) async fn read_at(
        &self,
        cx: &Context,
        input: &RecordBatch,
        now_us: i64,
    ) -> Result<RecordBatch> {
        cx.check()?;
        self.check_input(input)?;
        let prepared = &*self.prepared;
        let n_rows = input.num_rows();
        if n_rows == 0 {
            return Ok(RecordBatch::new_empty(prepared.schema.clone()));
        }
        let keys = self.keys(input)?;
        let answers = match prepared.stores.as_slice() {
            [only] => vec![ask(cx, only, &keys, n_rows).await?],
            several => {
                try_join_all(several.iter().map(|store| ask(cx, store, &keys, n_rows))).await?
            }
        };
        let mut views: Vec<Answered> = Vec::new();
        views.resize_with(prepared.rules.len(), Answered::default);
        for (store, answer) in prepared.stores.iter().zip(answers) {
            if answer.views.len() != store.joins.len() {
                let (asked, found) = (store.joins.len(), answer.views.len());
                let what = format!("{asked} views and answered {found}");
                return Err(contract(&store.info, &what));
            }
            let watches = store.joins.iter().zip(&store.watches);
            for ((&join, watch), mut rows) in watches.zip(answer.views) {
                let rules = &prepared.rules[join];
                rules.check(&rows, n_rows, &store.info)?;
                if let Some(watch) = watch
                    && watch.is_lost(cx).await?
                {
                    rules.mark_absent(&mut rows, &keys);
                }
                views[join] = rules.judge(rows, &keys, now_us, prepared.with_status)?;
            }
        }
        self.assemble(input, &keys, &views)
    }

    fn check_input(&self, input: &RecordBatch) -> Result<()> {
        let types = &self.input.types;
        let is_bound = input.num_columns() == types.len()
            && (input.columns().iter().zip(types))
                .all(|(column, bound)| column.data_type() == bound);
        if is_bound {
            return Ok(());
        }
        Err(Error::new(
            &codes::BAD_REQUEST,
            "a batch of keys has other columns than the schema that was announced",
        )
        .help("send every batch with the same columns in the same order"))
    }

    fn keys(&self, input: &RecordBatch) -> Result<Vec<ArrayRef>> {
        (self.input.keys.iter())
            .zip(&self.prepared.columns.keys)
            .map(|(position, key)| {
                let column = input.column(position.column);
                if position.is_exact {
                    return Ok(column.clone());
                }
                cast_key(column, &key.name, &key.value_type)
            })
            .collect()
    }

    fn computed(&self, input: &RecordBatch, views: &[Answered]) -> Result<Vec<ArrayRef>> {
        let resolved = &self.prepared.resolved;
        if resolved.steps.is_empty() {
            return Ok(Vec::new());
        }
        let requests: Vec<ArrayRef> = (self.input.requests.iter())
            .zip(&resolved.requests)
            .map(|(position, field)| {
                let column = input.column(position.column);
                if position.is_exact {
                    return Ok(column.clone());
                }
                cast_request(column, &field.name, &field.value_type)
            })
            .collect::<Result<_>>()?;
        let batch = Batch {
            joined: &|join, slot| views[join].features[slot].clone(),
            requests: &requests,
            n_rows: input.num_rows(),
        };
        evaluate(&resolved.steps, &batch)
    }

    /// Puts keys, features and statuses side by side.
    fn assemble(
        &self,
        input: &RecordBatch,
        keys: &[ArrayRef],
        views: &[Answered],
    ) -> Result<RecordBatch> {
        let prepared = &*self.prepared;
        let computed = self.computed(input, views)?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(prepared.schema.fields().len());
        columns.extend(prepared.columns.echoed.iter().map(|&key| keys[key].clone()));
        let outputs = prepared.resolved.outputs.iter();
        columns.extend(outputs.map(|output| match output.value {
            Value::Joined { join, slot } => views[join].features[slot].clone(),
            Value::Step(step) => computed[step].clone(),
        }));
        for label in &prepared.labels {
            if let Some((status, event_times)) = &views[label.join].status {
                columns.extend([status.clone(), event_times.clone()]);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(input.num_rows()));
        RecordBatch::try_new_with_options(prepared.schema.clone(), columns, &options)
            .map_err(|error| defect("the features do not fit their types", error))
    }
}

/// Asks a store for its views.
async fn ask(
    cx: &Context,
    store: &StoreRead,
    keys: &[ArrayRef],
    n_rows: usize,
) -> Result<OnlineRows> {
    let columns = store.keys.iter().map(|&key| keys[key].clone()).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    let keys = RecordBatch::try_new_with_options(store.schema.clone(), columns, &options)
        .map_err(|error| defect("the keys do not fit their types", error))?;
    store.reader.read(cx, &keys).await
}

impl fmt::Debug for OnlineCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnlineCall")
            .field("selected", &self.prepared.selected)
            .field("input_types", &self.input.types)
            .finish_non_exhaustive()
    }
}
