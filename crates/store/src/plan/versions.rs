//! Which version an object gets: one more than the greatest ever used for its name.

use std::collections::HashMap;

use provender_core::catalog::Versions;
use provender_core::model::Definitions;
use provender_core::provider::{Change, ObjectKind, Revision, ViewVersion};
use provender_core::{Catalog, Context, Result};

use crate::FeatureStore;

/// More commits than any registry holds, and yet a number that any database takes.
const ALL_COMMITS: usize = i32::MAX as usize;

/// The greatest version ever used for each name, deleted objects included.
///
/// Feature views and on-demand views count together: they share one space of names, so `view@2`
/// must never mean first the one and later the other.
#[derive(Debug, Default)]
pub(super) struct Used {
    views: HashMap<String, u32>,
    services: HashMap<String, u32>,
}

impl Used {
    /// Reads the catalog, and the registry's history if the definitions have names that the catalog
    /// lacks: they may be names of objects that were deleted.
    pub(super) async fn read(
        store: &FeatureStore,
        cx: &Context,
        before: &Catalog,
        definitions: &Definitions,
    ) -> Result<Self> {
        let mut used = Self::default();
        for (name, newest) in
            newest(&before.feature_views).chain(newest(&before.on_demand_feature_views))
        {
            used.count(ObjectKind::FeatureView, name, newest);
        }
        for (name, newest) in newest(&before.feature_services) {
            used.count(ObjectKind::FeatureService, name, newest);
        }
        let mut views = definitions
            .feature_views
            .keys()
            .chain(definitions.on_demand_feature_views.keys());
        let mut services = definitions.feature_services.keys();
        let is_new = views.any(|name| !used.views.contains_key(name))
            || services.any(|name| !used.services.contains_key(name));
        if is_new && before.revision > Revision(0) {
            let commits = store
                .registry()
                .history(cx, Revision(0), ALL_COMMITS)
                .await?;
            for change in commits.iter().flat_map(|commit| &commit.changes) {
                if let Change::Put(object) = change {
                    used.count(object.kind, &object.name, object.version);
                }
            }
        }
        Ok(used)
    }

    /// The version after all that were ever used.
    pub(super) fn next(&self, kind: ObjectKind, name: &str) -> u32 {
        let used = match kind {
            ObjectKind::FeatureView | ObjectKind::OnDemandFeatureView => self.views.get(name),
            ObjectKind::FeatureService => self.services.get(name),
            _ => None,
        };
        used.map_or(1, |used| used.saturating_add(1))
    }

    fn count(&mut self, kind: ObjectKind, name: &str, version: u32) {
        let used = match kind {
            ObjectKind::FeatureView | ObjectKind::OnDemandFeatureView => &mut self.views,
            ObjectKind::FeatureService => &mut self.services,
            _ => return,
        };
        let greatest = used.entry(name.to_owned()).or_default();
        *greatest = version.max(*greatest);
    }
}

/// The versions of feature views that are in `before` and not in `after`.
pub(super) fn dropped(before: &Catalog, after: &Catalog) -> Vec<ViewVersion> {
    let mut dropped = Vec::new();
    for (name, versions) in &before.feature_views {
        let kept = after.feature_views.get(name);
        for version in versions.keys() {
            if kept.is_none_or(|kept| !kept.contains_key(version)) {
                dropped.push(ViewVersion {
                    project: before.project.clone(),
                    view: name.clone(),
                    version: *version,
                });
            }
        }
    }
    dropped
}

fn newest<T>(
    all: &std::collections::BTreeMap<String, Versions<T>>,
) -> impl Iterator<Item = (&str, u32)> {
    all.iter().filter_map(|(name, versions)| {
        let (version, _) = versions.last_key_value()?;
        Some((name.as_str(), *version))
    })
}
