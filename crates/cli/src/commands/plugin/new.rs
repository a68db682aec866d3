//! `provender plugin new`

use std::fs;
use std::path::Path;

use provender_core::{Error, codes};

use crate::args::{Global, PluginKind, PluginNewArgs};
use crate::commands::init::{not_written, write_new};
use crate::errors::{DONE, Outcome, usage};
use crate::output;

const MANIFEST: &str = include_str!("../../templates/plugin/Cargo.toml.txt");
const LIBRARY: &str = include_str!("../../templates/plugin/lib.rs.txt");
const CONFIG: &str = include_str!("../../templates/plugin/config.rs.txt");
const ONLINE: &str = include_str!("../../templates/plugin/online.rs.txt");
const OFFLINE: &str = include_str!("../../templates/plugin/offline.rs.txt");
const REGISTRY: &str = include_str!("../../templates/plugin/registry.rs.txt");
const README: &str = include_str!("../../templates/plugin/README.md.txt");

/// The version that published crates are asked for in.
const PUBLISHED: &str = concat!(
    env!("CARGO_PKG_VERSION_MAJOR"),
    ".",
    env!("CARGO_PKG_VERSION_MINOR")
);

/// Writes a crate.
///
/// # Errors
/// Wrong usage for a name that cannot be a type's or an SDK that is none; `P205` if the folder is
/// there, `P902` where nothing can be written.
pub(crate) fn run(global: &Global, args: &PluginNewArgs) -> Outcome {
    let name = args.name.as_str();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_plain) {
        return Err(usage(
            format!("{name:?} cannot name a provider"),
            "use a-z, 0-9, - and _, with a letter first, such as acme",
        ));
    }
    let (core, plugin) = dependencies(args.sdk.as_deref())?;
    let folder = global.dir.join(format!("provender-{name}"));
    if folder.exists() {
        return Err(Error::new(
            &codes::NOT_EMPTY,
            format!("{} exists and is not overwritten", folder.display()),
        )
        .help("choose another name, or another folder with -C")
        .into());
    }
    let ident = name.replace('-', "_");
    let library = format!(
        "{}provender_{ident}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let (store, trait_name, role, block, suffix) = match args.kind {
        PluginKind::Online => (
            ONLINE,
            "OnlineStore",
            "online",
            "online_store",
            "OnlineStore",
        ),
        PluginKind::Offline => (
            OFFLINE,
            "OfflineStore",
            "offline",
            "offline_store",
            "OfflineStore",
        ),
        PluginKind::Registry => (REGISTRY, "Registry", "registry", "registry", "Registry"),
    };
    let fill = |template: &str| {
        template
            .replace("{type: {name}}", &format!("{{type: {name}}}"))
            .replace("{name}", name)
            .replace("{ident}", &ident)
            .replace("{core}", &core)
            .replace("{plugin}", &plugin)
            .replace("{library}", &library)
            .replace("{trait}", trait_name)
            .replace("{role}", role)
            .replace("{block}", block)
            .replace("{type}", &format!("{}{suffix}", camel(name)))
    };
    let files = [
        ("src/lib.rs", LIBRARY),
        ("src/config.rs", CONFIG),
        ("src/store.rs", store),
        ("README.md", README),
        // Last, so that a crate is there only when it is whole.
        ("Cargo.toml", MANIFEST),
    ];
    for (file, template) in files {
        write_new(&folder.join(file), &fill(template))?;
    }
    let ignored = folder.join(".gitignore");
    fs::write(&ignored, "/target\n").map_err(|error| not_written(&ignored, error))?;
    output::text(&format!(
        "made {}\n\nnext:\n  cd {}\n  cargo build\n  provender plugin check target/debug/{library} --first\n\n\
         then write src/store.rs until `provender plugin check target/debug/{library}` passes\n",
        folder.display(),
        folder.display()
    ))?;
    Ok(DONE)
}

/// What stands for our crates in the manifest.
fn dependencies(sdk: Option<&Path>) -> Outcome<(String, String)> {
    let Some(sdk) = sdk else {
        return Ok((
            format!("{PUBLISHED:?}"),
            format!("{{ version = {PUBLISHED:?}, default-features = false }}"),
        ));
    };
    let checkout = sdk
        .canonicalize()
        .ok()
        .filter(|sdk| sdk.join("crates/plugin/Cargo.toml").is_file());
    let Some(checkout) = checkout else {
        return Err(usage(
            format!("{} is no checkout of Provender", sdk.display()),
            "--sdk names the folder that holds crates/core and crates/plugin",
        ));
    };
    let path = |name: &str| checkout.join("crates").join(name).display().to_string();
    Ok((
        format!("{{ path = {:?} }}", path("core")),
        format!(
            "{{ path = {:?}, default-features = false }}",
            path("plugin")
        ),
    ))
}

/// `acme_fast` as `AcmeFast`.
fn camel(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (first, rest) = word.split_at(1);
            format!("{}{rest}", first.to_ascii_uppercase())
        })
        .collect()
}
