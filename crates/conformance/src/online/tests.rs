//! The kit judged itself: the reference store keeps every rule, and each way to be wrong breaks the
//! rule that names it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::executor::block_on;
use provender_core::error::{Error, ErrorKind, Result, codes};
use provender_core::provider::{OnlineStore, ViewVersion};
use provender_core::{BatchStream, Context, ValueType};

use super::mutants::{Mutant, Wrong};
use super::{Harness, RULES, all, check};
use crate::generate::{key_batch, write_batch};
use crate::memory::{MemoryOnlineStore, OnlineCall};
use crate::oracle::Value;

fn small(harness: Harness) -> Harness {
    Harness {
        n_large_rows: 2_000,
        n_large_bytes: 1_000,
        ..harness
    }
}

fn harness_of(wrong: Wrong) -> Harness {
    let first = MemoryOnlineStore::new();
    first.make_checkpoints();
    let open = || -> Arc<dyn OnlineStore> {
        let inner = match wrong {
            Wrong::HandlesAreApart => MemoryOnlineStore::new(),
            _ => first.clone(),
        };
        Arc::new(Mutant { inner, wrong })
    };
    small(
        Harness::over(open())
            .with_handle(open())
            .with_handle(open()),
    )
}

#[test]
fn reference_store_keeps_every_rule_through_three_handles() {
    let store = MemoryOnlineStore::new();
    store.make_checkpoints();
    let mut harness = Harness::over(Arc::new(store.clone()));
    for _ in 0..2 {
        harness = harness.with_handle(Arc::new(store.clone()));
    }
    assert_eq!(block_on(all(&harness)), Ok(()));
    let left: Vec<ViewVersion> = block_on(store.views(&Context::new(""))).unwrap();
    assert_eq!(left, []);
}

#[test]
fn reference_store_keeps_every_rule_through_one_handle() {
    let open = async || -> Result<Arc<dyn OnlineStore>> {
        let store: Arc<dyn OnlineStore> = Arc::new(MemoryOnlineStore::new());
        Ok(store)
    };
    let judged = async { all(&small(Harness::open(open).await?)).await };
    assert_eq!(block_on(judged), Ok(()));
}

#[test]
fn every_way_to_be_wrong_breaks_the_rule_that_names_it() {
    let ways = [
        (Wrong::LastWriteWins, "event_times_decide"),
        (
            Wrong::CheckpointsAreAlwaysHeld,
            "checkpoints_vouch_for_what_came_before",
        ),
        (
            Wrong::LostCheckpointsGoOn,
            "checkpoints_vouch_for_what_came_before",
        ),
        (Wrong::LastWriteWins, "newer_wins_in_random_histories"),
        (Wrong::LastWriteWins, "permuted_histories_end_alike"),
        (Wrong::LastWriteWins, "replays_change_nothing"),
        (Wrong::LastWriteWins, "large_writes_and_values_are_held"),
        (Wrong::MillisecondTimes, "event_times_decide"),
        (
            Wrong::NullCreatedIsHighest,
            "created_times_decide_and_null_is_lowest",
        ),
        (
            Wrong::CreatedIsIgnored,
            "created_times_decide_and_null_is_lowest",
        ),
        (
            Wrong::CreatedIsIgnored,
            "event_time_comes_before_created_time_before_tie_breakers",
        ),
        (Wrong::TiesAreIgnored, "tie_breakers_decide"),
        (
            Wrong::FirstOfTiedStays,
            "full_ties_are_replaced_by_the_later",
        ),
        (Wrong::TombstoneIsIgnored, "tombstones_obey_the_order"),
        (Wrong::TombstoneIsADelete, "tombstones_obey_the_order"),
        (Wrong::TombstoneIsADelete, "newer_wins_in_random_histories"),
        (
            Wrong::FreshTombstonesExpire,
            "fresh_rows_stay_until_their_ttl",
        ),
        (Wrong::DuplicatesAreDropped, "answers_follow_the_request"),
        (Wrong::RowsAreSorted, "answers_follow_the_request"),
        (Wrong::NullIsEmpty, "null_keys_find_nothing"),
        (Wrong::DeleteTakesNull, "null_keys_find_nothing"),
        (Wrong::VersionsMix, "versions_views_and_projects_do_not_mix"),
        (Wrong::ProjectsMix, "versions_views_and_projects_do_not_mix"),
        (Wrong::DeleteForgets, "deletes_erase_whatever_the_time"),
        (Wrong::DropForgets, "dropped_views_are_gone"),
        (Wrong::ReadersKeepWhatTheySaw, "readers_outlive_their_views"),
        (Wrong::ReadersKeepWhatTheySaw, "dropped_views_are_gone"),
        (Wrong::FloatIsCut, "values_come_back_bit_for_bit"),
        (Wrong::EmptyTextIsNull, "values_come_back_bit_for_bit"),
        (
            Wrong::FeaturesInDeclaredOrder,
            "features_come_in_the_asked_order",
        ),
        (Wrong::KeysAreJoined, "keys_of_every_type_find_their_rows"),
        (Wrong::KeysAreCut, "huge_and_odd_keys_find_their_rows"),
        (Wrong::OnlyFirstBatch, "many_keys_are_answered_at_once"),
        (
            Wrong::CheckThenWrite,
            "concurrent_writers_end_with_the_newest",
        ),
        (Wrong::HandlesAreApart, "handles_see_each_other"),
        (
            Wrong::NullKeysAreTaken,
            "nulls_in_keys_and_event_times_are_refused",
        ),
        (Wrong::NullKeysAreTaken, "other_columns_are_refused"),
        (Wrong::CancelIsIgnored, "cancelled_and_late_calls_fail"),
        (
            Wrong::RowsErrorIsSwallowed,
            "errors_of_the_rows_are_passed_on",
        ),
        (
            Wrong::StatsLeaveOutTombstones,
            "views_and_stats_tell_what_is_held",
        ),
        (Wrong::AllRowsAreApplied, "summaries_count_rows"),
    ];
    let mut missed = Vec::new();
    for (wrong, rule) in ways {
        match block_on(check(rule, &harness_of(wrong))) {
            Ok(()) => missed.push(format!("{wrong:?} is not seen by {rule}")),
            Err(why) => assert!(why.starts_with(rule), "{why}"),
        }
    }
    assert_eq!(missed, Vec::<String>::new());
}

