//! What is applied, for people and programs: a list, and one object in full.

use provender_core::catalog::Versions;
use provender_core::model::{
    Documentation, FeatureService, FeatureView, JoinKey, OnDemandView, Relation, RequestField,
    Source, split_version,
};
use provender_core::names::did_you_mean;
use provender_core::provider::ObjectKind;
use provender_core::time::format_duration;
use provender_core::{Catalog, Context, Error, Result, ValueType, codes};
use serde::Serialize;

use crate::FeatureStore;
use crate::request::resolve::resolve;

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedObject {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// Its newest version; `None` for kinds without versions.
    pub version: Option<u32>,
    /// What it consists of, in a few words.
    pub summary: String,
    /// Who answers for it.
    pub owner: String,
    /// What it is for.
    pub description: String,
}

/// One object in full. Fields that its kind does not have are empty.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The version described; `None` for kinds without versions.
    pub version: Option<u32>,
    /// All versions, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<u32>,
    /// Description, owner, tags.
    #[serde(flatten)]
    pub documentation: Documentation,
    /// Its entities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<String>,
    /// Names and types of the columns that requests bring to identify rows; of a service after
    /// mapping.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<JoinKey>,
    /// Names and types of other values that requests bring.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<RequestField>,
    /// Its features, in output order; of a service under their output names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<DescribedFeature>,
    /// Where its rows come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<DescribedSource>,
    /// How old a row may be, such as `3h`; `None` is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Whether it is materialised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// The views it takes features from, with versions: `airport_weather@2`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<String>,
    /// What uses it, in the newest versions: names, with versions where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
}

/// A feature of a description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DescribedFeature {
    /// The name.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub value_type: Option<ValueType>,
    /// Where it comes from: a column, a window, an expression, or `view@2:feature`.
    pub from: String,
    /// What it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A source of a description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DescribedSource {
    /// The source's name.
    pub name: String,
    /// The named offline store; `None` is the project's `offline_store`.
    pub store: Option<String>,
    /// The table, if it is one.
    pub table: Option<String>,
    /// The query, if it is one.
    pub query: Option<String>,
    /// The condition.
    pub filter: Option<String>,
    /// The column of event times.
    pub timestamp: String,
    /// The column of created times.
    pub created_timestamp: Option<String>,
    /// The columns that decide between rows of equal times.
    pub tie_breakers: Vec<String>,
}

impl FeatureStore {
    /// Everything that is applied, in its newest version, by kind and name.
    ///
    /// # Errors
    /// `Unavailable` (`P304`), `DataLoss` (`P303`).
    pub async fn list(&self, cx: &Context) -> Result<Vec<ListedObject>> {
        let catalog = self.catalog(cx).await?;
        let mut listed = Vec::new();
        for (name, entity) in &catalog.entities {
            let keys: Vec<String> = entity.join_keys.iter().map(key_text).collect();
            let summary = keys.join(", ");
            listed.push(line(
                ObjectKind::Entity,
                name,
                None,
                summary,
                &entity.documentation,
            ));
        }
        for (name, source) in &catalog.sources {
            let summary = format!("{}, by {}", relation_text(source), source.timestamp);
            listed.push(line(
                ObjectKind::Source,
                name,
                None,
                summary,
                &source.documentation,
            ));
        }
        for (name, version, view) in newest(&catalog.feature_views) {
            let summary = view_summary(view);
            let kind = ObjectKind::FeatureView;
            listed.push(line(
                kind,
                name,
                Some(version),
                summary,
                &view.documentation,
            ));
        }
        for (name, version, view) in newest(&catalog.on_demand_feature_views) {
            let n_features = count(view.features.len(), "feature");
            let mut from: Vec<&str> = view.inputs.iter().map(String::as_str).collect();
            if !view.request.is_empty() {
                from.push("the request");
            }
            let summary = format!("{n_features} from {}", from.join(", "));
            let kind = ObjectKind::OnDemandFeatureView;
            listed.push(line(
                kind,
                name,
                Some(version),
                summary,
                &view.documentation,
            ));
        }
        for (name, version, service) in newest(&catalog.feature_services) {
            let features = service.features.iter().filter_map(|r| r.features.as_ref());
            let n_features = count(features.map(Vec::len).sum(), "feature");
            let n_views = count(service.features.len(), "view");
            let summary = format!("{n_features} of {n_views}");
            let kind = ObjectKind::FeatureService;
            listed.push(line(
                kind,
                name,
                Some(version),
                summary,
                &service.documentation,
            ));
        }
        Ok(listed)
    }

