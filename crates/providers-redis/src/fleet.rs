//! Which servers there are and which of them serves what: one, the primary that sentinels name, or the
//! primaries of a cluster by slot.
//!
//! Decides how that is found out, and found out again when it has changed. Many calls that find it out of
//! date look once together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, Shared};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::runtime::Handle;

use crate::client::{Connection, Dialling, Reply};
use crate::config::{Address, Mode, Settings};
use crate::error::{Fault, FaultKind};
use crate::keys::N_SLOTS;
use crate::lane::{Link, Purpose, Server};

/// The least time between two looks at who serves what.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
const NOBODY: u16 = u16::MAX;

/// Who serves what, as of one look. Never changes.
pub(crate) struct Map {
    /// The servers that take writes; at least one.
    pub(crate) primaries: Vec<Arc<Server>>,
    /// For each slot the index of its primary; `None` where one server holds everything.
    slots: Option<Vec<u16>>,
    looked_at: Instant,
}

impl Map {
    /// Whether keys are spread over slots.
    pub(crate) fn is_cluster(&self) -> bool {
        self.slots.is_some()
    }

    /// The index of the primary of a slot; `None` if nobody serves it.
    #[inline]
    pub(crate) fn primary_of(&self, slot: u16) -> Option<usize> {
        match &self.slots {
            None => Some(0),
            Some(slots) => match slots.get(usize::from(slot)) {
                Some(&index) if index != NOBODY => Some(usize::from(index)),
                _ => None,
            },
        }
    }

    /// How many slots somebody serves.
    pub(crate) fn n_served(&self) -> u16 {
        let served = (0..N_SLOTS).filter(|slot| self.primary_of(*slot).is_some());
        u16::try_from(served.count()).unwrap_or(N_SLOTS)
    }

    /// Whether the same servers serve the same slots.
    pub(crate) fn serves_as(&self, other: &Self) -> bool {
        (0..N_SLOTS).all(|slot| {
            let owner = |map: &Self| {
                let index = map.primary_of(slot)?;
                map.primaries
                    .get(index)
                    .map(|server| server.address().clone())
            };
            owner(self) == owner(other)
        })
    }

    /// The first slot that a primary serves; 0 where one server holds everything.
    pub(crate) fn first_slot_of(&self, primary: usize) -> Option<u16> {
        match &self.slots {
            None => Some(0),
            Some(slots) => {
                let first = slots
                    .iter()
                    .position(|owner| usize::from(*owner) == primary)?;
                u16::try_from(first).ok()
            }
        }
    }
}

type Looking = Shared<BoxFuture<'static, Result<Arc<Map>, Fault>>>;

/// All servers of a store.
pub(crate) struct Fleet {
    pub(crate) settings: Settings,
    dialling: Arc<Dialling>,
    runtime: Option<Handle>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    map: Option<Arc<Map>>,
    /// Set when the map was found to be out of date.
    is_stale: bool,
    looking: Option<Looking>,
    failed: Option<(Fault, Instant)>,
    servers: HashMap<Address, Arc<Server>>,
    /// What `mode: auto` has turned out to be.
    found_mode: Option<Mode>,
}

impl Fleet {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        let dialling = Arc::new(Dialling {
            login: settings.login.clone(),
            database: settings.database,
            tls: settings.tls.clone(),
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
        });
        Arc::new(Self {
            settings,
            dialling,
            runtime: Handle::try_current().ok(),
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who serves what, as far as is known.
    ///
    /// # Errors
    /// Why it cannot be found out now.
    pub(crate) async fn map(self: &Arc<Self>) -> Result<Arc<Map>, Fault> {
        let looking = {
            let mut state = self.lock();
            if let (Some(map), false) = (&state.map, state.is_stale) {
                return Ok(Arc::clone(map));
            }
            match (&state.looking, &state.failed) {
                (Some(looking), _) => looking.clone(),
                (None, Some((fault, at))) if at.elapsed() < LOOK_AGAIN_AFTER => {
                    return Err(fault.clone());
                }
                _ => {
                    let looking = self.start_looking();
                    state.looking = Some(looking.clone());
                    looking
                }
            }
        };
        looking.await
    }

    /// Says that a map was found to be out of date: the next call looks again.
    pub(crate) fn is_out_of_date(&self, map: &Arc<Map>) {
        let mut state = self.lock();
        if state
            .map
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, map))
            && map.looked_at.elapsed() >= LOOK_AGAIN_AFTER
        {
            state.is_stale = true;
        }
    }

    /// Has the next call look again in any case.
    pub(crate) fn look_again(&self) {
        self.lock().is_stale = true;
    }

