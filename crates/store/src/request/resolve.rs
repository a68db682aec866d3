//! From feature references to the views to join, the features to compute and the columns to put out.
//!
//! Decides which versions a reference means, which inputs an on-demand feature needs, and that the
//! same view under the same keys is joined once. Asks the catalog alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use provender_core::model::{FeatureRef, FeatureView, JoinKey, OnDemandView, split_version};
use provender_core::names::did_you_mean;
use provender_core::{Catalog, Error, Result, ValueType, codes};
use provender_engine::on_demand::{Expression, InputColumn, compile};

use super::columns::output_name;

/// Join key to column, without keys that keep their name.
type Mapping = BTreeMap<String, String>;

/// What a request means.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// The distinct views to join.
    pub(crate) joins: Vec<JoinedView>,
    /// On-demand features to compute, each after those it needs.
    pub(crate) steps: Vec<Step>,
    /// Values that the spine (or the online request) brings for on-demand features.
    pub(crate) requests: Vec<RequestColumn>,
    /// The columns to put out, in order.
    pub(crate) outputs: Vec<Output>,
}

/// A view at a version, joined under certain key columns.
#[derive(Debug)]
pub(crate) struct JoinedView {
    /// The alias, or the view's name: for messages and plans.
    pub(crate) label: String,
    /// The view's name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: u32,
    /// The view, at the version that was asked for.
    pub(crate) view: Arc<FeatureView>,
    /// Its join keys and the column that each is read from.
    pub(crate) keys: Vec<(JoinKey, String)>,
    /// Indices into the view's outputs, in the order of their first use.
    pub(crate) wanted: Vec<usize>,
}

/// An on-demand feature to compute.
#[derive(Debug)]
pub(crate) struct Step {
    /// The on-demand view and the feature: `wind.crosswind`.
    pub(crate) name: String,
    /// How.
    pub(crate) expression: Expression,
    /// From what: one for each input of its view, `None` where the expression does not use it.
    pub(crate) arguments: Vec<Option<Argument>>,
}

/// What an expression is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    Value(Value),
    /// An index into [`Resolved::requests`].
    Request(usize),
}

/// Where a feature's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// `joins[join].wanted[slot]`.
    Joined { join: usize, slot: usize },
    /// An index into [`Resolved::steps`].
    Step(usize),
}

/// A value that the request brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestColumn {
    /// The field's name.
    pub(crate) name: String,
    /// Its declared type.
    pub(crate) value_type: ValueType,
    /// The on-demand view that declares it.
    pub(crate) view: String,
}

/// A column to put out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// The column's name.
    pub(crate) name: String,
    /// Its type.
    pub(crate) value_type: ValueType,
    /// Where its values are.
    pub(crate) value: Value,
    /// The view that was asked for it.
    pub(crate) view: String,
    /// The alias it was asked under.
    pub(crate) alias: Option<String>,
    /// The feature.
    pub(crate) feature: String,
}

impl Output {
    /// For messages: `feature "temp" of "airport_weather" as "dest_weather"`.
    pub(crate) fn describe(&self) -> String {
        let alias = self
            .alias
            .as_ref()
            .map_or_else(String::new, |alias| format!(" as {alias:?}"));
        format!("feature {:?} of {:?}{alias}", self.feature, self.view)
    }
}

/// A view of either kind.
#[derive(Clone, Debug)]
pub(crate) enum AnyView {
    Joined(Arc<FeatureView>),
    Computed(Arc<OnDemandView>),
}

