//! Where a view's keys, times and features are in its source, and whether their types fit.
//!
//! Planning uses this to check definitions, training to build requests, and `doctor` to find sources
//! that have changed since. It is given the source's schema and asks no store.

use arrow_schema::{DataType, Field, Schema};
use provender_core::model::{Aggregation, Feature, FeatureView};
use provender_core::names::{did_you_mean, find_column};
use provender_core::request::{SourceRef, TimedSource};
use provender_core::time::is_time_type;
use provender_core::{CastRule, Error, Result, ValueType, codes};

/// A view's columns as its source spells them.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    /// The source and its time columns.
    pub(crate) source: TimedSource,
    /// One column for each of the view's join keys.
    pub(crate) keys: Vec<String>,
    /// One for each wanted feature.
    pub(crate) outputs: Vec<BoundOutput>,
}

/// A feature as its source has it.
#[derive(Clone, Debug)]
pub(crate) enum BoundOutput {
    /// A column, and whether casting it can meet values that do not fit.
    Column { column: String, checked: bool },
    /// A window's column (`None` counts rows), and the result's type.
    Window {
        column: Option<String>,
        value_type: ValueType,
    },
}

/// Something about a view that does not fit its source.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Where it is written.
    pub(crate) place: Place,
    /// What it is.
    pub(crate) error: Error,
}

/// A place in the definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A field of the view.
    View(String),
    /// A field of its source.
    Source(String),
}

/// Finds all columns of a view in the schema of its source; `wanted` are indices into the view's
/// outputs.
///
/// # Errors
/// Every problem: `P121` for columns that are not there, `P122` for types that do not fit, `P124`
/// for times that are none. Each names the view and the source.
pub(crate) fn bind(
    view: &FeatureView,
    schema: &Schema,
    wanted: &[usize],
) -> std::result::Result<Bound, Vec<Problem>> {
    let mut binder = Binder {
        view,
        schema,
        problems: Vec::new(),
    };
    let source = &view.source;
    let timestamp = binder.time("timestamp", &source.timestamp);
    let created_timestamp = source
        .created_timestamp
        .as_ref()
        .map(|column| binder.time("created_timestamp", column));
    let tie_breakers = source
        .tie_breakers
        .iter()
        .map(|column| {
            let place = Place::Source("tie_breakers".to_owned());
            binder.found(place, "tie breaker", column)
        })
        .collect::<Vec<_>>();
    let keys = view
        .join_keys()
        .into_iter()
        .map(|key| binder.key(&key.name, &key.value_type))
        .collect::<Vec<_>>();
    let outputs = wanted
        .iter()
        .map(|&index| match view.features.get(index) {
            Some(feature) => binder.feature(feature),
            None => binder.window(&view.aggregations[index - view.features.len()]),
        })
        .collect::<Vec<_>>();
    if !binder.problems.is_empty() {
        return Err(binder.problems);
    }
    // Without a problem nothing is missing, so flattening drops nothing.
    Ok(Bound {
        source: TimedSource {
            source: SourceRef::from(source),
            timestamp: timestamp.unwrap_or_default(),
            created_timestamp: created_timestamp.flatten(),
            tie_breakers: tie_breakers.into_iter().flatten().collect(),
        },
        keys: keys.into_iter().flatten().collect(),
        outputs: outputs.into_iter().flatten().collect(),
    })
}

struct Binder<'a> {
    view: &'a FeatureView,
    schema: &'a Schema,
    problems: Vec<Problem>,
}

impl<'a> Binder<'a> {
    fn time(&mut self, field: &str, column: &str) -> Option<String> {
        let place = Place::Source(field.to_owned());
        let found = self.field(place.clone(), field, column)?;
        if is_time_type(found.data_type()) {
            return Some(found.name().clone());
        }
        let error = Error::new(
            &codes::TIMESTAMP_TYPE,
            format!(
                "source {:?} of view {:?}: {field} column {:?} is {}, neither a timestamp nor a date",
                self.view.source.name,
                self.view.name,
                found.name(),
                type_name(found.data_type())
            ),
        )
        .help("name a timestamp or date column, or make one in a `query:`");
        self.problem(place, error);
        None
    }

    fn key(&mut self, key: &str, declared: &ValueType) -> Option<String> {
        let column = self.view.source.key_column(key);
        let place = Place::Source(format!("columns.{key}"));
        let found = self.field(place, &format!("join key {key:?}"), column)?;
        let fits = match declared.cast_from(found.data_type()) {
            CastRule::Lossless => true,
            CastRule::Checked => declared.implies_checked(found.data_type()),
            CastRule::Never => false,
        };
        if fits {
            return Some(found.name().clone());
        }
        let (name, found) = (found.name().clone(), type_name(found.data_type()));
        let error = Error::new(
            &codes::TYPE_MISMATCH,
            format!(
                "view {:?}: join key {key:?} is declared {declared}, and column {name:?} of source {:?} is {found}",
                self.view.name, self.view.source.name
            ),
        )
        .help(format!(
            "declare the key as {found} in its entity, or cast the column in a `query:`"
        ));
        self.problem(Place::View("entities".to_owned()), error);
        None
    }

