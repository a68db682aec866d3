//! Which table a name means, and which columns a source has.
//!
//! Names match exactly, else by the only match that ignores case. What was found is remembered until
//! Snowflake says that it is gone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use provender_core::model::{Relation, SourceVersion};
use provender_core::names::did_you_mean;
use provender_core::request::SourceRef;
use provender_core::{Context, Error, ErrorKind, Result, codes};
use provender_dialects::{
    Dialect, SourceTable, Sources, TableName, refuse_equal_names, source_sql,
};

use crate::client::SnowflakeClient;
use crate::error::{is_missing, on_query};
use crate::names::{made, shown};
use crate::types::Columns;

/// How many names are looked through for one that was meant.
const MAX_NAMES: usize = 1_000;

/// The tables of one database and schema, and of others that names are qualified with.
#[derive(Debug)]
pub(crate) struct Tables {
    /// Exactly as Snowflake spells it.
    pub database: String,
    /// Exactly as Snowflake spells it.
    pub schema: String,
    found: Mutex<HashMap<String, TableName>>,
}

impl Tables {
    /// The tables of a database and a schema as a configuration spells them.
    pub(crate) fn new(database: &str, schema: &str) -> Self {
        Self {
            database: identifier(database),
            schema: identifier(schema),
            found: Mutex::default(),
        }
    }

    /// A name of this schema.
    pub(crate) fn own(&self, table: &str) -> TableName {
        TableName::new([self.database.as_str(), self.schema.as_str(), table])
    }

    /// The table that a name means; `None` if there is none.
    ///
    /// # Errors
    /// `P120` for a name that means several tables, or none that can be read.
    pub(crate) async fn find(
        &self,
        cx: &Context,
        client: &SnowflakeClient,
        name: &str,
    ) -> Result<Option<TableName>> {
        if let Some(known) = self.lock().get(name) {
            return Ok(Some(known.clone()));
        }
        let wanted = self.parts(name)?;
        let mut found = self.matching(cx, client, &wanted).await?;
        let upper = wanted.database.to_uppercase();
        if found.is_empty() && wanted.database != upper && wanted.database != self.database {
            let wanted = Wanted {
                database: upper,
                ..wanted.clone()
            };
            found = self.matching(cx, client, &wanted).await?;
        }
        let exact = found.iter().position(|found| {
            found
                .parts()
                .ends_with(&[wanted.schema.clone(), wanted.table.clone()])
        });
        let table = match (exact, found.len()) {
            (_, 0) => return Ok(None),
            (Some(exact), _) => found.swap_remove(exact),
            (None, 1) => found.swap_remove(0),
            (None, _) => {
                let names: Vec<String> =
                    found.iter().map(|found| found.parts().join(".")).collect();
                return Err(Error::new(
                    &codes::MISSING_TABLE,
                    format!(
                        "table {name:?} is not clear: {} differ only in case",
                        names.join(", ")
                    ),
                )
                .help("spell the name exactly")
                .context("table", name));
            }
        };
        self.lock().insert(name.to_owned(), table.clone());
        Ok(Some(table))
    }

    /// The table that a name means.
    ///
    /// # Errors
    /// `P120` if there is none.
    pub(crate) async fn find_existing(
        &self,
        cx: &Context,
        client: &SnowflakeClient,
        name: &str,
    ) -> Result<TableName> {
        if let Some(found) = self.find(cx, client, name).await? {
            return Ok(found);
        }
        let wanted = self.parts(name)?;
        let known = self.names(cx, client, &wanted).await.unwrap_or_default();
        let hint = did_you_mean(&wanted.table, known.iter().map(String::as_str));
        let role = match &client.settings().role {
            Some(role) => format!("role {role}"),
            None => "the user's role".to_owned(),
        };
        Err(Error::new(
            &codes::MISSING_TABLE,
            format!(
                "Snowflake has no table {name:?} in {}.{} that {role} may see",
                wanted.database, wanted.schema
            ),
        )
        .help(if hint.is_empty() {
            "check the name and the role's grants".to_owned()
        } else {
            hint
        })
        .context("table", name))
    }

