//! Feature services: references that exist, and output columns whose names are unique.

use std::collections::{BTreeMap, HashMap, HashSet};

use provender_core::model::{FeatureRef, FeatureService, FeatureView, OnDemandView, split_version};
use provender_core::names::{SEPARATOR, check_name, did_you_mean};
use provender_core::provider::ObjectKind;
use provender_core::{Error, codes};

use super::values::documentation;
use super::{Found, Lowering, Subject, words};
use crate::located::{Attempt, Located, Pairs};
use crate::locations::Location;
use crate::spec::{LongReferenceSpec, ReferenceSpec, ServiceSpec};

/// A reference and where it is written.
struct ReferenceAt {
    reference: FeatureRef,
    at: Location,
    /// Where its features are written, if they have places of their own.
    features: Vec<Location>,
}

impl ReferenceAt {
    /// As messages name it.
    fn name(&self) -> String {
        let FeatureRef {
            view,
            version,
            alias,
            ..
        } = &self.reference;
        let version = version.map_or_else(String::new, |version| format!("@{version}"));
        match alias {
            Some(alias) => format!("{view}{version} as {alias}"),
            None => format!("{view}{version}"),
        }
    }
}

impl Lowering {
    pub(super) fn service(&mut self, found: &Found<ServiceSpec>) {
        let spec = &found.spec;
        let subject = Subject::new(ObjectKind::FeatureService, &spec.name.value);
        if self
            .definitions
            .feature_services
            .contains_key(&subject.name)
        {
            return;
        }
        self.locations
            .add_object(subject.kind, &subject.name, &found.at);
        let lowered = self.attempt(&subject, |this| {
            if spec.features.value.is_empty() {
                this.contradiction(
                    &subject,
                    &spec.features.at,
                    format!("{subject} has no features"),
                    "name at least one view",
                );
            }
            let mut references = Vec::new();
            for reference in spec.features.value.iter().filter_map(Attempt::get) {
                references.extend(this.reference(&subject, reference));
            }
            this.outputs_are_unique(&subject, &references);
            Some(FeatureService {
                name: subject.name.clone(),
                features: references.into_iter().map(|at| at.reference).collect(),
                documentation: documentation(
                    spec.description.as_ref(),
                    spec.owner.as_ref(),
                    spec.tags.as_ref(),
                ),
            })
        });
        if let Some(service) = lowered {
            self.definitions
                .feature_services
                .insert(subject.name, service);
        }
    }

    /// A reference whose view, keys and features exist as far as can be known; `None` if it is
    /// wrong, or its view is.
    fn reference(
        &mut self,
        subject: &Subject,
        spec: &Located<ReferenceSpec>,
    ) -> Option<ReferenceAt> {
        let at = &spec.at;
        let (reference, places) = match &spec.value {
            ReferenceSpec::Short(text) => match FeatureRef::parse(text) {
                Ok(reference) => (reference, Vec::new()),
                Err(error) => {
                    let message = format!("a feature of {subject}: {}", error.message());
                    let error = Error::new(&codes::WRONG_TYPE, message)
                        .help("write view, view:feature, view:a,b or view@2:feature");
                    self.fault(subject, at, error);
                    return None;
                }
            },
            ReferenceSpec::Long(long) => self.long_reference(subject, long)?,
        };
        let view_at = match &spec.value {
            ReferenceSpec::Short(_) => at,
            ReferenceSpec::Long(long) => &long.view.at,
        };
        self.locations.add_field(
            subject.kind,
            &subject.name,
            reference.output_prefix(),
            view_at,
        );
        let join_keys = match &spec.value {
            ReferenceSpec::Short(_) => None,
            ReferenceSpec::Long(long) => long.join_keys.as_ref(),
        };
        let located = ReferenceAt {
            reference,
            at: at.clone(),
            features: places,
        };
        let view = located.reference.view.as_str();
        let known_features = if let Some(view) = self.definitions.feature_views.get(view) {
            let view = view.clone();
            if located.reference.version.is_none() {
                let keys = names_of(view.join_keys().iter().map(|key| key.name.as_str()));
                let what = format!("feature view {:?} does not have", view.name);
                self.keys_exist(subject, &what, &keys, join_keys);
            }
            names_of(view.outputs().iter().map(|(name, _)| *name))
        } else if let Some(view) = self.definitions.on_demand_feature_views.get(view) {
            let features = names_of(view.features.iter().map(|feature| feature.name.as_str()));
            // The keys of an on-demand view are those of its inputs, which the mapping applies to.
            if let Some(keys) = self.input_keys(&view.name) {
                let what = format!("no input of on-demand feature view {:?} has", view.name);
                self.keys_exist(subject, &what, &keys, join_keys);
            }
            features
        } else {
            self.missing_view(subject, &located.reference.view, view_at);
            return None;
        };
        // What an older version had is not written in any file.
        if located.reference.version.is_none() {
            self.features_exist(subject, &located, &known_features);
        }
        Some(located)
    }

