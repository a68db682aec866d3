//! Where definitions are written, for errors that are found after reading.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use provender_core::Error;
use provender_core::provider::ObjectKind;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file, relative to the project's folder, such as `features/weather.yaml`.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl Location {
    /// Says in an error where it happened: its message then starts with `file:line:column: `, and
    /// its context holds `file`, `line` and `column`. Code, kind, help, retryability and the causes'
    /// texts are kept.
    #[must_use]
    pub fn attach(&self, error: Error) -> Error {
        error
            .prefixed(format_args!("{self}: "))
            .context("file", &*self.file)
            .context("line", self.line.to_string())
            .context("column", self.column.to_string())
    }
}

/// The places of all definitions and of their parts.
#[derive(Clone, Debug, Default)]
pub struct Locations {
    objects: BTreeMap<ObjectKind, HashMap<String, Object>>,
}

#[derive(Clone, Debug)]
struct Object {
    at: Location,
    fields: HashMap<String, Location>,
}

impl Locations {
    /// Where a definition or a part of it is written; `None` if there is no such definition.
    ///
    /// `field` is the name of a join key, feature, aggregation or view of a service, or a key such
    /// as `timestamp`, `table`, `query`, `filter`, `source` or `columns.origin`; a key of a feature
    /// is `temp.type`, `temp.column` or `temp.sql`, and of a request field `request.heading`. What
    /// is not written falls back to what it belongs to, at last to the definition.
    pub fn of(&self, kind: ObjectKind, name: &str, field: Option<&str>) -> Option<&Location> {
        let object = self.objects.get(&kind)?.get(name)?;
        let mut field = field.unwrap_or_default();
        while !field.is_empty() {
            if let Some(at) = object.fields.get(field) {
                return Some(at);
            }
            field = field.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
        Some(&object.at)
    }

    pub(crate) fn add_object(&mut self, kind: ObjectKind, name: &str, at: &Location) {
        self.objects.entry(kind).or_default().insert(
            name.to_owned(),
            Object {
                at: at.clone(),
                fields: HashMap::new(),
            },
        );
    }

    pub(crate) fn add_field(
        &mut self,
        kind: ObjectKind,
        name: &str,
        field: impl Into<String>,
        at: &Location,
    ) {
        let objects = self.objects.entry(kind).or_default();
        if let Some(object) = objects.get_mut(name) {
            object
                .fields
                .entry(field.into())
                .or_insert_with(|| at.clone());
        }
    }
}
