//! Where rows come from: tables by their parts, sources by request, and how a statement reads them.
//!
//! Decides how a table, a query, a filter and a past state are spelled. It deliberately looks nothing
//! up: what a source's columns are and how its table is really called, the caller has found out.

use std::collections::HashMap;

use arrow_schema::{Field, SchemaRef};
use provender_core::ErrorKind;
use provender_core::error::{Error, Result, codes};
use provender_core::model::{Relation, SourceVersion};
use provender_core::names::{did_you_mean, find_column};
use provender_core::request::SourceRef;

use crate::Dialect;
use crate::column::Column;
use crate::sql_text::embed;

/// A table's name in parts, from the outermost (a database or catalog) to the table, each exactly as
/// the store spells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    parts: Vec<String>,
}

impl TableName {
    /// A table by its parts.
    pub fn new<P: Into<String>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self {
            parts: parts.into_iter().map(Into::into).collect(),
        }
    }

    /// Reads a name as people write it: parts between dots, each as it is or in double quotes or
    /// backticks (doubled where they belong to the name).
    ///
    /// # Errors
    /// `NotFound` (`P120`) for an empty part or a quote without an end.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(
                &codes::MISSING_TABLE,
                format!("{text:?} is no table's name: {why}"),
            )
            .help("write table, schema.table or database.schema.table, parts with dots in quotes")
        };
        let mut parts = Vec::new();
        let mut letters = text.trim().chars().peekable();
        loop {
            let mut part = String::new();
            match letters.peek().copied() {
                Some(quote @ ('"' | '`')) => {
                    letters.next();
                    loop {
                        match letters.next() {
                            Some(letter) if letter == quote => {
                                if letters.next_if_eq(&quote).is_none() {
                                    break;
                                }
                                part.push(quote);
                            }
                            Some(letter) => part.push(letter),
                            None => return Err(bad("a quote has no end")),
                        }
                    }
                }
                _ => {
                    while let Some(letter) = letters.next_if(|letter| *letter != '.') {
                        part.push(letter);
                    }
                }
            }
            if part.is_empty() {
                return Err(bad("a part of it is empty"));
            }
            parts.push(part);
            match letters.next() {
                None => return Ok(Self { parts }),
                Some('.') => {}
                Some(_) => return Err(bad("a quoted part is followed by something else")),
            }
        }
    }

    /// The parts, outermost first.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// The name in a dialect, every part in quotes.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for parts that cannot be spelled; see [`Dialect::quote`].
    pub fn sql(&self, dialect: Dialect) -> Result<String> {
        let parts: Vec<String> = self
            .parts
            .iter()
            .map(|part| dialect.quote(part))
            .collect::<Result<_>>()?;
        Ok(parts.join("."))
    }
}

/// What is known of a source before it is read.
#[derive(Clone, Debug)]
pub struct SourceTable {
    /// All columns, names as the store spells them. A timestamp without a zone is the wall clock's
    /// type of the warehouse (`TIMESTAMP_NTZ`), one with a zone any other; nanoseconds are what is finer than
    /// microseconds. A string with the extension name `arrow.json` is a type of the warehouse's own
    /// (`VARIANT`, `OBJECT`, `ARRAY`).
    pub schema: SchemaRef,
    /// The table's name as the store spells it; `None` reads the request's text with [`TableName::parse`].
    pub table: Option<TableName>,
}

/// The sources that requests name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    tables: HashMap<SourceRef, SourceTable>,
}

impl Sources {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what is known of one source.
    pub fn insert(&mut self, source: &SourceRef, table: SourceTable) {
        self.tables.insert(source.clone(), table);
    }

    /// What is known of a source.
    ///
    /// # Errors
    /// `Internal` if nothing is.
    pub fn get(&self, source: &SourceRef) -> Result<&SourceTable> {
        self.tables.get(source).ok_or_else(|| {
            Error::new(
                &codes::INTERNAL,
                format!("the columns of {} were not looked up", source.describe()),
            )
        })
    }
}

