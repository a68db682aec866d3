//! What a statement answers: its text, and what each column of its result means.
//!
//! Decides how values travel where a warehouse's own type would lose some: sums as decimal text, instants
//! as microseconds, least and greatest texts as bytes. It deliberately leaves features as the source holds
//! them, since whether a value fits its declared type is the caller's to check and to tell.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Decimal128Array, Int64Array, PrimitiveArray, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field};
use provender_core::ValueType;
use provender_core::error::{Error, Result, codes};
use provender_core::time::{DAY_US, UTC, instant_type};

/// One statement and the columns of its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The statement: exactly one, without a semicolon.
    pub sql: String,
    /// What the result's columns are, in order. [`AnswerColumn::n_columns`] says how many columns of the
    /// result each takes.
    pub columns: Vec<AnswerColumn>,
}

/// What one or more neighbouring columns of a result mean.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerColumn {
    /// The output's name. Statements name their columns `c0`, `c1`, ..., so that no output's name has to be
    /// spelled in SQL.
    pub name: String,
    /// The output's type; `None` is whatever type the source has.
    pub value_type: Option<ValueType>,
    /// How values are spelled.
    pub encoding: Encoding,
}

/// How values travel from the warehouse.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Encoding {
    /// The spine's row number, by which rows are ordered.
    RowNumber,
    /// As the source holds them; the caller casts them to the output's type.
    Source {
        /// The source's column.
        field: Field,
        /// Whether the cast may meet values that do not fit.
        checked: bool,
    },
    /// A type that holds the output's values without loss.
    Plain,
    /// Whole numbers of microseconds since the epoch.
    Micros,
    /// UTF-8 bytes.
    Bytes,
    /// Texts of decimal numbers, which are to be added; null only where all are null.
    Sum {
        /// How many columns there are.
        n_columns: usize,
    },
}

impl AnswerColumn {
    pub(crate) fn new(name: &str, value_type: &ValueType, encoding: Encoding) -> Self {
        Self {
            name: name.to_owned(),
            value_type: Some(value_type.clone()),
            encoding,
        }
    }

    /// How many columns of the result this takes.
    pub fn n_columns(&self) -> usize {
        match self.encoding {
            Encoding::Sum { n_columns } => n_columns,
            _ => 1,
        }
    }

    /// The output's values out of the result's columns, of the output's Arrow type. Columns with the encoding
    /// [`Encoding::Source`] come back as they are.
    ///
    /// # Errors
    /// `InvalidArgument` (`P502`) for a sum that its type does not hold, `DataLoss` (`P504`) if the columns are not
    /// what the statement asked for.
    pub fn decode(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let [first, ..] = columns else {
            return Err(self.unexpected("no column"));
        };
        if columns.len() != self.n_columns() {
            return Err(self.unexpected(format!("{} columns", columns.len())));
        }
        let value_type = match (&self.encoding, &self.value_type) {
            (Encoding::Source { .. }, _) | (_, None) => return Ok(first.clone()),
            (_, Some(value_type)) => value_type,
        };
        match self.encoding {
            Encoding::Micros => {
                let micros = self.cast(first, &DataType::Int64)?;
                let micros = micros.as_primitive::<Int64Type>();
                if *value_type == ValueType::Date {
                    let days: PrimitiveArray<Date32Type> =
                        micros.unary(|us| us.div_euclid(DAY_US) as i32);
                    return Ok(Arc::new(days));
                }
                let instants =
                    micros.reinterpret_cast::<arrow_array::types::TimestampMicrosecondType>();
                debug_assert_eq!(instant_type(), value_type.to_arrow());
                Ok(Arc::new(instants.with_timezone(UTC)))
            }
            Encoding::Bytes => {
                let bytes = self.cast(first, &DataType::Binary)?;
                self.cast(&bytes, &value_type.to_arrow())
            }
            Encoding::Sum { .. } => self.sum(columns, value_type),
            _ => self.cast(first, &value_type.to_arrow()),
        }
    }

    fn cast(&self, column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        cast_with_options(column, to, &strict)
            .map_err(|error| self.unexpected(column.data_type()).source(error))
    }

    fn unexpected(&self, got: impl std::fmt::Display) -> Error {
        Error::new(
            &codes::OFFLINE_DATA,
            format!("the warehouse answered {got} for {:?}", self.name),
        )
    }

