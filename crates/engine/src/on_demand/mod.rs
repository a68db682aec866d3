//! On-demand features: SQL expressions over features and request fields, compiled once, evaluated
//! on every batch, in training and in serving by the same code.
//!
//! The expressions are DataFusion's scalar expressions. This module decides how their names are
//! found, what they may not do (anything whose value is not a function of one row's inputs), and
//! what DataFusion leaves open:
//!
//! - `+`, `-`, `*` and unary minus of whole numbers fail on overflow. DataFusion by itself wraps.
//! - A batch gives what its rows give one by one. DataFusion evaluates both sides of AND and OR on a
//!   batch where it would stop after the left side of a single row, so a guard such as
//!   `b <> 0 AND a / b > 1` could fail in training and succeed in serving. A batch that fails is
//!   therefore split until the rows that really fail stand alone.
//! - The result is cast to the declared type value by value; a value that does not fit is an error
//!   (see [`crate::cast`]).
//!
//! Beyond that SQL rules: null in, null out, whole numbers divide to whole numbers, and sums of whole
//! numbers and floats are floats. It deliberately knows no definitions: inputs are columns with
//! a type and perhaps a view, in an order that the caller chose.

mod names;
mod parse;
mod plan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_empty_array};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::take::take;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use provender_core::{CastRule, Error, Result, ValueType, codes};

use crate::cast::{CastFailure, cast_value};

/// A column that expressions may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputColumn {
    /// The view it is a feature of; `None` for a field of the request.
    pub view: Option<String>,
    /// The feature's or field's name.
    pub name: String,
    /// Its type; the column is exactly [`ValueType::to_arrow`].
    pub value_type: ValueType,
}

/// A compiled on-demand feature. Kept for as long as its definition lives, shared by threads.
#[derive(Clone, Debug)]
pub struct Expression {
    view: String,
    feature: String,
    value_type: ValueType,
    n_inputs: usize,
    inputs: Vec<usize>,
    schema: SchemaRef,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    /// One row; the expression reads no input.
    Constant(ArrayRef),
    OfRow(Arc<dyn PhysicalExpr>),
}

/// Compiles the SQL of feature `feature` of on-demand view `view`, declared as `value_type`.
///
/// A name is found exactly, else by its only match that ignores case; quoted or not makes no
/// difference but for keywords, which need quotes. A bare name must be one input's alone;
/// `view.feature` always works. Fields of structs follow with a dot.
///
/// # Errors
/// `InvalidArgument` (`P111`) that names view and feature: for SQL that does not parse or whose types
/// do not fit, unknown and unclear names, everything that is not a function of one row's inputs
/// (volatile functions, the clock, aggregates, window functions, subqueries, parameters, `*`), a
/// result that can never become the declared type, and SQL that is too large or too deep.
pub fn compile(
    view: &str,
    feature: &str,
    value_type: &ValueType,
    sql: &str,
    inputs: &[InputColumn],
) -> Result<Expression> {
    compile_parts(view, feature, value_type, sql, inputs).map_err(|refusal| {
        let name = format!("{view}.{feature}");
        let message = format!("on-demand feature {name:?} {}", refusal.message);
        let mut error = Error::new(&codes::BAD_EXPRESSION, message)
            .context("view", view)
            .context("feature", feature);
        if !refusal.help.is_empty() {
            error = error.help(refusal.help);
        }
        match refusal.source {
            Some(source) => error.source(source),
            None => error,
        }
    })
}

/// Why an expression is not taken: a predicate whose subject is the feature.
#[derive(Debug)]
struct Refusal {
    message: String,
    help: String,
    source: Option<DataFusionError>,
}

impl Refusal {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
            source: None,
        }
    }

    fn caused(what: &str, help: impl Into<String>, source: DataFusionError) -> Self {
        let message = format!("{what}: {}", cause(&source));
        Self {
            source: Some(source),
            ..Self::new(message, help)
        }
    }
}

fn compile_parts(
    view: &str,
    feature: &str,
    value_type: &ValueType,
    sql: &str,
    inputs: &[InputColumn],
) -> Result<Expression, Refusal> {
    let mut parsed = parse::parse(sql)?;
    let used = names::resolve(&mut parsed, inputs)?;
    let fields = used.iter().filter_map(|index| inputs.get(*index));
    let schema = Arc::new(Schema::new(
        fields
            .map(|input| input.value_type.to_field(names::label(input)))
            .collect::<Vec<_>>(),
    ));
    let planned = plan::plan(parsed, &schema)?;
    let found = planned
        .data_type(&schema)
        .map_err(|error| Refusal::caused("has no type", "", error))?;
    if value_type.cast_from(&found) == CastRule::Never {
        let found = match ValueType::from_arrow(&found) {
            Some(found) => found.to_string(),
            None => found.to_string(),
        };
        return Err(Refusal::new(
            format!("gives {found}, which cannot become {value_type}"),
            "declare the type that the expression gives, or convert it with CAST",
        ));
    }
    let value = if used.is_empty() {
        let constant = plan::evaluate_constant(&planned)
            .map_err(|error| Refusal::caused("fails on every row", "", error))?;
        let constant = declared(&constant, value_type).map_err(|failure| {
            let message = format!("gives {} which {}", failure.value, failure.reason);
            Refusal::new(message, "declare a wider type")
        })?;
        Value::Constant(constant)
    } else {
        Value::OfRow(planned)
    };
    Ok(Expression {
        view: view.to_owned(),
        feature: feature.to_owned(),
        value_type: value_type.clone(),
        n_inputs: inputs.len(),
        inputs: used,
        schema,
        value,
    })
}

