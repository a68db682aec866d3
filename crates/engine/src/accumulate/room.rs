//! How much memory windows take, before anything of their source is known.

use arrow_buffer::i256;
use provender_core::ValueType;
use provender_core::model::AggregateFunction;
use provender_core::request::ViewJoin;

use super::aggregation::window_aggregations;
use super::distinct::Occurrences;
use super::last_cells::LastCell;
use super::ordinal;
use super::packed::{Layout, Simple};
use super::partial::have_same_partials;
use super::segments::Segments;

/// Bytes that a slot takes for the windows of views, by estimate since the types of columns are not known:
/// of what all workers share, and of what each worker counts.
pub(crate) fn bytes_per_slot(views: &[ViewJoin]) -> (u64, u64) {
    let mut counters: Vec<Counted<'_>> = Vec::new();
    for (_, request) in window_aggregations(views) {
        let one = Counted {
            column: request.column.as_deref(),
            function: request.function,
            output: &request.value_type,
            windows_us: vec![request.window_us],
        };
        let known = counters.iter_mut().find(|known| {
            known.column == one.column && have_same_partials(known.function, one.function)
        });
        match known {
            Some(known) => {
                if !known.windows_us.contains(&request.window_us) {
                    known.windows_us.push(request.window_us);
                }
                // Sums and means of one column may differ in that.
                if one.bytes() > known.bytes() {
                    (known.function, known.output) = (one.function, one.output);
                }
            }
            None => counters.push(one),
        }
    }
    // Of each lengths of windows: the rows of cells, and bytes that lie elsewhere.
    let mut cells: Vec<(&[i64], Layout, u64)> = Vec::new();
    for counter in &counters {
        let windows_us = counter.windows_us.as_slice();
        let at = cells.iter().position(|(us, ..)| *us == windows_us);
        let at = at.unwrap_or_else(|| {
            cells.push((windows_us, Layout::default(), 0));
            cells.len() - 1
        });
        let (_, layout, elsewhere) = &mut cells[at];
        match simple(counter.function, counter.output) {
            Some(simple) => {
                layout.add(simple);
            }
            None => *elsewhere += cell_bytes(counter.function, counter.output),
        }
    }
    let n_cells = |windows_us: &[i64]| 1 + windows_us.len() as u64;
    let shared = cells
        .iter()
        .map(|(windows_us, ..)| n_cells(windows_us) * Segments::CELL_BYTES);
    // There may be a key for each slot. What rows reach takes no more than cells do, which is reckoned.
    let each = cells.iter().map(|(windows_us, layout, elsewhere)| {
        n_cells(windows_us) * (layout.bytes() + elsewhere) + LastCell::BYTES
    });
    (shared.sum(), each.sum())
}

/// A column that is counted, as far as requests tell it.
struct Counted<'a> {
    column: Option<&'a str>,
    function: AggregateFunction,
    output: &'a ValueType,
    windows_us: Vec<i64>,
}

impl Counted<'_> {
    /// Of a cell.
    fn bytes(&self) -> u64 {
        match simple(self.function, self.output) {
            Some(simple) => {
                let mut layout = Layout::default();
                layout.add(simple);
                layout.bytes()
            }
            None => cell_bytes(self.function, self.output),
        }
    }
}

/// What a cell's row holds for a function's values of some type, if they are simple.
fn simple(function: AggregateFunction, output: &ValueType) -> Option<Simple> {
    use AggregateFunction as F;
    let is_narrow = ordinal::is_narrow(output);
    match function {
        F::Count => Some(Simple::Count),
        F::Sum | F::Mean if output.is_float() => Some(Simple::SumFloat),
        F::Sum | F::Mean if is_narrow => Some(Simple::SumWhole),
        F::Stddev => Some(Simple::Moments),
        F::Min | F::Max if output.to_arrow().primitive_width().is_some() && is_narrow => {
            Some(Simple::Extreme)
        }
        _ => None,
    }
}

/// Bytes of a cell for all others, by estimate where they are of any length.
fn cell_bytes(function: AggregateFunction, output: &ValueType) -> u64 {
    use AggregateFunction as F;
    let n_bytes = match function {
        F::Sum | F::Mean => size_of::<(u64, i256)>(),
        F::Min | F::Max if output.to_arrow().primitive_width().is_none() => 48,
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
            // That sums are of wide numbers cannot be told by their own type.
            let is_told = ordinal::is_narrow(input) || !ordinal::is_narrow(&output);
            let aggregate = Aggregate {
                function,
                input: Some(input.clone()),
                output: output.clone(),
            };
            let taken = match aggregate.simple() {
                Some(simple) => {
                    let mut layout = Layout::default();
                    layout.add(simple);
                    layout.bytes()
                }
                None => aggregate.partials(100)?.memory() as u64 / 100,
            };
            let reckoned = Counted {
                column: None,
                function,
                output: &output,
                windows_us: Vec::new(),
            };
            let is_sum = have_same_partials(function, AggregateFunction::Sum);
            assert!(
                taken <= reckoned.bytes() || (is_sum && !is_told),
                "{function} of {input}"
            );
            n_looked_at += 1;
        }
        assert!(n_looked_at > 40);
        Ok(())
    }
}
