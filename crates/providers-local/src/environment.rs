//! One open LMDB environment: one generation of one version of a view.
//!
//! Decides how a folder is opened (checked first, as large a map as the system grants, for reading alone
//! where it must be) and what the file says about itself: its format, whether it is still the place of
//! its rows. Knows neither which generation is the current one nor what rows mean.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithTls};
use provender_core::Error;

use crate::check::{self, Extent, Fault, Head};
use crate::error::{Failure, damaged, io_error, lmdb_failure, other_format, read_only};
use crate::resident::{Budget, Resident};

/// LMDB's data file in a generation's folder.
pub(crate) const DATA_FILE: &str = "data.mdb";
/// The tree of rows: stored key to packed row.
pub(crate) const ROWS_DB: &str = "rows";
/// The tree of what the file says about itself.
pub(crate) const META_DB: &str = "meta";

/// The format of the two trees that this program reads and writes.
pub(crate) const FORMAT: u32 = 1;

const FORMAT_KEY: &[u8] = b"format";
const WRITER_KEY: &[u8] = b"writer";
const LAYOUT_KEY: &[u8] = b"layout";
const SWEPT_KEY: &[u8] = b"swept";
const STATE_KEY: &[u8] = b"state";

/// Address space asked for, unless set or refused.
const MAP_SIZE: u64 = 256 << 30;
/// What is still enough to be asked for.
const LEAST_MAP_SIZE: u64 = 1 << 30;
/// What an empty environment is made with; opening it asks for more.
const NEW_MAP_SIZE: u64 = 1 << 20;
/// Every page size of a processor divides it.
const MAP_GRAIN: u64 = 1 << 16;
/// Threads, of all processes, that have ever read and still live.
const MAX_READERS: u32 = 2_048;
/// Files up to this are checked whole when they are opened, larger ones without their rows' leaves.
const WHOLE_CHECK_BYTES: u64 = 256 << 20;
/// How long an environment of this process, at the same path, may take to close.
const CLOSING: Duration = Duration::from_secs(30);

/// A tree of bytes to bytes.
pub(crate) type Db = Database<'static, Bytes, Bytes>;

/// Whether rows are (still) here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// They are.
    Live,
    /// They moved to a later generation.
    Moved,
    /// The view was dropped.
    Dropped,
}

impl State {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Live => b"live",
            Self::Moved => b"moved",
            Self::Dropped => b"dropped",
        }
    }
}

/// What opening found.
pub(crate) enum Opened {
    /// An environment, in whatever state.
    Environment(Environment),
    /// Nothing: the folder is not, or no longer, there.
    Missing,
}

/// An open environment. Closed when dropped.
pub(crate) struct Environment {
    env: heed::Env<WithTls>,
    pub(crate) rows: Db,
    meta: Db,
    pub(crate) folder: PathBuf,
    pub(crate) generation: u32,
    /// Why it was opened for reading alone, if it was.
    read_only: Option<String>,
    /// The last transaction that saw [`State::Live`]: what it sees does not change.
    live_at: AtomicUsize,
    pub(crate) resident: Resident,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// Opens the environment in `folder`, once its files have been found to be sound.
    pub(crate) fn open(
        folder: &Path,
        generation: u32,
        map_size: Option<u64>,
        budget: &Arc<Budget>,
    ) -> Result<Opened, Error> {
        let data = folder.join(DATA_FILE);
        let head = match check::head(&data) {
            Ok(head) => head,
            Err(Fault::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                // A folder goes as a whole, by its name, before its files do.
                if !folder.exists() {
                    return Ok(Opened::Missing);
                }
                return Err(damaged(folder, "it is missing"));
            }
            Err(fault) => return Err(fault_error(folder, fault)),
        };
        let Some((env, read_only)) = open_env(folder, &head, map_size)? else {
            return Ok(Opened::Missing);
        };
        // Slots of readers that were killed would keep pages from being used again.
        if let Err(error) = env.clear_stale_readers() {
            tracing::debug!(%error, "stale readers were not cleared");
        }
        check_snapshot(&env, folder, head.file_bytes)?;
        let (rows, meta) = open_trees(&env, folder)?;
        let environment = Self {
            env,
            rows,
            meta,
            folder: folder.to_owned(),
            generation,
            read_only,
            live_at: AtomicUsize::new(usize::MAX),
            resident: Resident::new(budget.clone()),
        };
        environment.check_format()?;
        Ok(Opened::Environment(environment))
    }

