//! The one place that turns what people write (paths, URLs, table names) into where files lie: in a
//! folder of this machine, or in an object store.

use std::fmt;
use std::path::{Path, PathBuf};

use object_store::path::Path as ObjectPath;
use provender_core::{Error, Result, codes};
use url::Url;

use crate::storage;

/// Where a folder or a file lies, whether or not anything is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// On this machine: an absolute path without `.` and `..`.
    Local(PathBuf),
    /// In an object store.
    Remote {
        /// The canonical URL, without a slash at its end.
        url: Url,
        /// The URL as it was written, without what could be a secret.
        shown: String,
    },
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Remote { shown, .. } => f.write_str(shown),
        }
    }
}

impl Location {
    /// What a name in this folder means.
    fn join(&self, name: &str) -> Result<Self> {
        match self {
            Self::Local(folder) => Ok(Self::Local(absolute(&folder.join(name))?)),
            Self::Remote { url, shown } => {
                let mut url = url.clone();
                if let Ok(mut segments) = url.path_segments_mut() {
                    let parts = name.split('/').filter(|part| !part.is_empty());
                    segments.pop_if_empty().extend(parts);
                }
                Ok(Self::Remote {
                    url,
                    shown: format!("{shown}/{name}"),
                })
            }
        }
    }

    /// The path on this machine; `None` in an object store.
    pub(crate) fn local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Remote { .. } => None,
        }
    }

    /// What in its path reads as an escaped character, such as `%20`. The library for Delta tables takes
    /// such a path for one that is escaped still, and looks elsewhere.
    ///
    /// # Errors
    /// `P507` for a path that no object has.
    pub(crate) fn escaped_part(&self) -> Result<Option<String>> {
        let path = match self {
            Self::Local(path) => path.to_string_lossy().into_owned(),
            Self::Remote { url, .. } => object_path(url)?.as_ref().to_owned(),
        };
        let is_escape = |part: &&[u8]| {
            part[0] == b'%' && part[1].is_ascii_hexdigit() && part[2].is_ascii_hexdigit()
        };
        let found = path.as_bytes().windows(3).find(is_escape);
        Ok(found.map(|part| String::from_utf8_lossy(part).into_owned()))
    }

    /// Its URL as that of a folder.
    ///
    /// # Errors
    /// `P999` for a path that is not absolute, which these never are.
    pub(crate) fn folder_url(&self) -> Result<Url> {
        match self {
            Self::Local(path) => Url::from_directory_path(path).map_err(|()| not_absolute(path)),
            Self::Remote { url, .. } => {
                let mut url = url.clone();
                if !url.path().ends_with('/') {
                    url.set_path(&format!("{}/", url.path()));
                }
                Ok(url)
            }
        }
    }

    /// Its URL as that of a file.
    ///
    /// # Errors
    /// As [`Self::folder_url`].
    pub(crate) fn file_url(&self) -> Result<Url> {
        match self {
            Self::Local(path) => Url::from_file_path(path).map_err(|()| not_absolute(path)),
            Self::Remote { url, .. } => Ok(url.clone()),
        }
    }
}

/// The path of a URL inside of its bucket.
///
/// # Errors
/// `P507` for a path that no object has.
pub(crate) fn object_path(url: &Url) -> Result<ObjectPath> {
    ObjectPath::from_url_path(url.path()).map_err(|error| {
        Error::new(
            &codes::OFFLINE_REQUEST,
            format!(
                "{} is no place in an object store: {error}",
                storage::shown(url.as_str())
            ),
        )
    })
}

