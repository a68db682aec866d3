//! What can be typed: commands, options, and their help.
//!
//! This module decides spelling alone. It knows no project, opens nothing, and gives no option a
//! meaning; commands do.

mod dataset;
mod online;
mod plugin;
mod table;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::dataset::{
    DatasetCommand, DatasetCreateArgs, DatasetDeleteArgs, DatasetDiffArgs, DatasetRecreateArgs,
    DatasetShowArgs, TrainingArgs,
};
pub(crate) use self::online::{
    DeleteArgs, Entities, IncrementalArgs, MaterializeArgs, OnlineArgs, PushArgs, Stores,
    VerifyArgs,
};

pub(crate) use self::plugin::{PluginCheckArgs, PluginCommand, PluginKind, PluginNewArgs};
pub(crate) use self::table::{OptimiseArgs, TableCommand, VacuumArgs};

/// A feature store: define features once, get point-in-time correct training sets and fresh values.
#[derive(Debug, Parser)]
#[command(
    name = "provender",
    version,
    arg_required_else_help = true,
    after_help = "\
Start with:
  provender init my_project && cd my_project
  provender plan
  provender apply
  provender materialize-incremental

Exit codes: 0 done, 1 failed, 2 wrong usage (`plan --detailed-exitcode`: 3 when there are changes).
Environment: PROVENDER_ENV (as --env), PROVENDER_AUTHOR (who applies), PROVENDER_LOG (log filter,
default warn), PROVENDER_PLUGIN_PATH (where plug-ins are looked for), NO_COLOR."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

// No doc comment: it would become the help text of whatever command takes these options.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The project's folder, which holds provender.yaml
    #[arg(short = 'C', value_name = "DIR", default_value = ".", global = true)]
    pub(crate) dir: PathBuf,
    /// Overlays provender.yaml with provender.NAME.yaml
    #[arg(long, value_name = "NAME", env = "PROVENDER_ENV", global = true)]
    pub(crate) env: Option<String>,
    /// How results are written [default: table; with --out by the file's extension]
    #[arg(long, value_name = "FORMAT", value_enum, global = true)]
    pub(crate) output: Option<OutputFormat>,
    /// Adds the causes of errors
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Text for people
    Table,
    /// JSON
    Json,
    /// CSV with a header; nested values as JSON text
    Csv,
    /// Arrow IPC (a stream to stdout, else a file)
    Arrow,
    /// Parquet
    Parquet,
}

/// How an input file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// Parquet
    Parquet,
    /// CSV with a header
    Csv,
    /// Arrow IPC, file or stream
    #[value(alias = "ipc")]
    Arrow,
    /// JSON, one object a line
    #[value(alias = "ndjson")]
    Jsonl,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a new project with an example that works at once
    Init(InitArgs),
    /// Shows what apply would change, and changes nothing
    Plan(PlanArgs),
    /// Makes the definitions in features/ the applied ones, all or none
    Apply(ApplyArgs),
    /// Shows who applied what and when, newest first
    History(HistoryArgs),
    /// Lists what is applied
    List(ListArgs),
    /// Shows one applied definition with its versions, features and users
    Describe(DescribeArgs),
    /// Makes a table of the offline store from a file, or appends to it
    Import(ImportArgs),
    /// Builds a training set: the features of each spine row as they were at its time
    Historical(HistoricalArgs),
    /// Keeps training sets, compares them, and builds them again from what they were built from
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Writes the newest rows of (START, END] to the online store
    Materialize(MaterializeArgs),
    /// Writes what is new since the last run to the online store
    MaterializeIncremental(IncrementalArgs),
    /// Shows what the online store holds of each feature view, and how fresh it is
    Status,
    /// Reads the latest features of entities, as a model gets them
    Online(OnlineArgs),
    /// Writes rows of a feature view to the online store, the offline store or both
    Push(PushArgs),
    /// Erases keys of a feature view, online and offline
    Delete(DeleteArgs),
    /// Compares the online store with the offline store
    Verify(VerifyArgs),
    /// Looks after the files of a table of the offline store
    #[command(subcommand)]
    Table(TableCommand),
    /// Serves training sets, online reads and pushes over Arrow Flight until it is stopped
    Serve(ServeArgs),
    /// Makes plug-ins, judges them, and lists them
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Checks that every configured store can be reached and used
    Doctor,
    /// Explains an error code, or lists all codes
    Explain(ExplainArgs),
    /// Prints the JSON Schema of the project's files, for editors
    Schema(SchemaArgs),
    /// Prints a completion script for a shell
    #[command(
        after_help = "Example:\n  provender completions bash > ~/.local/share/bash-completion/completions/provender"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// `init`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  provender init flights --project nyc_flights")]
pub(crate) struct InitArgs {
    /// The folder, made if it does not exist [default: the one of -C]
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// The project's name [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
}

/// `plan`
#[derive(Debug, Args)]
#[command(after_help = "\
Signs: + made, ~ changed, - deleted, ! breaks a service.

