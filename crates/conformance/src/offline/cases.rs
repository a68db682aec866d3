//! Random cases as a store can be asked them: over tables of plain columns that it holds, in requests
//! that are as true of the types in which it holds them.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use provender_core::model::Relation;
use provender_core::request::{
    FeatureColumn, KeyColumn, SourceRef, TimedSource, ViewJoin, WindowAggregate,
};
use provender_core::{CastRule, Context, ValueType};

use super::Harness;
use super::tables::type_of;
use crate::generate::build;
use crate::oracle::Value;
use crate::{Table, Tables};

/// What a request reads of a source.
pub(super) struct Use<'a> {
    pub(super) source: &'a TimedSource,
    pub(super) keys: &'a [KeyColumn],
    pub(super) features: &'a [FeatureColumn],
    pub(super) aggregations: &'a [WindowAggregate],
    /// Whether the answer holds the tie breakers themselves, in the type that the source has.
    pub(super) answers_ties: bool,
}

impl<'a> Use<'a> {
    pub(super) fn of(view: &'a ViewJoin) -> Self {
        Self {
            source: &view.source,
            keys: &view.keys,
            features: &view.features,
            aggregations: &view.aggregations,
            answers_ties: false,
        }
    }

    fn reads(&self, column: &str) -> bool {
        let source = self.source;
        source.timestamp == column
            || source.created_timestamp.as_deref() == Some(column)
            || source.tie_breakers.iter().any(|other| other == column)
            || self.keys.iter().any(|key| key.column == column)
            || self.features.iter().any(|feature| feature.column == column)
            || self
                .aggregations
                .iter()
                .any(|aggregate| aggregate.column.as_deref() == Some(column))
    }

    /// Whether what is asked of a column is as true of the type that it is held in.
    fn can_ask(&self, name: &str, declared: &ValueType, held: &Field) -> bool {
        let found = held.data_type();
        let fits = |declared: &ValueType, checked: bool| match declared.cast_from(found) {
            CastRule::Lossless => true,
            CastRule::Checked => checked || declared.implies_checked(found),
            CastRule::Never => false,
        };
        let held_as = type_of(held);
        let mut keys = self.keys.iter().filter(|key| key.column == name);
        let mut features = self.features.iter().filter(|it| it.column == name);
        let mut aggregations = self
            .aggregations
            .iter()
            .filter(|it| it.column.as_deref() == Some(name));
        let is_tie = self.source.tie_breakers.iter().any(|tie| tie == name);
        keys.all(|key| fits(&key.value_type, false))
            && features.all(|feature| fits(&feature.value_type, feature.checked))
            && (!is_tie || !self.answers_ties || held_as.as_ref() == Some(declared))
            // The type of an aggregate follows from that of the column.
            && aggregations.all(|it| {
                it.function.result_type(held_as.as_ref()).as_ref() == Some(&it.value_type)
            })
    }
}

impl Harness {
    /// The tables with plain columns, without those that nobody reads and that the store does not hold;
    /// `None` if the requests need one of these, or would be others over what is held instead.
    pub(super) async fn plain_tables(
        &self,
        cx: &Context,
        tables: &Tables,
        uses: &[Use<'_>],
    ) -> Result<Option<Tables>, String> {
        let mut plain = Tables::new();
        for (name, table) in tables {
            let is_of = |it: &&Use<'_>| it.source.source.relation == Relation::Table(name.clone());
            let uses: Vec<&Use<'_>> = uses.iter().filter(is_of).collect();
            let mut kept = Vec::new();
            for (at, field) in table.schema.fields().iter().enumerate() {
                let is_used = uses.iter().any(|it| it.reads(field.name()));
                let can_ask = match type_of(field) {
                    None => None,
                    Some(declared) => {
                        let held = self.held(cx, &declared).await?;
                        held.filter(|held| {
                            let mut uses = uses.iter();
                            uses.all(|it| it.can_ask(field.name(), &declared, held))
                        })
                        .map(|_| declared)
                    }
                };
                match can_ask {
                    // Some stores do not tell names apart by case.
                    Some(_) if !is_used && is_decoy(field.name()) => {}
                    Some(declared) => kept.push((at, declared)),
                    None if is_used => return Ok(None),
                    None => {}
                }
            }
            plain.insert(name.clone(), with_plain_columns(table, &kept)?);
        }
        Ok(Some(plain))
    }
}

fn is_decoy(name: &str) -> bool {
    ["C0", "TS"].contains(&name)
}

/// Some columns of a table, as the declared types spell them.
fn with_plain_columns(table: &Table, kept: &[(usize, ValueType)]) -> Result<Table, String> {
    let fields: Vec<Field> = kept
        .iter()
        .map(|(at, declared)| declared.to_field(table.schema.field(*at).name()))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let mut batches = Vec::new();
    for batch in &table.batches {
        let mut arrays = Vec::new();
        for (at, declared) in kept {
            let column = batch.column(*at);
            let values: Vec<Value> = (0..column.len())
                .map(|row| Value::read(column.as_ref(), row).map(with_one_nan))
                .collect::<Result<_, _>>()?;
            arrays.push(build(&declared.to_arrow(), &values)?);
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options);
        batches.push(batch.map_err(|error| error.to_string())?);
    }
    Ok(Table { schema, batches })
}

/// A store may know one NaN only, whatever the bits of those that were written.
fn with_one_nan(value: Value) -> Value {
    match value {
        Value::Float32(value) if value.is_nan() => Value::Float32(f32::NAN),
        Value::Float64(value) if value.is_nan() => Value::Float64(f64::NAN),
        Value::List(items) => Value::List(items.into_iter().map(with_one_nan).collect()),
        value => value,
    }
}

/// A source under the name that its table got.
pub(super) fn renamed(source: &TimedSource, names: &[(String, String)]) -> TimedSource {
    let mut source = source.clone();
    if let Relation::Table(name) = &source.source.relation
        && let Some((_, new)) = names.iter().find(|(old, _)| old == name)
    {
        source.source = SourceRef::table(new);
    }
    source
}
