//! The columns that an online request brings: the join keys of all views, then request fields.
//!
//! One column serves all views and on-demand views that name it, as a spine's column does in
//! training: each reads it as the type that it declares. The column itself has the type of the first
//! that names it.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use provender_core::names::did_you_mean;
use provender_core::{CastRule, Error, Result, ValueType, codes};

use crate::cast::can_be_key;
use crate::request::resolve::{JoinedView, RequestColumn, Resolved};
use crate::request::source::type_name;

/// The columns of a request, and who reads them.
#[derive(Debug)]
pub(super) struct Columns {
    /// The join keys in the order of their first use, then request fields; of declared types.
    pub(super) schema: SchemaRef,
    /// How many of the columns are join keys.
    pub(super) n_keys: usize,
    /// Distinct pairs of a join key column and the type it is read as.
    pub(super) keys: Vec<KeyUse>,
    /// For each join and each of its keys an index into `keys`.
    pub(super) join_keys: Vec<Vec<usize>>,
    /// For each join key column the index into `keys` that it is echoed as.
    pub(super) echoed: Vec<usize>,
    /// For each request field its column.
    pub(super) requests: Vec<usize>,
}

/// A join key column, read as a type.
#[derive(Clone, Debug)]
pub(super) struct KeyUse {
    /// The column.
    pub(super) column: usize,
    /// The column's name.
    pub(super) name: String,
    /// The declared type.
    pub(super) value_type: ValueType,
    /// For messages: `join key "origin" of view "airport_weather"`.
    what: String,
}

impl Columns {
    /// The columns that views and on-demand features need.
    ///
    /// # Errors
    /// `InvalidArgument` (`P403`) for a column that is named with types of which no value can be both.
    pub(super) fn of(resolved: &Resolved) -> Result<Self> {
        let mut fields: Vec<(String, ValueType, String)> = Vec::new();
        let mut keys: Vec<KeyUse> = Vec::new();
        let mut join_keys = Vec::new();
        let mut echoed = Vec::new();
        for join in &resolved.joins {
            let mut indices = Vec::new();
            for (key, name) in &join.keys {
                let what = key_text(join, &key.name);
                let known = fields.iter().position(|(known, ..)| known == name);
                let column = known.unwrap_or_else(|| {
                    fields.push((name.clone(), key.value_type.clone(), what.clone()));
                    echoed.push(keys.len());
                    fields.len() - 1
                });
                let declared = &fields[column];
                if !can_be_key(&key.value_type, &declared.1.to_arrow()) {
                    return Err(two_types(declared, &what, &key.value_type));
                }
                let known = (keys.iter())
                    .position(|known| known.column == column && known.value_type == key.value_type);
                indices.push(known.unwrap_or_else(|| {
                    keys.push(KeyUse {
                        column,
                        name: name.clone(),
                        value_type: key.value_type.clone(),
                        what,
                    });
                    keys.len() - 1
                }));
            }
            join_keys.push(indices);
        }
        let n_keys = fields.len();
        let mut requests = Vec::new();
        for field in &resolved.requests {
            let known = fields.iter().position(|(known, ..)| *known == field.name);
            let column = known.unwrap_or_else(|| {
                let what = request_text(field);
                fields.push((field.name.clone(), field.value_type.clone(), what));
                fields.len() - 1
            });
            let declared = &fields[column];
            if field.value_type.cast_from(&declared.1.to_arrow()) == CastRule::Never {
                return Err(two_types(declared, &request_text(field), &field.value_type));
            }
            requests.push(column);
        }
        let fields = fields
            .iter()
            .map(|(name, value_type, _)| value_type.to_field(name));
        Ok(Self {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            n_keys,
            keys,
            join_keys,
            echoed,
            requests,
        })
    }