    fn long_reference(
        &mut self,
        subject: &Subject,
        spec: &LongReferenceSpec,
    ) -> Option<(FeatureRef, Vec<Location>)> {
        if let Some((view, _)) = spec.view.value.split_once(':') {
            self.contradiction(
                subject,
                &spec.view.at,
                format!(
                    "a reference of {subject} has features in its view: {:?}",
                    spec.view.value
                ),
                format!("write view: {} and features: [...]", view.trim()),
            );
            return None;
        }
        let Some((view, version)) = split_version(spec.view.value.trim()) else {
            self.bad_version(subject, &spec.view);
            return None;
        };
        if let Some(alias) = &spec.alias
            && let Err(error) = check_name("an alias", &alias.value)
        {
            self.fault(subject, &alias.at, error);
        }
        let mut join_keys = BTreeMap::new();
        for (key, column) in spec.join_keys.iter().flat_map(|keys| &keys.0) {
            if let Some(column) = self.filled(subject, &format!("join_keys.{}", key.value), column)
            {
                join_keys.insert(key.value.clone(), column);
            }
        }
        let features = spec.features.as_ref().map(|list| {
            if list.value.is_empty() {
                self.contradiction(
                    subject,
                    &list.at,
                    format!("{subject} takes no features of {view:?}"),
                    "name at least one, or leave features out to take all",
                );
            }
            list.value.iter().filter_map(Attempt::get)
        });
        let (features, places) = match features {
            None => (None, Vec::new()),
            Some(features) => {
                let (names, places) = features
                    .map(|feature| (feature.value.clone(), feature.at.clone()))
                    .unzip();
                (Some(names), places)
            }
        };
        let reference = FeatureRef {
            view: view.to_owned(),
            version,
            alias: spec.alias.as_ref().map(|alias| alias.value.clone()),
            join_keys,
            features,
        };
        Some((reference, places))
    }

    fn missing_view(&mut self, subject: &Subject, name: &str, at: &Location) {
        if self.definitions.feature_services.contains_key(name) || subject.name == name {
            self.contradiction(
                subject,
                at,
                format!(
                    "{subject} refers to {name:?}, which is a {}",
                    words(ObjectKind::FeatureService)
                ),
                "name the views that it consists of",
            );
            return;
        }
        let excused = [
            ObjectKind::FeatureView,
            ObjectKind::OnDemandFeatureView,
            ObjectKind::FeatureService,
        ];
        if excused.into_iter().any(|kind| self.is_excused(kind, name)) {
            return;
        }
        let views = self.definitions.feature_views.keys();
        let known = views.chain(self.definitions.on_demand_feature_views.keys());
        let known = names_of(known.map(String::as_str));
        self.undefined(subject, at, "view", name, known.iter().map(String::as_str));
    }

    /// `lacks` ends the sentence "maps the join key ..., which".
    fn keys_exist(
        &mut self,
        subject: &Subject,
        lacks: &str,
        known: &[String],
        mapped: Option<&Pairs>,
    ) {
        for (key, _) in mapped.into_iter().flat_map(|mapped| &mapped.0) {
            if known.contains(&key.value) {
                continue;
            }
            let help = if known.is_empty() {
                "remove join_keys here; the view holds one global row".to_owned()
            } else {
                did_you_mean(&key.value, known.iter().map(String::as_str))
            };
            let message = format!("{subject} maps the join key {:?}, which {lacks}", key.value);
            self.contradiction(subject, &key.at, message, help);
        }
    }

    /// The join keys of all inputs of an on-demand view; `None` if an input holds a version, whose
    /// keys are not written in any file.
    fn input_keys(&self, name: &str) -> Option<Vec<String>> {
        let mut keys: Vec<String> = Vec::new();
        for input in self
            .on_demand_inputs(name)
            .iter()
            .flat_map(|view| &view.inputs)
        {
            if let Some(view) = self.definitions.feature_views.get(input) {
                keys.extend(view.join_keys().iter().map(|key| key.name.clone()));
            } else if !self.definitions.on_demand_feature_views.contains_key(input) {
                return None;
            }
        }
        Some(keys)
    }

    fn features_exist(&mut self, subject: &Subject, at: &ReferenceAt, known: &[String]) {
        let reference = &at.reference;
        for (index, feature) in reference.features.iter().flatten().enumerate() {
            if known.contains(feature) {
                continue;
            }
            let place = at.features.get(index).unwrap_or(&at.at);
            let message = format!(
                "{subject} refers to the feature {feature:?} of {:?}, which is not defined",
                reference.view
            );
            let hint = did_you_mean(feature, known.iter().map(String::as_str));
            let error = Error::new(&codes::UNDEFINED_REFERENCE, message);
            let error = if hint.is_empty() {
                error
            } else {
                error.help(hint)
            };
            self.fault(subject, place, error);
        }
    }

