//! Looking after a table: its files, never its rows.

use serde::{Deserialize, Serialize};

use crate::model::SourceVersion;

/// Work on the files of a table of the offline store. The table's rows are the same afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// The table, as sources name it.
    pub table: String,
    /// What to do.
    pub work: MaintenanceWork,
}

/// What to do with a table's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MaintenanceWork {
    /// Rewrites many small files as few large ones.
    Optimise(Optimise),
    /// Removes files that no present row is in.
    Vacuum(Vacuum),
}

/// How files are rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Optimise {
    /// The size that files should have, in bytes; `None` leaves it to the store.
    pub target_bytes: Option<u64>,
    /// Columns by which rows that are read together come to lie together (a Z-order; of one column
    /// plainly its order). Without any, rows keep their order and files of the right size stay.
    pub order_by: Vec<String>,
}

/// Which files are removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vacuum {
    /// How long files are kept after they were replaced, in microseconds; `None` is what the table says.
    pub retain_us: Option<u64>,
    /// Whether a shorter time than the table's own is taken.
    pub force: bool,
    /// Whether past versions that are older are forgotten altogether, and so what the table's log says
    /// of their rows.
    pub forget_history: bool,
    /// Only tells what would be removed.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceSummary {
    /// Files that were written.
    pub n_added: u64,
    /// Their size.
    pub added_bytes: u64,
    /// Files that were replaced (optimise) or removed (vacuum), or would be.
    pub n_removed: u64,
    /// Their size.
    pub removed_bytes: u64,
    /// Files that hold the table's present rows, afterwards.
    pub n_files: u64,
    /// Entries of the table's log that were forgotten.
    pub n_forgotten: u64,
    /// The paths of removed files, from the table's folder; of a dry run, those that would be.
    pub removed: Vec<String>,
    /// The table's state afterwards, if it has versions.
    pub version: Option<SourceVersion>,
}
