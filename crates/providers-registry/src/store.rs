//! The registry that callers see.
//!
//! Decides what texts may be names, and hands everything else to the pieces of work that do it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use provender_core::provider::{
    Author, Change, Commit, Interval, Lease, Provider, ProviderInfo, Registry, RegistrySnapshot,
    Revision, ViewVersion,
};
use provender_core::{Context, Error, Result, codes};

use crate::commits::{ApplyChanges, ReadHistory, ReadRevision, ReadSnapshot};
use crate::config::{PostgresConfig, SqliteConfig};
use crate::connection::{Connector, Session};
use crate::database::{Database, Mode, Work};
use crate::error::{Failure, Target};
use crate::intervals::{ForgetIntervals, ReadIntervals, RecordInterval};
use crate::leases::{AcquireLease, ReleaseLease, RenewLease};
use crate::schema;

/// The longest name in bytes; PostgreSQL's indexes hold no key of more than 2,700.
const MAX_NAME_BYTES: usize = 1_000;

/// A registry in a SQLite file or a PostgreSQL database. Cheap to share; holds a few connections.
pub struct SqlRegistry {
    database: Database,
}

impl fmt::Debug for SqlRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqlRegistry")
            .field(&self.database.target().name)
            .finish()
    }
}

impl SqlRegistry {
    /// Opens the registry of a SQLite file, which is made if it is missing. A relative path starts at
    /// `base_path`.
    ///
    /// # Errors
    /// `InvalidArgument` (`P203`) for bad options and databases of other programs, `FailedPrecondition`
    /// (`P302`) for a registry of a newer program, `DataLoss` (`P303`) for a file that is no database,
    /// `PermissionDenied` (`P902`) or `Unavailable` (`P304`) where it cannot be opened,
    /// `ResourceExhausted` (`P901`) on a full disk.
    pub async fn open_sqlite(
        cx: &Context,
        config: &SqliteConfig,
        base_path: &Path,
    ) -> Result<Self> {
        let (connector, target) = config.connector(base_path)?;
        Self::open(cx, connector, target).await
    }

    /// Opens the registry of a PostgreSQL database; schema and tables are made if they are missing.
    ///
    /// # Errors
    /// As [`Self::open_sqlite`], and `Unauthenticated` or `PermissionDenied` (`P304`) as the server says.
    pub async fn open_postgres(cx: &Context, config: &PostgresConfig) -> Result<Self> {
        let (connector, target) = config.connector()?;
        Self::open(cx, connector, target).await
    }

    async fn open(cx: &Context, connector: Connector, target: Target) -> Result<Self> {
        let database = Database::new(connector, target);
        schema::prepare(cx, &database).await?;
        Ok(Self { database })
    }
}

#[async_trait]
impl Provider for SqlRegistry {
    fn info(&self) -> ProviderInfo {
        let target = self.database.target();
        ProviderInfo {
            scheme: target.scheme.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            display_name: target.name.clone(),
        }
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        let findings = self.database.perform(cx, &ReadFacts).await?;
        self.database.perform(cx, &TryWriting).await?;
        Ok(findings)
    }
}

#[async_trait]
impl Registry for SqlRegistry {
    async fn revision(&self, cx: &Context) -> Result<Revision> {
        let project = name("project", cx.project())?;
        self.database.perform(cx, &ReadRevision { project }).await
    }

    async fn snapshot(&self, cx: &Context, at: Option<Revision>) -> Result<Arc<RegistrySnapshot>> {
        let project = name("project", cx.project())?;
        let work = ReadSnapshot { project, at };
        self.database.perform(cx, &work).await.map(Arc::new)
    }

    async fn commit(
        &self,
        cx: &Context,
        base: Revision,
        changes: &[Change],
        by: &Author,
    ) -> Result<Revision> {
        let project = name("project", cx.project())?;
        text("author", &by.name)?;
        text("message", &by.message)?;
        let mut bodies = Vec::with_capacity(changes.len());
        for change in changes {
            bodies.push(match change {
                Change::Put(object) => {
                    name("name", &object.name)?;
                    json(change, &object.body)?
                }
                Change::Delete { name: deleted, .. } => {
                    name("name", deleted)?;
                    String::new()
                }
            });
        }
        let record = serde_json::to_string(changes).map_err(|error| {
            Error::new(&codes::INTERNAL, "the changes cannot be written as JSON").source(error)
        })?;
        let work = ApplyChanges {
            project,
            base,
            changes,
            bodies,
            record,
            by,
        };
        self.database.perform(cx, &work).await
    }

    async fn history(&self, cx: &Context, after: Revision, limit: usize) -> Result<Vec<Commit>> {
        let work = ReadHistory {
            project: name("project", cx.project())?,
            after,
            limit,
        };
        self.database.perform(cx, &work).await
    }