    /// Makes an environment in the empty folder `folder`, and closes it.
    pub(crate) fn create(folder: &Path, layout: &str, now_us: i64) -> Result<(), Error> {
        let failed = |error| plain(lmdb_failure("create", folder, error), folder);
        let options = options(NEW_MAP_SIZE);
        let env = raw_open(&options, folder, false).map_err(failed)?;
        let txn = env.write_txn().map_err(failed)?;
        env.create_databases_and_commit(txn, |dbs, txn| {
            let _rows = dbs.create_database::<Bytes, Bytes>(txn, Some(ROWS_DB))?;
            let meta = dbs.create_database::<Bytes, Bytes>(txn, Some(META_DB))?;
            meta.put(txn, FORMAT_KEY, FORMAT.to_string().as_bytes())?;
            meta.put(txn, WRITER_KEY, env!("CARGO_PKG_VERSION").as_bytes())?;
            meta.put(txn, LAYOUT_KEY, layout.as_bytes())?;
            meta.put(txn, SWEPT_KEY, &now_us.to_le_bytes())?;
            meta.put(txn, STATE_KEY, State::Live.bytes())?;
            Ok::<_, heed::Error>(CommitOrAbort::<(), ()>::Commit(()))
        })
        .map_err(failed)?;
        Ok(())
    }

