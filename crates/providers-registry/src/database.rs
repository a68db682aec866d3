//! How work gets done on a database that others use too: connections, transactions, retries, deadlines.
//!
//! Decides what is tried again (the database was busy, a connection that had been idle was dead) and
//! what is not (everything else, and a commit whose answer was lost). Knows nothing of registries.
//!
//! A connection goes back to the others only after its work ended in order; any other one, a cancelled
//! call's too, is closed, and the database rolls back what it was doing.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use provender_core::{Context, Error, Result, codes};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::connection::{Connector, Session};
use crate::error::{Failure, Hindrance, Target};

/// How long making a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a call may take that brings no deadline.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// What a piece of work does to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Statements without a transaction; may be run again.
    Read,
    /// A transaction that is committed if the work succeeds and rolled back otherwise.
    Write,
    /// A transaction that is rolled back in any case, to see whether it could be done.
    Rehearse,
}

/// A piece of work on one connection. It may be run several times, and waits for nothing but the database.
pub(crate) trait Work: Sync {
    type Output: Send;
    const MODE: Mode;
    /// For messages: `reading the registry`.
    const DOING: &'static str;

    fn run(
        &self,
        session: &mut Session,
    ) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

/// A database and the connections to it.
pub(crate) struct Database {
    connector: Connector,
    target: Arc<Target>,
    /// One permit per connection that may be open.
    permits: Semaphore,
    idle: Mutex<Vec<Session>>,
    /// SQLite has one writer at a time and wakes the waiting in no order, so those of this process queue
    /// here, first come, first served.
    writers: Option<tokio::sync::Mutex<()>>,
}

/// How an attempt failed, and whether another may follow.
struct Attempt {
    failure: Failure,
    again: bool,
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        let again = failure.hindrance() == Hindrance::Busy;
        Self { failure, again }
    }
}

impl From<sqlx::Error> for Attempt {
    fn from(error: sqlx::Error) -> Self {
        Failure::from(error).into()
    }
}

impl Database {
    pub(crate) fn new(connector: Connector, target: Target) -> Self {
        Self {
            permits: Semaphore::new(connector.max_connections().min(Semaphore::MAX_PERMITS)),
            writers: matches!(connector, Connector::Sqlite(_)).then(tokio::sync::Mutex::default),
            idle: Mutex::default(),
            target: Arc::new(target),
            connector,
        }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Runs a piece of work within the call's deadline, or within 30 s if it has none, again and again
    /// while the database is busy.
    pub(crate) async fn perform<W: Work>(&self, cx: &Context, work: &W) -> Result<W::Output> {
        cx.check()?;
        let limit = cx.remaining().unwrap_or(CALL_LIMIT);
        let mut hindered: Option<Error> = None;
        let attempts = async {
            let mut n_attempts: u32 = 0;
            loop {
                let failed = match self.attempt(work).await {
                    Ok(output) => return Ok(output),
                    Err(failed) => failed,
                };
                let error = failed.failure.into_error(&self.target, W::DOING);
                if !failed.again {
                    return Err(error);
                }
                n_attempts = n_attempts.saturating_add(1);
                tracing::debug!(n_attempts, %error, doing = W::DOING, "registry hindered, trying again");
                hindered = Some(error);
                sleep(pause(n_attempts)).await;
            }
        };
        let ended = tokio::select! {
            biased;
            result = timeout(limit, attempts) => result.ok(),
            () = cx.cancelled() => None,
        };
        match ended {
            Some(result) => result,
            None => Err(self.unfinished::<W>(cx, limit, hindered)),
        }
    }

    fn unfinished<W: Work>(&self, cx: &Context, limit: Duration, hindered: Option<Error>) -> Error {
        let name = &self.target.name;
        let doing = W::DOING;
        let error = match (cx.check(), hindered) {
            (Err(why), _) if why.code() == codes::CANCELLED.id => Error::new(
                &codes::CANCELLED,
                format!("the call was cancelled while {doing} ({name})"),
            ),
            (Err(_), _) => Error::new(
                &codes::DEADLINE,
                format!("the call's deadline passed while {doing} ({name})"),
            ),
            (Ok(()), Some(hindered)) => return hindered,
            (Ok(()), None) => Error::new(
                &codes::REGISTRY_UNAVAILABLE,
                format!(
                    "the {name} did not answer within {} s while {doing}",
                    limit.as_secs()
                ),
            ),
        };
        if W::MODE == Mode::Write {
            // Nobody can tell whether the last message reached the database.
            error.help("it is not known whether the change was made: look before you repeat it")
        } else {
            error
        }
    }

    async fn attempt<W: Work>(&self, work: &W) -> Result<W::Output, Attempt> {
        let _turn = match &self.writers {
            Some(writers) if W::MODE != Mode::Read => Some(writers.lock().await),
            _ => None,
        };
        let _permit = self.permits.acquire().await;
        let (mut session, was_idle) = match self.take_idle() {
            Some(session) => (session, true),
            None => (self.connect().await?, false),
        };
        match run_on(&mut session, work).await {
            Ok(output) => {
                self.put_back(session);
                Ok(output)
            }
            Err(Broken { failure, after }) => {
                let hindrance = failure.hindrance();
                if after == After::Clean {
                    self.put_back(session);
                }
                let lost = hindrance == Hindrance::ConnectionLost;
                if lost {
                    // What happened to one happened to those that idled beside it.
                    self.idle
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clear();
                }
                let again = match hindrance {
                    Hindrance::Busy => true,
                    Hindrance::ConnectionLost => was_idle && after != After::UnknownCommit,
                    Hindrance::None => false,
                };
                Err(Attempt { failure, again })
            }
        }
    }

    async fn connect(&self) -> Result<Session, Attempt> {
        match timeout(CONNECT_LIMIT, self.connector.connect(&self.target)).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(Failure::Refused(
                Error::new(
                    &codes::REGISTRY_UNAVAILABLE,
                    format!(
                        "the {} did not accept a connection within {} s",
                        self.target.name,
                        CONNECT_LIMIT.as_secs()
                    ),
                )
                .help("check host, port and network"),
            )
            .into()),
        }
    }

