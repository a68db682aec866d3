//! Writing: straight into the storage of external tables, in one commit that counts once; into others
//! by the warehouse, in one statement at the end.
//!
//! A warehouse has no transaction over two tables, so a write with an id, which must count once
//! however often it is tried, goes to external tables alone: their log remembers ids.

use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::{DataType, Fields, Schema, SchemaRef};
use futures::StreamExt;
use provender_core::names::find_column;
use provender_core::provider::{OfflineStore, Provider, unsupported};
use provender_core::request::{OfflineWrite, SourceRef, WriteMode, WriteSummary};
use provender_core::{BatchStream, Context, Error, ErrorKind, Result, codes};
use provender_dialects::{Dialect, RowTexts, TableName};

use super::config::Execution;
use super::delete::{goes_to_the_warehouse, repeated};
use super::direct::{DirectTable, Reach};
use super::error::{databricks_code, is_there};
use super::rows::RowShape;
use super::scratch::Scratch;
use super::statement::Statement;
use super::store::DatabricksOfflineStore;
use super::tables::dotted;
use super::types::sql_type;
use crate::convert::convert;
use crate::schema::{stored, takes};

/// Adds rows to a table, or replaces them; makes the table if there is none.
pub(crate) async fn write(
    store: &DatabricksOfflineStore,
    cx: &Context,
    write: OfflineWrite,
    rows: BatchStream,
) -> Result<WriteSummary> {
    if !matches!(write.mode, WriteMode::Append | WriteMode::Overwrite) {
        return Err(unsupported(
            &store.info(),
            "adding columns to tables while writing",
        ));
    }
    cx.check()?;
    let full = store.namespace.full(&write.table)?;
    let name = dotted(&full);
    let mut reach = store
        .direct
        .reach(cx, &store.namespace, &write.table, true)
        .await?;
    if matches!(reach, Reach::Missing) {
        make(store, cx, &write, &full, &rows.schema).await?;
        store.direct.catalog.forget(&name);
        reach = store
            .direct
            .reach(cx, &store.namespace, &write.table, true)
            .await?;
    }
    let is_warehouse = store.execution == Execution::Warehouse && write.id.is_none();
    match reach {
        Reach::Direct(table) if !is_warehouse => {
            // Rows can be read once, so it is known before the first whether they may go this way.
            match table.takes(&write).await {
                Err(error) if write.id.is_none() && goes_to_the_warehouse(store, &error) => {
                    in_warehouse(store, cx, &write, &full, rows).await
                }
                Err(error) => Err(error),
                Ok(()) => directly(cx, &table, write, rows).await,
            }
        }
        Reach::Not(why) if write.id.is_some() => Err(Error::new(
            &codes::UNSUPPORTED,
            format!("table {name:?} {why}, so a write with an id cannot be made to count once"),
        )
        .help("push to an external Delta table, or without an id")
        .context("table", name)),
        Reach::Not(why) if !store.has_warehouse() => Err(Error::new(
            &codes::UNSUPPORTED,
            format!("table {name:?} {why}, so a SQL warehouse has to write to it"),
        )
        .help("set warehouse_id")
        .context("table", name)),
        _ => in_warehouse(store, cx, &write, &full, rows).await,
    }
}

async fn directly(
    cx: &Context,
    table: &DirectTable,
    write: OfflineWrite,
    rows: BatchStream,
) -> Result<WriteSummary> {
    table.changed();
    let write = OfflineWrite {
        table: table.name.clone(),
        ..write
    };
    table.store.write(cx, write, rows).await
}

