//! What the columns of an online answer are called: the join keys, the features, and with `status`
//! two columns for each view.
//!
//! A view's label is its alias or its name. A view that an on-demand view needs has its own name,
//! or, if the on-demand view has an alias, `alias__view`, since one alias may stand for several views.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use provender_core::names::SEPARATOR;
use provender_core::time::instant_type;
use provender_core::{Error, Result, codes};

use super::columns::Columns;
use crate::request::columns::check_clashes;
use crate::request::resolve::{Argument, Output, Resolved, Value};

/// A view whose status is put out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// What takes the view's place in names.
    pub(super) name: String,
    /// The join that it stands for.
    pub(super) join: usize,
}

impl Label {
    fn columns(&self) -> [Field; 2] {
        let name = &self.name;
        [
            Field::new(format!("{name}{SEPARATOR}status"), DataType::Utf8, true),
            Field::new(
                format!("{name}{SEPARATOR}event_timestamp"),
                instant_type(),
                true,
            ),
        ]
    }
}

/// The labels of all views that the outputs name or need, in the order of their first use.
///
/// # Errors
/// `InvalidArgument` (`P404`) if one label stands for two views, or for one view under other keys.
pub(super) fn labels(resolved: &Resolved) -> Result<Vec<Label>> {
    let mut labels: Vec<Label> = Vec::new();
    for output in &resolved.outputs {
        for join in needed(resolved, output.value) {
            let name = label_of(resolved, output, join);
            let known = labels.iter().find(|known| known.name == name);
            match known {
                None => labels.push(Label { name, join }),
                Some(known) if known.join == join => {}
                Some(known) => return Err(ambiguous(resolved, known, join)),
            }
        }
    }
    Ok(labels)
}

fn label_of(resolved: &Resolved, output: &Output, join: usize) -> String {
    let needed = &resolved.joins[join].name;
    match (&output.alias, output.value) {
        (None, _) => needed.clone(),
        (Some(alias), Value::Joined { .. }) => alias.clone(),
        (Some(alias), Value::Step(_)) => format!("{alias}{SEPARATOR}{needed}"),
    }
}

/// The joins that a value is read or computed from, each once, in the order of their first use.
fn needed(resolved: &Resolved, value: Value) -> Vec<usize> {
    let mut joins = Vec::new();
    let mut seen = vec![false; resolved.steps.len()];
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Joined { join, .. } if !joins.contains(&join) => joins.push(join),
            Value::Step(step) if !seen[step] => {
                seen[step] = true;
                let arguments = resolved.steps[step].arguments.iter().rev().flatten();
                open.extend(arguments.filter_map(|argument| match argument {
                    Argument::Value(value) => Some(*value),
                    Argument::Request(_) => None,
                }));
            }
            _ => {}
        }
    }
    joins
}

fn ambiguous(resolved: &Resolved, known: &Label, join: usize) -> Error {
    let describe = |join: usize| {
        let join = &resolved.joins[join];
        let columns: Vec<&str> = join
            .keys
            .iter()
            .map(|(_, column)| column.as_str())
            .collect();
        format!("{}@{} by [{}]", join.name, join.version, columns.join(", "))
    };
    let [status, _] = known.columns();
    Error::new(
        &codes::NAME_CLASH,
        format!(
            "{} and {} would both have their status put out as column {:?}",
            describe(known.join),
            describe(join),
            status.name()
        ),
    )
    .help("use an alias (`as:`) for one of them")
}

/// The answer's columns: join keys, features, and for each label its status and event time.
///
/// # Errors
/// `InvalidArgument` (`P404`) that names two columns of one name.
pub(super) fn output_schema(
    resolved: &Resolved,
    columns: &Columns,
    labels: &[Label],
) -> Result<SchemaRef> {
    let keys = &columns.schema.fields()[..columns.n_keys];
    for output in &resolved.outputs {
        if keys.iter().any(|key| *key.name() == output.name) {
            return Err(Error::new(
                &codes::NAME_CLASH,
                format!(
                    "{} would be put out as column {:?}, which is a join key too",
                    output.describe(),
                    output.name
                ),
            )
            .help("use an alias (`as:`) or ask for full feature names"));
        }
    }
    check_clashes(resolved, &Schema::empty())?;
    let mut fields = keys.to_vec();
    let outputs = resolved.outputs.iter();
    fields.extend(outputs.map(|output| Arc::new(output.value_type.to_field(&output.name))));
    for label in labels {
        for field in label.columns() {
            if fields.iter().any(|known| known.name() == field.name()) {
                return Err(Error::new(
                    &codes::NAME_CLASH,
                    format!(
                        "the status of view {:?} would be put out as column {:?}, which is there already",
                        resolved.joins[label.join].name,
                        field.name()
                    ),
                )
                .help("use an alias (`as:`)"));
            }
            fields.push(Arc::new(field));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}
