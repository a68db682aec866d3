//! Which versions of which views a materialisation means. Asks the catalog alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use provender_core::model::{FeatureView, split_version};
use provender_core::names::did_you_mean;
use provender_core::{Catalog, Error, Result, codes};

/// A version and the view at that version.
type Versioned = (u32, Arc<FeatureView>);

/// The views that a request names, each once, in its order; without names every view that is online.
///
/// # Errors
/// `NotFound` (`P401`) for unknown views and versions, `FailedPrecondition` (`P601`) for views with
/// `online: false`, `InvalidArgument` (`P406`) for a name that is none.
pub(crate) fn chosen(catalog: &Catalog, names: Option<&[String]>) -> Result<Vec<Versioned>> {
    let Some(names) = names else {
        return Ok(all_online(catalog));
    };
    let mut seen = BTreeSet::new();
    let mut chosen = Vec::new();
    for name in names {
        let (version, view) = find(catalog, name.trim())?;
        if seen.insert((view.name.clone(), version)) {
            chosen.push((version, view));
        }
    }
    Ok(chosen)
}

/// The versions of feature views that the newest version of some service uses, directly or through
/// on-demand views.
fn held_by_services(catalog: &Catalog) -> BTreeSet<(String, u32)> {
    let mut held = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<(String, Option<u32>)> = catalog
        .feature_services
        .values()
        .filter_map(|versions| versions.last_key_value())
        .flat_map(|(_, service)| &service.features)
        .map(|reference| (reference.view.clone(), reference.version))
        .collect();
    // A reference that leads nowhere is what a delete leaves behind; it holds nothing.
    while let Some((name, version)) = open.pop() {
        if let Ok((version, _)) = catalog.feature_view(&name, version) {
            held.insert((name, version));
        } else if let Ok((version, view)) = catalog.on_demand_view(&name, version)
            && seen.insert((name, version))
        {
            let inputs = view.inputs.iter().filter_map(|input| split_version(input));
            open.extend(inputs.map(|(name, version)| (name.to_owned(), version)));
        }
    }
    held
}

fn all_online(catalog: &Catalog) -> Vec<Versioned> {
    let held = held_by_services(catalog);
    let mut all = Vec::new();
    for (name, versions) in &catalog.feature_views {
        let Some((&newest, view)) = versions.last_key_value() else {
            continue;
        };
        if !view.online {
            continue;
        }
        for (&version, view) in versions {
            if version == newest || held.contains(&(name.clone(), version)) {
                all.push((version, view.clone()));
            }
        }
    }
    all
}

fn find(catalog: &Catalog, text: &str) -> Result<Versioned> {
    let (name, version) = split_version(text)
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| {
            Error::new(&codes::BAD_REQUEST, format!("{text:?} names no view"))
                .help("write view or view@2")
        })?;
    if catalog.on_demand_feature_views.contains_key(name) {
        return Err(Error::new(
            &codes::BAD_REQUEST,
            format!("{name:?} is an on-demand feature view, which has no rows to materialise"),
        )
        .help("materialise the feature views that it is computed from"));
    }
    let Some(versions) = catalog.feature_views.get(name) else {
        let known = catalog.feature_views.keys().map(String::as_str);
        let help = if catalog.feature_services.contains_key(name) {
            format!("{name:?} is a feature service; name the views that it uses")
        } else {
            did_you_mean(name, known)
        };
        return Err(Error::new(
            &codes::UNKNOWN_VIEW,
            format!("there is no feature view {name:?}"),
        )
        .help(help));
    };
    let found = catalog.feature_view(name, version)?;
    // `online` makes no version, so what the newest says holds for all.
    if versions
        .last_key_value()
        .is_some_and(|(_, newest)| !newest.online)
    {
        return Err(Error::new(
            &codes::NOT_ONLINE,
            format!("view {name:?} has `online: false`, so it cannot be materialised"),
        )
        .help("remove `online: false` from its definition and run `provender apply`"));
    }
    Ok(found)
}
