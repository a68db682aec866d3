//! The columns that a push brings, and how they become rows of the online store and of the table.
//!
//! Decides what each column is called, which type it is read as, and that one column can serve several
//! purposes. Asks no store: it is given the source's schema where one is needed.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use provender_core::model::FeatureView;
use provender_core::names::did_you_mean;
use provender_core::time::{instant_type, is_time_type, to_instants};
use provender_core::{CastRule, Error, Result, ValueType, codes};
use provender_engine::cast::cast_value;

use crate::cast::can_be_key;
use crate::cells::{cell_text, key_text};
use crate::request::source::{BoundOutput, bind, type_name};
use crate::spine::defect;

/// One column that a push brings.
#[derive(Clone, Debug)]
pub(crate) struct PushColumn {
    /// What rows call it.
    pub(crate) name: String,
    /// The source's column that it fills.
    pub(crate) column: String,
    /// The type it is read as.
    pub(crate) value_type: ValueType,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Key,
    EventTime,
    CreatedTime,
    Feature,
    /// A column of the source that is no feature: a tie breaker, or what a window is taken over.
    Other,
}

/// Everything that a push to one view brings.
#[derive(Clone, Debug)]
pub(crate) struct PushColumns {
    /// The view's name, for messages.
    pub(crate) view: String,
    /// The columns: keys, event time, created time, features, others.
    pub(crate) columns: Vec<PushColumn>,
    /// How many of them are keys.
    pub(crate) n_keys: usize,
    /// The column of the event time.
    pub(crate) event: usize,
    /// The column of the created time, if the source has one.
    pub(crate) created: Option<usize>,
    /// The column of each tie breaker, and the type that it is compared as.
    pub(crate) ties: Vec<(usize, ValueType)>,
    /// The column of each feature, and its declared type. Windows are none.
    pub(crate) features: Vec<(usize, ValueType)>,
    /// The columns under their types.
    pub(crate) schema: SchemaRef,
}

