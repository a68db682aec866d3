//! Which definitions a request uses, and at which state each of their sources is read.
//!
//! Decides that a source is pinned before it is read, and that the join then reads exactly the pinned
//! state: it is handed a catalog in which the sources of views name it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use provender_core::model::{FeatureRef, Relation, split_version};
use provender_core::provider::ObjectKind;
use provender_core::request::SourceRef;
use provender_core::{Catalog, Context, Error, ErrorKind, Result, codes};

use super::manifest::{UsedDefinition, UsedSource};
use crate::FeatureStore;
use crate::request::resolve::{AnyView, JoinedView};
use crate::request::{HistoricalRequest, Selection};

/// Names the state of every source of the joined views.
///
/// # Errors
/// What the stores say; a store, or a source, without states of its own is no error.
pub(super) async fn pin(
    store: &FeatureStore,
    cx: &Context,
    joins: &[JoinedView],
) -> Result<Vec<UsedSource>> {
    let mut known: HashMap<(Option<String>, SourceRef), usize> = HashMap::new();
    let mut used: Vec<UsedSource> = Vec::new();
    for join in joins {
        let view = format!("{}@{}", join.name, join.version);
        let source = &join.view.source;
        let source_ref = SourceRef::from(source);
        let key = (source.store.clone(), source_ref.clone());
        if let Some(&at) = known.get(&key) {
            if !used[at].views.contains(&view) {
                used[at].views.push(view);
            }
            continue;
        }
        let offline = store.stores().offline(cx, source.store.as_deref()).await?;
        let pinned = if offline.capabilities().versions {
            match offline.pin(cx, &source_ref).await {
                Ok(version) => Ok(version),
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    Err(error.message().to_owned())
                }
                Err(error) => return Err(error.context("source", source.name.clone())),
            }
        } else {
            Err(format!(
                "{} names no past states of its tables",
                offline.info().display_name
            ))
        };
        known.insert(key, used.len());
        used.push(UsedSource {
            source: source.name.clone(),
            views: vec![view],
            store: source.store.clone(),
            relation: source.relation.clone(),
            filter: source.filter.clone(),
            not_pinned: pinned.as_ref().err().cloned(),
            version: pinned.ok(),
        });
    }
    Ok(used)
}

/// The catalog in which views read the recorded states.
pub(super) fn pinned_catalog(catalog: &Catalog, sources: &[UsedSource]) -> Catalog {
    let mut catalog = catalog.clone();
    for used in sources {
        let Some(pinned) = &used.version else {
            continue;
        };
        for view in &used.views {
            let Some((name, Some(version))) = split_version(view) else {
                continue;
            };
            let versions = catalog.feature_views.get_mut(name);
            if let Some(view) = versions.and_then(|versions| versions.get_mut(&version)) {
                Arc::make_mut(view).source.version = Some(pinned.clone());
            }
        }
    }
    catalog
}

/// The request's features, each with the version of its view that the catalog means now, and the name of
/// its service.
///
/// # Errors
/// `NotFound` (`P401`).
pub(super) fn fixed_features(
    catalog: &Catalog,
    request: &HistoricalRequest,
) -> Result<(Option<String>, Vec<FeatureRef>)> {
    let service = match &request.selection {
        Selection::Service { name, version } => {
            let (version, _) = catalog.feature_service(name, *version)?;
            Some(format!("{name}@{version}"))
        }
        Selection::Features(_) => None,
    };
    let mut features = request.selection.references(catalog)?;
    for feature in &mut features {
        let (version, _) = AnyView::find(catalog, &feature.view, feature.version)?;
        feature.version = Some(version);
    }
    Ok((service, features))
}

/// Every definition that the features take part in, by kind and name.
///
/// # Errors
/// `NotFound` (`P401`) for an input that the catalog does not have.
pub(super) fn definitions(
    catalog: &Catalog,
    service: Option<&str>,
    features: &[FeatureRef],
) -> Result<Vec<UsedDefinition>> {
    let mut found = BTreeSet::new();
    if let Some((name, Some(version))) = service.and_then(split_version) {
        found.insert(UsedDefinition {
            kind: ObjectKind::FeatureService,
            name: name.to_owned(),
            version,
        });
    }
    let mut open: Vec<(String, Option<u32>)> = (features.iter())
        .map(|feature| (feature.view.clone(), feature.version))
        .collect();
    while let Some((name, version)) = open.pop() {
        let (version, view) = AnyView::find(catalog, &name, version)?;
        let kind = match &view {
            AnyView::Joined(_) => ObjectKind::FeatureView,
            AnyView::Computed(_) => ObjectKind::OnDemandFeatureView,
        };
        let is_new = found.insert(UsedDefinition {
            kind,
            name,
            version,
        });
        if let (true, AnyView::Computed(view)) = (is_new, view) {
            for input in &view.inputs {
                let (name, version) = split_version(input).ok_or_else(|| {
                    Error::new(
                        &codes::REGISTRY_DAMAGED,
                        format!("input {input:?} of {:?} names no view", view.name),
                    )
                })?;
                open.push((name.to_owned(), version));
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// A source for messages: `table "weather"`.
pub(super) fn described(relation: &Relation) -> String {
    match relation {
        Relation::Table(table) => format!("table {table:?}"),
        Relation::Query(query) => format!("the tables of query {query:?}"),
    }
}
