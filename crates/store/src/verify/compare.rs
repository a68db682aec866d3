//! Online rows against the rows that point-in-time gives.
//!
//! Decides what counts as the same: every bit, but for sums, means and deviations of floats, which
//! may differ in the last digits; and which differences are nobody's fault: newer rows that were
//! pushed, and rows that a store dropped because they had expired.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, TimestampMicrosecondArray};
use arrow_schema::DataType;
use provender_core::ValueType;
use provender_core::model::{AggregateFunction, FeatureView};
use provender_core::request::ViewRows;
use provender_core::time::format_instant;
use serde::Serialize;

use crate::cells::{cell_text, same_cell};

/// What is shown where a whole row differs.
const ROW: &str = "row";
/// What is shown where point-in-time gives no row.
const NO_ROW: &str = "no row";
/// How far apart two floats of a window may be, in proportion.
const TOLERANCE: f64 = 1e-9;

/// One value that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key: `origin=JFK,dest=LAX`.
    pub key: String,
    /// The feature; `row` if the whole row is missing, older, or cannot be read.
    pub feature: String,
    /// What the online store holds, as text.
    pub online: String,
    /// What point-in-time gives, as text.
    pub offline: String,
}

/// How one key's online row compares.
pub(super) enum Verdict {
    Agrees,
    Newer,
    Expired,
    /// Features, or the row, with both values.
    Differs(Vec<(String, String, String)>),
}

/// Everything about a view that its rows are compared by.
pub(super) struct Comparison {
    features: Vec<Compared>,
    has_windows: bool,
    ttl_us: Option<i64>,
    at_us: i64,
    now_us: i64,
}

struct Compared {
    name: String,
    is_count: bool,
    is_tolerant: bool,
}

/// The rows that point-in-time gives for some keys.
pub(super) struct Expected {
    /// The event time of the winning row; `None` for windows, which have none.
    pub(super) event_times: Option<TimestampMicrosecondArray>,
    /// The features, in the view's order.
    pub(super) features: Vec<ArrayRef>,
}

impl Comparison {
    /// Compares rows as of `at_us`, the end of what was materialised.
    pub(super) fn new(view: &FeatureView, at_us: i64, now_us: i64) -> Self {
        let features = view.features.iter().map(|feature| Compared {
            name: feature.name.clone(),
            is_count: false,
            is_tolerant: false,
        });
        let windows = view.aggregations.iter().map(|window| Compared {
            name: window.feature.clone(),
            is_count: window.function.is_count(),
            is_tolerant: is_rounded(window.function)
                && window.value_type.as_ref().is_some_and(ValueType::is_float),
        });
        Self {
            features: features.chain(windows).collect(),
            has_windows: !view.aggregations.is_empty(),
            ttl_us: view.ttl_us,
            at_us,
            now_us,
        }
    }

    /// Compares row `row` of both; `unreadable` says why the online row's bytes cannot be read.
    pub(super) fn row(
        &self,
        online: &ViewRows,
        offline: &Expected,
        row: usize,
        unreadable: Option<&str>,
    ) -> Verdict {
        if let Some(reason) = unreadable {
            let expected = match &offline.event_times {
                Some(times) if times.is_null(row) => NO_ROW.to_owned(),
                times => self.shown(times.as_ref().map(|times| times.value(row))),
            };
            return self.whole_row(format!("unreadable: {reason}"), expected);
        }
        let expected_us = match &offline.event_times {
            None => None,
            Some(times) if times.is_null(row) => {
                // The source's rows of the key went while keys were read.
                return match online.event_times.is_valid(row) {
                    true => self.whole_row(shown_row(&online.event_times, row), NO_ROW.to_owned()),
                    false => Verdict::Agrees,
                };
            }
            Some(times) => Some(times.value(row)),
        };
        if online.event_times.is_null(row) {
            return self.absent(offline, row, expected_us);
        }
        let online_us = online.event_times.value(row);
        match expected_us {
            Some(event_us) if online_us > event_us => return Verdict::Newer,
            Some(event_us) if online_us < event_us => {
                return self
                    .whole_row(shown_row(&online.event_times, row), self.shown(expected_us));
            }
            None if online_us > self.at_us => return Verdict::Newer,
            _ => {}
        }
        let mut differing = Vec::new();
        for (at, compared) in self.features.iter().enumerate() {
            let (held, expected) = (&online.features[at], &offline.features[at]);
            if !compared.is_same(held, expected, row) {
                let (held, expected) = shown(held, expected, row);
                differing.push((compared.name.clone(), held, expected));
            }
        }
        if differing.is_empty() {
            Verdict::Agrees
        } else {
            Verdict::Differs(differing)
        }
    }

