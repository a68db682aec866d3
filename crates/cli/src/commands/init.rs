//! `provender init`

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use provender_core::names::check_name;
use provender_core::{Error, codes};
use provender_definitions::{CONFIG_FILE, FEATURES_FOLDER, config_schema, definitions_schema};
use serde_json::Value;

use crate::args::{Global, InitArgs};
use crate::errors::{DONE, Failure, Outcome};
use crate::output;

const CONFIG: &str = include_str!("../templates/provender.yaml");
const EXAMPLE: &str = include_str!("../templates/example.yaml");
const IGNORED: &str = include_str!("../templates/gitignore");
const SCHEMA_FOLDER: &str = ".provender/schema";
const DEFAULT_PROJECT: &str = "features";

/// Makes a project.
///
/// # Errors
/// `P205` if there is one, `P104` for a bad name, `P902` where nothing can be written.
pub(crate) fn run(global: &Global, args: &InitArgs) -> Outcome {
    let folder = match &args.folder {
        Some(folder) => global.dir.join(folder),
        None => global.dir.clone(),
    };
    let project = match &args.project {
        Some(project) => {
            check_name("a project", project).map_err(Failure::Usage)?;
            project.clone()
        }
        None => name_of(&folder),
    };
    let example = Path::new(FEATURES_FOLDER).join("example.yaml");
    for kept in [Path::new(CONFIG_FILE), &example] {
        if folder.join(kept).exists() {
            return Err(Error::new(
                &codes::NOT_EMPTY,
                format!(
                    "{} exists and is not overwritten",
                    folder.join(kept).display()
                ),
            )
            .help("choose another folder: provender init DIR")
            .into());
        }
    }
    let mut written = Vec::new();
    let mut write = |name: &Path, text: &str| -> Result<(), Error> {
        write_new(&folder.join(name), text)?;
        written.push(name.display().to_string());
        Ok(())
    };
    let schemas = Path::new(SCHEMA_FOLDER);
    write(&schemas.join("store.json"), &pretty(&config_schema()))?;
    write(
        &schemas.join("definitions.json"),
        &pretty(&definitions_schema()),
    )?;
    write(&example, EXAMPLE)?;
    // Last, so that a project is there only when it is whole.
    write(
        Path::new(CONFIG_FILE),
        &CONFIG.replace("{project}", &project),
    )?;
    if ignore(&folder.join(".gitignore"))? {
        written.push(".gitignore".to_owned());
    }
    output::text(&next_steps(global, args, &project, &written))?;
    Ok(DONE)
}

/// The folder's name as a project's.
fn name_of(folder: &Path) -> String {
    let absolute = fs::canonicalize(folder)
        .or_else(|_| std::path::absolute(folder))
        .unwrap_or_else(|_| folder.to_owned());
    let mut name = String::new();
    for c in absolute
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
        .chars()
    {
        let plain = if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        };
        if plain != '_' || !name.ends_with('_') {
            name.push(plain);
        }
    }
    let name = name.trim_matches('_');
    if name.is_empty() {
        DEFAULT_PROJECT.to_owned()
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("project_{name}")
    } else {
        name.to_owned()
    }
}

fn pretty(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// Writes a file, with the folders that it needs.
///
/// # Errors
/// `P901`, `P902`.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| not_written(path, error))?;
    }
    fs::write(path, text).map_err(|error| not_written(path, error))
}

/// Adds what the file lacks; whether it lacked anything.
fn ignore(path: &PathBuf) -> Result<bool, Error> {
    let known = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(not_written(path, error)),
    };
    if known.is_empty() {
        write_new(path, IGNORED)?;
        return Ok(true);
    }
    let missing: Vec<&str> = IGNORED
        .lines()
        .filter(|line| !line.starts_with('#') && !known.lines().any(|known| known == *line))
        .collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let end = if known.ends_with('\n') { "" } else { "\n" };
    write_new(path, &format!("{known}{end}{}\n", missing.join("\n")))?;
    Ok(true)
}

/// Why a file could not be written, for people.
pub(super) fn not_written(path: &Path, error: io::Error) -> Error {
    let (code, what) = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            (&codes::NO_SPACE, "there is no space left to write")
        }
        _ => (&codes::NOT_WRITABLE, "cannot write"),
    };
    Error::new(code, format!("{what} {}: {error}", path.display()))
        .help("choose a folder that you may write to, with space left")
        .source(error)
}

fn next_steps(global: &Global, args: &InitArgs, project: &str, written: &[String]) -> String {
    let mut text = format!("made project {project}\n");
    for name in written {
        text.push_str(&format!("  {name}\n"));
    }
    text.push_str("\nnext:\n");
    let folder = match &args.folder {
        Some(folder) => Some(global.dir.join(folder)),
        None if global.dir == Path::new(".") => None,
        None => Some(global.dir.clone()),
    };
    if let Some(folder) = folder {
        text.push_str(&format!("  cd {}\n", folder.display()));
    }
    text.push_str(
        "  provender plan     # what would be applied\n  \
         provender apply\n  \
         printf 'station_id,event_timestamp\\nnorth,2026-01-01T10:00:00Z\\n' |\n    \
         provender historical --service example --spine -\n\n\
         then write your own: features/example.yaml is commented, and\n\
         `provender import TABLE FILE` makes tables\n",
    );
    text
}