/// The folder that a configuration names.
///
/// # Errors
/// `P203` for a URL of an unknown kind.
pub(crate) fn configured(block: &str, base: &Path, text: &str) -> Result<Location> {
    if text.is_empty() {
        return Err(Error::new(
            &codes::BAD_CONFIG,
            format!("{block} has an empty location"),
        ));
    }
    match by_url(text) {
        Some(Some(location)) => Ok(location),
        Some(None) => Err(storage::unknown_url(
            &codes::BAD_CONFIG,
            &format!("{block} has a location"),
            text,
        )),
        None => Ok(Location::Local(absolute(&base.join(text))?)),
    }
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
/// `P507` for a URL of an unknown kind, for an empty name, and for a pattern in an object store.
pub(crate) fn of_table(base: &Path, location: &Location, name: &str) -> Result<Location> {
    if name.is_empty() {
        return Err(Error::new(
            &codes::OFFLINE_REQUEST,
            "a table's name is empty",
        ));
    }
    let found = match by_url(name) {
        Some(Some(location)) => location,
        Some(None) => {
            return Err(storage::unknown_url(
                &codes::OFFLINE_REQUEST,
                &format!("table {:?} lies", storage::shown(name)),
                name,
            ));
        }
        None if is_place(name) => Location::Local(absolute(&base.join(name))?),
        None => location.join(name)?,
    };
    if found.local().is_none() && name.contains(['*', '?', '[']) {
        return Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!(
                "table {:?} is a pattern, and lies in an object store",
                storage::shown(name)
            ),
        )
        .help("name a folder of Parquet files; patterns are for folders of this machine"));
    }
    Ok(found)
}

fn not_absolute(path: &Path) -> Error {
    Error::new(
        &codes::INTERNAL,
        format!("the path {} is not absolute", path.display()),
    )
}

/// Where a URL points, `Some(None)` for one of an unknown kind; `None` for what is no URL.
fn by_url(text: &str) -> Option<Option<Location>> {
    text.contains("://").then_some(())?;
    let is_file = text.starts_with("file://");
    let local = Url::parse(text)
        .ok()
        .filter(|url| is_file && url.scheme() == "file")
        .and_then(|url| url.to_file_path().ok())
        .and_then(|path| absolute(&path).ok())
        .map(Location::Local);
    Some(local.or_else(|| {
        let (_, mut url) = storage::canonical(text)?;
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Some(Location::Remote {
            url,
            shown: storage::shown(text).trim_end_matches('/').to_owned(),
        })
    }))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn names_join_the_location_and_urls_are_themselves() {
        let base = Path::new("/project");
        let lake = configured("offline_store", base, "s3a://lake/a b/").unwrap();
        let url = |name: &str| of_table(base, &lake, name).unwrap();
        assert_eq!(
            url("weather é").folder_url().unwrap().as_str(),
            "s3://lake/a%20b/weather%20%C3%A9/"
        );
        assert_eq!(url("weather").to_string(), "s3a://lake/a b/weather");
        assert_eq!(url("./here"), Location::Local("/project/here".into()));
        assert_eq!(url("file:///x/y"), Location::Local("/x/y".into()));
        assert_eq!(
            url("abfss://box@acme.dfs.core.windows.net/w/")
                .file_url()
                .unwrap()
                .as_str(),
            "az://box.acme.dfs.core.windows.net/w"
        );
        let root = configured("offline_store", base, "gs://lake").unwrap();
        assert_eq!(
            of_table(base, &root, "w")
                .unwrap()
                .folder_url()
                .unwrap()
                .as_str(),
            "gs://lake/w/"
        );
    }

    #[test]
    fn paths_that_read_as_escaped_are_noticed() {
        let base = Path::new("/project");
        for location in ["./data", "s3://lake/a"] {
            let location = configured("offline_store", base, location).unwrap();
            let escaped = |name: &str| {
                let at = of_table(base, &location, name).unwrap();
                at.escaped_part().unwrap()
            };
            assert_eq!(escaped("a %2f").as_deref(), Some("%2f"));
            for name in ["5%", "100% b", "%zz", "é b"] {
                assert_eq!(escaped(name), None, "{name}");
            }
        }
    }

    #[test]
    fn urls_of_unknown_kinds_and_patterns_are_refused() {
        let base = Path::new("/project");
        let error = configured("offline_store", base, "ftp://u:canary@h/x").unwrap_err();
        assert_eq!(error.code(), "P203");
        assert!(error.message().ends_with("of the unsupported kind ftp://"));
        assert!(error.help_text().unwrap().contains("gs://bucket"));
        let lake = configured("offline_store", base, "s3://lake").unwrap();
        let error = of_table(base, &lake, "hdfs://u:canary@x/y").unwrap_err();
        assert_eq!(error.code(), "P507");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        let error = of_table(base, &lake, "w/*.parquet").unwrap_err();
        assert!(error.message().contains("is a pattern"), "{error}");
    }
}