/// Makes an empty table for rows of a schema: under the configured location, else a managed one.
async fn make(
    store: &DatabricksOfflineStore,
    cx: &Context,
    write: &OfflineWrite,
    full: &TableName,
    found: &Schema,
) -> Result<()> {
    let client = store
        .client()
        .map_err(|error| error.prefixed(format!("table {:?} has to be made: ", write.table)))?;
    let sql = create(store, write, full, found, "CREATE TABLE IF NOT EXISTS")?;
    let statement = Statement {
        // Made twice it is made once.
        is_repeatable: true,
        ..Statement::change(sql)
    };
    match client.execute(cx, &statement).await {
        Err(error) if is_there(&error) => Ok(()),
        made => made.map_err(|error| error.context("table", write.table.clone())),
    }
}

fn create(
    store: &DatabricksOfflineStore,
    write: &OfflineWrite,
    full: &TableName,
    found: &Schema,
    how: &str,
) -> Result<String> {
    let schema = stored(&write.table, found)?;
    refuse_equal_names(&write.table, &schema)?;
    let mut columns = Vec::new();
    for field in schema.fields() {
        let name = Dialect::Spark.quote(field.name())?;
        // What Delta stores, Databricks has a type for.
        let kind = sql_type(field.data_type()).ok_or_else(|| {
            Error::new(
                &codes::OFFLINE_REQUEST,
                format!("column {:?} is {}", field.name(), field.data_type()),
            )
        })?;
        columns.push(format!("{name} {kind}"));
    }
    let mut sql = format!(
        "{how} {} ({}) USING DELTA{}",
        full.sql(Dialect::Spark)?,
        columns.join(", "),
        properties(&schema)
    );
    if !write.partition_by.is_empty() {
        let known = || schema.fields().iter().map(|field| field.name().as_str());
        let names = write.partition_by.iter().map(|name| {
            let column = find_column(name, known())?;
            Dialect::Spark.quote(column)
        });
        sql.push_str(&format!(
            " PARTITIONED BY ({})",
            names.collect::<Result<Vec<_>>>()?.join(", ")
        ));
    }
    sql.push_str(&location(store, full)?);
    Ok(sql)
}

/// Where a new table lies, as a clause; nothing for a managed one.
fn location(store: &DatabricksOfflineStore, full: &TableName) -> Result<String> {
    let (Some(location), [_, schema, table]) = (&store.location, full.parts()) else {
        return Ok(String::new());
    };
    let url = format!("{location}/{}/{}", folder(schema), folder(table));
    Ok(format!(" LOCATION {}", Dialect::Spark.string(&url)?))
}

/// A name as a folder's, in letters that no engine and no storage spells otherwise.
fn folder(name: &str) -> String {
    let bytes = name.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        byte => format!("-{byte:02x}"),
    });
    bytes.collect()
}

/// What a table of these columns needs besides: Delta takes some letters only where columns have other
/// names in its files.
fn properties(schema: &Schema) -> &'static str {
    let is_odd = |c: char| {
        matches!(
            c,
            ' ' | ',' | ';' | '{' | '}' | '(' | ')' | '\n' | '\t' | '='
        )
    };
    match holds_name(schema.fields(), &is_odd) {
        true => " TBLPROPERTIES ('delta.columnMapping.mode' = 'name')",
        false => "",
    }
}

fn holds_name(fields: &Fields, is_odd: &impl Fn(char) -> bool) -> bool {
    fields.iter().any(|field| {
        field.name().contains(is_odd)
            || match field.data_type() {
                DataType::Struct(fields) => holds_name(fields, is_odd),
                DataType::List(item) | DataType::Map(item, _) => {
                    holds_name(&Fields::from(vec![item.clone()]), is_odd)
                }
                _ => false,
            }
    })
}

fn refuse_equal_names(table: &str, schema: &Schema) -> Result<()> {
    let mut seen: Vec<(String, &str)> = Vec::new();
    for field in schema.fields() {
        let folded = field.name().to_lowercase();
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == folded) {
            return Err(Error::new(
                &codes::OFFLINE_REQUEST,
                format!(
                    "columns {other:?} and {:?} for table {table:?} are one to Databricks, which ignores case",
                    field.name()
                ),
            )
            .help("rename one of them")
            .context("table", table));
        }
        seen.push((folded, field.name().as_str()));
    }
    Ok(())
}