    /// Finds the columns in a batch's schema, by name and in any order.
    ///
    /// # Errors
    /// `InvalidArgument`: `P402` for a column that is not there, `P406` for one that nothing reads,
    /// `P404` for a name that is there twice, `P403` for a type that never fits.
    pub(super) fn find(&self, input: &Schema, requests: &[RequestColumn]) -> Result<Vec<usize>> {
        let mut positions = Vec::with_capacity(self.schema.fields().len());
        for (column, field) in self.schema.fields().iter().enumerate() {
            let mut found = (0..input.fields().len())
                .filter(|&position| input.field(position).name() == field.name());
            let position = found
                .next()
                .ok_or_else(|| self.missing(column, input, requests))?;
            if found.next().is_some() {
                return Err(Error::new(
                    &codes::NAME_CLASH,
                    format!("the request has two columns {:?}", field.name()),
                )
                .help("leave one of them out"));
            }
            positions.push(position);
        }
        for field in input.fields() {
            if self.schema.column_with_name(field.name()).is_none() {
                let error = Error::new(
                    &codes::BAD_REQUEST,
                    format!(
                        "the request has a column {:?}, which is neither a join key nor a request field of what it asks for",
                        field.name()
                    ),
                );
                let hint = did_you_mean(field.name(), names(&self.schema));
                return Err(error.help(if hint.is_empty() {
                    "leave it out".to_owned()
                } else {
                    hint
                }));
            }
        }
        for key in &self.keys {
            let found = input.field(positions[key.column]).data_type();
            if !can_be_key(&key.value_type, found) {
                return Err(wrong_type(&key.name, found, &key.what, &key.value_type));
            }
        }
        for (field, &column) in requests.iter().zip(&self.requests) {
            let found = input.field(positions[column]).data_type();
            if field.value_type.cast_from(found) == CastRule::Never {
                let what = request_text(field);
                return Err(wrong_type(&field.name, found, &what, &field.value_type));
            }
        }
        Ok(positions)
    }

    fn missing(&self, column: usize, input: &Schema, requests: &[RequestColumn]) -> Error {
        let field = self.schema.field(column);
        let key = self.keys.iter().find(|key| key.column == column);
        let what = match key {
            Some(key) => key.what.clone(),
            None => (requests.iter().zip(&self.requests))
                .find(|(_, at)| **at == column)
                .map(|(field, _)| request_text(field))
                .unwrap_or_default(),
        };
        Error::new(
            &codes::MISSING_SPINE_COLUMN,
            format!(
                "the request has no column {:?}, which is {what} ({})",
                field.name(),
                type_name(field.data_type())
            ),
        )
        .help(did_you_mean(field.name(), names(input)))
    }
}

fn key_text(join: &JoinedView, key: &str) -> String {
    if join.label == join.name {
        format!("join key {key:?} of view {:?}", join.name)
    } else {
        format!(
            "join key {key:?} of view {:?} (as {:?})",
            join.name, join.label
        )
    }
}

fn request_text(field: &RequestColumn) -> String {
    format!("a request field of on-demand view {:?}", field.view)
}

fn two_types(first: &(String, ValueType, String), what: &str, declared: &ValueType) -> Error {
    let (name, first_type, first_what) = first;
    Error::new(
        &codes::SPINE_TYPE,
        format!(
            "column {name:?} of the request would be {first_what}, declared {first_type}, and {what}, declared {declared}"
        ),
    )
    .help(format!(
        "read one of them from another column: `join_keys: {{{name}: COLUMN}}`"
    ))
}

fn wrong_type(
    name: &str,
    found: &arrow_schema::DataType,
    what: &str,
    declared: &ValueType,
) -> Error {
    Error::new(
        &codes::SPINE_TYPE,
        format!(
            "column {name:?} of the request is {}, and {what} is declared {declared}",
            type_name(found)
        ),
    )
    .help(format!("send it as {declared}"))
}

fn names(schema: &Schema) -> impl Iterator<Item = &str> {
    schema.fields().iter().map(|field| field.name().as_str())
}
