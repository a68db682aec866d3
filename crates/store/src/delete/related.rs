//! Which views hold rows of the keys that are deleted.
//!
//! Decides it from definitions alone: all versions of the view, and every view over the same table
//! whose join keys are the very same columns. Views over that table under other keys cannot be erased
//! by these keys, and are told about.

use std::sync::Arc;

use provender_core::Catalog;
use provender_core::model::{FeatureView, Relation};
use provender_core::names::find_column;
use provender_core::provider::ViewVersion;
use provender_core::request::ViewLayout;

use crate::cast::can_be_key;

/// A version of a view that the given keys identify rows of.
#[derive(Clone, Debug)]
pub(super) struct Related {
    /// The version.
    pub(super) version: ViewVersion,
    /// Its definition.
    pub(super) view: Arc<FeatureView>,
    /// For each of its join keys, which of the given keys it is.
    pub(super) keys: Vec<usize>,
}

/// What else the deleted rows are in.
#[derive(Debug, Default)]
pub(super) struct Relations {
    /// Versions that the keys identify rows of, the view's own among them.
    pub(super) erased: Vec<Related>,
    /// Versions of views that read the rows under other keys.
    pub(super) derived: Vec<(ViewVersion, Arc<FeatureView>)>,
    /// Views over queries that name the table.
    pub(super) queries: Vec<String>,
    /// Tables that other versions of the view read.
    pub(super) other_tables: Vec<String>,
}

impl Relations {
    /// Looks through everything that is applied. `columns` are those of the view's source, if they
    /// are known.
    pub(super) fn find(
        catalog: &Catalog,
        project: &str,
        view: &FeatureView,
        columns: Option<&[String]>,
    ) -> Self {
        let mut relations = Self::default();
        let given = Keys::of(view, columns);
        for (name, versions) in &catalog.feature_views {
            for (&version, other) in versions {
                let at = ViewVersion {
                    project: project.to_owned(),
                    view: name.clone(),
                    version,
                };
                let keys = if *name == view.name {
                    relations.other_table(view, other);
                    given.by_name(other)
                } else if is_same_source(view, other) {
                    given.by_column(&Keys::of(other, columns))
                } else {
                    relations.query(view, other);
                    continue;
                };
                match keys {
                    Some(keys) => relations.erased.push(Related {
                        version: at,
                        view: other.clone(),
                        keys,
                    }),
                    None => relations.derived.push((at, other.clone())),
                }
            }
        }
        relations
    }

    fn other_table(&mut self, view: &FeatureView, other: &FeatureView) {
        if is_same_source(view, other) {
            return;
        }
        let table = match &other.source.relation {
            Relation::Table(table) => format!("table {table:?}"),
            Relation::Query(_) => "a query".to_owned(),
        };
        if !self.other_tables.contains(&table) {
            self.other_tables.push(table);
        }
    }

    fn query(&mut self, view: &FeatureView, other: &FeatureView) {
        let (Relation::Table(table), Relation::Query(query)) =
            (&view.source.relation, &other.source.relation)
        else {
            return;
        };
        let names_it = other.source.store == view.source.store
            && query.to_lowercase().contains(&table.to_lowercase());
        if names_it && !self.queries.contains(&other.name) {
            self.queries.push(other.name.clone());
        }
    }
}

impl Related {
    /// The layout for deletes, which need no tie breakers; `None` for a view that was applied
    /// without the types of its aggregations, of which there can be no rows.
    pub(super) fn layout(&self) -> Option<ViewLayout> {
        ViewLayout::of(&self.version.project, self.version.version, &self.view).ok()
    }
}

fn is_same_source(a: &FeatureView, b: &FeatureView) -> bool {
    a.source.store == b.source.store && a.source.relation == b.source.relation
}

/// A view's join keys and the columns that they are read from.
struct Keys<'a> {
    view: &'a FeatureView,
    columns: Vec<String>,
}

impl<'a> Keys<'a> {
    fn of(view: &'a FeatureView, columns: Option<&[String]>) -> Self {
        let spelled = |name: &str| {
            let column = view.source.key_column(name);
            let known = columns
                .and_then(|known| find_column(column, known.iter().map(String::as_str)).ok());
            known.unwrap_or(column).to_owned()
        };
        let keys = view.join_keys();
        Self {
            view,
            columns: keys.iter().map(|key| spelled(&key.name)).collect(),
        }
    }

