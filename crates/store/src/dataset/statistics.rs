//! Statistics of a column, taken while its rows pass by.
//!
//! Decides what is told of which type. Rows are taken one after the other, so the figures do not
//! depend on how rows are cut into batches, not even in the last digit.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use arrow_schema::{DataType, TimeUnit};
use provender_core::time::format_instant;
use provender_core::{Error, Result, codes};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::distinct::Distinct;

/// Longer texts are cut where they are shown as least or greatest value.
const MAX_TEXT: usize = 64;

/// What is known of a column's values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Values that are not null.
    pub count: u64,
    /// Nulls.
    pub nulls: u64,
    /// NaNs, which count as values and are left out of all that follows; 0 for other types than floats.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nans: u64,
    /// The least value: a number, or text for text (its first 64 characters), times and decimals.
    /// `None` without values, and for types without an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Value>,
    /// The greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Value>,
    /// The arithmetic mean of numbers; of bool, the share of true. `None` if it is infinite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// The sample standard deviation; `None` for fewer than two values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stddev: Option<f64>,
    /// An estimate of how many different values there are, usually within 3 percent.
    pub distinct: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The statistics of a column as far as its rows have passed.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    data_type: DataType,
    n_rows: u64,
    nulls: u64,
    nans: u64,
    range: Range,
    moments: Moments,
    distinct: Distinct,
}

#[derive(Clone, Debug)]
enum Range {
    None,
    Whole(i128, i128),
    Float(f64, f64),
    Text(String, String),
}

/// Mean and squared distances from it, after Welford.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    n: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.n += 1;
        let before = value - self.mean;
        self.mean += before / self.n as f64;
        self.squares += before * (value - self.mean);
    }
}

impl Profile {
    /// The profile of a column without rows.
    pub(crate) fn new(data_type: &DataType) -> Self {
        Self {
            data_type: data_type.clone(),
            n_rows: 0,
            nulls: 0,
            nans: 0,
            range: Range::None,
            moments: Moments::default(),
            distinct: Distinct::default(),
        }
    }

