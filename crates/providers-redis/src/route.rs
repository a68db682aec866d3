//! Sends commands to the servers that their keys belong to, and brings the replies back in order.
//!
//! Decides what is tried again: commands that were sent on (MOVED, ASK), servers that are not ready or no
//! primaries any more, and connections that broke. All commands of this crate may be done twice. Replies
//! that are errors of another kind are the caller's to judge.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use provender_core::Result as CoreResult;
use rand::Rng;

use crate::client::{Command, Commands, Connection, Reply};
use crate::config::Address;
use crate::error::{Fault, FaultKind};
use crate::fleet::{Fleet, Map};
use crate::lane::{Link, Purpose, Server};

/// The pause before a second try, which doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How often one command is sent on before the servers count as at odds with each other.
const MAX_REDIRECTS: usize = 16;

/// How long replicas have to say that they have what was written.
const CONFIRMED_WITHIN_MS: &[u8] = b"500";

/// How long passing failures are tried again: long enough for a connection that broke and for slots that
/// move, and not for a server that is gone.
fn patience(purpose: Purpose) -> Duration {
    match purpose {
        Purpose::Read => Duration::from_millis(150),
        Purpose::Write => Duration::from_millis(600),
    }
}

/// Where a command was sent on to.
struct Redirect {
    to: Address,
    is_asking: bool,
}

/// Commands for one server, and whose replies they are; `None` for those that only announce.
struct Group {
    server: Arc<Server>,
    commands: Commands,
    replies_to: Vec<Option<usize>>,
}

impl Fleet {
    /// Sends commands and answers one reply for each. `slots` holds the slot of each command's keys; it is
    /// not looked at where one server holds everything.
    ///
    /// # Errors
    /// If a server cannot be reached, or is not ready, for longer than that may pass by itself.
    pub(crate) async fn send(
        self: &Arc<Self>,
        purpose: Purpose,
        commands: &Commands,
        slots: &[u16],
    ) -> Result<Vec<Reply>, Fault> {
        self.send_noting(purpose, commands, slots, None).await
    }

