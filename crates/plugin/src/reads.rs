//! How online reads cross: keys and answers as one struct array each, of schemas that both sides
//! derive from the plan and compare once, when a reader is prepared.

use std::sync::Arc;

#[cfg(feature = "load")]
use arrow_array::cast::AsArray;
#[cfg(feature = "load")]
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
#[cfg(feature = "load")]
use provender_core::request::ViewRows;
use provender_core::request::{OnlineRows, ReadPlan};
use provender_core::time::instant_type;
use provender_core::{Error, Result, codes};

use crate::columns::broken;
use crate::control::ReadNotes;

/// The columns of a read's keys.
pub(crate) fn keys_schema(plan: &ReadPlan) -> SchemaRef {
    let fields = plan.keys.iter();
    Arc::new(Schema::new(
        fields
            .map(|key| key.value_type.to_field(&key.name))
            .collect::<Vec<_>>(),
    ))
}

/// The columns of a read's answer: for each view, the event time and then the features asked for.
///
/// # Errors
/// `InvalidArgument` (`P406`) for a plan that asks for a feature that its layout does not have.
pub(crate) fn rows_schema(plan: &ReadPlan) -> Result<SchemaRef> {
    let mut fields = Vec::new();
    for (number, view) in plan.views.iter().enumerate() {
        fields.push(Field::new(format!("{number}:event"), instant_type(), true));
        for &feature in &view.features {
            let (name, value_type) = view.layout.features.get(feature).ok_or_else(|| {
                Error::new(
                    &codes::BAD_REQUEST,
                    format!(
                        "a read of view {:?} asks for feature {feature} of {}",
                        view.layout.view,
                        view.layout.features.len()
                    ),
                )
            })?;
            fields.push(value_type.to_field(format!("{number}:{name}")));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// An answer as one batch, and what it has to say beside it.
pub(crate) fn rows_to_batch(
    rows: OnlineRows,
    n_rows: usize,
    schema: &SchemaRef,
) -> Result<(RecordBatch, ReadNotes)> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    let mut notes = ReadNotes::default();
    for (number, view) in rows.views.into_iter().enumerate() {
        columns.push(Arc::new(view.event_times.with_data_type(instant_type())));
        columns.extend(view.features);
        let unreadable = view.unreadable.into_iter();
        notes
            .unreadable
            .extend(unreadable.map(|(row, reason)| (number, row, reason)));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| broken("online rows of another shape than asked for").source(error))?;
    Ok((batch, notes))
}

/// The answer that a batch and its notes stand for.
///
/// # Errors
/// `Internal` (`P802`) for another number of rows than keys, and notes about rows that are not there.
#[cfg(feature = "load")]
pub(crate) fn batch_to_rows(
    plan: &ReadPlan,
    batch: RecordBatch,
    notes: ReadNotes,
    n_keys: usize,
) -> Result<OnlineRows> {
    if batch.num_rows() != n_keys {
        return Err(broken(format!(
            "{} online rows for {n_keys} keys",
            batch.num_rows()
        )));
    }
    let mut columns = batch.columns().iter();
    let mut views = Vec::with_capacity(plan.views.len());
    for view in &plan.views {
        let event_times = columns
            .next()
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(|| broken("online rows without event times"))?
            .clone();
        views.push(ViewRows {
            event_times,
            features: columns
                .by_ref()
                .take(view.features.len())
                .cloned()
                .collect(),
            unreadable: Vec::new(),
        });
    }
    for (view, row, reason) in notes.unreadable {
        match views.get_mut(view) {
            Some(view) if row < n_keys => view.unreadable.push((row, reason)),
            _ => return Err(broken("a note about an online row that was not asked for")),
        }
    }
    Ok(OnlineRows { views })
}
