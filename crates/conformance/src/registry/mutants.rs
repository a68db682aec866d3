//! Registries that are wrong in one way each, for judging the kit itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::executor::block_on;
use provender_core::Context;
use provender_core::error::{ErrorKind, Result};
use provender_core::provider::{
    Author, Change, Commit, Interval, Lease, Object, Provider, ProviderInfo, Registry,
    RegistrySnapshot, Revision, ViewVersion,
};

use super::RULES;
use crate::memory::MemoryRegistry;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    LastCommitWins,
    HistoryIsOldestFirst,
    LimitIsIgnored,
    PastIsTheNewest,
    NamesAreTrimmed,
    BodiesAreCut,
    EmptyCommitsAreSkipped,
    VersionsShareIntervals,
    ForgettingForgets,
    LeasesAreShared,
    TokensStandStill,
    ConflictsAreUnavailable,
    CancelIsIgnored,
    IdentityMoves,
}

#[derive(Debug)]
struct Mutant {
    inner: MemoryRegistry,
    wrong: Wrong,
    n_calls: AtomicU64,
}

impl Mutant {
    fn context(&self, cx: &Context) -> Context {
        match self.wrong {
            Wrong::CancelIsIgnored => Context::new(cx.project()),
            _ => cx.clone(),
        }
    }

    fn view(&self, view: &ViewVersion) -> ViewVersion {
        let mut view = view.clone();
        if self.wrong == Wrong::VersionsShareIntervals {
            view.version = 1;
        }
        view
    }

    fn object(&self, mut object: Object) -> Object {
        match self.wrong {
            Wrong::NamesAreTrimmed => object.name = object.name.trim().to_owned(),
            Wrong::BodiesAreCut if object.body.to_string().len() > 65_536 => {
                object.body = serde_json::json!({});
            }
            _ => {}
        }
        object
    }
}

#[async_trait]
impl Provider for Mutant {
    fn info(&self) -> ProviderInfo {
        let mut info = self.inner.info();
        if self.wrong == Wrong::IdentityMoves {
            info.version = self.n_calls.fetch_add(1, Ordering::Relaxed).to_string();
        }
        info
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.inner.check(&self.context(cx)).await
    }
}

#[async_trait]
impl Registry for Mutant {
    async fn revision(&self, cx: &Context) -> Result<Revision> {
        self.inner.revision(&self.context(cx)).await
    }

    async fn snapshot(&self, cx: &Context, at: Option<Revision>) -> Result<Arc<RegistrySnapshot>> {
        let at = match self.wrong {
            Wrong::PastIsTheNewest => None,
            _ => at,
        };
        self.inner.snapshot(&self.context(cx), at).await
    }

    async fn commit(
        &self,
        cx: &Context,
        base: Revision,
        changes: &[Change],
        by: &Author,
    ) -> Result<Revision> {
        let cx = &self.context(cx);
        let changes: Vec<Change> = changes
            .iter()
            .map(|change| match change {
                Change::Put(object) => Change::Put(self.object(object.clone())),
                change => change.clone(),
            })
            .collect();
        match self.wrong {
            Wrong::LastCommitWins => {
                let newest = self.inner.revision(cx).await?;
                self.inner.commit(cx, newest, &changes, by).await
            }
            Wrong::EmptyCommitsAreSkipped if changes.is_empty() => Ok(base),
            Wrong::ConflictsAreUnavailable => {
                let committed = self.inner.commit(cx, base, &changes, by).await;
                committed.map_err(|error| error.with_kind(ErrorKind::Unavailable))
            }
            _ => self.inner.commit(cx, base, &changes, by).await,
        }
    }

    async fn history(&self, cx: &Context, after: Revision, limit: usize) -> Result<Vec<Commit>> {
        let limit = match self.wrong {
            Wrong::LimitIsIgnored => usize::MAX,
            _ => limit,
        };
        let mut history = self.inner.history(&self.context(cx), after, limit).await?;
        if self.wrong == Wrong::HistoryIsOldestFirst {
            history.reverse();
        }
        Ok(history)
    }

    async fn record_interval(
        &self,
        cx: &Context,
        view: &ViewVersion,
        interval: Interval,
    ) -> Result<()> {
        let view = &self.view(view);
        self.inner
            .record_interval(&self.context(cx), view, interval)
            .await
    }

    async fn intervals(&self, cx: &Context, view: &ViewVersion) -> Result<Vec<Interval>> {
        self.inner
            .intervals(&self.context(cx), &self.view(view))
            .await
    }

    async fn forget_intervals(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        if self.wrong == Wrong::ForgettingForgets {
            return cx.check();
        }
        self.inner
            .forget_intervals(&self.context(cx), &self.view(view))
            .await
    }

    async fn acquire_lease(
        &self,
        cx: &Context,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease> {
        let cx = &self.context(cx);
        let mut lease = match self.wrong {
            Wrong::LeasesAreShared => {
                let all = self.inner.acquire_lease(cx, name, "everybody", ttl).await?;
                Lease {
                    holder: holder.to_owned(),
                    ..all
                }
            }
            _ => self.inner.acquire_lease(cx, name, holder, ttl).await?,
        };
        if self.wrong == Wrong::TokensStandStill {
            lease.token = 1;
        }
        Ok(lease)
    }

    async fn renew_lease(&self, cx: &Context, lease: &Lease, ttl: Duration) -> Result<Lease> {
        self.inner.renew_lease(&self.context(cx), lease, ttl).await
    }

    async fn release_lease(&self, cx: &Context, lease: &Lease) -> Result<()> {
        self.inner.release_lease(&self.context(cx), lease).await
    }
}

#[test]
fn every_way_to_be_wrong_breaks_the_rule_that_names_it() {
    let ways = [
        (Wrong::LastCommitWins, "commit_is_compare_and_swap"),
        (Wrong::HistoryIsOldestFirst, "history_lists_commits"),
        (Wrong::LimitIsIgnored, "history_lists_commits"),
        (Wrong::PastIsTheNewest, "snapshots_of_the_past_stay"),
        (Wrong::NamesAreTrimmed, "objects_come_back_as_they_were"),
        (Wrong::BodiesAreCut, "objects_come_back_as_they_were"),
        (
            Wrong::EmptyCommitsAreSkipped,
            "objects_come_back_as_they_were",
        ),
        (Wrong::VersionsShareIntervals, "intervals_are_merged"),
        (Wrong::ForgettingForgets, "intervals_are_merged"),
        (Wrong::LeasesAreShared, "leases_exclude"),
        (Wrong::TokensStandStill, "leases_exclude"),
        (Wrong::ConflictsAreUnavailable, "concurrent_work_is_whole"),
        (Wrong::CancelIsIgnored, "cancelled_and_late_calls_fail"),
        (Wrong::IdentityMoves, "check_answers_and_identity_stays"),
    ];
    let mut missed = Vec::new();
    for (wrong, named) in ways {
        let registry = Mutant {
            inner: MemoryRegistry::new(),
            wrong,
            n_calls: AtomicU64::new(0),
        };
        let rule = RULES.iter().find(|rule| rule.name == named).unwrap();
        match block_on(rule.check(&registry)) {
            Ok(()) => missed.push(format!("{wrong:?} is not seen by {named}")),
            Err(why) => assert!(why.starts_with(named), "{why}"),
        }
    }
    assert_eq!(missed, Vec::<String>::new());
    for rule in RULES {
        let is_named = ways.iter().any(|(_, named)| *named == rule.name);
        assert!(is_named, "no way to be wrong breaks {}", rule.name);
    }
}
