//! From files to the resolved model: reads every definition, checks it, and resolves what it refers
//! to.
//!
//! A definition that is wrong is remembered as broken, so that those which refer to it are not
//! blamed. Where a whole file cannot be read, no reference is called undefined, since the file may
//! hold what is missed.

mod entities;
mod names;
mod on_demand;
mod services;
mod sources;
mod values;
mod views;

use std::collections::HashSet;
use std::fmt;

use provender_core::model::Definitions;
use provender_core::names::{did_you_mean, nearest};
use provender_core::provider::ObjectKind;
use provender_core::{Error, codes};
use serde::de::DeserializeOwned;

use crate::Loaded;
use crate::locations::{Location, Locations};
use crate::node::{Node, Value};
use crate::problems::Problems;
use crate::spec::{
    EntitySpec, FeatureViewSpec, OnDemandViewSpec, SECTIONS, ServiceSpec, SourceSpec,
};
use crate::{node_reader, yaml};

/// Loads the definitions of all files (name and text), in their order.
pub(crate) fn load(files: &[(String, String)], problems: Problems) -> Result<Loaded, Vec<Error>> {
    let mut lowering = Lowering {
        // What could not even be opened may define anything.
        incomplete: !problems.is_empty(),
        problems,
        ..Lowering::default()
    };
    let mut specs = Specs::default();
    for (file, text) in files {
        match yaml::read(file, text, &mut lowering.problems) {
            Some(node) => lowering.read_file(file, &node, &mut specs),
            None => lowering.incomplete = true,
        }
    }
    lowering.check_names(&specs.names);
    for entity in &specs.entities {
        lowering.entity(entity);
    }
    for source in &specs.sources {
        lowering.source(source);
    }
    for view in &specs.feature_views {
        lowering.feature_view(view);
    }
    lowering.on_demand_views(&specs.on_demand_feature_views);
    for service in &specs.feature_services {
        lowering.service(service);
    }
    let loaded = Loaded {
        definitions: lowering.definitions,
        locations: lowering.locations,
    };
    lowering.problems.or_errors(loaded)
}

/// A definition as written, and where it starts.
#[derive(Debug)]
struct Found<T> {
    spec: T,
    at: Location,
}

/// A definition's name and where it is written.
#[derive(Debug)]
struct NamedAt {
    subject: Subject,
    at: Location,
}

#[derive(Debug, Default)]
struct Specs {
    names: Vec<NamedAt>,
    entities: Vec<Found<EntitySpec>>,
    sources: Vec<Found<SourceSpec>>,
    feature_views: Vec<Found<FeatureViewSpec>>,
    on_demand_feature_views: Vec<Found<OnDemandViewSpec>>,
    feature_services: Vec<Found<ServiceSpec>>,
}

#[derive(Debug, Default)]
struct Lowering {
    problems: Problems,
    definitions: Definitions,
    locations: Locations,
    /// Definitions that exist, but are wrong.
    broken: HashSet<Subject>,
    /// Whether there may be definitions that could not be read.
    incomplete: bool,
}

/// A definition, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Subject {
    kind: ObjectKind,
    name: String,
}

impl Subject {
    fn new(kind: ObjectKind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", words(self.kind), self.name)
    }
}

/// A kind, as messages name it.
fn words(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Entity => "entity",
        ObjectKind::Source => "source",
        ObjectKind::FeatureView => "feature view",
        ObjectKind::OnDemandFeatureView => "on-demand feature view",
        ObjectKind::FeatureService => "feature service",
        _ => "definition",
    }
}

fn words_with_article(kind: ObjectKind) -> String {
    let words = words(kind);
    let article = if words.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {words}")
}

