//! What a write writes: the table's columns, how the rows' columns become them, and what the commit
//! says beside the new files.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use deltalake::DeltaTable;
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::transaction::PROTOCOL;
use deltalake::kernel::{Action, MetadataExt, StructField, StructType, new_metadata};
use provender_core::names::{did_you_mean, find_column};
use provender_core::request::{OfflineWrite, WriteMode};
use provender_core::{Error, Result, codes};

use crate::convert::{convert, refuse_far_times};
use crate::error::OnTable;
use crate::schema::{same_type, stored, takes};

/// The columns that a write's files have.
#[derive(Debug)]
pub(crate) struct Target {
    table: String,
    /// The table's columns, as its files hold them.
    pub schema: SchemaRef,
    /// Columns whose values are folders.
    pub partition_by: Vec<String>,
    /// For each column of `schema`, the rows' column; `None` is filled with null.
    columns: Vec<Option<usize>>,
    /// Whether the commit sets the table's columns.
    is_new_schema: bool,
    /// Columns that an existing table is given beside its own; they may be null.
    added: Vec<StructField>,
}

impl Target {
    /// Plans a write of rows of schema `found` to a table, or to a new one.
    pub(crate) fn new(
        write: &OfflineWrite,
        table: Option<&DeltaTable>,
        found: &Schema,
    ) -> Result<Self> {
        refuse_equal_names(write, found)?;
        let Some(table) = table else {
            let schema = stored(&write.table, found)?;
            let partition_by = partition_columns(write, &schema)?;
            return Self::with_new_schema(write, &schema, partition_by);
        };
        refuse_special(write, table)?;
        let existing = columns_of(write, table)?;
        let partition_by = partitions_of(write, table)?;
        let (mut problems, unknown) = misfits(&existing, found);
        if problems.is_empty() && (unknown.is_empty() || write.mode == WriteMode::Extend) {
            let added = added(write, found, &unknown)?;
            let arrow: Schema = (&struct_type(write, added.clone())?)
                .try_into_arrow()
                .map_err(|error| unfit(write, error))?;
            let fields: Fields = existing
                .fields()
                .iter()
                .chain(arrow.fields())
                .cloned()
                .collect();
            let columns = existing
                .fields()
                .iter()
                .map(|field| position(found, field.name()))
                .chain(unknown.into_iter().map(Some))
                .collect();
            return Ok(Self {
                table: write.table.clone(),
                schema: Arc::new(Schema::new(fields)),
                partition_by,
                columns,
                is_new_schema: false,
                added,
            });
        }
        let only_new = problems.is_empty();
        let new_columns = unknown.iter().map(|index| found.field(*index).name());
        problems.extend(new_columns.map(|name| format!("column {name:?} is new")));
        if write.mode == WriteMode::Overwrite {
            let schema = stored(&write.table, found)?;
            let still_there = partition_by
                .iter()
                .all(|column| schema.field_with_name(column).is_ok());
            if still_there {
                return Self::with_new_schema(write, &schema, partition_by);
            }
        }
        Err(Error::new(
            &codes::TABLE_EXISTS,
            format!(
                "the rows do not fit table {:?}: {}",
                write.table,
                problems.join("; ")
            ),
        )
        .help(if only_new {
            "add the new columns to the table (`provender import --add-columns`), or leave them out"
        } else {
            "change the rows' columns, or write to another table"
        })
        .context("table", write.table.clone()))
    }

    fn with_new_schema(
        write: &OfflineWrite,
        schema: &Schema,
        partition_by: Vec<String>,
    ) -> Result<Self> {
        // The way through Delta's own types gives nested fields the names that its files use.
        let delta = delta_schema(write, schema)?;
        let schema: Schema = (&delta)
            .try_into_arrow()
            .map_err(|error| unfit(write, error))?;
        Ok(Self {
            table: write.table.clone(),
            columns: (0..schema.fields().len()).map(Some).collect(),
            schema: Arc::new(schema),
            partition_by,
            is_new_schema: true,
            added: Vec::new(),
        })
    }

    /// Whether the commit gives the table columns that it did not have when the write began.
    pub(crate) fn adds_columns(&self) -> bool {
        !self.added.is_empty()
    }

    /// The rows as the table holds them.
    pub(crate) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (field, column) in self.schema.fields().iter().zip(&self.columns) {
            let array = match column {
                None => new_null_array(field.data_type(), batch.num_rows()),
                Some(column) => convert(field.name(), batch.column(*column), field.data_type())
                    .and_then(|array| refuse_far_times(field.name(), &array).map(|()| array))
                    .map_err(|error| error.context("table", self.table.clone()))?,
            };
            if !field.is_nullable() && array.null_count() > 0 {
                return Err(Error::new(
                    &codes::TABLE_EXISTS,
                    format!(
                        "column {:?} of table {:?} may not be null, but a row has none",
                        field.name(),
                        self.table
                    ),
                )
                .context("column", field.name().clone()));
            }
            if self.partition_by.contains(field.name()) {
                self.refuse_empty_text(field.name(), &array)?;
            }
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(|error| {
            Error::new(
                &codes::TABLE_EXISTS,
                format!("rows do not fit table {:?}: {error}", self.table),
            )
            .source(error)
        })
    }

