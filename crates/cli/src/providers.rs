//! The providers that `type:` can name: the one list of those that this program brings along, and
//! those of plug-ins, which are loaded when a project opens.
//!
//! Decides which files are loaded and that a type means one provider. It does not know how a library
//! is called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use provender_core::provider::Providers;
use provender_core::{Error, Result, codes};
use provender_definitions::ProjectConfig;
use provender_plugin::load::{Loaded, Pinned, load};

/// Names files and folders whose plug-ins are found without being named in `provender.yaml`.
pub(crate) const PLUGIN_PATH: &str = "PROVENDER_PLUGIN_PATH";

/// Every provider that this program brings along.
pub(crate) fn built_in() -> Providers {
    let mut providers = Providers::default();
    providers.register(provender_providers_registry::sqlite_factory());
    providers.register(provender_providers_registry::postgres_factory());
    providers.register(provender_providers_delta::factory());
    providers.register(provender_providers_delta::databricks::factory());
    providers.register(provender_providers_snowflake::factory());
    providers.register(provender_providers_local::factory());
    providers.register(provender_providers_redis::factory());
    providers
}

/// All providers of a project.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// By type.
    pub(crate) providers: Providers,
    /// The plug-ins among them.
    pub(crate) plugins: Vec<Plugin>,
}

/// A plug-in that was loaded.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    /// The library.
    pub(crate) loaded: &'static Loaded,
    /// Where it was named: `plugins` or `PROVENDER_PLUGIN_PATH`.
    pub(crate) named_in: &'static str,
    /// Whether its content is pinned.
    pub(crate) is_pinned: bool,
}

/// The built-in providers, those of the project's plug-ins, and, if a block of the project names a
/// type that is among neither, those of the plug-ins of `PROVENDER_PLUGIN_PATH`.
///
/// # Errors
/// `FailedPrecondition` (`P804`) for a plug-in that cannot be loaded, and for a type that is declared
/// twice or built in.
pub(crate) fn of_project(config: &ProjectConfig) -> Result<Known> {
    let mut known = Known {
        providers: built_in(),
        plugins: Vec::new(),
    };
    let mut owners = BTreeMap::new();
    known.load(named_by(config), "plugins", &mut owners)?;
    if schemes(config).any(|scheme| known.providers.get(scheme).is_none()) {
        known.load(on_path()?, PLUGIN_PATH, &mut owners)?;
    }
    Ok(known)
}

/// Every plug-in that a project, if there is one, and `PROVENDER_PLUGIN_PATH` name, each loaded or with
/// the reason why it is not.
pub(crate) fn all_plugins(config: Option<&ProjectConfig>) -> Result<Vec<Listed>> {
    let named = config.map(named_by).unwrap_or_default();
    let named = named.into_iter().map(|pinned| (pinned, "plugins"));
    let found = on_path()?.into_iter().map(|pinned| (pinned, PLUGIN_PATH));
    let mut listed: Vec<Listed> = Vec::new();
    for (pinned, named_in) in named.chain(found) {
        let path = absolute(&pinned.path);
        if listed.iter().any(|other| other.path == path) {
            continue;
        }
        let plugin = load(&pinned).and_then(|loaded| {
            loaded.factories()?;
            Ok(Plugin {
                loaded,
                named_in,
                is_pinned: pinned.sha256.is_some(),
            })
        });
        listed.push(Listed { path, plugin });
    }
    Ok(listed)
}

/// A plug-in's file, and what came of it.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The file.
    pub(crate) path: PathBuf,
    /// The plug-in, or why it was not loaded.
    pub(crate) plugin: Result<Plugin>,
}

impl Known {
    fn load(
        &mut self,
        files: Vec<Pinned>,
        named_in: &'static str,
        owners: &mut BTreeMap<String, String>,
    ) -> Result<()> {
        for pinned in files {
            let path = absolute(&pinned.path);
            let is_loaded = |plugin: &Plugin| Path::new(plugin.loaded.origin()) == path;
            if self.plugins.iter().any(is_loaded) {
                continue;
            }
            let loaded = load(&pinned)?;
            for factory in loaded.factories()? {
                let scheme = factory.scheme().to_owned();
                if self.providers.get(&scheme).is_some() {
                    let owner = owners.get(&scheme);
                    return Err(clash(&scheme, loaded, owner.map(String::as_str)));
                }
                owners.insert(scheme, loaded.origin().to_owned());
                self.providers.register(factory);
            }
            self.plugins.push(Plugin {
                loaded,
                named_in,
                is_pinned: pinned.sha256.is_some(),
            });
        }
        Ok(())
    }
}

fn clash(scheme: &str, loaded: &Loaded, owner: Option<&str>) -> Error {
    let (other, help) = match owner {
        None => (
            "is built in".to_owned(),
            "a plug-in cannot take the place of a built-in provider; ask its vendor for another type",
        ),
        Some(owner) => (
            format!("the plug-in {owner} declares too"),
            "a type means one provider; leave one of the two plug-ins out",
        ),
    };
    Error::new(
        &codes::PLUGIN_REFUSED,
        format!(
            "the plug-in {} declares the type {scheme:?}, which {other}",
            loaded.origin()
        ),
    )
    .help(help)
}

fn named_by(config: &ProjectConfig) -> Vec<Pinned> {
    let plugins = config.plugins.iter();
    plugins
        .map(|plugin| Pinned {
            path: plugin.path.clone(),
            sha256: plugin.sha256.clone(),
        })
        .collect()
}

/// The types that a project's blocks name.
fn schemes(config: &ProjectConfig) -> impl Iterator<Item = &str> {
    [
        &config.offline_store,
        &config.online_store,
        &config.registry,
    ]
    .into_iter()
    .chain(config.offline_stores.values())
    .chain(config.online_stores.values())
    .map(|block| block.scheme.as_str())
}

/// The plug-ins of `PROVENDER_PLUGIN_PATH`: its files, and of its folders the files that are named like
/// one, by name.
fn on_path() -> Result<Vec<Pinned>> {
    let Some(path) = std::env::var_os(PLUGIN_PATH).filter(|path| !path.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for entry in std::env::split_paths(&path).filter(|entry| !entry.as_os_str().is_empty()) {
        if entry.is_dir() {
            let listed = std::fs::read_dir(&entry).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let listed = listed.map_err(|error| {
                let entry = entry.display();
                Error::new(
                    &codes::IO,
                    format!("the folder {entry} of {PLUGIN_PATH} cannot be listed"),
                )
                .source(error)
            })?;
            let mut found: Vec<PathBuf> = listed.iter().map(std::fs::DirEntry::path).collect();
            found.retain(|path| is_named_like_a_plugin(path));
            found.sort();
            files.extend(found);
        } else {
            files.push(entry);
        }
    }
    let pinned = files.into_iter().map(|path| Pinned { path, sha256: None });
    Ok(pinned.collect())
}

/// `libprovender_acme.so`, `libprovender_acme.dylib`, `provender_acme.dll`.
fn is_named_like_a_plugin(path: &Path) -> bool {
    use std::env::consts::{DLL_EXTENSION, DLL_PREFIX};

    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(DLL_PREFIX)
        .is_some_and(|name| name.starts_with("provender_"))
        && path
            .extension()
            .is_some_and(|extension| extension == DLL_EXTENSION)
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