    /// One object of any kind by its name; of a view or service the given version, else the newest.
    /// `name@2` names a version too. A view or service goes before an entity or source of its name.
    ///
    /// # Errors
    /// `NotFound` (`P401`) with the nearest name or the known versions.
    pub async fn describe(
        &self,
        cx: &Context,
        name: &str,
        version: Option<u32>,
    ) -> Result<Description> {
        let catalog = self.catalog(cx).await?;
        let (name, version) = match split_version(name) {
            Some((name, Some(named))) => (name, version.or(Some(named))),
            _ => (name, version),
        };
        if catalog.feature_views.contains_key(name) {
            let (version, view) = catalog.feature_view(name, version)?;
            return Ok(describe_view(&catalog, version, &view));
        }
        if catalog.on_demand_feature_views.contains_key(name) {
            let (version, view) = catalog.on_demand_view(name, version)?;
            return describe_on_demand(&catalog, version, &view);
        }
        if catalog.feature_services.contains_key(name) {
            let (version, service) = catalog.feature_service(name, version)?;
            return describe_service(&catalog, version, &service);
        }
        if let Some(entity) = catalog.entities.get(name) {
            let used_by = views_where(&catalog, |view| {
                view.entities.iter().any(|used| used.name == name)
            });
            return Ok(Description {
                keys: entity.join_keys.clone(),
                used_by,
                ..empty(ObjectKind::Entity, name, &entity.documentation)
            });
        }
        if let Some(source) = catalog.sources.get(name) {
            return Ok(Description {
                source: Some(describe_source(source)),
                used_by: views_where(&catalog, |view| view.source.name == name),
                ..empty(ObjectKind::Source, name, &source.documentation)
            });
        }
        let names = catalog
            .view_names()
            .chain(catalog.feature_services.keys().map(String::as_str))
            .chain(catalog.entities.keys().map(String::as_str))
            .chain(catalog.sources.keys().map(String::as_str));
        Err(Error::new(
            &codes::UNKNOWN_VIEW,
            format!("nothing named {name:?} is applied"),
        )
        .help(did_you_mean(name, names)))
    }
}

fn describe_view(catalog: &Catalog, version: u32, view: &FeatureView) -> Description {
    let columns = view.features.iter().map(|feature| DescribedFeature {
        name: feature.name.clone(),
        value_type: Some(feature.value_type.clone()),
        from: format!("column {}", feature.column),
        description: feature.documentation.description.clone(),
    });
    let windows = view.aggregations.iter().map(|window| DescribedFeature {
        name: window.feature.clone(),
        value_type: window.value_type.clone(),
        from: format!(
            "{}({}) over {}",
            window.function,
            window.column.as_deref().unwrap_or("*"),
            format_duration(window.window_us)
        ),
        description: window.documentation.description.clone(),
    });
    Description {
        version: Some(version),
        versions: numbers(catalog.feature_views.get(&view.name)),
        entities: view
            .entities
            .iter()
            .map(|entity| entity.name.clone())
            .collect(),
        keys: view.join_keys().into_iter().cloned().collect(),
        features: columns.chain(windows).collect(),
        source: Some(describe_source(&view.source)),
        ttl: view.ttl_us.map(format_duration),
        online: Some(view.online),
        used_by: users(catalog, &view.name),
        ..empty(ObjectKind::FeatureView, &view.name, &view.documentation)
    }
}

fn describe_on_demand(catalog: &Catalog, version: u32, view: &OnDemandView) -> Result<Description> {
    let whole = provender_core::model::FeatureRef {
        view: view.name.clone(),
        version: Some(version),
        ..Default::default()
    };
    let features = view.features.iter().map(|feature| DescribedFeature {
        name: feature.name.clone(),
        value_type: Some(feature.value_type.clone()),
        from: feature.sql.clone(),
        description: feature.documentation.description.clone(),
    });
    Ok(Description {
        version: Some(version),
        versions: numbers(catalog.on_demand_feature_views.get(&view.name)),
        keys: needed_keys(catalog, &[whole])?,
        request: view.request.clone(),
        features: features.collect(),
        uses: view.inputs.clone(),
        used_by: users(catalog, &view.name),
        ..empty(
            ObjectKind::OnDemandFeatureView,
            &view.name,
            &view.documentation,
        )
    })
}

fn describe_service(
    catalog: &Catalog,
    version: u32,
    service: &FeatureService,
) -> Result<Description> {
    let resolved = resolve(catalog, &service.features, false)?;
    let version_of = |view: &str, alias: Option<&str>| {
        let mut references = service.features.iter();
        references
            .find(|known| known.view == view && known.alias.as_deref() == alias)
            .and_then(|known| known.version)
    };
    let features = resolved.outputs.iter().map(|output| DescribedFeature {
        name: output.name.clone(),
        value_type: Some(output.value_type.clone()),
        from: version_of(&output.view, output.alias.as_deref()).map_or_else(
            || format!("{}:{}", output.view, output.feature),
            |version| format!("{}@{version}:{}", output.view, output.feature),
        ),
        description: String::new(),
    });
    let mut uses: Vec<String> = Vec::new();
    for reference in &service.features {
        let text = match reference.version {
            Some(version) => format!("{}@{version}", reference.view),
            None => reference.view.clone(),
        };
        if !uses.contains(&text) {
            uses.push(text);
        }
    }
    let requests = resolved.requests.iter().map(|field| RequestField {
        name: field.name.clone(),
        value_type: field.value_type.clone(),
    });
    Ok(Description {
        version: Some(version),
        versions: numbers(catalog.feature_services.get(&service.name)),
        keys: needed_keys(catalog, &service.features)?,
        request: requests.collect(),
        features: features.collect(),
        uses,
        ..empty(
            ObjectKind::FeatureService,
            &service.name,
            &service.documentation,
        )
    })
}