/// How rows become those of a table.
struct Target {
    /// The table's columns.
    schema: SchemaRef,
    /// For each of them the rows' column; `None` is filled with null.
    columns: Vec<Option<usize>>,
    shape: RowShape,
    /// Whether the table is made anew for the rows.
    is_new: bool,
}

impl Target {
    fn new(write: &OfflineWrite, table: &Schema, found: &Schema) -> Result<Self> {
        let mut problems = Vec::new();
        let mut columns = vec![None; table.fields().len()];
        for (at, field) in found.fields().iter().enumerate() {
            let known = table.fields().iter().map(|field| field.name().as_str());
            let column = find_column(field.name(), known).ok();
            match column.and_then(|column| table.index_of(column).ok()) {
                None => problems.push(format!("it has no column {:?}", field.name())),
                Some(place) if takes(table.field(place).data_type(), field.data_type()) => {
                    columns[place] = Some(at);
                }
                Some(place) => problems.push(format!(
                    "its column {:?} is {}, and the rows' is {}",
                    table.field(place).name(),
                    table.field(place).data_type(),
                    field.data_type()
                )),
            }
        }
        let is_new = !problems.is_empty();
        let schema = match (is_new, write.mode) {
            (false, _) => table.clone(),
            (true, WriteMode::Overwrite) => {
                columns = (0..found.fields().len()).map(Some).collect();
                let schema = stored(&write.table, found)?;
                refuse_equal_names(&write.table, &schema)?;
                schema
            }
            _ => {
                return Err(Error::new(
                    &codes::TABLE_EXISTS,
                    format!(
                        "the rows do not fit table {:?}: {}",
                        write.table,
                        problems.join("; ")
                    ),
                )
                .help("change the rows' columns, or write to another table")
                .context("table", write.table.clone()));
            }
        };
        let fields = schema.fields().iter();
        let fields: Vec<_> = fields
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        let schema = Schema::new(fields);
        let lacking = columns.iter().map(Option::is_none).collect();
        Ok(Self {
            shape: RowShape::lacking(&write.table, &schema, lacking)?,
            schema: schema.into(),
            columns,
            is_new,
        })
    }

    fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().zip(&self.columns);
        let columns = columns
            .map(|(field, column)| match column {
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
                Some(at) => convert(field.name(), batch.column(*at), field.data_type()),
            })
            .collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| {
            Error::new(&codes::INTERNAL, "rows are not of the types they were made").source(error)
        })
    }
}

/// Rows on their way: those that fit one statement stay here, more lie in a table of their own.
struct Held {
    n_rows: u64,
    last: Option<String>,
    staging: Option<Scratch>,
}

async fn in_warehouse(
    store: &DatabricksOfflineStore,
    cx: &Context,
    write: &OfflineWrite,
    full: &TableName,
    rows: BatchStream,
) -> Result<WriteSummary> {
    let client = store.client()?;
    let source = SourceRef::table(write.table.clone());
    let (schema, _) = super::tables::find(store, client, cx, &source).await?;
    let target = Target::new(write, &schema, &rows.schema)?;
    let mut held = Held {
        n_rows: 0,
        last: None,
        staging: None,
    };
    let held_all = hold(store, cx, &target, &mut held, rows).await;
    let done = match held_all {
        Ok(()) => commit(store, cx, write, full, &target, &held).await,
        Err(error) => Err(error),
    };
    if let Some(staging) = held.staging {
        staging.close().await;
    }
    done.map_err(|error| {
        // Databricks' own message does not tell whose value it was.
        let error = match databricks_code(&error) {
            Some(_) if error.kind() == ErrorKind::InvalidArgument => {
                let names = target.schema.fields().iter();
                let names: Vec<_> = names.map(|field| format!("{:?}", field.name())).collect();
                error.prefixed(format!(
                    "rows of the columns {} are not taken: ",
                    names.join(", ")
                ))
            }
            _ => error,
        };
        error.context("table", write.table.clone())
    })?;
    Ok(WriteSummary {
        n_rows: held.n_rows,
        n_applied: held.n_rows,
        version: None,
    })
}

