//! Instants and durations: microseconds since the epoch, UTC, floored.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, TimestampMicrosecondArray};
use arrow_schema::{DataType, TimeUnit};

use crate::error::{Error, Result, codes};

/// The zone of every timestamp that Provender makes.
pub const UTC: &str = "UTC";
/// Microseconds in a day.
pub const DAY_US: i64 = 86_400_000_000;

/// The Arrow type of an instant: microseconds, UTC.
pub fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from(UTC)))
}

/// Whether a column of this type can serve as a timestamp: any unit, any zone, and dates.
pub fn is_time_type(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64
    )
}

/// Instants in microseconds, UTC, of a column of any timestamp unit and zone, or of dates (their
/// midnight). Finer digits are floored, also before 1970. Nulls stay null.
///
/// # Errors
/// `InvalidArgument` if the column is no time, or a value lies beyond what 64 bits of microseconds hold.
pub fn to_instants(column: &dyn Array) -> Result<TimestampMicrosecondArray> {
    let instants = match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            column.as_primitive::<TimestampMicrosecondType>().clone()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => column
            .as_primitive::<TimestampNanosecondType>()
            .unary::<_, TimestampMicrosecondType>(|ns| ns.div_euclid(1_000)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            scaled(column.as_primitive::<TimestampMillisecondType>(), 1_000)?
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            scaled(column.as_primitive::<TimestampSecondType>(), 1_000_000)?
        }
        DataType::Date32 => column
            .as_primitive::<Date32Type>()
            .try_unary::<_, TimestampMicrosecondType, Error>(|days| {
                i64::from(days).checked_mul(DAY_US).ok_or_else(|| {
                    Error::new(
                        &codes::TIMESTAMP_TYPE,
                        format!(
                            "the date {days} days from 1970 is beyond the range of microseconds"
                        ),
                    )
                })
            })?,
        DataType::Date64 => scaled(column.as_primitive::<Date64Type>(), 1_000)?,
        other => {
            return Err(Error::new(
                &codes::TIMESTAMP_TYPE,
                format!("expected a timestamp or date column, found {other}"),
            ));
        }
    };
    Ok(instants.with_timezone(UTC))
}

fn scaled<T>(
    column: &arrow_array::PrimitiveArray<T>,
    factor: i64,
) -> Result<TimestampMicrosecondArray>
where
    T: arrow_array::ArrowPrimitiveType<Native = i64>,
{
    column.try_unary::<_, TimestampMicrosecondType, Error>(|value| {
        value.checked_mul(factor).ok_or_else(|| {
            Error::new(
                &codes::TIMESTAMP_TYPE,
                format!("the time {value} (x {factor} us) is beyond the range of microseconds"),
            )
        })
    })
}

const UNITS: [(&str, i64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", DAY_US),
];

/// Reads a duration such as `90s` or `3h` as microseconds: a whole number and one of us, ms, s, m, h, d.
///
/// # Errors
/// `InvalidArgument` for any other text, and for durations of zero or less.
pub fn parse_duration(text: &str) -> Result<i64> {
    let text = text.trim();
    let bad = |why: &str| {
        Error::new(
            &codes::BAD_DURATION,
            format!("{text:?} is no duration: {why}"),
        )
        .help("write a positive number and us, ms, s, m, h or d, for example 3h")
    };
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '-' || c == '+'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: i64 = number
        .parse()
        .map_err(|_| bad("it does not start with a whole number"))?;
    let unit = unit.trim();
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| {
            bad(if unit.is_empty() {
                "its unit is missing"
            } else {
                "its unit is unknown"
            })
        })?;
    if number <= 0 {
        return Err(bad("it must be greater than zero"));
    }
    number
        .checked_mul(*factor)
        .ok_or_else(|| bad("it is too long"))
}

/// Writes microseconds as the shortest text that [`parse_duration`] reads back.
pub fn format_duration(duration_us: i64) -> String {
    let (unit, factor) = UNITS
        .iter()
        .rev()
        .find(|(_, factor)| duration_us % factor == 0)
        .unwrap_or(&UNITS[0]);
    format!("{}{unit}", duration_us / factor)
}

/// The current time of this machine, in microseconds since the epoch.
pub fn now_us() -> i64 {
    let now = std::time::SystemTime::now();
    match now.duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}

