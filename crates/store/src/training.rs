//! A training set, prepared: everything that is known before the first row of the spine is read.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use provender_core::provider::{OfflineCapabilities, OfflineStore};
use provender_core::request::{
    FeatureColumn, KeyColumn, PointInTimeJoin, SourceRef, ViewJoin, WindowAggregate,
};
use provender_core::{Catalog, Context, Error, Result, codes};

use crate::FeatureStore;
use crate::cast::cast_request;
use crate::on_demand::{Batch, evaluate};
use crate::plan::source_schema;
use crate::request::HistoricalRequest;
use crate::request::columns::check_clashes;
use crate::request::resolve::{JoinedView, Resolved, Value, resolve};
use crate::request::source::{Bound, BoundOutput, bind};
use crate::spine::{SpineColumns, SpineKey, defect};

/// What a request means for a spine of a certain schema; asks no store.
#[derive(Debug)]
pub(crate) struct Meaning {
    /// Views, features and outputs.
    pub(crate) resolved: Resolved,
    /// The spine's columns that are read.
    pub(crate) spine: SpineColumns,
    /// The spine's columns, then the features.
    pub(crate) schema: SchemaRef,
    n_spine_columns: usize,
}

/// A request with its sources found.
#[derive(Debug)]
pub(crate) struct Training {
    /// What it means.
    pub(crate) meaning: Meaning,
    /// What each offline store is asked.
    pub(crate) groups: Vec<Group>,
    /// For each join and slot, the column in the answers side by side, after the spine.
    positions: Vec<Vec<usize>>,
}

/// The views of one offline store.
pub(crate) struct Group {
    /// The store's name in the configuration.
    pub(crate) name: Option<String>,
    /// The store.
    pub(crate) store: Arc<dyn OfflineStore>,
    /// What it is asked.
    pub(crate) join: PointInTimeJoin,
    /// The spine's keys that it is given.
    pub(crate) keys: Vec<usize>,
    /// What it must answer.
    pub(crate) fields: Vec<Field>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("store", &self.store)
            .field("join", &self.join)
            .finish_non_exhaustive()
    }
}

impl Group {
    /// Whether the store does the whole join itself.
    pub(crate) fn is_pushed_down(&self) -> bool {
        let OfflineCapabilities {
            point_in_time_join,
            point_in_time_windows,
            ..
        } = self.store.capabilities();
        let has_windows = self
            .join
            .views
            .iter()
            .any(|view| !view.aggregations.is_empty());
        point_in_time_join && (point_in_time_windows || !has_windows)
    }
}

/// How columns are called towards a store.
#[derive(Clone, Debug)]
pub(crate) enum Naming {
    /// A spine of our own rows: `k0`, `k1`, ... and features that clash with nothing.
    Rows,
    /// A spine that the store holds: its own column names, and features under a prefix that no
    /// column of the spine starts with.
    Sql { prefix: String },
}

impl Naming {
    /// The naming for a spine that the store holds.
    pub(crate) fn sql(spine: &Schema) -> Self {
        let mut prefix = "feature_".to_owned();
        let starts = |prefix: &str| {
            let mut names = spine
                .fields()
                .iter()
                .map(|field| field.name().to_lowercase());
            names.any(|name| name.starts_with(prefix))
        };
        while starts(&prefix) {
            prefix.push('_');
        }
        Self::Sql { prefix }
    }

    fn key(&self, index: usize, key: &SpineKey) -> String {
        match self {
            Self::Rows => SpineKey::internal_name(index),
            Self::Sql { .. } => key.name.clone(),
        }
    }

    fn output(&self, join: usize, slot: usize) -> String {
        match self {
            Self::Rows => format!("f{join}_{slot}"),
            Self::Sql { prefix } => format!("{prefix}{join}_{slot}"),
        }
    }
}

