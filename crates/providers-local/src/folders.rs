//! The folders of the store: what lies in them, and how they come and go.
//!
//! ```text
//! <path>/.lock                                   held while folders come and go
//! <path>/<project>/<view>@<version>/0001/        a generation: LMDB's data.mdb and lock.mdb
//! <path>/<project>/.new-*, .trash-*              views that are being made, or removed
//! <path>/<project>/<view>@<version>/.compact-*   a generation that is being made
//! ```
//!
//! Everything appears and goes by one rename, so that nobody ever sees half of it: what a killed process
//! leaves has a name that starts with a dot, is never read, and is removed by the next one that does the
//! same. This module does not open environments.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use provender_core::Error;
use provender_core::time::now_us;

use crate::error::{io_error, not_a_folder};
use crate::names::parse_generation;

/// Prefix of a view's folder that is being made.
pub(crate) const NEW: &str = ".new-";
/// Prefix of a folder that is being removed.
pub(crate) const TRASH: &str = ".trash-";
/// Prefix of a generation that is being made.
pub(crate) const COMPACT: &str = ".compact-";

const LOCK_FILE: &str = ".lock";

/// Held while folders come and go; released when dropped, or when its process ends.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

/// Waits for the right to make, rename and remove folders of the store. It is only held for short steps,
/// and nobody who holds it waits for an environment's writers.
pub(crate) fn lock(root: &Path) -> Result<FolderLock, Error> {
    let path = root.join(LOCK_FILE);
    let locked = || -> io::Result<File> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        file.lock()?;
        Ok(file)
    };
    match locked() {
        Ok(file) => Ok(FolderLock { _file: file }),
        Err(error) => Err(io_error("lock", &path, error)),
    }
}

/// Makes the folder `path` and those above it.
pub(crate) fn make(path: &Path) -> Result<(), Error> {
    match fs::create_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) => {
            let blocking = path.ancestors().find(|folder| folder.exists());
            match blocking {
                Some(blocking) if !blocking.is_dir() => Err(not_a_folder(blocking)),
                _ => Err(io_error("make the folder", path, error)),
            }
        }
    }
}

/// A name that nobody has used, for something in `folder`.
pub(crate) fn fresh(folder: &Path, prefix: &str) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    folder.join(format!(
        "{prefix}{}-{:x}-{count}",
        std::process::id(),
        now_us()
    ))
}

/// The generations in a view's folder, lowest first; none if there is no folder.
pub(crate) fn generations(view_folder: &Path) -> Result<Vec<u32>, Error> {
    let mut generations: Vec<u32> = names(view_folder)?
        .iter()
        .filter_map(|name| parse_generation(name))
        .collect();
    generations.sort_unstable();
    Ok(generations)
}

/// The names in a folder; none if it does not exist.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |error| io_error("read the folder", folder, error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let blocking = folder.ancestors().find(|path| path.exists());
            return Err(not_a_folder(blocking.unwrap_or(folder)));
        }
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is no text is not ours.
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Renames, and makes the rename durable.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|error| io_error("make the folder", to, error))?;
    for folder in [from.parent(), to.parent()].into_iter().flatten() {
        sync(folder)?;
    }
    Ok(())
}

/// Makes durable what a folder's entries are.
pub(crate) fn sync(folder: &Path) -> Result<(), Error> {
    // Elsewhere folders cannot be opened, and renames are durable by themselves.
    if cfg!(unix) {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(|error| io_error("write to the folder", folder, error))?;
    }
    Ok(())
}

/// Renames a folder out of sight, within `folder`; `None` if it is gone already.
pub(crate) fn hide(path: &Path, folder: &Path) -> Result<Option<PathBuf>, Error> {
    let trash = fresh(folder, TRASH);
    match fs::rename(path, &trash) {
        Ok(()) => {
            sync(folder)?;
            Ok(Some(trash))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("remove", path, error)),
    }
}

/// Removes everything in `folder` whose name starts with `prefix`.
pub(crate) fn remove_all(folder: &Path, prefix: &str) -> Result<(), Error> {
    for name in names(folder)? {
        if name.starts_with(prefix) {
            remove(&folder.join(name))?;
        }
    }
    Ok(())
}

/// Removes a folder that is out of sight; one that another process removes at the same time is no error.
fn remove(path: &Path) -> Result<(), Error> {
    for _ in 0..16 {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("remove", path, error)),
        }
    }
    Ok(())
}

/// Whether the file at `path` is the open file `file`. Where that cannot be told, it is.
pub(crate) fn is_same_file(path: &Path, file: &File) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        match (fs::metadata(path), file.metadata()) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}
