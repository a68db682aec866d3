//! `provender.yaml`: which stores a project uses, and the limits of this machine.
//!
//! Decides defaults, overlays and the reading of the environment. It does not know which providers
//! there are or what options they take: a block keeps its options as they are.

mod environment;
mod overlay;
mod spec;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use provender_core::names::{check_name, nearest};
use provender_core::provider::{ProviderConfig, Resources};
use provender_core::size::parse_size;
use provender_core::{Error, codes};
use serde_json::{Map, Value as Json};
pub(crate) use spec::ConfigSpec;
use spec::{BlockSpec, PluginSpec, ServerSpec};

use crate::located::{Attempt, Located};
use crate::locations::Location;
use crate::node::{Node, Value};
use crate::problems::Problems;
use crate::{CONFIG_FILE, files, node_reader, yaml};

const DEFAULT_FLIGHT: &str = "127.0.0.1:8815";

/// The configuration of a project, defaults filled in.
#[derive(Clone, Debug)]
pub struct ProjectConfig {
    /// The project's name.
    pub project: String,
    /// The project's folder, absolute: what relative paths start at.
    pub base_path: PathBuf,
    /// The offline store of sources that name none.
    pub offline_store: StoreBlock,
    /// Further offline stores by name.
    pub offline_stores: BTreeMap<String, StoreBlock>,
    /// The online store of views that name none.
    pub online_store: StoreBlock,
    /// Further online stores by name.
    pub online_stores: BTreeMap<String, StoreBlock>,
    /// Where applied definitions are kept.
    pub registry: StoreBlock,
    /// Plugins to load.
    pub plugins: Vec<PluginConfig>,
    /// The server.
    pub server: ServerConfig,
    /// Limits on this machine.
    pub limits: Resources,
}

/// A provider's type and options. `Debug` shows no option's value, since it may be a secret.
#[derive(Clone, PartialEq)]
pub struct StoreBlock {
    /// The provider's type, such as `delta`.
    pub scheme: String,
    /// All other keys of the block.
    pub options: Map<String, Json>,
}

impl fmt::Debug for StoreBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBlock")
            .field("scheme", &self.scheme)
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl StoreBlock {
    fn new(scheme: &str, options: &[(&str, &str)]) -> Self {
        Self {
            scheme: scheme.to_owned(),
            options: options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Json::from(*value)))
                .collect(),
        }
    }

    /// What a provider is opened with. `block_name` is the block's name in the configuration, such
    /// as `offline_store` or `offline_stores.archive`, for messages.
    pub fn provider_config(&self, block_name: &str, config: &ProjectConfig) -> ProviderConfig {
        ProviderConfig {
            scheme: self.scheme.clone(),
            block: block_name.to_owned(),
            options: self.options.clone(),
            base_path: config.base_path.clone(),
            resources: config.limits.clone(),
        }
    }
}

/// A plugin to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig {
    /// The shared library, absolute.
    pub path: PathBuf,
    /// The SHA-256 of the file, in lower-case hexadecimal digits, that it must have.
    pub sha256: Option<String>,
}

/// The server's addresses and guards. `Debug` shows no values of `tls` and `tokens`.
#[derive(Clone, PartialEq)]
pub struct ServerConfig {
    /// Host and port of Arrow Flight.
    pub flight: String,
    /// Host and port of the metrics; `None` serves none.
    pub metrics: Option<String>,
    /// Certificates, as written; `None` is plain text.
    pub tls: Option<Map<String, Json>>,
    /// Who may call, as written.
    pub tokens: Option<Json>,
    /// Whether callers without a token are let in; `None` is not said.
    pub allow_unauthenticated: Option<bool>,
    /// Calls at work at once; `None` is the server's default, as for all limits below.
    pub max_calls: Option<usize>,
    /// Historical calls and materialisations at work at once.
    pub max_background_calls: Option<usize>,
    /// Threads for historical work and materialisation.
    pub background_threads: Option<usize>,
    /// Bytes of a message that is sent.
    pub max_message_bytes: Option<usize>,
    /// Bytes of messages that calls hold at once.
    pub max_bytes: Option<usize>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            flight: DEFAULT_FLIGHT.to_owned(),
            metrics: None,
            tls: None,
            tokens: None,
            allow_unauthenticated: None,
            max_calls: None,
            max_background_calls: None,
            background_threads: None,
            max_message_bytes: None,
            max_bytes: None,
        }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("flight", &self.flight)
            .field("metrics", &self.metrics)
            .field("tls", &self.tls.is_some())
            .field("tokens", &self.tokens.is_some())
            .field("allow_unauthenticated", &self.allow_unauthenticated)
            .finish_non_exhaustive()
    }
}

