//! The one place that turns what people write (paths, URLs, table names) into where files lie.
//!
//! Only folders of this machine for now; object stores will enter here and nowhere else.

use std::path::{Path, PathBuf};

use provender_core::{Error, Result, codes};
use url::Url;

/// The folder that a configuration names.
///
/// # Errors
/// `P203` for a URL of another kind than `file://`.
pub(crate) fn configured(block: &str, base: &Path, text: &str) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(Error::new(
            &codes::BAD_CONFIG,
            format!("{block} has an empty location"),
        ));
    }
    let path = match local_url(text) {
        Some(Ok(path)) => path,
        Some(Err(scheme)) => {
            return Err(Error::new(
                &codes::BAD_CONFIG,
                format!("{block} has a location of the unsupported kind {scheme}://"),
            )
            .help("name a folder of this machine"));
        }
        None => base.join(text),
    };
    absolute(&path)
}

/// Whether a table's name says itself where the table lies.
pub(crate) fn is_place(name: &str) -> bool {
    name.contains("://")
        || name.starts_with("./")
        || name.starts_with("../")
        || Path::new(name).is_absolute()
}

/// Where a table of this name lies: in the store's folder, or where the name says. A relative place
/// starts at the configuration file.
///
/// # Errors
/// `P507` for a URL of another kind than `file://`, and for an empty name.
pub(crate) fn of_table(base: &Path, location: &Path, name: &str) -> Result<PathBuf> {
    if name.is_empty() {
        return Err(Error::new(
            &codes::OFFLINE_REQUEST,
            "a table's name is empty",
        ));
    }
    let path = match local_url(name) {
        Some(Ok(path)) => path,
        Some(Err(scheme)) => {
            return Err(Error::new(
                &codes::OFFLINE_REQUEST,
                format!("table {name:?} lies in storage of the unsupported kind {scheme}://"),
            )
            .help("name a folder or file of this machine"));
        }
        None if is_place(name) => base.join(name),
        None => location.join(name),
    };
    absolute(&path)
}

/// The URL of a folder.
///
/// # Errors
/// `P999` for a path that is not absolute, which these never are.
pub(crate) fn folder_url(path: &Path) -> Result<Url> {
    Url::from_directory_path(path).map_err(|()| not_absolute(path))
}

/// The URL of a file.
///
/// # Errors
/// As [`folder_url`].
pub(crate) fn file_url(path: &Path) -> Result<Url> {
    Url::from_file_path(path).map_err(|()| not_absolute(path))
}

fn not_absolute(path: &Path) -> Error {
    Error::new(
        &codes::INTERNAL,
        format!("the path {} is not absolute", path.display()),
    )
}

/// The path of a `file://` URL, or the scheme of another; `None` for what is no URL.
fn local_url(text: &str) -> Option<Result<PathBuf, String>> {
    let (scheme, _) = text.split_once("://")?;
    let path = Url::parse(text)
        .ok()
        .filter(|url| url.scheme() == "file")
        .and_then(|url| url.to_file_path().ok());
    Some(path.ok_or_else(|| scheme.to_owned()))
}

/// An absolute path without `.` and `..`, whether or not anything lies there.
fn absolute(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(|error| {
        Error::new(
            &codes::IO,
            format!("the path {} cannot be made absolute", path.display()),
        )
        .source(error)
    })?;
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    Ok(clean)
}
