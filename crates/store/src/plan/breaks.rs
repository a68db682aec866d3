//! What users of services lose by a plan.
//!
//! Compares what each applied service puts out and needs, before and after, and lays a difference at
//! the entry that causes it: the view if the view changed it, else the service.

use std::collections::BTreeMap;

use provender_core::catalog::Versions;
use provender_core::provider::ObjectKind;
use provender_core::{Catalog, ValueType};

use super::{PlanAction, PlanEntry};
use crate::request::resolve::{AnyView, Output, Resolved, resolve};

/// Adds sentences to the entries that break services.
pub(super) fn mark(before: &Catalog, after: &Catalog, entries: &mut [PlanEntry]) {
    for (service, versions) in &before.feature_services {
        let Some(kept) = after.feature_services.get(service) else {
            add(
                entries,
                Cause::Service(service),
                format!("service {service} is deleted"),
            );
            continue;
        };
        for version in versions
            .keys()
            .filter(|version| !kept.contains_key(version))
        {
            let sentence = format!("service {service}@{version} is deleted");
            let entry = entries.iter_mut().find(|entry| {
                entry.kind == ObjectKind::FeatureService
                    && entry.name == *service
                    && entry.from_version == Some(*version)
                    && entry.action == PlanAction::Delete
            });
            if let Some(entry) = entry {
                entry.breaks.push(sentence);
            }
        }
        // A service that does not resolve today cannot be broken any further.
        if let (Some(old), Some(new)) = (outline(before, versions), outline(after, kept)) {
            for (cause, sentence) in differences(service, before, after, &old, &new) {
                add(entries, cause, sentence);
            }
        }
    }
}

/// Who changed something.
enum Cause<'a> {
    Service(&'a str),
    /// The view, or the service if the view has no entry.
    View(&'a str, &'a str),
}

fn add(entries: &mut [PlanEntry], cause: Cause<'_>, sentence: String) {
    let is_view = |entry: &PlanEntry, view: &str| {
        entry.name == view
            && matches!(
                entry.kind,
                ObjectKind::FeatureView | ObjectKind::OnDemandFeatureView
            )
            && entry.action != PlanAction::Update
    };
    let is_service = |entry: &PlanEntry, service: &str| {
        entry.name == service && entry.kind == ObjectKind::FeatureService && !is_old_version(entry)
    };
    let (view, service) = match cause {
        Cause::Service(service) => (None, service),
        Cause::View(view, service) => (Some(view), service),
    };
    let at = view
        .and_then(|view| {
            entries
                .iter()
                .position(|entry| is_view(entry, view) && !is_old_version(entry))
        })
        .or_else(|| entries.iter().position(|entry| is_service(entry, service)));
    if let Some(at) = at {
        entries[at].breaks.push(sentence);
    }
}

/// Whether an entry is about one old version alone.
fn is_old_version(entry: &PlanEntry) -> bool {
    entry.action == PlanAction::Delete && !entry.details.is_empty()
}

fn outline(
    catalog: &Catalog,
    versions: &Versions<provender_core::model::FeatureService>,
) -> Option<Resolved> {
    let (_, service) = versions.last_key_value()?;
    resolve(catalog, &service.features, false).ok()
}

fn differences<'a>(
    service: &'a str,
    before: &Catalog,
    after: &Catalog,
    old: &'a Resolved,
    new: &'a Resolved,
) -> Vec<(Cause<'a>, String)> {
    let mut found = Vec::new();
    for column in &old.outputs {
        let name = &column.name;
        match new.outputs.iter().find(|kept| kept.name == *name) {
            None => {
                let cause = if has_feature(after, column) {
                    Cause::Service(service)
                } else {
                    Cause::View(&column.view, service)
                };
                found.push((cause, format!("service {service} loses column {name}")));
            }
            Some(kept) if kept.value_type != column.value_type => {
                let cause = if kept.view == column.view {
                    Cause::View(&kept.view, service)
                } else {
                    Cause::Service(service)
                };
                let sentence = format!(
                    "service {service}: column {name} changes from {} to {}",
                    column.value_type, kept.value_type
                );
                found.push((cause, sentence));
            }
            Some(_) => {}
        }
    }
    let (old_keys, new_keys) = (keys(old), keys(new));
    for (column, (value_type, view, key)) in &new_keys {
        let cause = |changed: bool| {
            if changed {
                Cause::View(view, service)
            } else {
                Cause::Service(service)
            }
        };
        match old_keys.get(column) {
            None => found.push((
                cause(!has_key(before, view, key)),
                format!("service {service} needs the new key {column} ({value_type})"),
            )),
            Some((known, ..)) if known != value_type => found.push((
                cause(true),
                format!("service {service}: key {column} changes from {known} to {value_type}"),
            )),
            Some(_) => {}
        }
    }
    for field in &new.requests {
        let name = &field.name;
        let known = old.requests.iter().find(|known| known.name == *name);
        match known {
            None => found.push((
                Cause::View(&field.view, service),
                format!(
                    "service {service} needs the new request field {name} ({})",
                    field.value_type
                ),
            )),
            Some(known) if known.value_type != field.value_type => found.push((
                Cause::View(&field.view, service),
                format!(
                    "service {service}: request field {name} changes from {} to {}",
                    known.value_type, field.value_type
                ),
            )),
            Some(_) => {}
        }
    }
    found
}

/// Key columns: type, view and the view's own key.
fn keys(resolved: &Resolved) -> BTreeMap<&str, (&ValueType, &str, &str)> {
    let mut keys = BTreeMap::new();
    for join in &resolved.joins {
        for (key, column) in &join.keys {
            keys.entry(column.as_str()).or_insert((
                &key.value_type,
                join.name.as_str(),
                key.name.as_str(),
            ));
        }
    }
    keys
}

/// Whether the newest version of a column's view still has its feature.
fn has_feature(catalog: &Catalog, column: &Output) -> bool {
    AnyView::find(catalog, &column.view, None).is_ok_and(|(_, view)| {
        view.outputs()
            .iter()
            .any(|(feature, _)| *feature == column.feature)
    })
}

/// Whether the newest version of a view has a join key.
fn has_key(catalog: &Catalog, view: &str, key: &str) -> bool {
    catalog
        .feature_view(view, None)
        .is_ok_and(|(_, view)| view.join_keys().iter().any(|known| known.name == key))
}
