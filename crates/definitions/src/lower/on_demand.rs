//! On-demand feature views: inputs that exist and form no circle, names that keep apart.
//!
//! The SQL itself is checked by the engine, which evaluates it.

use std::collections::{HashMap, HashSet};

use provender_core::model::{OnDemandFeature, OnDemandView, RequestField, split_version};
use provender_core::names::check_name;
use provender_core::provider::ObjectKind;
use provender_core::{Error, codes};

use super::names::UniqueNames;
use super::values::documentation;
use super::{Found, Lowering, Subject, words};
use crate::located::{Attempt, Located};
use crate::locations::Location;
use crate::spec::{OnDemandFeatureSpec, OnDemandViewSpec};

impl Lowering {
    pub(super) fn on_demand_views(&mut self, found: &[Found<OnDemandViewSpec>]) {
        // They may use each other in any order, so all names are known before any is checked.
        let names: HashSet<&str> = found.iter().map(|f| f.spec.name.value.as_str()).collect();
        for view in found {
            let subject = Subject::new(ObjectKind::OnDemandFeatureView, &view.spec.name.value);
            let known = &self.definitions.on_demand_feature_views;
            if known.contains_key(&subject.name) {
                continue;
            }
            self.locations
                .add_object(subject.kind, &subject.name, &view.at);
            let lowered = self.attempt(&subject, |this| {
                this.lower_on_demand(&subject, &view.spec, &names)
            });
            if let Some(lowered) = lowered {
                let views = &mut self.definitions.on_demand_feature_views;
                views.insert(subject.name, lowered);
            }
        }
        self.circles(found);
    }

    fn lower_on_demand(
        &mut self,
        subject: &Subject,
        spec: &OnDemandViewSpec,
        on_demand: &HashSet<&str>,
    ) -> Option<OnDemandView> {
        let inputs = self.inputs(subject, spec, on_demand);
        let mut fields = UniqueNames::default();
        let mut request = Vec::new();
        for field in spec.request.iter().flatten().filter_map(Attempt::get) {
            let name = &field.name;
            if let Err(error) = check_name("a request field", &name.value) {
                self.fault(subject, &name.at, error);
            }
            self.part_is_new(subject, "request field", name, &mut fields);
            let place = format!("request.{}", name.value);
            self.locations
                .add_field(subject.kind, &subject.name, place, &name.at);
            let of = format!("request field {:?}", name.value);
            if let Some(value_type) = self.value_type(subject, &of, &field.value_type) {
                request.push(RequestField {
                    name: name.value.clone(),
                    value_type,
                });
            }
        }
        if spec.features.value.is_empty() {
            self.contradiction(
                subject,
                &spec.features.at,
                format!("{subject} has no features"),
                "add at least one with name, type and sql",
            );
        }
        let mut names = UniqueNames::default();
        let mut features = Vec::new();
        for feature in spec.features.value.iter().filter_map(Attempt::get) {
            self.differs_from_request(subject, &feature.name, &request);
            features.extend(self.on_demand_feature(subject, feature, &mut names));
        }
        Some(OnDemandView {
            name: subject.name.clone(),
            inputs,
            request,
            features,
            documentation: documentation(
                spec.description.as_ref(),
                spec.owner.as_ref(),
                spec.tags.as_ref(),
            ),
        })
    }

    fn inputs(
        &mut self,
        subject: &Subject,
        spec: &OnDemandViewSpec,
        on_demand: &HashSet<&str>,
    ) -> Vec<String> {
        let mut inputs: Vec<String> = Vec::new();
        let mut views: HashSet<String> = HashSet::new();
        for input in spec.inputs.iter().flatten().filter_map(Attempt::get) {
            let Some((name, _)) = split_version(&input.value) else {
                self.bad_version(subject, input);
                continue;
            };
            if !views.insert(name.to_owned()) {
                self.contradiction(
                    subject,
                    &input.at,
                    format!("{subject} has the input {name:?} twice"),
                    "remove one of them",
                );
                continue;
            }
            if !on_demand.contains(name) {
                self.view_exists(subject, name, &input.at, on_demand);
            }
            inputs.push(input.value.clone());
        }
        inputs
    }