    /// Starts a read transaction of this thread, which may have one per environment.
    pub(crate) fn read_txn(&self) -> Result<RoTxn<'_, WithTls>, Failure> {
        self.env
            .read_txn()
            .map_err(|error| self.failure("read", error))
    }

    /// Waits for the writer's turn, among all processes.
    pub(crate) fn write_txn(&self) -> Result<RwTxn<'_>, Failure> {
        if let Some(why) = &self.read_only {
            return Err(read_only(&self.folder, why).into());
        }
        // A reader that was killed would keep pages from being used again.
        let _n_cleared = self
            .env
            .clear_stale_readers()
            .map_err(|error| self.failure("write to", error))?;
        self.env
            .write_txn()
            .map_err(|error| self.failure("write to", error))
    }

    /// Makes a transaction's writes durable.
    pub(crate) fn commit(&self, txn: RwTxn<'_>) -> Result<(), Failure> {
        txn.commit()
            .map_err(|error| self.failure("write to", error))
    }

    /// What a failure of LMDB here means.
    pub(crate) fn failure(&self, doing: &str, error: heed::Error) -> Failure {
        lmdb_failure(doing, &self.folder, error)
    }

    /// Whether a transaction sees rows that are still here.
    pub(crate) fn is_live(&self, txn: &RoTxn<'_>) -> Result<bool, Failure> {
        let id = txn.id();
        if self.live_at.load(Ordering::Relaxed) == id {
            return Ok(true);
        }
        let live = self.state(txn)? == State::Live;
        if live {
            self.live_at.store(id, Ordering::Relaxed);
        }
        Ok(live)
    }

    /// As [`Self::is_live`], of a writer, whose transaction's number is not committed yet.
    pub(crate) fn state(&self, txn: &RoTxn<'_>) -> Result<State, Failure> {
        let found = self.get_meta(txn, STATE_KEY)?;
        [State::Live, State::Moved, State::Dropped]
            .into_iter()
            .find(|state| found == Some(state.bytes()))
            .ok_or_else(|| damaged(&self.folder, "its state is unreadable").into())
    }

    pub(crate) fn set_state(&self, txn: &mut RwTxn<'_>, state: State) -> Result<(), Failure> {
        self.put_meta(txn, STATE_KEY, state.bytes())
    }

    /// The state as of now.
    pub(crate) fn current_state(&self) -> Result<State, Failure> {
        let txn = self.read_txn()?;
        self.state(&txn)
    }

    /// Records the layout of the rows, for people.
    pub(crate) fn set_layout(&self, txn: &mut RwTxn<'_>, layout: &str) -> Result<(), Failure> {
        if self.get_meta(txn, LAYOUT_KEY)? == Some(layout.as_bytes()) {
            return Ok(());
        }
        self.put_meta(txn, LAYOUT_KEY, layout.as_bytes())
    }

    /// When expired rows were last looked for (us).
    pub(crate) fn swept_us(&self, txn: &RoTxn<'_>) -> Result<i64, Failure> {
        let found = self.get_meta(txn, SWEPT_KEY)?;
        let found = found.and_then(|bytes| bytes.try_into().ok());
        Ok(found.map_or(i64::MIN, i64::from_le_bytes))
    }

    pub(crate) fn set_swept_us(&self, txn: &mut RwTxn<'_>, now_us: i64) -> Result<(), Failure> {
        self.put_meta(txn, SWEPT_KEY, &now_us.to_le_bytes())
    }

    fn get_meta<'t>(&self, txn: &'t RoTxn<'_>, key: &[u8]) -> Result<Option<&'t [u8]>, Failure> {
        self.meta
            .get(txn, key)
            .map_err(|error| self.failure("read", error))
    }

    fn put_meta(&self, txn: &mut RwTxn<'_>, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.meta
            .put(txn, key, value)
            .map_err(|error| self.failure("write to", error))
    }

    /// The data file of the open environment, wherever its folder is by now.
    pub(crate) fn data_file(&self) -> Result<File, Failure> {
        self.env
            .try_clone_inner_file()
            .map_err(|error| self.failure("read", error))
    }

    /// Writes what is committed, without free pages, to a file.
    pub(crate) fn copy_compacted(&self, file: &mut File) -> Result<(), Failure> {
        self.env
            .copy_to_file(file, heed::CompactionOption::Enabled)
            .map_err(|error| self.failure("compact", error))
    }

    /// Pages in all, and those that hold nothing.
    pub(crate) fn page_counts(&self, txn: &RoTxn<'_>) -> Result<(u64, u64), Failure> {
        let trees = [
            self.env.unnamed_database_stat(),
            self.stat(self.rows, txn)?,
            self.stat(self.meta, txn)?,
        ];
        let used: usize = trees
            .iter()
            .map(|tree| tree.branch_pages + tree.leaf_pages + tree.overflow_pages)
            .sum();
        let all = self.env.info().last_page_number + 1;
        let used = used + usize::try_from(crate::pages::N_METAS).unwrap_or(0);
        Ok((all as u64, all.saturating_sub(used) as u64))
    }

    /// How many rows there are, and the pages that they take.
    pub(crate) fn rows_stat(&self, txn: &RoTxn<'_>) -> Result<heed::DatabaseStat, Failure> {
        self.stat(self.rows, txn)
    }

    fn stat(&self, tree: Db, txn: &RoTxn<'_>) -> Result<heed::DatabaseStat, Failure> {
        tree.stat(txn).map_err(|error| self.failure("read", error))
    }

    /// The address space that this environment has, in bytes.
    pub(crate) fn map_bytes(&self) -> u64 {
        self.env.info().map_size as u64
    }

    /// Why it was opened for reading alone, if it was.
    pub(crate) fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// Checks all pages; `go_on` is asked now and then.
    pub(crate) fn check_whole(&self, go_on: &dyn Fn() -> bool) -> Result<(), Error> {
        check_env(&self.env, &self.folder, Extent::Whole, go_on)
    }

    fn check_format(&self) -> Result<(), Error> {
        let check = || -> Result<(), Failure> {
            let txn = self.read_txn()?;
            let format = self.get_meta(&txn, FORMAT_KEY)?;
            let format: Option<u32> = format
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
                .and_then(|text| text.parse().ok());
            let writer = self.get_meta(&txn, WRITER_KEY)?;
            let writer = String::from_utf8_lossy(writer.unwrap_or(b"of an unknown version"));
            match format {
                Some(FORMAT) => Ok(()),
                Some(other) => Err(other_format(
                    &self.folder,
                    &format!(
                        "it has format {other}, written by provender {writer}; this is provender {}, which reads format {FORMAT}",
                        env!("CARGO_PKG_VERSION")
                    ),
                )
                .into()),
                None => Err(damaged(&self.folder, "it does not say which format it has").into()),
            }
        };
        check().map_err(|failure| plain(failure, &self.folder))
    }
}

/// An error where opening again would be of no help.
pub(crate) fn plain(failure: Failure, folder: &Path) -> Error {
    match failure {
        Failure::Failed(error) => error,
        Failure::Gone => crate::error::restless(folder),
    }
}

fn options(map_size: u64) -> EnvOpenOptions<WithTls> {
    let map_size = map_size.div_ceil(MAP_GRAIN) * MAP_GRAIN;
    let mut options = EnvOpenOptions::new();
    options
        .map_size(usize::try_from(map_size).unwrap_or(usize::MAX))
        .max_readers(MAX_READERS)
        .max_dbs(2);
    options
}

/// The one call that the compiler cannot vouch for.
fn raw_open(
    options: &EnvOpenOptions<WithTls>,
    folder: &Path,
    read_only: bool,
) -> heed::Result<heed::Env<WithTls>> {
    let mut options = options.clone();
    // SAFETY: a memory map is sound as long as nobody changes the file behind LMDB's back, and LMDB's
    // locks are in force. Both hold here: the file is only written through LMDB (this crate reads it
    // otherwise, but never writes or shortens it, and replaces it only by renaming its folder); the only
    // flag ever set is READ_ONLY, so locking and syncing stay on; transactions are begun and ended by
    // one thread inside of one function; heed refuses to open a folder twice in a process; and what the
    // file holds has been checked, or is checked right after, before any of its trees is followed.
    // A file that others overwrite while it is open, or a network file system, is beyond this.
    #[allow(unsafe_code)]
    unsafe {
        if read_only {
            options.flags(EnvFlags::READ_ONLY);
        }
        options.open(folder)
    }
}

