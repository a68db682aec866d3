//! Keys and request values in JSON as the one batch that a query reads.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::Field;
use provender_core::names::did_you_mean;
use provender_core::{Error, Result, ValueType, codes};
use provender_store::OnlineQuery;
use serde_json::{Map, Value};

use crate::values::column;

/// The batch of [`OnlineQuery::input_schema`] that `entities` (one array per join key) and `request`
/// (one array or one value per request field) describe.
///
/// # Errors
/// `InvalidArgument` (`P406`, `P402`) that names the field: unknown or missing names, arrays of
/// unequal length, values of another type; no keys although a view has some.
pub(crate) fn entity_batch(
    query: &OnlineQuery,
    entities: Option<&Map<String, Value>>,
    request: Option<&Map<String, Value>>,
) -> Result<RecordBatch> {
    let schema = query.input_schema();
    let (keys, fields) = schema.fields().split_at(query.n_keys());
    let empty = Map::new();
    let entities = match entities {
        Some(entities) => entities,
        None if keys.is_empty() => &empty,
        None => {
            return Err(missing("entities", &keys[0]));
        }
    };
    let request = request.unwrap_or(&empty);
    refuse_unknown("entities", entities, keys)?;
    refuse_unknown("request", request, fields)?;

    let mut n_rows: Option<(usize, &str)> = None;
    for key in keys {
        let name = key.name();
        let Some(value) = entities.get(name) else {
            return Err(missing("entities", key));
        };
        let Value::Array(values) = value else {
            return Err(
                bad(format!("entities.{name} is no array")).help("send one value for each row")
            );
        };
        match n_rows {
            Some((n, other)) if n != values.len() => {
                return Err(bad(format!(
                    "entities.{name} has {} values and entities.{other} has {n}",
                    values.len()
                ))
                .help("send one value of each key for each row"));
            }
            Some(_) => {}
            None => n_rows = Some((values.len(), name)),
        }
    }
    // A service of global views alone has one row.
    let n_rows = n_rows.map_or(1, |(n, _)| n);

    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for key in keys {
        let values = entities.get(key.name()).and_then(Value::as_array);
        let values: Vec<&Value> = values.into_iter().flatten().collect();
        columns.push(column(
            &value_type(key)?,
            &values,
            &format!("entities.{}", key.name()),
        )?);
    }
    for field in fields {
        let name = field.name();
        let path = format!("request.{name}");
        let values: Vec<&Value> = match request.get(name) {
            None => return Err(missing("request", field)),
            Some(Value::Array(values)) => {
                if values.len() != n_rows {
                    return Err(bad(format!(
                        "{path} has {} values for {n_rows} rows",
                        values.len()
                    ))
                    .help("send one value for each row, or one value for all"));
                }
                values.iter().collect()
            }
            Some(value) => vec![value; n_rows],
        };
        columns.push(column(&value_type(field)?, &values, &path)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|error| {
        Error::new(&codes::INTERNAL, "the keys do not fit the query's columns").source(error)
    })
}

fn value_type(field: &Field) -> Result<ValueType> {
    let is_json = field
        .metadata()
        .get("ARROW:extension:name")
        .is_some_and(|name| name == "arrow.json");
    if is_json {
        return Ok(ValueType::Json);
    }
    ValueType::from_arrow(field.data_type()).ok_or_else(|| {
        Error::new(
            &codes::INTERNAL,
            format!("column {:?} has no value type", field.name()),
        )
    })
}

fn refuse_unknown(what: &str, given: &Map<String, Value>, known: &[Arc<Field>]) -> Result<()> {
    let names = || known.iter().map(|field| field.name().as_str());
    match given
        .keys()
        .find(|name| !names().any(|known| known == name.as_str()))
    {
        None => Ok(()),
        Some(name) => {
            let hint = did_you_mean(name, names());
            Err(
                bad(format!("{what}.{name} is not asked for by these features")).help(
                    if hint.is_empty() {
                        "leave it out".to_owned()
                    } else {
                        hint
                    },
                ),
            )
        }
    }
}

fn missing(what: &str, field: &Field) -> Error {
    let name = field.name();
    let expected =
        ValueType::from_arrow(field.data_type()).map_or_else(String::new, |it| format!(" ({it})"));
    Error::new(
        &codes::MISSING_SPINE_COLUMN,
        format!("{what}.{name}{expected} is missing"),
    )
    .help(format!("send {what}: {{{name:?}: [...]}}"))
}

fn bad(message: String) -> Error {
    Error::new(&codes::BAD_REQUEST, message)
}
