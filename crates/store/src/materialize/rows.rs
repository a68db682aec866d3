//! From an offline store's answer to rows that an online store takes.
//!
//! Decides what an answer must look like, so that a provider that breaks its contract is found here
//! and not by what is served later.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
    new_null_array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use provender_core::provider::ProviderInfo;
use provender_core::request::ViewLayout;
use provender_core::time::{UTC, instant_type, is_time_type, to_instants};
use provender_core::{Error, Result, ValueType, codes};
use provender_engine::cast::cast_value;

use super::reading::Ask;

/// How one answer becomes rows of [`ViewLayout::write_schema`].
#[derive(Debug)]
pub(super) struct RowShape {
    /// What the online store holds, tie breakers with the types of the answer.
    pub(super) layout: ViewLayout,
    schema: SchemaRef,
    times: Times,
    answer: SchemaRef,
    info: ProviderInfo,
}

/// Where a row's times come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// Columns of the answer: event time, perhaps created time, then tie breakers.
    Answered { has_created: bool },
    /// Windows are as of one instant.
    AsOf(i64),
}

/// What a column of an answer must be.
enum Wanted {
    Exactly(DataType),
    Time,
    AnyValue,
}

impl RowShape {
    /// The shape of an answer of this schema; `layout` needs no tie breakers.
    ///
    /// # Errors
    /// `Internal` (`P802`) for an answer that does not have the columns it was asked for.
    pub(super) fn of(
        ask: &Ask,
        layout: &ViewLayout,
        answer: &SchemaRef,
        info: ProviderInfo,
    ) -> Result<Self> {
        check_columns(ask, answer, &info)?;
        let n_keys = layout.join_keys.len();
        let (times, tie_breakers) = match ask {
            Ask::Windows(windows) => (Times::AsOf(windows.at_us), Vec::new()),
            Ask::Latest(latest) => {
                let has_created = latest.source.created_timestamp.is_some();
                let first = n_keys + 1 + usize::from(has_created);
                let ties = first..first + latest.source.tie_breakers.len();
                let types = ties.map(|at| {
                    let found = answer.field(at).data_type();
                    ValueType::from_arrow(found).unwrap_or(ValueType::String)
                });
                (Times::Answered { has_created }, types.collect())
            }
        };
        let layout = ViewLayout {
            tie_breakers,
            ..layout.clone()
        };
        Ok(Self {
            schema: Arc::new(layout.write_schema()),
            layout,
            times,
            answer: answer.clone(),
            info,
        })
    }

    /// The schema of the rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// One batch of the answer as rows to write.
    ///
    /// # Errors
    /// `Internal` (`P802`) for a batch that is not of the answer's schema.
    pub(super) fn rows(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = batch.schema();
        if !Arc::ptr_eq(&schema, &self.answer) && !is_alike(&schema, &self.answer) {
            return Err(broken(
                &self.info,
                format!("announced [{}]", list(&self.answer)),
                &schema,
            ));
        }
        let n_rows = batch.num_rows();
        let n_keys = self.layout.join_keys.len();
        let mut rest = batch.columns()[n_keys..].iter();
        let mut columns: Vec<ArrayRef> = batch.columns()[..n_keys].to_vec();
        let mut next = || {
            rest.next()
                .ok_or_else(|| Error::new(&codes::INTERNAL, "an answer lacks a column"))
        };
        let no_time = || new_null_array(&instant_type(), n_rows);
        match self.times {
            Times::AsOf(at_us) => {
                let times = TimestampMicrosecondArray::from_value(at_us, n_rows);
                columns.push(Arc::new(times.with_timezone(UTC)));
                columns.push(no_time());
            }
            Times::Answered { has_created } => {
                columns.push(Arc::new(to_instants(next()?)?));
                columns.push(if has_created {
                    Arc::new(to_instants(next()?)?)
                } else {
                    no_time()
                });
            }
        }
        columns.push(Arc::new(BooleanArray::from(vec![false; n_rows])));
        for value_type in &self.layout.tie_breakers {
            let tie = cast_value(next()?, value_type, true).map_err(|failure| {
                Error::new(
                    &codes::CHECKED_CAST,
                    format!(
                        "the tie breaker {} does not fit {value_type}: {}",
                        failure.value, failure.reason
                    ),
                )
            })?;
            columns.push(tie);
        }
        for _ in &self.layout.features {
            columns.push(next()?.clone());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(|error| {
            Error::new(&codes::INTERNAL, "rows do not fit the online store's").source(error)
        })
    }
}

fn check_columns(ask: &Ask, answer: &Schema, info: &ProviderInfo) -> Result<()> {
    let mut wanted: Vec<(&str, Wanted)> = Vec::new();
    let exactly = |value_type: &ValueType| Wanted::Exactly(value_type.to_arrow());
    match ask {
        Ask::Latest(latest) => {
            let keys = latest.keys.iter();
            wanted.extend(keys.map(|key| (key.spine.as_str(), exactly(&key.value_type))));
            let source = &latest.source;
            wanted.push((&source.timestamp, Wanted::Time));
            let created = source.created_timestamp.as_deref();
            wanted.extend(created.map(|name| (name, Wanted::Time)));
            let ties = source.tie_breakers.iter();
            wanted.extend(ties.map(|name| (name.as_str(), Wanted::AnyValue)));
            let features = latest.features.iter();
            wanted.extend(features.map(|one| (one.output.as_str(), exactly(&one.value_type))));
        }
        Ask::Windows(windows) => {
            let keys = windows.keys.iter();
            wanted.extend(keys.map(|key| (key.spine.as_str(), exactly(&key.value_type))));
            let windows = windows.aggregations.iter();
            wanted.extend(windows.map(|one| (one.output.as_str(), exactly(&one.value_type))));
        }
    }
    let fits = |(field, (name, wanted)): (&Arc<Field>, &(&str, Wanted))| {
        let found = field.data_type();
        field.name() == name
            && match wanted {
                Wanted::Exactly(data_type) => found == data_type,
                Wanted::Time => is_time_type(found),
                Wanted::AnyValue => ValueType::from_arrow(found).is_some(),
            }
    };
    let is_right =
        answer.fields().len() == wanted.len() && answer.fields().iter().zip(&wanted).all(fits);
    if is_right {
        return Ok(());
    }
    let shown: Vec<String> = wanted
        .iter()
        .map(|(name, wanted)| match wanted {
            Wanted::Exactly(data_type) => format!("{name}: {data_type}"),
            Wanted::Time => format!("{name}: a time"),
            Wanted::AnyValue => format!("{name}: any value"),
        })
        .collect();
    let asked = format!("was asked for the columns [{}]", shown.join(", "));
    Err(broken(info, asked, answer))
}

fn is_alike(a: &Schema, b: &Schema) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields()
            .iter()
            .zip(b.fields())
            .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
}

fn list(schema: &Schema) -> String {
    let shown: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| format!("{}: {}", field.name(), field.data_type()))
        .collect();
    shown.join(", ")
}

fn broken(info: &ProviderInfo, what: String, found: &Schema) -> Error {
    Error::new(
        &codes::PROVIDER_CONTRACT,
        format!(
            "{} {what} and answered [{}]",
            info.display_name,
            list(found)
        ),
    )
    .context("provider", info.scheme.clone())
}
