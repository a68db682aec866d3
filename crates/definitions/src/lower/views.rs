//! Feature views: entities and source resolved, either features or aggregations.

use provender_core::model::{AggregateFunction, Aggregation, Entity, Feature, FeatureView};
use provender_core::names::did_you_mean;
use provender_core::provider::ObjectKind;
use provender_core::{Error, codes};

use super::names::UniqueNames;
use super::values::documentation;
use super::{Found, Lowering, Subject};
use crate::located::{Attempt, Located};
use crate::spec::{AggregationSpec, FeatureSpec, FeatureViewSpec};

impl Lowering {
    pub(super) fn feature_view(&mut self, found: &Found<FeatureViewSpec>) {
        let spec = &found.spec;
        let subject = Subject::new(ObjectKind::FeatureView, &spec.name.value);
        if self.definitions.feature_views.contains_key(&subject.name) {
            return;
        }
        let (kind, name) = (subject.kind, subject.name.as_str());
        self.locations.add_object(kind, name, &found.at);
        self.locations
            .add_field(kind, name, "source", &spec.source.at);
        let optional = [("ttl", &spec.ttl), ("online_store", &spec.online_store)];
        for (field, text) in optional {
            if let Some(text) = text {
                self.locations.add_field(kind, name, field, &text.at);
            }
        }
        let lowered = self.attempt(&subject, |this| this.lower_view(&subject, found));
        if let Some(view) = lowered {
            self.definitions.feature_views.insert(subject.name, view);
        }
    }

    fn lower_view(
        &mut self,
        subject: &Subject,
        found: &Found<FeatureViewSpec>,
    ) -> Option<FeatureView> {
        let spec = &found.spec;
        self.check_kind_of_view(subject, found);
        let mut names = ViewNames::default();
        let entities = self.entities_of(subject, spec, &mut names);
        let source = self.definitions.sources.get(&spec.source.value).cloned();
        if source.is_none() && !self.is_excused(ObjectKind::Source, &spec.source.value) {
            let known: Vec<String> = self.definitions.sources.keys().cloned().collect();
            let known = known.iter().map(String::as_str);
            let (name, at) = (&spec.source.value, &spec.source.at);
            self.undefined(subject, at, "source", name, known);
        }
        let ttl_us = match &spec.ttl {
            None => None,
            Some(ttl) => self.duration(subject, "ttl", ttl),
        };
        let online_store = self.filled_if_any(subject, "online_store", spec.online_store.as_ref());
        let mut features = Vec::new();
        for feature in elements(spec.features.as_ref()) {
            features.extend(self.feature(subject, feature, &mut names));
        }
        let mut aggregations = Vec::new();
        for aggregation in elements(spec.aggregations.as_ref()) {
            aggregations.extend(self.aggregation(subject, aggregation, &mut names));
        }
        Some(FeatureView {
            name: subject.name.clone(),
            entities: entities?,
            source: source?,
            ttl_us,
            features,
            aggregations,
            online: spec.online.unwrap_or(true),
            online_store: online_store?,
            documentation: documentation(
                spec.description.as_ref(),
                spec.owner.as_ref(),
                spec.tags.as_ref(),
            ),
        })
    }

    fn check_kind_of_view(&mut self, subject: &Subject, found: &Found<FeatureViewSpec>) {
        let spec = &found.spec;
        let filled = |n: usize| n > 0;
        let n_features = spec.features.as_ref().map_or(0, |list| list.value.len());
        let n_aggregations = spec
            .aggregations
            .as_ref()
            .map_or(0, |list| list.value.len());
        match (filled(n_features), filled(n_aggregations)) {
            (false, false) => self.contradiction(
                subject,
                &found.at,
                format!("{subject} has neither features nor aggregations"),
                "add features: with columns of the source, or aggregations: over windows",
            ),
            (true, true) => {
                let at = spec
                    .aggregations
                    .as_ref()
                    .map_or(&found.at, |list| &list.at);
                self.contradiction(
                    subject,
                    at,
                    format!("{subject} has both features and aggregations"),
                    "make two views of the same source, one with the features and one with the aggregations",
                );
            }
            _ => {}
        }
        if let (Some(ttl), true) = (&spec.ttl, filled(n_aggregations)) {
            self.contradiction(
                subject,
                &ttl.at,
                format!("{subject} has both ttl and aggregations"),
                "remove ttl: a window already says how old its rows may be",
            );
        }
    }

