//! The one place where failures of LMDB and of the file system become the product's errors.

use std::io::{self, ErrorKind as Io};
use std::path::Path;

use provender_core::{Error, codes};

/// The number of "input/output error" on every Unix.
const EIO: i32 = 5;

/// How work on an environment ended without a result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The environment is of no more use: it was dropped, it moved, another process grew it beyond what
    /// is mapped here, or LMDB gave up on it. Opening again helps.
    Gone,
    /// The work failed.
    Failed(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a failure of LMDB means: `doing` completes "cannot", such as `write to`.
pub(crate) fn lmdb_failure(doing: &str, path: &Path, error: heed::Error) -> Failure {
    use heed::MdbError as Mdb;
    let place = path.display();
    let (code, what, help) = match &error {
        heed::Error::Io(_) => {
            let heed::Error::Io(error) = error else {
                return Failure::Gone;
            };
            // LMDB says so of a write that the system cut short.
            if error.raw_os_error() == Some(EIO) && doing != "read" {
                let full = io::Error::new(
                    Io::StorageFull,
                    format!(
                        "the disk or the process's file size limit is full, or the disk fails ({error})"
                    ),
                );
                return Failure::Failed(io_error(doing, path, full));
            }
            return Failure::Failed(io_error(doing, path, error));
        }
        heed::Error::Mdb(Mdb::MapResized | Mdb::Panic | Mdb::BadRslot) => return Failure::Gone,
        heed::Error::Mdb(Mdb::MapFull) => (
            &codes::ONLINE_FULL,
            format!("the rows in {place} reached the size that they may grow to"),
            "set the online store's option map_size to more",
        ),
        heed::Error::Mdb(Mdb::ReadersFull) => (
            &codes::ONLINE_UNAVAILABLE,
            format!("too many threads read {place} at once"),
            "try again, or read from fewer processes",
        ),
        heed::Error::Mdb(Mdb::VersionMismatch) => {
            return Failure::Failed(other_format(path, "its LMDB files are of another version"));
        }
        heed::Error::Mdb(
            Mdb::Corrupted
            | Mdb::PageNotFound
            | Mdb::Invalid
            | Mdb::Incompatible
            | Mdb::CursorFull
            | Mdb::PageFull,
        ) => return Failure::Failed(damaged(path, &error.to_string())),
        _ => (
            &codes::ONLINE_UNAVAILABLE,
            format!("cannot {doing} {place}: {error}"),
            "try again",
        ),
    };
    Failure::Failed(
        Error::new(code, what)
            .help(help)
            .context("path", place.to_string())
            .source(error),
    )
}

/// What a failure of the operating system on `path` means.
pub(crate) fn io_error(doing: &str, path: &Path, error: io::Error) -> Error {
    let place = path.display();
    let (code, help) = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => (
            &codes::NO_SPACE,
            "free space, or set the online store's option path to another place; what was written before is unharmed",
        ),
        Io::PermissionDenied
        | Io::ReadOnlyFilesystem
        | Io::NotADirectory
        | Io::IsADirectory
        | Io::AlreadyExists
        | Io::DirectoryNotEmpty
        | Io::InvalidFilename => (
            &codes::NOT_WRITABLE,
            "check who may write there, or set the online store's option path to another place",
        ),
        _ => (&codes::IO, "check the path and the disk"),
    };
    Error::new(code, format!("cannot {doing} {place}: {error}"))
        .help(help)
        .context("path", place.to_string())
        .source(error)
}

/// The store's path is not a folder.
pub(crate) fn not_a_folder(path: &Path) -> Error {
    let place = path.display();
    Error::new(
        &codes::NOT_WRITABLE,
        format!("the online store cannot be kept in {place}: it is not a folder"),
    )
    .help("name a folder in the online store's option path")
    .context("path", place.to_string())
}

/// The environment was opened for reading alone.
pub(crate) fn read_only(path: &Path, why: &str) -> Error {
    let place = path.display();
    Error::new(
        &codes::NOT_WRITABLE,
        format!("cannot write to {place}: {why}"),
    )
    .help("check who may write there, or set the online store's option path to another place")
    .context("path", place.to_string())
}

/// A file of a generation's folder is not what it should be.
pub(crate) fn damaged(folder: &Path, what: &str) -> Error {
    let file = folder.join(crate::environment::DATA_FILE);
    let place = file.display();
    Error::new(
        &codes::ONLINE_DAMAGED,
        format!("{place} is damaged: {what}"),
    )
    .help(format!(
        "restore it from a backup, or remove the folder {} and run `provender materialize` again; nothing was changed",
        folder.parent().unwrap_or(folder).display()
    ))
    .context("path", place.to_string())
}

/// A file of a generation's folder has a format that this program does not read.
pub(crate) fn other_format(folder: &Path, what: &str) -> Error {
    let file = folder.join(crate::environment::DATA_FILE);
    let place = file.display();
    Error::new(&codes::ONLINE_FORMAT, format!("cannot read {place}: {what}"))
        .help(format!(
            "update this program, or remove the folder {} and run `provender materialize` again; nothing was changed",
            folder.parent().unwrap_or(folder).display()
        ))
        .context("path", place.to_string())
}

/// The environment changed under every attempt.
pub(crate) fn restless(path: &Path) -> Error {
    let place = path.display();
    Error::new(
        &codes::ONLINE_UNAVAILABLE,
        format!("the online rows in {place} are being replaced again and again"),
    )
    .help("try again")
    .context("path", place.to_string())
}