    /// The server of an address, whose connections are kept.
    pub(crate) fn server(&self, address: &Address) -> Arc<Server> {
        let mut state = self.lock();
        let server = state.servers.entry(address.clone()).or_insert_with(|| {
            Arc::new(Server::new(
                address.clone(),
                &self.dialling,
                self.settings.read_connections,
                self.settings.write_connections,
            ))
        });
        Arc::clone(server)
    }

    fn start_looking(self: &Arc<Self>) -> Looking {
        let fleet = Arc::clone(self);
        let work = async move {
            let looked = fleet.look().await.map(Arc::new);
            fleet.settle(looked.clone());
            looked
        };
        let runtime = self.runtime.clone().or_else(|| Handle::try_current().ok());
        let Some(runtime) = runtime else {
            return async { Err(Fault::new(FaultKind::Away, "there is no runtime")) }
                .boxed()
                .shared();
        };
        let task = runtime.spawn(work);
        let fleet = Arc::clone(self);
        async move {
            match task.await {
                Ok(looked) => looked,
                Err(_) => {
                    let looked = Err(Fault::new(FaultKind::Away, "the program is ending"));
                    fleet.settle(looked.clone());
                    looked
                }
            }
        }
        .boxed()
        .shared()
    }

    fn settle(&self, looked: Result<Arc<Map>, Fault>) {
        let mut state = self.lock();
        state.looking = None;
        match looked {
            Ok(map) => {
                // Servers that left are not asked again, and their connections end with the last call.
                let primaries = &map.primaries;
                state
                    .servers
                    .retain(|address, _| primaries.iter().any(|it| it.address() == address));
                state.map = Some(map);
                state.is_stale = false;
                state.failed = None;
            }
            Err(fault) => state.failed = Some((fault, Instant::now())),
        }
    }

    async fn look(&self) -> Result<Map, Fault> {
        let mode = match self.settings.mode {
            Mode::Auto => self.lock().found_mode.unwrap_or(Mode::Auto),
            mode => mode,
        };
        match mode {
            Mode::Standalone => Ok(self.one(&self.settings.addresses[0])),
            Mode::Sentinel => self.ask_sentinels().await,
            Mode::Cluster => match self.ask_cluster().await? {
                Some(map) => Ok(map),
                None => Err(Fault::new(
                    FaultKind::Refused,
                    format!(
                        "{} is no node of a cluster; set mode to standalone",
                        self.settings.place()
                    ),
                )),
            },
            Mode::Auto => {
                let map = self.ask_cluster().await?;
                let (mode, map) = match map {
                    Some(map) => (Mode::Cluster, map),
                    None => (Mode::Standalone, self.one(&self.settings.addresses[0])),
                };
                self.lock().found_mode = Some(mode);
                Ok(map)
            }
        }
    }

    fn one(&self, address: &Address) -> Map {
        Map {
            primaries: vec![self.server(address)],
            slots: None,
            looked_at: Instant::now(),
        }
    }

    /// The map of a cluster, from the first node that answers; `None` from a server that is in none.
    async fn ask_cluster(&self) -> Result<Option<Map>, Fault> {
        let mut known: Vec<Address> = match &self.lock().map {
            Some(map) => map
                .primaries
                .iter()
                .map(|server| server.address().clone())
                .collect(),
            None => Vec::new(),
        };
        for address in &self.settings.addresses {
            if !known.contains(address) {
                known.push(address.clone());
            }
        }
        // All at once: one that hangs must not keep the others from answering.
        let mut asking: FuturesUnordered<_> =
            known.iter().map(|address| self.ask_node(address)).collect();
        let mut last: Option<Fault> = None;
        while let Some(answer) = asking.next().await {
            match answer {
                Ok(answer) => return Ok(answer),
                Err(fault) if last.as_ref().is_none_or(Fault::says_less) => last = Some(fault),
                Err(_) => {}
            }
        }
        Err(last.unwrap_or_else(|| Fault::new(FaultKind::Away, "no node is known")))
    }

