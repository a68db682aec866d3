//! What can be compared with what: kinds of columns, join keys, and the order of tie breakers.
//!
//! Decides as what values are compared, so that every warehouse finds the same ones equal and the same
//! one greatest: text as bytes, times as microseconds, NaN above all numbers. It deliberately knows no
//! request.

use arrow_schema::{DataType, Field, TimeUnit};
use provender_core::ValueType;
use provender_core::error::Result;

use crate::Dialect;
use crate::dialect::SqlType;

/// What a column holds, as far as comparing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing but nulls.
    Null,
    Bool,
    /// Whole numbers of at most 64 bits with sign.
    Whole,
    /// Whole numbers of 64 bits without sign.
    Unsigned,
    Decimal(u8, i8),
    Float,
    Text,
    /// A type of the warehouse's own that is answered as JSON.
    Json,
    Bytes,
    Date,
    Instant {
        /// Finer than microseconds.
        is_fine: bool,
        /// A point in time and not a wall clock's reading.
        is_zoned: bool,
    },
    /// Microseconds since the epoch as a whole number.
    MicrosNumber,
    /// A nested type, or one that no value type holds.
    Other,
}

/// A column of a relation, as an expression.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) sql: String,
    pub(crate) kind: Kind,
}

impl Column {
    /// A relation's column.
    pub(crate) fn of(dialect: Dialect, relation: &str, field: &Field) -> Result<Self> {
        let name = dialect.quote(field.name())?;
        let extension = field.metadata().get("ARROW:extension:name");
        let is_json = extension.is_some_and(|name| name == "arrow.json");
        Ok(Self {
            sql: format!("{}.{name}", dialect.own(relation)),
            kind: match kind_of(field.data_type()) {
                Kind::Text if is_json => Kind::Json,
                kind => kind,
            },
        })
    }
}

pub(crate) fn kind_of(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Null => Kind::Null,
        DataType::Dictionary(_, value) => kind_of(value),
        DataType::UInt64 => Kind::Unsigned,
        DataType::Timestamp(unit, zone) => Kind::Instant {
            is_fine: *unit == TimeUnit::Nanosecond,
            is_zoned: zone.is_some(),
        },
        DataType::Date32 | DataType::Date64 => Kind::Date,
        other => match ValueType::from_arrow(other) {
            Some(ValueType::Bool) => Kind::Bool,
            Some(ValueType::Decimal(precision, scale)) => Kind::Decimal(precision, scale),
            Some(found) if found.is_float() => Kind::Float,
            Some(found) if found.is_integer() => Kind::Whole,
            Some(ValueType::String) => Kind::Text,
            Some(ValueType::Binary) => Kind::Bytes,
            _ => Kind::Other,
        },
    }
}

/// As what a join key is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyType {
    Whole,
    /// Whole numbers of more than 64 bits with sign.
    Wide,
    Bool,
    Bytes,
    Micros,
}

impl KeyType {
    /// As what a key of the declared type is compared with columns of these kinds; `None` if it cannot be.
    pub(crate) fn of(declared: &ValueType, kinds: &[Kind]) -> Option<Self> {
        let all =
            |fits: fn(Kind) -> bool| kinds.iter().all(|kind| *kind == Kind::Null || fits(*kind));
        let is_wide = |kind: &Kind| matches!(kind, Kind::Unsigned | Kind::Decimal(_, 0));
        match declared {
            ValueType::Bool => all(|kind| kind == Kind::Bool).then_some(Self::Bool),
            ValueType::String => {
                all(|kind| matches!(kind, Kind::Text | Kind::Bytes)).then_some(Self::Bytes)
            }
            ValueType::Binary => all(|kind| kind == Kind::Bytes).then_some(Self::Bytes),
            ValueType::Date | ValueType::Timestamp => {
                all(|kind| matches!(kind, Kind::Date | Kind::Instant { .. } | Kind::MicrosNumber))
                    .then_some(Self::Micros)
            }
            declared if declared.is_integer() => {
                let is_whole =
                    all(|kind| matches!(kind, Kind::Whole | Kind::Unsigned | Kind::Decimal(_, 0)));
                let is_wide = *declared == ValueType::UInt64 || kinds.iter().any(is_wide);
                is_whole.then_some(if is_wide { Self::Wide } else { Self::Whole })
            }
            _ => None,
        }
    }

    pub(crate) fn sql_type(self) -> SqlType {
        match self {
            Self::Whole | Self::Micros => SqlType::Whole,
            Self::Wide => SqlType::Decimal(38, 0),
            Self::Bool => SqlType::Bool,
            Self::Bytes => SqlType::Bytes,
        }
    }

    /// The column as the key is compared; `None` for kinds that [`Self::of`] refuses.
    pub(crate) fn sql(self, dialect: Dialect, column: &Column) -> Option<String> {
        match self {
            Self::Whole | Self::Wide | Self::Bool => {
                Some(dialect.cast(&column.sql, self.sql_type()))
            }
            Self::Bytes => dialect.bytes(column),
            Self::Micros => dialect.micros(column),
        }
    }
}

/// Expressions that, compared one after the other with null lowest, order the column's values: false
/// before true, text and binary byte by byte, NaN after all other floats and -0.0 before 0.0.
pub(crate) fn order_terms(dialect: Dialect, column: &Column) -> Option<Vec<String>> {
    let sql = &column.sql;
    Some(match column.kind {
        Kind::Null => Vec::new(),
        Kind::Bool => vec![format!("CASE WHEN {sql} THEN 1 WHEN NOT {sql} THEN 0 END")],
        Kind::Whole | Kind::Unsigned | Kind::Decimal(..) | Kind::MicrosNumber => vec![sql.clone()],
        Kind::Float => {
            let float = dialect.cast(sql, SqlType::Float);
            let is_nan = dialect.is_nan(&float);
            vec![
                format!("CASE WHEN {sql} IS NULL THEN 0 WHEN {is_nan} THEN 2 ELSE 1 END"),
                format!("CASE WHEN NOT ({is_nan}) THEN {float} END"),
                format!("CASE WHEN {float} = 0 THEN SIGN(ATAN2({float}, -1)) END"),
            ]
        }
        Kind::Text | Kind::Json | Kind::Bytes => vec![dialect.bytes(column)?],
        Kind::Date | Kind::Instant { .. } => vec![dialect.micros(column)?],
        Kind::Other => return None,
    })
}

/// The column such that values which count as one are equal: text as bytes, -0.0 as 0.0, any NaN as one.
pub(crate) fn distinct_term(dialect: Dialect, column: &Column) -> Option<String> {
    match column.kind {
        Kind::Float => {
            let float = dialect.cast(&column.sql, SqlType::Float);
            let is_nan = dialect.is_nan(&float);
            let nan = dialect.special_float("NaN");
            Some(format!(
                "CASE WHEN {is_nan} THEN {nan} WHEN {float} = 0 THEN {} ELSE {float} END",
                dialect.cast("0", SqlType::Float)
            ))
        }
        Kind::Null => Some(dialect.null(SqlType::Whole)),
        _ => order_terms(dialect, column)?.pop(),
    }
}
