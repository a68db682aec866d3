//! What rows of a store are worth at the time of a read.
//!
//! Decides each row's status, takes away the values of rows older than the view's ttl, gives counts of
//! windows their zero where a key has no row, and refuses answers of stores that break their
//! contract. Arrays that need no change are passed on as they are.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, TimeUnit};
use arrow_select::nullif::nullif;
use provender_core::provider::ProviderInfo;
use provender_core::request::ViewRows;
use provender_core::time::UTC;
use provender_core::{Error, Result, codes};

use super::columns::Columns;
use super::watch;
use crate::cells::key_text;
use crate::request::resolve::JoinedView;
use crate::spine::defect;

/// What is known of a view before it is read.
#[derive(Debug)]
pub(super) struct ViewRules {
    /// For messages: `airport_weather@1`.
    name: String,
    ttl_us: Option<i64>,
    /// The features' types, in the order they are read.
    types: Vec<DataType>,
    /// Which of the features are counts over windows.
    counts: Vec<usize>,
    /// The join keys' names, and where their columns are among the keys of the request.
    keys: Vec<(String, usize)>,
}

/// The rows of a view as they are put out.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// The features, in the order they are read.
    pub(super) features: Vec<ArrayRef>,
    /// With `status`: each row's status and event time.
    pub(super) status: Option<(ArrayRef, ArrayRef)>,
}

/// What a row is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Present,
    NullValue,
    OutsideMaxAge,
    NotFound,
    Error,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::NullValue => "NULL_VALUE",
            Self::OutsideMaxAge => "OUTSIDE_MAX_AGE",
            Self::NotFound => "NOT_FOUND",
            Self::Error => "ERROR",
        }
    }
}

impl ViewRules {
    pub(super) fn new(join: &JoinedView, index: usize, columns: &Columns) -> Result<Self> {
        let outputs = join.view.outputs();
        let n_columns = join.view.features.len();
        let mut types = Vec::new();
        let mut counts = Vec::new();
        for (slot, &wanted) in join.wanted.iter().enumerate() {
            let value_type = outputs.get(wanted).and_then(|(_, value_type)| *value_type);
            let value_type = value_type
                .ok_or_else(|| Error::new(&codes::INTERNAL, "a feature has no declared type"))?;
            types.push(value_type.to_arrow());
            let window = wanted
                .checked_sub(n_columns)
                .and_then(|at| join.view.aggregations.get(at));
            if window.is_some_and(|window| window.function.is_count()) {
                counts.push(slot);
            }
        }
        let keys = join.keys.iter().zip(&columns.join_keys[index]);
        Ok(Self {
            name: format!("{}@{}", join.name, join.version),
            ttl_us: join.view.ttl_us,
            types,
            counts,
            keys: keys.map(|((key, _), at)| (key.name.clone(), *at)).collect(),
        })
    }

    /// Checks that a store answered what it was asked: N rows of the wanted features.
    ///
    /// # Errors
    /// `Internal` (`P802`) that names the store and the view.
    pub(super) fn check(&self, rows: &ViewRows, n_rows: usize, store: &ProviderInfo) -> Result<()> {
        let broken = |what: String| {
            let name = &self.name;
            Err(contract(store, &format!("{what} of view {name:?}")).context("view", name.clone()))
        };
        if rows.event_times.len() != n_rows {
            let found = rows.event_times.len();
            return broken(format!("{n_rows} keys and answered {found} event times"));
        }
        if !is_instant(rows.event_times.data_type()) {
            let found = rows.event_times.data_type();
            return broken(format!("event times and answered {found} for those"));
        }
        if rows.features.len() != self.types.len() {
            let (asked, found) = (self.types.len(), rows.features.len());
            return broken(format!("{asked} features and answered {found}"));
        }
        for (slot, (feature, expected)) in rows.features.iter().zip(&self.types).enumerate() {
            if feature.len() != n_rows {
                let found = feature.len();
                return broken(format!(
                    "{n_rows} keys and answered {found} values for feature {slot}"
                ));
            }
            if feature.data_type() != expected {
                let found = feature.data_type();
                return broken(format!(
                    "{expected} and answered {found} for feature {slot}"
                ));
            }
        }
        if let Some((row, _)) = rows.unreadable.iter().find(|(row, _)| *row >= n_rows) {
            return broken(format!(
                "{n_rows} keys and answered about row {row}, counted from zero,"
            ));
        }
        Ok(())
    }

    /// Takes keys that are not there for rows that cannot be read. `keys` are the request's key columns.
    pub(super) fn mark_absent(&self, rows: &mut ViewRows, keys: &[ArrayRef]) {
        let own: Vec<&ArrayRef> = self.keys.iter().map(|(_, key)| &keys[*key]).collect();
        watch::mark_absent(rows, &own);
    }