async fn hold(
    store: &DatabricksOfflineStore,
    cx: &Context,
    target: &Target,
    held: &mut Held,
    mut rows: BatchStream,
) -> Result<()> {
    let mut texts = RowTexts::new(store.insert_bytes);
    while let Some(batch) = rows.batches.next().await {
        cx.check()?;
        let batch = target.convert(&batch?)?;
        for row in 0..batch.num_rows() {
            if texts.is_full()
                && let Some(text) = texts.take()
            {
                stage(store, cx, target, held, text).await?;
            }
            target.shape.push(&mut texts, &batch, row);
        }
        held.n_rows += batch.num_rows() as u64;
    }
    match texts.take() {
        Some(text) if held.staging.is_some() => stage(store, cx, target, held, text).await,
        last => {
            held.last = last;
            Ok(())
        }
    }
}

async fn stage(
    store: &DatabricksOfflineStore,
    cx: &Context,
    target: &Target,
    held: &mut Held,
    text: String,
) -> Result<()> {
    let client = store.client()?;
    let staging = match &held.staging {
        Some(staging) => staging,
        None => {
            let staging = held.staging.insert(store.scratch()?);
            let sql = format!(
                "CREATE TABLE {} ({}) USING DELTA{}",
                staging.table.sql(Dialect::Spark)?,
                target.shape.definition()?,
                properties(&target.schema)
            );
            client.execute(cx, &Statement::change(sql)).await?;
            staging
        }
    };
    let table = staging.table.sql(Dialect::Spark)?;
    client
        .execute(cx, &target.shape.insert(&table, text)?)
        .await
}

/// The one statement that others see.
async fn commit(
    store: &DatabricksOfflineStore,
    cx: &Context,
    write: &OfflineWrite,
    full: &TableName,
    target: &Target,
    held: &Held,
) -> Result<()> {
    let client = store.client()?;
    let table = full.sql(Dialect::Spark)?;
    let (select, parameters) = match (&held.staging, &held.last) {
        (Some(staging), _) => {
            let staged = staging.table.sql(Dialect::Spark)?;
            let sql = format!("SELECT {} FROM {staged}", target.shape.names()?);
            (sql, Vec::new())
        }
        (None, Some(text)) => (target.shape.select()?, vec![("rows", text.clone())]),
        (None, None) if write.mode == WriteMode::Append => return Ok(()),
        (None, None) => (target.shape.select()?, vec![("rows", "[]".to_owned())]),
    };
    let sql = match (write.mode, target.is_new) {
        (WriteMode::Overwrite, true) => {
            // One statement replaces columns and rows.
            let properties = properties(&target.schema);
            let mut sql = format!("CREATE OR REPLACE TABLE {table} USING DELTA{properties}");
            sql.push_str(&location(store, full)?);
            format!("{sql} AS {select}")
        }
        (WriteMode::Overwrite, false) => {
            format!(
                "INSERT OVERWRITE {table} ({}) {select}",
                target.shape.names()?
            )
        }
        _ => format!("INSERT INTO {table} ({}) {select}", target.shape.names()?),
    };
    let statement = Statement {
        sql,
        parameters,
        // Replacing rows twice is replacing them once.
        is_repeatable: write.mode == WriteMode::Overwrite,
    };
    repeated(cx, || client.execute(cx, &statement)).await
}

#[cfg(test)]
mod tests {
    use super::folder;

    #[test]
    fn folders_have_plain_letters_and_tell_names_apart() {
        assert_eq!(folder("Plain_1"), "Plain_1");
        assert_eq!(folder("a b/\u{e9}"), "a-20b-2f-c3-a9");
        assert_ne!(folder("a-20b"), folder("a b"));
    }
}
