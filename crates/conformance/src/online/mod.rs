//! The rules of an online store, each judged over several handles to the same data.
//!
//! Every rule works in a project of its own with a name that no earlier run used, so that all of them
//! can run against a store that others use too, and drops what it wrote. What is right is said by
//! [`crate::oracle::LatestRows`], or by the rule itself where an order is at stake. A rule that is
//! broken is answered as a text that starts with the rule's name and names seed, key, what was
//! expected and what was found.
//!
//! This module deliberately knows no storage: what a restart keeps, and how damaged bytes read, is for
//! a provider's own tests.

mod apart;
mod checkpoints;
mod concurrency;
mod judge;
#[cfg(test)]
mod mutants;
mod ordering;
mod reads;
mod refusals;
#[cfg(test)]
mod tests;
mod tombstones;
mod values;

use std::sync::Arc;

use provender_core::Context;
use provender_core::error::Result as CoreResult;
use provender_core::provider::OnlineStore;

use crate::harness::{Judged, rules};
use crate::rules::{declared, ensure, fails, works};

/// What the rules are judged on: handles to one store's data, and how much work they do.
pub type Harness = crate::harness::Harness<dyn OnlineStore>;

/// One rule of an online store.
pub type Rule = crate::harness::Rule<Harness>;

impl Harness {
    /// Judges a store through one handle, or, if it says that several processes can use it at once,
    /// through three that `open` opens to the same data.
    ///
    /// # Errors
    /// A text if a handle cannot be opened.
    pub async fn open<F, W>(open: F) -> Result<Self, String>
    where
        F: Fn() -> W,
        W: Future<Output = CoreResult<Arc<dyn OnlineStore>>>,
    {
        Self::opened(
            open,
            |store| if store.capabilities().shared { 3 } else { 1 },
        )
        .await
    }
}

impl Judged for Harness {
    fn declared(&self) -> Vec<(String, bool)> {
        declared(&self.handle(0).capabilities())
    }

    /// Drops all views of a project.
    async fn clean(&self, cx: &Context) -> Result<(), String> {
        let store = self.handle(0);
        for view in works("views", store.views(cx).await)? {
            works("drop_view", store.drop_view(cx, &view).await)?;
        }
        Ok(())
    }
}

rules! {
    ordering:
        event_times_decide
            "the row of the greatest event time is held, whatever the order of arrival, to the microsecond",
        created_times_decide_and_null_is_lowest
            "among rows of one event time the greatest created time is held, and null is lowest",
        tie_breakers_decide
            "among rows of equal times the tie breakers decide, by the order of their type, null lowest",
        event_time_comes_before_created_time_before_tie_breakers
            "the event time decides first, then the created time, then the tie breakers in turn",
        full_ties_are_replaced_by_the_later
            "a row that ties fully with the one held replaces it",
        newer_wins_in_random_histories
            "after every write and delete the store holds what the oracle holds",
        permuted_histories_end_alike
            "the order in which rows arrive does not matter",
        replays_change_nothing
            "writing everything again changes nothing";
    tombstones:
        tombstones_obey_the_order
            "a tombstone hides what it wins over and nothing else, until a newer row comes",
        deletes_erase_whatever_the_time
            "a delete erases its keys and no others, and forgets their times",
        dropped_views_are_gone
            "a dropped version is gone for open readers too, and can be written again",
        fresh_rows_stay_until_their_ttl
            "a row or tombstone younger than the ttl is never dropped";
    concurrency:
        concurrent_writers_end_with_the_newest
            "of rows written at once through all handles the newest of each key is held",
        rows_stay_whole_under_concurrent_writes
            "a read never mixes the values of two rows",
        handles_see_each_other
            "what one handle has written, deleted or dropped the others see";
    values:
        values_come_back_bit_for_bit
            "every type's values come back bit for bit, nulls as nulls",
        keys_of_every_type_find_their_rows
            "each key of every type, alone or with others, finds its own row",
        huge_and_odd_keys_find_their_rows
            "keys of 10 KB and of any characters find their own rows",
        null_keys_find_nothing
            "a null in a key finds and deletes nothing, though an empty key is held",
        global_views_hold_one_row
            "a view without keys holds one row, which every row of a read gets",
        large_writes_and_values_are_held
            "great writes and great values are held whole";
    reads:
        answers_follow_the_request
            "a read answers in the request's order, duplicates included",
        many_keys_are_answered_at_once
            "a read of ten thousand keys answers each",
        features_come_in_the_asked_order
            "any features can be asked, in any order, and also none",
        several_views_are_read_at_once
            "one plan reads several views, one of them twice, each by its own keys",
        empty_reads_and_writes_work
            "reads, writes and deletes of nothing work and change nothing",
        readers_outlive_their_views
            "a reader finds what is held when it reads, not when it was prepared";
    apart:
        versions_views_and_projects_do_not_mix
            "rows belong to one version of one view of one project",
        views_and_stats_tell_what_is_held
            "views and stats tell what is held",
        summaries_count_rows
            "a write counts the rows that it took in and those that changed something";
    checkpoints:
        checkpoints_vouch_for_what_came_before
            "a checkpoint that is held vouches for those before it, and nothing goes on from one that is gone";
    refusals:
        other_columns_are_refused
            "a write or delete of other columns is InvalidArgument and changes nothing",
        nulls_in_keys_and_event_times_are_refused
            "a write of a null key or event time is InvalidArgument",
        plans_that_do_not_fit_are_refused
            "a plan whose indices or types do not fit is InvalidArgument",
        cancelled_and_late_calls_fail
            "a cancelled call is Cancelled, a late one DeadlineExceeded, and neither writes",
        errors_of_the_rows_are_passed_on
            "a write whose rows end in an error fails with it, and can be done again",
        check_answers_and_identity_stays
            "check works, and who the store is does not change",
        checkpoints_hold
            "what was acknowledged before a checkpoint is held after it";
}
