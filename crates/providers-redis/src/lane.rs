//! Connections to one server: made when needed, shared, and made again after a failure.
//!
//! Decides that many calls which miss a connection make one together, that a server which is gone is asked
//! again after a short pause and not by every call, and that reads and writes have connections of their
//! own, so that a great write does not stand before a small read. What is sent is not known here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use rand::Rng;
use tokio::runtime::Handle;

use crate::client::{Connection, Dialling};
use crate::config::Address;
use crate::error::{Fault, FaultKind};
use crate::hot::HotConnection;

/// The pause after a first failure to connect, ...
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// ... which doubles up to this, so that a server is in use again soon after it is up.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How long a count of replicas holds.
const REPLICAS_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Which of a server's connections a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    Write,
}

/// What lanes hold.
pub(crate) trait Link: Clone + Send + Sync + Sized + 'static {
    /// Connects, within the time for it.
    ///
    /// # Errors
    /// What stands in the way.
    fn open(
        address: Address,
        dialling: &Dialling,
    ) -> impl Future<Output = Result<Self, Fault>> + Send;

    /// Whether another connection should be made.
    fn is_broken(&self) -> bool;
}

/// One server, and the connections to it.
pub(crate) struct Server {
    address: Address,
    reads: Vec<Arc<Lane<Connection>>>,
    writes: Vec<Arc<Lane<Connection>>>,
    /// For the hot path of reads; none with TLS.
    hot: Vec<Arc<Lane<HotConnection>>>,
    next: AtomicUsize,
    /// How many replicas were connected, and when that was asked.
    replicas: Mutex<Option<(u32, Instant)>>,
}

impl Server {
    pub(crate) fn new(
        address: Address,
        dialling: &Arc<Dialling>,
        n_reads: usize,
        n_writes: usize,
    ) -> Self {
        let (n_reads, n_hot) = match dialling.tls {
            None => (1, n_reads),
            Some(_) => (n_reads, 0),
        };
        Self {
            reads: Lane::several(n_reads, &address, dialling),
            writes: Lane::several(n_writes, &address, dialling),
            hot: Lane::several(n_hot, &address, dialling),
            next: AtomicUsize::new(0),
            replicas: Mutex::default(),
            address,
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A connection that works as far as is known.
    ///
    /// # Errors
    /// Why there is none now.
    pub(crate) async fn connection(&self, purpose: Purpose) -> Result<Connection, Fault> {
        let lanes = match purpose {
            Purpose::Read => &self.reads,
            Purpose::Write => &self.writes,
        };
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        lanes[turn % lanes.len()].connection().await
    }

    /// A connection for the hot path; `None` where there is none.
    ///
    /// # Errors
    /// Why it cannot be had now.
    pub(crate) async fn hot(&self) -> Result<Option<HotConnection>, Fault> {
        if self.hot.is_empty() {
            return Ok(None);
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = self.hot[turn % self.hot.len()].connection();
        connection.await.map(Some)
    }

    /// How many replicas are connected, as of a moment ago; 0 where the user may not ask.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn n_replicas(&self, connection: &Connection) -> Result<u32, Fault> {
        let replicas = || self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((n, asked)) = *replicas()
            && asked.elapsed() < REPLICAS_AGAIN_AFTER
        {
            return Ok(n);
        }
        let role = connection.ask("ROLE", &[]).await?;
        let n = role.into_items().into_iter().nth(2);
        let n = n.map_or(0, |replicas| replicas.into_items().len());
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        *replicas() = Some((n, Instant::now()));
        Ok(n)
    }
}

type Connecting<L> = Shared<BoxFuture<'static, Result<L, Fault>>>;

/// One place for a connection.
struct Lane<L> {
    address: Address,
    dialling: Arc<Dialling>,
    /// The runtime that drives the connection: that of whoever opened the store, and not that of the call
    /// which happens to need a connection first.
    runtime: Option<Handle>,
    state: Mutex<State<L>>,
}

struct State<L> {
    connection: Option<L>,
    connecting: Option<Connecting<L>>,
    failed: Option<Failed>,
}

/// The last try, if it failed.
struct Failed {
    fault: Fault,
    pause: Duration,
    again_at: Instant,
}

impl<L: Link> Lane<L> {
    fn several(n: usize, address: &Address, dialling: &Arc<Dialling>) -> Vec<Arc<Self>> {
        let lane = |_| {
            Arc::new(Self {
                address: address.clone(),
                dialling: Arc::clone(dialling),
                runtime: Handle::try_current().ok(),
                state: Mutex::new(State {
                    connection: None,
                    connecting: None,
                    failed: None,
                }),
            })
        };
        (0..n).map(lane).collect()
    }

    async fn connection(self: &Arc<Self>) -> Result<L, Fault> {
        let connecting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(connection) = &state.connection {
                if !connection.is_broken() {
                    return Ok(connection.clone());
                }
                state.connection = None;
            }
            match (&state.connecting, &state.failed) {
                (Some(connecting), _) => connecting.clone(),
                (None, Some(failed)) if Instant::now() < failed.again_at => {
                    return Err(failed.fault.clone());
                }
                _ => {
                    let connecting = self.connect();
                    state.connecting = Some(connecting.clone());
                    connecting
                }
            }
        };
        connecting.await
    }

    /// Connects in a task of its own, so that callers who cannot wait so long do not undo it.
    fn connect(self: &Arc<Self>) -> Connecting<L> {
        let lane = Arc::clone(self);
        let work = async move {
            let opened = L::open(lane.address.clone(), &lane.dialling).await;
            lane.settle(&opened);
            opened
        };
        let runtime = self.runtime.clone().or_else(|| Handle::try_current().ok());
        let task = match runtime {
            Some(runtime) => runtime.spawn(work),
            None => return async { Err(ended()) }.boxed().shared(),
        };
        let lane = Arc::clone(self);
        async move {
            match task.await {
                Ok(opened) => opened,
                Err(_) => {
                    let opened = Err(ended());
                    lane.settle(&opened);
                    opened
                }
            }
        }
        .boxed()
        .shared()
    }

    fn settle(&self, opened: &Result<L, Fault>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.connecting = None;
        match opened {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                state.failed = None;
            }
            Err(fault) => {
                let pause = match &state.failed {
                    Some(failed) => (failed.pause * 2).min(LONGEST_PAUSE),
                    None => FIRST_PAUSE,
                };
                // Many processes must not come back in step.
                let spread = rand::rng().random_range(0.5..1.0);
                state.failed = Some(Failed {
                    fault: fault.clone(),
                    pause,
                    again_at: Instant::now() + pause.mul_f64(spread),
                });
            }
        }
    }
}

fn ended() -> Fault {
    Fault::new(
        FaultKind::Away,
        "the program that opened the store is ending",
    )
}
