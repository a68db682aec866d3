//! The languages that clients are written in. One that is missing skips its test with a line that says
//! so, and fails it where CI is set; scripts/test.sh installs them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::product::repository;

/// The Python of the tests.
pub fn python() -> Option<PathBuf> {
    let venv = std::env::var("PROVENDER_VENV").unwrap_or_else(|_| ".venv".to_owned());
    let python = repository().join(venv).join("bin/python");
    found(python.exists(), "the Python environment of the tests").then_some(python)
}

/// The Java class path, from the file that scripts/setup.sh writes.
pub fn java() -> Option<String> {
    let file = std::env::var("PROVENDER_JAVA_CLASSPATH").unwrap_or_default();
    let classpath = std::fs::read_to_string(file).ok();
    let is_there = classpath.is_some() && works("javac", "-version");
    found(is_there, "Java with Arrow Flight")
        .then_some(classpath)
        .flatten()
}

/// Whether there is Go with Arrow's modules.
pub fn go() -> bool {
    found(works("go", "version"), "Go")
}

/// Runs a program and answers what it prints; panics with all of it if it fails.
pub fn output<'v>(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    folder: &Path,
    variables: impl IntoIterator<Item = (&'v str, &'v str)>,
) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .envs(variables)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn works(program: &str, arg: &str) -> bool {
    let output = Command::new(program).arg(arg).output();
    output.is_ok_and(|output| output.status.success())
}

fn found(is_there: bool, what: &str) -> bool {
    if !is_there {
        let reason = format!("skipped: {what} is not there; scripts/test.sh installs it");
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        println!("{reason}");
    }
    is_there
}