    fn take_idle(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    fn put_back(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(session);
    }
}

/// What a failed attempt leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The connection is as before.
    Clean,
    /// The connection must be closed; nothing was committed.
    Spoilt,
    /// The connection must be closed; whether the commit was done is not known.
    UnknownCommit,
}

struct Broken {
    failure: Failure,
    after: After,
}

/// A connection on which a statement failed may still be in a transaction.
fn spoilt(error: impl Into<Failure>) -> Broken {
    Broken {
        failure: error.into(),
        after: After::Spoilt,
    }
}

async fn run_on<W: Work>(session: &mut Session, work: &W) -> Result<W::Output, Broken> {
    if W::MODE == Mode::Read {
        return work.run(session).await.map_err(|failure| Broken {
            after: match failure {
                Failure::Refused(_) => After::Clean,
                Failure::Database(_) => After::Spoilt,
            },
            failure,
        });
    }
    let begin = session.dialect.begin;
    if let Err(error) = session.execute(begin, &[]).await {
        let failure = Failure::from(error);
        let after = match failure.hindrance() {
            Hindrance::Busy => After::Clean,
            _ => After::Spoilt,
        };
        return Err(Broken { failure, after });
    }
    match work.run(session).await {
        Ok(output) if W::MODE == Mode::Rehearse => {
            session.execute("ROLLBACK", &[]).await.map_err(spoilt)?;
            Ok(output)
        }
        Ok(output) => match session.execute("COMMIT", &[]).await {
            Ok(_) => Ok(output),
            Err(error) => Err(Broken {
                failure: error.into(),
                after: After::UnknownCommit,
            }),
        },
        Err(Failure::Refused(refusal)) => {
            session.execute("ROLLBACK", &[]).await.map_err(spoilt)?;
            Err(Broken {
                failure: Failure::Refused(refusal),
                after: After::Clean,
            })
        }
        Err(failure) => Err(spoilt(failure)),
    }
}

/// How long to wait before the next attempt: longer and longer up to 20 ms, and by chance between
/// nothing and that, so that those who wait do not come back together.
fn pause(n_attempts: u32) -> Duration {
    let longest_us = 2_000_u64.saturating_mul(u64::from(n_attempts)).min(20_000);
    let chance = RandomState::new().hash_one(n_attempts);
    Duration::from_micros(200 + chance % longest_us)
}
