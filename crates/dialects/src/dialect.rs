//! What differs between warehouses: quoting, names of types, and how a value is made comparable.
//!
//! Decides the spelling of small expressions. It deliberately knows no template: which rows are
//! compared, joined or added up is the same everywhere and stands elsewhere.

use provender_core::error::{Error, Result, codes};
use provender_core::time::DAY_US;
use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind};

/// A family of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dialect {
    /// Snowflake.
    Snowflake,
    /// Databricks SQL warehouses, and Spark SQL from version 3.4 on. No QUALIFY, no ASOF JOIN.
    Spark,
}

/// How much one statement may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text.
    pub max_text_bytes: usize,
    /// Views joined by one statement.
    pub max_views: usize,
    /// Rows of one list of VALUES.
    pub max_inline_rows: usize,
}

/// The types that our own columns have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SqlType {
    /// 64 bits.
    Whole,
    /// Precision and scale.
    Decimal(u8, i8),
    /// 64 bits.
    Float,
    Bool,
    Bytes,
    Text,
    Date,
}

impl Dialect {
    /// What one statement of this dialect should hold at most. Snowflake takes a megabyte of text and
    /// 16,384 rows of VALUES; either warehouse takes long to plan statements of many joins.
    pub fn limits(self) -> Limits {
        match self {
            Self::Snowflake => Limits {
                max_text_bytes: 900_000,
                max_views: 20,
                max_inline_rows: 10_000,
            },
            Self::Spark => Limits {
                max_text_bytes: 4_000_000,
                max_views: 20,
                max_inline_rows: 10_000,
            },
        }
    }