    fn feature(&mut self, feature: &Feature) -> Option<BoundOutput> {
        let place = Place::View(feature.name.clone());
        let what = format!("feature {:?}", feature.name);
        let found = self.field(place, &what, &feature.column)?;
        let data_type = found.data_type();
        let rule = feature.value_type.cast_from(data_type);
        let checked = match rule {
            CastRule::Lossless => false,
            CastRule::Checked
                if feature.checked || feature.value_type.implies_checked(data_type) =>
            {
                true
            }
            _ => {
                let help = match (rule, ValueType::from_arrow(data_type)) {
                    (CastRule::Checked, Some(found)) => {
                        format!("declare {found}, or write `cast: checked` if every value fits")
                    }
                    (CastRule::Checked, None) => {
                        "write `cast: checked` if every value fits".to_owned()
                    }
                    (_, Some(found)) => format!("declare {found}"),
                    (_, None) => {
                        "no value type holds this; cast the column in a `query:`".to_owned()
                    }
                };
                let error = Error::new(
                    &codes::TYPE_MISMATCH,
                    format!(
                        "view {:?}: feature {:?} is declared {}, and column {:?} of source {:?} is {}",
                        self.view.name,
                        feature.name,
                        feature.value_type,
                        found.name(),
                        self.view.source.name,
                        type_name(data_type)
                    ),
                )
                .help(help);
                self.problem(Place::View(format!("{}.type", feature.name)), error);
                return None;
            }
        };
        Some(BoundOutput::Column {
            column: found.name().clone(),
            checked,
        })
    }

    fn window(&mut self, aggregation: &Aggregation) -> Option<BoundOutput> {
        let place = Place::View(aggregation.feature.clone());
        let function = aggregation.function;
        let what = format!("aggregation {:?}", aggregation.feature);
        let found = match &aggregation.column {
            None => None,
            Some(column) => Some(self.field(place.clone(), &what, column)?),
        };
        let input = found.map(|found| ValueType::from_arrow(found.data_type()));
        let value_type = match &input {
            Some(None) => None,
            Some(Some(input)) => function.result_type(Some(input)),
            None => function.result_type(None),
        };
        let Some(value_type) = value_type else {
            let error = match found {
                Some(found) => Error::new(
                    &codes::TYPE_MISMATCH,
                    format!(
                        "view {:?}: {what} takes the {function} of column {:?} of source {:?}, which is {}",
                        self.view.name,
                        found.name(),
                        self.view.source.name,
                        type_name(found.data_type())
                    ),
                )
                .help(format!("{function} does not apply to that type")),
                None => Error::new(
                    &codes::BAD_DEFINITION,
                    format!("view {:?}: {what} takes the {function} of no column", self.view.name),
                )
                .help("name a column; only count does without"),
            };
            self.problem(place, error);
            return None;
        };
        if let Some(applied) = &aggregation.value_type
            && *applied != value_type
        {
            let error = Error::new(
                &codes::TYPE_MISMATCH,
                format!(
                    "view {:?}: {what} was applied as {applied}, and its source now makes it {value_type}",
                    self.view.name
                ),
            )
            .help("run `provender plan` and apply the change");
            self.problem(place, error);
            return None;
        }
        Some(BoundOutput::Window {
            column: found.map(|found| found.name().clone()),
            value_type,
        })
    }

    fn found(&mut self, place: Place, what: &str, column: &str) -> Option<String> {
        Some(self.field(place, what, column)?.name().clone())
    }

    fn field(&mut self, place: Place, what: &str, column: &str) -> Option<&'a Field> {
        match find_field(self.schema, column) {
            Ok(field) => Some(field),
            Err(error) => {
                let names = self
                    .schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str());
                let help = error
                    .help_text()
                    .map_or_else(|| did_you_mean(column, names), str::to_owned);
                let error = Error::new(
                    &codes::MISSING_COLUMN,
                    format!(
                        "view {:?}: {what}: {} in source {:?} ({})",
                        self.view.name,
                        error.message(),
                        self.view.source.name,
                        SourceRef::from(&self.view.source).describe()
                    ),
                )
                .help(help);
                self.problem(place, error);
                None
            }
        }
    }

    fn problem(&mut self, place: Place, error: Error) {
        let error = error
            .context("view", self.view.name.clone())
            .context("source", self.view.source.name.clone());
        self.problems.push(Problem { place, error });
    }
}

/// The field of a column: exact, else the only one that ignores case.
fn find_field<'a>(schema: &'a Schema, column: &str) -> Result<&'a Field> {
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let name = find_column(column, names.iter().copied())?;
    schema
        .column_with_name(name)
        .map(|(_, field)| field)
        .ok_or_else(|| {
            Error::new(
                &codes::MISSING_COLUMN,
                format!("there is no column {column:?}"),
            )
        })
}

/// An Arrow type as definitions would write it, else as Arrow does.
pub(crate) fn type_name(data_type: &DataType) -> String {
    ValueType::from_arrow(data_type)
        .map_or_else(|| data_type.to_string(), |found| found.to_string())
}