    /// The values of rows at an instant. `keys` are the request's key columns.
    ///
    /// # Errors
    /// `DataLoss` (`P603`) for a row that cannot be read, unless `with_status` is there to say so.
    pub(super) fn judge(
        &self,
        rows: ViewRows,
        keys: &[ArrayRef],
        now_us: i64,
        with_status: bool,
    ) -> Result<Answered> {
        let ViewRows {
            event_times,
            mut features,
            unreadable,
        } = rows;
        if let Some((row, why)) = unreadable.first()
            && !with_status
        {
            return Err(self.unreadable(*row, why, keys));
        }
        // Rows of an earlier event time are too old; at this very one they are not.
        let oldest_us = self.ttl_us.map(|ttl_us| now_us.saturating_sub(ttl_us));
        // Before values are taken away, since a row that is too old has a status of its own.
        let status = with_status.then(|| statuses(&event_times, &features, &unreadable, oldest_us));
        if let Some(oldest_us) = oldest_us
            && (0..event_times.len()).any(|row| is_older(&event_times, row, oldest_us))
        {
            let rows = 0..event_times.len();
            let expired: BooleanArray = rows
                .map(|row| Some(is_older(&event_times, row, oldest_us)))
                .collect();
            for feature in &mut features {
                *feature = nullif(feature.as_ref(), &expired)
                    .map_err(|error| defect("values cannot be taken away", error))?;
            }
        }
        if !self.counts.is_empty() && event_times.null_count() > 0 {
            self.count_nothing(&event_times, &mut features, &unreadable, keys);
        }
        Ok(Answered {
            features,
            status: status.map(|status| (status, Arc::new(event_times) as ArrayRef)),
        })
    }

    /// A key without a row has empty windows, in which a count is zero. A null key is no key, and of a
    /// row that cannot be read nothing is known.
    fn count_nothing(
        &self,
        event_times: &TimestampMicrosecondArray,
        features: &mut [ArrayRef],
        unreadable: &[(usize, String)],
        keys: &[ArrayRef],
    ) {
        let has_empty_windows = |row: usize| {
            event_times.is_null(row)
                && !self.keys.iter().any(|(_, key)| keys[*key].is_null(row))
                && !unreadable.iter().any(|(other, _)| *other == row)
        };
        for &slot in &self.counts {
            let Some(counts) = features[slot].as_any().downcast_ref::<Int64Array>() else {
                continue;
            };
            let filled: Int64Array = counts
                .iter()
                .enumerate()
                .map(|(row, count)| count.or_else(|| has_empty_windows(row).then_some(0)))
                .collect();
            features[slot] = Arc::new(filled);
        }
    }

    fn unreadable(&self, row: usize, why: &str, keys: &[ArrayRef]) -> Error {
        let columns = self.keys.iter();
        let key = key_text(columns.map(|(name, key)| (name.as_str(), &keys[*key])), row);
        Error::new(
            &codes::ONLINE_DATA,
            format!(
                "the stored row of view {:?} for {key} cannot be read: {why}",
                self.name
            ),
        )
        .help("materialise the view again; with status the other rows are answered")
        .context("view", self.name.clone())
        .context("key", key)
    }
}

/// Whether a type is `provender_core::time::instant_type`, which would be made anew for each answer.
fn is_instant(found: &DataType) -> bool {
    matches!(found, DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if **zone == *UTC)
}

fn is_older(event_times: &TimestampMicrosecondArray, row: usize, oldest_us: i64) -> bool {
    event_times.is_valid(row) && event_times.value(row) < oldest_us
}

fn statuses(
    event_times: &TimestampMicrosecondArray,
    features: &[ArrayRef],
    unreadable: &[(usize, String)],
    oldest_us: Option<i64>,
) -> ArrayRef {
    // One feature without any null makes every live row present.
    let may_be_null = features.iter().all(|feature| feature.null_count() > 0);
    let of_row = |row: usize| {
        if event_times.is_null(row) {
            Status::NotFound
        } else if oldest_us.is_some_and(|oldest_us| event_times.value(row) < oldest_us) {
            Status::OutsideMaxAge
        } else if may_be_null && features.iter().all(|feature| feature.is_null(row)) {
            Status::NullValue
        } else {
            Status::Present
        }
    };
    let mut statuses: Vec<Status> = (0..event_times.len()).map(of_row).collect();
    for (row, _) in unreadable {
        if let Some(status) = statuses.get_mut(*row) {
            *status = Status::Error;
        }
    }
    let names = statuses.into_iter().map(Status::name);
    Arc::new(StringArray::from_iter_values(names))
}

/// The error for a store that answers something else than it was asked for.
pub(super) fn contract(store: &ProviderInfo, what: &str) -> Error {
    Error::new(
        &codes::PROVIDER_CONTRACT,
        format!("{} was asked for {what}", store.display_name),
    )
    .context("provider", store.scheme.clone())
}

#[cfg(test)]
mod tests;
