//! One aggregation of one view: what it reads, what it computes, and its answer's type.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};
use provender_core::model::AggregateFunction;
use provender_core::request::{ViewJoin, WindowAggregate};
use provender_core::{Error, Result, ValueType, codes};

use super::partial::{Aggregate, Input, Partials};
use crate::cast::cast_value;
use crate::source::{column, column_type};

/// The aggregations of views that are computed from partial aggregates, in the order of the views and
/// of their aggregations: all but `last`, which depends on the order of rows. Each with its view's name.
pub(crate) fn window_aggregations(
    views: &[ViewJoin],
) -> impl Iterator<Item = (&str, &WindowAggregate)> {
    views.iter().flat_map(|view| {
        let partial = view
            .aggregations
            .iter()
            .filter(|request| request.function != AggregateFunction::Last);
        partial.map(|request| (view.name.as_str(), request))
    })
}

/// An aggregation against the source's column.
#[derive(Clone, Debug)]
pub(super) struct Aggregation {
    pub(super) column: Option<String>,
    pub(super) window_us: i64,
    pub(super) aggregate: Aggregate,
    /// For messages: of which feature of which view.
    pub(super) what: String,
    output: ValueType,
}

impl Aggregation {
    /// `schema` is the source's, `view` names it in messages.
    ///
    /// # Errors
    /// `TYPE_MISMATCH` for a column that the function does not apply to.
    pub(super) fn new(view: &str, request: &WindowAggregate, schema: &Schema) -> Result<Self> {
        let input = match &request.column {
            None => None,
            Some(name) => {
                let data_type = column_type(schema, name)?;
                Some(ValueType::from_arrow(&data_type).ok_or_else(|| {
                    Error::new(
                        &codes::TYPE_MISMATCH,
                        format!("view {view:?}: column {name:?} has the type {data_type}, which cannot be aggregated"),
                    )
                })?)
            }
        };
        let output = request
            .function
            .result_type(input.as_ref())
            .ok_or_else(|| {
                let found = input
                    .as_ref()
                    .map_or_else(|| "no column".to_owned(), ToString::to_string);
                Error::new(
                    &codes::TYPE_MISMATCH,
                    format!(
                        "view {view:?}: {} does not apply to {found}",
                        request.function
                    ),
                )
            })?;
        Ok(Self {
            column: request.column.clone(),
            window_us: request.window_us,
            aggregate: Aggregate {
                function: request.function,
                input,
                output,
            },
            what: format!("of feature {:?} of view {view:?}", request.output),
            output: request.value_type.clone(),
        })
    }

    /// What the aggregate reads of a batch.
    pub(super) fn read(&self, batch: &RecordBatch) -> Result<Input> {
        let values = match &self.column {
            None => None,
            Some(name) => Some(self.plain(&column(batch, name)?)?),
        };
        self.aggregate.read(values.as_ref())
    }

    /// The column in the plain Arrow type of its values (no views, dictionaries or other units).
    fn plain(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let Some(input) = &self.aggregate.input else {
            return Ok(values.clone());
        };
        cast_value(values, input, true).map_err(|failure| {
            Error::new(
                &codes::CHECKED_CAST,
                format!(
                    "the value {} {} does not fit {input}: {}",
                    failure.value, self.what, failure.reason
                ),
            )
        })
    }

    /// The declared type.
    pub(super) fn declared_type(&self) -> DataType {
        self.output.to_arrow()
    }

    /// The values of nodes in the declared type, in their order.
    pub(super) fn finished(&self, partials: &Partials, nodes: &[usize]) -> Result<ArrayRef> {
        self.declared(&self.aggregate.finish(partials, nodes, &self.what)?)
    }

    /// The values of slots in the declared type.
    pub(super) fn declared(&self, of_slots: &ArrayRef) -> Result<ArrayRef> {
        cast_value(of_slots, &self.output, true).map_err(|failure| {
            Error::new(
                &codes::CHECKED_CAST,
                format!(
                    "the value {} {} does not fit the declared type {}",
                    failure.value, self.what, self.output
                ),
            )
            .help("apply the definitions again; the source's column has changed its type")
        })
    }
}
