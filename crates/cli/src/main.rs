//! The `provender` command.
//!
//! Decides how the product is used from a shell: what goes to stdout and stderr, formats, exit
//! codes. What the commands mean is the store's business; this crate alone knows which providers
//! are built in.

mod args;
mod commands;
mod confirm;
mod errors;
mod input;
mod output;
mod progress;
mod project;
mod providers;
mod session;
mod times;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::errors::{DONE, Failure, USAGE, colours, report, say};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_help(&error),
    };
    log_to_stderr(&cli.command);
    // A panic is a defect of ours, told as one and not as a stack of addresses.
    std::panic::set_hook(Box::new(|panic| tracing::debug!("{panic}")));
    let verbose = cli.global.verbose;
    let outcome = std::panic::catch_unwind(|| commands::run(cli)).unwrap_or_else(|payload| {
        let what = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Failure::from(provender_core::Error::new(
            &provender_core::codes::INTERNAL,
            format!("the program met a state that should not be possible: {what}"),
        )))
    });
    let code = report(outcome, verbose);
    if provender_plugin::load::is_any_loaded() {
        // Nothing is torn down under a plug-in's threads. Stderr is not buffered.
        let _ = std::io::stdout().flush();
        provender_plugin::load::exit(code);
    }
    ExitCode::from(code)
}

/// Prints help, the version, or what is wrong with the arguments.
fn print_help(error: &clap::Error) -> ExitCode {
    let wrong = error.use_stderr();
    // Buffered bytes that do not fit are noticed no later than at the flush.
    let written = error.print().and_then(|()| std::io::stdout().flush());
    if let Err(unwritten) = written
        && unwritten.kind() != std::io::ErrorKind::BrokenPipe
    {
        say(&format!("cannot write: {unwritten}"));
        return ExitCode::from(errors::FAILED);
    }
    ExitCode::from(if wrong { USAGE } else { DONE })
}

/// What is logged unless `PROVENDER_LOG` says otherwise. Delta's own warnings repeat what fails
/// anyway, and that is told as an error.
const DEFAULT_LOG: &str = "warn,deltalake_core=error";
/// The same for a server, whose log is how it is looked after.
const SERVER_LOG: &str = "warn,provender=info,provender_server=info,deltalake_core=error";

/// Logs as `PROVENDER_LOG` and `PROVENDER_LOG_FORMAT` (`json`: one object a line) say.
fn log_to_stderr(command: &Command) {
    let default = match command {
        Command::Serve(_) => SERVER_LOG,
        _ => DEFAULT_LOG,
    };
    let filter =
        EnvFilter::try_from_env("PROVENDER_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let is_json = std::env::var("PROVENDER_LOG_FORMAT")
        .is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    let _ = if is_json {
        log.json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init()
    } else {
        log.with_ansi(colours(std::io::stderr().is_terminal()))
            .try_init()
    };
}
