//! Feature views against their sources: tables, columns and types.

use std::collections::{BTreeSet, HashMap, HashSet};

use arrow_schema::SchemaRef;
use futures::StreamExt;
use provender_core::model::{FeatureView, Relation};
use provender_core::provider::{ObjectKind, unsupported};
use provender_core::request::SourceRef;
use provender_core::{Context, Error, Result};
use provender_definitions::Loaded;

use super::located;
use crate::FeatureStore;
use crate::request::source::{BoundOutput, Place, bind};
use crate::stores::Role;

/// How many sources are asked for their schema at once.
const N_CONCURRENT: usize = 8;

/// A source of an offline store.
type SourceKey = (Option<String>, SourceRef);

/// The views that fit their sources, with the types of their aggregations, and all problems.
pub(super) async fn feature_views(
    store: &FeatureStore,
    cx: &Context,
    loaded: &Loaded,
) -> (Vec<FeatureView>, Vec<Error>) {
    let views = &loaded.definitions.feature_views;
    let mut schemas = schemas(store, cx, views.values()).await;
    let mut good = Vec::new();
    let mut errors = Vec::new();
    // Views that share a source share its definition's mistakes, which are told once.
    let mut told: HashSet<String> = HashSet::new();
    for view in views.values() {
        if let Err(error) = store
            .stores()
            .block(Role::Online, view.online_store.as_deref())
        {
            errors.push(located(
                &loaded.locations,
                ObjectKind::FeatureView,
                &view.name,
                Some("online_store"),
                error
                    .prefixed(format_args!("view {:?}: ", view.name))
                    .context("view", view.name.clone()),
            ));
        }
        let source = &view.source;
        let key = (source.store.clone(), SourceRef::from(source));
        let schema = match schemas.get(&key) {
            Some(Ok(schema)) => schema.clone(),
            _ => {
                if let Some(Err(error)) = schemas.remove(&key) {
                    let field = source_field(&error, source.filter.is_some(), &source.relation);
                    let error = error
                        .context("view", view.name.clone())
                        .context("source", source.name.clone());
                    errors.push(located(
                        &loaded.locations,
                        ObjectKind::Source,
                        &source.name,
                        Some(field),
                        error,
                    ));
                }
                continue;
            }
        };
        let wanted: Vec<usize> = (0..view.outputs().len()).collect();
        match bind(view, &schema, &wanted) {
            Ok(bound) => {
                let mut view = view.clone();
                let windows = bound.outputs.into_iter().skip(view.features.len());
                for (aggregation, output) in view.aggregations.iter_mut().zip(windows) {
                    if let BoundOutput::Window { value_type, .. } = output {
                        aggregation.value_type = Some(value_type);
                    }
                }
                good.push(view);
            }
            Err(problems) => errors.extend(problems.into_iter().filter_map(|problem| {
                let (kind, name, field) = match &problem.place {
                    Place::View(field) => (ObjectKind::FeatureView, &view.name, field),
                    Place::Source(field) => {
                        let shared = !field.starts_with("columns.");
                        if shared
                            && !told.insert(format!("{} {field} {}", source.name, problem.error))
                        {
                            return None;
                        }
                        (ObjectKind::Source, &source.name, field)
                    }
                };
                Some(located(
                    &loaded.locations,
                    kind,
                    name,
                    Some(field),
                    problem.error,
                ))
            })),
        }
    }
    (good, errors)
}

/// The schema of each distinct source, asked once.
async fn schemas(
    store: &FeatureStore,
    cx: &Context,
    views: impl Iterator<Item = &FeatureView>,
) -> HashMap<SourceKey, Result<SchemaRef>> {
    let mut seen = BTreeSet::new();
    let mut keys: Vec<SourceKey> = Vec::new();
    for view in views {
        let source = SourceRef::from(&view.source);
        if seen.insert((view.source.store.clone(), format!("{source:?}"))) {
            keys.push((view.source.store.clone(), source));
        }
    }
    let asked = keys.into_iter().map(|key| {
        let (store, cx) = (store.clone(), cx.clone());
        async move {
            let schema = source_schema(&store, &cx, key.0.as_deref(), &key.1).await;
            (key, schema)
        }
    });
    futures::stream::iter(asked)
        .buffered(N_CONCURRENT)
        .collect()
        .await
}

/// The schema of a source; SQL in it needs a store that has SQL.
pub(crate) async fn source_schema(
    store: &FeatureStore,
    cx: &Context,
    name: Option<&str>,
    source: &SourceRef,
) -> Result<SchemaRef> {
    cx.check()?;
    let offline = store.stores().offline(cx, name).await?;
    let capabilities = offline.capabilities();
    let has_sql = matches!(source.relation, Relation::Query(_)) || source.filter.is_some();
    if has_sql && !capabilities.sql_sources {
        return Err(
            unsupported(&offline.info(), "SQL in sources (`query:` and `filter:`)")
                .help("name a table, and make it hold the rows that the SQL would give"),
        );
    }
    if source.version.is_some() && !capabilities.versions {
        return Err(unsupported(
            &offline.info(),
            "reading past versions of a table",
        ));
    }
    offline.schema(cx, source).await
}

/// Which field of a source an error of its schema is about.
fn source_field(error: &Error, has_filter: bool, relation: &Relation) -> &'static str {
    match relation {
        _ if error.code() == "P106" => "store",
        Relation::Query(_) => "query",
        Relation::Table(_) if error.code() == "P123" && has_filter => "filter",
        Relation::Table(_) => "table",
    }
}
