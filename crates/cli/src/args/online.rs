//! The commands about latest values: filling the online store, reading it, and checking it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::InputFormat;

/// `materialize`
#[derive(Debug, Args)]
#[command(after_help = "\
Of each key the newest row of (START, END] is written, and what is newer online already stays. Windows
are written as they are at END. A time is RFC 3339, a date (its midnight, UTC) or `now`.

One line per view goes to stderr as it is done; --output table, json or csv also writes the results to
stdout. Rows older than START stay away: materialize-incremental begins at the beginning.

Examples:
  provender materialize 2013-01-01 2014-01-01
  provender materialize 2013-12-31T00:00:00-05:00 now --views airport_weather,route_delay@2")]
pub(crate) struct MaterializeArgs {
    /// Rows after this time
    pub(crate) start: String,
    /// Up to and with this time, which may lie in the future
    pub(crate) end: String,
    #[command(flatten)]
    pub(crate) views: Views,
}

/// `materialize-incremental`
#[derive(Debug, Args)]
#[command(after_help = "\
Each view goes on where its last run ended; the first run starts at the beginning. A run that was killed
is taken up again by the next one.

Examples:
  provender materialize-incremental
  provender materialize-incremental --end 2014-01-01 --output json")]
pub(crate) struct IncrementalArgs {
    /// Up to and with this time: RFC 3339, a date or `now` [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) end: Option<String>,
    #[command(flatten)]
    pub(crate) views: Views,
}

// No doc comment: it would become the help text of the commands that take these options.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Views {
    /// Only these feature views, by commas; VIEW@N is a version [default: all that are online, at their
    /// newest version and those that services hold]
    #[arg(long, value_name = "VIEW,...", value_delimiter = ',')]
    pub(crate) views: Vec<String>,
}

impl Views {
    /// The views named; `None` for all.
    pub(crate) fn named(self) -> Option<Vec<String>> {
        (!self.views.is_empty()).then_some(self.views)
    }
}

/// `online`
#[derive(Debug, Args)]
#[command(after_help = "\
One row per entity, in the order they are given: the join keys, then the features.

An entity is key=value,key=value. What stands after = is the value, also nothing (the empty text);
`null` alone is null. Values with commas, quotes or the text null go between double quotes, where \"\"
stands for one: 'name=\"Smith, Ann\"'. Times are RFC 3339 or whole microseconds, dates are ISO, binary
values base64, lists and the like JSON. Fields of the request stand among the keys, or in --request for
all entities. Views without entities need none: without --entity there is one row.

--status adds <view>__status (PRESENT, NULL_VALUE, OUTSIDE_MAX_AGE, NOT_FOUND, ERROR) and
<view>__event_timestamp behind the features. Without it a row that cannot be read ends the command.

Examples:
  provender online --service departure_delay --entity origin=JFK,dest=LAX,tailnum=N14228
  provender online --features airport_facts:alt,route_delay --entity origin=JFK,dest=LAX --status
  provender online --service runway_wind --entity origin=JFK --entity origin=LGA --request runway_heading=220
  provender online --service departure_delay --entities keys.csv --out answers.parquet")]
pub(crate) struct OnlineArgs {
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
    #[command(flatten)]
    pub(crate) entities: Entities,
    /// Fields of the request, for all entities
    #[arg(long, value_name = "FIELD=VALUE,...")]
    pub(crate) request: Vec<String>,
    /// Tells of each view's value whether and from when it is
    #[arg(long)]
    pub(crate) status: bool,
    /// Names feature columns view__feature
    #[arg(long)]
    pub(crate) full_feature_names: bool,
    /// Where the rows go: .parquet, .csv, .arrow, .json or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

// As of `Views`: no doc comment.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Entities {
    /// One entity; repeat it for more
    #[arg(long = "entity", value_name = "KEY=VALUE,...")]
    pub(crate) typed: Vec<String>,
    /// A file with one entity per row and no other columns; - is stdin
    #[arg(long = "entities", value_name = "FILE", conflicts_with = "typed")]
    pub(crate) file: Option<PathBuf>,
    /// The file's format [default: by its extension; of stdin, by its first bytes]
    #[arg(long, value_enum, value_name = "FORMAT", requires = "file")]
    pub(crate) format: Option<InputFormat>,
}

/// Which of the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stores {
    /// The latest values
    Online,
    /// The history
    Offline,
    /// Both, the offline store first
    Both,
}

/// `push`
#[derive(Debug, Args)]
#[command(after_help = "\
The file has the view's join keys and all its features by their names, and the times by the source's
names for them. In CSV and JSON lines values are read as what the definitions say they are.

Online, newer wins: a row that is older than the one held changes nothing. With --id a push that is
repeated, after a failure or by mistake, counts once offline.

Examples:
  provender push airport_weather readings.jsonl --to both --id readings-2014-01-01T05
  curl -s https://example.org/readings.csv | provender push airport_weather - --to online")]
pub(crate) struct PushArgs {
    /// The feature view; VIEW@2 is a version
    #[arg(value_name = "VIEW[@VERSION]")]
    pub(crate) view: String,
    /// Parquet, CSV, Arrow IPC or JSON lines; - is stdin
    pub(crate) file: PathBuf,
    /// Where the rows go
    #[arg(long, value_enum)]
    pub(crate) to: Stores,
    /// The push's name; pushes of one name count once
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// The file's format [default: by its extension; of stdin, by its first bytes]
    #[arg(long, value_enum)]
    pub(crate) format: Option<InputFormat>,
}

/// `delete`
#[derive(Debug, Args)]
#[command(after_help = "\
Erases all rows of some keys for good: offline from the table of the view's source, online from every
version of the view and of every other view over the same table and key columns. What may still hold
rows of the keys is told. It asks first; without a terminal --yes is needed.

Entities are written as for `provender online`. With the source's timestamp among them and --from online,
rows that are newer than an entity's time stay.

Examples:
  provender delete customer --entities forget.csv
  provender delete customer --entity customer_id=1207 --from online --yes")]
pub(crate) struct DeleteArgs {
    /// The feature view
    pub(crate) view: String,
    #[command(flatten)]
    pub(crate) entities: Entities,
    /// Where the keys are erased
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) from: Stores,
    /// Does not ask before it erases
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `verify`
#[derive(Debug, Args)]
#[command(after_help = "\
What is held online must be what the offline store says as of the end of the last materialisation. Rows
that were pushed since (newer) and rows that a store has dropped for their age (expired) are counted
apart. Exits with 1 if anything else differs.

Examples:
  provender verify
  provender verify --views airport_weather --full --output json")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) views: Views,
    /// How many keys of each view are compared
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) sample: usize,
    /// Compares every key
    #[arg(long, conflicts_with = "sample")]
    pub(crate) full: bool,
    /// Chooses the sample; the same number chooses the same keys [default: other keys each time]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How many differences of each view are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: usize,
}
