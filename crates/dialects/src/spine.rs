//! Spines that callers hold, as they travel: keys, times and row numbers, and nothing else.
//!
//! Decides how the rows are spelled in VALUES and in tables of their own. Text travels as bytes and times as
//! microseconds, so that a value can neither be changed by a collation or zone nor end a literal. It
//! deliberately does not know how statements are sent.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use provender_core::ValueType;
use provender_core::error::{Error, Result, codes};
use provender_core::request::ViewJoin;
use provender_core::time::to_instants;

use crate::column::{Column, Kind};
use crate::dialect::SqlType;
use crate::{Dialect, Limits, TableName};

/// Times beyond this many microseconds from the epoch (some 73,000 years, more than any warehouse
/// stores) are moved to it, so that a ttl or window can be subtracted from every time.
pub(crate) const FARTHEST_US: i64 = 1 << 61;

/// The columns of a spine that is uploaded or written into the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpineLayout {
    timestamp: String,
    row_number: String,
    keys: Vec<(String, ValueType)>,
    range_us: Option<(i64, i64)>,
}

impl SpineLayout {
    /// The columns that these views need. `timestamp` and `row_number` are the names of the spine's own.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) if views read one spine column as keys of different types.
    pub fn new(views: &[ViewJoin], timestamp: &str, row_number: &str) -> Result<Self> {
        let mut keys: Vec<(String, ValueType)> = Vec::new();
        for key in views.iter().flat_map(|view| &view.keys) {
            match keys.iter().find(|(name, _)| *name == key.spine) {
                None => keys.push((key.spine.clone(), key.value_type.clone())),
                Some((_, known)) if *known == key.value_type => {}
                Some((_, known)) => {
                    return Err(Error::new(
                        &codes::BAD_REQUEST,
                        format!(
                            "the spine column {:?} is read as {known} and as {}",
                            key.spine, key.value_type
                        ),
                    ));
                }
            }
        }
        Ok(Self {
            timestamp: timestamp.to_owned(),
            row_number: row_number.to_owned(),
            keys,
            range_us: None,
        })
    }

    /// The same, knowing that all times lie between these instants, both included (us, UTC), so that
    /// statements leave out source rows that no spine row can see.
    #[must_use]
    pub fn within(mut self, min_us: i64, max_us: i64) -> Self {
        self.range_us = Some((min_us, max_us));
        self
    }

    pub(crate) fn range_us(&self) -> Option<(i64, i64)> {
        self.range_us
    }

    /// What [`Self::encode`] makes and [`Self::create`] makes a table for: the row number `r` and the time `t`
    /// (int64, microseconds), then keys `k0`, `k1`, ...: whole numbers as int64 (uint64 as decimal(20,0)), bool as it
    /// is, string and binary as binary (UTF-8), date and timestamp as int64, microseconds.
    pub fn encoded_schema(&self) -> SchemaRef {
        let mut fields = vec![
            Field::new("r", DataType::Int64, false),
            Field::new("t", DataType::Int64, true),
        ];
        for (at, (_, value_type)) in self.keys.iter().enumerate() {
            let data_type = match sql_type(value_type) {
                SqlType::Bool => DataType::Boolean,
                SqlType::Bytes => DataType::Binary,
                SqlType::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
                _ => DataType::Int64,
            };
            fields.push(Field::new(format!("k{at}"), data_type, true));
        }
        Arc::new(Schema::new(fields))
    }

