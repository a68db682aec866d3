//! What text values look like, and text columns as typed ones.
//!
//! The rules: `true`/`false` are bool; whole numbers without leading zeros are int64 (uint64 where
//! only that fits); numbers are float64; `YYYY-MM-DD` is a date and RFC 3339 a timestamp; anything
//! else, and a column without values, is a string. So codes such as `007` stay what they are.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Date32Array, StringArray, TimestampMicrosecondArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::DataType;
use provender_core::ValueType;
use provender_core::time::{DAY_US, UTC, parse_instant};

/// The narrowest reading that fits every value seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looks {
    seen: bool,
    not_bool: bool,
    not_int64: bool,
    not_uint64: bool,
    not_float: bool,
    not_date: bool,
    not_timestamp: bool,
    huge_integer: bool,
}

impl Looks {
    /// Takes another value into account; an empty one is null and says nothing.
    pub(super) fn see(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.seen = true;
        self.not_bool |= !(text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"));
        let whole = is_whole_number(text);
        let not_int64 = !whole || text.parse::<i64>().is_err();
        self.huge_integer |= whole && not_int64;
        self.not_int64 |= not_int64;
        self.not_uint64 |= !whole || text.parse::<u64>().is_err();
        self.not_float |= !is_number(text);
        self.not_date |= !is_date(text);
        self.not_timestamp |= !is_timestamp(text);
    }

    /// What the column is read as.
    pub(super) fn value_type(self) -> ValueType {
        if !self.seen {
            ValueType::String
        } else if !self.not_bool {
            ValueType::Bool
        } else if !self.not_int64 {
            ValueType::Int64
        } else if !self.not_uint64 {
            ValueType::UInt64
        } else if !self.not_float && !self.huge_integer {
            ValueType::Float64
        } else if !self.not_date {
            ValueType::Date
        } else if self.is_time() {
            ValueType::Timestamp
        } else {
            ValueType::String
        }
    }

    /// Whether every value is a time of day on a date.
    pub(super) fn is_time(self) -> bool {
        self.seen && !self.not_timestamp
    }
}

fn is_whole_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'))
}

fn is_number(text: &str) -> bool {
    if matches!(
        text,
        "NaN" | "nan" | "inf" | "-inf" | "Infinity" | "-Infinity"
    ) {
        return true;
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let code = digits.len() > 1
        && digits.starts_with('0')
        && digits[1..].starts_with(|c: char| c.is_ascii_digit());
    !code
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text.parse::<f64>().is_ok()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && parse_instant(text).is_ok()
}

fn is_timestamp(text: &str) -> bool {
    text.len() > 10 && text.contains(':') && parse_instant(text).is_ok()
}

/// A value that is not what its column is read as.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// The row in its batch.
    pub(super) row: usize,
    /// The text.
    pub(super) value: String,
}

/// Whether [`convert`] can make this type of text.
pub(super) fn convertible(value_type: &ValueType) -> bool {
    !matches!(
        value_type,
        ValueType::List(_) | ValueType::Struct(_) | ValueType::Map(..) | ValueType::Embedding(_)
    )
}

/// A text column as a typed one; nulls stay null.
///
/// # Errors
/// The first value that does not fit.
pub(super) fn convert(column: &StringArray, to: &ValueType) -> Result<ArrayRef, Misfit> {
    let times = || -> Result<Vec<Option<i64>>, Misfit> {
        let mut times = Vec::with_capacity(column.len());
        for (row, value) in column.iter().enumerate() {
            times.push(match value {
                None => None,
                Some(text) => Some(parse_instant(text).map_err(|_| misfit(column, row))?),
            });
        }
        Ok(times)
    };
    match to {
        ValueType::Timestamp => {
            let array = TimestampMicrosecondArray::from(times()?).with_timezone(UTC);
            Ok(Arc::new(array))
        }
        ValueType::Date => {
            let mut days = Vec::with_capacity(column.len());
            for (row, time) in times()?.into_iter().enumerate() {
                let day = time
                    .map(|us| i32::try_from(us.div_euclid(DAY_US)))
                    .transpose();
                let whole = time.is_none_or(|us| us.rem_euclid(DAY_US) == 0);
                match day {
                    Ok(day) if whole => days.push(day),
                    _ => return Err(misfit(column, row)),
                }
            }
            Ok(Arc::new(Date32Array::from(days)))
        }
        ValueType::String | ValueType::Json => Ok(Arc::new(column.clone())),
        other => cast(column, &other.to_arrow()),
    }
}

fn cast(column: &StringArray, to: &DataType) -> Result<ArrayRef, Misfit> {
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let cast = cast_with_options(column, to, &options).map_err(|_| misfit(column, 0))?;
    if cast.null_count() > column.null_count()
        && let Some(row) = (0..column.len()).find(|row| cast.is_null(*row) && column.is_valid(*row))
    {
        return Err(misfit(column, row));
    }
    Ok(cast)
}

fn misfit(column: &StringArray, row: usize) -> Misfit {
    let value = if row < column.len() && column.is_valid(row) {
        column.value(row).to_owned()
    } else {
        String::new()
    };
    Misfit { row, value }
}

/// The column as text, if it is.
pub(super) fn as_text(column: &ArrayRef) -> Option<&StringArray> {
    column.as_string_opt::<i32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(values: &[&str]) -> String {
        let mut looks = Looks::default();
        for value in values {
            looks.see(value);
        }
        looks.value_type().to_string()
    }

    #[test]
    fn types_follow_from_all_values() {
        for (values, expected) in [
            (&["1", "", "-20"][..], "int64"),
            (&["1", "18446744073709551615"], "uint64"),
            (&["1", "2.5", "1e9", "NaN"], "float64"),
            (&["true", "False"], "bool"),
            (&["2013-01-01"], "date"),
            (
                &["2013-01-01T05:00:00Z", "2013-01-01 05:00:00.5+02:00"],
                "timestamp",
            ),
            (&["2013-01-01", "2013-01-01T05:00:00Z"], "string"),
            (&["007", "8"], "string"),
            (&["", ""], "string"),
            (&["99999999999999999999", "1"], "string"),
            (&["N102UW"], "string"),
        ] {
            assert_eq!(looks(values), expected, "{values:?}");
        }
    }

    #[test]
    fn misfit_names_row_and_value() {
        let column = StringArray::from(vec![Some("1"), None, Some("NA")]);
        assert_eq!(
            convert(&column, &ValueType::Int64).err(),
            Some(Misfit {
                row: 2,
                value: "NA".to_owned()
            })
        );
        let column = StringArray::from(vec![Some("1700-01-01T00:00:00Z"), None]);
        assert!(convert(&column, &ValueType::Timestamp).is_ok());
        assert!(convert(&column, &ValueType::Date).is_ok());
    }
}