impl AnyView {
    /// Finds a view of either kind.
    ///
    /// # Errors
    /// `NotFound` (`P401`) with the nearest name.
    pub(crate) fn find(catalog: &Catalog, name: &str, version: Option<u32>) -> Result<(u32, Self)> {
        if catalog.feature_views.contains_key(name) {
            let (version, view) = catalog.feature_view(name, version)?;
            return Ok((version, Self::Joined(view)));
        }
        if catalog.on_demand_feature_views.contains_key(name) {
            let (version, view) = catalog.on_demand_view(name, version)?;
            return Ok((version, Self::Computed(view)));
        }
        let help = if catalog.feature_services.contains_key(name) {
            format!("{name:?} is a feature service; ask for it as a service")
        } else {
            did_you_mean(name, catalog.view_names())
        };
        Err(Error::new(
            &codes::UNKNOWN_VIEW,
            format!("there is no feature view {name:?}"),
        )
        .help(help))
    }

    /// Names and types of its features; see [`FeatureView::outputs`].
    pub(crate) fn outputs(&self) -> Vec<(&str, Option<&ValueType>)> {
        match self {
            Self::Joined(view) => view.outputs(),
            Self::Computed(view) => view
                .features
                .iter()
                .map(|feature| (feature.name.as_str(), Some(&feature.value_type)))
                .collect(),
        }
    }

    /// The index of a feature.
    fn feature(&self, view: &str, feature: &str) -> Result<usize> {
        let outputs = self.outputs();
        outputs
            .iter()
            .position(|(name, _)| *name == feature)
            .ok_or_else(|| {
                Error::new(
                    &codes::UNKNOWN_VIEW,
                    format!("feature view {view:?} has no feature {feature:?}"),
                )
                .help(did_you_mean(feature, outputs.iter().map(|(name, _)| *name)))
            })
    }
}

/// The inputs of an on-demand view's expressions, and where each comes from.
pub(crate) struct Inputs {
    pub(crate) columns: Vec<InputColumn>,
    origins: Vec<Origin>,
}

enum Origin {
    Feature { view: usize, feature: usize },
    Request(usize),
}

/// The inputs of a view's expressions: the features of its input views in order, then the request.
///
/// # Errors
/// `NotFound` (`P401`) for an input that the catalog does not have.
pub(crate) fn inputs(catalog: &Catalog, view: &OnDemandView) -> Result<Inputs> {
    let mut columns = Vec::new();
    let mut origins = Vec::new();
    for (index, input) in view.inputs.iter().enumerate() {
        let (name, _, found) = input_view(catalog, &view.name, input)?;
        for (feature, (feature_name, value_type)) in found.outputs().into_iter().enumerate() {
            columns.push(InputColumn {
                view: Some(name.clone()),
                name: feature_name.to_owned(),
                value_type: known_type(&name, feature_name, value_type)?.clone(),
            });
            origins.push(Origin::Feature {
                view: index,
                feature,
            });
        }
    }
    for (index, field) in view.request.iter().enumerate() {
        columns.push(InputColumn {
            view: None,
            name: field.name.clone(),
            value_type: field.value_type.clone(),
        });
        origins.push(Origin::Request(index));
    }
    Ok(Inputs { columns, origins })
}

/// Resolves references. Clashes of output names are the caller's to check, since not every caller
/// puts the columns out.
///
/// # Errors
/// `NotFound` (`P401`) for unknown views, features and versions; `InvalidArgument` (`P406`) for a
/// mapped key that the view does not have.
pub(crate) fn resolve(
    catalog: &Catalog,
    references: &[FeatureRef],
    full_feature_names: bool,
) -> Result<Resolved> {
    let mut resolver = Resolver {
        catalog,
        resolved: Resolved::default(),
        joins: HashMap::new(),
        steps: HashMap::new(),
        visiting: Vec::new(),
    };
    for reference in references {
        resolver.reference(reference, full_feature_names)?;
    }
    Ok(resolver.resolved)
}

struct Resolver<'a> {
    catalog: &'a Catalog,
    resolved: Resolved,
    joins: HashMap<(String, u32, Mapping), usize>,
    steps: HashMap<(String, u32, Mapping, usize), usize>,
    /// On-demand views being resolved, outermost first: definitions refuse cycles, and a damaged
    /// registry must not make us run forever.
    visiting: Vec<(String, u32, usize)>,
}

