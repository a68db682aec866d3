//! `provender plugin`: what a vendor of a provider, and whoever runs one, works with. Needs no project.

mod check;
mod judge;
mod new;

use provender_definitions::CONFIG_FILE;

use crate::args::{Global, PluginCommand};
use crate::errors::{DONE, FAILED, Outcome};
use crate::output::{self, Rows};
use crate::project::Project;
use crate::providers::{Listed, all_plugins};

/// Runs one of its commands.
///
/// # Errors
/// The command's.
pub(crate) fn run(global: &Global, command: &PluginCommand) -> Outcome {
    match command {
        PluginCommand::New(args) => new::run(global, args),
        PluginCommand::Check(args) => check::run(global, args),
        PluginCommand::List => list(global),
    }
}

/// One row for each type of each plug-in, and one for each that cannot be loaded, which fails the
/// command.
fn list(global: &Global) -> Outcome {
    let project = match global.dir.join(CONFIG_FILE).is_file() {
        true => Some(Project::read(global)?),
        false => None,
    };
    let listed = all_plugins(project.as_ref().map(|project| &project.config))?;
    let mut rows = Vec::new();
    for Listed { path, plugin } in &listed {
        let path = path.display().to_string();
        match plugin {
            Err(error) => rows.push(Row {
                path,
                error: Some(error.to_string()),
                ..Row::default()
            }),
            Ok(plugin) => {
                let manifest = plugin.loaded.manifest();
                rows.extend(manifest.providers.iter().map(|provider| {
                    Row {
                        plugin: Some(manifest.name.clone()),
                        version: Some(manifest.version.clone()),
                        scheme: Some(provider.scheme.clone()),
                        roles: provider
                            .roles
                            .iter()
                            .map(|role| role.name().to_owned())
                            .collect(),
                        named_in: Some(plugin.named_in),
                        path: path.clone(),
                        error: None,
                    }
                }));
            }
        }
    }
    let all = || rows.iter();
    let batch = Rows::default()
        .text_or_null("plugin", all().map(|row| row.plugin.as_ref()))
        .text_or_null("version", all().map(|row| row.version.as_ref()))
        .text_or_null("type", all().map(|row| row.scheme.as_ref()))
        .texts("roles", all().map(|row| row.roles.clone()))
        .text_or_null("named_in", all().map(|row| row.named_in))
        .text("file", all().map(|row| &row.path))
        .text_or_null("error", all().map(|row| row.error.as_ref()));
    output::write_rows(global.output, &batch.batch()?)?;
    let well = listed.iter().all(|listed| listed.plugin.is_ok());
    Ok(if well { DONE } else { FAILED })
}

/// A type of a plug-in.
#[derive(Default)]
struct Row {
    plugin: Option<String>,
    version: Option<String>,
    scheme: Option<String>,
    roles: Vec<String>,
    named_in: Option<&'static str>,
    path: String,
    error: Option<String>,
}