/// Reads `provender.yaml` of a project and, if `env` is given, the overlay `provender.<env>.yaml`;
/// then replaces `${NAME}` and `${NAME:-default}` in texts by what `variables` knows (`$${` stays
/// `${`).
///
/// Mappings of the overlay are merged key by key, anything else replaces; a block whose `type`
/// differs replaces the whole block.
///
/// # Errors
/// Every mistake found: `P201` without `provender.yaml`, `P202` for variables that are not set,
/// `P101` to `P103` for the files' form, `P203` for values that make no sense, `P104` for bad names.
pub fn load_config(
    project_dir: &Path,
    env: Option<&str>,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<ProjectConfig, Vec<Error>> {
    let mut problems = Problems::default();
    let config = read_config(project_dir, env, variables, &mut problems);
    match config {
        Some(config) => problems.or_errors(config),
        None => Err(problems.or_errors(()).err().unwrap_or_default()),
    }
}

fn read_config(
    project_dir: &Path,
    env: Option<&str>,
    variables: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) -> Option<ProjectConfig> {
    let path = project_dir.join(CONFIG_FILE);
    if !path.is_file() {
        let message = format!("no {CONFIG_FILE} in {}", project_dir.display());
        let help = "`provender init` makes a project here; -C DIR names another folder";
        problems.nowhere(Error::new(&codes::NO_PROJECT, message).help(help));
        return None;
    }
    let base_path = match std::path::absolute(project_dir) {
        Ok(base_path) => base_path,
        Err(error) => {
            let message = format!("the folder {} cannot be found", project_dir.display());
            problems.nowhere(Error::new(&codes::IO, message).source(error));
            return None;
        }
    };
    let mut tree = read_tree(CONFIG_FILE, &path, problems);
    if let Some(env) = env {
        let overlay = read_overlay(project_dir, env, problems);
        tree = match (tree, overlay) {
            (Some(base), Some(overlay)) => Some(overlay::merge(base, overlay, variables)),
            _ => None,
        };
    }
    let mut tree = tree?;
    let before = problems.len();
    environment::expand(&mut tree, variables, problems);
    if problems.len() > before {
        // What a missing variable stands for cannot be judged.
        return None;
    }
    if let Value::Null = tree.value {
        tree.value = Value::Map(Vec::new());
    }
    drop_empty(&mut tree);
    let spec = match node_reader::read::<ConfigSpec>(&tree) {
        Ok(spec) => spec,
        Err(faults) => {
            for fault in faults {
                let at = fault.at.clone().unwrap_or_else(|| tree.at.clone());
                if let Some(error) = fault.into_error("the configuration") {
                    problems.at(&at, error);
                }
            }
            return None;
        }
    };
    let mut lowering = Lowering {
        base_path,
        problems,
    };
    Some(lowering.config(&spec))
}

/// A key without a value is as good as no key: `plugins:` with its list commented out.
fn drop_empty(tree: &mut Node) {
    if let Value::Map(entries) = &mut tree.value {
        entries.retain(|(_, value)| !matches!(value.value, Value::Null));
    }
}

fn read_tree(name: &str, path: &Path, problems: &mut Problems) -> Option<Node> {
    let text = files::read(name, path, problems)?;
    yaml::read(name, &text, problems)
}

fn read_overlay(project_dir: &Path, env: &str, problems: &mut Problems) -> Option<Node> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if env.is_empty() || !env.chars().all(is_plain) {
        let message = format!("{env:?} cannot name an environment");
        let help = "use letters, digits, _, - and ., for example prod";
        problems.nowhere(Error::new(&codes::BAD_CONFIG, message).help(help));
        return None;
    }
    let name = format!("provender.{env}.yaml");
    let path = project_dir.join(&name);
    if path.is_file() {
        return read_tree(&name, &path, problems);
    }
    let known = environments(project_dir);
    let help = match nearest(env, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean --env {near}?"),
        None if known.is_empty() => format!("make {name} beside {CONFIG_FILE}, or leave --env out"),
        None => format!("there are {}", known.join(", ")),
    };
    let message = format!(
        "the environment {env:?} has no file {name} in {}",
        project_dir.display()
    );
    problems.nowhere(
        Error::new(&codes::BAD_CONFIG, message)
            .help(help)
            .context("file", name),
    );
    None
}