    /// Delta reads an empty partition value as null, so storing one would lose it.
    fn refuse_empty_text(&self, name: &str, array: &dyn Array) -> Result<()> {
        if *array.data_type() != DataType::Utf8 {
            return Ok(());
        }
        let strings = array.as_string::<i32>();
        if !strings.iter().flatten().any(str::is_empty) {
            return Ok(());
        }
        Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!(
                "table {:?} is partitioned by {name:?}, which holds an empty text that Delta cannot tell from null",
                self.table
            ),
        )
        .help("use null, or partition by another column")
        .context("column", name))
    }

    /// What the commit says beside the new files: columns that it sets, and files that it replaces.
    pub(crate) fn actions(
        &self,
        write: &OfflineWrite,
        table: Option<&DeltaTable>,
    ) -> Result<Vec<Action>> {
        let name = &write.table;
        let Some(table) = table else {
            let delta = delta_schema(write, &self.schema)?;
            let no_settings: [(&str, &str); 0] = [];
            let metadata = new_metadata(&delta, &self.partition_by, no_settings)
                .map_err(deltalake::DeltaTableError::from)
                .on_table(name, "cannot be made")?;
            // The least that any reader and writer of Delta understands.
            let protocol = serde_json::from_value(serde_json::json!({
                "minReaderVersion": 1,
                "minWriterVersion": 2,
            }))
            .map_err(|error| {
                Error::new(
                    &codes::INTERNAL,
                    "the protocol of a new table cannot be said",
                )
                .source(error)
            })?;
            return Ok(vec![Action::Protocol(protocol), Action::Metadata(metadata)]);
        };
        let state = table.snapshot().on_table(name, "cannot be read")?;
        let mut actions = Vec::new();
        if write.mode != WriteMode::Overwrite {
            let now = state.schema();
            let lacks = |field: &&StructField| now.field(field.name()).is_none();
            let lacking: Vec<StructField> = self.added.iter().filter(lacks).cloned().collect();
            if !lacking.is_empty() {
                let fields = now.fields().cloned().chain(lacking).collect();
                let metadata = state
                    .metadata()
                    .clone()
                    .with_schema(&struct_type(write, fields)?)
                    .map_err(deltalake::DeltaTableError::from)
                    .on_table(name, "cannot be given new columns")?;
                actions.push(Action::Metadata(metadata));
            }
            return Ok(actions);
        }
        if self.is_new_schema {
            let metadata = state
                .metadata()
                .clone()
                .with_schema(&delta_schema(write, &self.schema)?)
                .map_err(deltalake::DeltaTableError::from)
                .on_table(name, "cannot be given other columns")?;
            actions.push(Action::Metadata(metadata));
        }
        actions.extend(
            state
                .log_data()
                .iter()
                .map(|file| Action::Remove(file.remove_action(true))),
        );
        Ok(actions)
    }

    /// Whether files written for this target still are what the table, changed meanwhile, holds.
    ///
    /// # Errors
    /// `P505`, retryable, if its columns or partitions are others now.
    pub(crate) fn check_still_fits(&self, write: &OfflineWrite, table: &DeltaTable) -> Result<()> {
        let now = columns_of(write, table)?;
        // A column that the files lack is null in them, and one that is still missing is added.
        let same =
            now.fields()
                .iter()
                .all(|field| match self.schema.field_with_name(field.name()) {
                    Ok(mine) => same_type(mine.data_type(), field.data_type()),
                    Err(_) => field.is_nullable(),
                });
        let is_known = |name: &str| {
            now.field_with_name(name).is_ok() || self.added.iter().any(|field| field.name() == name)
        };
        let same = same
            && self
                .schema
                .fields()
                .iter()
                .all(|field| is_known(field.name()));
        let is_replaced = self.is_new_schema && write.mode == WriteMode::Overwrite;
        if (same || is_replaced) && partitions_of(write, table)? == self.partition_by {
            return Ok(());
        }
        Err(Error::new(
            &codes::TABLE_EXISTS,
            format!(
                "table {:?} was given other columns by another writer meanwhile",
                write.table
            ),
        )
        .help("look at its columns and write again")
        .retryable(true)
        .context("table", write.table.clone()))
    }
}

fn delta_schema(write: &OfflineWrite, schema: &Schema) -> Result<StructType> {
    schema
        .try_into_kernel()
        .map_err(|error| unfit(write, error))
}

fn unfit(write: &OfflineWrite, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(
        &codes::OFFLINE_REQUEST,
        format!("table {:?} cannot hold these rows: {error}", write.table),
    )
    .context("table", write.table.clone())
    .source(error)
}

fn columns_of(write: &OfflineWrite, table: &DeltaTable) -> Result<SchemaRef> {
    let state = table.snapshot().on_table(&write.table, "cannot be read")?;
    Ok(state.snapshot().arrow_schema())
}