    /// An empty interval is no news; one that ends before it starts is `InvalidArgument` (`P406`).
    async fn record_interval(
        &self,
        cx: &Context,
        view: &ViewVersion,
        interval: Interval,
    ) -> Result<()> {
        check_view(view)?;
        if let Some(start_us) = interval.start_us {
            if start_us > interval.end_us {
                return Err(Error::new(
                    &codes::BAD_REQUEST,
                    format!(
                        "an interval of view {:?} ends at {} us, before it starts at {start_us} us",
                        view.view, interval.end_us
                    ),
                ));
            }
            if start_us == interval.end_us {
                return cx.check();
            }
        }
        let work = RecordInterval { view, interval };
        self.database.perform(cx, &work).await
    }

    async fn intervals(&self, cx: &Context, view: &ViewVersion) -> Result<Vec<Interval>> {
        check_view(view)?;
        self.database.perform(cx, &ReadIntervals { view }).await
    }

    async fn forget_intervals(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        check_view(view)?;
        self.database.perform(cx, &ForgetIntervals { view }).await
    }

    async fn acquire_lease(
        &self,
        cx: &Context,
        lease: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease> {
        let work = AcquireLease {
            project: name("project", cx.project())?,
            name: name("lease", lease)?,
            holder: text("holder", holder)?,
            ttl,
        };
        self.database.perform(cx, &work).await
    }

    async fn renew_lease(&self, cx: &Context, lease: &Lease, ttl: Duration) -> Result<Lease> {
        check_lease(lease)?;
        self.database.perform(cx, &RenewLease { lease, ttl }).await
    }

    async fn release_lease(&self, cx: &Context, lease: &Lease) -> Result<()> {
        check_lease(lease)?;
        self.database.perform(cx, &ReleaseLease { lease }).await
    }
}

/// Asks the database who it is.
struct ReadFacts;

impl Work for ReadFacts {
    type Output = Vec<String>;
    const MODE: Mode = Mode::Read;
    const DOING: &'static str = "checking it";

    async fn run(&self, session: &mut Session) -> Result<Vec<String>, Failure> {
        schema::head(session, "").await?;
        let mut facts = vec![session.target.name.clone()];
        for (label, query) in session.dialect.facts {
            let row = session.row(query, &[]).await?;
            let fact = row.text(0)?;
            match (*label, fact) {
                ("integrity", "ok") => {}
                ("integrity", damage) => {
                    return Err(Error::new(
                        &codes::REGISTRY_DAMAGED,
                        format!("the {} is damaged: {damage}", session.target.name),
                    )
                    .help("restore it from a backup, or apply the definitions to a new one")
                    .into());
                }
                ("journal mode", mode) if mode != "wal" => facts.push(format!(
                    "journal mode {mode}, not wal: readers and writers wait for each other"
                )),
                ("encoding", encoding) if encoding != "UTF8" => facts.push(format!(
                    "encoding {encoding}, not UTF8: names and texts beyond it are refused"
                )),
                ("synchronous_commit", "off") => facts.push(
                    "synchronous_commit off: the last commits may be lost if the server crashes"
                        .to_owned(),
                ),
                ("synchronous_commit", _) => {}
                (label, fact) => facts.push(format!("{label} {fact}")),
            }
        }
        let row = session
            .row(
                "SELECT (SELECT count(*) FROM projects), (SELECT count(*) FROM commits)",
                &[],
            )
            .await?;
        facts.push(format!(
            "format {}, projects: {}, commits: {}",
            schema::FORMAT,
            row.int(0)?,
            row.int(1)?
        ));
        Ok(facts)
    }
}

/// Sees whether the registry may be written, and leaves it as it was.
struct TryWriting;

impl Work for TryWriting {
    type Output = ();
    const MODE: Mode = Mode::Rehearse;
    const DOING: &'static str = "trying to write it";

    async fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let sql = "UPDATE registry_format SET version = version WHERE id = 1";
        session.execute(sql, &[]).await?;
        Ok(())
    }
}

fn check_view(view: &ViewVersion) -> Result<()> {
    name("project", &view.project)?;
    name("view", &view.view)?;
    Ok(())
}

fn check_lease(lease: &Lease) -> Result<()> {
    name("project", &lease.project)?;
    name("lease", &lease.name)?;
    text("holder", &lease.holder)?;
    Ok(())
}

/// A name is a short text: the same ones are refused on both databases.
fn name<'a>(what: &str, value: &'a str) -> Result<&'a str> {
    if value.len() > MAX_NAME_BYTES {
        let start: String = value.chars().take(40).collect();
        return Err(Error::new(
            &codes::BAD_REQUEST,
            format!(
                "the {what} {start:?}... has {} bytes; the registry holds at most {MAX_NAME_BYTES}",
                value.len()
            ),
        ));
    }
    text(what, value)
}

/// PostgreSQL's texts hold no NUL, so SQLite's do not either.
fn text<'a>(what: &str, value: &'a str) -> Result<&'a str> {
    if value.contains('\0') {
        return Err(Error::new(
            &codes::BAD_REQUEST,
            format!("the {what} {value:?} holds a NUL character, which the registry cannot keep"),
        ));
    }
    Ok(value)
}

fn json(change: &Change, body: &serde_json::Value) -> Result<String> {
    serde_json::to_string(body).map_err(|error| {
        Error::new(
            &codes::INTERNAL,
            format!(
                "the body of {:?} cannot be written as JSON",
                change.describe()
            ),
        )
        .source(error)
    })
}
