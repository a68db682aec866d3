//! Prepared online queries: everything about a request that does not change between calls, held by the
//! server and renewed when definitions or online data move.
//!
//! Decides when the registry is asked: once when a request is first seen, and then in the background,
//! for requests that are in use. A call, or a batch of an open stream, compares one number and takes no
//! lock unless it has changed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use arrow_flight::FlightData;
use futures::StreamExt;
use provender_core::provider::Revision;
use provender_core::{Context, ErrorKind, Result};
use provender_store::{FeatureStore, OnlineCall, OnlineQuery, OnlineRequest};

use crate::meaning::service_label;
use crate::metrics::{Metrics, Operation, Series};
use crate::wire::Encoder;

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

/// A query, and what else every call of its request needs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) query: OnlineQuery,
    /// Bound to the columns of [`OnlineQuery::input_schema`], as keys in JSON are.
    pub(crate) declared: OnlineCall,
    /// The message that begins an answer. Features and keys are of declared types, among which are no
    /// dictionaries, so it is the same in every stream.
    pub(crate) schema: FlightData,
    pub(crate) series: Series,
}

impl Ready {
    fn new(request: &OnlineRequest, query: OnlineQuery, metrics: &Metrics) -> Result<Self> {
        let service = service_label(&request.selection);
        let stores = query.stores().join(",");
        Ok(Self {
            declared: query.bind(query.input_schema())?,
            schema: Encoder::new(0).schema(query.schema()),
            series: metrics.series(Operation::online, &service, &stores),
            query,
        })
    }
}

/// One request, prepared, and renewed in place.
#[derive(Debug)]
pub(crate) struct Prepared {
    request: OnlineRequest,
    generation: AtomicU64,
    ready: RwLock<Arc<Ready>>,
    /// Milliseconds of the server's life at which it was last asked for, and last renewed.
    used_ms: AtomicU64,
    renewed_ms: AtomicU64,
}

impl Prepared {
    fn new(request: OnlineRequest, ready: Ready, now_ms: u64) -> Self {
        Self {
            request,
            generation: AtomicU64::new(0),
            ready: RwLock::new(Arc::new(ready)),
            used_ms: AtomicU64::new(now_ms),
            renewed_ms: AtomicU64::new(now_ms),
        }
    }

    /// Counts renewals.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The query as it is now.
    pub(crate) fn ready(&self) -> Arc<Ready> {
        self.ready
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn renew(&self, ready: Ready) {
        let lost = ready.query.lost();
        if !lost.is_empty() && lost != self.ready().query.lost() {
            tell_lost(&lost);
        }
        *self.ready.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ready);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

fn tell_lost(views: &[String]) {
    tracing::warn!(
        views = views.join(", "),
        "the online store has lost rows that it had acknowledged; `provender materialize-incremental` fills the views again"
    );
}

/// All prepared queries of a server.
#[derive(Debug)]
pub(crate) struct PreparedQueries {
    by_request: RwLock<HashMap<OnlineRequest, Arc<Prepared>>>,
    metrics: Arc<Metrics>,
    born: Instant,
}

impl PreparedQueries {
    /// None yet.
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            by_request: RwLock::default(),
            metrics: metrics.clone(),
            born: Instant::now(),
        }
    }

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
        if let Some(found) = self.read().get(request) {
            found.used_ms.store(self.now_ms(), Ordering::Relaxed);
            return Ok(found.clone());
        }
        let query = store.prepare_online(cx, request).await?;
        let lost = query.lost();
        if !lost.is_empty() {
            tell_lost(&lost);
        }
        let ready = Ready::new(request, query, &self.metrics)?;
        let prepared = Arc::new(Prepared::new(request.clone(), ready, self.now_ms()));
        let mut by_request = self.write();
        if by_request.len() >= MAX_PREPARED {
            return Ok(prepared);
        }
        // Another call may have been as quick.
        match by_request.entry(request.clone()) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(free) => Ok(free.insert(prepared).clone()),
        }
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
        self.write()
            .retain(|_, prepared| Arc::strong_count(prepared) > 1);
        self.renew(store, cx, self.all()).await;
    }

    fn forget_unused(&self) {
        let kept_ms = KEPT.as_millis() as u64;
        let now_ms = self.now_ms();
        self.write().retain(|_, prepared| {
            let unused_ms = now_ms.saturating_sub(prepared.used_ms.load(Ordering::Relaxed));
            Arc::strong_count(prepared) > 1 || unused_ms < kept_ms
        });
    }

    fn all(&self) -> Vec<Arc<Prepared>> {
        let mut all: Vec<_> = self.read().values().cloned().collect();
        all.sort_by_key(|prepared| prepared.renewed_ms.load(Ordering::Relaxed));
        all
    }

    /// Those that have not been renewed for longest, a few of them.
    fn oldest(&self) -> Vec<Arc<Prepared>> {
        let fresh_ms = FRESH.as_millis() as u64;
        let now_ms = self.now_ms();
        let mut oldest = self.all();
        oldest.retain(|prepared| {
            now_ms.saturating_sub(prepared.renewed_ms.load(Ordering::Relaxed)) >= fresh_ms
        });
        oldest.truncate(RENEWED_PER_POLL);
        oldest
    }

    async fn renew(&self, store: &FeatureStore, cx: &Context, which: Vec<Arc<Prepared>>) {
        let renewals = futures::stream::iter(which);
        let renewed = renewals.for_each_concurrent(RENEWED_AT_ONCE, move |prepared| async move {
            prepared.renewed_ms.store(self.now_ms(), Ordering::Relaxed);
            let cx = cx.clone().with_timeout(RENEWAL);
            let request = &prepared.request;
            let renewed = store.prepare_online(&cx, request).await;
            match renewed.and_then(|query| Ready::new(request, query, &self.metrics)) {
                Ok(ready) => prepared.renew(ready),
                // What is gone is no longer answered to new calls; open streams go on with what they
                // began with.
                Err(error)
                    if !error.is_retryable() && error.kind() != ErrorKind::DeadlineExceeded =>
                {
                    tracing::info!(code = error.code(), "a prepared query is no longer valid");
                    self.write().remove(request);
                }
                Err(error) => tracing::warn!(%error, "a prepared query was not renewed"),
            }
        });
        renewed.await;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<OnlineRequest, Arc<Prepared>>> {
        self.by_request
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<OnlineRequest, Arc<Prepared>>> {
        self.by_request
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