impl Resolver<'_> {
    fn reference(&mut self, reference: &FeatureRef, full_feature_names: bool) -> Result<()> {
        let (version, view) = AnyView::find(self.catalog, &reference.view, reference.version)?;
        self.check_mapping(reference, &view)?;
        let features: Vec<usize> = match &reference.features {
            None => (0..view.outputs().len()).collect(),
            Some(names) => names
                .iter()
                .map(|name| view.feature(&reference.view, name))
                .collect::<Result<_>>()?,
        };
        let label = reference.output_prefix().to_owned();
        for feature in features {
            let (name, value_type) = view.outputs()[feature];
            let value_type = known_type(&reference.view, name, value_type)?.clone();
            let value = self.demand(
                &reference.view,
                version,
                &view,
                &reference.join_keys,
                &label,
                feature,
            )?;
            self.resolved.outputs.push(Output {
                name: output_name(reference, name, full_feature_names),
                value_type,
                value,
                view: reference.view.clone(),
                alias: reference.alias.clone(),
                feature: name.to_owned(),
            });
        }
        Ok(())
    }

    fn check_mapping(&self, reference: &FeatureRef, view: &AnyView) -> Result<()> {
        if reference.join_keys.is_empty() {
            return Ok(());
        }
        let keys = keys_of(self.catalog, view)?;
        match reference
            .join_keys
            .keys()
            .find(|key| !keys.contains(key.as_str()))
        {
            None => Ok(()),
            Some(key) => Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "join_keys maps {key:?}, which is no join key of view {:?}",
                    reference.view
                ),
            )
            .help(if keys.is_empty() {
                "the view has no join keys".to_owned()
            } else {
                did_you_mean(key, keys.iter().map(String::as_str))
            })),
        }
    }

    fn demand(
        &mut self,
        name: &str,
        version: u32,
        view: &AnyView,
        mapping: &Mapping,
        label: &str,
        feature: usize,
    ) -> Result<Value> {
        match view {
            AnyView::Joined(joined) => {
                Ok(self.demand_joined(name, version, joined, mapping, label, feature))
            }
            AnyView::Computed(computed) => {
                self.demand_computed(name, version, computed, mapping, label, feature)
            }
        }
    }

    fn demand_joined(
        &mut self,
        name: &str,
        version: u32,
        view: &Arc<FeatureView>,
        mapping: &Mapping,
        label: &str,
        feature: usize,
    ) -> Value {
        let keys: Vec<(JoinKey, String)> = view
            .join_keys()
            .into_iter()
            .map(|key| {
                let column = mapping.get(&key.name).unwrap_or(&key.name).clone();
                (key.clone(), column)
            })
            .collect();
        let moved = keys
            .iter()
            .filter(|(key, column)| key.name != *column)
            .map(|(key, column)| (key.name.clone(), column.clone()))
            .collect();
        let identity = (name.to_owned(), version, moved);
        let joins = &mut self.resolved.joins;
        let join = *self.joins.entry(identity).or_insert_with(|| {
            joins.push(JoinedView {
                label: label.to_owned(),
                name: name.to_owned(),
                version,
                view: view.clone(),
                keys,
                wanted: Vec::new(),
            });
            joins.len() - 1
        });
        let wanted = &mut joins[join].wanted;
        let slot = wanted
            .iter()
            .position(|known| *known == feature)
            .unwrap_or_else(|| {
                wanted.push(feature);
                wanted.len() - 1
            });
        Value::Joined { join, slot }
    }

    fn demand_computed(
        &mut self,
        name: &str,
        version: u32,
        view: &Arc<OnDemandView>,
        mapping: &Mapping,
        label: &str,
        feature: usize,
    ) -> Result<Value> {
        let identity = (name.to_owned(), version, mapping.clone(), feature);
        if let Some(step) = self.steps.get(&identity) {
            return Ok(Value::Step(*step));
        }
        let here = (name.to_owned(), version, feature);
        if self.visiting.contains(&here) {
            return Err(cycle(name));
        }
        self.visiting.push(here);
        let inputs = inputs(self.catalog, view)?;
        let definition = &view.features[feature];
        let expression = compile(
            name,
            &definition.name,
            &definition.value_type,
            &definition.sql,
            &inputs.columns,
        )?;
        let mut arguments = vec![None; inputs.columns.len()];
        for &used in expression.inputs() {
            arguments[used] = Some(match inputs.origins[used] {
                Origin::Request(field) => {
                    let field = &view.request[field];
                    Argument::Request(self.request(RequestColumn {
                        name: field.name.clone(),
                        value_type: field.value_type.clone(),
                        view: name.to_owned(),
                    }))
                }
                Origin::Feature {
                    view: input,
                    feature,
                } => {
                    let (input_name, input_version, found) =
                        input_view(self.catalog, name, &view.inputs[input])?;
                    // An alias names the on-demand view; its inputs are told apart by their own names.
                    let label = if label == name { &input_name } else { label };
                    Argument::Value(self.demand(
                        &input_name,
                        input_version,
                        &found,
                        mapping,
                        label,
                        feature,
                    )?)
                }
            });
        }
        self.visiting.pop();
        self.resolved.steps.push(Step {
            name: format!("{name}.{}", definition.name),
            expression,
            arguments,
        });
        let step = self.resolved.steps.len() - 1;
        self.steps.insert(identity, step);
        Ok(Value::Step(step))
    }

    fn request(&mut self, field: RequestColumn) -> usize {
        let requests = &mut self.resolved.requests;
        requests
            .iter()
            .position(|known| known.name == field.name && known.value_type == field.value_type)
            .unwrap_or_else(|| {
                requests.push(field);
                requests.len() - 1
            })
    }
}

