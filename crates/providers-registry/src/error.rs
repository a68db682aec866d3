//! What a database's failures mean: the only place where sqlx's errors become ours.
//!
//! Decides code, kind and words by SQLite's result codes and PostgreSQL's SQLSTATEs. Never repeats a
//! connection's URL.

use std::path::PathBuf;

use provender_core::{Code, Error, ErrorKind, codes};
use sqlx::sqlite::SqliteError;

/// Which registry, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The `type:` of the configuration.
    pub(crate) scheme: &'static str,
    /// `SQLite registry /a/b.db`; never a password.
    pub(crate) name: String,
    /// The file, if it is one.
    pub(crate) path: Option<PathBuf>,
}

/// How a piece of work failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database failed; its connection may be in any state.
    Database(sqlx::Error),
    /// The database did all it was asked for, and the answer is no.
    Refused(Error),
}

/// What trying again could help against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// Nothing: the same would happen.
    None,
    /// Others were in the way, and nothing was done.
    Busy,
    /// The connection is gone.
    ConnectionLost,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    pub(crate) fn hindrance(&self) -> Hindrance {
        let Self::Database(error) = self else {
            return Hindrance::None;
        };
        match error {
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => Hindrance::ConnectionLost,
            sqlx::Error::Database(error) => {
                if let Some(code) = sqlite_code(error.as_ref()) {
                    sqlite_meaning(code).hindrance
                } else {
                    let state = error.code();
                    postgres_meaning(state.as_deref().unwrap_or_default()).hindrance
                }
            }
            _ => Hindrance::None,
        }
    }

    /// The error that the caller sees. `doing` completes "failed while".
    pub(crate) fn into_error(self, target: &Target, doing: &str) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Database(error) => describe(error, target, doing),
        }
    }
}

/// What a result code stands for.
struct Meaning {
    code: &'static Code,
    kind: Option<ErrorKind>,
    hindrance: Hindrance,
    /// Completes "the registry X".
    what: &'static str,
    help: &'static str,
}

impl Meaning {
    const fn new(code: &'static Code, what: &'static str, help: &'static str) -> Self {
        Self {
            code,
            kind: None,
            hindrance: Hindrance::None,
            what,
            help,
        }
    }

    const fn kind(mut self, kind: ErrorKind) -> Self {
        self.kind = Some(kind);
        self
    }

    const fn hindrance(mut self, hindrance: Hindrance) -> Self {
        self.hindrance = hindrance;
        self
    }
}

fn describe(error: sqlx::Error, target: &Target, doing: &str) -> Error {
    let (meaning, words) = match &error {
        sqlx::Error::Database(database) => match sqlite_code(database.as_ref()) {
            Some(code) => (sqlite_meaning(code), String::new()),
            None => (
                postgres_meaning(database.code().as_deref().unwrap_or_default()),
                format!(" ({})", database.message()),
            ),
        },
        sqlx::Error::Io(io) => (
            Meaning::new(
                &codes::REGISTRY_UNAVAILABLE,
                "cannot be reached",
                "check that the database runs, its host and port, and the network",
            ),
            format!(" ({io})"),
        ),
        sqlx::Error::Tls(tls) => (
            Meaning::new(
                &codes::REGISTRY_UNAVAILABLE,
                "cannot be reached over TLS",
                "check sslmode and sslrootcert in the registry's url",
            ),
            format!(" ({tls})"),
        ),
        sqlx::Error::Configuration(_) => (
            Meaning::new(
                &codes::BAD_CONFIG,
                "has bad connection options",
                "check the options of the registry's url",
            ),
            String::new(),
        ),
        sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::RowNotFound
        | sqlx::Error::Protocol(_) => (
            Meaning::new(
                &codes::REGISTRY_DAMAGED,
                "holds or sends something unreadable",
                "restore it from a backup, or apply the definitions to a new one",
            ),
            format!(" ({error})"),
        ),
        _ => (unknown(), String::new()),
    };
    let meaning = match (&target.path, meaning) {
        (Some(path), meaning) if std::ptr::eq(meaning.code, &codes::REGISTRY_UNAVAILABLE) => {
            diagnose_file(path, meaning)
        }
        (_, meaning) => meaning,
    };
    let mut described = Error::new(
        meaning.code,
        format!("the {} {}{words}, while {doing}", target.name, meaning.what),
    )
    .help(meaning.help)
    .context("registry", target.name.clone());
    if let Some(kind) = meaning.kind {
        described = described
            .with_kind(kind)
            .retryable(kind == ErrorKind::Unavailable);
    }
    described.source(error)
}

