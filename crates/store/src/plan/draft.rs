//! The catalog as it would be, and the changes that lead there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use provender_core::catalog::{Versions, to_object};
use provender_core::model::{
    Definitions, Documentation, FeatureRef, FeatureService, FeatureView, OnDemandView,
    split_version,
};
use provender_core::provider::{Change, ObjectKind};
use provender_core::{Catalog, Error, codes};
use provender_definitions::{Loaded, Locations};
use provender_engine::on_demand::compile;
use serde::Serialize;

use super::diff::diff;
use super::versions::Used;
use super::{FieldChange, PlanAction, PlanEntry, located};
use crate::request::resolve::{AnyView, cycle, inputs, resolve};

/// Grows from the catalog before to the catalog after. Names that are gone must be removed first,
/// then kinds follow in the order of their references.
pub(super) struct Draft<'a> {
    before: &'a Catalog,
    after: Catalog,
    used: Used,
    entries: Vec<PlanEntry>,
    changes: Vec<Change>,
    failures: Vec<Error>,
    /// Definitions that were checked and have their versions.
    seen: BTreeSet<(ObjectKind, String)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(before: &'a Catalog, used: Used) -> Self {
        Self {
            before,
            after: before.clone(),
            used,
            entries: Vec::new(),
            changes: Vec::new(),
            failures: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Removes what is applied and no longer defined.
    pub(super) fn remove_undefined(&mut self, definitions: &Definitions) {
        let gone = |kind, before: Vec<(&String, u32)>, defined: &dyn Fn(&str) -> bool| {
            let gone = before.into_iter().filter(|(name, _)| !defined(name));
            gone.map(|(name, newest)| (kind, name.clone(), newest))
                .collect::<Vec<_>>()
        };
        let before = self.before;
        let mut all = gone(ObjectKind::Entity, single(&before.entities), &|name| {
            definitions.entities.contains_key(name)
        });
        all.extend(gone(ObjectKind::Source, single(&before.sources), &|name| {
            definitions.sources.contains_key(name)
        }));
        all.extend(gone(
            ObjectKind::FeatureView,
            versioned(&before.feature_views),
            &|name| definitions.feature_views.contains_key(name),
        ));
        all.extend(gone(
            ObjectKind::OnDemandFeatureView,
            versioned(&before.on_demand_feature_views),
            &|name| definitions.on_demand_feature_views.contains_key(name),
        ));
        all.extend(gone(
            ObjectKind::FeatureService,
            versioned(&before.feature_services),
            &|name| definitions.feature_services.contains_key(name),
        ));
        for (kind, name, newest) in all {
            match kind {
                ObjectKind::Entity => drop(self.after.entities.remove(&name)),
                ObjectKind::Source => drop(self.after.sources.remove(&name)),
                ObjectKind::FeatureView => drop(self.after.feature_views.remove(&name)),
                ObjectKind::OnDemandFeatureView => {
                    drop(self.after.on_demand_feature_views.remove(&name));
                }
                _ => drop(self.after.feature_services.remove(&name)),
            }
            self.changes.push(Change::Delete {
                kind,
                name: name.clone(),
                version: None,
            });
            self.entries.push(PlanEntry {
                kind,
                name,
                action: PlanAction::Delete,
                from_version: Some(newest),
                to_version: None,
                details: Vec::new(),
                breaks: Vec::new(),
            });
        }
    }

    pub(super) fn entities_and_sources(&mut self, definitions: &Definitions) {
        for (name, entity) in &definitions.entities {
            let newest = self
                .before
                .entities
                .get(name)
                .map(|known| (1, known.clone()));
            self.put(ObjectKind::Entity, name, entity, newest, |_, _| true);
            self.after
                .entities
                .insert(name.clone(), Arc::new(entity.clone()));
        }
        for (name, source) in &definitions.sources {
            let newest = self
                .before
                .sources
                .get(name)
                .map(|known| (1, known.clone()));
            self.put(ObjectKind::Source, name, source, newest, |_, _| true);
            self.after
                .sources
                .insert(name.clone(), Arc::new(source.clone()));
        }
    }

    /// Adds a view that was checked against its source.
    pub(super) fn feature_view(&mut self, view: FeatureView) {
        let name = view.name.clone();
        let newest = newest(&self.before.feature_views, &name);
        let version = self.put(
            ObjectKind::FeatureView,
            &name,
            &view,
            newest,
            |old: &FeatureView, new| old.meaning() == new.meaning(),
        );
        let versions = self.after.feature_views.entry(name).or_default();
        versions.insert(version, Arc::new(view));
    }

    /// Adds on-demand views, each after those it uses, with their inputs pinned to versions. Views
    /// whose inputs failed their own checks are left out silently: their errors are told already.
    pub(super) fn on_demand_views(&mut self, loaded: &Loaded) -> Vec<Error> {
        let defined = &loaded.definitions;
        let mut errors = Vec::new();
        let mut waiting: BTreeSet<&String> = defined.on_demand_feature_views.keys().collect();
        let mut failed: BTreeSet<String> = BTreeSet::new();
        for name in defined.feature_views.keys() {
            if !self.placed(ObjectKind::FeatureView, name) {
                failed.insert(name.clone());
            }
        }
        while !waiting.is_empty() {
            let ready = waiting.iter().copied().find(|name| {
                let view = &defined.on_demand_feature_views[*name];
                view.inputs.iter().all(|input| {
                    let input = split_version(input).map_or(input.as_str(), |(name, _)| name);
                    !waiting.iter().any(|other| *other == input)
                })
            });
            let Some(name) = ready else {
                // Definitions refuse cycles; this keeps a loader that does not from hanging us.
                errors.extend(waiting.iter().map(|name| {
                    let kind = ObjectKind::OnDemandFeatureView;
                    located(&loaded.locations, kind, name, Some("inputs"), cycle(name))
                }));
                return errors;
            };
            waiting.remove(name);
            let view = &defined.on_demand_feature_views[name];
            let uses_failed = view.inputs.iter().any(|input| {
                failed.contains(split_version(input).map_or(input.as_str(), |(name, _)| name))
            });
            if uses_failed {
                failed.insert(name.clone());
                continue;
            }
            let problems = self.on_demand_view(view, &loaded.locations);
            if !problems.is_empty() {
                failed.insert(name.clone());
                errors.extend(problems);
            }
        }
        errors
    }

    fn on_demand_view(&mut self, view: &OnDemandView, locations: &Locations) -> Vec<Error> {
        let kind = ObjectKind::OnDemandFeatureView;
        let mut pinned = view.clone();
        let mut errors = Vec::new();
        for input in &mut pinned.inputs {
            let what = format!("on-demand view {:?} has the input {input:?}", view.name);
            match self.pin(&what, input) {
                Ok(text) => *input = text,
                Err(error) => {
                    errors.push(located(locations, kind, &view.name, Some("inputs"), error));
                }
            }
        }
        if !errors.is_empty() {
            return errors;
        }
        match inputs(&self.after, &pinned) {
            Err(error) => errors.push(located(locations, kind, &view.name, Some("inputs"), error)),
            Ok(inputs) => {
                for feature in &pinned.features {
                    let compiled = compile(
                        &view.name,
                        &feature.name,
                        &feature.value_type,
                        &feature.sql,
                        &inputs.columns,
                    );
                    if let Err(error) = compiled {
                        let field = format!("{}.sql", feature.name);
                        errors.push(located(locations, kind, &view.name, Some(&field), error));
                    }
                }
            }
        }
        if errors.is_empty() {
            let newest = newest(&self.before.on_demand_feature_views, &view.name);
            let version = self.put(
                kind,
                &view.name,
                &pinned,
                newest,
                |old: &OnDemandView, new| old.meaning() == new.meaning(),
            );
            let name = view.name.clone();
            let versions = self.after.on_demand_feature_views.entry(name).or_default();
            versions.insert(version, Arc::new(pinned));
        }
        errors
    }

    /// Adds services with versions and features of all their views filled in.
    pub(super) fn services(&mut self, loaded: &Loaded) -> Vec<Error> {
        let defined = &loaded.definitions;
        let kind = ObjectKind::FeatureService;
        let mut errors = Vec::new();
        for (name, service) in &defined.feature_services {
            let mut pinned = service.clone();
            let mut problems = Vec::new();
            let mut is_blocked = false;
            for reference in &mut pinned.features {
                let view = reference.view.clone();
                is_blocked |= defined.feature_views.contains_key(&view)
                    && !self.placed(ObjectKind::FeatureView, &view)
                    || defined.on_demand_feature_views.contains_key(&view)
                        && !self.placed(ObjectKind::OnDemandFeatureView, &view);
                if is_blocked {
                    break;
                }
                if let Err(error) = self.pin_reference(name, reference) {
                    problems.push(located(&loaded.locations, kind, name, Some(&view), error));
                }
            }
            if is_blocked {
                continue;
            }
            if problems.is_empty()
                && let Err(error) = resolve(&self.after, &pinned.features, true)
            {
                let error = error.context("service", name.clone());
                problems.push(located(&loaded.locations, kind, name, None, error));
            }
            if !problems.is_empty() {
                errors.extend(problems);
                continue;
            }
            let newest = newest(&self.before.feature_services, name);
            let version = self.put(kind, name, &pinned, newest, |old: &FeatureService, new| {
                service_meaning(old) == service_meaning(new)
            });
            let versions = self.after.feature_services.entry(name.clone()).or_default();
            versions.insert(version, Arc::new(pinned));
        }
        errors
    }

    fn pin_reference(&self, service: &str, reference: &mut FeatureRef) -> Result<(), Error> {
        let (version, view) = AnyView::find(&self.after, &reference.view, reference.version)
            .map_err(|error| {
                let what = format!("service {service:?} takes {:?}", reference.view);
                undefined(&what, &error)
            })?;
        let known: Vec<String> = view
            .outputs()
            .iter()
            .map(|(feature, _)| (*feature).to_owned())
            .collect();
        let features = reference.features.get_or_insert_with(|| known.clone());
        if let Some(feature) = features.iter().find(|feature| !known.contains(feature)) {
            let names = known.iter().map(String::as_str);
            return Err(Error::new(
                &codes::UNDEFINED_REFERENCE,
                format!(
                    "service {service:?} takes feature {feature:?} of {}@{version}, which has no such feature",
                    reference.view
                ),
            )
            .help(provender_core::names::did_you_mean(feature, names)));
        }
        reference.version = Some(version);
        Ok(())
    }

    fn pin(&self, what: &str, input: &str) -> Result<String, Error> {
        let (name, version) = split_version(input).ok_or_else(|| {
            Error::new(
                &codes::UNDEFINED_REFERENCE,
                format!("{what}, which names no view"),
            )
            .help("write view or view@2")
        })?;
        let (version, _) =
            AnyView::find(&self.after, name, version).map_err(|error| undefined(what, &error))?;
        Ok(format!("{name}@{version}"))
    }

    /// Removes old versions that refer to what is gone, and then those that refer to them.
    pub(super) fn remove_orphaned_versions(&mut self) {
        loop {
            let after = &self.after;
            let exists =
                |name: &str, version: Option<u32>| AnyView::find(after, name, version).is_ok();
            let mut gone: Vec<(ObjectKind, String, u32, String)> = Vec::new();
            for (name, versions) in &after.on_demand_feature_views {
                for (number, view) in versions {
                    let missing = view.inputs.iter().find(|input| {
                        split_version(input).is_none_or(|(name, version)| !exists(name, version))
                    });
                    if let Some(missing) = missing {
                        let kind = ObjectKind::OnDemandFeatureView;
                        gone.push((kind, name.clone(), *number, missing.clone()));
                    }
                }
            }
            for (name, versions) in &after.feature_services {
                for (number, service) in versions {
                    let missing = service
                        .features
                        .iter()
                        .find(|reference| !exists(&reference.view, reference.version));
                    if let Some(missing) = missing {
                        let version = missing.version.map_or(String::new(), |v| format!("@{v}"));
                        let missing = format!("{}{version}", missing.view);
                        gone.push((ObjectKind::FeatureService, name.clone(), *number, missing));
                    }
                }
            }
            if gone.is_empty() {
                return;
            }
            for (kind, name, version, missing) in gone {
                self.remove_version(kind, &name, version, &missing);
            }
        }
    }

    fn remove_version(&mut self, kind: ObjectKind, name: &str, version: u32, missing: &str) {
        if kind == ObjectKind::OnDemandFeatureView {
            remove(&mut self.after.on_demand_feature_views, name, version);
        } else {
            remove(&mut self.after.feature_services, name, version);
        }
        self.changes.push(Change::Delete {
            kind,
            name: name.to_owned(),
            version: Some(version),
        });
        self.entries.push(PlanEntry {
            kind,
            name: name.to_owned(),
            action: PlanAction::Delete,
            from_version: Some(version),
            to_version: None,
            details: vec![FieldChange {
                path: format!("versions.{version}"),
                before: Some(format!("uses {missing}, which is deleted")),
                after: None,
            }],
            breaks: Vec::new(),
        });
    }

    /// The catalog after, entries by kind and name, the changes, and what could not be written.
    pub(super) fn finish(mut self) -> (Catalog, Vec<PlanEntry>, Vec<Change>, Vec<Error>) {
        self.entries.sort_by(|a, b| {
            (a.kind, &a.name, a.from_version).cmp(&(b.kind, &b.name, b.from_version))
        });
        (self.after, self.entries, self.changes, self.failures)
    }

    /// Whether a definition was checked and has its version.
    fn placed(&self, kind: ObjectKind, name: &str) -> bool {
        self.seen.contains(&(kind, name.to_owned()))
    }

    /// Compares a definition with the newest applied one, notes what changes, and answers its version.
    fn put<T: Serialize + PartialEq>(
        &mut self,
        kind: ObjectKind,
        name: &str,
        definition: &T,
        newest: Option<(u32, Arc<T>)>,
        same_meaning: impl Fn(&T, &T) -> bool,
    ) -> u32 {
        self.seen.insert((kind, name.to_owned()));
        let (action, version, details) = match &newest {
            None => (PlanAction::Create, self.used.next(kind, name), Vec::new()),
            Some((version, old)) if **old == *definition => return *version,
            Some((version, old)) if same_meaning(old, definition) => {
                (PlanAction::Update, *version, diff(&**old, definition))
            }
            Some((_, old)) => {
                let details = diff(&**old, definition);
                (PlanAction::NewVersion, self.used.next(kind, name), details)
            }
        };
        match to_object(kind, name, version, definition) {
            Ok(object) => self.changes.push(Change::Put(object)),
            Err(error) => self.failures.push(error),
        }
        self.entries.push(PlanEntry {
            kind,
            name: name.to_owned(),
            action,
            from_version: newest.map(|(version, _)| version),
            to_version: Some(version),
            details,
            breaks: Vec::new(),
        });
        version
    }
}

/// A service without what makes no new version.
fn service_meaning(service: &FeatureService) -> FeatureService {
    FeatureService {
        documentation: Documentation::default(),
        ..service.clone()
    }
}

/// A definition names something that does not exist; `error` says what, and what is near.
fn undefined(what: &str, error: &Error) -> Error {
    Error::new(
        &codes::UNDEFINED_REFERENCE,
        format!("{what}, but {}", error.message()),
    )
    .help(
        error
            .help_text()
            .unwrap_or("`provender list` shows what is applied"),
    )
}

fn single<T>(all: &BTreeMap<String, Arc<T>>) -> Vec<(&String, u32)> {
    all.keys().map(|name| (name, 1)).collect()
}

fn versioned<T>(all: &BTreeMap<String, Versions<T>>) -> Vec<(&String, u32)> {
    all.iter()
        .filter_map(|(name, versions)| Some((name, *versions.last_key_value()?.0)))
        .collect()
}

fn newest<T>(all: &BTreeMap<String, Versions<T>>, name: &str) -> Option<(u32, Arc<T>)> {
    let (version, newest) = all.get(name)?.last_key_value()?;
    Some((*version, newest.clone()))
}

fn remove<T>(all: &mut BTreeMap<String, Versions<T>>, name: &str, version: u32) {
    if let Some(versions) = all.get_mut(name) {
        versions.remove(&version);
    }
}
