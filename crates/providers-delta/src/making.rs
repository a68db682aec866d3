//! What a write does to storage beside its commit: the folder of a table in the making, files that go
//! to the disk itself, and files that no commit will name.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deltalake::kernel::Add;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use provender_core::Result;
use provender_core::time::now_us;

use crate::error::{remote_error, write_error};
use crate::location::Location;
use crate::store::DeltaOfflineStore;
use crate::tables::{Kind, LOG_FOLDER, Place};

/// A table's folder while a write is under way.
#[derive(Debug)]
pub(crate) struct Making {
    at: Location,
    /// Folders of this machine that were not there, innermost first.
    made: Vec<PathBuf>,
    /// In an object store: what tells others that files beside it are no rows yet.
    marker: Option<(Arc<dyn ObjectStore>, ObjectPath)>,
}

impl Making {
    /// Makes the folder of the table's log, which tells others that files beside it are no rows until
    /// a commit says so. In an object store a folder is there while an object lies in it.
    pub(crate) async fn begin(store: &DeltaOfflineStore, place: &Place) -> Result<Self> {
        let mut making = Self {
            at: place.at.clone(),
            made: Vec::new(),
            marker: None,
        };
        match &place.at {
            Location::Local(path) => {
                making.made = path
                    .ancestors()
                    .take_while(|folder| !folder.exists())
                    .map(PathBuf::from)
                    .collect();
                std::fs::create_dir_all(path.join(LOG_FOLDER))
                    .map_err(|error| write_error(path, error))?;
            }
            Location::Remote { .. } if place.kind == Kind::Delta => {}
            Location::Remote { .. } => {
                let table = store.tables.unloaded(place)?.log_store().object_store(None);
                let marker = ObjectPath::from(LOG_FOLDER).join(unique("_making"));
                table
                    .put(&marker, PutPayload::from_static(b"a table in the making"))
                    .await
                    .map_err(|error| {
                        remote_error(&format!("table {:?} cannot be made", place.name), error)
                    })?;
                making.marker = Some((table, marker));
            }
        }
        Ok(making)
    }

    /// Ends the making. After a failure, folders that it made and that nobody else put something in
    /// are removed.
    pub(crate) async fn end(self, has_failed: bool) {
        if let Some((table, marker)) = &self.marker
            && let Err(error) = table.delete(marker).await
        {
            tracing::warn!(%marker, %error, "the mark of a table in the making stays behind");
        }
        let Location::Local(path) = &self.at else {
            return;
        };
        let is_mine = self.made.first() == Some(path)
            && std::fs::read_dir(path).is_ok_and(|entries| entries.count() == 1);
        if !has_failed || !is_mine {
            return;
        }
        // Folders that hold something are not removed by these.
        let _ = std::fs::remove_dir(path.join(LOG_FOLDER));
        for folder in &self.made {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }

    /// Removes files that no commit names; of a table that never came to be, their folders too.
    pub(crate) async fn remove_files(
        &self,
        table: &Arc<dyn ObjectStore>,
        files: &[Add],
        with_folders: bool,
    ) {
        for file in files {
            // Paths of partitions are escaped already.
            let removed = match ObjectPath::parse(&file.path) {
                Ok(path) => table.delete(&path).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = removed {
                tracing::warn!(path = %file.path, %error, "a file without a commit stays behind");
            }
            let Location::Local(folder) = &self.at else {
                continue;
            };
            if with_folders {
                let path = folder.join(&file.path);
                for inner in path.ancestors().skip(1) {
                    if inner == folder || std::fs::remove_dir(inner).is_err() {
                        break;
                    }
                }
            }
        }
    }
}

/// Sends files of a table to the disk itself, so that a commit never outlives the data it names. An
/// object store has done so when it answers.
pub(crate) fn sync<'f>(at: &Location, files: impl IntoIterator<Item = &'f str>) -> Result<()> {
    let Location::Local(folder) = at else {
        return Ok(());
    };
    for file in files {
        let path = folder.join(file);
        std::fs::File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(|error| write_error(&path, error))?;
    }
    Ok(())
}

/// The commit is done; that the disk may still hold it back is not worth failing for.
pub(crate) fn sync_log(at: &Location, version: u64) {
    let Location::Local(folder) = at else {
        return;
    };
    let folder = folder.join(LOG_FOLDER);
    for path in [folder.join(format!("{version:020}.json")), folder] {
        if let Err(error) = std::fs::File::open(&path).and_then(|file| file.sync_all()) {
            tracing::warn!(path = %path.display(), %error, "a commit was not synced");
        }
    }
}

/// A name that no other writer gives.
pub(crate) fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{}-{n}", std::process::id(), now_us())
}