    /// Takes rows; `encoded` are their values' bytes, up to `ends` each.
    ///
    /// # Errors
    /// `Internal` for a value that has no number though its type has.
    pub(crate) fn add(&mut self, column: &ArrayRef, encoded: &[u8], ends: &[usize]) -> Result<()> {
        self.n_rows += column.len() as u64;
        self.data_type = column.data_type().clone();
        let nulls = column.logical_nulls();
        let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        self.nulls += nulls.as_ref().map_or(0, |nulls| nulls.null_count() as u64);
        let mut start = 0;
        for (row, &end) in ends.iter().enumerate() {
            if !is_null(row) {
                self.distinct.add(&encoded[start..end]);
            }
            start = end;
        }
        match column.data_type() {
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                let floats = convert(column, &DataType::Float64)?;
                for value in floats.as_primitive::<Float64Type>().iter().flatten() {
                    self.float(value);
                }
            }
            DataType::UInt64 => {
                for value in column.as_primitive::<UInt64Type>().iter().flatten() {
                    self.whole(i128::from(value), value as f64);
                }
            }
            DataType::Decimal128(_, scale) => {
                let scale = 10_f64.powi(i32::from(*scale));
                for value in column.as_primitive::<Decimal128Type>().iter().flatten() {
                    self.whole(value, value as f64 / scale);
                }
            }
            DataType::Boolean => {
                for value in column.as_boolean().iter().flatten() {
                    self.whole(i128::from(value), f64::from(u8::from(value)));
                }
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let texts = convert(column, &DataType::LargeUtf8)?;
                for value in texts.as_string::<i64>().iter().flatten() {
                    self.text(value);
                }
            }
            data_type if is_whole(data_type) => {
                let numbers = convert(column, &DataType::Int64)?;
                for value in numbers.as_primitive::<Int64Type>().iter().flatten() {
                    self.whole(i128::from(value), value as f64);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn float(&mut self, value: f64) {
        if value.is_nan() {
            self.nans += 1;
            return;
        }
        self.moments.add(value);
        self.range = match self.range {
            Range::Float(min, max) => Range::Float(min.min(value), max.max(value)),
            _ => Range::Float(value, value),
        };
    }

    fn whole(&mut self, value: i128, number: f64) {
        self.moments.add(number);
        self.range = match self.range {
            Range::Whole(min, max) => Range::Whole(min.min(value), max.max(value)),
            _ => Range::Whole(value, value),
        };
    }

    fn text(&mut self, value: &str) {
        match &mut self.range {
            Range::Text(min, max) => {
                if value < min.as_str() {
                    value.clone_into(min);
                }
                if value > max.as_str() {
                    value.clone_into(max);
                }
            }
            _ => self.range = Range::Text(value.to_owned(), value.to_owned()),
        }
    }

    /// What is known now.
    pub(crate) fn statistics(&self) -> Statistics {
        let count = self.n_rows - self.nulls;
        let (min, max) = match &self.range {
            Range::None => (None, None),
            Range::Whole(min, max) => (
                Some(shown(&self.data_type, *min)),
                Some(shown(&self.data_type, *max)),
            ),
            Range::Float(min, max) => (Some(float(*min)), Some(float(*max))),
            Range::Text(min, max) => (Some(cut(min)), Some(cut(max))),
        };
        let has_mean = self.moments.n > 0 && !is_time(&self.data_type);
        let finite = |value: f64| value.is_finite().then_some(value);
        Statistics {
            count,
            nulls: self.nulls,
            nans: self.nans,
            min,
            max,
            mean: has_mean.then_some(self.moments.mean).and_then(finite),
            stddev: (has_mean && self.moments.n > 1)
                .then(|| (self.moments.squares / (self.moments.n - 1) as f64).sqrt())
                .and_then(finite),
            distinct: self.distinct.estimate().min(count),
        }
    }
}

fn convert(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast(column, to).map_err(|error| {
        Error::new(
            &codes::INTERNAL,
            "the values of a column cannot be read for its statistics",
        )
        .source(error)
    })
}

fn is_time(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(_, _)
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Duration(_)
    )
}

fn is_whole(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64
        )
}

fn float(value: f64) -> Value {
    // JSON has no infinity.
    serde_json::Number::from_f64(value)
        .map_or_else(|| Value::String(value.to_string()), Value::Number)
}

fn cut(text: &str) -> Value {
    Value::String(text.chars().take(MAX_TEXT).collect())
}

fn shown(data_type: &DataType, value: i128) -> Value {
    let instant = |us: i128| match i64::try_from(us) {
        Ok(us) => Value::String(format_instant(us)),
        Err(_) => Value::String(us.to_string()),
    };
    match data_type {
        DataType::Boolean => Value::Bool(value != 0),
        DataType::Timestamp(TimeUnit::Second, _) => instant(value * 1_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => instant(value * 1_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => instant(value),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => instant(value.div_euclid(1_000)),
        DataType::Date32 => {
            let midnight = instant(value * 86_400_000_000);
            let day = midnight.as_str().and_then(|text| text.split('T').next());
            day.map_or(Value::Null, |day| Value::String(day.to_owned()))
        }
        DataType::Decimal128(_, scale) => Value::String(decimal(value, *scale)),
        _ => match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => value.into(),
            (_, Ok(value)) => value.into(),
            _ => Value::String(value.to_string()),
        },
    }
}

fn decimal(value: i128, scale: i8) -> String {
    let Ok(scale @ 1..) = usize::try_from(scale) else {
        return format!("{value}{}", "0".repeat(scale.unsigned_abs().into()));
    };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow_array::{
        BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, StringArray,
    };
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use serde_json::json;

    use super::*;
    use crate::dataset::encoding::encode_column;

    fn profile(batches: &[ArrayRef]) -> Statistics {
        let mut profile = Profile::new(batches[0].data_type());
        for batch in batches {
            let (mut encoded, mut ends) = (Vec::new(), Vec::new());
            encode_column("c", batch, &mut encoded, &mut ends).unwrap();
            profile.add(batch, &encoded, &ends).unwrap();
        }
        profile.statistics()
    }

    fn of(column: impl Array + 'static) -> Statistics {
        profile(&[Arc::new(column)])
    }

    #[test]
    fn floats_agree_with_a_naive_computation_however_rows_are_cut() {
        let mut rng = StdRng::seed_from_u64(5);
        for round in 0..200 {
            let n = rng.random_range(1..400);
            let values: Vec<Option<f64>> = (0..n)
                .map(|_| match rng.random_range(0..10) {
                    0 => None,
                    1 => Some(f64::NAN),
                    2 => Some(f64::from(rng.random_range(0..3))),
                    _ => Some(rng.random_range(-1e6..1e6)),
                })
                .collect();
            let whole: ArrayRef = Arc::new(Float64Array::from(values.clone()));
            let found = profile(std::slice::from_ref(&whole));
            let mut cut = Vec::new();
            let mut at = 0;
            while at < n {
                let length = rng.random_range(0..=n - at);
                cut.push(whole.slice(at, length));
                at += length;
            }
            assert_eq!(profile(&cut), found, "round {round}");

            let numbers: Vec<f64> = (values.iter().flatten().copied())
                .filter(|value| !value.is_nan())
                .collect();
            let nulls = values.iter().filter(|value| value.is_none()).count() as u64;
            assert_eq!(found.nulls, nulls);
            assert_eq!(found.count, n as u64 - nulls);
            assert_eq!(found.nans, found.count - numbers.len() as u64);
            let least = numbers.iter().copied().reduce(f64::min);
            assert_eq!(found.min, least.map(|value| json!(value)));
            let greatest = numbers.iter().copied().reduce(f64::max);
            assert_eq!(found.max, greatest.map(|value| json!(value)));
            if numbers.is_empty() {
                assert_eq!(found.mean, None);
                continue;
            }
            let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * 1e6_f64.max(b.abs());
            assert!(near(found.mean.unwrap(), mean), "round {round}");
            if numbers.len() > 1 {
                let squares: f64 = numbers.iter().map(|value| (value - mean).powi(2)).sum();
                let stddev = (squares / (numbers.len() - 1) as f64).sqrt();
                assert!(near(found.stddev.unwrap(), stddev), "round {round}");
            }
            let distinct: BTreeSet<u64> = (values.iter().flatten())
                .map(|value| value.to_bits())
                .collect();
            let (estimate, exact) = (found.distinct as f64, distinct.len() as f64);
            assert!((estimate - exact).abs() <= 2.0 + 0.03 * exact);
        }
    }

    #[test]
    fn each_type_is_told_in_its_own_words() {
        let found = of(Int32Array::from(vec![Some(3), None, Some(-4), Some(3)]));
        assert_eq!(
            serde_json::to_value(&found).unwrap(),
            json!({"count": 3, "nulls": 1, "min": -4, "max": 3, "mean": 0.666_666_666_666_666_7,
                "stddev": 4.041_451_884_327_381, "distinct": 2})
        );
        let found = of(StringArray::from(vec!["b", "a", "b"]));
        assert_eq!((found.min, found.max), (Some(json!("a")), Some(json!("b"))));
        assert_eq!((found.mean, found.distinct), (None, 2));
        let found = of(BooleanArray::from(vec![true, false, true, true]));
        assert_eq!(
            (found.min, found.max, found.mean),
            (Some(json!(false)), Some(json!(true)), Some(0.75))
        );
        let found = of(Date32Array::from(vec![0, 31]));
        assert_eq!(found.min, Some(json!("1970-01-01")));
        assert_eq!((found.max, found.mean), (Some(json!("1970-02-01")), None));
        let decimals = Decimal128Array::from(vec![-5, 5])
            .with_precision_and_scale(9, 2)
            .unwrap();
        let found = of(decimals);
        assert_eq!(
            (found.min, found.max, found.mean),
            (Some(json!("-0.05")), Some(json!("0.05")), Some(0.0))
        );
        let found = of(Float64Array::from(vec![f64::INFINITY, 1.0]));
        assert_eq!((found.max, found.mean), (Some(json!("inf")), None));
        let found = of(Float64Array::from(Vec::<f64>::new()));
        assert_eq!(found, Statistics::default());
    }
}