    /// The name as an identifier that stands for exactly this name, whatever is in it.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for an empty name and one that holds NUL, which no warehouse takes.
    pub fn quote(self, name: &str) -> Result<String> {
        if name.is_empty() {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                "a column or table without a name cannot be asked for",
            ));
        }
        if name.contains('\0') {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!("the name {name:?} holds a NUL character, which SQL cannot spell"),
            )
            .help("rename the column or table"));
        }
        Ok(self.own(name))
    }

    /// The text as a string literal.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for text that holds NUL.
    pub fn string(self, text: &str) -> Result<String> {
        if text.contains('\0') {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!("the text {text:?} holds a NUL character, which SQL cannot spell"),
            ));
        }
        // Both dialects take a backslash for an escape, and Spark reads two quotes as two literals.
        let escaped = text.replace('\\', "\\\\").replace('\'', "\\'");
        Ok(format!("'{escaped}'"))
    }

    /// A name of our own making as an identifier.
    pub(crate) fn own(self, name: &str) -> String {
        match self {
            Self::Snowflake => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::Spark => format!("`{}`", name.replace('`', "``")),
        }
    }

    pub(crate) fn type_name(self, sql_type: SqlType) -> String {
        match (self, sql_type) {
            (_, SqlType::Whole) => "BIGINT".to_owned(),
            (Self::Snowflake, SqlType::Decimal(p, s)) => format!("NUMBER({p}, {s})"),
            (Self::Spark, SqlType::Decimal(p, s)) => format!("DECIMAL({p}, {s})"),
            (_, SqlType::Float) => "DOUBLE".to_owned(),
            (_, SqlType::Bool) => "BOOLEAN".to_owned(),
            (_, SqlType::Bytes) => "BINARY".to_owned(),
            (Self::Snowflake, SqlType::Text) => "VARCHAR".to_owned(),
            (Self::Spark, SqlType::Text) => "STRING".to_owned(),
            (_, SqlType::Date) => "DATE".to_owned(),
        }
    }

    pub(crate) fn cast(self, sql: &str, to: SqlType) -> String {
        format!("CAST({sql} AS {})", self.type_name(to))
    }

    pub(crate) fn null(self, of: SqlType) -> String {
        self.cast("NULL", of)
    }

    /// A float that is no number's digits: `NaN`, `inf` or `-inf`, or `-0.0`.
    pub(crate) fn special_float(self, name: &str) -> String {
        self.cast(&format!("'{name}'"), SqlType::Float)
    }

    pub(crate) fn is_nan(self, float: &str) -> String {
        match self {
            // Unlike elsewhere, NaN equals NaN.
            Self::Snowflake => format!("{float} = {}", self.special_float("NaN")),
            Self::Spark => format!("ISNAN({float})"),
        }
    }

    pub(crate) fn bytes_literal(self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len() * 2 + 3);
        text.push_str("X'");
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
        text.push('\'');
        text
    }

    /// Microseconds since the epoch, floored, of a time column; `None` for columns of other types.
    /// Neither depends on the session's time zone.
    pub(crate) fn micros(self, column: &Column) -> Option<String> {
        let sql = &column.sql;
        Some(match (self, column.kind) {
            (_, Kind::Null) => self.null(SqlType::Whole),
            (_, Kind::MicrosNumber) => sql.clone(),
            (Self::Snowflake, Kind::Date) => {
                format!("DATEDIFF(DAY, '1970-01-01'::DATE, {sql}) * {DAY_US}")
            }
            (Self::Snowflake, Kind::Instant { is_fine: true, .. }) => {
                format!("DATE_PART(EPOCH_MICROSECOND, DATE_TRUNC('MICROSECOND', {sql}))")
            }
            (Self::Snowflake, Kind::Instant { .. }) => {
                format!("DATE_PART(EPOCH_MICROSECOND, {sql})")
            }
            (Self::Spark, Kind::Date) => {
                format!("CAST(UNIX_DATE({sql}) AS BIGINT) * {DAY_US}")
            }
            (Self::Spark, Kind::Instant { is_zoned: true, .. }) => format!("UNIX_MICROS({sql})"),
            // A cast to a timestamp with zone would take the session's, so the digits are read instead.
            (Self::Spark, Kind::Instant { .. }) => format!(
                "(CAST(UNIX_DATE(CAST({sql} AS DATE)) AS BIGINT) * {DAY_US} \
                 + CAST(HOUR({sql}) AS BIGINT) * 3600000000 \
                 + CAST(MINUTE({sql}) AS BIGINT) * 60000000 \
                 + CAST(EXTRACT(SECOND FROM {sql}) * 1000000 AS BIGINT))"
            ),
            _ => return None,
        })
    }

    /// The instant as a literal that compares with a column of this kind as it is, so that the
    /// warehouse can skip files; `None` where there is no such literal.
    pub(crate) fn instant_literal(self, us: i64, kind: Kind) -> Option<String> {
        let Kind::Instant { is_zoned, .. } = kind else {
            return None;
        };
        let text = calendar(us)?;
        Some(match (self, is_zoned) {
            (Self::Snowflake, true) => format!("'{text}+00:00'::TIMESTAMP_TZ"),
            (Self::Snowflake, false) => format!("'{text}'::TIMESTAMP_NTZ"),
            (Self::Spark, true) => format!("TIMESTAMP'{text}Z'"),
            (Self::Spark, false) => format!("TIMESTAMP_NTZ'{text}'"),
        })
    }

    /// The text's UTF-8 bytes, so that no collation decides what is equal or greater.
    pub(crate) fn bytes(self, column: &Column) -> Option<String> {
        let sql = &column.sql;
        Some(match (self, column.kind) {
            (_, Kind::Null) => self.null(SqlType::Bytes),
            (_, Kind::Bytes) => sql.clone(),
            (Self::Snowflake, Kind::Text) => format!("TO_BINARY({sql}, 'UTF-8')"),
            (Self::Snowflake, Kind::Json) => format!("TO_BINARY(TO_JSON({sql}), 'UTF-8')"),
            (Self::Spark, Kind::Text) => format!("CAST({sql} AS BINARY)"),
            (Self::Spark, Kind::Json) => format!("CAST(TO_JSON({sql}) AS BINARY)"),
            _ => return None,
        })
    }
}

/// `YYYY-MM-DD HH:MM:SS.ffffff` of an instant in the years that every warehouse writes in four digits.
fn calendar(us: i64) -> Option<String> {
    let text = provender_core::time::format_instant(us);
    let is_plain = (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&us);
    let (date, time) = text.split_once('T')?;
    let time = time.trim_end_matches('Z');
    is_plain.then(|| format!("{date} {time}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_and_texts_are_quoted_whole_and_nul_is_refused() {
        for (dialect, quoted) in [
            (Dialect::Snowflake, "\"a\"\"`b\\\""),
            (Dialect::Spark, "`a\"``b\\`"),
        ] {
            assert_eq!(dialect.quote("a\"`b\\").unwrap(), quoted);
            assert_eq!(dialect.string("it's \\").unwrap(), "'it\\'s \\\\'");
            let error = dialect.quote("a\0b").unwrap_err();
            assert_eq!(
                error.message(),
                "the name \"a\\0b\" holds a NUL character, which SQL cannot spell"
            );
            assert!(dialect.quote("").is_err());
            assert!(dialect.string("\0").is_err());
        }
    }

    #[test]
    fn instants_are_written_for_years_of_four_digits() {
        assert_eq!(calendar(-1).unwrap(), "1969-12-31 23:59:59.999999");
        assert_eq!(calendar(i64::MAX), None);
        assert_eq!(calendar(i64::MIN), None);
    }
}
