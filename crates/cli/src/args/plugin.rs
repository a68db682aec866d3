//! What can be typed about plug-ins.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `plugin`
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Writes a crate for a new plug-in, which builds and answers
    New(PluginNewArgs),
    /// Loads a plug-in, shows what it declares, and judges it by the rules for its kinds
    Check(PluginCheckArgs),
    /// Lists the plug-ins of the project and of PROVENDER_PLUGIN_PATH
    List,
}

/// What a plug-in's provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PluginKind {
    /// An online store: the latest row of each key
    Online,
    /// An offline store: history in tables
    Offline,
    /// A registry: applied definitions
    Registry,
}

/// `plugin new`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  provender plugin new acme --kind online
  provender plugin new acme --kind offline --sdk ~/src/provender
  cd provender-acme && cargo build && provender plugin check target/debug/libprovender_acme.so --first")]
pub(crate) struct PluginNewArgs {
    /// The provider's name, which becomes its `type:`; the folder is provender-NAME
    pub(crate) name: String,
    /// What it is
    #[arg(long, value_enum)]
    pub(crate) kind: PluginKind,
    /// A checkout of Provender whose crates are used, instead of the published ones
    #[arg(long, value_name = "DIR")]
    pub(crate) sdk: Option<PathBuf>,
}

/// `plugin check`
#[derive(Debug, Args)]
#[command(after_help = "\
The rules write: online they clean up after themselves, to a registry or an offline store give a database
or folder of its own. Exits with 0 if every rule holds, with 1 if one is broken.

Examples:
  provender plugin check target/debug/libprovender_acme.so
  provender plugin check ./libprovender_acme.so --options '{\"address\": \"127.0.0.1:7000\"}'
  provender plugin check ./libprovender_acme.so --first          # loads, opens, and asks who is there
  provender plugin check ./libprovender_acme.so --rule tombstones --output json")]
pub(crate) struct PluginCheckArgs {
    /// The shared library
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The options that its providers are opened with, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) options: String,
    /// The SHA-256 that the file must have
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// Only this one of its types
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) scheme: Option<String>,
    /// Only loads it, opens its providers, and makes each one's own check
    #[arg(long, conflicts_with_all = ["rule", "quick"])]
    pub(crate) first: bool,
    /// Fewer random cases and smaller writes
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only rules with this in their name (repeatable)
    #[arg(long, value_name = "TEXT")]
    pub(crate) rule: Vec<String>,
}
