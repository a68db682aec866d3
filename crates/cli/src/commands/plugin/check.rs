//! `provender plugin check`

use std::fmt::Write as _;
use std::time::Duration;

use provender_core::provider::{Factory, ProviderConfig, ProviderInfo, Resources};
use provender_core::{Context, Error, Result, codes};
use provender_plugin::abi::ABI_VERSION;
use provender_plugin::load::{Loaded, Pinned, load, sha256};
use provender_plugin::{ManifestProvider, Role};
use serde_json::{Map, Value};

use super::judge::{Outcome as RuleOutcome, judge};
use crate::args::{Global, OutputFormat, PluginCheckArgs};
use crate::errors::{DONE, FAILED, Outcome, usage};
use crate::output::{self, Rows};

/// How long opening a provider, and its own check, may take.
const OPENING: Duration = Duration::from_secs(30);

/// Loads a plug-in, tells what it declares and judges it; the exit code is the verdict.
///
/// # Errors
/// `P804` and `P802` for a library that cannot be loaded or declares nonsense, and wrong usage for
/// options that are no JSON object or a type that it does not have.
pub(crate) fn run(global: &Global, args: &PluginCheckArgs) -> Outcome {
    let options = match serde_json::from_str::<Value>(&args.options) {
        Ok(Value::Object(options)) => options,
        Ok(_) => {
            return Err(usage(
                "--options is no JSON object",
                "such as '{\"address\": \"a:1\"}'",
            ));
        }
        Err(error) => {
            return Err(usage(
                format!("--options is no JSON: {error}"),
                "such as '{\"address\": \"a:1\"}'",
            ));
        }
    };
    let loaded = load(&Pinned {
        path: args.file.clone(),
        sha256: args.sha256.clone(),
    })?;
    let factories = chosen(loaded, args.scheme.as_deref())?;
    let is_text = matches!(global.output, None | Some(OutputFormat::Table));
    if is_text {
        output::text(&declared(loaded, args)?)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(&codes::IO, "the threads of the program cannot be started").source(error)
        })?;
    let mut outcomes = Vec::new();
    for (factory, provider) in &factories {
        for &role in &provider.roles {
            let opened = runtime.block_on(opens(factory, role, &options));
            if is_text {
                output::text(&introduced(role, &opened))?;
            }
            let is_open = opened.is_ok();
            let mut found = vec![RuleOutcome {
                role,
                rule: "opens".to_owned(),
                broken: opened.err().map(|error| told(&error)),
            }];
            if is_open && !args.first {
                found.extend(
                    runtime.block_on(judge(factory, role, &options, args.quick, &args.rule)),
                );
            }
            if is_text {
                output::text(&judged(&found))?;
            }
            outcomes.extend(found);
        }
    }
    runtime.shutdown_timeout(Duration::from_millis(500));
    if loaded.n_misused() > 0 {
        outcomes.push(RuleOutcome {
            role: factories[0].1.roles[0],
            rule: "completes_each_call_once".to_owned(),
            broken: Some(format!(
                "{} completions were for calls that were over",
                loaded.n_misused()
            )),
        });
    }
    let n_broken = outcomes
        .iter()
        .filter(|outcome| outcome.broken.is_some())
        .count();
    if is_text {
        let verdict = if n_broken == 0 { "passes" } else { "FAILS" };
        let n_kept = outcomes.len() - n_broken;
        output::text(&format!("{verdict}: {n_kept} kept, {n_broken} broken\n"))?;
    } else {
        let all = || outcomes.iter();
        let rows = Rows::default()
            .text("role", all().map(|outcome| outcome.role.name()))
            .text("rule", all().map(|outcome| &outcome.rule))
            .bools("kept", all().map(|outcome| outcome.broken.is_none()))
            .text_or_null("why", all().map(|outcome| outcome.broken.as_ref()));
        output::write_rows(global.output, &rows.batch()?)?;
    }
    Ok(if n_broken == 0 { DONE } else { FAILED })
}

/// The factories to judge, with what the library declares of them.
fn chosen(
    loaded: &'static Loaded,
    scheme: Option<&str>,
) -> Outcome<Vec<(Factory, &'static ManifestProvider)>> {
    let providers = &loaded.manifest().providers;
    let all = loaded.factories()?.into_iter().zip(providers);
    let chosen: Vec<_> = all
        .filter(|(factory, _)| scheme.is_none_or(|scheme| factory.scheme() == scheme))
        .collect();
    match scheme {
        Some(scheme) if chosen.is_empty() => {
            let known = providers.iter().map(|provider| provider.scheme.as_str());
            Err(usage(
                format!("the plug-in has no type {scheme:?}"),
                provender_core::names::did_you_mean(scheme, known),
            ))
        }
        None if chosen.is_empty() => Err(Error::new(
            &codes::PLUGIN_REFUSED,
            format!("the plug-in {} declares no provider", loaded.origin()),
        )
        .into()),
        _ => Ok(chosen),
    }
}

/// Who opened, its capabilities, and what its own check says.
struct Opened {
    info: ProviderInfo,
    capabilities: Vec<(String, Value)>,
    notes: Vec<String>,
}

