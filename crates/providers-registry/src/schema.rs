//! The tables, their format's number, and the steps from one format to the next.
//!
//! Decides what a registry looks like in a database, and whether this program may touch it. A registry
//! of a newer format is never changed; one of an older format is brought up when it is opened.

use std::time::Duration;

use provender_core::{Context, Error, Result, codes};

use crate::connection::{Session, Value};
use crate::database::{Database, Mode, Work};
use crate::error::{self, Failure, Target};

/// The format that this program reads and writes.
pub(crate) const FORMAT: i64 = 1;

/// How long tuning may wait for other users of the database; the next opening tries again.
const TUNE_LIMIT: Duration = Duration::from_secs(2);

/// The `valid_to` of what is still valid.
pub(crate) const FOREVER: i64 = i64::MAX;

/// The steps that make each format out of the one before; the first makes format 1 out of nothing.
/// Steps that were released never change.
const STEPS: [&[&str]; FORMAT as usize] = [&[
    "CREATE TABLE registry_format (
        id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
        version BIGINT NOT NULL,
        written_by TEXT NOT NULL
    )",
    "INSERT INTO registry_format (id, version, written_by) VALUES (1, 0, '')",
    "CREATE TABLE projects (
        project TEXT NOT NULL PRIMARY KEY,
        revision BIGINT NOT NULL
    )",
    "CREATE TABLE commits (
        project TEXT NOT NULL,
        revision BIGINT NOT NULL,
        committed_us BIGINT NOT NULL,
        author TEXT NOT NULL,
        message TEXT NOT NULL,
        changes TEXT NOT NULL,
        PRIMARY KEY (project, revision)
    )",
    "CREATE TABLE objects (
        project TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        version BIGINT NOT NULL,
        valid_from BIGINT NOT NULL,
        valid_to BIGINT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (project, kind, name, version, valid_from)
    )",
    "CREATE INDEX objects_by_end ON objects (project, valid_to)",
    "CREATE TABLE progress (
        project TEXT NOT NULL,
        view_name TEXT NOT NULL,
        view_version BIGINT NOT NULL,
        n_changes BIGINT NOT NULL,
        PRIMARY KEY (project, view_name, view_version)
    )",
    "CREATE TABLE intervals (
        project TEXT NOT NULL,
        view_name TEXT NOT NULL,
        view_version BIGINT NOT NULL,
        start_us BIGINT,
        end_us BIGINT NOT NULL,
        PRIMARY KEY (project, view_name, view_version, end_us)
    )",
    "CREATE TABLE leases (
        project TEXT NOT NULL,
        name TEXT NOT NULL,
        holder TEXT NOT NULL,
        token BIGINT NOT NULL,
        expires_us BIGINT NOT NULL,
        PRIMARY KEY (project, name)
    )",
]];

/// Makes the registry if the database holds none, or brings an older one to the present format.
///
/// # Errors
/// `FailedPrecondition` (`P302`) for a newer format, `InvalidArgument` (`P203`) for somebody else's
/// database; both leave it as it was.
pub(crate) async fn prepare(cx: &Context, database: &Database) -> Result<()> {
    let found = database.perform(cx, &Inspect).await?;
    if let Err(error) = database
        .perform(&cx.clone().with_timeout(TUNE_LIMIT), &Tune)
        .await
    {
        // A database that cannot be tuned can still be used, and says better why when it is written.
        tracing::debug!(%error, "registry not tuned");
        cx.check()?;
    }
    if found == Some(FORMAT) {
        return Ok(());
    }
    let schema = match database.connector() {
        crate::connection::Connector::Postgres { schema, .. } => Some(schema.as_str()),
        crate::connection::Connector::Sqlite(_) => None,
    };
    let made = database.perform(cx, &Migrate { schema }).await?;
    tracing::info!(registry = %database.target().name, from = made, to = FORMAT, "registry format set");
    Ok(())
}

