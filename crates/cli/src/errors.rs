//! How failures are shown and which exit code they give.
//!
//! Errors go to stderr: `error[CODE]: what happened`, then `help:` with what to do next; with `-v`
//! also the objects concerned and the causes underneath.

use std::io::{IsTerminal, Write};

use provender_core::{Error, codes};

/// The work is done.
pub(crate) const DONE: u8 = 0;
/// The work failed.
pub(crate) const FAILED: u8 = 1;
/// The command was used wrongly.
pub(crate) const USAGE: u8 = 2;
/// `plan --detailed-exitcode` found changes.
pub(crate) const CHANGES: u8 = 3;
/// Ctrl-C, as shells count it: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;
/// The reader of stdout went away, as shells count it: 128 + SIGPIPE.
const BROKEN_PIPE: u8 = 141;

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Errors to show.
    Errors(Vec<Error>),
    /// The command line asks for something that does not exist or contradicts itself.
    Usage(Error),
    /// Whoever read stdout has enough; nothing to say about it.
    BrokenPipe,
    /// The user (or the system) asked to stop.
    Interrupted,
}

/// A command's exit code, or why there is none.
pub(crate) type Outcome<T = u8> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Errors(vec![error])
    }
}

impl From<Vec<Error>> for Failure {
    fn from(errors: Vec<Error>) -> Self {
        Self::Errors(errors)
    }
}

/// A mistake in the command line that its parser cannot see.
pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Failure {
    Failure::Usage(Error::new(&codes::BAD_REQUEST, message).help(help))
}

/// Shows what went wrong, if anything, and gives the exit code.
pub(crate) fn report(outcome: Outcome, verbose: bool) -> u8 {
    match outcome {
        Ok(code) => code,
        Err(Failure::BrokenPipe) => BROKEN_PIPE,
        Err(Failure::Interrupted) => {
            say("interrupted");
            INTERRUPTED
        }
        Err(Failure::Usage(error)) => {
            show(&[error], verbose);
            USAGE
        }
        Err(Failure::Errors(errors)) => {
            show(&errors, verbose);
            FAILED
        }
    }
}

/// Writes a line to stderr; if even that fails there is nobody left to tell.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Whether escapes for colours may be written to a stream: on terminals, unless `NO_COLOR` is set.
pub(crate) fn colours(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn show(errors: &[Error], verbose: bool) {
    let colours = colours(std::io::stderr().is_terminal());
    let mut text = String::new();
    for error in errors {
        render(&mut text, error, verbose, colours);
    }
    if errors.len() > 1 {
        text.push_str(&format!("{} errors\n", errors.len()));
    }
    if !verbose && errors.iter().any(|error| !error.causes().is_empty()) {
        text.push_str("(-v shows the cause)\n");
    }
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Adds an error as it is shown to people.
pub(crate) fn render(text: &mut String, error: &Error, verbose: bool, colours: bool) {
    let (red, cyan, reset) = if colours {
        ("\u{1b}[1;31m", "\u{1b}[1;36m", "\u{1b}[0m")
    } else {
        ("", "", "")
    };
    text.push_str(&format!(
        "{red}error[{}]{reset}: {}\n",
        error.code(),
        error.message()
    ));
    for line in error.help_text().unwrap_or_default().lines() {
        text.push_str(&format!("  {cyan}help{reset}: {line}\n"));
    }
    if verbose {
        for (key, value) in error.context_pairs() {
            text.push_str(&format!("  {key}: {value}\n"));
        }
        for cause in error.causes() {
            text.push_str(&format!("  caused by: {cause}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn errors_show_code_message_and_help_and_causes_only_when_verbose() {
        let error = Error::new(&codes::BAD_NAME, "a view cannot be named \"1a\"")
            .help("use another name")
            .context("view", "1a")
            .source(std::io::Error::other("underneath"));
        let mut quiet = String::new();
        render(&mut quiet, &error, false, false);
        assert_eq!(
            quiet,
            "error[P104]: a view cannot be named \"1a\"\n  help: use another name\n"
        );
        let mut verbose = String::new();
        render(&mut verbose, &error, true, false);
        assert!(
            verbose.ends_with("  view: 1a\n  caused by: underneath\n"),
            "{verbose}"
        );
    }
}
