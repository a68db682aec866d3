//! The commands of docs/plugins.md, as a reader would run them: from nothing to checks that pass.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::libraries::{compiled_csvdir, repository, snippet};
use crate::product::binary;

/// What a shell says in a folder, in which every command must work; `provender` is that of this build.
fn shell(folder: &Path, commands: &str) -> String {
    let cargo = std::env::var_os("CARGO").map(PathBuf::from);
    let mut path = binary().parent().unwrap().as_os_str().to_owned();
    if let Some(folder) = cargo.as_deref().and_then(Path::parent) {
        path.push(":");
        path.push(folder);
    }
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let ran = Command::new("sh")
        .args(["-ec", commands])
        .current_dir(folder)
        .env("PATH", path)
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_NET_OFFLINE", "true")
        .env("RUSTFLAGS", "-D warnings")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    let err = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{commands}\n{out}{err}");
    assert!(!out.contains("BROKEN"), "{out}");
    out
}

#[test]
fn rust_tutorial_goes_from_nothing_to_a_passing_check() {
    let folder = tempfile::tempdir().unwrap();
    symlink(repository(), folder.path().join("provender")).unwrap();
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    // The page calls what lies beside the reader's folder by its name.
    let out = shell(&work, &snippet("rust-new"));
    assert!(out.contains("made ./provender-acme"), "{out}");
    let made = work.join("provender-acme");
    // The versions that this workspace was tested with, and a folder of builds that is kept between
    // runs and shared with the tests of the command line, since Arrow takes a while to build.
    fs::copy(repository().join("Cargo.lock"), made.join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-new");
    fs::create_dir_all(&target).unwrap();
    symlink(target, made.join("target")).unwrap();
    let out = shell(&made, &snippet("rust-first"));
    assert!(out.contains("passes: 1 kept, 0 broken"), "{out}");
    let out = shell(&made, &snippet("rust-whole"));
    let kept = out.rsplit("passes: ").next().unwrap();
    let n_kept: usize = kept.split(' ').next().unwrap().parse().unwrap();
    assert!(n_kept > 30, "{out}");
    assert!(out.contains("kept       event_times_decide"), "{out}");
}

#[test]
fn c_tutorial_goes_from_nothing_to_a_passing_check() {
    let folder = tempfile::tempdir().unwrap();
    compiled_csvdir(folder.path());
    let out = shell(folder.path(), &snippet("c-check"));
    assert!(
        out.contains("kept       missing_tables_and_columns_are_told"),
        "{out}"
    );
}
