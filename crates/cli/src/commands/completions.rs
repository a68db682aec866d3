//! `provender completions`

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::Cli;
use crate::errors::{DONE, Outcome};
use crate::output;

/// Prints a completion script.
///
/// # Errors
/// Only what stdout says.
pub(crate) fn run(shell: Shell) -> Outcome {
    // The generator panics where it cannot write, so it writes to memory.
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "provender", &mut script);
    output::text(&String::from_utf8_lossy(&script))?;
    Ok(DONE)
}
