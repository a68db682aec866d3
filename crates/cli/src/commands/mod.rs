//! The commands, one file each.

mod apply;
mod completions;
mod dataset;
mod delete;
mod describe;
mod doctor;
mod explain;
mod historical;
mod history;
mod import;
mod init;
mod list;
mod materialize;
mod online;
mod plan;
mod plugin;
mod push;
mod schema;
mod serve;
mod status;
mod table;
mod training;
mod verify;

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
        Command::Dataset(command) => {
            session::run(&global, async |s| dataset::run(s, command).await)
        }
        Command::Materialize(args) => {
            session::run(&global, async |s| materialize::run(s, args).await)
        }
        Command::MaterializeIncremental(args) => session::run(&global, async |s| {
            materialize::run_incremental(s, args).await
        }),
        Command::Status => session::run(&global, async |s| status::run(s).await),
        Command::Online(args) => session::run(&global, async |s| online::run(s, args).await),
        Command::Push(args) => session::run(&global, async |s| push::run(s, args).await),
        Command::Delete(args) => session::run(&global, async |s| delete::run(s, args).await),
        Command::Verify(args) => session::run(&global, async |s| verify::run(s, args).await),
        Command::Serve(args) => session::run_service(&global, async |s| serve::run(s, args).await),
        Command::Table(command) => session::run(&global, async |s| table::run(s, command).await),
        Command::Plugin(command) => plugin::run(&global, &command),
        Command::Doctor => session::run(&global, async |s| doctor::run(s).await),
    }
}
