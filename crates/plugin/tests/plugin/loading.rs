//! Files that must not be loaded.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use provender_plugin::load::{Pinned, load};

fn refusal(path: &Path, sha256: Option<&str>) -> provender_core::Error {
    let pinned = Pinned {
        path: path.to_owned(),
        sha256: sha256.map(str::to_owned),
    };
    let error = load(&pinned).expect_err("the file must be refused");
    assert_eq!(error.code(), "P804", "{error:?}");
    error
}

fn file(folder: &Path, content: &[u8]) -> std::path::PathBuf {
    let path = folder.join("libacme.so");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    path
}

#[test]
fn missing_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(&folder.path().join("nowhere.so"), None);
    assert!(
        error.message().contains("nowhere.so cannot be read"),
        "{error}"
    );
}

#[test]
fn file_that_is_no_library_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(&file(folder.path(), b"not a library"), None);
    assert!(
        error.message().contains("is not a shared library"),
        "{error}"
    );
}

#[test]
fn file_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), b"not a library");
    for mode in [0o666, 0o664, 0o646] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = refusal(&path, None);
        assert!(
            error.message().contains("may be written by other users"),
            "{error}"
        );
        assert!(error.help_text().unwrap().contains("chmod go-w"));
    }
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    let path = file(&open, b"not a library");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = refusal(&path, None);
    assert!(error.message().contains("every user may write"), "{error}");
}

#[test]
fn file_of_another_content_than_pinned_is_refused_before_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), b"not a library");
    let error = refusal(&path, Some(&"0".repeat(64)));
    assert!(error.message().contains("is pinned"), "{error}");
    // The right one, as the message tells it, passes on to the next check.
    let right = error.message().split("sha256 ").nth(1).unwrap();
    let right = right.split(' ').next().unwrap().to_uppercase();
    assert_eq!(right.len(), 64);
    let error = refusal(&path, Some(&right));
    assert!(
        error.message().contains("is not a shared library"),
        "{error}"
    );
}

#[test]
fn library_without_the_symbol_is_refused() {
    // A library that is on every system.
    let libc = [
        "/lib/x86_64-linux-gnu/libm.so.6",
        "/lib/aarch64-linux-gnu/libm.so.6",
        "/lib64/libm.so.6",
    ];
    let path = libc.iter().map(Path::new).find(|path| path.exists());
    let error = refusal(path.expect("libm is somewhere"), None);
    assert!(
        error
            .message()
            .contains("does not export provender_plugin_init"),
        "{error}"
    );
}
