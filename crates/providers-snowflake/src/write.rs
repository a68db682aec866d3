//! Writing: rows go to a temporary table as they come, and one transaction at the end adds them.
//!
//! The transaction is the only step that others see, and it notes the write's id, so that a retry
//! changes nothing. Overwriting with other columns is one statement instead, which makes the table anew
//! from the temporary one. Whatever fails before leaves the table as it was; temporary tables end with the
//! session.

use arrow_schema::{Schema, SchemaRef};
use futures::StreamExt;
use provender_core::names::find_column;
use provender_core::provider::{Provider, unsupported};
use provender_core::request::{OfflineWrite, SourceRef, WriteMode, WriteSummary};
use provender_core::{BatchStream, CastRule, Context, Error, Result, ValueType, codes};
use provender_dialects::{Dialect, RowTexts, TableName};

use crate::client::OwnSession;
use crate::error::is_session_lost;
use crate::ledger::Entry;
use crate::locks::{Patience, is_in_the_way};
use crate::names::made_columns;
use crate::rows::{Kind, RowShape, cast_columns, push};
use crate::session::Statement;
use crate::spine::temporary_name;
use crate::store::SnowflakeOfflineStore;
use crate::types::{Columns, column_types};

/// Adds rows to a table, or replaces them; makes the table if there is none.
pub(crate) async fn write(
    store: &SnowflakeOfflineStore,
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
    let existing = store.tables.find(cx, &store.client, &write.table).await?;
    let is_new = existing.is_none();
    let table = match existing {
        Some(table) => table,
        None => store.tables.to_make(&write.table)?,
    };
    let entry = match &write.id {
        Some(id) => Some(Entry::new(&store.tables, &table, id)?),
        None => None,
    };
    if let Some(entry) = &entry
        && !is_new
        && entry.is_done(cx, &store.client).await?
    {
        return Ok(WriteSummary::default());
    }
    let columns = match is_new {
        true => None,
        false => Some(
            store
                .find(cx, &SourceRef::table(write.table.clone()))
                .await?
                .columns,
        ),
    };
    let target = Target::new(&write, columns.as_ref(), &rows.schema)?;
    let session = store.client.own_session()?;
    let job = Job {
        store,
        cx,
        write: &write,
        table,
        target,
        entry,
    };
    let written = job.run(&session, rows).await;
    session.close().await;
    written
}

/// The columns that rows are written as.
struct Target {
    shape: RowShape,
    /// The types of a new table's columns.
    created: Option<Vec<String>>,
}

impl Target {
    fn new(write: &OfflineWrite, table: Option<&Columns>, found: &SchemaRef) -> Result<Self> {
        refuse_equal_names(write, found)?;
        let Some(columns) = table else {
            return Self::new_table(write, found);
        };
        let mut problems = Vec::new();
        let mut target = Self {
            shape: RowShape {
                names: Vec::new(),
                kinds: Vec::new(),
            },
            created: None,
        };
        let known = columns
            .stored
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        for field in found.fields() {
            let Ok(name) = find_column(field.name(), known.clone()) else {
                problems.push(format!("it has no column {:?}", field.name()));
                continue;
            };
            let at = columns.stored.index_of(name).unwrap_or_default();
            let kind = Kind::of_column(&columns.rowtype[at], columns.answered.field(at));
            let fits = kind.as_ref().is_some_and(|kind| {
                matches!(kind, Kind::Time)
                    && ValueType::from_arrow(field.data_type()) == Some(ValueType::String)
                    || kind.value_type().cast_from(field.data_type()) == CastRule::Lossless
            });
            match kind {
                Some(kind) if fits => {
                    target.shape.names.push(name.to_owned());
                    target.shape.kinds.push(kind);
                }
                _ => problems.push(format!(
                    "its column {:?} is {}, and the rows' is {}",
                    field.name(),
                    columns.rowtype[at].type_name,
                    field.data_type()
                )),
            }
        }
        if problems.is_empty() {
            return Ok(target);
        }
        if write.mode == WriteMode::Overwrite {
            return Self::new_table(write, found);
        }
        Err(Error::new(
            &codes::TABLE_EXISTS,
            format!(
                "the rows do not fit table {:?}: {}",
                write.table,
                problems.join("; ")
            ),
        )
        .help("change the rows' columns, or write to another table")
        .context("table", write.table.clone()))
    }