/// An instant as RFC 3339 in UTC, such as `2013-01-01T05:00:00Z`, with six digits if it needs any.
/// Years beyond 0000 to 9999 carry a sign.
pub fn format_instant(instant_us: i64) -> String {
    let days = instant_us.div_euclid(DAY_US);
    let us = instant_us.rem_euclid(DAY_US);
    let (year, month, day) = civil_from_days(days);
    let seconds = us / 1_000_000;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = us % 1_000_000;
    let year = if (0..=9_999).contains(&year) {
        format!("{year:04}")
    } else {
        format!("{year:+05}")
    };
    let fraction = if fraction == 0 {
        String::new()
    } else {
        format!(".{fraction:06}")
    };
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Days since the epoch to year, month and day of the proleptic Gregorian calendar, by the algorithm
/// of <https://howardhinnant.github.io/date_algorithms.html>.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since the epoch of a date of the proleptic Gregorian calendar; the inverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Reads an instant from RFC 3339 text (`2013-01-01T05:00:00Z`, `...+02:00`, a space for the `T`), or
/// a date, which means its midnight. Text without a zone is UTC; finer digits are floored.
///
/// # Errors
/// `InvalidArgument` for any other text.
pub fn parse_instant(text: &str) -> Result<i64> {
    parse_instant_parts(text.trim()).ok_or_else(|| {
        Error::new(&codes::BAD_REQUEST, format!("{text:?} is no time"))
            .help("write RFC 3339, for example 2013-01-01T05:00:00Z")
    })
}

fn parse_instant_parts(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut date = digits.get(..)?.splitn(3, '-');
    let year_text = date.next()?;
    let month_text = date.next()?;
    let rest = date.next()?;
    let day_text = rest.get(..2)?;
    let rest = rest.get(2..)?;
    if year_text.len() < 4 || year_text.len() > 6 || month_text.len() != 2 {
        return None;
    }
    let year = sign * number(year_text)?;
    let (month, day) = (number(month_text)?, number(day_text)?);
    let days = days_from_civil(year, month, day);
    if !(1..=12).contains(&month) || civil_from_days(days) != (year, month, day) {
        return None;
    }
    let midnight = days.checked_mul(DAY_US)?;
    if rest.is_empty() {
        return Some(midnight);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset_us) = match rest.find(['Z', 'z', '+', '-']) {
        None => (rest, 0),
        Some(at) => (&rest[..at], offset(&rest[at..])?),
    };
    let mut parts = clock.splitn(3, ':');
    let (hour, minute) = (two_digits(parts.next()?)?, two_digits(parts.next()?)?);
    let (seconds, fraction) = match parts.next() {
        None => (0, 0),
        Some(text) => match text.split_once('.') {
            None => (two_digits(text)?, 0),
            Some((whole, fraction)) => {
                number(fraction)?;
                let six: String = fraction.chars().chain("000000".chars()).take(6).collect();
                (two_digits(whole)?, number(&six)?)
            }
        },
    };
    if hour > 23 || minute > 59 || seconds > 60 {
        return None;
    }
    let clock_us = ((hour * 60 + minute) * 60 + seconds) * 1_000_000 + fraction;
    midnight.checked_add(clock_us)?.checked_sub(offset_us)
}

fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.get(1..)?;
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) => (two_digits(hours)?, two_digits(minutes)?),
        None if digits.len() == 4 => (two_digits(digits.get(..2)?)?, two_digits(digits.get(2..)?)?),
        None => (two_digits(digits)?, 0),
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000_000)
}

fn two_digits(text: &str) -> Option<i64> {
    if text.len() == 2 { number(text) } else { None }
}

fn number(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Date32Array, TimestampNanosecondArray, TimestampSecondArray};

    #[test]
    fn durations_round_trip_and_refuse_zero() {
        for text in ["1us", "5ms", "90s", "15m", "3h", "7d"] {
            assert_eq!(
                parse_duration(text).map(format_duration).ok().as_deref(),
                Some(text)
            );
        }
        for text in ["0s", "-1h", "h", "3", "3 weeks", "", "9223372036854775807d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn instants_are_floored_also_before_the_epoch() -> Result<()> {
        let ns = TimestampNanosecondArray::from(vec![Some(-1), Some(1_999), None]);
        let us = to_instants(&ns)?;
        assert_eq!(us.iter().collect::<Vec<_>>(), [Some(-1), Some(1), None]);
        let days = to_instants(&Date32Array::from(vec![-1]))?;
        assert_eq!(days.value(0), -DAY_US);
        assert!(to_instants(&TimestampSecondArray::from(vec![i64::MAX])).is_err());
        Ok(())
    }

    #[test]
    fn instants_round_trip_as_text() -> Result<()> {
        for us in [
            0,
            -1,
            1_356_998_400_000_000,
            -8_520_336_000_000_000,
            7_258_118_400_000_001,
        ] {
            assert_eq!(
                parse_instant(&format_instant(us))?,
                us,
                "{}",
                format_instant(us)
            );
        }
        assert_eq!(parse_instant("2013-01-01")?, 1_356_998_400_000_000);
        assert_eq!(
            parse_instant("2013-01-01T01:00:00+01:00")?,
            1_356_998_400_000_000
        );
        assert_eq!(
            parse_instant("2013-01-01 00:00:00.0000019")?,
            1_356_998_400_000_001
        );
        for text in [
            "2013-02-30",
            "2013-01-01T25:00:00Z",
            "today",
            "",
            "2013-01-01T",
            "é",
        ] {
            assert!(parse_instant(text).is_err(), "{text}");
        }
        Ok(())
    }
}
