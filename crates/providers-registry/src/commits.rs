//! Revisions: committing changes, reading any revision, and the history.
//!
//! Decides how objects are kept: a row is valid from one revision up to, not including, another, so that
//! every revision of the past can be read as it was. The head's revision moves by compare-and-swap, whose
//! row lock makes commits of one project take turns.

use provender_core::provider::{
    Author, Change, Commit, Object, ObjectKind, RegistrySnapshot, Revision,
};
use provender_core::{Error, codes};

use crate::connection::{Row, Session, Value};
use crate::database::{Mode, Work};
use crate::error::{Failure, Target};
use crate::schema::{FOREVER, head};

/// How many commits, and how many changes of one, a conflict tells about.
const MAX_TOLD_COMMITS: usize = 10;
const MAX_TOLD_CHANGES: usize = 5;

/// Reads the newest revision.
pub(crate) struct ReadRevision<'a> {
    pub(crate) project: &'a str,
}

impl Work for ReadRevision<'_> {
    type Output = Revision;
    const MODE: Mode = Mode::Read;
    const DOING: &'static str = "reading its revision";

    async fn run(&self, session: &mut Session) -> Result<Revision, Failure> {
        Ok(revision(head(session, self.project).await?))
    }
}

/// Reads all objects of a revision. Needs no transaction: rows valid at a revision that exists never
/// change in what makes them valid at it.
pub(crate) struct ReadSnapshot<'a> {
    pub(crate) project: &'a str,
    pub(crate) at: Option<Revision>,
}

impl Work for ReadSnapshot<'_> {
    type Output = RegistrySnapshot;
    const MODE: Mode = Mode::Read;
    const DOING: &'static str = "reading its definitions";

    async fn run(&self, session: &mut Session) -> Result<RegistrySnapshot, Failure> {
        let newest = head(session, self.project).await?;
        let at = match self.at {
            None => newest,
            Some(at) => match i64::try_from(at.0) {
                Ok(at) if at <= newest => at,
                _ => return Err(no_such_revision(self.project, at, newest).into()),
            },
        };
        let rows = session
            .rows(
                "SELECT kind, name, version, body FROM objects
                    WHERE project = $1 AND valid_from <= $2 AND valid_to > $2",
                &[Value::Text(self.project), Value::Int(at)],
            )
            .await?;
        let mut objects = Vec::with_capacity(rows.len());
        for row in &rows {
            objects.push(read_object(row, &session.target)?);
        }
        // Not by the database: it may sort names by a locale.
        objects.sort_by(|a, b| (a.kind, &a.name, a.version).cmp(&(b.kind, &b.name, b.version)));
        Ok(RegistrySnapshot {
            project: self.project.to_owned(),
            revision: revision(at),
            objects,
        })
    }
}

/// Applies changes if the newest revision is still `base`.
pub(crate) struct ApplyChanges<'a> {
    pub(crate) project: &'a str,
    pub(crate) base: Revision,
    pub(crate) changes: &'a [Change],
    /// The bodies of the puts, as JSON, in the order of `changes`; empty for deletes.
    pub(crate) bodies: Vec<String>,
    /// All changes as JSON.
    pub(crate) record: String,
    pub(crate) by: &'a Author,
}

impl Work for ApplyChanges<'_> {
    type Output = Revision;
    const MODE: Mode = Mode::Write;
    const DOING: &'static str = "committing changes";

    async fn run(&self, session: &mut Session) -> Result<Revision, Failure> {
        let project = Value::Text(self.project);
        let newest = head(session, self.project).await?;
        let base = match i64::try_from(self.base.0) {
            Ok(base) if base == newest => base,
            _ => return Err(self.conflict(session, newest).await?),
        };
        if base == 0 {
            session
                .execute(
                    "INSERT INTO projects (project, revision) VALUES ($1, 0)
                        ON CONFLICT (project) DO NOTHING",
                    &[project],
                )
                .await?;
        }
        let next = base + 1;
        let swapped = session
            .execute(
                "UPDATE projects SET revision = $2 WHERE project = $1 AND revision = $3",
                &[project, Value::Int(next), Value::Int(base)],
            )
            .await?;
        if swapped == 0 {
            // Another commit ended between the look at the head and the swap, which waited for it.
            let newest = head(session, self.project).await?;
            return Err(self.conflict(session, newest).await?);
        }
        for (change, body) in self.changes.iter().zip(&self.bodies) {
            self.apply(session, next, change, body).await?;
        }
        let committed_us = session.now_us().await?;
        session
            .execute(
                "INSERT INTO commits (project, revision, committed_us, author, message, changes)
                    VALUES ($1, $2, $3, $4, $5, $6)",
                &[
                    project,
                    Value::Int(next),
                    Value::Int(committed_us),
                    Value::Text(&self.by.name),
                    Value::Text(&self.by.message),
                    Value::Text(&self.record),
                ],
            )
            .await?;
        Ok(revision(next))
    }
}