/// The environments that have an overlay, sorted.
fn environments(project_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(project_dir).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<String> = names
        .filter_map(|name| {
            let env = name.strip_prefix("provender.")?.strip_suffix(".yaml")?;
            Some(env.to_owned())
        })
        .collect();
    found.sort();
    found
}

struct Lowering<'a> {
    base_path: PathBuf,
    problems: &'a mut Problems,
}

impl Lowering<'_> {
    fn bad(&mut self, at: &Location, message: String, help: &str) {
        let error = Error::new(&codes::BAD_CONFIG, message).help(help);
        self.problems.at(at, error);
    }

    fn config(&mut self, spec: &ConfigSpec) -> ProjectConfig {
        let project = match &spec.project {
            None => default_project(&self.base_path),
            Some(project) => {
                if let Err(error) = check_name("a project", &project.value) {
                    self.problems.at(&project.at, error);
                }
                project.value.clone()
            }
        };
        ProjectConfig {
            project,
            offline_store: self
                .block(spec.offline_store.as_ref())
                .unwrap_or_else(|| StoreBlock::new("delta", &[("location", "./data")])),
            offline_stores: self.blocks("an offline store", spec.offline_stores.as_ref()),
            online_store: self
                .block(spec.online_store.as_ref())
                .unwrap_or_else(|| StoreBlock::new("local", &[("path", ".provender/online")])),
            online_stores: self.blocks("an online store", spec.online_stores.as_ref()),
            registry: self.block(spec.registry.as_ref()).unwrap_or_else(|| {
                StoreBlock::new("sqlite", &[("path", ".provender/registry.db")])
            }),
            plugins: self.plugins(spec.plugins.as_deref().unwrap_or_default()),
            server: self.server(spec.server.as_ref()),
            limits: self.limits(spec.limits.as_ref()),
            base_path: self.base_path.clone(),
        }
    }

    fn block(&mut self, spec: Option<&BlockSpec>) -> Option<StoreBlock> {
        let spec = spec?;
        if spec.scheme.value.trim().is_empty() {
            let help = "name a provider, such as delta, local or sqlite";
            self.bad(&spec.scheme.at, "type is empty".to_owned(), help);
        }
        Some(StoreBlock {
            scheme: spec.scheme.value.clone(),
            options: spec.options.clone(),
        })
    }

    fn blocks(&mut self, what: &str, spec: Option<&spec::Blocks>) -> BTreeMap<String, StoreBlock> {
        let mut blocks: BTreeMap<String, StoreBlock> = BTreeMap::new();
        for (name, block) in spec.into_iter().flat_map(|blocks| &blocks.0) {
            if let Err(error) = check_name(what, &name.value) {
                self.problems.at(&name.at, error);
            }
            let twin = blocks
                .keys()
                .find(|known| known.eq_ignore_ascii_case(&name.value));
            if let Some(twin) = twin {
                let message = format!(
                    "the stores {twin:?} and {:?} differ only in case",
                    name.value
                );
                let error = Error::new(&codes::DUPLICATE_NAME, message);
                self.problems.at(&name.at, error.help("rename one of them"));
            }
            if let Some(block) = self.block(block.get()) {
                blocks.insert(name.value.clone(), block);
            }
        }
        blocks
    }

    fn plugins(&mut self, specs: &[Attempt<Located<PluginSpec>>]) -> Vec<PluginConfig> {
        let mut plugins = Vec::with_capacity(specs.len());
        for spec in specs.iter().filter_map(Attempt::get) {
            let (path, sha256) = match &spec.value {
                PluginSpec::Path(path) => (path.as_str(), None),
                PluginSpec::Pinned(pinned) => (pinned.path.as_str(), pinned.sha256.as_ref()),
            };
            if path.trim().is_empty() {
                let help = "name a shared library, such as ./libprovender_acme.so";
                self.bad(&spec.at, "a plugin has an empty path".to_owned(), help);
            }
            if let Some(sha256) = sha256 {
                let digits = &sha256.value;
                if digits.len() != 64 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                    let message = format!("sha256 of plugin {path} is no SHA-256");
                    let help = "write its 64 hexadecimal digits, as `sha256sum` prints them";
                    self.bad(&sha256.at, message, help);
                }
            }
            plugins.push(PluginConfig {
                path: self.base_path.join(path),
                sha256: sha256.map(|sha256| sha256.value.to_ascii_lowercase()),
            });
        }
        plugins
    }

    fn server(&mut self, spec: Option<&ServerSpec>) -> ServerConfig {
        let Some(spec) = spec else {
            return ServerConfig::default();
        };
        for (key, address) in [("flight", &spec.flight), ("metrics", &spec.metrics)] {
            let Some(address) = address else { continue };
            let port = address.value.rsplit_once(':');
            let is_address =
                port.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if !is_address {
                let message = format!("server.{key} is no host and port");
                let help = "write host:port, for example 127.0.0.1:8815";
                self.bad(&address.at, message, help);
            }
        }
        ServerConfig {
            flight: spec
                .flight
                .as_ref()
                .map_or_else(|| DEFAULT_FLIGHT.to_owned(), |flight| flight.value.clone()),
            metrics: spec.metrics.as_ref().map(|metrics| metrics.value.clone()),
            tls: spec.tls.clone(),
            tokens: spec.tokens.clone(),
            allow_unauthenticated: spec.allow_unauthenticated,
            max_calls: self.at_least_one("max_calls", spec.max_calls.as_ref()),
            max_background_calls: self
                .at_least_one("max_background_calls", spec.max_background_calls.as_ref()),
            background_threads: self
                .at_least_one("background_threads", spec.background_threads.as_ref()),
            max_message_bytes: self.size("max_message_bytes", spec.max_message_bytes.as_ref()),
            max_bytes: self.size("max_bytes", spec.max_bytes.as_ref()),
        }
    }

    fn at_least_one(&mut self, key: &str, number: Option<&Located<u64>>) -> Option<usize> {
        let number = number?;
        match usize::try_from(number.value) {
            Ok(n) if n > 0 => Some(n),
            _ => {
                let message = format!("server.{key} must be at least 1");
                self.bad(&number.at, message, "leave it out for the default");
                None
            }
        }
    }

    fn size(&mut self, key: &str, text: Option<&Located<String>>) -> Option<usize> {
        let text = text?;
        match parse_size(&text.value) {
            Ok(bytes) => usize::try_from(bytes).ok(),
            Err(why) => {
                let message = format!("server.{key} is no size: {why}");
                let help = "write a number of bytes or one with a unit, such as 4MiB";
                self.bad(&text.at, message, help);
                None
            }
        }
    }

    fn limits(&mut self, spec: Option<&spec::LimitsSpec>) -> Resources {
        let mut limits = Resources::default();
        let Some(spec) = spec else { return limits };
        if let Some(memory) = &spec.memory {
            match parse_size(&memory.value) {
                Ok(bytes) => limits.memory_limit_bytes = bytes,
                Err(why) => {
                    let message = format!("limits.memory is no size: {why}");
                    let help = "write a number of bytes or one with a unit, such as 512MiB or 2GB";
                    self.bad(&memory.at, message, help);
                }
            }
        }
        limits.spill_path = spec
            .spill_path
            .as_ref()
            .map(|path| self.base_path.join(&path.value));
        if let Some(threads) = &spec.threads {
            match usize::try_from(threads.value) {
                Ok(n_threads) if n_threads > 0 => limits.n_threads = n_threads,
                _ => self.bad(
                    &threads.at,
                    "limits.threads must be at least 1".to_owned(),
                    "leave it out to use every core",
                ),
            }
        }
        limits
    }
}

/// The folder's name, made into a valid name.
fn default_project(base_path: &Path) -> String {
    // A path that ends in `..` has no name of its own.
    let folder = base_path.file_name().map(std::ffi::OsStr::to_owned);
    let folder = folder.or_else(|| {
        let real = base_path.canonicalize().ok()?;
        real.file_name().map(std::ffi::OsStr::to_owned)
    });
    let folder = folder.unwrap_or_default();
    let mut name = String::new();
    for c in folder.to_string_lossy().chars() {
        let c = if c.is_ascii_alphanumeric() { c } else { '_' };
        if c != '_' || !name.ends_with('_') {
            name.push(c);
        }
    }
    let name = name.trim_matches('_');
    match name.chars().next() {
        None => "project".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("_{name}"),
        Some(_) => name.to_owned(),
    }
}
