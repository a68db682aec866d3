//! The place that bytes go to, and what is said when it does not take them.
//!
//! A regular file is written beside its name and renamed when it is whole. Whatever else has a name
//! (a device, a named pipe) is written to directly.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use provender_core::{Error, codes};

use crate::errors::{Failure, Outcome};

const BUFFER_BYTES: usize = 1 << 18;
/// How many names for an unfinished file are tried before giving up.
const MAX_NAMES: u32 = 100;

/// A place to write to. Clones write to the same place; the last one dropped removes what is
/// unfinished.
#[derive(Clone)]
pub(super) struct Target(Arc<Mutex<State>>);

struct State {
    writer: Box<dyn Write + Send>,
    name: String,
    /// The first failure, since formats' writers wrap it beyond recognition.
    failed: Option<(ErrorKind, String)>,
    unfinished: Option<Unfinished>,
}

/// A file under its temporary name. Removed when dropped.
struct Unfinished {
    temporary: PathBuf,
    path: PathBuf,
    file: File,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is nothing under the temporary name.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

impl Target {
    pub(super) fn stdout() -> Self {
        Self::new(
            Box::new(BufWriter::with_capacity(BUFFER_BYTES, io::stdout())),
            "standard output".to_owned(),
            None,
        )
    }

    /// # Errors
    /// `P901`, `P902` or `P903`, naming the path.
    pub(super) fn file(path: &Path) -> Outcome<Self> {
        let name = path.display().to_string();
        let fail = |error: io::Error| failure(&name, error.kind(), &error);
        // What a link points to is replaced, not the link.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(failure(&name, ErrorKind::IsADirectory, &"it is a folder"));
            }
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(&path).map_err(fail)?;
                let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
                return Ok(Self::new(Box::new(writer), name, None));
            }
            Ok(_) => {
                // A file that may not be written may not be replaced either.
                OpenOptions::new().write(true).open(&path).map_err(fail)?;
            }
            Err(_) => {}
        }
        let (temporary, file) = create_beside(&path).map_err(fail)?;
        let unfinished = Unfinished {
            temporary,
            path,
            file: file.try_clone().map_err(fail)?,
        };
        let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Self::new(Box::new(writer), name, Some(unfinished)))
    }

    fn new(writer: Box<dyn Write + Send>, name: String, unfinished: Option<Unfinished>) -> Self {
        Self(Arc::new(Mutex::new(State {
            writer,
            name,
            failed: None,
            unfinished,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        match self.0.lock() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Makes what was written so far durable, if it goes to a file that is not yet finished.
    ///
    /// # Errors
    /// What the file answers, which [`Self::failure`] will then say.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        let flushed = state.writer.flush();
        state.remember(flushed)?;
        let file = state.unfinished.as_ref().map(|one| one.file.try_clone());
        drop(state);
        let synced = match file {
            None => Ok(()),
            Some(file) => file.and_then(|file| file.sync_data()),
        };
        self.state().remember(synced)
    }

    /// Makes what was written durable under its name.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub(super) fn commit(&self) -> Outcome<()> {
        let mut state = self.state();
        let state = &mut *state;
        let finished = state.writer.flush().and_then(|()| match &state.unfinished {
            None => Ok(()),
            Some(unfinished) => {
                unfinished.file.sync_all()?;
                std::fs::rename(&unfinished.temporary, &unfinished.path)
            }
        });
        state.unfinished = None;
        finished.map_err(|error| failure(&state.name, error.kind(), &error))
    }

    /// What to say when a writer on top of this failed: the place's own failure if it had one, else
    /// that the rows cannot be written in the format.
    pub(super) fn failure(&self, error: &dyn fmt::Display) -> Failure {
        let state = self.state();
        match &state.failed {
            Some((kind, own)) => failure(&state.name, *kind, own),
            None => Failure::from(
                Error::new(
                    &codes::UNSUPPORTED,
                    format!("the rows cannot be written to {}: {error}", state.name),
                )
                .help("another format may take them: Arrow IPC takes most types"),
            ),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let written = state.writer.write(bytes);
        state.remember(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut state = self.state();
        let flushed = state.writer.flush();
        state.remember(flushed)
    }
}

impl State {
    fn remember<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != ErrorKind::Interrupted
        {
            self.failed
                .get_or_insert_with(|| (error.kind(), error.to_string()));
        }
        result
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.state().name)
    }
}

fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(ErrorKind::IsADirectory))?
        .to_string_lossy();
    let mut attempt = 0;
    loop {
        let temporary =
            path.with_file_name(format!(".{name}.{}-{attempt}.partial", std::process::id()));
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary);
        match created {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < MAX_NAMES => {
                attempt += 1;
            }
            created => return Ok((temporary, created?)),
        }
    }
}

fn failure(name: &str, kind: ErrorKind, error: &dyn fmt::Display) -> Failure {
    let (code, what, help) = match kind {
        ErrorKind::BrokenPipe => return Failure::BrokenPipe,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => (
            &codes::NO_SPACE,
            "there is no space left to write",
            "free space, or write elsewhere",
        ),
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidFilename => (
            &codes::NOT_WRITABLE,
            "cannot write",
            "check that the folder exists and that you may write to it",
        ),
        _ => (&codes::IO, "cannot write", ""),
    };
    let error = Error::new(code, format!("{what} {name}: {error}"));
    Failure::from(if help.is_empty() {
        error
    } else {
        error.help(help)
    })
}