    /// Checks output columns by the naming rule: `feature`, or `alias__feature`.
    fn outputs_are_unique(&mut self, subject: &Subject, references: &[ReferenceAt]) {
        let inputs = self.columns_brought(references);
        let mut taken: HashMap<String, usize> = HashMap::new();
        for (index, reference) in references.iter().enumerate() {
            let mut clashes: BTreeMap<usize, Vec<String>> = BTreeMap::new();
            for output in self.outputs(&reference.reference) {
                if let Some(what) = inputs.get(&output) {
                    let message = format!(
                        "{subject} has the output column {output:?} (of {}), which is also {what}",
                        reference.name()
                    );
                    let help = "give the view an alias (as:), or rename the feature";
                    self.contradiction(subject, &reference.at, message, help);
                }
                match taken.get(&output) {
                    Some(first) => clashes.entry(*first).or_default().push(output),
                    None => drop(taken.insert(output, index)),
                }
            }
            for (first, outputs) in clashes {
                self.clash(subject, references.get(first), reference, &outputs);
            }
        }
    }

    fn clash(
        &mut self,
        subject: &Subject,
        first: Option<&ReferenceAt>,
        second: &ReferenceAt,
        outputs: &[String],
    ) {
        let Some(first) = first else { return };
        let shown: Vec<String> = outputs.iter().take(3).map(|o| format!("{o:?}")).collect();
        let more = match outputs.len().saturating_sub(shown.len()) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let columns = format!("{}{more}", shown.join(", "));
        let message = if std::ptr::eq(first, second) {
            format!("{subject} takes {columns} of {} twice", first.name())
        } else {
            format!(
                "{subject} has two output columns {columns}: of {} (at {}) and of {}",
                first.name(),
                first.at,
                second.name()
            )
        };
        let help = "give one of them an alias (as:), or take fewer features";
        self.contradiction(subject, &second.at, message, help);
    }

    /// Output columns of a reference, as far as known: all features of an older version are not.
    fn outputs(&self, reference: &FeatureRef) -> Vec<String> {
        let features = match &reference.features {
            Some(features) => features.clone(),
            None if reference.version.is_some() => return Vec::new(),
            None => {
                let views = &self.definitions.feature_views;
                let on_demand = &self.definitions.on_demand_feature_views;
                match (views.get(&reference.view), on_demand.get(&reference.view)) {
                    (Some(view), _) => names_of(view.outputs().iter().map(|(name, _)| *name)),
                    (None, Some(view)) => names_of(view.features.iter().map(|f| f.name.as_str())),
                    (None, None) => Vec::new(),
                }
            }
        };
        match &reference.alias {
            None => features,
            Some(alias) => features
                .iter()
                .map(|feature| format!("{alias}{SEPARATOR}{feature}"))
                .collect(),
        }
    }

    /// The columns that a request brings (join keys and request fields), and what each is.
    fn columns_brought(&self, references: &[ReferenceAt]) -> HashMap<String, String> {
        let mut columns = HashMap::new();
        for at in references {
            let reference = &at.reference;
            if reference.version.is_some() {
                continue;
            }
            if let Some(view) = self.definitions.feature_views.get(&reference.view) {
                add_keys(&mut columns, view, reference);
            }
            for view in self.on_demand_inputs(&reference.view) {
                for field in &view.request {
                    let what = format!("the request field {:?} of {}", field.name, view.name);
                    columns.entry(field.name.clone()).or_insert(what);
                }
                for input in &view.inputs {
                    if let Some(view) = self.definitions.feature_views.get(input) {
                        add_keys(&mut columns, view, reference);
                    }
                }
            }
        }
        columns
    }

    /// The on-demand view of a name and those it uses, each once.
    fn on_demand_inputs(&self, name: &str) -> Vec<&OnDemandView> {
        let mut seen: HashSet<&str> = HashSet::new();
        let mut found = Vec::new();
        let mut next: Vec<&str> = vec![name];
        while let Some(name) = next.pop() {
            let Some((name, view)) = self.definitions.on_demand_feature_views.get_key_value(name)
            else {
                continue;
            };
            if seen.insert(name) {
                found.push(view);
                next.extend(view.inputs.iter().map(String::as_str));
            }
        }
        found
    }
}

fn add_keys(columns: &mut HashMap<String, String>, view: &FeatureView, reference: &FeatureRef) {
    for key in view.join_keys() {
        let column = reference.key_column(&key.name).to_owned();
        let what = format!("the column of join key {:?} of {}", key.name, view.name);
        columns.entry(column).or_insert(what);
    }
}

fn names_of<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(str::to_owned).collect()
}