    fn new_table(write: &OfflineWrite, found: &Schema) -> Result<Self> {
        let created = column_types(&write.table, found)?;
        if found.fields().is_empty() {
            return Err(Error::new(
                &codes::OFFLINE_REQUEST,
                format!(
                    "table {:?} cannot be made of rows without columns",
                    write.table
                ),
            ));
        }
        let kinds: Option<Vec<Kind>> = found
            .fields()
            .iter()
            .map(|field| Some(Kind::of_field(field)?.0))
            .collect();
        let kinds = kinds.ok_or_else(|| {
            Error::new(
                &codes::INTERNAL,
                "a column has a Snowflake type and no way to travel",
            )
        })?;
        Ok(Self {
            shape: RowShape {
                names: made_columns(found),
                kinds,
            },
            created: Some(created),
        })
    }

    /// The columns' names as a list.
    fn names(&self) -> Result<String> {
        let names = self.shape.names.iter();
        let names = names.map(|name| Dialect::Snowflake.quote(name));
        Ok(names.collect::<Result<Vec<_>>>()?.join(", "))
    }

    fn definition(&self) -> Result<Option<String>> {
        let Some(created) = &self.created else {
            return Ok(None);
        };
        let columns = self.shape.names.iter().zip(created);
        let columns =
            columns.map(|(name, kind)| Ok(format!("{} {kind}", Dialect::Snowflake.quote(name)?)));
        Ok(Some(columns.collect::<Result<Vec<_>>>()?.join(", ")))
    }
}

fn refuse_equal_names(write: &OfflineWrite, found: &Schema) -> Result<()> {
    let mut names: Vec<&str> = found
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!(
                "the rows for table {:?} have two columns {:?}",
                write.table, pair[0]
            ),
        )
        .context("table", write.table.clone())),
    }
}

struct Job<'a> {
    store: &'a SnowflakeOfflineStore,
    cx: &'a Context,
    write: &'a OfflineWrite,
    table: TableName,
    target: Target,
    entry: Option<Entry>,
}

/// Rows on their way: those that fit one statement stay here, more lie in a temporary table.
struct Held {
    n_rows: u64,
    last: Option<String>,
    staging: Option<String>,
}