    async fn ask_node(&self, address: &Address) -> Result<Option<Map>, Fault> {
        let connection = self.server(address).connection(Purpose::Read).await?;
        let reply = connection.ask("CLUSTER", &[b"SLOTS"]).await?;
        if let Some((code, detail)) = reply.refusal() {
            // Without a cluster the command is refused; a user who may not ask works with one server.
            let is_alone = detail.contains("cluster support disabled")
                || detail.contains("unknown command")
                || (code == "NOPERM" && self.settings.mode == Mode::Auto);
            return match is_alone {
                true => Ok(None),
                false => Err(Fault::of_reply(address, code, detail)),
            };
        }
        let mut slots = vec![NOBODY; usize::from(N_SLOTS)];
        let mut primaries: Vec<Arc<Server>> = Vec::new();
        for range in reply.into_items() {
            let Some((start, end, primary)) = slot_range(range, address) else {
                continue;
            };
            let index = match primaries.iter().position(|it| *it.address() == primary) {
                Some(index) => index,
                None => {
                    primaries.push(self.server(&primary));
                    primaries.len() - 1
                }
            };
            let owner = u16::try_from(index).unwrap_or(NOBODY);
            if let Some(range) = slots.get_mut(start..=end) {
                range.fill(owner);
            }
        }
        if primaries.is_empty() {
            return Err(Fault::new(
                FaultKind::NotReady,
                format!("{address} knows of no slots that are served"),
            ));
        }
        Ok(Some(Map {
            primaries,
            slots: Some(slots),
            looked_at: Instant::now(),
        }))
    }

    async fn ask_sentinels(&self) -> Result<Map, Fault> {
        let Some((master, login)) = &self.settings.sentinel else {
            return Err(Fault::new(FaultKind::Refused, "no primary's name is given"));
        };
        let dialling = Dialling {
            login: login.clone(),
            database: 0,
            tls: self.settings.tls.clone(),
            connect_timeout: self.settings.connect_timeout,
            timeout: self.settings.connect_timeout,
        };
        // All at once: one that hangs must not keep the others from answering.
        let mut asking: FuturesUnordered<_> = self
            .settings
            .addresses
            .iter()
            .map(|sentinel| self.ask_sentinel(sentinel, &dialling, master))
            .collect();
        let mut last: Option<Fault> = None;
        while let Some(answer) = asking.next().await {
            match answer {
                Ok(primary) => return Ok(self.one(&primary)),
                Err(fault) if last.as_ref().is_none_or(Fault::says_less) => last = Some(fault),
                Err(_) => {}
            }
        }
        Err(last.unwrap_or_else(|| Fault::new(FaultKind::Away, "no sentinel is known")))
    }

    /// The primary that a sentinel names, if it says of itself that it is one.
    async fn ask_sentinel(
        &self,
        sentinel: &Address,
        dialling: &Dialling,
        master: &str,
    ) -> Result<Address, Fault> {
        let connection = Connection::open(sentinel.clone(), dialling).await?;
        let asked = [b"GET-MASTER-ADDR-BY-NAME".as_slice(), master.as_bytes()];
        let reply = connection.ask("SENTINEL", &asked).await?;
        if let Some((code, detail)) = reply.refusal() {
            return Err(Fault::of_reply(sentinel, code, detail));
        }
        let items = reply.into_items();
        let host = items.first().and_then(Reply::text);
        let port = items.get(1).and_then(Reply::int);
        let (Some(host), Some(Ok(port))) = (host, port.map(u16::try_from)) else {
            return Err(Fault::new(
                FaultKind::Refused,
                format!("the sentinel {sentinel} knows no primary of the name {master:?}"),
            ));
        };
        let primary = Address { host, port };
        let connection = self.server(&primary).connection(Purpose::Write).await?;
        let reply = connection.ask("ROLE", &[]).await?;
        match reply.refusal() {
            // A user who may not ask has to trust the sentinel.
            Some(("NOPERM", _)) => return Ok(primary),
            Some((code, detail)) => return Err(Fault::of_reply(&primary, code, detail)),
            None => {}
        }
        let role = reply.into_items().first().and_then(Reply::text);
        match role.as_deref() {
            Some("master") => Ok(primary),
            _ => Err(Fault::new(
                FaultKind::NotReady,
                format!("{primary} was the primary and is not any more"),
            )),
        }
    }
}

/// First slot, last slot and primary of one entry of CLUSTER SLOTS.
fn slot_range(range: Reply, asked: &Address) -> Option<(usize, usize, Address)> {
    let mut parts = range.into_items().into_iter();
    let start = usize::try_from(parts.next()?.int()?).ok()?;
    let end = usize::try_from(parts.next()?.int()?).ok()?;
    let primary = parts.next()?.into_items();
    let host = primary.first()?.text().filter(|host| !host.is_empty());
    let port = u16::try_from(primary.get(1)?.int()?).ok()?;
    // A node that does not know its own address says so by saying nothing.
    let host = match host {
        Some(host) if host != "?" => host,
        _ => asked.host.clone(),
    };
    (end < usize::from(N_SLOTS) && start <= end).then_some((start, end, Address { host, port }))
}
