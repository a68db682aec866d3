//! One version of a view, as this process sees it: at most one open environment, shared by every store
//! and every reader of the process.
//!
//! Decides which generation is the current one, when an environment is given up, and how views are made
//! and dropped. LMDB allows a file to be open once per process, so the slots of a process are in one
//! table, by path. Nobody but a slot holds an environment for longer than one synchronous call: an
//! environment that moved or was dropped is closed, and its space given back, as soon as anybody looks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use heed::{RoTxn, RwTxn};
use provender_core::provider::ViewVersion;
use provender_core::{Error, ErrorKind};

use crate::environment::{DATA_FILE, Environment, Opened, State};
use crate::error::{Failure, damaged, io_error, restless};
use crate::folders::{self, NEW, TRASH};
use crate::names;
use crate::resident::Budget;

/// Tries at something that other processes may be replacing at the same time.
const ATTEMPTS: u32 = 200;

static SLOTS: LazyLock<Mutex<HashMap<PathBuf, Weak<Slot>>>> = LazyLock::new(Mutex::default);

/// One version of a view.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) view: ViewVersion,
    /// The store's folder.
    root: PathBuf,
    /// The view's folder.
    pub(crate) folder: PathBuf,
    map_size: Option<u64>,
    budget: Arc<Budget>,
    current: RwLock<Option<Arc<Environment>>>,
    /// Held by whoever opens, so that others wait for it instead of opening as well.
    opening: Mutex<()>,
}

/// What a view's folder holds.
enum Found {
    Nothing,
    /// A view that was dropped by a process which did not live to remove it.
    Dropped,
    Live(Arc<Environment>),
}

/// What came of looking at the rows.
pub(crate) enum Looked<T> {
    /// An answer.
    Answer(T),
    /// The view holds nothing, now.
    Nothing,
    /// Nobody has opened the view yet, or what was open has to be opened again.
    NotOpen,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// The slot of a view in the store at `root`, the only one in this process.
    pub(crate) fn of(
        root: &Path,
        view: &ViewVersion,
        map_size: Option<u64>,
        budget: &Arc<Budget>,
    ) -> Arc<Self> {
        let root = canonical(root);
        let folder = root
            .join(names::project_folder(&view.project))
            .join(names::view_folder(&view.view, view.version));
        let mut slots = locked(&SLOTS);
        if let Some(slot) = slots.get(&folder).and_then(Weak::upgrade) {
            return slot;
        }
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(Self {
            view: view.clone(),
            root,
            folder: folder.clone(),
            map_size,
            budget: budget.clone(),
            current: RwLock::default(),
            opening: Mutex::default(),
        });
        slots.insert(folder, Arc::downgrade(&slot));
        slot
    }