    /// For each key of another version of the same view, the key of its name.
    fn by_name(&self, other: &FeatureView) -> Option<Vec<usize>> {
        let keys = self.view.join_keys();
        let others = other.join_keys();
        if keys.len() != others.len() {
            return None;
        }
        let found = others.iter().map(|wanted| {
            let at = keys.iter().position(|key| key.name == wanted.name)?;
            can_be_key(&wanted.value_type, &keys[at].value_type.to_arrow()).then_some(at)
        });
        found.collect()
    }

    /// For each key of another view of the same source, the key that is read from its column.
    fn by_column(&self, other: &Keys<'_>) -> Option<Vec<usize>> {
        if self.columns.len() != other.columns.len() {
            return None;
        }
        let keys = self.view.join_keys();
        let found =
            other
                .view
                .join_keys()
                .into_iter()
                .zip(&other.columns)
                .map(|(wanted, column)| {
                    let at = self.columns.iter().position(|known| known == column)?;
                    can_be_key(&wanted.value_type, &keys[at].value_type.to_arrow()).then_some(at)
                });
        let found: Vec<usize> = found.collect::<Option<_>>()?;
        let all_used = (0..self.columns.len()).all(|at| found.contains(&at));
        all_used.then_some(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use provender_definitions::parse_definitions;

    const DEFINITIONS: &str = "
entities:
  - {name: airport, join_keys: [{name: origin, type: string}]}
  - {name: place, join_keys: [{name: place, type: string}]}
  - {name: number, join_keys: [{name: place, type: int64}]}
  - {name: route, join_keys: [{name: origin, type: string}, {name: dest, type: string}]}
  - {name: back, join_keys: [{name: dest, type: string}, {name: origin, type: string}]}
sources:
  - {name: flights, table: flights, timestamp: at, columns: {place: ORIGIN}}
  - {name: elsewhere, table: flights, store: other, timestamp: at}
  - {name: counted, query: 'SELECT * FROM Flights', timestamp: at}
feature_views:
  - {name: departures, entities: [airport], source: flights, features: [{name: a, type: int64}]}
  - {name: same_column, entities: [place], source: flights, features: [{name: a, type: int64}]}
  - {name: other_type, entities: [number], source: flights, features: [{name: a, type: int64}]}
  - {name: routes, entities: [route], source: flights, features: [{name: a, type: int64}]}
  - {name: routes_back, entities: [back], source: flights, features: [{name: a, type: int64}]}
  - {name: other_store, entities: [airport], source: elsewhere, features: [{name: a, type: int64}]}
  - {name: by_query, entities: [airport], source: counted, features: [{name: a, type: int64}]}
";

    fn relations(view: &str) -> Relations {
        let loaded = parse_definitions(&[("all.yaml", DEFINITIONS)]).unwrap();
        let views = loaded.definitions.feature_views;
        let view = views[view].clone();
        let mut catalog = Catalog::default();
        for (name, view) in views {
            let versions = [(1, Arc::new(view))].into();
            catalog.feature_views.insert(name, versions);
        }
        let columns = ["at", "origin", "dest", "a"].map(str::to_owned);
        Relations::find(&catalog, "p", &view, Some(&columns))
    }

    #[test]
    fn the_same_columns_of_the_same_table_are_the_same_keys() {
        let found = relations("departures");
        let erased: Vec<&str> = found
            .erased
            .iter()
            .map(|r| r.version.view.as_str())
            .collect();
        assert_eq!(erased, ["departures", "same_column"]);
        let derived: Vec<&str> = found.derived.iter().map(|(v, _)| v.view.as_str()).collect();
        assert_eq!(derived, ["other_type", "routes", "routes_back"]);
        assert_eq!(found.queries, ["by_query"]);
        assert!(found.other_tables.is_empty());
    }

    #[test]
    fn keys_of_several_columns_are_matched_in_any_order() {
        let found = relations("routes");
        let erased: Vec<(&str, &[usize])> = found
            .erased
            .iter()
            .map(|related| (related.version.view.as_str(), related.keys.as_slice()))
            .collect();
        assert_eq!(
            erased,
            [("routes", &[0, 1][..]), ("routes_back", &[1, 0][..])]
        );
    }
}