/// The rows of a source as a query in parentheses, to stand after FROM or to be described.
///
/// # Errors
/// `NotFound` (`P120`) or `InvalidArgument` (`P123`, `P406`) for names and texts that cannot be put into a
/// statement, `Unsupported` for a past state that the warehouse cannot name.
pub fn source_sql(
    dialect: Dialect,
    source: &SourceRef,
    table: Option<&TableName>,
) -> Result<String> {
    let mut rows = match &source.relation {
        Relation::Table(name) => {
            let name = match table {
                Some(table) => table.sql(dialect)?,
                None => TableName::parse(name)?.sql(dialect)?,
            };
            format!("{name}{}", version(dialect, source)?)
        }
        Relation::Query(query) => {
            if source.version.is_some() {
                return Err(no_version(
                    "a past state of a query: name the tables' states inside of it",
                ));
            }
            format!(
                "{} AS {}",
                embed(dialect, "query", query)?,
                dialect.own("q")
            )
        }
    };
    if let Some(filter) = &source.filter {
        rows = format!("{rows} WHERE {}", embed(dialect, "filter", filter)?);
    }
    Ok(format!("(SELECT * FROM {rows})"))
}

fn version(dialect: Dialect, source: &SourceRef) -> Result<String> {
    let instant = |us: i64| {
        let text = provender_core::time::format_instant(us);
        text.replace('T', " ").replace('Z', "+00:00")
    };
    Ok(match (dialect, &source.version) {
        (_, None) => String::new(),
        (Dialect::Snowflake, Some(SourceVersion::TimestampUs(us))) => {
            format!(" AT(TIMESTAMP => '{}'::TIMESTAMP_TZ)", instant(*us))
        }
        (Dialect::Snowflake, Some(SourceVersion::Token(token))) => {
            format!(" AT(STATEMENT => {})", dialect.string(token)?)
        }
        (Dialect::Snowflake, Some(SourceVersion::Number(_))) => {
            return Err(no_version("a version's number: name a time"));
        }
        (Dialect::Spark, Some(SourceVersion::Number(number))) => format!(" VERSION AS OF {number}"),
        (Dialect::Spark, Some(SourceVersion::TimestampUs(us))) => {
            format!(" TIMESTAMP AS OF '{}'", instant(*us))
        }
        (Dialect::Spark, Some(SourceVersion::Token(_))) => {
            return Err(no_version("a token: name a version's number or a time"));
        }
    })
}

fn no_version(what: &str) -> Error {
    unsupported(format!("the warehouse cannot read {what}"))
}

pub(crate) fn unsupported(what: impl Into<String>) -> Error {
    Error::new(&codes::UNSUPPORTED, what).with_kind(ErrorKind::Unsupported)
}

/// A relation of a statement, under a name, with known columns.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    dialect: Dialect,
    /// What stands after FROM.
    pub(crate) from: String,
    alias: &'static str,
    schema: SchemaRef,
    what: String,
}

impl Rows {
    /// A source under the name `s`.
    pub(crate) fn source(dialect: Dialect, source: &SourceRef, sources: &Sources) -> Result<Self> {
        let table = sources.get(source)?;
        Self::new(dialect, source, table.schema.clone(), table.table.as_ref())
    }

    /// Any source whose columns are at hand, under the name `s`.
    pub(crate) fn new(
        dialect: Dialect,
        source: &SourceRef,
        schema: SchemaRef,
        table: Option<&TableName>,
    ) -> Result<Self> {
        let alias = "s";
        Ok(Self {
            dialect,
            from: format!(
                "{} AS {}",
                source_sql(dialect, source, table)?,
                dialect.own(alias)
            ),
            alias,
            schema,
            what: source.describe(),
        })
    }

