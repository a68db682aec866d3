//! Prepared online queries: everything about a request that does not change between calls, held by the
//! server and renewed when definitions or online data move.
//!
//! Decides when the registry is asked: once when a request is first seen, and then in the background,
//! for requests that are in use. A call, or a batch of an open stream, compares one number and takes no
//! lock unless it has changed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt;
use provender_core::provider::Revision;
use provender_core::{Context, ErrorKind, Result};
use provender_store::{FeatureStore, OnlineQuery, OnlineRequest};

/// The most distinct requests that are held; requests beyond them are prepared for each call.
const MAX_PREPARED: usize = 1_024;
/// A request that nobody has made for so long, and no stream has open, is forgotten.
const KEPT: Duration = Duration::from_secs(60);
/// How many queries are renewed at a poll although the revision has not moved: a service follows its
/// newest version as soon as that version's views are materialised, which is no revision.
const RENEWED_PER_POLL: usize = 16;
/// How old a query becomes before that.
const FRESH: Duration = Duration::from_secs(5);
/// How many are renewed at once, and how long each may take: a store that hangs keeps its own queries
/// from being renewed, and no others.
const RENEWED_AT_ONCE: usize = 8;
const RENEWAL: Duration = Duration::from_secs(10);

/// One request, prepared, and renewed in place.
#[derive(Debug)]
pub(crate) struct Prepared {
    request: OnlineRequest,
    generation: AtomicU64,
    query: RwLock<OnlineQuery>,
    /// Milliseconds of the server's life at which it was last asked for, and last renewed.
    used_ms: AtomicU64,
    renewed_ms: AtomicU64,
}

impl Prepared {
    fn new(request: OnlineRequest, query: OnlineQuery, now_ms: u64) -> Self {
        Self {
            request,
            generation: AtomicU64::new(0),
            query: RwLock::new(query),
            used_ms: AtomicU64::new(now_ms),
            renewed_ms: AtomicU64::new(now_ms),
        }
    }

    /// Counts renewals.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The query as it is now.
    pub(crate) fn query(&self) -> OnlineQuery {
        self.query
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn renew(&self, query: OnlineQuery) {
        *self.query.write().unwrap_or_else(PoisonError::into_inner) = query;
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// All prepared queries of a server.
#[derive(Debug)]
pub(crate) struct PreparedQueries {
    by_key: RwLock<HashMap<String, Arc<Prepared>>>,
    born: Instant,
}

impl Default for PreparedQueries {
    fn default() -> Self {
        Self {
            by_key: RwLock::default(),
            born: Instant::now(),
        }
    }
}

impl PreparedQueries {
    /// The prepared query of a request, made now if it is new.
    ///
    /// # Errors
    /// What preparing it says.
    pub(crate) async fn get(
        &self,
        store: &FeatureStore,
        cx: &Context,
        request: &OnlineRequest,
    ) -> Result<Arc<Prepared>> {
        let key = format!("{request:?}");
        if let Some(found) = self.read().get(&key) {
            found.used_ms.store(self.now_ms(), Ordering::Relaxed);
            return Ok(found.clone());
        }
        let query = store.prepare_online(cx, request).await?;
        let prepared = Arc::new(Prepared::new(request.clone(), query, self.now_ms()));
        let mut by_key = self.by_key.write().unwrap_or_else(PoisonError::into_inner);
        if by_key.len() < MAX_PREPARED {
            return Ok(by_key.entry(key).or_insert(prepared).clone());
        }
        Ok(prepared)
    }

    /// Renews queries for as long as the server lives.
    pub(crate) async fn keep_fresh(&self, store: &FeatureStore, cx: &Context, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen: Option<Revision> = None;
        loop {
            ticks.tick().await;
            self.forget_unused();
            let revision = match store.catalog(cx).await {
                Ok(catalog) => Some(catalog.revision),
                Err(error) => {
                    // Serving goes on with what is known; the registry is not on the read path.
                    tracing::warn!(%error, "the registry cannot be asked for changes");
                    continue;
                }
            };
            if revision == seen {
                self.renew(store, cx, self.oldest()).await;
            } else {
                self.renew(store, cx, self.all()).await;
                seen = revision;
            }
        }
    }

    /// Makes what was just changed visible to later calls: queries of open streams are renewed now, and
    /// all others when they are next asked for.
    pub(crate) async fn moved(&self, store: &FeatureStore, cx: &Context) {
        self.by_key
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, prepared| Arc::strong_count(prepared) > 1);
        self.renew(store, cx, self.all()).await;
    }

    fn forget_unused(&self) {
        let kept_ms = KEPT.as_millis() as u64;
        let now_ms = self.now_ms();
        let mut by_key = self.by_key.write().unwrap_or_else(PoisonError::into_inner);
        by_key.retain(|_, prepared| {
            let unused_ms = now_ms.saturating_sub(prepared.used_ms.load(Ordering::Relaxed));
            Arc::strong_count(prepared) > 1 || unused_ms < kept_ms
        });
    }

    fn all(&self) -> Vec<(String, Arc<Prepared>)> {
        let mut all: Vec<_> = self
            .read()
            .iter()
            .map(|(key, prepared)| (key.clone(), prepared.clone()))
            .collect();
        all.sort_by_key(|(_, prepared)| prepared.renewed_ms.load(Ordering::Relaxed));
        all
    }

    /// Those that have not been renewed for longest, a few of them.
    fn oldest(&self) -> Vec<(String, Arc<Prepared>)> {
        let fresh_ms = FRESH.as_millis() as u64;
        let now_ms = self.now_ms();
        let mut oldest = self.all();
        oldest.retain(|(_, prepared)| {
            now_ms.saturating_sub(prepared.renewed_ms.load(Ordering::Relaxed)) >= fresh_ms
        });
        oldest.truncate(RENEWED_PER_POLL);
        oldest
    }

    async fn renew(&self, store: &FeatureStore, cx: &Context, which: Vec<(String, Arc<Prepared>)>) {
        let renewals = futures::stream::iter(which);
        let renewed =
            renewals.for_each_concurrent(RENEWED_AT_ONCE, move |(key, prepared)| async move {
                prepared.renewed_ms.store(self.now_ms(), Ordering::Relaxed);
                let cx = cx.clone().with_timeout(RENEWAL);
                match store.prepare_online(&cx, &prepared.request).await {
                    Ok(query) => prepared.renew(query),
                    // What is gone is no longer answered to new calls; open streams go on with what they
                    // began with.
                    Err(error)
                        if !error.is_retryable() && error.kind() != ErrorKind::DeadlineExceeded =>
                    {
                        tracing::info!(code = error.code(), "a prepared query is no longer valid");
                        self.by_key
                            .write()
                            .unwrap_or_else(PoisonError::into_inner)
                            .remove(&key);
                    }
                    Err(error) => tracing::warn!(%error, "a prepared query was not renewed"),
                }
            });
        renewed.await;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Prepared>>> {
        self.by_key.read().unwrap_or_else(PoisonError::into_inner)
    }
}
