//! The kit judged itself: the reference store keeps every rule, and each way to be wrong breaks the
//! rule that names it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::executor::block_on;
use provender_core::error::Error;
use provender_core::provider::OfflineStore;

use super::mutants::{Mutant, Wrong};
use super::{Harness, RULES, all, check};
use crate::Tables;
use crate::memory::MemoryOfflineStore;

fn small(harness: Harness) -> Harness {
    Harness {
        n_cases: 25,
        n_large_rows: 2_000,
        n_large_bytes: 20_000,
        ..harness
    }
}

fn empty() -> MemoryOfflineStore {
    MemoryOfflineStore::new(Tables::new()).offering_all()
}

fn harness_of(wrong: Wrong) -> Harness {
    let first = empty();
    let open = || -> Arc<dyn OfflineStore> {
        let inner = match wrong {
            Wrong::HandlesAreApart => empty(),
            _ => first.clone(),
        };
        Arc::new(Mutant::new(inner, wrong))
    };
    let store = open();
    let another = match wrong {
        Wrong::HandlesAreApart => open(),
        _ => Arc::clone(&store),
    };
    small(Harness::over(store).with_handle(another))
}

#[test]
fn store_that_offers_all_keeps_every_rule() {
    let store = empty();
    let open = || {
        let store = store.clone();
        async move { Ok::<_, Error>(Arc::new(store) as Arc<dyn OfflineStore>) }
    };
    let judged = async { all(&Harness::open(open).await?).await };
    assert_eq!(block_on(judged), Ok(()));
}

#[test]
fn store_that_only_scans_keeps_every_rule() {
    let store = MemoryOfflineStore::new(Tables::new());
    let harness = small(Harness::over(Arc::new(store)));
    assert_eq!(block_on(all(&harness)), Ok(()));
    let asked = RULES.iter().filter(|rule| rule.lacks(&harness).is_none());
    assert!(asked.count() > 15);
}

#[test]
fn every_way_to_be_wrong_breaks_the_rule_that_names_it() {
    let ways = [
        (Wrong::ScanLosesARow, "scans_answer_what_was_written"),
        (Wrong::ScanRepeatsARow, "scans_answer_what_was_written"),
        (Wrong::ColumnsInTableOrder, "scans_follow_the_asked_columns"),
        (
            Wrong::RangesLeaveOutTheirEnds,
            "ranges_leave_out_only_rows_outside",
        ),
        (Wrong::ScansTakeTurns, "scans_repeat"),
        (Wrong::LongTextIsCut, "large_tables_are_read_whole"),
        (Wrong::ScansShareAPlace, "concurrent_scans_do_not_mix"),
        (Wrong::DroppedStreamsBlock, "streams_can_be_dropped"),
        (Wrong::MissingIsEmpty, "missing_tables_and_columns_are_told"),
        (Wrong::EmptyTextIsNull, "plain_types_are_held"),
        (Wrong::FloatIsCut, "values_come_back_or_are_refused"),
        (Wrong::NamesAreLowered, "names_come_back_or_are_refused"),
        (Wrong::AppendsReplace, "appends_add_rows"),
        (Wrong::OverwritesAppend, "overwrites_replace_rows"),
        (Wrong::IdsAreIgnored, "writes_with_an_id_count_once"),
        (Wrong::EmptyWritesAreForgotten, "empty_writes_make_tables"),
        (Wrong::NewColumnsAreTaken, "other_columns_are_refused"),
        (Wrong::FailedWritesLeaveRows, "failed_writes_leave_nothing"),
        (Wrong::ReadThenReplace, "concurrent_appends_are_all_held"),
        (Wrong::HandlesAreApart, "handles_see_each_other"),
        (Wrong::ExtendReplaces, "extended_tables_gain_columns"),
        (Wrong::DeleteForgets, "deletes_erase_their_keys"),
        (Wrong::DeleteTakesOneColumn, "deletes_erase_their_keys"),
        (Wrong::DeleteTrims, "deletes_take_keys_of_any_text"),
        (Wrong::VersionsAreTheNewest, "pinned_states_stay"),
        (
            Wrong::UnknownVersionsAreTheNewest,
            "unknown_versions_are_told",
        ),
        (Wrong::RowsOfOtherNumbers, "rows_are_read_by_number"),
        (Wrong::TtlIsIgnored, "joins_equal_the_oracle"),
        (Wrong::TiesAreIgnored, "joins_equal_the_oracle"),
        (Wrong::CreatedIsIgnored, "joins_equal_the_oracle"),
        (
            Wrong::WindowsHoldTheirStart,
            "windows_in_joins_equal_the_oracle",
        ),
        (Wrong::SpineIsTurned, "joins_take_spines_of_any_size"),
        (
            Wrong::OwnSpineLosesColumns,
            "joins_take_spines_of_the_store",
        ),
        (Wrong::KeysAreCut, "joins_tell_keys_of_any_text_apart"),
        (Wrong::TtlIsIgnored, "latest_rows_equal_the_oracle"),
        (Wrong::TiesAreIgnored, "latest_rows_equal_the_oracle"),
        (Wrong::WindowsHoldTheirStart, "windows_equal_the_oracle"),
        (Wrong::MisfitsAreNull, "values_that_do_not_fit_are_told"),
        (Wrong::FiltersAreIgnored, "filters_are_applied"),
        (Wrong::QueriesAreEmpty, "queries_are_sources"),
        (
            Wrong::MoreThanIsDeclared,
            "undeclared_capabilities_are_unsupported",
        ),
        (Wrong::CancelIsIgnored, "cancelled_and_late_calls_fail"),
        (Wrong::OptimiseLosesRows, "maintenance_keeps_rows"),
        (Wrong::IdentityMoves, "check_answers_and_identity_stays"),
    ];
    let mut missed = Vec::new();
    for (wrong, rule) in ways {
        let mut harness = harness_of(wrong);
        if rule == "latest_rows_equal_the_oracle" {
            // Few random rows tie in all but their tie breakers.
            harness.n_cases = 400;
        }
        match block_on(check(rule, &harness)) {
            Ok(()) => missed.push(format!("{wrong:?} is not seen by {rule}")),
            Err(why) => assert!(why.starts_with(rule), "{why}"),
        }
    }
    assert_eq!(missed, Vec::<String>::new());
    let unseen: Vec<&str> = RULES
        .iter()
        .map(|rule| rule.name)
        .filter(|rule| !ways.iter().any(|(_, named)| named == rule))
        .collect();
    assert_eq!(
        unseen,
        Vec::<&str>::new(),
        "no way to be wrong breaks these"
    );
}

#[test]
fn broken_join_is_told_by_its_smallest_case() {
    let why = block_on(check(
        "joins_equal_the_oracle",
        &harness_of(Wrong::TtlIsIgnored),
    ));
    let why = why.unwrap_err();
    for part in [
        "joins_equal_the_oracle: spine row ",
        "expected",
        "seed ",
        "spine",
    ] {
        assert!(why.contains(part), "{part:?} is not in {why}");
    }
    let n_views = why
        .lines()
        .filter(|line| line.starts_with("view \""))
        .count();
    assert_eq!(n_views, 1, "{why}");
}

#[test]
fn rules_have_names_of_their_own() {
    let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len());
}