impl ApplyChanges<'_> {
    async fn apply(
        &self,
        session: &mut Session,
        next: i64,
        change: &Change,
        body: &str,
    ) -> Result<(), Failure> {
        let (kind, name, version) = match change {
            Change::Put(object) => (object.kind, &object.name, Some(object.version)),
            Change::Delete {
                kind,
                name,
                version,
            } => (*kind, name, *version),
        };
        let (project, kind, name) = (
            Value::Text(self.project),
            Value::Text(kind.name()),
            Value::Text(name),
        );
        let (next, forever) = (Value::Int(next), Value::Int(FOREVER));
        let Some(version) = version.map(|version| Value::Int(i64::from(version))) else {
            session
                .execute(
                    "UPDATE objects SET valid_to = $4
                        WHERE project = $1 AND kind = $2 AND name = $3 AND valid_to = $5",
                    &[project, kind, name, next, forever],
                )
                .await?;
            return Ok(());
        };
        session
            .execute(
                "UPDATE objects SET valid_to = $5
                    WHERE project = $1 AND kind = $2 AND name = $3 AND version = $4 AND valid_to = $6",
                &[project, kind, name, version, next, forever],
            )
            .await?;
        if matches!(change, Change::Put(_)) {
            // The row exists already if one commit changes an object twice; the last word counts.
            session
                .execute(
                    "INSERT INTO objects (project, kind, name, version, valid_from, valid_to, body)
                        VALUES ($1, $2, $3, $4, $5, $6, $7)
                        ON CONFLICT (project, kind, name, version, valid_from)
                        DO UPDATE SET valid_to = excluded.valid_to, body = excluded.body",
                    &[
                        project,
                        kind,
                        name,
                        version,
                        next,
                        forever,
                        Value::Text(body),
                    ],
                )
                .await?;
        }
        Ok(())
    }

    /// The refusal of a stale base, with what was committed since.
    async fn conflict(&self, session: &mut Session, newest: i64) -> Result<Failure, Failure> {
        let project = self.project;
        let base = self.base;
        let Some(n_since) = u64::try_from(newest)
            .ok()
            .and_then(|newest| newest.checked_sub(base.0))
        else {
            let error = Error::new(
                &codes::REVISION_CONFLICT,
                format!(
                    "the changes were made on revision {} of project {project:?}, but the registry is \
                     only at revision {newest}",
                    base.0
                ),
            )
            .help("the registry was restored or replaced: plan again, look, and apply");
            return Ok(self.told(error, newest).into());
        };
        let base = i64::try_from(base.0).unwrap_or(i64::MAX);
        let rows = commits_after(session, project, base, MAX_TOLD_COMMITS).await?;
        let mut since: Vec<String> = Vec::with_capacity(rows.len());
        for row in &rows {
            let (author, message) = (row.text(2)?, row.text(3)?);
            let why = if message.is_empty() {
                String::new()
            } else {
                format!(" ({message})")
            };
            let changes: Result<Vec<Change>, _> = serde_json::from_str(row.text(4)?);
            let what = changes.map_or_else(|_| "unreadable changes".to_owned(), |all| tell(&all));
            since.push(format!("revision {} by {author}{why}: {what}", row.int(0)?));
        }
        let n_untold = n_since.saturating_sub(u64::try_from(since.len()).unwrap_or(u64::MAX));
        if n_untold > 0 {
            since.push(format!("and {n_untold} earlier commits"));
        }
        let error = Error::new(
            &codes::REVISION_CONFLICT,
            format!(
                "project {project:?} moved on from revision {base} to {newest} while these changes were \
                 made, so none of them was applied; since then: {}",
                since.join("; ")
            ),
        )
        .help("plan again, look, and apply");
        Ok(self.told(error, newest).into())
    }

    fn told(&self, error: Error, newest: i64) -> Error {
        error
            .context("project", self.project)
            .context("base", self.base.0.to_string())
            .context("revision", newest.to_string())
            // The same call can only fail again; another plan may succeed.
            .retryable(false)
    }
}