/// The key columns that references need, after mapping, each name and type once.
fn needed_keys(
    catalog: &Catalog,
    references: &[provender_core::model::FeatureRef],
) -> Result<Vec<JoinKey>> {
    let mut keys: Vec<JoinKey> = Vec::new();
    for join in resolve(catalog, references, true)?.joins {
        for (key, column) in join.keys {
            let key = JoinKey {
                name: column,
                value_type: key.value_type,
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    Ok(keys)
}

fn describe_source(source: &Source) -> DescribedSource {
    let (table, query) = match &source.relation {
        Relation::Table(table) => (Some(table.clone()), None),
        Relation::Query(query) => (None, Some(query.clone())),
    };
    DescribedSource {
        name: source.name.clone(),
        store: source.store.clone(),
        table,
        query,
        filter: source.filter.clone(),
        timestamp: source.timestamp.clone(),
        created_timestamp: source.created_timestamp.clone(),
        tie_breakers: source.tie_breakers.clone(),
    }
}

/// Newest on-demand views and services that use a view.
fn users(catalog: &Catalog, name: &str) -> Vec<String> {
    let uses = |input: &String| split_version(input).is_some_and(|(input, _)| input == name);
    let views = newest(&catalog.on_demand_feature_views)
        .filter(|(.., view)| view.inputs.iter().any(uses))
        .map(|(user, version, _)| format!("{user}@{version}"));
    let services = newest(&catalog.feature_services)
        .filter(|(.., service)| service.features.iter().any(|used| used.view == name))
        .map(|(user, version, _)| format!("{user}@{version}"));
    views.chain(services).collect()
}

fn views_where(catalog: &Catalog, uses: impl Fn(&FeatureView) -> bool) -> Vec<String> {
    newest(&catalog.feature_views)
        .filter(|(.., view)| uses(view))
        .map(|(name, version, _)| format!("{name}@{version}"))
        .collect()
}

fn empty(kind: ObjectKind, name: &str, documentation: &Documentation) -> Description {
    Description {
        kind,
        name: name.to_owned(),
        version: None,
        versions: Vec::new(),
        documentation: documentation.clone(),
        entities: Vec::new(),
        keys: Vec::new(),
        request: Vec::new(),
        features: Vec::new(),
        source: None,
        ttl: None,
        online: None,
        uses: Vec::new(),
        used_by: Vec::new(),
    }
}

fn line(
    kind: ObjectKind,
    name: &str,
    version: Option<u32>,
    summary: String,
    documentation: &Documentation,
) -> ListedObject {
    ListedObject {
        kind,
        name: name.to_owned(),
        version,
        summary,
        owner: documentation.owner.clone(),
        description: documentation.description.clone(),
    }
}

fn view_summary(view: &FeatureView) -> String {
    let entities: Vec<&str> = view.entities.iter().map(|e| e.name.as_str()).collect();
    let of = if entities.is_empty() {
        "global".to_owned()
    } else {
        entities.join(", ")
    };
    let n_features = count(view.outputs().len(), "feature");
    let ttl = view
        .ttl_us
        .map_or_else(String::new, |ttl| format!(", ttl {}", format_duration(ttl)));
    let offline = if view.online { "" } else { ", offline only" };
    format!("{of}: {n_features} from {}{ttl}{offline}", view.source.name)
}

fn relation_text(source: &Source) -> String {
    match &source.relation {
        Relation::Table(table) => format!("table {table}"),
        Relation::Query(_) => "a query".to_owned(),
    }
}

fn key_text(key: &JoinKey) -> String {
    format!("{} {}", key.name, key.value_type)
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn numbers<T>(versions: Option<&Versions<T>>) -> Vec<u32> {
    versions.map_or_else(Vec::new, |versions| versions.keys().copied().collect())
}

fn newest<T>(
    all: &std::collections::BTreeMap<String, Versions<T>>,
) -> impl Iterator<Item = (&String, u32, &T)> {
    all.iter().filter_map(|(name, versions)| {
        let (version, newest) = versions.last_key_value()?;
        Some((name, *version, newest.as_ref()))
    })
}
