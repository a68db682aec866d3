//! The lease of a run: taken before anything is read, prolonged while the run goes on, given back at
//! its end, and taken over from a run that was killed on this machine.
//!
//! Knows nothing of what the run does.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use provender_core::provider::{Lease, Registry};
use provender_core::{Context, Error, ErrorKind, Result, codes};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::holder::{Holder, is_dead};

/// How long a lease lasts and how often it is prolonged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(super) ttl: Duration,
    pub(super) renew_every: Duration,
}

impl Terms {
    /// A run that dies where nobody can see it blocks others for half a minute.
    pub(crate) const RUN: Self = Self {
        ttl: Duration::from_secs(30),
        renew_every: Duration::from_secs(10),
    };
}

/// Giving back must not hold up the end of a run for long; the lease runs out anyway.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Several runs may try to take over from a dead one at once, and one of them gets the lease.
const N_ATTEMPTS: usize = 8;

/// A lease that is held and prolonged until it is released or dropped.
pub(crate) struct HeldLease {
    lent: Option<Lent>,
    terms: Terms,
    /// Goes last: until then the run counts as alive.
    _holder: Holder,
}

struct Lent {
    registry: Arc<dyn Registry>,
    cx: Context,
    lease: Lease,
    renewing: JoinHandle<()>,
}

/// Tells when a lease is lost.
pub(crate) struct Lost(oneshot::Receiver<Error>);

impl Lost {
    /// Ends with the reason once the lease is lost; never if it is not.
    pub(crate) async fn wait(self) -> Error {
        match self.0.await {
            Ok(error) => error,
            Err(_) => pending().await,
        }
    }
}

impl HeldLease {
    /// Takes the lease, over from its present holder if that is a run which was killed on this machine.
    ///
    /// # Errors
    /// `Conflict` (`P305`) at once if another run holds it, naming the holder and the time left.
    pub(crate) async fn acquire(
        registry: &Arc<dyn Registry>,
        cx: &Context,
        name: &str,
        terms: Terms,
    ) -> Result<(Self, Lost)> {
        let holder = Holder::new();
        let lease = take(registry.as_ref(), cx, name, holder.name(), terms.ttl).await?;
        // The caller's cancellation must not keep the lease from being given back.
        let cx = detached(cx);
        let (sender, receiver) = oneshot::channel();
        let renewing = renew(registry.clone(), cx.clone(), lease.clone(), terms, sender);
        let held = Self {
            lent: Some(Lent {
                registry: registry.clone(),
                cx,
                lease,
                renewing: tokio::spawn(renewing),
            }),
            terms,
            _holder: holder,
        };
        Ok((held, Lost(receiver)))
    }

    /// Makes sure that the lease is still held, and prolongs it. Nothing that others could have undone
    /// meanwhile is recorded without asking.
    ///
    /// # Errors
    /// `Conflict` (`P305`) if it is not, and `Unavailable` (`P304`).
    pub(crate) async fn confirm(&self) -> Result<()> {
        let Some(lent) = &self.lent else {
            return Ok(());
        };
        let renewed = lent
            .registry
            .renew_lease(&lent.cx, &lent.lease, self.terms.ttl)
            .await;
        renewed.map(|_| ()).map_err(|error| {
            if error.kind() == ErrorKind::Conflict {
                lost(&lent.lease, error)
            } else {
                error
            }
        })
    }

    /// Gives the lease back. A registry that cannot be reached is not waited for: the lease runs out.
    pub(crate) async fn release(mut self) {
        if let Some(lent) = self.lent.take() {
            lent.release().await;
        }
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        let Some(lent) = self.lent.take() else {
            return;
        };
        lent.renewing.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(lent.release());
        }
    }
}

impl Lent {
    async fn release(self) {
        self.renewing.abort();
        // A renewal that is under way could prolong a lease that was given back.
        let _ = self.renewing.await;
        let released = timeout(
            RELEASE_TIMEOUT,
            self.registry.release_lease(&self.cx, &self.lease),
        );
        let problem = match released.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the registry did not answer".to_owned(),
        };
        tracing::warn!(lease = %self.lease.name, "the lease was not given back: {problem}");
    }
}