/// The project's newest revision, 0 if it has none; fails if this program must not use the registry.
pub(crate) async fn head(session: &mut Session, project: &str) -> Result<i64, Failure> {
    let row = session
        .row(
            "SELECT (SELECT version FROM registry_format WHERE id = 1),
                (SELECT written_by FROM registry_format WHERE id = 1),
                (SELECT revision FROM projects WHERE project = $1)",
            &[Value::Text(project)],
        )
        .await?;
    refuse_newer(row.int(0)?, row.text(1)?, &session.target)?;
    Ok(row.nullable_int(2)?.unwrap_or(0))
}

fn refuse_newer(version: i64, written_by: &str, target: &Target) -> Result<()> {
    if version <= FORMAT {
        return Ok(());
    }
    let ours = env!("CARGO_PKG_VERSION");
    Err(Error::new(
        &codes::REGISTRY_TOO_NEW,
        format!(
            "the {} has format {version}, written by provender {written_by}; this is provender {ours}, \
             which knows formats up to {FORMAT}",
            target.name
        ),
    )
    .help("update this program; nothing was changed")
    .context("registry", target.name.clone()))
}

/// The format of the database's registry; `None` if it holds none and may get one.
async fn inspect(session: &mut Session) -> Result<Option<i64>, Failure> {
    let dialect = session.dialect;
    if let Some(count) = dialect.count_denied_schemas
        && session.row(count, &[]).await?.int(0)? > 0
    {
        return Err(error::denied(&session.target, "the right to use its schema").into());
    }
    let tables = session.row(dialect.count_tables, &[]).await?;
    if tables.int(0)? > 0 {
        let row = session
            .row(
                "SELECT version, written_by FROM registry_format WHERE id = 1",
                &[],
            )
            .await?;
        let version = row.int(0)?;
        refuse_newer(version, row.text(1)?, &session.target)?;
        return Ok(Some(version));
    }
    if tables.int(1)? > 0 {
        return Err(Error::new(
            &codes::BAD_CONFIG,
            format!(
                "the {} is the database of another program",
                session.target.name
            ),
        )
        .help("point the registry's path at another file; nothing was changed")
        .into());
    }
    Ok(None)
}

struct Inspect;

impl Work for Inspect {
    type Output = Option<i64>;
    const MODE: Mode = Mode::Read;
    const DOING: &'static str = "opening it";

    async fn run(&self, session: &mut Session) -> Result<Option<i64>, Failure> {
        inspect(session).await
    }
}

struct Tune;

impl Work for Tune {
    type Output = ();
    const MODE: Mode = Mode::Read;
    const DOING: &'static str = "opening it";

    async fn run(&self, session: &mut Session) -> Result<(), Failure> {
        if let Some(tune) = session.dialect.tune {
            session.execute(tune, &[]).await?;
        }
        Ok(())
    }
}

struct Migrate<'a> {
    /// The schema to make if it is missing, where there are schemas.
    schema: Option<&'a str>,
}

impl Work for Migrate<'_> {
    type Output = i64;
    const MODE: Mode = Mode::Write;
    const DOING: &'static str = "making its tables";

    /// Answers the format that was found.
    async fn run(&self, session: &mut Session) -> Result<i64, Failure> {
        if let Some(lock) = session.dialect.lock_setup {
            session.execute(lock, &[]).await?;
        }
        if let Some(schema) = self.schema {
            let row = session
                .row(
                    "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = $1",
                    &[Value::Text(schema)],
                )
                .await?;
            // `IF NOT EXISTS` would ask for the right to make schemas even where one exists.
            if row.int(0)? == 0 {
                session
                    .execute_text(format!("CREATE SCHEMA \"{schema}\""))
                    .await?;
            }
        }
        // Somebody else may have been faster.
        let found = inspect(session).await?.unwrap_or(0);
        let done = usize::try_from(found).unwrap_or(0);
        for step in STEPS.iter().skip(done) {
            for statement in *step {
                session.execute(statement, &[]).await?;
            }
        }
        if found < FORMAT {
            session
                .execute(
                    "UPDATE registry_format SET version = $1, written_by = $2 WHERE id = 1",
                    &[Value::Int(FORMAT), Value::Text(env!("CARGO_PKG_VERSION"))],
                )
                .await?;
        }
        Ok(found)
    }
}
