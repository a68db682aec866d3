//! Reads what users write: the feature definitions and `provender.yaml`.
//!
//! This crate decides how definitions are spelled, which keys exist, what is contradictory, and how
//! a mistake is told: with file, line, column and the nearest thing that would have been right. It
//! finds as many mistakes at once as it can.
//!
//! It deliberately knows no store, so whether tables and columns exist, whether SQL parses and
//! whether `view@2` was ever applied is checked by others, who place their findings in the files
//! through [`Locations`]. It does not know the options of any provider either: it hands a
//! [`StoreBlock`] on as it is.
//!
//! Reading has three steps, each of which goes on as far as it can after a mistake: text to a tree
//! of located nodes (`yaml`), nodes to *spec* types that mirror what is written (`spec`), and specs
//! to the resolved model of `provender-core` (`lower`).

mod config;
mod fault;
mod files;
mod located;
mod locations;
mod lower;
mod node;
mod node_reader;
mod problems;
mod schema;
mod spec;
mod yaml;

use std::path::Path;

pub use config::{PluginConfig, ProjectConfig, ServerConfig, StoreBlock, load_config};
pub use locations::{Location, Locations};
use problems::Problems;
pub use provender_core::Error;
use provender_core::model::Definitions;
pub use schema::{config_schema, definitions_schema};

/// The folder below a project's own that holds the definitions.
pub const FEATURES_FOLDER: &str = "features";
/// The configuration file of a project.
pub const CONFIG_FILE: &str = "provender.yaml";

/// Checked definitions, and where each of them is written.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// What is defined.
    pub definitions: Definitions,
    /// Where.
    pub locations: Locations,
}

/// Reads and checks `features/**/*.yaml`, `*.yml` and `*.json` of a project, in the order of their
/// paths. Hidden files and folders are skipped. No folder, no files and empty files define nothing.
///
/// # Errors
/// Every mistake found in any file, ordered by place: `P101` to `P110`, and `P903` for what the
/// operating system does not let us read. The message starts with `file:line:column: `, the file
/// relative to `project_dir`.
pub fn load_definitions(project_dir: &Path) -> Result<Loaded, Vec<Error>> {
    let mut problems = Problems::default();
    let files = files::read_features(project_dir, &mut problems);
    lower::load(&files, problems)
}

/// [`load_definitions`] from memory: pairs of a file's name and its text.
///
/// # Errors
/// As [`load_definitions`].
pub fn parse_definitions(
    files: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<Loaded, Vec<Error>> {
    let files: Vec<(String, String)> = files
        .iter()
        .map(|(name, text)| (name.as_ref().to_owned(), text.as_ref().to_owned()))
        .collect();
    lower::load(&files, Problems::default())
}