fn partitions_of(write: &OfflineWrite, table: &DeltaTable) -> Result<Vec<String>> {
    let state = table.snapshot().on_table(&write.table, "cannot be read")?;
    Ok(state.metadata().partition_columns().to_vec())
}

/// Where rows hold a table's column: by its name, else by the only name that differs in case alone.
fn position(found: &Schema, name: &str) -> Option<usize> {
    let names = found.fields().iter().map(|field| field.name().as_str());
    let column = find_column(name, names).ok()?;
    found.index_of(column).ok()
}

/// What keeps rows of schema `found` out of a table, one sentence for each column, and the rows'
/// columns that the table lacks.
fn misfits(existing: &Schema, found: &Schema) -> (Vec<String>, Vec<usize>) {
    let mut problems = Vec::new();
    let mut used = vec![false; found.fields().len()];
    for field in existing.fields() {
        match position(found, field.name()) {
            None if field.is_nullable() => {}
            None => problems.push(format!(
                "column {:?} is missing and may not be null",
                field.name()
            )),
            Some(index) => {
                used[index] = true;
                let type_found = found.field(index).data_type();
                if !takes(field.data_type(), type_found) {
                    problems.push(format!(
                        "column {:?} is {} and does not take {type_found}",
                        field.name(),
                        field.data_type()
                    ));
                }
            }
        }
    }
    let unknown = (0..used.len()).filter(|index| !used[*index]).collect();
    (problems, unknown)
}

/// Columns of the rows as columns of a table; older rows have none, so they may be null.
fn added(write: &OfflineWrite, found: &Schema, unknown: &[usize]) -> Result<Vec<StructField>> {
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let fields: Vec<Field> = unknown
        .iter()
        .map(|index| found.field(*index).clone().with_nullable(true))
        .collect();
    let schema = stored(&write.table, &Schema::new(fields))?;
    Ok(delta_schema(write, &schema)?.fields().cloned().collect())
}

fn struct_type(write: &OfflineWrite, fields: Vec<StructField>) -> Result<StructType> {
    StructType::try_new(fields).map_err(|error| unfit(write, error))
}

fn refuse_equal_names(write: &OfflineWrite, found: &Schema) -> Result<()> {
    let mut names: Vec<String> = found
        .fields()
        .iter()
        .map(|f| f.name().to_lowercase())
        .collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!(
                "the rows for table {:?} have two columns named {:?}, case aside",
                write.table, pair[0]
            ),
        )
        .help("rename one")
        .context("table", write.table.clone())),
    }
}

fn partition_columns(write: &OfflineWrite, schema: &Schema) -> Result<Vec<String>> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    let mut columns: Vec<String> = Vec::new();
    for asked in &write.partition_by {
        let refuse = |why: String| {
            Error::new(
                &codes::OFFLINE_REQUEST,
                format!(
                    "table {:?} cannot be partitioned by {asked:?}: {why}",
                    write.table
                ),
            )
            .context("table", write.table.clone())
        };
        let column = find_column(asked, names().collect::<Vec<_>>()).map_err(|_| {
            refuse("there is no such column".to_owned()).help(did_you_mean(asked, names()))
        })?;
        let field = schema
            .field_with_name(column)
            .map_err(|_| refuse("there is no such column".to_owned()))?;
        if field.data_type().is_nested()
            || matches!(
                field.data_type(),
                DataType::Binary | DataType::Float32 | DataType::Float64
            )
        {
            return Err(refuse(format!("it is {}", field.data_type()))
                .help("partition by text, whole numbers, dates or times"));
        }
        if columns.iter().any(|known| known == column) {
            return Err(refuse("it is named twice".to_owned()));
        }
        columns.push(column.to_owned());
    }
    if columns.len() == schema.fields().len() {
        return Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!(
                "table {:?} cannot be partitioned by all of its columns",
                write.table
            ),
        )
        .help("leave one out"));
    }
    Ok(columns)
}

/// Tables with rules that only their own engine keeps are not written to.
pub(crate) fn refuse_special(write: &OfflineWrite, table: &DeltaTable) -> Result<()> {
    let state = table.snapshot().on_table(&write.table, "cannot be read")?;
    let refuse = |what: &str| {
        Err(Error::new(
            &codes::UNSUPPORTED,
            format!(
                "table {:?} uses {what}, so rows cannot be written to it",
                write.table
            ),
        )
        .help("write with the program that made the table; reading it works")
        .context("table", write.table.clone()))
    };
    PROTOCOL
        .can_write_to(state)
        .map_err(deltalake::DeltaTableError::from)
        .on_table(&write.table, "cannot be written to")?;
    let settings = state.metadata().configuration();
    if settings
        .keys()
        .any(|key| key.starts_with("delta.constraints."))
    {
        return refuse("constraints");
    }
    let mapping = settings.get("delta.columnMapping.mode");
    if mapping.is_some_and(|mode| mode != "none") {
        return refuse("column mapping");
    }
    for field in state.schema().fields() {
        if field.metadata().keys().any(|key| {
            key == "delta.generationExpression"
                || key == "delta.invariants"
                || key.starts_with("delta.identity.")
        }) {
            return refuse("generated or checked columns");
        }
    }
    Ok(())
}