impl Meaning {
    /// Resolves a request against the catalog and the spine's schema.
    ///
    /// # Errors
    /// `P401` to `P408`.
    pub(crate) fn of(
        catalog: &Catalog,
        request: &HistoricalRequest,
        spine: &Schema,
    ) -> Result<Self> {
        let references = request.selection.references(catalog)?;
        let resolved = resolve(catalog, &references, request.full_feature_names)?;
        if resolved.outputs.is_empty() {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                "the request names no features",
            ));
        }
        check_clashes(&resolved, spine)?;
        if request.as_known {
            check_as_known(&resolved)?;
        }
        let columns = SpineColumns::find(spine, &resolved, request.timestamp.as_deref())?;
        let mut fields = spine.fields().to_vec();
        fields.extend(
            resolved
                .outputs
                .iter()
                .map(|output| Arc::new(output.value_type.to_field(&output.name))),
        );
        Ok(Self {
            schema: Arc::new(Schema::new_with_metadata(fields, spine.metadata().clone())),
            n_spine_columns: spine.fields().len(),
            spine: columns,
            resolved,
        })
    }
}

impl Training {
    /// Opens the stores and finds all columns in their sources. Each source is asked for its schema once.
    ///
    /// # Errors
    /// `P120` to `P124` for sources that have changed since they were applied.
    pub(crate) async fn prepare(
        store: &FeatureStore,
        cx: &Context,
        meaning: Meaning,
        as_known: bool,
        naming: &Naming,
    ) -> Result<Self> {
        let mut schemas: HashMap<(Option<String>, SourceRef), SchemaRef> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for (index, join) in meaning.resolved.joins.iter().enumerate() {
            let source = &join.view.source;
            let key = (source.store.clone(), SourceRef::from(source));
            let schema = match schemas.get(&key) {
                Some(schema) => schema.clone(),
                None => {
                    let schema = source_schema(store, cx, key.0.as_deref(), &key.1)
                        .await
                        .map_err(|error| {
                            error
                                .context("view", join.name.clone())
                                .context("source", source.name.clone())
                        })?;
                    schemas.insert(key, schema.clone());
                    schema
                }
            };
            let bound = bind(&join.view, &schema, &join.wanted).map_err(first_problem)?;
            let at = match groups.iter().position(|group| group.name == source.store) {
                Some(at) => at,
                None => {
                    groups.push(Group {
                        name: source.store.clone(),
                        store: store.stores().offline(cx, source.store.as_deref()).await?,
                        join: PointInTimeJoin {
                            views: Vec::new(),
                            as_known,
                        },
                        keys: Vec::new(),
                        fields: Vec::new(),
                    });
                    groups.len() - 1
                }
            };
            let group = &mut groups[at];
            for &key in &meaning.spine.join_keys[index] {
                if !group.keys.contains(&key) {
                    group.keys.push(key);
                }
            }
            let views = view_joins(index, join, bound, &meaning.spine, naming)?;
            group.join.views.extend(views);
        }
        let mut by_name: HashMap<String, usize> = HashMap::new();
        for group in &mut groups {
            group.fields = group.join.views.iter().flat_map(output_fields).collect();
            for field in &group.fields {
                by_name.insert(field.name().clone(), by_name.len());
            }
        }
        let position = |join: usize, slot: usize| {
            by_name
                .get(&naming.output(join, slot))
                .copied()
                .ok_or_else(|| Error::new(&codes::INTERNAL, "a feature was asked of no store"))
        };
        let positions = meaning
            .resolved
            .joins
            .iter()
            .enumerate()
            .map(|(index, join)| {
                (0..join.wanted.len())
                    .map(|slot| position(index, slot))
                    .collect::<Result<_>>()
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            meaning,
            groups,
            positions,
        })
    }

    /// The schema of the spine and all stores' answers side by side.
    pub(crate) fn joined_schema(&self) -> SchemaRef {
        let spine = self.meaning.schema.fields().iter();
        let mut fields: Vec<_> = spine.take(self.meaning.n_spine_columns).cloned().collect();
        let answers = self.groups.iter().flat_map(|group| &group.fields);
        fields.extend(answers.cloned().map(Arc::new));
        Arc::new(Schema::new(fields))
    }