    /// Checks that a feature view or on-demand view of this name exists, or is excused.
    fn view_exists(
        &mut self,
        subject: &Subject,
        name: &str,
        at: &Location,
        on_demand: &HashSet<&str>,
    ) {
        if self.definitions.feature_views.contains_key(name)
            || self.is_excused(ObjectKind::FeatureView, name)
            || self.is_excused(ObjectKind::OnDemandFeatureView, name)
        {
            return;
        }
        let known: Vec<String> = self.definitions.feature_views.keys().cloned().collect();
        let known = known.iter().map(String::as_str);
        let known: Vec<&str> = known.chain(on_demand.iter().copied()).collect();
        self.undefined(subject, at, "view", name, known);
    }

    pub(super) fn bad_version(&mut self, subject: &Subject, reference: &Located<String>) {
        let error = Error::new(
            &codes::WRONG_TYPE,
            format!(
                "{subject} refers to {:?}, whose version is no positive number",
                reference.value
            ),
        )
        .help("write view for the newest version, or view@2 to hold one");
        self.fault(subject, &reference.at, error);
    }

    fn differs_from_request(
        &mut self,
        subject: &Subject,
        name: &Located<String>,
        request: &[RequestField],
    ) {
        let field = request
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(&name.value));
        if let Some(field) = field {
            let message = format!(
                "{subject} has the feature {:?}, which is the name of its request field {:?}",
                name.value, field.name
            );
            let error = Error::new(&codes::DUPLICATE_NAME, message).help(
                "rename one of them: in training the request field is a column beside the feature",
            );
            self.fault(subject, &name.at, error);
        }
    }

    fn on_demand_feature(
        &mut self,
        subject: &Subject,
        spec: &OnDemandFeatureSpec,
        names: &mut UniqueNames,
    ) -> Option<OnDemandFeature> {
        let name = &spec.name;
        self.locations
            .add_field(subject.kind, &subject.name, &name.value, &name.at);
        self.locate_parts(
            subject,
            &name.value,
            &[("type", Some(&spec.value_type)), ("sql", Some(&spec.sql))],
        );
        self.feature_name(subject, name, names);
        let of = format!("feature {:?}", name.value);
        let value_type = self.value_type(subject, &of, &spec.value_type);
        let sql = self.filled(subject, &format!("sql of {of}"), &spec.sql);
        Some(OnDemandFeature {
            name: name.value.clone(),
            value_type: value_type?,
            sql: sql?,
            documentation: documentation(
                spec.description.as_ref(),
                spec.owner.as_ref(),
                spec.tags.as_ref(),
            ),
        })
    }

    /// Adds an error for each circle of on-demand views. An input that holds a version cannot be
    /// part of one: an applied version never changes.
    fn circles(&mut self, found: &[Found<OnDemandViewSpec>]) {
        let mut graph: HashMap<&str, Vec<&Located<String>>> = HashMap::new();
        for view in found {
            let inputs = view.spec.inputs.iter().flatten().filter_map(Attempt::get);
            graph
                .entry(&view.spec.name.value)
                .or_insert_with(|| inputs.collect());
        }
        let mut done: HashSet<&str> = HashSet::new();
        for view in found {
            let start = view.spec.name.value.as_str();
            // Views on the way from `start`, each with the number of its inputs looked at. No
            // recursion: a chain of views may be long.
            let mut way: Vec<(&str, usize)> = vec![(start, 0)];
            if done.contains(start) {
                continue;
            }
            while let Some((name, next)) = way.last_mut() {
                let input = graph.get(*name).and_then(|inputs| inputs.get(*next));
                *next += 1;
                let Some(input) = input else {
                    done.insert(name);
                    way.pop();
                    continue;
                };
                let target = input.value.as_str();
                if done.contains(target) || !graph.contains_key(target) {
                    continue;
                }
                let Some(from) = way.iter().position(|(name, _)| *name == target) else {
                    way.push((target, 0));
                    continue;
                };
                let circle = way.iter().skip(from).map(|(name, _)| *name);
                let circle: Vec<&str> = circle.chain([target]).collect();
                self.circle(&circle, &input.at);
            }
        }
    }

    fn circle(&mut self, circle: &[&str], at: &Location) {
        let kind = ObjectKind::OnDemandFeatureView;
        for name in circle {
            self.broken.insert(Subject::new(kind, name));
        }
        let message = match circle {
            [one, _] => format!("{} {one:?} has itself as input", words(kind)),
            _ => format!(
                "{}s use each other in a circle: {}",
                words(kind),
                circle.join(" -> ")
            ),
        };
        let error = Error::new(&codes::CYCLE, message)
            .help("remove one of these inputs, or compute what they share in a view of its own");
        if let Some(name) = circle.first() {
            self.fault(&Subject::new(kind, name), at, error);
        }
    }
}
