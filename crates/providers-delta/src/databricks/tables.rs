//! Which table a name means, and which columns a source has in the warehouse.

use arrow_schema::SchemaRef;
use provender_core::model::Relation;
use provender_core::request::SourceRef;
use provender_core::{Context, Error, ErrorKind, Result, codes};
use provender_dialects::{
    Dialect, SourceTable, Sources, TableName, refuse_equal_names, source_sql,
};

use super::error::{is_missing, on_query};
use super::results::Client;
use super::store::DatabricksOfflineStore;

/// The catalog and schema that names without one mean.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub catalog: String,
    pub schema: String,
}

impl Namespace {
    /// A table's whole name.
    ///
    /// # Errors
    /// `P120` for a name that cannot be read, or of more than three parts.
    pub(crate) fn full(&self, name: &str) -> Result<TableName> {
        let parsed = TableName::parse(name)?;
        let parts = match parsed.parts() {
            [table] => [&self.catalog, &self.schema, table].map(String::clone),
            [schema, table] => [&self.catalog, schema, table].map(String::clone),
            [_, _, _] => return Ok(parsed),
            _ => {
                return Err(Error::new(
                    &codes::MISSING_TABLE,
                    format!("{name:?} is no table's name: it has more than three parts"),
                )
                .help("write table, schema.table or catalog.schema.table")
                .context("table", name));
            }
        };
        Ok(TableName::new(parts))
    }
}

/// A name as Unity Catalog spells it in paths: parts between dots.
pub(crate) fn dotted(table: &TableName) -> String {
    table.parts().join(".")
}

/// The columns of a source in the warehouse, and its table if it is one; no row is read.
///
/// # Errors
/// `P120` if there is no such table, `P123` for a query or filter that fails.
pub(crate) async fn find(
    store: &DatabricksOfflineStore,
    client: &Client,
    cx: &Context,
    source: &SourceRef,
) -> Result<(SchemaRef, Option<TableName>)> {
    let table = match &source.relation {
        Relation::Table(name) => Some(store.namespace.full(name)?),
        Relation::Query(_) => None,
    };
    let rows = source_sql(Dialect::Spark, source, table.as_ref())?;
    match client.columns(cx, &rows).await {
        Ok(schema) => {
            refuse_equal_names(&schema, source)?;
            Ok((schema, table))
        }
        Err(error) => {
            if let (Relation::Table(name), Some(table)) = (&source.relation, &table)
                && is_missing(&error)
                // What is missing may be a table that the filter names.
                && (source.filter.is_none()
                    || store.direct.catalog.table(cx, &dotted(table)).await?.is_none())
            {
                return Err(store.missing(cx, name).await);
            }
            Err(on_source(error, source))
        }
    }
}

/// The sources of a request, as the dialect wants them.
///
/// # Errors
/// As [`find`].
pub(crate) async fn find_all<'a>(
    store: &DatabricksOfflineStore,
    cx: &Context,
    sources: impl IntoIterator<Item = &'a SourceRef>,
) -> Result<Sources> {
    let client = store.client()?;
    let mut distinct: Vec<&SourceRef> = Vec::new();
    for source in sources {
        if !distinct.contains(&source) {
            distinct.push(source);
        }
    }
    let found = distinct
        .iter()
        .map(|source| find(store, client, cx, source));
    let found = futures::future::try_join_all(found).await?;
    let mut all = Sources::new();
    for (source, (schema, table)) in distinct.into_iter().zip(found) {
        all.insert(source, SourceTable { schema, table });
    }
    Ok(all)
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