    /// Rows of the spine as [`Self::encoded_schema`] says, for uploads as files.
    ///
    /// # Errors
    /// `InvalidArgument` (`P402`, `P403`) if a column is missing or of another type.
    pub fn encode(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| {
                Error::new(
                    &codes::MISSING_SPINE_COLUMN,
                    format!("the spine has no column {name:?}"),
                )
            })
        };
        let times = to_instants(column(&self.timestamp)?.as_ref())?;
        let times: ArrayRef =
            Arc::new(times.unary::<_, Int64Type>(|us| us.clamp(-FARTHEST_US, FARTHEST_US)));
        let mut columns = vec![
            encoded(
                &self.row_number,
                column(&self.row_number)?,
                &ValueType::Int64,
            )?,
            times,
        ];
        for (name, value_type) in &self.keys {
            columns.push(encoded(name, column(name)?, value_type)?);
        }
        RecordBatch::try_new(self.encoded_schema(), columns).map_err(|error| {
            Error::new(&codes::BAD_REQUEST, "the spine's row numbers hold nulls").source(error)
        })
    }

    /// The statement that makes the spine's table: a temporary one where the dialect has those, else a table
    /// that the caller must drop whatever happens.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for a name that cannot be spelled.
    pub fn create(&self, dialect: Dialect, table: &TableName) -> Result<String> {
        let columns: Vec<String> = self
            .columns()
            .map(|(name, sql_type)| {
                format!("{} {}", dialect.own(&name), dialect.type_name(sql_type))
            })
            .collect();
        let (create, name) = (create(dialect), table.sql(dialect)?);
        Ok(format!("{create} {name} ({})", columns.join(", ")))
    }

    /// Statements that add rows of the spine to its table, each within the limits.
    ///
    /// # Errors
    /// As [`Self::encode`] and [`Self::create`].
    pub fn insert(
        &self,
        dialect: Dialect,
        table: &TableName,
        batch: &RecordBatch,
        limits: &Limits,
    ) -> Result<Vec<String>> {
        let start = format!("INSERT INTO {} VALUES", table.sql(dialect)?);
        let mut statements = Vec::new();
        let mut statement = String::new();
        let mut n_rows = 0;
        for row in self.tuples(dialect, batch)? {
            let is_full = n_rows >= limits.max_inline_rows
                || statement.len() + row.len() + 2 > limits.max_text_bytes;
            if is_full && n_rows > 0 {
                statements.push(std::mem::take(&mut statement));
                n_rows = 0;
            }
            statement.push_str(if n_rows == 0 { &start } else { "," });
            statement.push('\n');
            statement.push_str(&row);
            n_rows += 1;
        }
        if n_rows > 0 {
            statements.push(statement);
        }
        Ok(statements)
    }

    /// The statement that removes the spine's table, if it is there.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn drop(&self, dialect: Dialect, table: &TableName) -> Result<String> {
        drop_table(dialect, table)
    }

    /// The rows as a query in parentheses, for a statement that holds its spine itself.
    pub(crate) fn inline(&self, dialect: Dialect, batch: &RecordBatch) -> Result<String> {
        let rows = self.tuples(dialect, batch)?;
        let names: Vec<String> = self.columns().map(|(name, _)| dialect.own(&name)).collect();
        if rows.is_empty() {
            let nulls: Vec<String> = self
                .columns()
                .map(|(name, sql_type)| {
                    format!("{} AS {}", dialect.null(sql_type), dialect.own(&name))
                })
                .collect();
            return Ok(format!("(SELECT {} WHERE 1 = 0)", nulls.join(", ")));
        }
        Ok(format!(
            "(SELECT * FROM (VALUES\n{}\n) AS {}({}))",
            rows.join(",\n"),
            dialect.own("v"),
            names.join(", ")
        ))
    }

    /// The spine's columns as expressions over the relation `s`: row number, time, and a key by the name that
    /// requests give it.
    pub(crate) fn column(&self, dialect: Dialect, spine_name: &str) -> Option<Column> {
        let at = self.keys.iter().position(|(name, _)| name == spine_name)?;
        let value_type = &self.keys[at].1;
        let sql_type = sql_type(value_type);
        // A column of nulls alone has no type in VALUES.
        let sql = format!("{}.{}", dialect.own("s"), dialect.own(&format!("k{at}")));
        Some(Column {
            sql: dialect.cast(&sql, sql_type),
            kind: match (sql_type, value_type) {
                (SqlType::Bool, _) => Kind::Bool,
                (SqlType::Bytes, _) => Kind::Bytes,
                (SqlType::Decimal(..), _) => Kind::Unsigned,
                (_, ValueType::Date | ValueType::Timestamp) => Kind::MicrosNumber,
                _ => Kind::Whole,
            },
        })
    }

    fn columns(&self) -> impl Iterator<Item = (String, SqlType)> {
        let own = [
            ("r".to_owned(), SqlType::Whole),
            ("t".to_owned(), SqlType::Whole),
        ];
        let keys = self.keys.iter().enumerate();
        own.into_iter()
            .chain(keys.map(|(at, (_, value_type))| (format!("k{at}"), sql_type(value_type))))
    }

    /// `(1, 2, X'6A')` for each row.
    fn tuples(&self, dialect: Dialect, batch: &RecordBatch) -> Result<Vec<String>> {
        let batch = self.encode(batch)?;
        let mut rows = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = batch
                .columns()
                .iter()
                .map(|column| literal(dialect, column, row))
                .collect();
            rows.push(format!("({})", cells.join(", ")));
        }
        Ok(rows)
    }
}

/// The least and greatest of encoded times; `None` if there are none.
pub(crate) fn range_us(times: &ArrayRef) -> Option<(i64, i64)> {
    let times = times.as_primitive_opt::<Int64Type>()?;
    let min = times.iter().flatten().min()?;
    Some((min, times.iter().flatten().max()?))
}

pub(crate) fn create(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Snowflake => "CREATE TEMPORARY TABLE",
        Dialect::Spark => "CREATE TABLE",
    }
}

pub(crate) fn drop_table(dialect: Dialect, table: &TableName) -> Result<String> {
    Ok(format!("DROP TABLE IF EXISTS {}", table.sql(dialect)?))
}

fn sql_type(value_type: &ValueType) -> SqlType {
    match value_type {
        ValueType::Bool => SqlType::Bool,
        ValueType::String | ValueType::Binary => SqlType::Bytes,
        ValueType::UInt64 => SqlType::Decimal(20, 0),
        _ => SqlType::Whole,
    }
}

