//! How much memory windows take, before anything of their source is known.

use arrow_buffer::i256;
use provender_core::ValueType;
use provender_core::model::AggregateFunction;
use provender_core::request::ViewJoin;

use super::aggregation::window_aggregations;
use super::cells::{Extreme, FloatSum, WholeSum};
use super::distinct::Occurrences;
use super::last_cells::LastCell;
use super::moments::Moments;
use super::ordinal;
use super::partial::have_same_partials;
use super::segments::Segments;

/// Bytes that a slot takes for the windows of views, by estimate since the types of columns are not known:
/// of what all workers share, and of what each worker counts.
pub(crate) fn bytes_per_slot(views: &[ViewJoin]) -> (u64, u64) {
    // Of each counter: the column, a function, the lengths of its windows, and the bytes of a cell.
    type Counted<'a> = (Option<&'a str>, AggregateFunction, Vec<i64>, u64);
    let mut counters: Vec<Counted<'_>> = Vec::new();
    for (_, request) in window_aggregations(views) {
        let (column, function) = (request.column.as_deref(), request.function);
        let bytes = cell_bytes(function, &request.value_type);
        let known = counters.iter_mut().find(|(of, as_function, ..)| {
            *of == column && have_same_partials(*as_function, function)
        });
        match known {
            Some((_, _, windows_us, held)) => {
                *held = bytes.max(*held);
                if !windows_us.contains(&request.window_us) {
                    windows_us.push(request.window_us);
                }
            }
            None => counters.push((column, function, vec![request.window_us], bytes)),
        }
    }
    let cells = |windows_us: &Vec<i64>| 1 + windows_us.len() as u64;
    let each = counters
        .iter()
        .map(|(.., windows_us, bytes)| cells(windows_us) * bytes);
    let each: u64 = each.sum();
    let mut cuts: Vec<&Vec<i64>> = counters
        .iter()
        .map(|(_, _, windows_us, _)| windows_us)
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    // There may be a key for each slot.
    let each = each + cuts.len() as u64 * LastCell::BYTES;
    let shared = cuts
        .into_iter()
        .map(|windows_us| cells(windows_us) * Segments::CELL_BYTES);
    (shared.sum(), each)
}

/// Bytes of a node for a function's values of some type, by estimate where they are of any length.
fn cell_bytes(function: AggregateFunction, output: &ValueType) -> u64 {
    use AggregateFunction as F;
    let is_narrow = ordinal::is_narrow(output);
    let n_bytes = match function {
        F::Count => size_of::<u64>(),
        F::Sum if output.is_float() => size_of::<FloatSum>(),
        F::Sum | F::Mean if is_narrow => size_of::<WholeSum>(),
        F::Sum | F::Mean => size_of::<(u64, i256)>(),
        F::Stddev => size_of::<Moments>(),
        F::Min | F::Max if output.to_arrow().primitive_width().is_none() => 48,
        F::Min | F::Max if is_narrow => size_of::<Extreme>(),
        F::Min | F::Max => size_of::<Option<i128>>(),
        // Some values.
        _ => 4 * size_of::<Occurrences<i128>>(),
    };
    n_bytes as u64
}

#[cfg(test)]
mod tests {
    use provender_core::Result;

    use super::super::partial::Aggregate;
    use super::*;

    #[test]
    fn cells_take_no_more_than_is_reckoned() -> Result<()> {
        let inputs = [
            ValueType::Int8,
            ValueType::Int64,
            ValueType::UInt64,
            ValueType::Float32,
            ValueType::Float64,
            ValueType::Decimal(20, 2),
            ValueType::Timestamp,
            ValueType::String,
        ];
        let functions = AggregateFunction::ALL.into_iter();
        let functions = functions.filter(|function| *function != AggregateFunction::Last);
        let mut n_looked_at = 0;
        for (function, input) in functions.flat_map(|f| inputs.iter().map(move |i| (f, i))) {
            let Some(output) = function.result_type(Some(input)) else {
                continue;
            };
            let reckoned = 100 * cell_bytes(function, &output);
            // That sums are of wide numbers cannot be told by their own type.
            let is_told = ordinal::is_narrow(input) || !ordinal::is_narrow(&output);
            let aggregate = Aggregate {
                function,
                input: Some(input.clone()),
                output,
            };
            let taken = aggregate.partials(100)?.memory() as u64;
            let is_sum = have_same_partials(function, AggregateFunction::Sum);
            assert!(
                taken <= reckoned || (is_sum && !is_told),
                "{function} of {input}"
            );
            n_looked_at += 1;
        }
        assert!(n_looked_at > 40);
        Ok(())
    }
}
