//! Times as they are typed, and spans of time as people read them.

use provender_core::provider::Interval;
use provender_core::time::{DAY_US, format_instant, now_us, parse_instant};

use crate::errors::{Outcome, usage};

const SECOND_US: i64 = 1_000_000;

/// The instant that `text` says: RFC 3339, a date (its midnight, UTC) or `now`.
///
/// # Errors
/// Wrong usage for any other text, with the likely meaning as a hint.
pub(crate) fn typed_instant(argument: &str, text: &str) -> Outcome<i64> {
    if text.trim().eq_ignore_ascii_case("now") {
        return Ok(now_us());
    }
    parse_instant(text).map_err(|_| {
        let help = match likely(text.trim()) {
            Some(us) => format!("if it is that, write {}", format_instant(us)),
            None => "write RFC 3339, for example 2013-01-01T05:00:00Z, a date, or now".to_owned(),
        };
        usage(format!("{argument}: {text:?} is no time"), help)
    })
}

/// What a text that is no RFC 3339 may mean: a year, a month, slashes, or seconds since 1970 and
/// thousandths and millionths of them.
fn likely(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.len() {
        4 if digits => parse_instant(&format!("{text}-01-01")).ok(),
        8 if digits => {
            parse_instant(&format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..])).ok()
        }
        10 if digits => text.parse::<i64>().ok()?.checked_mul(SECOND_US),
        13 if digits => text.parse::<i64>().ok()?.checked_mul(1_000),
        16 if digits => text.parse().ok(),
        7 => parse_instant(&format!("{}-01", text.replace('/', "-"))).ok(),
        _ => parse_instant(&text.replace('/', "-")).ok(),
    }
}

/// `(2013-01-01T00:00:00Z, 2014-01-01T00:00:00Z]`.
pub(crate) fn interval(interval: &Interval) -> String {
    let start = interval
        .start_us
        .map_or_else(|| "the beginning".to_owned(), format_instant);
    format!("({start}, {}]", format_instant(interval.end_us))
}

/// The two largest units of a span: `2h 5m`, `3d`, `12s`; below a second `0s`. One that is negative
/// lies ahead.
pub(crate) fn span(us: i64) -> String {
    let ahead = us < 0;
    let seconds = us.unsigned_abs() / SECOND_US.unsigned_abs();
    let day = (DAY_US / SECOND_US).unsigned_abs();
    let units = [(day, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit);
    let first = first.unwrap_or(units.len() - 1);
    let (unit, name) = units[first];
    let mut text = format!("{}{name}", seconds / unit);
    if let Some((smaller, name)) = units.get(first + 1) {
        let rest = seconds % unit / smaller;
        if rest > 0 {
            text.push_str(&format!(" {rest}{name}"));
        }
    }
    if ahead {
        text.push_str(" ahead");
    }
    text
}

/// Bytes in the largest unit of 1024 that leaves a whole number before the point.
pub(crate) fn size(n_bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n_bytes < 1_024 {
        return format!("{n_bytes} B");
    }
    let mut value = n_bytes as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::errors::Failure;

    #[test]
    fn times_are_read_and_others_get_a_hint() {
        assert_eq!(typed_instant("END", "1970-01-02").unwrap(), DAY_US);
        assert_eq!(typed_instant("END", "1970-01-01T01:00+01:00").unwrap(), 0);
        assert!(typed_instant("END", "now").unwrap() > 1_700_000_000_000_000);
        for (text, hint) in [
            ("2013", "if it is that, write 2013-01-01T00:00:00Z"),
            ("2013-05", "if it is that, write 2013-05-01T00:00:00Z"),
            ("2013/05/01", "if it is that, write 2013-05-01T00:00:00Z"),
            ("20130501", "if it is that, write 2013-05-01T00:00:00Z"),
            ("1356998400", "if it is that, write 2013-01-01T00:00:00Z"),
            ("1356998400000", "if it is that, write 2013-01-01T00:00:00Z"),
            (
                "1356998400000000",
                "if it is that, write 2013-01-01T00:00:00Z",
            ),
            (
                "yesterday",
                "write RFC 3339, for example 2013-01-01T05:00:00Z, a date, or now",
            ),
            (
                "2013-13-01",
                "write RFC 3339, for example 2013-01-01T05:00:00Z, a date, or now",
            ),
        ] {
            let Err(Failure::Usage(error)) = typed_instant("START", text) else {
                panic!("{text}");
            };
            assert_eq!(error.message(), format!("START: {text:?} is no time"));
            assert_eq!(error.help_text(), Some(hint), "{text}");
        }
    }

    #[test]
    fn spans_and_sizes_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (125, "2m 5s"),
            (7_500, "2h 5m"),
            (7_200, "2h"),
            (86_400 * 3 + 59, "3d"),
            (86_400 * 400 + 3_600, "400d 1h"),
            (-60, "1m ahead"),
        ] {
            assert_eq!(span(seconds * SECOND_US), text);
        }
        for (n_bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(n_bytes), text);
        }
    }

    #[test]
    fn intervals_show_what_is_excluded() {
        let whole = Interval {
            start_us: None,
            end_us: 0,
        };
        assert_eq!(interval(&whole), "(the beginning, 1970-01-01T00:00:00Z]");
    }
}