async fn opens(factory: &Factory, role: Role, options: &Map<String, Value>) -> Result<Opened> {
    let cx = Context::new("conformance").with_timeout(OPENING);
    let config = config(factory, role, options);
    Ok(match role {
        Role::OfflineStore => {
            let store = factory.open_offline(&cx, config).await?;
            Opened {
                info: store.info(),
                capabilities: listed(&store.capabilities()),
                notes: store.check(&cx).await?,
            }
        }
        Role::OnlineStore => {
            let store = factory.open_online(&cx, config).await?;
            Opened {
                info: store.info(),
                capabilities: listed(&store.capabilities()),
                notes: store.check(&cx).await?,
            }
        }
        Role::Registry => {
            let registry = factory.open_registry(&cx, config).await?;
            Opened {
                info: registry.info(),
                capabilities: Vec::new(),
                notes: registry.check(&cx).await?,
            }
        }
    })
}

/// What a provider is opened with to be judged.
pub(super) fn config(
    factory: &Factory,
    role: Role,
    options: &Map<String, Value>,
) -> ProviderConfig {
    ProviderConfig {
        scheme: factory.scheme().to_owned(),
        block: role.name().to_owned(),
        options: options.clone(),
        base_path: std::env::current_dir().unwrap_or_else(|_| ".".into()),
        resources: Resources::default(),
    }
}

fn listed<T: serde::Serialize>(capabilities: &T) -> Vec<(String, Value)> {
    match serde_json::to_value(capabilities) {
        Ok(Value::Object(capabilities)) => capabilities.into_iter().collect(),
        _ => Vec::new(),
    }
}

fn declared(loaded: &Loaded, args: &PluginCheckArgs) -> Outcome<String> {
    let manifest = loaded.manifest();
    let mut text = format!(
        "plug-in {} {}\n  file       {}\n  sha256     {}\n  interface  version {ABI_VERSION}\n",
        manifest.name,
        manifest.version,
        loaded.origin(),
        sha256(&args.file)?
    );
    for provider in &manifest.providers {
        let roles: Vec<&str> = provider.roles.iter().map(|role| role.name()).collect();
        let _ = writeln!(
            text,
            "  type       {}: {} ({})",
            provider.scheme,
            roles.join(", "),
            provider.description
        );
        for option in options_of(&provider.options_schema) {
            let _ = writeln!(text, "    option   {option}");
        }
    }
    for scheme in loaded.open_schemas() {
        let _ = writeln!(
            text,
            "  note       the schema of type {scheme} lets unknown options through, so slips go unnoticed; \
             say \"additionalProperties\": false"
        );
    }
    Ok(text)
}

/// The options of a schema, one line each.
fn options_of(schema: &Value) -> Vec<String> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(properties) = schema["properties"].as_object() else {
        return Vec::new();
    };
    let line = |(name, about): (&String, &Value)| {
        let mut line = name.clone();
        match &about["type"] {
            Value::String(kind) => line.push_str(&format!(": {kind}")),
            Value::Array(kinds) => {
                let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
                line.push_str(&format!(": {}", kinds.join(" or ")));
            }
            _ => {}
        }
        if required.contains(&name.as_str()) {
            line.push_str(", required");
        }
        if let Some(default) = about.get("default") {
            line.push_str(&format!(", default {default}"));
        }
        if let Some(about) = about["description"].as_str() {
            line.push_str(&format!(" ({about})"));
        }
        line
    };
    properties.iter().map(line).collect()
}

fn introduced(role: Role, opened: &Result<Opened>) -> String {
    let mut text = format!("{}\n", role.name());
    if let Ok(opened) = opened {
        let info = &opened.info;
        let _ = writeln!(
            text,
            "  is         {}, version {}",
            info.display_name, info.version
        );
        let of = |wanted: bool| {
            let all = opened.capabilities.iter();
            let named = all.filter(|(_, value)| value.as_bool() == Some(wanted));
            let names: Vec<&str> = named.map(|(name, _)| name.as_str()).collect();
            if names.is_empty() {
                "nothing".to_owned()
            } else {
                names.join(", ")
            }
        };
        if !opened.capabilities.is_empty() {
            let _ = writeln!(text, "  declares   {}", of(true));
            let _ = writeln!(text, "  does not   {}", of(false));
        }
        for note in &opened.notes {
            let _ = writeln!(text, "  says       {note}");
        }
    }
    text
}

fn judged(outcomes: &[RuleOutcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        match &outcome.broken {
            None => {
                let _ = writeln!(text, "  kept       {}", outcome.rule);
            }
            Some(why) => {
                let _ = writeln!(text, "  BROKEN     {}", outcome.rule);
                for line in why.lines() {
                    let _ = writeln!(text, "             {line}");
                }
            }
        }
    }
    text
}

fn told(error: &Error) -> String {
    let help = error.help_text().map(|help| format!("\n{help}"));
    format!(
        "[{}] {}{}",
        error.code(),
        error.message(),
        help.unwrap_or_default()
    )
}