    /// As [`Self::send`]; notes over which connections it went.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn send_noting(
        self: &Arc<Self>,
        purpose: Purpose,
        commands: &Commands,
        slots: &[u16],
        used: Option<&Used>,
    ) -> Result<Vec<Reply>, Fault> {
        let until = Instant::now() + patience(purpose);
        let mut pause = FIRST_PAUSE;
        let mut sending = Sending {
            fleet: self,
            purpose,
            commands,
            slots,
            used,
            replies: Vec::new(),
            redirects: Vec::new(),
            n_rounds: 0,
        };
        loop {
            let (fault, at_once) = match sending.round().await {
                Ok(None) => return Ok(sending.into_replies()),
                Ok(Some(sent_on)) => (sent_on, true),
                Err(fault) => (fault, false),
            };
            sending.n_rounds += 1;
            // What is sent on is not tried again: it goes to whom it should have gone to, however long the
            // first round took.
            let is_late = !at_once && Instant::now() >= until;
            if !fault.is_passing() || is_late || sending.n_rounds > MAX_REDIRECTS {
                return Err(fault);
            }
            if !at_once {
                let spread = rand::rng().random_range(0.5..1.0);
                tokio::time::sleep(pause.mul_f64(spread)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The connections over which rows of one call were acknowledged. A server that was started again or
/// replaced in between may have lost the first of them, and breaks its connections in any case.
#[derive(Default)]
pub(crate) struct Used(Mutex<Vec<Connection>>);

impl Used {
    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, connection: Connection) {
        let mut used = self.lock();
        if !used.iter().any(|known| known.is_same(&connection)) {
            used.push(connection);
        }
    }

    /// Fails if one of the connections did not last.
    pub(crate) fn lasted(&self) -> Result<(), Fault> {
        match self.lock().iter().find(|used| used.is_broken()) {
            Some(broken) => Err(Fault::new(
                FaultKind::NotReady,
                format!(
                    "the connection to {} broke between rows of one write, and those before may be lost; write all again",
                    broken.address()
                ),
            )),
            None => Ok(()),
        }
    }
}

/// Commands on their way.
struct Sending<'a> {
    fleet: &'a Arc<Fleet>,
    purpose: Purpose,
    commands: &'a Commands,
    slots: &'a [u16],
    used: Option<&'a Used>,
    /// The replies so far, by command; empty until a round brought some.
    replies: Vec<Option<Reply>>,
    redirects: Vec<Option<Redirect>>,
    n_rounds: usize,
}

impl Sending<'_> {
    fn into_replies(self) -> Vec<Reply> {
        self.replies.into_iter().flatten().collect()
    }

    /// Sends what has no reply yet. `None` once all have; else why some must be sent again at once.
    async fn round(&mut self) -> Result<Option<Fault>, Fault> {
        let map = self.fleet.map().await?;
        let groups = match self.single(&map)? {
            Some(server) => {
                let replies = self.deliver(&server, self.commands).await;
                let replies = replies.inspect_err(|_| self.fleet.is_out_of_date(&map))?;
                return self.take_all(replies, &server, &map);
            }
            None => self.groups(&map)?,
        };
        let this = &*self;
        let sent = join_all(groups.into_iter().map(|group| async move {
            let replies = this.deliver(&group.server, &group.commands).await;
            (group, replies)
        }))
        .await;
        let mut failed = None;
        let mut sent_on = None;
        for (group, replies) in sent {
            let replies = match replies {
                Ok(replies) => replies,
                Err(fault) => {
                    self.fleet.is_out_of_date(&map);
                    failed = Some(fault);
                    continue;
                }
            };
            for (reply, to) in replies.into_iter().zip(group.replies_to) {
                let Some(index) = to else { continue };
                match self.take(index, reply, &group.server, &map) {
                    Ok(()) => {}
                    Err(Again::At(fault)) => sent_on = Some(fault),
                    Err(Again::Later(fault)) => failed = Some(fault),
                }
            }
        }
        match failed {
            Some(fault) => Err(fault),
            None => Ok(sent_on),
        }
    }

    /// As [`Self::confirmed`], and notes the connection.
    async fn deliver(&self, server: &Server, commands: &Commands) -> Result<Vec<Reply>, Fault> {
        let connection = server.connection(self.purpose).await?;
        let replies = self.confirmed(server, &connection, commands).await?;
        if let Some(used) = self.used {
            used.note(connection);
        }
        Ok(replies)
    }

    /// Sends commands to one server; what was written is with as many replicas as was asked for when it
    /// returns.
    async fn confirmed(
        &self,
        server: &Server,
        connection: &Connection,
        commands: &Commands,
    ) -> Result<Vec<Reply>, Fault> {
        let wanted = match self.purpose {
            Purpose::Read => 0,
            Purpose::Write => self.fleet.settings.wait_replicas,
        };
        let wanted = match wanted {
            0 => 0,
            wanted => wanted.min(server.n_replicas(connection).await?),
        };
        if wanted == 0 {
            return connection.call(commands).await;
        }
        // On the same connection, behind the commands: it is about what that connection has written.
        let n = wanted.to_string();
        let args = [n.as_bytes(), CONFIRMED_WITHIN_MS];
        let (replies, confirmed) =
            futures::join!(connection.call(commands), connection.ask("WAIT", &args));
        let (replies, confirmed) = (replies?, confirmed?);
        if let Some((code, detail)) = confirmed.refusal() {
            return Err(Fault::of_reply(server.address(), code, detail));
        }
        let n = confirmed.int().unwrap_or_default();
        if n < i64::from(wanted) {
            return Err(Fault::new(
                FaultKind::NotReady,
                format!(
                    "{n} replicas of {} have the rows, and {wanted} should (option wait_replicas)",
                    server.address()
                ),
            ));
        }
        Ok(replies)
    }

    /// The one server that all commands go to as they are, if there is one.
    fn single(&self, map: &Map) -> Result<Option<Arc<Server>>, Fault> {
        if !self.replies.is_empty() || self.commands.is_empty() {
            return Ok(None);
        }
        if !map.is_cluster() {
            return Ok(map.primaries.first().cloned());
        }
        let Some((first, rest)) = self.slots.split_first() else {
            return Ok(None);
        };
        let owner = map.primary_of(*first);
        match owner {
            Some(owner) if rest.iter().all(|slot| map.primary_of(*slot) == Some(owner)) => {
                Ok(map.primaries.get(owner).cloned())
            }
            _ => Ok(None),
        }
    }

    fn take_all(
        &mut self,
        replies: Vec<Reply>,
        server: &Arc<Server>,
        map: &Arc<Map>,
    ) -> Result<Option<Fault>, Fault> {
        if !replies.iter().any(|reply| reply.refusal().is_some()) {
            self.replies = replies.into_iter().map(Some).collect();
            return Ok(None);
        }
        let mut failed = None;
        let mut sent_on = None;
        for (index, reply) in replies.into_iter().enumerate() {
            match self.take(index, reply, server, map) {
                Ok(()) => {}
                Err(Again::At(fault)) => sent_on = Some(fault),
                Err(Again::Later(fault)) => failed = Some(fault),
            }
        }
        match failed {
            Some(fault) => Err(fault),
            None => Ok(sent_on),
        }
    }

    /// Keeps a reply, or says why its command must be sent again.
    fn take(
        &mut self,
        index: usize,
        reply: Reply,
        server: &Server,
        map: &Arc<Map>,
    ) -> Result<(), Again> {
        if self.replies.is_empty() {
            self.replies.resize_with(self.commands.len(), || None);
            self.redirects.resize_with(self.commands.len(), || None);
        }
        if let Some((code, detail)) = reply.refusal() {
            let fault = Fault::of_reply(server.address(), code, detail);
            // Keys of one slot that lie on two servers while it moves cannot be had together; the caller
            // has to ask for them one by one.
            if fault.is_passing() && code != "TRYAGAIN" {
                self.fleet.is_out_of_date(map);
                let redirect = redirect(code, detail, server.address());
                let at_once = redirect.is_some();
                self.redirects[index] = redirect;
                return Err(match at_once {
                    true => Again::At(fault),
                    false => Again::Later(fault),
                });
            }
        }
        self.replies[index] = Some(reply);
        Ok(())
    }

    /// What is still to be sent, by server.
    fn groups(&mut self, map: &Map) -> Result<Vec<Group>, Fault> {
        if self.replies.is_empty() {
            self.replies.resize_with(self.commands.len(), || None);
            self.redirects.resize_with(self.commands.len(), || None);
        }
        let mut groups: Vec<Group> = Vec::new();
        for (index, command) in self.commands.refs().enumerate() {
            if self.replies[index].is_some() {
                continue;
            }
            let redirect = self.redirects[index].take();
            let is_asking = redirect.as_ref().is_some_and(|it| it.is_asking);
            let server = match redirect {
                Some(redirect) => self.fleet.server(&redirect.to),
                None => {
                    let slot = self.slots.get(index).copied().unwrap_or_default();
                    let owner = map.primary_of(slot).and_then(|at| map.primaries.get(at));
                    Arc::clone(owner.ok_or_else(|| {
                        Fault::new(
                            FaultKind::NotReady,
                            format!("no server of the cluster serves slot {slot}"),
                        )
                    })?)
                }
            };
            let known = groups
                .iter()
                .position(|group| Arc::ptr_eq(&group.server, &server));
            let at = known.unwrap_or_else(|| {
                groups.push(Group {
                    server,
                    commands: Commands::default(),
                    replies_to: Vec::new(),
                });
                groups.len() - 1
            });
            let group = &mut groups[at];
            if is_asking {
                group.commands.push(Command::of("ASKING", &[]));
                group.replies_to.push(None);
            }
            group.commands.push(command.copy());
            group.replies_to.push(Some(index));
        }
        Ok(groups)
    }
}

/// Fails for a reply that is an error.
///
/// # Errors
/// What the error means.
pub(crate) fn sound(reply: &Reply) -> CoreResult<()> {
    match reply.refusal() {
        Some((code, detail)) => Err(Fault::of_reply(&"the server", code, detail).into()),
        None => Ok(()),
    }
}

/// Why a command must be sent again.
enum Again {
    /// To another server, which is known.
    At(Fault),
    /// After a pause, to whoever serves it then.
    Later(Fault),
}

/// Whom `MOVED 123 10.0.0.1:6379` and its like name; a host that is left out is the sender's own.
fn redirect(code: &str, detail: &str, from: &Address) -> Option<Redirect> {
    let is_asking = match code {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let place = detail.split_whitespace().nth(1)?;
    let (host, port) = place.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Redirect {
        to: Address {
            host: match host {
                "" | "?" => from.host.clone(),
                host => host.to_owned(),
            },
            port: port.parse().ok()?,
        },
        is_asking,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn redirects_name_a_server() {
        let from = Address {
            host: "h".to_owned(),
            port: 1,
        };
        let moved = redirect("MOVED", "3999 127.0.0.1:6381", &from).unwrap();
        assert_eq!(moved.to.to_string(), "127.0.0.1:6381");
        assert!(!moved.is_asking);
        let ask = redirect("ASK", "3999 :6381", &from).unwrap();
        assert_eq!(ask.to.to_string(), "h:6381");
        assert!(ask.is_asking);
        let six = redirect("MOVED", "3999 ::1:6381", &from).unwrap();
        assert_eq!(six.to.to_string(), "[::1]:6381");
        assert!(redirect("MOVED", "3999", &from).is_none());
        assert!(redirect("LOADING", "x", &from).is_none());
    }
}
