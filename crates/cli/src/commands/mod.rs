//! The commands, one file each.

mod apply;
mod completions;
mod describe;
mod doctor;
mod explain;
mod historical;
mod history;
mod import;
mod init;
mod list;
mod plan;
mod schema;

use crate::args::{Cli, Command};
use crate::errors::Outcome;
use crate::session;

/// Runs what was typed.
///
/// # Errors
/// The command's.
pub(crate) fn run(cli: Cli) -> Outcome {
    let global = cli.global;
    match cli.command {
        Command::Init(args) => init::run(&global, &args),
        Command::Explain(args) => explain::run(&global, &args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions { shell } => completions::run(shell),
        Command::Plan(args) => session::run(&global, async |s| plan::run(s, &args).await),
        Command::Apply(args) => session::run(&global, async |s| apply::run(s, args).await),
        Command::History(args) => session::run(&global, async |s| history::run(s, &args).await),
        Command::List(args) => session::run(&global, async |s| list::run(s, &args).await),
        Command::Describe(args) => session::run(&global, async |s| describe::run(s, &args).await),
        Command::Import(args) => session::run(&global, async |s| import::run(s, args).await),
        Command::Historical(args) => {
            session::run(&global, async |s| historical::run(s, args).await)
        }
        Command::Doctor => session::run(&global, async |s| doctor::run(s).await),
    }
}
