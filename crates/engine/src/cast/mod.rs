//! Casts of columns to declared value types, exact or refused.
//!
//! This module decides what "no value is lost" means row by row. The rule is one for all numbers: a
//! value fits if it comes back the same when it is cast back. So 2^53 + 1 does not fit float64, 3.5
//! does not fit int64, 0.1 as float64 fits decimal(3,1), and 0.125 does not fit decimal(3,2). -0.0
//! equals 0, NaN fits floats alone, and instants are floored to microseconds as everywhere.
//!
//! Which types may be cast at all is [`ValueType::cast_from`]'s decision, not this module's; it
//! knows neither views nor features, so a failure names a row and a value only. JSON is text here
//! and is not parsed.

mod nested;
mod number;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Date32Type;
use arrow_array::{Array, ArrayRef, PrimitiveArray, TimestampMicrosecondArray, new_null_array};
use arrow_schema::{ArrowError, DataType};
use arrow_select::take::take;
use provender_core::time::{DAY_US, format_instant, to_instants};
use provender_core::{CastRule, ValueType};

/// The first value of a column that a type cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CastFailure {
    /// Its row, counted from zero; zero if the whole column is the cause.
    pub row: usize,
    /// The value as text, cut if it is long; for a value inside a list, struct or map the innermost
    /// one. Empty if the whole column is the cause.
    pub value: String,
    /// What is wrong with it, to be read after the value: `does not fit int8`.
    pub reason: String,
}

impl CastFailure {
    fn at(row: usize, value: impl fmt::Display, reason: impl Into<String>) -> Self {
        const LONGEST: usize = 100;
        let mut value = value.to_string();
        if let Some((end, _)) = value.char_indices().nth(LONGEST) {
            value.truncate(end);
            value.push_str("...");
        }
        Self {
            row,
            value,
            reason: reason.into(),
        }
    }

    fn misfit(row: usize, value: impl fmt::Display, to: &ValueType) -> Self {
        Self::at(row, value, format!("does not fit {to}"))
    }

    fn whole(reason: impl Into<String>) -> Self {
        Self::at(0, "", reason)
    }

    fn at_row(mut self, row: usize) -> Self {
        self.row = row;
        self
    }
}

impl From<ArrowError> for CastFailure {
    fn from(error: ArrowError) -> Self {
        Self::whole(format!("the column cannot be cast: {error}"))
    }
}

impl fmt::Display for CastFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "row {}: {} {}", self.row, self.value, self.reason)
        }
    }
}

impl std::error::Error for CastFailure {}

/// Casts a column of n rows to a declared type: n rows of exactly [`ValueType::to_arrow`]. Nulls stay
/// null; a column that has the type already is returned as it is. `checked` allows casts that do
/// not fit every value of the found type; decimal(p,0) to a whole number is always allowed.
///
/// # Errors
/// The first row whose value does not fit, or, with an empty value, a pair of types between which
/// there is no such cast.
pub fn cast_value(
    column: &ArrayRef,
    to: &ValueType,
    checked: bool,
) -> Result<ArrayRef, CastFailure> {
    let found = column.data_type();
    if *found == to.to_arrow() {
        return Ok(column.clone());
    }
    match to.cast_from(found) {
        CastRule::Lossless => cast(column, to),
        CastRule::Checked if checked || to.implies_checked(found) => cast(column, to),
        CastRule::Checked => Err(CastFailure::whole(format!(
            "{found} can only become {to} by a checked cast"
        ))),
        CastRule::Never => Err(CastFailure::whole(format!("{found} cannot become {to}"))),
    }
}

/// Casts by what `cast_from` has already allowed; whatever is left over is refused, not guessed.
fn cast(column: &ArrayRef, to: &ValueType) -> Result<ArrayRef, CastFailure> {
    let found = column.data_type();
    if *found == to.to_arrow() {
        return Ok(column.clone());
    }
    match found {
        DataType::Null => return Ok(new_null_array(&to.to_arrow(), column.len())),
        DataType::Dictionary(_, _) => return cast(&unpacked(column)?, to),
        _ => {}
    }
    match to {
        ValueType::String | ValueType::Json => text::to_string(column, to),
        ValueType::Binary => text::to_binary(column, to),
        ValueType::Timestamp => Ok(Arc::new(instants(column)?)),
        ValueType::Date => to_date(column),
        ValueType::List(item) => nested::to_list(column, item),
        ValueType::Embedding(size) => nested::to_embedding(column, *size),
        ValueType::Struct(fields) => nested::to_struct(column, fields),
        ValueType::Map(key, value) => nested::to_map(column, key, value),
        _ => number::to_number(column, to),
    }
}

/// The values that a dictionary's keys stand for. Values that no key names are left out, so that
/// they cannot make a cast fail.
fn unpacked(column: &ArrayRef) -> Result<ArrayRef, CastFailure> {
    let dictionary = column.as_any_dictionary();
    let (keys, values) = (dictionary.keys(), dictionary.values());
    if keys.null_count() == keys.len() {
        return Ok(new_null_array(values.data_type(), keys.len()));
    }
    Ok(take(values.as_ref(), keys, None)?)
}

fn instants(column: &ArrayRef) -> Result<TimestampMicrosecondArray, CastFailure> {
    to_instants(column.as_ref()).map_err(|_| {
        let bad =
            |row: &usize| column.is_valid(*row) && to_instants(&column.slice(*row, 1)).is_err();
        let row = (0..column.len()).find(bad).unwrap_or_default();
        let raw = match column.data_type() {
            DataType::Date32 => column.as_primitive::<Date32Type>().value(row).to_string(),
            _ => {
                let data = column.to_data();
                let raw = data.buffers().first().map(|raw| raw.typed_data::<i64>());
                raw.and_then(|raw| raw.get(data.offset() + row))
                    .map(i64::to_string)
                    .unwrap_or_default()
            }
        };
        CastFailure::at(row, raw, "is beyond the range of microseconds in 64 bits")
    })
}

fn to_date(column: &ArrayRef) -> Result<ArrayRef, CastFailure> {
    if !provender_core::time::is_time_type(column.data_type()) {
        return Err(CastFailure::whole(format!(
            "{} cannot become date",
            column.data_type()
        )));
    }
    let instants = match instants(column) {
        Ok(instants) => instants,
        Err(failure) => {
            // An earlier row that is not midnight comes first.
            to_date(&column.slice(0, failure.row))?;
            return Err(failure);
        }
    };
    let mut days = Vec::with_capacity(instants.len());
    for (row, us) in instants.values().iter().enumerate() {
        let day = i32::try_from(us.div_euclid(DAY_US));
        match day {
            _ if instants.is_null(row) => days.push(0),
            Ok(day) if us.rem_euclid(DAY_US) == 0 => days.push(day),
            _ => {
                let reason = "is not midnight, so it does not fit date";
                return Err(CastFailure::at(row, format_instant(*us), reason));
            }
        }
    }
    let nulls = instants.nulls().cloned();
    let dates = PrimitiveArray::<Date32Type>::try_new(days.into(), nulls)?;
    Ok(Arc::new(dates))
}
