//! What one window computes over the rows that it covers.

use arrow_buffer::i256;
use provender_core::ValueType;
use provender_core::model::AggregateFunction;
use provender_core::request::WindowAggregate;

use super::cast::decimal_text;
use super::source::{SourceRow, SourceRows, newest};
use super::{Expected, Value, cast, is_same, order};

/// The value of one aggregation over the rows of its window; `rows` may be in any order.
pub(crate) fn aggregate(
    aggregation: &WindowAggregate,
    source: &SourceRows<'_>,
    rows: &[&SourceRow],
) -> Result<Expected, String> {
    let Some(column) = &aggregation.column else {
        return Ok(Expected::exactly(Value::Int(rows.len() as i128)));
    };
    let mut present: Vec<(&SourceRow, Value)> = Vec::new();
    for row in rows {
        let value = source.cell(row, column)?;
        if !value.is_null() {
            present.push((row, value));
        }
    }
    let values: Vec<&Value> = present.iter().map(|(_, value)| value).collect();
    let output = |value: &Value| cast(value, &aggregation.value_type);
    if values.is_empty() && !aggregation.function.is_count() {
        return Ok(Expected::exactly(Value::Null));
    }
    match aggregation.function {
        AggregateFunction::Count => Ok(Expected::exactly(Value::Int(values.len() as i128))),
        AggregateFunction::CountDistinct => {
            let mut distinct: Vec<&Value> = Vec::new();
            for value in values {
                if !distinct.iter().any(|seen| is_same(seen, value)) {
                    distinct.push(value);
                }
            }
            Ok(Expected::exactly(Value::Int(distinct.len() as i128)))
        }
        AggregateFunction::Min | AggregateFunction::Max => {
            let beats = if aggregation.function == AggregateFunction::Min {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            };
            let mut best = values[0];
            for value in &values {
                if order(value, best) == beats {
                    best = value;
                }
            }
            // NaNs differ in bits, but not in meaning: the plain one is right too.
            let plain = match best {
                Value::Float64(float) if float.is_nan() => Some(Value::Float64(f64::NAN.abs())),
                Value::Float32(float) if float.is_nan() => Some(Value::Float32(f32::NAN.abs())),
                _ => None,
            };
            let equals = values
                .iter()
                .copied()
                .filter(|value| order(value, best).is_eq());
            Ok(Expected::AnyOf(
                equals.chain(&plain).map(output).collect::<Result<_, _>>()?,
            ))
        }
        AggregateFunction::Last => {
            let rows: Vec<&SourceRow> = present.iter().map(|(row, _)| *row).collect();
            let mut last = Vec::new();
            for winner in newest(&rows) {
                last.push(output(&source.cell(winner, column)?)?);
            }
            Ok(Expected::AnyOf(last))
        }
        AggregateFunction::Sum => sum(&values, &aggregation.value_type),
        AggregateFunction::Mean => {
            // Whole numbers are added exactly, so that nothing but the division may round.
            let whole: Option<Vec<i128>> = values
                .iter()
                .map(|value| match value {
                    Value::Int(int) => Some(*int),
                    _ => None,
                })
                .collect();
            if let Some(whole) = whole {
                let value = whole.iter().sum::<i128>() as f64 / whole.len() as f64;
                let tolerance = 1e-12 * value.abs();
                return Ok(Expected::Near { value, tolerance });
            }
            let floats = floats(&values)?;
            let n = floats.len() as f64;
            let magnitude: f64 = floats.iter().map(|float| float.abs()).sum();
            Ok(Expected::Near {
                value: floats.iter().sum::<f64>() / n,
                tolerance: 1e-9 * magnitude / n,
            })
        }
        AggregateFunction::Stddev => {
            let floats = floats(&values)?;
            if floats.len() < 2 {
                return Ok(Expected::exactly(Value::Null));
            }
            let n = floats.len() as f64;
            let mean = floats.iter().sum::<f64>() / n;
            let squares: f64 = floats.iter().map(|float| (float - mean).powi(2)).sum();
            let value = (squares / (n - 1.0)).sqrt();
            let greatest = floats
                .iter()
                .fold(0.0_f64, |most, float| most.max(float.abs()));
            Ok(Expected::Near {
                value,
                tolerance: 1e-9 * value + 1e-12 * greatest,
            })
        }
        other => Err(format!("the oracle does not know the function {other}")),
    }
}

fn sum(values: &[&Value], output: &ValueType) -> Result<Expected, String> {
    match output {
        ValueType::Int64 => {
            let mut total = 0_i128;
            for value in values {
                match value {
                    Value::Int(int) => total += int,
                    other => return Err(format!("{other:?} is no whole number")),
                }
            }
            Ok(match i64::try_from(total) {
                Ok(_) => Expected::exactly(Value::Int(total)),
                Err(_) => Expected::Overflow,
            })
        }
        ValueType::Decimal(_, scale) => {
            let mut total = i256::ZERO;
            for value in values {
                match value {
                    Value::Decimal(unscaled, _) => {
                        total = total.wrapping_add(i256::from_i128(*unscaled));
                    }
                    other => return Err(format!("{other:?} is no decimal")),
                }
            }
            let limit = 10_i128.pow(38);
            Ok(match total.to_i128() {
                Some(unscaled) if unscaled > -limit && unscaled < limit => {
                    Expected::exactly(Value::Decimal(unscaled, *scale))
                }
                _ => Expected::Overflow,
            })
        }
        _ => {
            let floats = floats(values)?;
            let magnitude: f64 = floats.iter().map(|float| float.abs()).sum();
            Ok(Expected::Near {
                value: floats.iter().sum(),
                tolerance: 1e-9 * magnitude,
            })
        }
    }
}

fn floats(values: &[&Value]) -> Result<Vec<f64>, String> {
    values
        .iter()
        .map(|value| match value {
            Value::Int(int) => Ok(*int as f64),
            Value::Float32(float) => Ok(f64::from(*float)),
            Value::Float64(float) => Ok(*float),
            Value::Decimal(unscaled, scale) => decimal_text(*unscaled, *scale)
                .parse()
                .map_err(|error| format!("{value:?}: {error}")),
            other => Err(format!("{other:?} is no number")),
        })
        .collect()
}