impl Job<'_> {
    async fn run(&self, session: &OwnSession, rows: BatchStream) -> Result<WriteSummary> {
        let held = self.hold(session, rows).await?;
        if held.n_rows == 0
            && self.entry.is_none()
            && self.write.mode == WriteMode::Append
            && self.target.created.is_none()
        {
            return Ok(WriteSummary::default());
        }
        let made = self.make_tables(session).await;
        made.map_err(|error| error.context("table", self.write.table.clone()))?;
        let mut patience = Patience::default();
        loop {
            let applied = match self.replaces() {
                true => self.replacement(session, &held).await,
                false => self.transaction(session, &held).await,
            };
            let error = match applied {
                Ok(n_applied) => {
                    return Ok(WriteSummary {
                        n_rows: held.n_rows,
                        n_applied,
                        version: None,
                    });
                }
                Err(error) => error,
            };
            // What became of a COMMIT without an answer, and whether another writer of the same id
            // was first, is what the ledger says.
            let is_open = !self.replaces()
                && !is_session_lost(&error)
                && session
                    .execute(self.cx, Statement::new("ROLLBACK"))
                    .await
                    .is_err();
            if let Some(entry) = &self.entry
                && entry.is_done(self.cx, &self.store.client).await?
            {
                let n_applied = match is_in_the_way(&error) {
                    true => 0,
                    false => held.n_rows,
                };
                return Ok(WriteSummary {
                    n_rows: held.n_rows,
                    n_applied,
                    version: None,
                });
            }
            // Where a transaction may still be open, another attempt would go on with it.
            let waited = match is_open {
                true => Err(error.context("transaction", "could not be rolled back")),
                false => patience.wait(self.cx, error).await,
            };
            waited.map_err(|error| error.context("table", self.write.table.clone()))?;
        }
    }

    /// Makes the tables that are not there: the one of ids, and the one that is written to unless it is replaced.
    async fn make_tables(&self, session: &OwnSession) -> Result<()> {
        let mut patience = Patience::default();
        while let Err(error) = self.try_to_make_tables(session).await {
            patience.wait(self.cx, error).await?;
        }
        Ok(())
    }

    async fn try_to_make_tables(&self, session: &OwnSession) -> Result<()> {
        if let Some(entry) = &self.entry {
            entry.prepare(self.cx, session).await?;
        }
        match self.replaces() {
            true => Ok(()),
            false => self.make_table(session).await,
        }
    }

    async fn hold(&self, session: &OwnSession, mut rows: BatchStream) -> Result<Held> {
        let mut held = Held {
            n_rows: 0,
            last: None,
            staging: None,
        };
        let mut texts = RowTexts::new(self.store.insert_bytes);
        while let Some(batch) = rows.batches.next().await {
            self.cx.check()?;
            let batch = batch?;
            let columns = cast_columns(&batch, &self.target.shape.kinds)?;
            for row in 0..batch.num_rows() {
                if texts.is_full()
                    && let Some(text) = texts.take()
                {
                    self.stage(session, &mut held, &text).await?;
                }
                push(&mut texts, &self.target.shape.kinds, &columns, row);
            }
            held.n_rows += batch.num_rows() as u64;
        }
        held.last = texts.take();
        if self.replaces() {
            self.staging(session, &mut held).await?;
        }
        if held.staging.is_some()
            && let Some(text) = held.last.take()
        {
            self.stage(session, &mut held, &text).await?;
        }
        Ok(held)
    }

    async fn stage(&self, session: &OwnSession, held: &mut Held, text: &str) -> Result<()> {
        let staging = self.staging(session, held).await?;
        let statement = self.target.shape.insert(&staging, text)?;
        session.execute(self.cx, statement).await.map(drop)
    }

    /// The temporary table, which is made when it is first asked for.
    async fn staging(&self, session: &OwnSession, held: &mut Held) -> Result<String> {
        if let Some(staging) = &held.staging {
            return Ok(staging.clone());
        }
        let staging = temporary_name(self.store).sql(Dialect::Snowflake)?;
        let sql = match self.target.definition()? {
            Some(columns) => format!("CREATE TEMPORARY TABLE {staging} ({columns})"),
            None => {
                let names = self.target.names()?;
                let table = self.table.sql(Dialect::Snowflake)?;
                format!(
                    "CREATE TEMPORARY TABLE {staging} AS SELECT {names} FROM {table} WHERE FALSE"
                )
            }
        };
        session.execute(self.cx, Statement::new(sql)).await?;
        Ok(held.staging.insert(staging).clone())
    }

    /// Whether the table is made anew, with the rows' own columns, in the place of what is there.
    fn replaces(&self) -> bool {
        self.write.mode == WriteMode::Overwrite && self.target.created.is_some()
    }

    async fn make_table(&self, session: &OwnSession) -> Result<()> {
        let Some(columns) = self.target.definition()? else {
            return Ok(());
        };
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} ({columns})",
            self.table.sql(Dialect::Snowflake)?
        );
        session.execute(self.cx, Statement::new(sql)).await?;
        self.store.tables.forget();
        Ok(())
    }

    /// Makes the table anew of the rows in one statement, which Snowflake does as a whole or not at all.
    /// Such a statement ends any transaction, so the id is noted after it: between the two, a retry
    /// replaces the rows by the same ones.
    async fn replacement(&self, session: &OwnSession, held: &Held) -> Result<u64> {
        let Some(staging) = &held.staging else {
            return Err(Error::new(
                &codes::INTERNAL,
                "a table is to be made anew of rows that were not sent",
            ));
        };
        let sql = format!(
            "CREATE OR REPLACE TABLE {} COPY GRANTS AS SELECT {} FROM {staging}",
            self.table.sql(Dialect::Snowflake)?,
            self.target.names()?
        );
        session.execute(self.cx, Statement::new(sql)).await?;
        self.store.tables.forget();
        if let Some(entry) = &self.entry {
            entry.note(self.cx, session).await?;
        }
        Ok(held.n_rows)
    }

    /// How many rows were added; none if the id was noted before.
    async fn transaction(&self, session: &OwnSession, held: &Held) -> Result<u64> {
        session
            .execute(self.cx, Statement::new("BEGIN TRANSACTION"))
            .await?;
        if let Some(entry) = &self.entry
            && !entry.note(self.cx, session).await?
        {
            // Nothing was changed, and nothing more is asked of this session.
            let _ = session.execute(self.cx, Statement::new("ROLLBACK")).await;
            return Ok(0);
        }
        let table = self.table.sql(Dialect::Snowflake)?;
        if self.write.mode == WriteMode::Overwrite {
            session
                .execute(self.cx, Statement::new(format!("DELETE FROM {table}")))
                .await?;
        }
        if let Some(text) = &held.last {
            session
                .execute(self.cx, self.target.shape.insert(&table, text)?)
                .await?;
        }
        if let Some(staging) = &held.staging {
            let names = self.target.names()?;
            let sql = format!("INSERT INTO {table} ({names}) SELECT {names} FROM {staging}");
            session.execute(self.cx, Statement::new(sql)).await?;
        }
        session.execute(self.cx, Statement::new("COMMIT")).await?;
        Ok(held.n_rows)
    }
}