impl Lowering {
    fn read_file(&mut self, file: &str, node: &Node, specs: &mut Specs) {
        let sections = match &node.value {
            Value::Map(sections) => sections,
            Value::Null => return,
            _ => {
                self.incomplete = true;
                let message = format!(
                    "{file} must be a mapping with keys such as feature_views, not {}",
                    node.describe()
                );
                self.problems
                    .at(&node.at, Error::new(&codes::WRONG_TYPE, message));
                return;
            }
        };
        for (key, section) in sections {
            match key.text.as_str() {
                "entities" => {
                    let found = self.read_section(ObjectKind::Entity, key, section, specs);
                    specs.entities.extend(found);
                }
                "sources" => {
                    let found = self.read_section(ObjectKind::Source, key, section, specs);
                    specs.sources.extend(found);
                }
                "feature_views" => {
                    let found = self.read_section(ObjectKind::FeatureView, key, section, specs);
                    specs.feature_views.extend(found);
                }
                "on_demand_feature_views" => {
                    let kind = ObjectKind::OnDemandFeatureView;
                    let found = self.read_section(kind, key, section, specs);
                    specs.on_demand_feature_views.extend(found);
                }
                "feature_services" => {
                    let found = self.read_section(ObjectKind::FeatureService, key, section, specs);
                    specs.feature_services.extend(found);
                }
                other => {
                    self.incomplete = true;
                    let hint = match nearest(other, SECTIONS.iter().copied()) {
                        Some(near) => format!("did you mean {near:?}?"),
                        None => format!("known are {}", SECTIONS.join(", ")),
                    };
                    let message = format!("{file} has the unknown key {other:?}");
                    self.problems
                        .at(&key.at, Error::new(&codes::UNKNOWN_KEY, message).help(hint));
                }
            }
        }
    }

    fn read_section<T: DeserializeOwned>(
        &mut self,
        kind: ObjectKind,
        key: &crate::node::Key,
        section: &Node,
        specs: &mut Specs,
    ) -> Vec<Found<T>> {
        let items = match &section.value {
            Value::List(items) => items,
            Value::Null => return Vec::new(),
            _ => {
                self.incomplete = true;
                let message = format!("{} must be a list, not {}", key.text, section.describe());
                let error = Error::new(&codes::WRONG_TYPE, message)
                    .help(format!("start {} with - name:", words_with_article(kind)));
                self.problems.at(&section.at, error);
                return Vec::new();
            }
        };
        let mut found = Vec::with_capacity(items.len());
        for node in items {
            let name = node.get("name");
            let subject = name
                .and_then(Node::text)
                .map(|name| Subject::new(kind, name));
            let what = match &subject {
                Some(subject) => subject.to_string(),
                None => words_with_article(kind),
            };
            if let (Some(subject), Some(name)) = (&subject, name) {
                specs.names.push(NamedAt {
                    subject: subject.clone(),
                    at: name.at.clone(),
                });
            }
            match node_reader::read::<T>(node) {
                Ok(spec) => found.push(Found {
                    spec,
                    at: node.at.clone(),
                }),
                Err(faults) => {
                    match subject {
                        Some(subject) => drop(self.broken.insert(subject)),
                        None => self.incomplete = true,
                    }
                    for fault in faults {
                        let at = fault.at.clone().unwrap_or_else(|| node.at.clone());
                        if let Some(error) = fault.into_error(&what) {
                            self.problems.at(&at, error);
                        }
                    }
                }
            }
        }
        found
    }

    /// Adds an error that concerns a definition.
    fn fault(&mut self, subject: &Subject, at: &Location, error: Error) {
        self.problems
            .at(at, error.context(subject.kind.name(), &subject.name));
    }

    /// Adds a contradiction within a definition.
    fn contradiction(
        &mut self,
        subject: &Subject,
        at: &Location,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let error = Error::new(&codes::BAD_DEFINITION, message).help(help);
        self.fault(subject, at, error);
    }

    /// Whether a definition exists but could not be lowered, or may exist unread.
    fn is_excused(&self, kind: ObjectKind, name: &str) -> bool {
        self.incomplete || self.broken.contains(&Subject::new(kind, name))
    }

    /// Adds an undefined reference.
    fn undefined<'a>(
        &mut self,
        subject: &Subject,
        at: &Location,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        let hint = did_you_mean(name, known);
        let mut error = Error::new(
            &codes::UNDEFINED_REFERENCE,
            format!("{subject} refers to the {what} {name:?}, which is not defined"),
        );
        if !hint.is_empty() {
            error = error.help(hint);
        }
        self.fault(subject, at, error);
    }

    /// Runs a lowering; if it adds problems, the definition is broken.
    fn attempt<T>(
        &mut self,
        subject: &Subject,
        lower: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let before = self.problems.len();
        let lowered = lower(self);
        if lowered.is_none() || self.problems.len() > before {
            self.broken.insert(subject.clone());
            return None;
        }
        lowered
    }
}
