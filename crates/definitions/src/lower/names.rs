//! The rules for names: of definitions across files, and of parts within one definition.

use std::collections::HashMap;

use provender_core::names::{check_feature_name, check_name};
use provender_core::provider::ObjectKind;
use provender_core::{Error, codes};

use super::{Lowering, NamedAt, Subject, words, words_with_article};
use crate::located::Located;
use crate::locations::Location;

/// Names within one definition that must differ, also when case is ignored.
#[derive(Default)]
pub(super) struct UniqueNames {
    taken: HashMap<String, (String, Location)>,
}

impl UniqueNames {
    /// Takes a name; if it is taken already, how it was spelt and where.
    pub(super) fn take(&mut self, name: &Located<String>) -> Option<(String, Location)> {
        let lower = name.value.to_lowercase();
        if let Some(first) = self.taken.get(&lower) {
            return Some(first.clone());
        }
        self.taken
            .insert(lower, (name.value.clone(), name.at.clone()));
        None
    }
}

/// Which definitions must not share names: views and services do, entities and sources are apart.
fn space(kind: ObjectKind) -> ObjectKind {
    match kind {
        ObjectKind::OnDemandFeatureView | ObjectKind::FeatureService => ObjectKind::FeatureView,
        other => other,
    }
}

impl Lowering {
    pub(super) fn check_names(&mut self, names: &[NamedAt]) {
        let mut taken: HashMap<(ObjectKind, String), &NamedAt> = HashMap::new();
        for named in names {
            let NamedAt { subject, at } = named;
            if let Err(error) = check_name(&words_with_article(subject.kind), &subject.name) {
                self.fault(subject, at, error);
            }
            let key = (space(subject.kind), subject.name.to_lowercase());
            if let Some(first) = taken.get(&key) {
                let error = clash(subject, first);
                self.fault(subject, at, error);
            } else {
                taken.insert(key, named);
            }
        }
    }

    /// Checks a feature's name and that it is new in its view.
    pub(super) fn feature_name(
        &mut self,
        subject: &Subject,
        name: &Located<String>,
        taken: &mut UniqueNames,
    ) {
        if let Err(error) = check_feature_name(&name.value) {
            self.fault(subject, &name.at, error);
        }
        self.part_is_new(subject, "feature", name, taken);
    }

    /// Checks that the name of a part of a definition is new in it.
    pub(super) fn part_is_new(
        &mut self,
        subject: &Subject,
        what: &str,
        name: &Located<String>,
        taken: &mut UniqueNames,
    ) {
        let Some((first, first_at)) = taken.take(name) else {
            return;
        };
        let message = if first == name.value {
            format!("{subject} has the {what} {first:?} twice, first at {first_at}")
        } else {
            format!(
                "{subject} has the {what}s {first:?} (at {first_at}) and {:?}, which differ only in case",
                name.value
            )
        };
        let error =
            Error::new(&codes::DUPLICATE_NAME, message).help("rename or remove one of them");
        self.fault(subject, &name.at, error);
    }
}

fn clash(subject: &Subject, first: &NamedAt) -> Error {
    let (other, at) = (&first.subject, &first.at);
    let message = if other.name != subject.name {
        format!("{subject} and {other} (at {at}) differ only in case")
    } else if other.kind == subject.kind {
        format!("{subject} is defined twice, first at {at}")
    } else {
        format!(
            "{subject} has the name of the {} at {at}",
            words(other.kind)
        )
    };
    let help = if other.kind == subject.kind {
        "rename or remove one of them"
    } else {
        "rename one of them: feature views, on-demand feature views and feature services share one space of names"
    };
    Error::new(&codes::DUPLICATE_NAME, message).help(help)
}
