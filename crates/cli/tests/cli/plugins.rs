//! `provender plugin`, as far as it needs no library that does anything: crates that it writes, and what
//! it says of files that are none.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Folder, Ran};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

#[test]
fn new_crate_builds_and_answers_in_each_kind() {
    let folder = Folder::new();
    let sdk = repository();
    // Kept between runs, since Arrow takes a while to build.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-new");
    let kinds = [
        ("acme", "online", "OnlineStore", "online_store"),
        ("acme-2", "offline", "OfflineStore", "offline_store"),
        ("acme_three", "registry", "Registry", "registry"),
    ];
    for (name, kind, trait_name, block) in kinds {
        let crate_name = format!("provender-{name}");
        let args = [
            "plugin",
            "new",
            name,
            "--kind",
            kind,
            "--sdk",
            sdk.to_str().unwrap(),
        ];
        folder
            .run(&args)
            .exits(0)
            .says(&format!("cd ./{crate_name}"));
        let made = folder.path().join(&crate_name);
        let store = folder.read(&format!("{crate_name}/src/store.rs"));
        assert!(
            store.contains(&format!("impl {trait_name} for Acme")),
            "{store}"
        );
        let readme = folder.read(&format!("{crate_name}/README.md"));
        assert!(
            readme.contains(&format!("{block}: {{type: {name}}}")),
            "{readme}"
        );
        // The versions that this workspace was tested with.
        std::fs::copy(sdk.join("Cargo.lock"), made.join("Cargo.lock")).unwrap();
        let built = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
            .args(["build", "--offline", "--quiet"])
            .current_dir(&made)
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTFLAGS", "-D warnings")
            .output()
            .unwrap();
        let built = Ran::of(&built).exits(0);
        assert!(built.stderr.is_empty(), "{built:?}");
        let library = target.join(format!("debug/libprovender_{}.so", name.replace('-', "_")));
        let library = library.to_str().unwrap();
        folder
            .run(&["plugin", "check", library, "--first"])
            .exits(0)
            .says(&format!("type       {name}: {block}"))
            .says("option   address: string (Where the store is)")
            .says("kept       opens")
            .says("passes: 1 kept, 0 broken");
        folder
            .run(&[
                "plugin",
                "check",
                library,
                "--first",
                "--options",
                r#"{"adress": "x"}"#,
            ])
            .exits(1)
            .says(&format!(
                "{block} (type {name}) has the unknown option \"adress\""
            ))
            .says("did you mean \"address\"?");
        // What is not written yet is told rule by rule.
        folder
            .run(&["plugin", "check", library, "--quick"])
            .exits(1)
            .says("BROKEN     ")
            .says("FAILS: ");
    }
}

#[test]
fn new_crate_is_not_made_over_another_or_of_a_bad_name() {
    let folder = Folder::new();
    let args = ["plugin", "new", "acme", "--kind", "online"];
    folder.run(&args).exits(0);
    let manifest = folder.read("provender-acme/Cargo.toml");
    assert!(manifest.contains("provender-core = \"0."), "{manifest}");
    folder
        .run(&args)
        .exits(1)
        .complains("error[P205]")
        .complains("is not overwritten");
    for name in ["Acme", "7up", "a b", "../x", ""] {
        folder
            .run(&["plugin", "new", name, "--kind", "online"])
            .exits(2)
            .complains("cannot name a provider");
    }
    folder
        .run(&["plugin", "new", "other", "--kind", "online", "--sdk", "."])
        .exits(2)
        .complains("is no checkout of Provender");
    folder.run(&["plugin", "new", "other"]).exits(2);
    assert_eq!(folder.entries(), ["provender-acme"]);
}

#[test]
fn file_that_is_no_plugin_is_refused_by_name() {
    let folder = Folder::new();
    folder.file("libprovender_acme.so", "not a library");
    folder
        .run(&["plugin", "check", "libprovender_acme.so"])
        .exits(1)
        .complains("error[P804]: the plug-in ")
        .complains("libprovender_acme.so is not a shared library for this system");
    folder
        .run(&["plugin", "check", "nowhere.so"])
        .exits(1)
        .complains("nowhere.so cannot be read");
    let mut command = folder.command(&["plugin", "list", "--output", "csv"]);
    let listed = command
        .env("PROVENDER_PLUGIN_PATH", folder.path())
        .output()
        .unwrap();
    Ran::of(&listed).exits(1).says("is not a shared library");
}
