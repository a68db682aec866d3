//! What can be typed to look after tables.

use clap::{Args, Subcommand};

/// `table`
#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// Rewrites many small files as few large ones; rows stay as they are
    #[command(alias = "optimize")]
    Optimise(OptimiseArgs),
    /// Removes files that no present row is in, so that erased rows are gone for good
    Vacuum(VacuumArgs),
}

/// `table optimise`
#[derive(Debug, Args)]
#[command(after_help = "\
Readers and writers go on meanwhile. The files that were replaced stay until `provender table vacuum`.

Examples:
  provender table optimise weather
  provender table optimise weather --target-size 256MiB --order-by origin,time_hour")]
pub(crate) struct OptimiseArgs {
    /// The table, as sources name it
    pub(crate) table: String,
    /// The named offline store [default: offline_store]
    #[arg(long, value_name = "NAME")]
    pub(crate) store: Option<String>,
    /// The size that files should have [default: the store's, 128MiB for Delta]
    #[arg(long, value_name = "SIZE")]
    pub(crate) target_size: Option<String>,
    /// Puts rows that are near in these columns into the same files (a Z-order), such as key and time
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    pub(crate) order_by: Vec<String>,
}

/// `table vacuum`
#[derive(Debug, Args)]
#[command(after_help = "\
Past versions whose files go can no longer be read. Files of writers that were killed go too.

Examples:
  provender table vacuum weather --dry-run
  provender table vacuum weather --keep 30d
  provender table vacuum weather --keep 0 --forget-history --force   # after `provender delete`")]
pub(crate) struct VacuumArgs {
    /// The table, as sources name it
    pub(crate) table: String,
    /// The named offline store [default: offline_store]
    #[arg(long, value_name = "NAME")]
    pub(crate) store: Option<String>,
    /// How long replaced files are kept, such as 30d; 0 keeps none [default: what the table says, else 7d]
    #[arg(long, value_name = "DURATION")]
    pub(crate) keep: Option<String>,
    /// Keeps files for a shorter time than the table says; nobody may read or write it meanwhile
    #[arg(long)]
    pub(crate) force: bool,
    /// Also forgets the log of versions that are older, with what it says of erased keys
    #[arg(long)]
    pub(crate) forget_history: bool,
    /// Lists the files that would be removed, and removes none
    #[arg(long)]
    pub(crate) dry_run: bool,
}