impl Expression {
    /// Which of the inputs given to [`compile`] it reads, ascending; empty for a constant.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// The declared type, which every result has.
    pub fn value_type(&self) -> &ValueType {
        &self.value_type
    }

    /// Computes the feature for `n_rows` rows. `columns` are those of all inputs in the order given to
    /// [`compile`], each of `n_rows` rows; the ones that [`Self::inputs`] leaves out are not looked
    /// at. The result has `n_rows` rows of exactly the declared type.
    ///
    /// # Errors
    /// `InvalidArgument` that names view, feature and the first row that fails: `P508` if the expression
    /// has no value there (division by zero, overflow), `P501` if the value does not fit the
    /// declared type. `Internal` if the columns are not those that were announced.
    pub fn evaluate(&self, columns: &[ArrayRef], n_rows: usize) -> Result<ArrayRef> {
        let expression = match &self.value {
            Value::Constant(value) => return self.repeated(value, n_rows),
            Value::OfRow(expression) => expression,
        };
        let batch = self.batch(columns, n_rows)?;
        if n_rows == 0 {
            return Ok(new_empty_array(&self.value_type.to_arrow()));
        }
        let values = rows(expression, &batch).map_err(|(row, error)| {
            let message = format!("{} fails on row {row}: {}", self.name(), cause(&error));
            self.located(Error::new(&codes::EXPRESSION_FAILED, message), row)
                .help("guard the expression, for example with CASE or nullif, or mend the inputs")
                .source(error)
        })?;
        declared(&values, &self.value_type).map_err(|failure| {
            let (row, value) = (failure.row, &failure.value);
            let message = format!(
                "{} gives {value} on row {row}, which {}",
                self.name(),
                failure.reason
            );
            self.located(Error::new(&codes::CHECKED_CAST, message), row)
                .help("declare a wider type, or convert the value in the expression with CAST")
        })
    }

    fn name(&self) -> String {
        format!("on-demand feature \"{}.{}\"", self.view, self.feature)
    }

    fn located(&self, error: Error, row: usize) -> Error {
        error
            .context("view", self.view.clone())
            .context("feature", self.feature.clone())
            .context("row", row.to_string())
    }

    fn internal(&self, why: impl fmt::Display) -> Error {
        Error::new(&codes::INTERNAL, format!("{} {why}", self.name()))
    }

    fn repeated(&self, value: &ArrayRef, n_rows: usize) -> Result<ArrayRef> {
        if n_rows == 1 {
            return Ok(value.clone());
        }
        let zeros = UInt32Array::from(vec![0; n_rows]);
        take(value.as_ref(), &zeros, None)
            .map_err(|error| self.internal("cannot repeat its value").source(error))
    }

    fn batch(&self, columns: &[ArrayRef], n_rows: usize) -> Result<RecordBatch> {
        if columns.len() != self.n_inputs {
            let (expected, found) = (self.n_inputs, columns.len());
            return Err(self.internal(format!("was given {found} columns instead of {expected}")));
        }
        let used = self.inputs.iter().filter_map(|index| columns.get(*index));
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        RecordBatch::try_new_with_options(self.schema.clone(), used.cloned().collect(), &options)
            .map_err(|error| {
                self.internal("was given other columns than announced")
                    .source(error)
            })
    }
}

/// Evaluates a batch, or, where that fails, its halves: what a row gives does not depend on the rows
/// beside it. A batch that really fails costs about two evaluations of its rows.
fn rows(
    expression: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
) -> Result<ArrayRef, (usize, DataFusionError)> {
    let n_rows = batch.num_rows();
    let values = expression
        .evaluate(batch)
        .and_then(|values| values.into_array(n_rows));
    let error = match values {
        Ok(values) if values.len() == n_rows => return Ok(values),
        Ok(values) => {
            let message = format!("{} values for {n_rows} rows", values.len());
            return Err((0, DataFusionError::Internal(message)));
        }
        Err(error) if n_rows <= 1 => return Err((0, error)),
        Err(error) => error,
    };
    let half = n_rows / 2;
    let first = rows(expression, &batch.slice(0, half))?;
    let second = rows(expression, &batch.slice(half, n_rows - half))
        .map_err(|(row, error)| (row + half, error))?;
    concat(&[first.as_ref(), second.as_ref()]).map_err(|_| (0, error))
}

/// Values as the declared type. Decimals whose type does not change are looked at too, since DataFusion
/// lets products of 38 digits grow beyond them.
fn declared(values: &ArrayRef, value_type: &ValueType) -> Result<ArrayRef, CastFailure> {
    let cast = cast_value(values, value_type, true)?;
    if let (ValueType::Decimal(precision, scale), DataType::Decimal128(_, _)) =
        (value_type, values.data_type())
    {
        let limit = 10_u128.checked_pow((*precision).into());
        let decimals = cast.as_primitive::<Decimal128Type>();
        let beyond = |value: Option<i128>| {
            value.is_some_and(|value| limit.is_some_and(|limit| value.unsigned_abs() >= limit))
        };
        if let Some(row) = decimals.iter().position(beyond) {
            return Err(CastFailure {
                row,
                value: format!("{}e{}", decimals.value(row), -i16::from(*scale)),
                reason: format!("does not fit {value_type}"),
            });
        }
    }
    Ok(cast)
}

/// The innermost message of an error, in one line and without a trailing period.
fn cause(error: &DataFusionError) -> String {
    use datafusion::sql::sqlparser::parser::ParserError;
    let text = match error.find_root() {
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => "it is nested too deeply".to_owned(),
        },
        other => other.message().into_owned(),
    };
    let line = text.lines().next().unwrap_or_default().trim();
    line.trim_end_matches('.').to_owned()
}