/// The join keys of a view, or of all feature views under an on-demand view.
fn keys_of(catalog: &Catalog, view: &AnyView) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![view.clone()];
    while let Some(view) = open.pop() {
        match view {
            AnyView::Joined(view) => {
                keys.extend(view.join_keys().into_iter().map(|key| key.name.clone()));
            }
            AnyView::Computed(view) => {
                for input in &view.inputs {
                    let (name, version, found) = input_view(catalog, &view.name, input)?;
                    if seen.insert((name, version)) {
                        open.push(found);
                    }
                }
            }
        }
    }
    Ok(keys)
}

/// The input of an on-demand view: its name, version and definition.
///
/// # Errors
/// `InvalidArgument` (`P106`) for an input that names no view, `NotFound` (`P401`) for one that is
/// not applied.
pub(crate) fn input_view(
    catalog: &Catalog,
    view: &str,
    input: &str,
) -> Result<(String, u32, AnyView)> {
    let (name, version) = split_version(input).ok_or_else(|| {
        Error::new(
            &codes::UNDEFINED_REFERENCE,
            format!("on-demand view {view:?} has the input {input:?}, which names no view"),
        )
        .help("write view or view@2")
    })?;
    let (version, found) = AnyView::find(catalog, name, version)?;
    Ok((name.to_owned(), version, found))
}

/// The error for on-demand views that need each other.
pub(crate) fn cycle(view: &str) -> Error {
    Error::new(
        &codes::CYCLE,
        format!("on-demand view {view:?} needs itself, directly or through others"),
    )
}

/// Applied views know the types of all their features.
fn known_type<'a>(
    view: &str,
    feature: &str,
    value_type: Option<&'a ValueType>,
) -> Result<&'a ValueType> {
    value_type.ok_or_else(|| {
        Error::new(
            &codes::REGISTRY_DAMAGED,
            format!("feature {feature:?} of view {view:?} was applied without its type"),
        )
        .help("apply the definitions again")
    })
}