impl PushColumns {
    /// The columns that a view takes. `source` is the schema of its source, without which the view
    /// must have neither tie breakers nor aggregations.
    ///
    /// # Errors
    /// `P121`, `P122`, `P124` for a source that no longer fits the view; `InvalidArgument` (`P404`)
    /// if one name would mean two columns.
    pub(crate) fn of(view: &FeatureView, source: Option<&Schema>) -> Result<Self> {
        let spelled = Spelled::new(view, source)?;
        let mut building = Building {
            view,
            columns: Vec::new(),
        };
        let keys = view.join_keys();
        for (key, column) in keys.iter().zip(&spelled.keys) {
            building.add(&key.name, column, &key.value_type, Role::Key)?;
        }
        let n_keys = building.columns.len();
        let instant = ValueType::Timestamp;
        let named = &view.source.timestamp;
        let event = building.add(named, &spelled.timestamp, &instant, Role::EventTime)?;
        let created = match (&view.source.created_timestamp, &spelled.created_timestamp) {
            (Some(named), Some(column)) => {
                Some(building.add(named, column, &instant, Role::CreatedTime)?)
            }
            _ => None,
        };
        let mut features = Vec::new();
        for (feature, column) in view.features.iter().zip(&spelled.features) {
            let at = building.add(&feature.name, column, &feature.value_type, Role::Feature)?;
            features.push((at, feature.value_type.clone()));
        }
        let mut ties = Vec::new();
        for (named, column) in view.source.tie_breakers.iter().zip(&spelled.tie_breakers) {
            let value_type = source_type(view, source, column)?;
            ties.push((building.other(named, column, &value_type)?, value_type));
        }
        for (aggregation, column) in view.aggregations.iter().zip(&spelled.windows) {
            if let (Some(named), Some(column)) = (&aggregation.column, column) {
                let value_type = source_type(view, source, column)?;
                building.other(named, column, &value_type)?;
            }
        }
        let columns = building.columns;
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| column.value_type.to_field(&column.name))
            .collect();
        Ok(Self {
            view: view.name.clone(),
            n_keys,
            event,
            created,
            ties,
            features,
            schema: Arc::new(Schema::new(fields)),
            columns,
        })
    }

    /// Finds every column in the schema of the rows that are brought: for each column its index there.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for a column that is missing, unknown, there twice, or of a type
    /// that never fits.
    pub(crate) fn find(&self, rows: &Schema) -> Result<Vec<usize>> {
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        for (at, field) in rows.fields().iter().enumerate() {
            if by_name.insert(field.name(), at).is_some() {
                return Err(self.bad(format!(
                    "rows for view {:?} have two columns {:?}",
                    self.view,
                    field.name()
                )));
            }
        }
        let mut found = Vec::with_capacity(self.columns.len());
        let mut missing = Vec::new();
        for column in &self.columns {
            match by_name.remove(column.name.as_str()) {
                Some(at) => {
                    self.check_type(column, rows.field(at).data_type())?;
                    found.push(at);
                }
                None => missing.push(format!("{} ({})", column.name, self.what(column))),
            }
        }
        if !missing.is_empty() {
            let mut extra: Vec<&str> = by_name.into_keys().collect();
            extra.sort_unstable();
            let and = if extra.is_empty() {
                String::new()
            } else {
                format!(", and have {} instead", extra.join(", "))
            };
            return Err(self
                .bad(format!(
                    "rows for view {:?} lack {}{and}",
                    self.view,
                    missing.join(", ")
                ))
                .help("name the columns as the definitions do; every feature must be there, null where there is no value"));
        }
        let mut extra: Vec<&str> = by_name.into_keys().collect();
        extra.sort_unstable();
        if let Some(first) = extra.first() {
            let names = self.columns.iter().map(|column| column.name.as_str());
            return Err(self
                .bad(format!(
                    "view {:?} takes no column {}",
                    self.view,
                    extra.join(", ")
                ))
                .help(did_you_mean(first, names)));
        }
        Ok(found)
    }

    /// Rows as they were brought, cast to the types of [`Self::schema`]; `found` is of [`Self::find`],
    /// and `first_row` the number of the batch's first row.
    ///
    /// # Errors
    /// `InvalidArgument` (`P409`) for a null key or event time, and for a value that does not fit.
    pub(crate) fn read(
        &self,
        rows: &RecordBatch,
        found: &[usize],
        first_row: u64,
    ) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(found.len());
        for (column, &at) in self.columns.iter().zip(found) {
            let brought = rows.column(at);
            let array = match column.role {
                Role::EventTime | Role::CreatedTime => self.instants(column, brought, first_row)?,
                _ => {
                    let keys = &arrays[..self.n_keys.min(arrays.len())];
                    self.cast(column, brought, &column.value_type, keys, first_row)?
                }
            };
            let is_needed = matches!(column.role, Role::Key | Role::EventTime);
            if is_needed && let Some(row) = (0..array.len()).find(|&row| array.is_null(row)) {
                return Err(self.bad_row(format!(
                    "row {} for view {:?} has no {}: {:?} is null",
                    first_row + row as u64,
                    self.view,
                    if column.role == Role::Key {
                        "key"
                    } else {
                        "event time"
                    },
                    column.name
                )));
            }
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| defect("rows do not fit the types that they were cast to", error))
    }

    /// Casts one column of rows of [`Self::schema`] to another type.
    ///
    /// # Errors
    /// `InvalidArgument` (`P409`) that names view, column, row and key.
    pub(crate) fn cast_again(
        &self,
        rows: &RecordBatch,
        column: usize,
        to: &ValueType,
        first_row: u64,
    ) -> Result<ArrayRef> {
        let keys = &rows.columns()[..self.n_keys];
        self.cast(
            &self.columns[column],
            rows.column(column),
            to,
            keys,
            first_row,
        )
    }

    /// A row's key, for messages: `key origin=JFK`.
    pub(crate) fn key(&self, keys: &[ArrayRef], row: usize) -> String {
        if self.n_keys == 0 {
            return "the global row".to_owned();
        }
        let names = self.columns.iter().map(|column| column.name.as_str());
        format!("key {}", key_text(names.zip(keys), row))
    }

    /// What a column is, for messages: `feature, float64`.
    fn what(&self, column: &PushColumn) -> String {
        let value_type = &column.value_type;
        match column.role {
            Role::Key => format!("join key, {value_type}"),
            Role::EventTime => "event time, timestamp".to_owned(),
            Role::CreatedTime => "created time, timestamp, null where it is not known".to_owned(),
            Role::Feature => format!("feature, {value_type}"),
            Role::Other => format!("column of the source, {value_type}"),
        }
    }

    fn check_type(&self, column: &PushColumn, found: &DataType) -> Result<()> {
        let declared = &column.value_type;
        let fits = match column.role {
            Role::EventTime | Role::CreatedTime => is_time_type(found) || *found == DataType::Null,
            Role::Key => can_be_key(declared, found),
            _ => declared.cast_from(found) != CastRule::Never,
        };
        if fits {
            return Ok(());
        }
        Err(self
            .bad(format!(
                "rows for view {:?} have {} as {}, which is expected as {}",
                self.view,
                column.name,
                type_name(found),
                self.what(column)
            ))
            .help(format!("cast the column to {declared}")))
    }

    fn instants(
        &self,
        column: &PushColumn,
        brought: &ArrayRef,
        first_row: u64,
    ) -> Result<ArrayRef> {
        if *brought.data_type() == DataType::Null {
            return Ok(new_null_array(&instant_type(), brought.len()));
        }
        match to_instants(brought.as_ref()) {
            Ok(instants) => Ok(Arc::new(instants)),
            Err(error) => {
                let row = (0..brought.len())
                    .find(|&row| to_instants(brought.slice(row, 1).as_ref()).is_err())
                    .unwrap_or_default();
                Err(self.bad_row(format!(
                    "row {} for view {:?}: {:?}: {}",
                    first_row + row as u64,
                    self.view,
                    column.name,
                    error.message()
                )))
            }
        }
    }

    fn cast(
        &self,
        column: &PushColumn,
        values: &ArrayRef,
        to: &ValueType,
        keys: &[ArrayRef],
        first_row: u64,
    ) -> Result<ArrayRef> {
        cast_value(values, to, true).map_err(|failure| {
            let value = if failure.value.is_empty() {
                cell_text(values.as_ref(), failure.row)
            } else {
                failure.value.clone()
            };
            // Keys are cast first, so a misfit among them has no whole key to show.
            let key = if keys.len() == self.n_keys && self.n_keys > 0 {
                format!(" ({})", self.key(keys, failure.row))
            } else {
                String::new()
            };
            self.bad_row(format!(
                "row {}{key} for view {:?}: {} {value} of {:?} {}",
                first_row + failure.row as u64,
                self.view,
                if column.role == Role::Key {
                    "the key"
                } else {
                    "the value"
                },
                column.name,
                failure.reason
            ))
        })
    }

    fn bad(&self, message: String) -> Error {
        Error::new(&codes::BAD_REQUEST, message).context("view", self.view.clone())
    }

    /// A row that cannot be taken.
    pub(crate) fn bad_row(&self, message: String) -> Error {
        Error::new(&codes::BAD_ROW, message)
            .help("nothing was written; mend the row and push again")
            .context("view", self.view.clone())
    }
}