/// The database works, but does not let this user do what it must.
pub(crate) fn denied(target: &Target, right: &str) -> Error {
    Error::new(
        &codes::REGISTRY_UNAVAILABLE,
        format!("the {} denies its user {right}", target.name),
    )
    .with_kind(ErrorKind::PermissionDenied)
    .retryable(false)
    .help(GRANT)
    .context("registry", target.name.clone())
}

const GRANT: &str = "grant the user the right to use the schema and its tables, or to make them";

/// SQLite says "unable to open" for everything; the operating system knows more.
fn diagnose_file(path: &std::path::Path, meaning: Meaning) -> Meaning {
    if meaning.hindrance == Hindrance::Busy {
        return meaning;
    }
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path);
    match opened.map_err(|error| error.kind()) {
        Err(std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem) => {
            NOT_WRITABLE
        }
        _ => meaning,
    }
}

const NOT_WRITABLE: Meaning = Meaning::new(
    &codes::NOT_WRITABLE,
    "cannot be opened or written: this user may not, or the disk is read-only",
    "mend the permissions of the file and its folder, or point the registry's path elsewhere",
);

const fn unknown() -> Meaning {
    Meaning::new(
        &codes::INTERNAL,
        "failed in a way that should not be possible",
        "run again with -v for the cause",
    )
}

fn sqlite_code(error: &dyn sqlx::error::DatabaseError) -> Option<i32> {
    error.try_downcast_ref::<SqliteError>()?;
    error.code()?.parse().ok()
}

/// By <https://www.sqlite.org/rescode.html>: the low byte is the result, the rest says more.
fn sqlite_meaning(code: i32) -> Meaning {
    const IOERR_WRITE: i32 = 3;
    const IOERR_FSYNC: i32 = 4;
    const IOERR_TRUNCATE: i32 = 6;
    const IOERR_SHMSIZE: i32 = 19;
    match (code & 0xff, code >> 8) {
        // BUSY, LOCKED, PROTOCOL (lost the race for a lock), SCHEMA (tables changed meanwhile).
        (5 | 6 | 15 | 17, _) => Meaning::new(
            &codes::REGISTRY_UNAVAILABLE,
            "stayed busy with the work of others",
            "try again; if it stays so, look for a process that holds the file",
        )
        .hindrance(Hindrance::Busy),
        // PERM, READONLY, AUTH.
        (3 | 8 | 23, _) => NOT_WRITABLE,
        // FULL.
        (13, _) => NO_SPACE,
        // EFBIG is reported as a plain write error; only "no space" has a code of its own.
        (10, IOERR_WRITE | IOERR_FSYNC | IOERR_TRUNCATE | IOERR_SHMSIZE) => Meaning::new(
            &codes::NO_SPACE,
            "cannot be written: the disk or the process's file size limit is full, or the disk fails",
            "free space or raise the limit (ulimit -f); what was committed before is unharmed",
        ),
        (10, _) => Meaning::new(
            &codes::IO,
            "cannot be read or written: the operating system reports an error",
            "check the disk, and that the file is on a local file system",
        ),
        // CORRUPT.
        (11, _) => Meaning::new(
            &codes::REGISTRY_DAMAGED,
            "is damaged",
            "restore it from a backup, or apply the definitions to a new one",
        ),
        // NOTADB.
        (26, _) => Meaning::new(
            &codes::REGISTRY_DAMAGED,
            "is no SQLite database, or a damaged one",
            "point the registry's path at another file, or restore this one from a backup",
        ),
        // CANTOPEN.
        (14, _) => Meaning::new(
            &codes::REGISTRY_UNAVAILABLE,
            "cannot be opened",
            "check that its path is a file that this user may read and write",
        ),
        // ERROR: our statements are fixed, so what they fail on is missing.
        (1, _) => TABLES_MISSING,
        _ => unknown(),
    }
}

const NO_SPACE: Meaning = Meaning::new(
    &codes::NO_SPACE,
    "cannot be written: its disk is full",
    "free space; what was committed before is unharmed",
);