Examples:
  provender plan
  provender plan --detailed-exitcode   # 0 nothing to do, 1 failed, 3 changes: for CI
  provender plan --output json")]
pub(crate) struct PlanArgs {
    /// Exits with 3 when there are changes
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

/// `apply`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  provender apply\n  provender apply --yes --message \"drop the old weather view\""
)]
pub(crate) struct ApplyArgs {
    /// Does not ask before it deletes
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub(crate) message: String,
}

/// `history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// How many commits at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

/// `list`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  provender list\n  provender list feature_views --output json")]
pub(crate) struct ListArgs {
    /// Only objects of this kind
    #[arg(value_enum)]
    pub(crate) kind: Option<Kind>,
}

/// The kinds of definitions, singular or plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// What features describe
    #[value(name = "entities", alias = "entity")]
    Entities,
    /// Where rows come from
    #[value(name = "sources", alias = "source")]
    Sources,
    /// Features of an entity from a source
    #[value(
        name = "feature_views",
        aliases = ["feature_view", "feature-views", "feature-view", "views", "view"]
    )]
    FeatureViews,
    /// Features computed at request time
    #[value(
        name = "on_demand_feature_views",
        aliases = ["on_demand_feature_view", "on-demand-feature-views", "on-demand-feature-view"]
    )]
    OnDemandFeatureViews,
    /// The features of one model
    #[value(
        name = "feature_services",
        aliases = ["feature_service", "feature-services", "feature-service", "services", "service"]
    )]
    FeatureServices,
}

/// `describe`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  provender describe airport_weather\n  provender describe departure_delay@2"
)]
pub(crate) struct DescribeArgs {
    /// A definition's name, with @VERSION for another version than the newest
    #[arg(value_name = "NAME[@VERSION]")]
    pub(crate) name: String,
}

// As of `Global`: no doc comment.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Columns {
    /// Types of columns of a CSV or JSON file that are not what their values look like
    #[arg(long, value_name = "NAME:TYPE,...")]
    pub(crate) schema: Option<String>,
}

/// `import`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  provender import weather weather.parquet
  provender import flights flights.csv --schema flight:string --partition-by month
  provender import weather with_gusts.parquet --add-columns
  psql -c '\\copy airports to stdout csv header' | provender import airports -")]
pub(crate) struct ImportArgs {
    /// The table, as sources name it
    pub(crate) table: String,
    /// Parquet, CSV, Arrow IPC or JSON lines; - is stdin
    pub(crate) file: PathBuf,
    /// The named offline store [default: offline_store]
    #[arg(long, value_name = "NAME")]
    pub(crate) store: Option<String>,
    /// Replaces the table's rows in one step instead of adding to them
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Adds columns that the table lacks; they are null in its older rows
    #[arg(long, conflicts_with = "overwrite")]
    pub(crate) add_columns: bool,
    /// Columns to partition a new table by
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    pub(crate) partition_by: Vec<String>,
    /// The file's format [default: by its extension; of stdin, by its first bytes]
    #[arg(long, value_enum)]
    pub(crate) format: Option<InputFormat>,
    #[command(flatten)]
    pub(crate) columns: Columns,
}

/// `historical`
#[derive(Debug, Args)]
#[command(after_help = "\
The output has the spine's rows in their order and the spine's columns untouched, then the features.
Without --out a preview is printed; `--output csv` and the like write all rows to stdout.

Examples:
  provender historical --service departure_delay --spine spine.parquet --out train.parquet
  provender historical --features airport_weather:temp,airport_facts --spine spine.csv
  provender historical --service departure_delay@3 --spine - --output arrow < spine.arrow")]
pub(crate) struct HistoricalArgs {
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
    /// Where the rows go: .parquet, .csv, .arrow, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Prints how the training set would be built, and builds none
    #[arg(long, conflicts_with = "out")]
    pub(crate) explain: bool,
    /// How many rows the preview shows
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

/// `serve`
#[derive(Debug, Args)]
#[command(after_help = "\
Prints its address to stdout once it answers. Ctrl-C or SIGTERM lets calls at work end; a second one ends
at once. Addresses, tokens, certificates and limits are under `server` in provender.yaml.

Examples:
  provender serve
  provender serve --flight 127.0.0.1:0 --metrics 127.0.0.1:9464")]
pub(crate) struct ServeArgs {
    /// Where Arrow Flight is served, instead of server.flight; port 0 takes any that is free
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) flight: Option<String>,
    /// Where metrics are served, instead of server.metrics
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Option<String>,
}

/// `explain`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  provender explain P106")]
pub(crate) struct ExplainArgs {
    /// The code of an error message, such as P106; without it all codes are listed
    pub(crate) code: Option<String>,
}

/// `schema`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  provender schema definitions > .provender/schema/definitions.json"
)]
pub(crate) struct SchemaArgs {
    /// Which files
    #[arg(value_enum)]
    pub(crate) which: SchemaKind,
}

/// Which files a JSON Schema is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaKind {
    /// features/**/*.yaml
    Definitions,
    /// provender.yaml
    Store,
}