    /// The store's folder of the view's project.
    fn project_folder(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.root)
    }

    /// Looks at the rows in one read transaction, if they are open. Neither waits nor opens anything: the
    /// lock is only ever taken exclusively to swap the environment.
    pub(crate) fn look<T>(
        &self,
        look: impl FnOnce(&Environment, &RoTxn<'_>) -> Result<T, Failure>,
    ) -> Result<Looked<T>, Error> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let Some(environment) = current.as_ref() else {
            drop(current);
            return Ok(if self.folder.exists() {
                Looked::NotOpen
            } else {
                Looked::Nothing
            });
        };
        let looked = (|| {
            let txn = environment.read_txn()?;
            if !environment.is_live(&txn)? {
                return Err(Failure::Gone);
            }
            look(environment, &txn)
        })();
        match looked {
            Ok(answer) => Ok(Looked::Answer(answer)),
            Err(Failure::Failed(error)) => Err(error),
            Err(Failure::Gone) => {
                let environment = Arc::clone(environment);
                drop(current);
                self.give_up(&environment);
                drop(environment);
                Ok(Looked::NotOpen)
            }
        }
    }

    /// As [`Self::look`], opening what is not open. Blocks.
    pub(crate) fn look_or_open<T>(
        &self,
        mut look: impl FnMut(&Environment, &RoTxn<'_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, Error> {
        for _ in 0..ATTEMPTS {
            match self.look(&mut look)? {
                Looked::Answer(answer) => return Ok(Some(answer)),
                Looked::Nothing => return Ok(None),
                Looked::NotOpen => {
                    if self.open()?.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
        Err(restless(&self.folder))
    }

    /// The open environment of the current generation; opens it if need be. `None` if the view holds
    /// nothing. Blocks. The caller lets go of it soon.
    pub(crate) fn open(&self) -> Result<Option<Arc<Environment>>, Error> {
        let _opening = locked(&self.opening);
        match self.find()? {
            Found::Live(environment) => Ok(Some(environment)),
            Found::Nothing | Found::Dropped => Ok(None),
        }
    }

    /// Copies the rows into memory, if they are open and fit. Blocks.
    pub(crate) fn copy_rows(&self) {
        if let Some(environment) = self.current() {
            environment.resident.copy(&environment);
        }
    }

    pub(crate) fn current(&self) -> Option<Arc<Environment>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    fn keep(&self, environment: Environment) -> Arc<Environment> {
        let environment = Arc::new(environment);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::clone(&environment));
        environment
    }

    /// Closes an environment that is of no more use, unless another took its place already.
    pub(crate) fn give_up(&self, environment: &Arc<Environment>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current
            .as_ref()
            .is_some_and(|kept| Arc::ptr_eq(kept, environment))
        {
            *current = None;
        }
    }

    /// Looks for the current generation, and opens it. The caller holds `opening`.
    fn find(&self) -> Result<Found, Error> {
        if let Some(environment) = self.current() {
            match environment.current_state() {
                Ok(State::Live) => return Ok(Found::Live(environment)),
                Ok(_) | Err(Failure::Gone) => self.give_up(&environment),
                Err(Failure::Failed(error)) => return Err(error),
            }
        }
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let generations = folders::generations(&self.folder)?;
            if generations.is_empty() {
                return Ok(Found::Nothing);
            }
            // The lowest that has not moved is the current one: a later one beside it is what a
            // compaction left that did not come to its end.
            for generation in generations {
                let folder = self.folder.join(names::generation_folder(generation));
                match Environment::open(&folder, generation, self.map_size, &self.budget)? {
                    // It went away since the folder was listed.
                    Opened::Missing => break,
                    Opened::Environment(environment) => match environment.current_state() {
                        Ok(State::Live) => return Ok(Found::Live(self.keep(environment))),
                        Ok(State::Dropped) => return Ok(Found::Dropped),
                        Ok(State::Moved) | Err(Failure::Gone) => {}
                        Err(Failure::Failed(error)) => return Err(error),
                    },
                }
            }
        }
        match folders::generations(&self.folder)?.last() {
            None => Ok(Found::Nothing),
            Some(last) => Err(damaged(
                &self.folder.join(names::generation_folder(*last)),
                "its rows moved to a later generation, which is missing",
            )),
        }
    }

    /// As [`Self::open`]; makes the view if it holds nothing.
    fn open_or_make(&self, layout: &str, now_us: i64) -> Result<Arc<Environment>, Error> {
        if let Some(environment) = self.open()? {
            return Ok(environment);
        }
        let _opening = locked(&self.opening);
        let project = self.project_folder();
        folders::make(project)?;
        let _folders = folders::lock(&self.root)?;
        // Nobody makes or removes a view while the lock is held, so what is found now stays so.
        let mut trash = None;
        match self.find()? {
            Found::Live(environment) => return Ok(environment),
            Found::Dropped => trash = folders::hide(&self.folder, project)?,
            Found::Nothing => {}
        }
        folders::remove_all(project, NEW)?;
        let new = folders::fresh(project, NEW);
        let generation = new.join(names::generation_folder(1));
        folders::make(&generation)?;
        Environment::create(&generation, layout, now_us)?;
        if names::needs_name_file(&self.view.view) {
            let file = new.join(names::NAME_FILE);
            std::fs::write(&file, &self.view.view)
                .and_then(|()| std::fs::File::open(&file)?.sync_all())
                .map_err(|error| io_error("write to", &file, error))?;
        }
        folders::sync(&generation)?;
        folders::sync(&new)?;
        // A folder that somebody emptied is replaced; one that holds something is not.
        folders::rename(&new, &self.folder)?;
        if trash.is_some() {
            folders::remove_all(project, TRASH)?;
        }
        match self.find()? {
            Found::Live(environment) => Ok(environment),
            Found::Nothing | Found::Dropped => Err(restless(&self.folder)),
        }
    }

    /// Changes rows in one write transaction, which is durable when this returns. Waits for other
    /// writers. With `make`, a layout and the time, a view that holds nothing is made; else `None`.
    /// `change` may be called again if the view moved meanwhile.
    pub(crate) fn change<T>(
        &self,
        make: Option<(&str, i64)>,
        mut change: impl FnMut(&Environment, &mut RwTxn<'_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, Error> {
        for _ in 0..ATTEMPTS {
            let environment = match make {
                Some((layout, now_us)) => self.open_or_make(layout, now_us)?,
                None => match self.open()? {
                    Some(environment) => environment,
                    None => return Ok(None),
                },
            };
            let changed = (|| {
                let mut txn = environment.write_txn()?;
                if environment.state(&txn)? != State::Live {
                    return Err(Failure::Gone);
                }
                let answer = change(&environment, &mut txn)?;
                environment.commit(txn)?;
                Ok(answer)
            })();
            match changed {
                Ok(answer) => return Ok(Some(answer)),
                Err(Failure::Failed(error)) => return Err(error),
                Err(Failure::Gone) => self.give_up(&environment),
            }
        }
        Err(restless(&self.folder))
    }

    /// Erases all rows and removes the view's folder. Blocks.
    pub(crate) fn drop_rows(&self) -> Result<(), Error> {
        // Waiting for the other writers first, so that what they were told is written is erased as well.
        let mut dropped = None;
        let marked = self.change(None, |environment, txn| {
            environment.set_state(txn, State::Dropped)?;
            dropped = Some((environment.folder.join(DATA_FILE), environment.data_file()?));
            Ok(())
        });
        let is_damaged = match marked {
            Ok(_) => false,
            // Those who have the file open cannot be told; removing it is what is left.
            Err(error) if error.kind() == ErrorKind::DataLoss => true,
            Err(error) => return Err(error),
        };
        if let Some(environment) = self.current()
            && (is_damaged || !matches!(environment.current_state(), Ok(State::Live)))
        {
            self.give_up(&environment);
        }
        let project = self.project_folder();
        if !project.exists() {
            return Ok(());
        }
        {
            let _opening = locked(&self.opening);
            let _folders = folders::lock(&self.root)?;
            let remove = match &dropped {
                _ if is_damaged => true,
                // The folder may be another one by now, made by a writer that came after the drop.
                Some((path, file)) => folders::is_same_file(path, file),
                None => matches!(self.find()?, Found::Dropped),
            };
            if remove {
                folders::hide(&self.folder, project)?;
            }
        }
        folders::remove_all(project, TRASH)
    }

    /// Waits for the right to make, rename and remove folders of the store.
    pub(crate) fn lock_folders(&self) -> Result<folders::FolderLock, Error> {
        folders::lock(&self.root)
    }
}

/// The path with symbolic links resolved, as far as it exists.
fn canonical(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for ancestor in absolute.ancestors() {
        if let Ok(resolved) = ancestor.canonicalize() {
            return match absolute.strip_prefix(ancestor) {
                Ok(rest) if rest.as_os_str().is_empty() => resolved,
                Ok(rest) => resolved.join(rest),
                Err(_) => absolute,
            };
        }
    }
    absolute
}
