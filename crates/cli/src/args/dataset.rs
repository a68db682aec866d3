//! The commands about training sets that are kept, and what they share with `historical`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Columns, InputFormat};

// No doc comment: it would become the help text of the commands that take these options.
#[derive(Debug, Args)]
pub(crate) struct TrainingArgs {
    /// The feature service; service@3 holds a version
    #[arg(
        long,
        value_name = "SERVICE",
        required_unless_present = "features",
        conflicts_with = "features"
    )]
    pub(crate) service: Option<String>,
    /// Features instead of a service: view:feature, view@2:feature or a whole view, by commas
    #[arg(long, value_name = "VIEW:FEATURE,...")]
    pub(crate) features: Vec<String>,
    /// The rows to find features for: join keys, a timestamp, any other columns; - is stdin
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "spine_sql",
        conflicts_with = "spine_sql"
    )]
    pub(crate) spine: Option<PathBuf>,
    /// The rows as a SELECT that the offline store runs
    #[arg(long, value_name = "SQL")]
    pub(crate) spine_sql: Option<String>,
    /// The spine's format [default: by its extension; of stdin, by its first bytes]
    #[arg(long, value_enum, alias = "format", value_name = "FORMAT")]
    pub(crate) spine_format: Option<InputFormat>,
    #[command(flatten)]
    pub(crate) columns: Columns,
    /// The spine's timestamp column [default: event_timestamp, else its only timestamp column]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) timestamp: Option<String>,
    /// Uses only rows whose created timestamp is not after the spine's time
    #[arg(long)]
    pub(crate) as_known: bool,
    /// Names feature columns view__feature
    #[arg(long)]
    pub(crate) full_feature_names: bool,
}

/// `dataset`
#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Builds a training set and keeps it, with a manifest of what it was built from
    Create(Box<DatasetCreateArgs>),
    /// Lists datasets with their versions
    List,
    /// Shows what is recorded of a dataset
    Show(DatasetShowArgs),
    /// Shows in what two datasets differ
    Diff(DatasetDiffArgs),
    /// Builds the same rows again from the recorded state of definitions and sources
    Recreate(DatasetRecreateArgs),
    /// Deletes a dataset: its rows, its spine and its manifest
    Delete(DatasetDeleteArgs),
}

/// `dataset create`
#[derive(Debug, Args)]
#[command(after_help = "\
Rows and spine become tables of the offline store; the manifest goes to the registry. A dataset is never
changed: another of its name is a new version.

Splits add a column that names each row's part:
  random:0.8,0.1,0.1          by a hash of the spine's columns
  time:2013-09-01,2013-11-01  by the spine's time; where the second and further parts begin
  entity:0.8,0.2              by a hash of the join keys, so one entity is only ever in one part

Examples:
  provender dataset create delays --service departure_delay --spine spine.parquet
  provender dataset create delays --new-version --service departure_delay --spine spine.parquet \\
    --split random:0.8,0.1,0.1 --seed 7
  provender dataset create hot --features airport_weather:temp --spine spine.csv --split entity:0.8,0.2 \\
    --split-by origin")]
pub(crate) struct DatasetCreateArgs {
    /// The dataset's name: letters, digits and _
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
    /// Makes the next version if the dataset exists
    #[arg(long)]
    pub(crate) new_version: bool,
    /// The named offline store that keeps it [default: offline_store]
    #[arg(long, value_name = "NAME")]
    pub(crate) store: Option<String>,
    /// Divides the rows: random:SHARE,..., time:TIME,... or entity:SHARE,...
    #[arg(long, value_name = "SPLIT")]
    pub(crate) split: Option<String>,
    /// Gives another random or entity split of the same shares
    #[arg(long, value_name = "N", default_value_t = 0, requires = "split")]
    pub(crate) seed: u64,
    /// The columns of an entity split [default: the join keys that all views share]
    #[arg(
        long,
        value_name = "COLUMN,...",
        value_delimiter = ',',
        requires = "split"
    )]
    pub(crate) split_by: Vec<String>,
    /// The parts' names [default: train,test or train,validation,test]
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        requires = "split"
    )]
    pub(crate) split_names: Vec<String>,
    /// The column that names the part [default: split]
    #[arg(long, value_name = "COLUMN", requires = "split")]
    pub(crate) split_column: Option<String>,
}

/// `dataset show`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  provender dataset show delays\n  provender dataset show delays@2 --output json"
)]
pub(crate) struct DatasetShowArgs {
    /// The dataset, with @VERSION for another version than the newest
    #[arg(value_name = "NAME[@VERSION]")]
    pub(crate) name: String,
}

/// `dataset diff`
#[derive(Debug, Args)]
#[command(after_help = "\
Compares request, definitions, sources, spine, split, schema, rows and statistics by what is recorded.

Examples:
  provender dataset diff delays@1 delays@2
  provender dataset diff delays@1 delays@2 --rows --limit 50")]
pub(crate) struct DatasetDiffArgs {
    /// A dataset, with @VERSION for another version than the newest
    #[arg(value_name = "A[@VERSION]")]
    pub(crate) a: String,
    /// Another one
    #[arg(value_name = "B[@VERSION]")]
    pub(crate) b: String,
    /// Reads the rows of both, and shows those that only one has
    #[arg(long)]
    pub(crate) rows: bool,
    /// With --rows: how many rows of each dataset are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: usize,
}

/// `dataset recreate`
#[derive(Debug, Args)]
#[command(after_help = "\
The rows are compared with the recorded hash while they are built. If they are not the same, bit for bit,
the command fails and leaves neither file nor table.

Examples:
  provender dataset recreate delays --out train.parquet
  provender dataset recreate delays@1 --output csv > train.csv
  provender dataset recreate delays --restore   # back into its table, if that was lost or changed")]
pub(crate) struct DatasetRecreateArgs {
    /// The dataset, with @VERSION for another version than the newest
    #[arg(value_name = "NAME[@VERSION]")]
    pub(crate) name: String,
    /// Where the rows go: .parquet, .csv, .arrow, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Puts the rows back into the dataset's table
    #[arg(long, conflicts_with = "out")]
    pub(crate) restore: bool,
    /// How many rows the preview shows
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

/// `dataset delete`
#[derive(Debug, Args)]
#[command(after_help = "\
Asks before it deletes. The dataset's tables stay, empty; their older versions hold the rows until
`provender table vacuum` removes them.

Examples:
  provender dataset delete delays@1
  provender dataset delete delays --all-versions --yes")]
pub(crate) struct DatasetDeleteArgs {
    /// The dataset, with @VERSION if there are several versions
    #[arg(value_name = "NAME[@VERSION]")]
    pub(crate) name: String,
    /// Deletes all versions
    #[arg(long)]
    pub(crate) all_versions: bool,
    /// Does not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}