fn encoded(name: &str, column: &ArrayRef, value_type: &ValueType) -> Result<ArrayRef> {
    let bad = |why: String| {
        Error::new(
            &codes::SPINE_TYPE,
            format!(
                "the spine column {name:?} is {}, not {value_type}{why}",
                column.data_type()
            ),
        )
    };
    let cast_to = |to: &DataType| {
        cast(column, to)
            .map_err(|error| bad(String::new()).source(error))
            .and_then(|cast| match cast.null_count() == column.null_count() {
                true => Ok(cast),
                false => Err(bad(", and some of its values do not fit".to_owned())),
            })
    };
    match value_type {
        ValueType::Date | ValueType::Timestamp => {
            let micros = to_instants(column.as_ref())?;
            Ok(Arc::new(micros.reinterpret_cast::<Int64Type>()))
        }
        ValueType::String => {
            let text = cast_to(&DataType::Utf8)?;
            cast(&text, &DataType::Binary).map_err(|error| bad(String::new()).source(error))
        }
        _ => match sql_type(value_type) {
            SqlType::Bool => cast_to(&DataType::Boolean),
            SqlType::Bytes => cast_to(&DataType::Binary),
            SqlType::Decimal(precision, scale) => cast_to(&DataType::Decimal128(precision, scale)),
            _ => cast_to(&DataType::Int64),
        },
    }
}

fn literal(dialect: Dialect, column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    match column.data_type() {
        DataType::Boolean if column.as_boolean().value(row) => "TRUE".to_owned(),
        DataType::Boolean => "FALSE".to_owned(),
        DataType::Binary => dialect.bytes_literal(column.as_binary::<i32>().value(row)),
        DataType::Decimal128(..) => column
            .as_primitive::<Decimal128Type>()
            .value(row)
            .to_string(),
        _ => match column.as_primitive::<Int64Type>().value(row) {
            // Read as a sign and a number that is too large.
            i64::MIN => format!("({} - 1)", i64::MIN + 1),
            value => value.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow_array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use provender_core::request::{KeyColumn, SourceRef, TimedSource};

    use super::*;

    fn view(value_type: ValueType) -> ViewJoin {
        ViewJoin {
            name: "v".to_owned(),
            source: TimedSource {
                source: SourceRef::table("t"),
                timestamp: "ts".to_owned(),
                created_timestamp: None,
                tie_breakers: Vec::new(),
            },
            keys: vec![KeyColumn {
                spine: "it's".to_owned(),
                column: "k".to_owned(),
                value_type,
            }],
            ttl_us: None,
            features: Vec::new(),
            aggregations: Vec::new(),
        }
    }

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            (
                "it's",
                Arc::new(StringArray::from(vec![Some("a'b"), None, Some("\0")])) as ArrayRef,
                true,
            ),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![
                    Some(1),
                    None,
                    Some(i64::MIN),
                ])) as _,
                true,
            ),
            ("n", Arc::new(Int64Array::from(vec![0, 1, 2])) as _, false),
        ])
        .unwrap()
    }

    #[test]
    fn rows_are_written_without_a_letter_of_theirs() {
        let layout = SpineLayout::new(&[view(ValueType::String)], "t", "n").unwrap();
        let table = TableName::new(["tmp", "x y"]);
        let limits = Limits {
            max_inline_rows: 2,
            ..Dialect::Snowflake.limits()
        };
        assert_eq!(
            layout.create(Dialect::Snowflake, &table).unwrap(),
            "CREATE TEMPORARY TABLE \"tmp\".\"x y\" (\"r\" BIGINT, \"t\" BIGINT, \"k0\" BINARY)"
        );
        assert_eq!(
            layout
                .insert(Dialect::Spark, &table, &batch(), &limits)
                .unwrap(),
            [
                "INSERT INTO `tmp`.`x y` VALUES\n(0, 1, X'612762'),\n(1, NULL, NULL)",
                "INSERT INTO `tmp`.`x y` VALUES\n(2, -2305843009213693952, X'00')",
            ]
        );
        let none = batch().slice(0, 0);
        assert!(
            layout
                .insert(Dialect::Spark, &table, &none, &limits)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn statements_of_rows_stay_within_the_text_limit() {
        let layout = SpineLayout::new(&[view(ValueType::String)], "t", "n").unwrap();
        let table = TableName::new(["x"]);
        let limits = Limits {
            max_text_bytes: 56,
            ..Dialect::Snowflake.limits()
        };
        let statements = layout
            .insert(Dialect::Snowflake, &table, &batch(), &limits)
            .unwrap();
        assert_eq!(statements.len(), 3);
        assert!(
            statements.iter().all(|statement| statement.len() <= 56),
            "{statements:?}"
        );
    }

    #[test]
    fn a_column_that_is_no_key_is_named() {
        let views = [view(ValueType::String), view(ValueType::Int64)];
        let error = SpineLayout::new(&views, "t", "n").unwrap_err();
        assert_eq!(
            error.message(),
            "the spine column \"it's\" is read as string and as int64"
        );
        let layout = SpineLayout::new(&views[1..], "t", "n").unwrap();
        let error = layout.encode(&batch()).unwrap_err();
        assert_eq!(
            error.message(),
            "the spine column \"it's\" is Utf8, not int64, and some of its values do not fit"
        );
    }
}