/// Reads the commits after a revision, newest first.
pub(crate) struct ReadHistory<'a> {
    pub(crate) project: &'a str,
    pub(crate) after: Revision,
    pub(crate) limit: usize,
}

impl Work for ReadHistory<'_> {
    type Output = Vec<Commit>;
    const MODE: Mode = Mode::Read;
    const DOING: &'static str = "reading its history";

    async fn run(&self, session: &mut Session) -> Result<Vec<Commit>, Failure> {
        head(session, self.project).await?;
        let after = i64::try_from(self.after.0).unwrap_or(i64::MAX);
        let rows = commits_after(session, self.project, after, self.limit).await?;
        let mut commits = Vec::with_capacity(rows.len());
        for row in &rows {
            let number = row.int(0)?;
            let changes = serde_json::from_str(row.text(4)?).map_err(|error| {
                damaged(
                    &session.target,
                    &format!(
                        "the changes of revision {number} of project {:?}",
                        self.project
                    ),
                )
                .source(error)
            })?;
            commits.push(Commit {
                revision: revision(number),
                committed_us: row.int(1)?,
                author: Author {
                    name: row.text(2)?.to_owned(),
                    message: row.text(3)?.to_owned(),
                },
                changes,
            });
        }
        Ok(commits)
    }
}

/// Revision, time, author, message and changes.
async fn commits_after(
    session: &mut Session,
    project: &str,
    after: i64,
    limit: usize,
) -> Result<Vec<Row>, sqlx::Error> {
    session
        .rows(
            "SELECT revision, committed_us, author, message, changes FROM commits
                WHERE project = $1 AND revision > $2 ORDER BY revision DESC LIMIT $3",
            &[
                Value::Text(project),
                Value::Int(after),
                Value::Int(i64::try_from(limit).unwrap_or(i64::MAX)),
            ],
        )
        .await
}

fn tell(changes: &[Change]) -> String {
    let mut told: Vec<String> = changes
        .iter()
        .take(MAX_TOLD_CHANGES)
        .map(Change::describe)
        .collect();
    if told.is_empty() {
        return "no changes".to_owned();
    }
    if changes.len() > told.len() {
        told.push(format!("and {} more", changes.len() - told.len()));
    }
    told.join(", ")
}

fn read_object(row: &Row, target: &Target) -> Result<Object, Failure> {
    let (kind, name) = (row.text(0)?, row.text(1)?);
    let unreadable = || damaged(target, &format!("{kind} {name:?}")).context(kind.to_owned(), name);
    // A body that is not even text is as unreadable as one that is not JSON.
    let body = row
        .text(3)
        .map_err(|error| unreadable().source(error))
        .and_then(|body| serde_json::from_str(body).map_err(|error| unreadable().source(error)))?;
    Ok(Object {
        kind: ObjectKind::from_name(kind).ok_or_else(unreadable)?,
        version: u32::try_from(row.int(2)?).map_err(|_| unreadable())?,
        name: name.to_owned(),
        body,
    })
}

fn damaged(target: &Target, what: &str) -> Error {
    Error::new(
        &codes::REGISTRY_DAMAGED,
        format!("the {} holds {what}, which cannot be read", target.name),
    )
    .help("restore it from a backup, or apply the definitions to a new registry")
    .context("registry", target.name.clone())
}

fn no_such_revision(project: &str, at: Revision, newest: i64) -> Error {
    Error::new(
        &codes::UNKNOWN_REVISION,
        format!(
            "project {project:?} has no revision {}; its newest is {newest}",
            at.0
        ),
    )
    .help("`provender history` lists the revisions")
    .context("project", project)
}

fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}
