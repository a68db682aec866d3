//! Whether an answered cell is a right one, and whether an answer has the right columns.

use arrow_array::RecordBatch;
use arrow_schema::Field;

use super::Value;

/// What may stand in one cell of an answer.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Any of these, bit for bit.
    AnyOf(Vec<Value>),
    /// A float64 as near to this as the tolerance says.
    Near {
        /// The value.
        value: f64,
        /// The greatest difference that is accepted.
        tolerance: f64,
    },
    /// Nothing: the sum overflows, so the request fails.
    Overflow,
}

impl Expected {
    /// This value and no other.
    pub fn exactly(value: Value) -> Self {
        Self::AnyOf(vec![value])
    }

    /// Whether an answered cell is right.
    pub fn accepts(&self, got: &Value) -> bool {
        match self {
            Self::AnyOf(values) => values.iter().any(|value| value.is_identical(got)),
            Self::Near { value, tolerance } => match got {
                Value::Float64(got) if value.is_nan() => got.is_nan(),
                Value::Float64(got) if value.is_infinite() => got == value,
                Value::Float64(got) => (got - value).abs() <= *tolerance,
                _ => false,
            },
            Self::Overflow => false,
        }
    }
}

/// Compares the answer's columns with those that were asked for, by position. An asked field
/// without a type accepts any.
pub(crate) fn check_columns(answer: &RecordBatch, asked: &[(Field, bool)]) -> Result<(), String> {
    let schema = answer.schema();
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    let asked_names: Vec<&String> = asked.iter().map(|(field, _)| field.name()).collect();
    if names != asked_names {
        return Err(format!(
            "expected the columns {asked_names:?}, got {names:?}"
        ));
    }
    for (field, (asked, exact)) in schema.fields().iter().zip(asked) {
        if !exact {
            continue;
        }
        if field.data_type() != asked.data_type() {
            return Err(format!(
                "column {:?}: expected the type {}, got {}",
                asked.name(),
                asked.data_type(),
                field.data_type()
            ));
        }
        let extension = |field: &Field| field.metadata().get("ARROW:extension:name").cloned();
        if extension(field) != extension(asked) {
            return Err(format!(
                "column {:?}: expected the extension {:?}, got {:?}",
                asked.name(),
                extension(asked),
                extension(field)
            ));
        }
    }
    Ok(())
}

/// Reads one row of an answer, in the order of its columns.
pub(crate) fn read_row(answer: &RecordBatch, row: usize) -> Result<Vec<Value>, String> {
    answer
        .columns()
        .iter()
        .map(|column| Value::read(column.as_ref(), row))
        .collect()
}

/// Whether all cells of two rows are the same bit for bit.
pub(crate) fn is_identical_row(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_identical(b))
}
