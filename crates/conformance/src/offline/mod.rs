//! The rules of an offline store, each judged over two handles to the same tables.
//!
//! Every rule works in tables of its own with names that no earlier run used; there is no call that
//! drops a table, so they stay, and a store to judge needs a folder, database or schema of its own.
//! A rule is asked only of a store that declares what it is about, and a store that does not declare it
//! must say `Unsupported`. What is right is said by [`crate::oracle`] over the rows as they were written:
//! a store may hold a type's values in another type, but must not change a value.
//!
//! This module deliberately knows no storage and no SQL: what a restart keeps, and how a damaged file
//! reads, is for a provider's own tests.

mod cases;
mod deletes;
mod held;
#[cfg(test)]
mod mutants;
mod pushdown;
mod reads;
mod refusals;
mod rows;
mod sql;
mod tables;
#[cfg(test)]
mod tests;
mod values;
mod versions;
mod writes;

use std::sync::Arc;

use provender_core::Context;
use provender_core::error::Result as CoreResult;
use provender_core::provider::{OfflineCapabilities, OfflineStore};

pub(crate) use self::held::Held;
use crate::harness::{Judged, rules};
use crate::rules::{declared, ensure, fails, works};

/// What the rules are judged on: handles to one store's tables, and how much work they do.
pub type Harness = crate::harness::Harness<dyn OfflineStore>;

/// One rule of an offline store.
pub type Rule = crate::harness::Rule<Harness>;

impl Harness {
    /// Judges a store through two handles that `open` opens to the same tables.
    ///
    /// # Errors
    /// A text if a handle cannot be opened.
    pub async fn open<F, W>(open: F) -> Result<Self, String>
    where
        F: Fn() -> W,
        W: Future<Output = CoreResult<Arc<dyn OfflineStore>>>,
    {
        Self::opened(open, |_| 2).await
    }

    pub(crate) fn capabilities(&self) -> OfflineCapabilities {
        self.handle(0).capabilities()
    }
}

impl Judged for Harness {
    fn declared(&self) -> Vec<(String, bool)> {
        declared(&self.capabilities())
    }

    /// There is no call that drops a table.
    async fn clean(&self, _: &Context) -> Result<(), String> {
        Ok(())
    }
}

rules! {
    reads:
        scans_answer_what_was_written [write]
            "a scan answers every row of a table, each once, in streams of the table's schema",
        scans_follow_the_asked_columns [write]
            "a scan answers the asked columns in the asked order, and also none",
        ranges_leave_out_only_rows_outside [write]
            "a scan with ranges answers every row inside of all of them and no row that is not there",
        scans_repeat [write]
            "two scans of one state answer the same rows in the same order",
        large_tables_are_read_whole [write]
            "great tables and great values are held whole",
        concurrent_scans_do_not_mix [write]
            "scans of several tables at once each answer their own rows",
        streams_can_be_dropped [write]
            "a stream that is dropped or cancelled half read harms no other call",
        missing_tables_and_columns_are_told []
            "a missing table is NotFound, a missing column InvalidArgument, and each is named";
    values:
        plain_types_are_held [write]
            "bool, int64, float64, string, date and timestamp are held, nulls as nulls",
        values_come_back_or_are_refused [write]
            "every value of every type comes back as it was written, or the write is refused and says so",
        names_come_back_or_are_refused [write]
            "columns and tables of any name are held, or the write is refused and says so";
    writes:
        appends_add_rows [write]
            "an append adds its rows and no others, and its summary counts them",
        overwrites_replace_rows [write]
            "an overwrite replaces all rows",
        writes_with_an_id_count_once [write]
            "a write whose id was written before changes nothing",
        empty_writes_make_tables [write]
            "a write without rows makes a table with its columns and adds nothing to one",
        other_columns_are_refused [write]
            "an append of other columns is FailedPrecondition and changes nothing",
        failed_writes_leave_nothing [write]
            "a write whose rows end in an error fails with it, leaves nothing, and can be done again",
        concurrent_appends_are_all_held [write]
            "appends at once through all handles are all held",
        handles_see_each_other [write]
            "what one handle has written another one reads",
        extended_tables_gain_columns [write, new_columns]
            "WriteMode::Extend adds the columns that a table lacks, which are null in older rows";
    deletes:
        deletes_erase_their_keys [write, delete]
            "a delete erases all rows of its keys and no others",
        deletes_take_keys_of_any_text [write, delete]
            "keys of any characters and of 10 KB are told apart by a delete";
    versions:
        pinned_states_stay [write, versions]
            "a pinned state is read as it was, whatever is written later",
        unknown_versions_are_told [write, versions]
            "a version that never was is NotFound";
    rows:
        rows_are_read_by_number [write, row_access]
            "rows that are fetched by number are those of the scan, of one state, in order";
    pushdown:
        joins_equal_the_oracle [write, point_in_time_join]
            "point-in-time joins answer what the semantics say, in the spine's order",
        windows_in_joins_equal_the_oracle [write, point_in_time_join, point_in_time_windows]
            "windows of point-in-time joins answer what the semantics say",
        joins_take_spines_of_any_size [write, point_in_time_join]
            "spines without rows and of many rows are answered row by row",
        joins_take_spines_of_the_store [write, point_in_time_join, sql_spine]
            "a spine that is a table of the store is joined with its own columns",
        joins_tell_keys_of_any_text_apart [write, point_in_time_join]
            "keys of any characters and of 10 KB find their own rows",
        latest_rows_equal_the_oracle [write, latest]
            "the latest rows are those that the semantics say",
        windows_equal_the_oracle [write, windows]
            "windows as of an instant answer what the semantics say",
        values_that_do_not_fit_are_told [write, point_in_time_join]
            "a value that its declared type cannot hold is InvalidArgument (P501)";
    sql:
        filters_are_applied [write, sql_sources]
            "a filter leaves out the rows that do not fulfil it",
        queries_are_sources [sql_sources]
            "a query is read like a table, and one that fails is InvalidArgument";
    refusals:
        undeclared_capabilities_are_unsupported []
            "a call that needs a capability which is not declared is Unsupported",
        cancelled_and_late_calls_fail [write]
            "a cancelled call is Cancelled, a late one DeadlineExceeded, and neither changes anything",
        maintenance_keeps_rows [write, maintenance]
            "looking after a table leaves its rows as they are",
        check_answers_and_identity_stays []
            "check works, and who the store is does not change";
}