    /// The column that a name means, exactly or else by the only match that ignores case, and its field.
    pub(crate) fn column(&self, name: &str) -> Result<(Column, &Field)> {
        let known = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        let missing = || {
            Error::new(
                &codes::MISSING_COLUMN,
                format!("{} has no column {name:?}", self.what),
            )
            .help(did_you_mean(name, known.clone()))
        };
        let is_close = |other: &str| other.to_lowercase() == name.to_lowercase();
        let found = find_column(name, known.clone());
        let found = found.map_err(|error| match known.clone().any(is_close) {
            true => error.context("source", self.what.clone()),
            false => missing(),
        })?;
        let field = self.schema.field_with_name(found).map_err(|_| missing())?;
        Ok((Column::of(self.dialect, self.alias, field)?, field))
    }

    /// The microseconds of a time column.
    pub(crate) fn micros(&self, name: &str) -> Result<(String, Column)> {
        let (column, field) = self.column(name)?;
        let micros = self.dialect.micros(&column).ok_or_else(|| {
            Error::new(
                &codes::TIMESTAMP_TYPE,
                format!(
                    "column {name:?} of {} is {}, not a time",
                    self.what,
                    field.data_type()
                ),
            )
        })?;
        Ok((micros, column))
    }

    /// All columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// For messages.
    pub(crate) fn describe(&self) -> &str {
        &self.what
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow_schema::{DataType, Schema};

    use super::*;

    #[test]
    fn table_names_are_read_part_by_part() {
        for (text, parts) in [
            ("t", vec!["t"]),
            ("db.Sch.\"my.table\"\"x\"", vec!["db", "Sch", "my.table\"x"]),
            ("`a b`.c d", vec!["a b", "c d"]),
        ] {
            assert_eq!(TableName::parse(text).unwrap(), TableName::new(parts));
        }
        for text in ["", "a..b", "\"a", "\"a\"b", ".a"] {
            let error = TableName::parse(text).unwrap_err();
            assert!(error.message().contains("is no table's name"), "{error}");
        }
    }

    #[test]
    fn columns_match_exactly_else_the_only_one_whatever_its_case() {
        let fields = ["AMOUNT", "Ab", "aB"];
        let fields = fields.map(|name| Field::new(name, DataType::Utf8, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let source = SourceRef::table("t");
        let rows = Rows::new(Dialect::Snowflake, &source, schema, None).unwrap();
        for (name, found) in [("AMOUNT", "AMOUNT"), ("amount", "AMOUNT"), ("aB", "aB")] {
            let (column, field) = rows.column(name).unwrap();
            assert_eq!(column.sql, format!("\"s\".\"{found}\""));
            assert_eq!(field.name(), found);
        }
        for (name, message) in [
            (
                "AB",
                "column \"AB\" is not clear: Ab, aB differ only in case",
            ),
            ("count", "table \"t\" has no column \"count\""),
        ] {
            let error = rows.column(name).unwrap_err();
            assert_eq!((error.code(), error.message()), ("P121", message));
        }
    }

    #[test]
    fn filters_and_queries_stand_on_lines_of_their_own() {
        let source = SourceRef {
            relation: Relation::Query("SELECT 1 -- one".to_owned()),
            filter: Some("a > 1 -- new".to_owned()),
            version: None,
        };
        assert_eq!(
            source_sql(Dialect::Spark, &source, None).unwrap(),
            "(SELECT * FROM (\nSELECT 1 -- one\n) AS `q` WHERE (\na > 1 -- new\n))"
        );
        let mut source = SourceRef::table("a.b");
        source.version = Some(SourceVersion::TimestampUs(1));
        assert_eq!(
            source_sql(Dialect::Snowflake, &source, None).unwrap(),
            "(SELECT * FROM \"a\".\"b\" AT(TIMESTAMP => '1970-01-01 00:00:00.000001+00:00'::TIMESTAMP_TZ))"
        );
        assert_eq!(
            source_sql(Dialect::Spark, &source, None).unwrap(),
            "(SELECT * FROM `a`.`b` TIMESTAMP AS OF '1970-01-01 00:00:00.000001+00:00')"
        );
        source.version = Some(SourceVersion::Number(3));
        let error = source_sql(Dialect::Snowflake, &source, None).unwrap_err();
        assert_eq!(
            error.message(),
            "the warehouse cannot read a version's number: name a time"
        );
    }
}