    /// The name of a table that is to be made. A part in quotes is exactly as it is written.
    ///
    /// # Errors
    /// `P120` for a name that cannot be read.
    pub(crate) fn to_make(&self, name: &str) -> Result<TableName> {
        let wanted = self.parts(name)?;
        let part = |part: String| {
            let quoted = ['"', '`'].map(|quote| format!("{quote}{part}{quote}"));
            match quoted.iter().any(|quoted| name.contains(quoted)) {
                true => part,
                false => made(&part),
            }
        };
        // What the configuration names is spelled as Snowflake has it.
        let own = |part_of: String, own: &str| match part_of == own {
            true => part_of,
            false => part(part_of),
        };
        Ok(TableName::new([
            own(wanted.database, &self.database),
            own(wanted.schema, &self.schema),
            part(wanted.table),
        ]))
    }

    /// How many tables of the store's schema the role may see.
    ///
    /// # Errors
    /// `P503` to `P532`, and `P507` if there is no such database.
    pub(crate) async fn count(&self, cx: &Context, client: &SnowflakeClient) -> Result<u64> {
        let sql = format!(
            "SELECT COUNT(*) AS \"N\" FROM {}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = {}",
            Dialect::Snowflake.quote(&self.database)?,
            Dialect::Snowflake.string(&self.schema)?,
        );
        let rows = client.texts(cx, sql).await?;
        let n_tables = rows.into_iter().flatten().flatten().next();
        Ok(n_tables.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Forgets where tables were found, after Snowflake said that one is gone.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, TableName>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts(&self, name: &str) -> Result<Wanted> {
        let parsed = TableName::parse(name)?;
        let mut parts = parsed.parts().iter().rev().cloned();
        let table = parts.next().unwrap_or_default();
        let schema = parts.next().unwrap_or_else(|| self.schema.clone());
        let database = parts.next().unwrap_or_else(|| self.database.clone());
        if parts.next().is_some() {
            return Err(Error::new(
                &codes::MISSING_TABLE,
                format!("{name:?} has more parts than database, schema and table"),
            )
            .help("put a part that holds dots into double quotes")
            .context("table", name));
        }
        Ok(Wanted {
            database,
            schema,
            table,
        })
    }

    async fn matching(
        &self,
        cx: &Context,
        client: &SnowflakeClient,
        wanted: &Wanted,
    ) -> Result<Vec<TableName>> {
        let sql = format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM {}.INFORMATION_SCHEMA.TABLES \
             WHERE UPPER(TABLE_SCHEMA) = {} AND UPPER(TABLE_NAME) = {} ORDER BY 1, 2",
            Dialect::Snowflake.quote(&wanted.database)?,
            Dialect::Snowflake.string(&wanted.schema.to_uppercase())?,
            Dialect::Snowflake.string(&wanted.table.to_uppercase())?,
        );
        let rows = match client.texts(cx, sql).await {
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            rows => rows?,
        };
        let mut found: Vec<TableName> = Vec::new();
        for row in rows {
            if let [Some(schema), Some(table)] = row.as_slice() {
                let name = TableName::new([wanted.database.as_str(), schema, table]);
                // Two schemas that differ in case are told apart by the exact one.
                let is_mine =
                    *schema == wanted.schema || schema.eq_ignore_ascii_case(&wanted.schema);
                if is_mine && !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        if found
            .iter()
            .any(|name| name.parts().get(1) == Some(&wanted.schema))
        {
            found.retain(|name| name.parts().get(1) == Some(&wanted.schema));
        }
        Ok(found)
    }

    async fn names(
        &self,
        cx: &Context,
        client: &SnowflakeClient,
        wanted: &Wanted,
    ) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT TABLE_NAME FROM {}.INFORMATION_SCHEMA.TABLES WHERE UPPER(TABLE_SCHEMA) = {} \
             ORDER BY 1 LIMIT {MAX_NAMES}",
            Dialect::Snowflake.quote(&wanted.database)?,
            Dialect::Snowflake.string(&wanted.schema.to_uppercase())?,
        );
        let rows = client.texts(cx, sql).await?;
        let names = rows.into_iter().flatten().flatten();
        Ok(names.map(|name| shown(&name)).collect())
    }
}

#[derive(Clone, Debug)]
struct Wanted {
    database: String,
    schema: String,
    table: String,
}

/// An identifier as Snowflake reads it: in double quotes as it is, else upper-cased.
fn identifier(text: &str) -> String {
    let text = text.trim();
    match text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_uppercase(),
    }
}