    /// Makes a batch of the result from one of [`Self::joined_schema`]: computes on-demand features
    /// and puts columns in order.
    ///
    /// # Errors
    /// What on-demand expressions say.
    pub(crate) fn assemble(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let n_spine = self.meaning.n_spine_columns;
        let resolved = &self.meaning.resolved;
        let joined = |join: usize, slot: usize| -> ArrayRef {
            batch.column(n_spine + self.positions[join][slot]).clone()
        };
        let requests: Vec<ArrayRef> = resolved
            .requests
            .iter()
            .zip(&self.meaning.spine.requests)
            .map(|(field, &column)| {
                cast_request(batch.column(column), &field.name, &field.value_type)
            })
            .collect::<Result<_>>()?;
        let computed = evaluate(
            &resolved.steps,
            &Batch {
                joined: &joined,
                requests: &requests,
                n_rows: batch.num_rows(),
            },
        )?;
        let mut columns: Vec<ArrayRef> = batch.columns()[..n_spine].to_vec();
        columns.extend(resolved.outputs.iter().map(|output| match output.value {
            Value::Joined { join, slot } => joined(join, slot),
            Value::Step(step) => computed[step].clone(),
        }));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.meaning.schema.clone(), columns, &options)
            .map_err(|error| defect("the features do not fit their types", error))
    }
}

fn check_as_known(resolved: &Resolved) -> Result<()> {
    let without = resolved
        .joins
        .iter()
        .find(|join| join.view.source.created_timestamp.is_none());
    match without {
        None => Ok(()),
        Some(join) => Err(Error::new(
            &codes::CREATED_REQUIRED,
            format!(
                "as_known asks when rows became known, and source {:?} of view {:?} names no created_timestamp",
                join.view.source.name, join.name
            ),
        )
        .help("name the source's created_timestamp, or leave the view or as_known out")),
    }
}

pub(crate) fn first_problem(problems: Vec<crate::request::source::Problem>) -> Error {
    problems.into_iter().next().map_or_else(
        || Error::new(&codes::INTERNAL, "a source does not fit for no reason"),
        |problem| problem.error,
    )
}

/// What a store is asked for one view: its features, and apart from them its windows.
fn view_joins(
    index: usize,
    join: &JoinedView,
    bound: Bound,
    spine: &SpineColumns,
    naming: &Naming,
) -> Result<Vec<ViewJoin>> {
    let keys: Vec<KeyColumn> = bound
        .keys
        .into_iter()
        .zip(&spine.join_keys[index])
        .map(|(column, &key)| KeyColumn {
            spine: naming.key(key, &spine.keys[key]),
            column,
            value_type: spine.keys[key].value_type.clone(),
        })
        .collect();
    let outputs = join.view.outputs();
    let mut features = Vec::new();
    let mut aggregations = Vec::new();
    for (slot, (output, &wanted)) in bound.outputs.into_iter().zip(&join.wanted).enumerate() {
        match output {
            BoundOutput::Column { column, checked } => {
                let (_, value_type) = outputs[wanted];
                let value_type = value_type.cloned().ok_or_else(|| {
                    Error::new(&codes::INTERNAL, "a feature has no declared type")
                })?;
                features.push(FeatureColumn {
                    column,
                    output: naming.output(index, slot),
                    value_type,
                    checked,
                });
            }
            BoundOutput::Window { column, value_type } => {
                let aggregation = &join.view.aggregations[wanted - join.view.features.len()];
                aggregations.push(WindowAggregate {
                    function: aggregation.function,
                    column,
                    window_us: aggregation.window_us,
                    output: naming.output(index, slot),
                    value_type,
                });
            }
        }
    }
    let view = |features: Vec<FeatureColumn>, aggregations: Vec<WindowAggregate>| ViewJoin {
        name: join.label.clone(),
        source: bound.source.clone(),
        keys: keys.clone(),
        ttl_us: join.view.ttl_us,
        features,
        aggregations,
    };
    let mut views = Vec::new();
    if !features.is_empty() {
        views.push(view(features, Vec::new()));
    }
    if !aggregations.is_empty() {
        views.push(view(Vec::new(), aggregations));
    }
    Ok(views)
}

fn output_fields(view: &ViewJoin) -> Vec<Field> {
    let features = view
        .features
        .iter()
        .map(|feature| feature.value_type.to_field(&feature.output));
    let windows = view
        .aggregations
        .iter()
        .map(|window| window.value_type.to_field(&window.output));
    features.chain(windows).collect()
}