    /// The view's entities, their join keys taken as names; `None` if one is missing.
    fn entities_of(
        &mut self,
        subject: &Subject,
        spec: &FeatureViewSpec,
        names: &mut ViewNames,
    ) -> Option<Vec<Entity>> {
        let mut entities: Vec<Entity> = Vec::new();
        let mut complete = true;
        for name in spec.entities.iter().flatten().filter_map(Attempt::get) {
            self.locations
                .add_field(subject.kind, &subject.name, "entities", &name.at);
            if entities.iter().any(|known| known.name == name.value) {
                self.contradiction(
                    subject,
                    &name.at,
                    format!("{subject} names the entity {:?} twice", name.value),
                    "remove one of them; a service uses a view twice by an alias (as:)",
                );
                continue;
            }
            let Some(entity) = self.definitions.entities.get(&name.value).cloned() else {
                complete = false;
                if !self.is_excused(ObjectKind::Entity, &name.value) {
                    let known: Vec<String> = self.definitions.entities.keys().cloned().collect();
                    let known = known.iter().map(String::as_str);
                    self.undefined(subject, &name.at, "entity", &name.value, known);
                }
                continue;
            };
            self.shared_keys_agree(subject, name, &entity, &entities);
            let keys = entity.join_keys.iter().map(|key| key.name.clone());
            names.join_keys.extend(keys);
            entities.push(entity);
        }
        complete.then_some(entities)
    }

    fn shared_keys_agree(
        &mut self,
        subject: &Subject,
        name: &Located<String>,
        entity: &Entity,
        others: &[Entity],
    ) {
        for key in &entity.join_keys {
            for other in others {
                for known in &other.join_keys {
                    if known.name == key.name && known.value_type != key.value_type {
                        self.contradiction(
                            subject,
                            &name.at,
                            format!(
                                "{subject} has the join key {:?} as {} (of entity {:?}) and as {} (of entity {:?})",
                                key.name, known.value_type, other.name, key.value_type, entity.name
                            ),
                            "give the key one type in both entities, or another name in one of them",
                        );
                    } else if known.name != key.name && known.name.eq_ignore_ascii_case(&key.name) {
                        let message = format!(
                            "{subject} has the join keys {:?} (of entity {:?}) and {:?} (of entity {:?}), which differ only in case",
                            known.name, other.name, key.name, entity.name
                        );
                        let error = Error::new(&codes::DUPLICATE_NAME, message)
                            .help("spell the key one way in both entities");
                        self.fault(subject, &name.at, error);
                    }
                }
            }
        }
    }

    fn feature(
        &mut self,
        subject: &Subject,
        spec: &FeatureSpec,
        names: &mut ViewNames,
    ) -> Option<Feature> {
        let name = &spec.name;
        self.view_feature_name(subject, name, names);
        self.locate_parts(
            subject,
            &name.value,
            &[
                ("type", Some(&spec.value_type)),
                ("column", spec.column.as_ref()),
            ],
        );
        let checked = match &spec.cast {
            None => false,
            Some(cast) if cast.value == "checked" => true,
            Some(cast) => {
                let message = format!(
                    "cast of feature {:?} of {subject} must be checked, not {:?}",
                    name.value, cast.value
                );
                let error = Error::new(&codes::WRONG_TYPE, message)
                    .help("leave cast out to allow only casts that can lose nothing");
                self.fault(subject, &cast.at, error);
                false
            }
        };
        let of = format!("feature {:?}", name.value);
        let value_type = self.value_type(subject, &of, &spec.value_type);
        let key = format!("column of {of}");
        let column = self.filled_if_any(subject, &key, spec.column.as_ref());
        Some(Feature {
            name: name.value.clone(),
            value_type: value_type?,
            column: column?.unwrap_or_else(|| name.value.clone()),
            checked,
            documentation: documentation(
                spec.description.as_ref(),
                spec.owner.as_ref(),
                spec.tags.as_ref(),
            ),
        })
    }