const TABLES_MISSING: Meaning = Meaning::new(
    &codes::REGISTRY_DAMAGED,
    "lacks tables or columns that its format has",
    "restore it from a backup, or apply the definitions to a new one",
);

/// By <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn postgres_meaning(state: &str) -> Meaning {
    let unavailable = |what, help| Meaning::new(&codes::REGISTRY_UNAVAILABLE, what, help);
    match state {
        // Serialisation failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => {
            unavailable("stayed busy with the work of others", "try again")
                .hindrance(Hindrance::Busy)
        }
        "53300" | "57P03" => unavailable(
            "takes no connections now",
            "try again; look at the server's max_connections if it stays so",
        )
        .hindrance(Hindrance::Busy),
        "57P01" | "57P02" | "57P05" | "25P03" => {
            unavailable("closed the connection", "try again").hindrance(Hindrance::ConnectionLost)
        }
        "53100" => NO_SPACE,
        "25006" => Meaning::new(
            &codes::NOT_WRITABLE,
            "is read-only; it may be a standby",
            "point the registry's url at the primary server",
        ),
        "42501" => unavailable("denies its user a right", GRANT).kind(ErrorKind::PermissionDenied),
        "3D000" => unavailable(
            "does not exist",
            "make the database, or name another in the registry's url",
        )
        .kind(ErrorKind::NotFound),
        "42P01" | "42703" | "3F000" => TABLES_MISSING,
        "42P07" => Meaning::new(
            &codes::BAD_CONFIG,
            "cannot be made: its schema holds tables of the same names already",
            "name another schema in the registry's option schema",
        ),
        "XX001" | "XX002" => Meaning::new(
            &codes::REGISTRY_DAMAGED,
            "is damaged",
            "restore it from a backup, or apply the definitions to a new one",
        ),
        "22021" | "22P05" => Meaning::new(
            &codes::BAD_REQUEST,
            "cannot hold a character of this text",
            "keep the registry in a database whose encoding is UTF8",
        ),
        "57014" => unavailable("gave up", "look at the server's statement_timeout"),
        "58030" => Meaning::new(
            &codes::IO,
            "cannot read or write its files",
            "look at the server's log",
        ),
        _ if state.starts_with("28") => unavailable(
            "refused the login",
            "check user and password in the registry's url",
        )
        .kind(ErrorKind::Unauthenticated),
        _ if state.starts_with("08") => {
            unavailable("lost the connection", "try again").hindrance(Hindrance::ConnectionLost)
        }
        _ if state.starts_with("53") => {
            unavailable("is short of resources", "look at the server's log")
                .kind(ErrorKind::ResourceExhausted)
        }
        _ => unknown(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_codes_map_to_the_catalogue() {
        for (code, expected) in [
            (5, "P304"),
            (261, "P304"),
            (517, "P304"),
            (8, "P902"),
            (1032, "P902"),
            (13, "P901"),
            (778, "P901"),
            (4874, "P901"),
            (266, "P903"),
            (11, "P303"),
            (26, "P303"),
            (14, "P304"),
            (1, "P303"),
            (2, "P999"),
        ] {
            assert_eq!(sqlite_meaning(code).code.id, expected, "{code}");
        }
        assert_eq!(sqlite_meaning(517).hindrance, Hindrance::Busy);
        assert_eq!(sqlite_meaning(13).hindrance, Hindrance::None);
    }

    #[test]
    fn postgres_states_map_to_the_catalogue() {
        for (state, expected, kind) in [
            ("40001", "P304", None),
            ("53100", "P901", None),
            ("25006", "P902", None),
            ("28P01", "P304", Some(ErrorKind::Unauthenticated)),
            ("42501", "P304", Some(ErrorKind::PermissionDenied)),
            ("3D000", "P304", Some(ErrorKind::NotFound)),
            ("42P01", "P303", None),
            ("08006", "P304", None),
            ("", "P999", None),
        ] {
            let meaning = postgres_meaning(state);
            assert_eq!((meaning.code.id, meaning.kind), (expected, kind), "{state}");
        }
        assert_eq!(
            postgres_meaning("57P01").hindrance,
            Hindrance::ConnectionLost
        );
        assert_eq!(postgres_meaning("57P03").hindrance, Hindrance::Busy);
    }
}