    /// A key that is not held: an expired row may have been dropped, and windows in which nothing
    /// lies read the same whether they are held or not.
    fn absent(&self, offline: &Expected, row: usize, expected_us: Option<i64>) -> Verdict {
        if self.has_windows {
            let mut windows = self.features.iter().zip(&offline.features);
            if windows.all(|(compared, values)| compared.is_empty_window(values, row)) {
                return Verdict::Agrees;
            }
        }
        let expires_us = match (expected_us, self.ttl_us) {
            (Some(event_us), Some(ttl_us)) => Some(event_us.saturating_add(ttl_us)),
            _ => None,
        };
        if expires_us.is_some_and(|expires_us| expires_us < self.now_us) {
            return Verdict::Expired;
        }
        self.whole_row("absent".to_owned(), self.shown(expected_us))
    }

    /// What point-in-time gives, as a whole.
    fn shown(&self, event_us: Option<i64>) -> String {
        match event_us {
            Some(event_us) => format!("row of {}", format_instant(event_us)),
            None => format!("windows as of {}", format_instant(self.at_us)),
        }
    }

    fn whole_row(&self, online: String, offline: String) -> Verdict {
        Verdict::Differs(vec![(ROW.to_owned(), online, offline)])
    }
}

impl Compared {
    fn is_same(&self, online: &ArrayRef, offline: &ArrayRef, row: usize) -> bool {
        if same_cell(online.as_ref(), row, offline.as_ref(), row) {
            return true;
        }
        self.is_tolerant
            && online.is_valid(row)
            && offline.is_valid(row)
            && match (online.data_type(), offline.data_type()) {
                (DataType::Float64, DataType::Float64) => is_close(
                    online.as_primitive::<Float64Type>().value(row),
                    offline.as_primitive::<Float64Type>().value(row),
                ),
                _ => false,
            }
    }

    fn is_empty_window(&self, values: &ArrayRef, row: usize) -> bool {
        match self.is_count {
            false => values.is_null(row),
            true => {
                let counts = values.as_primitive_opt::<arrow_array::types::Int64Type>();
                counts.is_some_and(|counts| counts.is_valid(row) && counts.value(row) == 0)
            }
        }
    }
}

fn is_rounded(function: AggregateFunction) -> bool {
    matches!(
        function,
        AggregateFunction::Sum | AggregateFunction::Mean | AggregateFunction::Stddev
    )
}

/// Whether two results of the same window, added up in different orders, are one.
fn is_close(a: f64, b: f64) -> bool {
    let is_near = || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs());
    a == b || (a.is_nan() && b.is_nan()) || (a.is_finite() && b.is_finite() && is_near())
}

fn shown_row(event_times: &TimestampMicrosecondArray, row: usize) -> String {
    format!("row of {}", format_instant(event_times.value(row)))
}

/// Both values as text; floats that look the same also by their bits.
fn shown(online: &ArrayRef, offline: &ArrayRef, row: usize) -> (String, String) {
    let (held, expected) = (
        cell_text(online.as_ref(), row),
        cell_text(offline.as_ref(), row),
    );
    if held != expected {
        return (held, expected);
    }
    let bits = |values: &ArrayRef| match values.data_type() {
        DataType::Float64 => {
            let value = values.as_primitive::<Float64Type>().value(row);
            format!(" ({:#018x})", value.to_bits())
        }
        DataType::Float32 => {
            let value = values.as_primitive::<Float32Type>().value(row);
            format!(" ({:#010x})", value.to_bits())
        }
        _ => String::new(),
    };
    (held + &bits(online), expected + &bits(offline))
}

/// The event times among the columns that point-in-time answered.
pub(super) fn event_times(column: &ArrayRef) -> Option<TimestampMicrosecondArray> {
    column
        .as_primitive_opt::<TimestampMicrosecondType>()
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_floats_may_differ_in_the_last_digits_alone() {
        assert!(is_close(0.1 + 0.2, 0.3) && is_close(1e300, 1e300 * (1.0 + 1e-12)));
        assert!(is_close(f64::NAN, -f64::NAN) && is_close(f64::INFINITY, f64::INFINITY));
        assert!(!is_close(1.0, 1.000_001) && !is_close(f64::INFINITY, 1.0));
        assert!(!is_close(f64::INFINITY, f64::NEG_INFINITY) && !is_close(f64::NAN, 1.0));
    }
}