async fn take(
    registry: &dyn Registry,
    cx: &Context,
    name: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Lease> {
    let mut n_left = N_ATTEMPTS;
    loop {
        let held = match registry.acquire_lease(cx, name, holder, ttl).await {
            Ok(lease) => return Ok(lease),
            Err(error) => error,
        };
        n_left -= 1;
        let present = held.context_pairs().iter().find(|(key, _)| key == "holder");
        let dead = present
            .map(|(_, present)| present.clone())
            .filter(|present| held.code() == codes::LEASE_HELD.id && is_dead(present));
        let Some(dead) = dead.filter(|_| n_left > 0) else {
            return Err(held);
        };
        // Others may see the same dead holder and do the same, so nobody works under its name: it is
        // only used to give the lease back, and who then comes first has it.
        match registry.acquire_lease(cx, name, &dead, ttl).await {
            Ok(lease) => {
                tracing::info!(lease = %name, "took the lease over from {dead}, which has ended");
                registry.release_lease(cx, &lease).await?;
            }
            Err(error) if error.code() == codes::LEASE_HELD.id => {}
            Err(error) => return Err(error),
        }
    }
}

/// Prolongs a lease again and again, and says so once it is lost.
async fn renew(
    registry: Arc<dyn Registry>,
    cx: Context,
    lease: Lease,
    terms: Terms,
    sender: oneshot::Sender<Error>,
) {
    let mut held_until = Instant::now() + terms.ttl;
    loop {
        sleep(terms.renew_every).await;
        let asked = Instant::now();
        let renewed = registry.renew_lease(&cx, &lease, terms.ttl);
        let error = match timeout(terms.renew_every, renewed).await {
            Ok(Ok(_)) => {
                held_until = asked + terms.ttl;
                continue;
            }
            Ok(Err(error)) => error,
            Err(_) => Error::new(
                &codes::REGISTRY_UNAVAILABLE,
                "the registry did not answer in time",
            ),
        };
        // A registry that is away for a moment does no harm while the lease lasts.
        if error.kind() == ErrorKind::Conflict || Instant::now() >= held_until {
            let _ = sender.send(lost(&lease, error));
            return;
        }
    }
}

fn lost(lease: &Lease, error: Error) -> Error {
    Error::new(
        &codes::LEASE_HELD,
        format!(
            "the run was stopped, since it lost its lease {:?}: {}",
            lease.name,
            error.message()
        ),
    )
    .help("start it again once the other run has ended; what it wrote does no harm")
    .context("lease", lease.name.clone())
    .source(error)
}

fn detached(cx: &Context) -> Context {
    let detached = Context::new(cx.project()).with_trace_id(cx.trace_id());
    match cx.identity() {
        Some(identity) => detached.with_identity(identity.name.clone()),
        None => detached,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use provender_conformance::memory::MemoryRegistry;

    use super::*;

    const NAME: &str = "materialize/v@1";

    fn registry() -> Arc<dyn Registry> {
        Arc::new(MemoryRegistry::new())
    }

    /// Renewed as often as the test can look.
    const QUICK: Terms = Terms {
        ttl: Duration::from_secs(600),
        renew_every: Duration::from_millis(2),
    };

    #[tokio::test]
    async fn another_run_of_this_process_is_refused_until_the_lease_is_released() {
        let (registry, cx) = (registry(), Context::new("p"));
        let (held, _lost) = HeldLease::acquire(&registry, &cx, NAME, Terms::RUN)
            .await
            .unwrap();
        let Err(error) = HeldLease::acquire(&registry, &cx, NAME, Terms::RUN).await else {
            unreachable!("the lease is held")
        };
        assert_eq!(error.code(), "P305");
        let process = format!("process {}, run ", std::process::id());
        assert!(error.message().contains(&process), "{error}");
        held.release().await;
        let again = HeldLease::acquire(&registry, &cx, NAME, Terms::RUN).await;
        assert!(again.is_ok());
    }

    #[tokio::test]
    async fn a_lease_of_a_dropped_run_is_had_at_once() {
        let (registry, cx) = (registry(), Context::new("p"));
        for _ in 0..3 {
            let (held, _lost) = HeldLease::acquire(&registry, &cx, NAME, Terms::RUN)
                .await
                .unwrap();
            // Nothing runs between this and the next acquisition, so it was not given back.
            drop(held);
        }
    }

    #[tokio::test]
    async fn a_lease_that_another_took_is_lost() {
        let (registry, cx) = (registry(), Context::new("p"));
        let (held, lost) = HeldLease::acquire(&registry, &cx, NAME, QUICK)
            .await
            .unwrap();
        held.confirm().await.unwrap();
        let lease = held.lent.as_ref().unwrap().lease.clone();
        registry.release_lease(&cx, &lease).await.unwrap();
        // A renewal may have come between, which is then the one that is given back.
        let long = Duration::from_secs(600);
        while registry
            .acquire_lease(&cx, NAME, "ann", long)
            .await
            .is_err()
        {
            registry.release_lease(&cx, &lease).await.unwrap();
        }
        let error = lost.wait().await;
        assert_eq!(error.code(), "P305");
        assert!(
            error
                .message()
                .contains("lost its lease \"materialize/v@1\"")
                && error.message().contains("\"ann\""),
            "{error}"
        );
        assert_eq!(held.confirm().await.unwrap_err().code(), "P305");
        held.release().await;
        let error = registry.acquire_lease(&cx, NAME, "bob", long).await;
        assert!(error.unwrap_err().message().contains("\"ann\""));
    }

    #[tokio::test]
    async fn of_many_that_take_over_from_a_dead_run_one_gets_the_lease() {
        let (registry, cx) = (registry(), Context::new("p"));
        let dead = Holder::new();
        let name = dead.name().to_owned();
        drop(dead);
        if !is_dead(&name) {
            return;
        }
        let long = Duration::from_secs(600);
        for _ in 0..20 {
            registry
                .acquire_lease(&cx, NAME, &name, long)
                .await
                .unwrap();
            let all = (0..8).map(|_| HeldLease::acquire(&registry, &cx, NAME, Terms::RUN));
            let mut held: Vec<HeldLease> = futures::future::join_all(all)
                .await
                .into_iter()
                .filter_map(|answer| answer.ok().map(|(held, _)| held))
                .collect();
            assert_eq!(held.len(), 1);
            held.remove(0).release().await;
        }
    }
}
