//! Shared libraries that the tests load.

use std::path::{Path, PathBuf};
use std::process::Command;

use provender_plugin::load::{Loaded, Pinned, load};

/// The repository.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

/// A library of this workspace, which was built beside this test.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let file = format!("lib{name}{}", std::env::consts::DLL_SUFFIX);
    let path = test.parent().unwrap().join(file);
    assert!(
        path.exists(),
        "{} is missing: `cargo test --workspace` makes it",
        path.display()
    );
    path
}

/// The page that tells how plug-ins are made.
pub fn page() -> String {
    std::fs::read_to_string(repository().join("docs/plugins.md")).unwrap()
}

/// The commands of the page's snippet of a name.
pub fn snippet(name: &str) -> String {
    let page = page();
    let marker = format!("<!-- snippet: {name} -->\n```sh\n");
    let (_, rest) = page
        .split_once(&marker)
        .unwrap_or_else(|| panic!("no snippet {name:?}"));
    rest.split_once("\n```").unwrap().0.to_owned()
}

/// The plug-in in C, built by the system's compiler as the page says, in a folder of its own that looks
/// like the repository.
pub fn compiled_csvdir(folder: &Path) -> PathBuf {
    for part in ["crates", "examples"] {
        std::os::unix::fs::symlink(repository().join(part), folder.join(part)).unwrap();
    }
    let built = Command::new("sh")
        .args(["-c", &snippet("c-build")])
        .current_dir(folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{told}");
    folder.join("libcsvdir.so")
}

/// Loads a library.
pub fn loaded(path: PathBuf) -> &'static Loaded {
    load(&Pinned { path, sha256: None }).unwrap_or_else(|error| panic!("{error:?}"))
}
