//! Datasets: training sets that are kept, and that can be built again from what they were built from.
//!
//! Decides what a manifest records, where it is kept (in the registry) and where the rows are (in tables
//! of an offline store), and that a dataset is visible only once all of it is durable. How rows are
//! joined is the part of training sets; this hands it definitions and sources of a fixed state.

mod create;
mod diff;
mod distinct;
mod encoding;
mod hash;
mod keep;
mod manifest;
mod measure;
mod pins;
mod recreate;
mod remove;
mod rows;
mod spine;
mod split;
mod statistics;

pub use create::{CreateDataset, DatasetSpine};
pub use diff::{DatasetDiff, DatasetDifference, DiffPart};
pub use manifest::{
    ColumnRole, Dataset, DatasetColumn, DatasetRequest, StoredSpine, StoredTable, UsedDefinition,
    UsedDefinitions, UsedSource, version_text,
};
pub use recreate::Recreation;
pub use rows::RowDiff;
pub use split::{Split, SplitOptions, SplitRule};
pub use statistics::Statistics;