/// Opens LMDB; `None` if the folder went away.
#[allow(clippy::type_complexity)]
fn open_env(
    folder: &Path,
    head: &Head,
    map_size: Option<u64>,
) -> Result<Option<(heed::Env<WithTls>, Option<String>)>, Error> {
    let needed = head
        .file_bytes
        .max(head.n_pages().saturating_mul(head.page_bytes));
    let mut size = map_size.unwrap_or_else(|| MAP_SIZE.max(needed.saturating_mul(2)));
    let mut reason: Option<String> = None;
    loop {
        let bytes = size.max(needed);
        match raw_open(&options(bytes), folder, reason.is_some()) {
            Ok(env) => return Ok(Some((env, reason))),
            Err(heed::Error::EnvAlreadyOpened) => {
                // An environment that was at this path before is being closed by its last user.
                let canonical = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
                let closing = heed::env_closing_event(canonical);
                if closing.is_some_and(|event| !event.wait_timeout(CLOSING)) {
                    return Err(crate::error::restless(folder));
                }
            }
            Err(heed::Error::Io(error)) => match error.kind() {
                std::io::ErrorKind::NotFound if !folder.exists() => return Ok(None),
                std::io::ErrorKind::OutOfMemory if size / 2 >= LEAST_MAP_SIZE => size /= 2,
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem
                    if reason.is_none() =>
                {
                    reason = Some(error.to_string());
                }
                _ => return Err(io_error("open", folder, error)),
            },
            Err(error) => return Err(plain(lmdb_failure("open", folder, error), folder)),
        }
    }
}

/// Checks what readers see right now, before any tree of it is followed.
fn check_snapshot(env: &heed::Env<WithTls>, folder: &Path, file_bytes: u64) -> Result<(), Error> {
    let extent = if file_bytes <= WHOLE_CHECK_BYTES {
        Extent::Whole
    } else {
        Extent::Branches
    };
    check_env(env, folder, extent, &|| true)
}

fn check_env(
    env: &heed::Env<WithTls>,
    folder: &Path,
    extent: Extent,
    go_on: &dyn Fn() -> bool,
) -> Result<(), Error> {
    let data = folder.join(DATA_FILE);
    // Two commits between the start of the transaction and the look at the meta pages make it stale.
    for _ in 0..100 {
        let txn = env
            .read_txn()
            .map_err(|error| plain(lmdb_failure("read", folder, error), folder))?;
        match check::walk(&data, txn.id() as u64, extent, go_on) {
            Ok(()) => return Ok(()),
            Err(Fault::Stale) => {}
            Err(fault) => return Err(fault_error(folder, fault)),
        }
        drop(txn);
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(damaged(
        folder,
        "its newest state is not the one that its users agreed on",
    ))
}

fn open_trees(env: &heed::Env<WithTls>, folder: &Path) -> Result<(Db, Db), Error> {
    let failed = |error| plain(lmdb_failure("read", folder, error), folder);
    let txn = env.read_txn().map_err(failed)?;
    let trees = env
        .open_databases_and_commit(txn, |dbs, txn| {
            let rows = dbs.open_database::<Bytes, Bytes>(txn, Some(ROWS_DB))?;
            let meta = dbs.open_database::<Bytes, Bytes>(txn, Some(META_DB))?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((rows, meta)))
        })
        .map_err(failed)?;
    match trees {
        CommitOrAbort::Commit((Some(rows), Some(meta))) => Ok((rows, meta)),
        _ => Err(damaged(folder, "it does not hold online rows")),
    }
}

fn fault_error(folder: &Path, fault: Fault) -> Error {
    match fault {
        Fault::Damaged(what) => damaged(folder, &what),
        Fault::OtherVersion(version) => other_format(
            folder,
            &format!(
                "its LMDB files have version {version}, and this program reads version {}",
                crate::pages::DATA_VERSION
            ),
        ),
        Fault::Stale => crate::error::restless(folder),
        Fault::Stopped => Error::new(&provender_core::codes::CANCELLED, "the check was cancelled"),
        Fault::Io(error) => io_error("read", &folder.join(DATA_FILE), error),
    }
}
