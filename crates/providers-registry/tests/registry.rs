//! One suite for the registries on SQLite and on PostgreSQL, and what only one of them can meet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

mod common;
mod suite;

/// Makes each scenario a test of either database.
macro_rules! on_both {
    ($($module:ident: $($name:ident),+;)+) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::suite::$module::$name(&crate::common::Backend::sqlite()).await;
                }
            )+)+
        }
        mod postgres {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(backend) = crate::common::Backend::postgres() {
                        crate::suite::$module::$name(&backend).await;
                    }
                }
            )+)+
        }
    };
}

on_both! {
    conformance:
        every_rule_of_the_kit_holds,
        rules_hold_for_two_who_share_a_database;
    commits:
        empty_registry_is_at_revision_0,
        past_revisions_stay_readable,
        random_commits_equal_naive_replay,
        history_tells_who_changed_what,
        stale_base_is_refused_with_what_was_committed_since,
        long_conflict_is_cut,
        base_of_the_future_is_refused,
        one_commit_may_change_an_object_twice,
        deleting_nothing_and_putting_the_same_make_revisions,
        odd_names_and_bodies_come_back_as_they_were,
        nul_and_endless_names_are_refused,
        projects_do_not_see_each_other,
        cancelled_and_late_calls_fail_as_such;
    writers:
        writers_of_many_pools_lose_nothing;
    intervals:
        random_intervals_equal_a_naive_set,
        concurrent_runs_merge_into_one_interval,
        intervals_of_versions_are_apart_and_can_be_forgotten,
        backward_interval_is_refused_and_empty_one_is_no_news;
    leases:
        held_lease_is_refused_with_holder_and_time_left,
        tokens_grow_with_each_holder_only,
        lease_that_ran_out_can_be_taken,
        renewal_fails_once_somebody_else_took_over,
        of_many_only_one_gets_a_lease;
    damage:
        newer_format_is_refused_and_not_touched,
        format_that_becomes_newer_while_open_is_refused,
        unreadable_object_is_named,
        unreadable_history_is_named,
        missing_table_is_damage,
        check_tells_facts_and_leaves_no_trace;
}
