//! Which files hold definitions, and their texts.

use std::io;
use std::path::{Path, PathBuf};

use provender_core::{Error, codes};

use crate::FEATURES_FOLDER;
use crate::locations::Location;
use crate::problems::Problems;

/// Links can make a folder its own ancestor; no project nests as deep as this.
const MAX_FOLDER_DEPTH: usize = 32;

/// Names (relative to `project_dir`, with `/`) and texts of the definition files, sorted by name.
/// What cannot be read becomes a problem and is left out.
pub(crate) fn read_features(project_dir: &Path, problems: &mut Problems) -> Vec<(String, String)> {
    let root = project_dir.join(FEATURES_FOLDER);
    let mut found = Vec::new();
    match root.try_exists() {
        Ok(true) => list(&root, FEATURES_FOLDER, 0, &mut found, problems),
        Ok(false) => {}
        Err(error) => problems.nowhere(unreadable("folder", FEATURES_FOLDER, error)),
    }
    found.sort();
    let mut files = Vec::with_capacity(found.len());
    for (name, path) in found {
        if let Some(text) = read(&name, &path, problems) {
            files.push((name, text));
        }
    }
    files
}

/// The text of a file; `None`, with a problem, if it cannot be read or is not UTF-8.
pub(crate) fn read(name: &str, path: &Path, problems: &mut Problems) -> Option<String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.nowhere(unreadable("file", name, error));
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default());
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            let at = Location {
                file: name.into(),
                line: u32::try_from(line).unwrap_or(u32::MAX),
                column: u32::try_from(column).unwrap_or(u32::MAX),
            };
            problems.at(
                &at,
                Error::new(&codes::SYNTAX, format!("{name} is not UTF-8 text"))
                    .help("save the file with the encoding UTF-8"),
            );
            None
        }
    }
}

fn list(
    folder: &Path,
    name: &str,
    depth: usize,
    found: &mut Vec<(String, PathBuf)>,
    problems: &mut Problems,
) {
    if depth > MAX_FOLDER_DEPTH {
        problems.nowhere(
            Error::new(
                &codes::IO,
                format!("the folder {name} is nested too deeply"),
            )
            .help("remove the link that leads back to a folder above it"),
        );
        return;
    }
    let entries = match std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>)
    {
        Ok(entries) => entries,
        Err(error) => {
            problems.nowhere(unreadable("folder", name, error));
            return;
        }
    };
    for entry in entries {
        let file_name = entry.file_name().to_string_lossy().into_owned();
        if file_name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let name = format!("{name}/{file_name}");
        if path.is_dir() {
            list(&path, &name, depth + 1, found, problems);
        } else if path
            .extension()
            .is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json")
        {
            found.push((name, path));
        }
    }
}

fn unreadable(what: &str, name: &str, error: io::Error) -> Error {
    Error::new(
        &codes::IO,
        format!("the {what} {name} cannot be read: {error}"),
    )
    .help("check that it exists and that this user may read it")
    .context("path", name)
    .source(error)
}
