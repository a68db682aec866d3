//! The `provender` binary and a Python with foreign engines, as the tests use them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The binary that was built beside this test.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let binary = folder.join(format!("provender{}", std::env::consts::EXE_SUFFIX));
    assert!(
        binary.exists(),
        "{} is missing: `cargo build -p provender-cli` makes it",
        binary.display()
    );
    binary
}

/// Runs `provender` in a project and answers what it printed; panics with its output if it fails.
pub fn provender(project: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let output = Command::new(binary())
        .arg("-C")
        .arg(project)
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a script of `tests/python`; `None` if there is no Python environment (which CI must have).
pub fn python(script: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Option<String> {
    let venv = std::env::var("PROVENDER_VENV").unwrap_or_else(|_| ".venv".to_owned());
    let python = repository().join(venv).join("bin/python");
    if !python.exists() {
        let reason = format!(
            "skipped: there is no {}; scripts/test.sh makes it",
            python.display()
        );
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        println!("{reason}");
        return None;
    }
    let script = repository().join("tests/python").join(script);
    let output = Command::new(python)
        .arg(script)
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn both(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