    fn aggregation(
        &mut self,
        subject: &Subject,
        spec: &AggregationSpec,
        names: &mut ViewNames,
    ) -> Option<Aggregation> {
        let name = &spec.feature;
        self.view_feature_name(subject, name, names);
        self.locate_parts(
            subject,
            &name.value,
            &[
                ("function", Some(&spec.function)),
                ("column", spec.column.as_ref()),
                ("window", Some(&spec.window)),
            ],
        );
        let function = AggregateFunction::ALL
            .into_iter()
            .find(|function| function.name() == spec.function.value);
        if function.is_none() {
            let known = AggregateFunction::ALL
                .iter()
                .map(|function| function.name());
            let message = format!(
                "function of aggregation {:?} of {subject} is unknown: {:?}",
                name.value, spec.function.value
            );
            let error = Error::new(&codes::WRONG_TYPE, message)
                .help(did_you_mean(&spec.function.value, known));
            self.fault(subject, &spec.function.at, error);
        }
        if let (Some(function), None) = (function, &spec.column)
            && function != AggregateFunction::Count
        {
            self.contradiction(
                subject,
                &spec.function.at,
                format!(
                    "aggregation {:?} of {subject} has no column, which {function} needs",
                    name.value
                ),
                "add column: with a column of the source; only count can do without",
            );
        }
        let of = format!("aggregation {:?}", name.value);
        let window_us = self.duration(subject, &format!("window of {of}"), &spec.window);
        let key = format!("column of {of}");
        let column = self.filled_if_any(subject, &key, spec.column.as_ref());
        Some(Aggregation {
            feature: name.value.clone(),
            function: function?,
            column: column?,
            window_us: window_us?,
            value_type: None,
            documentation: documentation(
                spec.description.as_ref(),
                spec.owner.as_ref(),
                spec.tags.as_ref(),
            ),
        })
    }

    /// Checks the name of a feature of this view, which must differ from the join keys too.
    fn view_feature_name(
        &mut self,
        subject: &Subject,
        name: &Located<String>,
        names: &mut ViewNames,
    ) {
        self.locations
            .add_field(subject.kind, &subject.name, &name.value, &name.at);
        let key = names
            .join_keys
            .iter()
            .find(|key| key.eq_ignore_ascii_case(&name.value));
        if let Some(key) = key {
            let message = format!(
                "{subject} has the feature {:?}, which is the name of its join key {key:?}",
                name.value
            );
            let error = Error::new(&codes::DUPLICATE_NAME, message)
                .help("rename the feature; column: says what the source calls it");
            self.fault(subject, &name.at, error);
        }
        self.feature_name(subject, name, &mut names.features);
    }

    /// Remembers where the keys of a feature are.
    pub(super) fn locate_parts(
        &mut self,
        subject: &Subject,
        feature: &str,
        parts: &[(&str, Option<&Located<String>>)],
    ) {
        for (key, part) in parts {
            if let Some(part) = part {
                let field = format!("{feature}.{key}");
                self.locations
                    .add_field(subject.kind, &subject.name, field, &part.at);
            }
        }
    }
}

/// The names that a view's features must keep clear of.
#[derive(Default)]
struct ViewNames {
    join_keys: Vec<String>,
    features: UniqueNames,
}

fn elements<T>(list: Option<&Located<Vec<Attempt<T>>>>) -> impl Iterator<Item = &T> {
    list.into_iter()
        .flat_map(|list| &list.value)
        .filter_map(Attempt::get)
}