/// A view's columns, as the source spells them where its schema is known, else as the view does.
struct Spelled {
    keys: Vec<String>,
    timestamp: String,
    created_timestamp: Option<String>,
    tie_breakers: Vec<String>,
    features: Vec<String>,
    windows: Vec<Option<String>>,
}

impl Spelled {
    fn new(view: &FeatureView, source: Option<&Schema>) -> Result<Self> {
        let Some(schema) = source else {
            let keys = view.join_keys();
            return Ok(Self {
                keys: keys
                    .iter()
                    .map(|key| view.source.key_column(&key.name).to_owned())
                    .collect(),
                timestamp: view.source.timestamp.clone(),
                created_timestamp: view.source.created_timestamp.clone(),
                tie_breakers: view.source.tie_breakers.clone(),
                features: view.features.iter().map(|f| f.column.clone()).collect(),
                windows: view.aggregations.iter().map(|a| a.column.clone()).collect(),
            });
        };
        let wanted: Vec<usize> = (0..view.outputs().len()).collect();
        let bound = bind(view, schema, &wanted).map_err(crate::training::first_problem)?;
        let mut features = Vec::new();
        let mut windows = Vec::new();
        for output in bound.outputs {
            match output {
                BoundOutput::Column { column, .. } => features.push(column),
                BoundOutput::Window { column, .. } => windows.push(column),
            }
        }
        Ok(Self {
            keys: bound.keys,
            timestamp: bound.source.timestamp,
            created_timestamp: bound.source.created_timestamp,
            tie_breakers: bound.source.tie_breakers,
            features,
            windows,
        })
    }
}

struct Building<'a> {
    view: &'a FeatureView,
    columns: Vec<PushColumn>,
}

impl Building<'_> {
    /// Adds a column, or answers the one that has this name already and fills the same column.
    fn add(
        &mut self,
        name: &str,
        column: &str,
        value_type: &ValueType,
        role: Role,
    ) -> Result<usize> {
        if let Some(at) = self.columns.iter().position(|known| known.name == name) {
            let known = &self.columns[at].column;
            if known == column {
                return Ok(at);
            }
            return Err(Error::new(
                &codes::NAME_CLASH,
                format!(
                    "view {:?} cannot be pushed to: {name:?} would be both column {known:?} and column {column:?} of source {:?}",
                    self.view.name, self.view.source.name
                ),
            )
            .help("rename the feature")
            .context("view", self.view.name.clone()));
        }
        self.columns.push(PushColumn {
            name: name.to_owned(),
            column: column.to_owned(),
            value_type: value_type.clone(),
            role,
        });
        Ok(self.columns.len() - 1)
    }

    /// A column of the source that something else may fill already.
    fn other(&mut self, name: &str, column: &str, value_type: &ValueType) -> Result<usize> {
        match self.columns.iter().position(|known| known.column == column) {
            Some(at) => Ok(at),
            None => self.add(name, column, value_type, Role::Other),
        }
    }
}

/// The type of a source's column.
fn source_type(view: &FeatureView, source: Option<&Schema>, column: &str) -> Result<ValueType> {
    let field = source.and_then(|schema| schema.field_with_name(column).ok());
    let Some(field) = field else {
        return Err(Error::new(
            &codes::INTERNAL,
            format!("the type of column {column:?} was not looked up"),
        ));
    };
    ValueType::from_arrow(field.data_type()).ok_or_else(|| {
        Error::new(
            &codes::TYPE_MISMATCH,
            format!(
                "view {:?}: column {column:?} of source {:?} is {}, which cannot be pushed",
                view.name,
                view.source.name,
                field.data_type()
            ),
        )
        .help("cast the column in a `query:`")
    })
}