#[test]
fn failures_name_rule_seed_key_expected_and_found() {
    let why = block_on(check(
        "newer_wins_in_random_histories",
        &harness_of(Wrong::LastWriteWins),
    ))
    .unwrap_err();
    for part in [
        "newer_wins_in_random_histories: seed ",
        ", step ",
        "view history_",
        "key (",
        "expected [event time, features...]",
        ", got [",
    ] {
        assert!(why.contains(part), "{part:?} is not in {why}");
    }
    let why = block_on(check("no_such_rule", &harness_of(Wrong::LastWriteWins)));
    assert_eq!(why, Err("there is no rule \"no_such_rule\"".to_owned()));
}

#[test]
fn rules_have_names_of_their_own() {
    let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len());
}

#[test]
fn store_fails_as_it_is_told_to() {
    let cx = &Context::new("p");
    let store = MemoryOnlineStore::named("fails");
    let layout = super::judge::layout(cx, "v", &[ValueType::Int64], &[ValueType::String]);
    let row = |key: i128, text: &str| {
        super::judge::row(
            vec![Value::Int(key)],
            1,
            vec![Value::String(text.to_owned())],
        )
    };
    let batch = write_batch(&layout, &[row(1, "a"), row(2, "b")]).unwrap();
    let stream = || {
        let batches = vec![batch.slice(0, 1), batch.slice(1, 1)];
        BatchStream::from_batches(batch.schema(), batches)
    };
    store.fail(OnlineCall::WriteBatch, 1, 1, || {
        Error::new(&codes::ONLINE_UNAVAILABLE, "out for lunch")
    });
    let error = block_on(store.write(cx, &layout, stream())).unwrap_err();
    assert_eq!(error.message(), "out for lunch");
    assert_eq!(store.rows(&layout.view_version()).len(), 1);
    block_on(store.write(cx, &layout, stream())).unwrap();
    assert_eq!(
        MemoryOnlineStore::named("fails")
            .rows(&layout.view_version())
            .len(),
        2
    );
    assert_eq!(store.n_calls(OnlineCall::Write), 2);

    store.damage(&layout.view_version(), &[vec![Value::Int(2)]], "checksum");
    let plan = Arc::new(super::judge::plan(&layout, &[0]));
    let reader = block_on(store.prepare(cx, plan)).unwrap();
    let keys = [vec![Value::Int(2)], vec![Value::Int(1)]];
    let keys = key_batch(&layout.join_keys, &keys).unwrap();
    let found = block_on(reader.read(cx, &keys)).unwrap();
    assert_eq!(found.views[0].unreadable, [(0, "checksum".to_owned())]);
    assert_eq!(
        found.views[0].event_times.iter().collect::<Vec<_>>(),
        [None, Some(1)]
    );

    store.delay(OnlineCall::Read, std::time::Duration::from_secs(600));
    let late = cx
        .clone()
        .with_timeout(std::time::Duration::from_millis(20));
    let error = block_on(reader.read(&late, &keys)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    store.heal();
    let found = block_on(reader.read(cx, &keys)).unwrap();
    assert_eq!(found.views[0].unreadable, []);
}