    fn sum(&self, columns: &[ArrayRef], value_type: &ValueType) -> Result<ArrayRef> {
        let texts: Vec<ArrayRef> = columns
            .iter()
            .map(|column| self.cast(column, &DataType::Utf8))
            .collect::<Result<_>>()?;
        let texts: Vec<&StringArray> = texts.iter().map(|text| text.as_string::<i32>()).collect();
        let scale = match value_type {
            ValueType::Decimal(_, scale) => *scale,
            _ => 0,
        };
        let overflow = || {
            Error::new(
                &codes::SUM_OVERFLOW,
                format!("the sum {:?} does not fit {value_type}", self.name),
            )
        };
        let mut sums: Vec<Option<i128>> = Vec::with_capacity(columns[0].len());
        for row in 0..columns[0].len() {
            let mut total: Option<i128> = None;
            for text in texts.iter().filter(|text| text.is_valid(row)) {
                let text = text.value(row);
                let part =
                    unscaled(text, scale).ok_or_else(|| self.unexpected(format!("{text:?}")))?;
                total = Some(total.unwrap_or(0).checked_add(part).ok_or_else(overflow)?);
            }
            sums.push(total);
        }
        match value_type {
            ValueType::Decimal(precision, scale) => {
                let limit = 10_i128.pow((*precision).into());
                if sums.iter().flatten().any(|sum| sum.abs() >= limit) {
                    return Err(overflow());
                }
                let sums = Decimal128Array::from(sums).with_precision_and_scale(*precision, *scale);
                Ok(Arc::new(sums.map_err(|error| {
                    self.unexpected("a decimal").source(error)
                })?))
            }
            _ => {
                let sums: Vec<Option<i64>> = sums
                    .into_iter()
                    .map(|sum| sum.map(i64::try_from).transpose())
                    .collect::<Result<_, _>>()
                    .map_err(|_| overflow())?;
                Ok(Arc::new(Int64Array::from(sums)))
            }
        }
    }
}

/// A decimal's text, such as `-12.50`, `1E-7` or `3E19`, as a whole number of units of 10^-scale. Digits beyond the
/// scale must be zeros. A number too large for 128 bits is cut to one that overflows every sum's type.
fn unscaled(text: &str, scale: i8) -> Option<i128> {
    let (digits, exponent) = match text.split_once(['E', 'e']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (is_negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    let mut places = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    places = places.checked_add(scale.into())?;
    let mut value: i128 = 0;
    for digit in whole.chars().chain(fraction.chars()) {
        let digit = i128::from(digit.to_digit(10)?);
        value = value.saturating_mul(10).saturating_add(digit);
    }
    while places > 0 && value != 0 {
        value = value.saturating_mul(10);
        places -= 1;
    }
    while places < 0 && value != 0 {
        if value % 10 != 0 {
            return None;
        }
        value /= 10;
        places += 1;
    }
    Some(if is_negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow_array::{BinaryArray, Float64Array};

    use super::*;

    #[test]
    fn decimal_texts_are_read_at_a_scale() {
        for (text, scale, value) in [
            ("-12.50", 2, Some(-1250)),
            ("1E-7", 10, Some(1000)),
            ("3E19", 0, Some(30_000_000_000_000_000_000)),
            ("12.500", 1, Some(125)),
            ("12.55", 1, None),
            ("0E-20", 2, Some(0)),
            ("", 0, None),
            ("1x", 0, None),
        ] {
            assert_eq!(unscaled(text, scale), value, "{text}");
        }
    }

    #[test]
    fn sums_that_do_not_fit_are_told() {
        let sum = |value_type: ValueType, parts: &[&str]| {
            let encoding = Encoding::Sum {
                n_columns: parts.len(),
            };
            let columns: Vec<ArrayRef> = parts
                .iter()
                .map(|part| Arc::new(StringArray::from(vec![*part])) as ArrayRef)
                .collect();
            AnswerColumn::new("total", &value_type, encoding).decode(&columns)
        };
        let total = sum(ValueType::Int64, &["9223372036854775808", "-1"]).unwrap();
        assert_eq!(total.as_primitive::<Int64Type>().value(0), i64::MAX);
        let error = sum(ValueType::Int64, &["9223372036854775807", "1"]).unwrap_err();
        assert_eq!(error.code(), "P502");
        assert_eq!(error.message(), "the sum \"total\" does not fit int64");
        let most = "9".repeat(38);
        assert!(sum(ValueType::Decimal(38, 0), &[&most, "0"]).is_ok());
        assert!(sum(ValueType::Decimal(38, 0), &[&most, "1"]).is_err());
        let error = sum(ValueType::Int64, &["1.5"]).unwrap_err();
        assert_eq!(
            error.message(),
            "the warehouse answered \"1.5\" for \"total\""
        );
    }

    #[test]
    fn values_are_decoded_to_the_declared_type() {
        let decode = |value_type: ValueType, encoding, column: ArrayRef| {
            let array = AnswerColumn::new("x", &value_type, encoding)
                .decode(&[column])
                .unwrap();
            assert_eq!(array.data_type(), &value_type.to_arrow());
            array
        };
        let micros: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), None]));
        let days = decode(ValueType::Date, Encoding::Micros, micros.clone());
        assert_eq!(days.as_primitive::<Date32Type>().value(0), -1);
        assert!(days.is_null(1));
        decode(ValueType::Timestamp, Encoding::Micros, micros);
        let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec!["é".as_bytes()]));
        let text = decode(ValueType::String, Encoding::Bytes, bytes);
        assert_eq!(text.as_string::<i32>().value(0), "é");
        decode(
            ValueType::Float32,
            Encoding::Plain,
            Arc::new(Float64Array::from(vec![1.5])),
        );
    }
}
