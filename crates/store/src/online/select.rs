//! Which versions serve a request.
//!
//! A name without a version is the newest version whose feature views, those under on-demand views
//! included, were all materialised or pushed to, so that a service does not move to data that are
//! still being filled; if no version is, it is the newest. Views with `online: false` do not count:
//! that one of them cannot be read is not decided here.

use std::collections::BTreeMap;
use std::sync::Arc;

use provender_core::model::{FeatureRef, FeatureView};
use provender_core::{Catalog, Context, Result};

use crate::FeatureStore;
use crate::request::Selection;
use crate::request::resolve::{AnyView, input_view};

/// References whose versions are settled.
#[derive(Debug)]
pub(super) struct Selected {
    /// The references, each with a version.
    pub(super) references: Vec<FeatureRef>,
    /// For people: `departure_delay@2`, or the views of a list.
    pub(super) name: String,
}

/// A view by name, at a version; `None` is the newest.
type Named = (String, Option<u32>);

/// Settles the versions of a selection.
///
/// # Errors
/// `NotFound` (`P401`) for unknown services and views, `InvalidArgument` (`P406`) for an empty list,
/// `Unavailable` (`P304`).
pub(super) async fn select(
    store: &FeatureStore,
    cx: &Context,
    catalog: &Catalog,
    selection: &Selection,
) -> Result<Selected> {
    let mut filled = Filled {
        store,
        cx,
        catalog,
        known: BTreeMap::new(),
    };
    match selection {
        Selection::Service { name, version } => {
            let version = match (version, catalog.feature_services.get(name)) {
                (None, Some(versions)) => {
                    let candidates = versions.iter().rev().map(|(version, service)| {
                        let views = service.features.iter();
                        let views = views.map(|view| (view.view.clone(), view.version));
                        (*version, views.collect())
                    });
                    filled.newest(candidates.collect()).await?
                }
                (version, _) => *version,
            };
            let (version, service) = catalog.feature_service(name, version)?;
            Ok(Selected {
                references: service.features.clone(),
                name: format!("{name}@{version}"),
            })
        }
        Selection::Features(_) => {
            let mut references = selection.references(catalog)?;
            let mut names: Vec<String> = Vec::new();
            for reference in &mut references {
                let version = match reference.version {
                    Some(version) => version,
                    None => filled.newest_of_view(&reference.view).await?,
                };
                reference.version = Some(version);
                let name = format!("{}@{version}", reference.view);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            Ok(Selected {
                references,
                name: names.join(", "),
            })
        }
    }
}

/// What the registry says about versions of views, each asked for once.
struct Filled<'a> {
    store: &'a FeatureStore,
    cx: &'a Context,
    catalog: &'a Catalog,
    known: BTreeMap<(String, u32), bool>,
}

impl Filled<'_> {
    async fn newest_of_view(&mut self, view: &str) -> Result<u32> {
        let (newest, _) = AnyView::find(self.catalog, view, None)?;
        let numbers: Vec<u32> = match self.catalog.feature_views.get(view) {
            Some(versions) => versions.keys().rev().copied().collect(),
            None => self
                .catalog
                .on_demand_feature_views
                .get(view)
                .map(|versions| versions.keys().rev().copied().collect())
                .unwrap_or_default(),
        };
        let candidates = numbers
            .into_iter()
            .map(|version| (version, vec![(view.to_owned(), Some(version))]));
        Ok(self.newest(candidates.collect()).await?.unwrap_or(newest))
    }

    /// The first candidate, newest first, that has data; `None` if none has. One that stands alone
    /// needs no question.
    async fn newest(&mut self, candidates: Vec<(u32, Vec<Named>)>) -> Result<Option<u32>> {
        if candidates.len() <= 1 {
            return Ok(None);
        }
        for (index, (version, views)) in candidates.into_iter().enumerate() {
            if self.has_data(views, index == 0).await? {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// Whether all online views are filled. An older version must have at least one: falling back to
    /// a version of which nothing is online helps nobody.
    async fn has_data(&mut self, views: Vec<Named>, is_newest: bool) -> Result<bool> {
        // What a version names may be gone; if it is the one that is left, resolving it says so.
        let Ok(views) = feature_views(self.catalog, views) else {
            return Ok(false);
        };
        let mut has_online = false;
        for ((name, version), view) in views {
            if !view.online {
                continue;
            }
            if !self.is_filled(name, version).await? {
                return Ok(false);
            }
            has_online = true;
        }
        Ok(has_online || is_newest)
    }

    async fn is_filled(&mut self, name: String, version: u32) -> Result<bool> {
        let key = (name, version);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let view = self.store.view_version(&key.0, version);
        let is_filled = self.store.is_filled(self.cx, &view).await?;
        self.known.insert(key, is_filled);
        Ok(is_filled)
    }
}

/// The feature views among views and under the on-demand views among them.
fn feature_views(
    catalog: &Catalog,
    views: Vec<Named>,
) -> Result<BTreeMap<(String, u32), Arc<FeatureView>>> {
    let mut open = Vec::new();
    for (name, version) in views {
        let (version, view) = AnyView::find(catalog, &name, version)?;
        open.push((name, version, view));
    }
    let mut found = BTreeMap::new();
    let mut seen: Vec<(String, u32)> = Vec::new();
    while let Some((name, version, view)) = open.pop() {
        match view {
            AnyView::Joined(view) => {
                found.insert((name, version), view);
            }
            AnyView::Computed(view) => {
                let key = (name, version);
                if seen.contains(&key) {
                    continue;
                }
                for input in &view.inputs {
                    open.push(input_view(catalog, &view.name, input)?);
                }
                seen.push(key);
            }
        }
    }
    Ok(found)
}
