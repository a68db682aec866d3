//! Computes on-demand features, batch by batch, each after those it needs.

use std::sync::Arc;

use arrow_array::{ArrayRef, NullArray};
use provender_core::Result;

use crate::request::resolve::{Argument, Step, Value};

/// The arrays of one batch that on-demand features are computed from.
pub(crate) struct Batch<'a> {
    /// The features of joined views: `joined(join, slot)`.
    pub(crate) joined: &'a dyn Fn(usize, usize) -> ArrayRef,
    /// The request's fields, of their declared types.
    pub(crate) requests: &'a [ArrayRef],
    /// Rows.
    pub(crate) n_rows: usize,
}

/// The values of all steps, in order: one array of `n_rows` for each.
///
/// # Errors
/// What the expression says, such as a value that does not fit the declared type.
pub(crate) fn evaluate(steps: &[Step], batch: &Batch<'_>) -> Result<Vec<ArrayRef>> {
    let mut computed: Vec<ArrayRef> = Vec::with_capacity(steps.len());
    // Stands for inputs that an expression does not look at.
    let unused: ArrayRef = Arc::new(NullArray::new(batch.n_rows));
    for step in steps {
        let arguments: Vec<ArrayRef> = step
            .arguments
            .iter()
            .map(|argument| match argument {
                None => unused.clone(),
                Some(Argument::Request(field)) => batch.requests[*field].clone(),
                Some(Argument::Value(Value::Step(step))) => computed[*step].clone(),
                Some(Argument::Value(Value::Joined { join, slot })) => (batch.joined)(*join, *slot),
            })
            .collect();
        computed.push(step.expression.evaluate(&arguments, batch.n_rows)?);
    }
    Ok(computed)
}