/// What is known of one source.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub columns: Columns,
    /// The table; `None` for a query.
    pub table: Option<TableName>,
}

/// Finds a source's table and asks for its columns; no row is read.
///
/// # Errors
/// `P120` if there is no such table, `P123` for a query or filter that fails.
pub(crate) async fn find(
    tables: &Tables,
    cx: &Context,
    client: &SnowflakeClient,
    source: &SourceRef,
    has_time_travel: bool,
) -> Result<Found> {
    if let Some(version) = &source.version {
        check_version(version, has_time_travel, source)?;
    }
    let mut is_second = false;
    loop {
        let table = match &source.relation {
            Relation::Table(name) => Some(tables.find_existing(cx, client, name).await?),
            Relation::Query(_) => None,
        };
        let rows = source_sql(Dialect::Snowflake, source, table.as_ref())?;
        match client
            .describe(cx, format!("SELECT * FROM {rows} AS s"))
            .await
        {
            Ok(columns) => {
                refuse_equal_names(&columns.answered, source)?;
                return Ok(Found { columns, table });
            }
            // A table that was dropped and made again under another case.
            Err(error)
                if is_missing(&error)
                    && table.is_some()
                    && source.filter.is_none()
                    && !is_second =>
            {
                is_second = true;
                tables.forget();
            }
            Err(error) => return Err(on_source(error, source)),
        }
    }
}

/// The sources of a request, as the dialect wants them.
///
/// # Errors
/// As [`find`].
pub(crate) async fn find_all<'a>(
    tables: &Tables,
    cx: &Context,
    client: &SnowflakeClient,
    sources: impl IntoIterator<Item = &'a SourceRef>,
    has_time_travel: bool,
) -> Result<Sources> {
    let mut distinct: Vec<&SourceRef> = Vec::new();
    for source in sources {
        if !distinct.contains(&source) {
            distinct.push(source);
        }
    }
    let found = distinct
        .iter()
        .map(|source| find(tables, cx, client, source, has_time_travel));
    let found = futures::future::try_join_all(found).await?;
    let mut all = Sources::new();
    for (source, found) in distinct.into_iter().zip(found) {
        let table = SourceTable {
            schema: found.columns.stored,
            table: found.table,
        };
        all.insert(source, table);
    }
    Ok(all)
}

fn check_version(version: &SourceVersion, has_time_travel: bool, source: &SourceRef) -> Result<()> {
    if !has_time_travel {
        return Err(Error::new(
            &codes::UNSUPPORTED,
            format!(
                "{} is asked for in a past state, and time_travel is off",
                source.describe()
            ),
        )
        .help("set time_travel: true where the account keeps past states"));
    }
    match version {
        SourceVersion::TimestampUs(_) => Ok(()),
        _ => Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!("{} has no version numbers in Snowflake", source.describe()),
        )
        .help("name a time instead")),
    }
}

/// A failure on a source, told as one of what the source names.
pub(crate) fn on_source(error: Error, source: &SourceRef) -> Error {
    match &source.relation {
        Relation::Query(query) => on_query(error, query),
        Relation::Table(name) => match &source.filter {
            Some(filter) if error.kind() == ErrorKind::InvalidArgument => Error::new(
                &codes::BAD_QUERY,
                format!(
                    "the filter {filter:?} of table {name:?} fails: {}",
                    error.message()
                ),
            )
            .context("table", name.clone())
            .source(error),
            _ => error.context("table", name.clone()),
        },
    }
}
