//! An online read, prepared: everything that does not change between calls.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use provender_core::model::JoinKey;
use provender_core::provider::{OnlineReader, OnlineStore, ProviderInfo, ViewVersion};
use provender_core::request::{ReadPlan, ViewLayout, ViewRead};
use provender_core::{Context, Error, Result, codes};

use super::answer::ViewRules;
use super::call::OnlineCall;
use super::columns::Columns;
use super::labels::{Label, labels, output_schema};
use super::request::OnlineRequest;
use super::select::select;
use super::watch::Watch;
use crate::FeatureStore;
use crate::request::resolve::{Resolved, resolve};

impl FeatureStore {
    /// Settles everything about an online read that does not depend on keys: versions, columns,
    /// names, and what each online store is asked. The only part of reading that asks the registry,
    /// so what is applied or materialised later is seen by a later query, not by this one.
    ///
    /// # Errors
    /// `P306` if nothing is applied; `P401` for unknown services, views, features and versions; `P403`
    /// and `P404` for columns whose types or names clash; `P406` for an empty list and bad key
    /// mappings; `FailedPrecondition` (`P601`) for a view with `online: false`; and what opening the
    /// online stores says.
    pub async fn prepare_online(
        &self,
        cx: &Context,
        request: &OnlineRequest,
    ) -> Result<OnlineQuery> {
        let catalog = self.applied_catalog(cx).await?;
        let selected = select(self, cx, &catalog, &request.selection).await?;
        let resolved = resolve(&catalog, &selected.references, request.full_feature_names)?;
        if resolved.outputs.is_empty() {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                "the request names no features",
            ));
        }
        check_online(&resolved)?;
        let columns = Columns::of(&resolved)?;
        let labels = if request.status {
            labels(&resolved)?
        } else {
            Vec::new()
        };
        let schema = output_schema(&resolved, &columns, &labels)?;
        let rules = resolved
            .joins
            .iter()
            .enumerate()
            .map(|(index, join)| ViewRules::new(join, index, &columns))
            .collect::<Result<_>>()?;
        let stores = self.readers(cx, &resolved, &columns).await?;
        Ok(OnlineQuery {
            prepared: Arc::new(Prepared {
                selected: selected.name,
                resolved,
                columns,
                labels,
                with_status: request.status,
                schema,
                rules,
                stores,
            }),
        })
    }

    /// One reader for each online store, with the views that it holds.
    async fn readers(
        &self,
        cx: &Context,
        resolved: &Resolved,
        columns: &Columns,
    ) -> Result<Vec<StoreRead>> {
        let mut names: Vec<Option<&str>> = Vec::new();
        for join in &resolved.joins {
            let name = join.view.online_store.as_deref();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut stores = Vec::with_capacity(names.len());
        for name in names {
            let joins: Vec<usize> = (0..resolved.joins.len())
                .filter(|&join| resolved.joins[join].view.online_store.as_deref() == name)
                .collect();
            let mut keys: Vec<usize> = Vec::new();
            let mut views = Vec::with_capacity(joins.len());
            for &index in &joins {
                let join = &resolved.joins[index];
                let mut key_columns = Vec::new();
                for &key in &columns.join_keys[index] {
                    let known = keys.iter().position(|known| *known == key);
                    key_columns.push(known.unwrap_or_else(|| {
                        keys.push(key);
                        keys.len() - 1
                    }));
                }
                let layout = ViewLayout::of(self.project(), join.version, &join.view)?;
                views.push(ViewRead {
                    layout: Arc::new(layout),
                    key_columns,
                    features: join.wanted.clone(),
                });
            }
            let plan_keys: Vec<JoinKey> = keys
                .iter()
                .map(|&key| JoinKey {
                    name: columns.keys[key].name.clone(),
                    value_type: columns.keys[key].value_type.clone(),
                })
                .collect();
            let fields = plan_keys
                .iter()
                .map(|key| key.value_type.to_field(&key.name));
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let store = self.stores().online(cx, name).await?;
            let mut watches = Vec::with_capacity(views.len());
            for view in &views {
                watches.push(self.watch(cx, &store, &view.layout.view_version()).await?);
            }
            let plan = ReadPlan {
                keys: plan_keys,
                views,
            };
            stores.push(StoreRead {
                reader: store.prepare(cx, Arc::new(plan)).await?,
                info: store.info(),
                keys,
                schema,
                joins,
                watches,
            });
        }
        Ok(stores)
    }

    /// What tells whether a version's rows were lost, asked now so that reads need not wait for it. A store
    /// that does not answer is asked again by the first read.
    async fn watch(
        &self,
        cx: &Context,
        store: &Arc<dyn OnlineStore>,
        view: &ViewVersion,
    ) -> Result<Option<Watch>> {
        let number = self.kept_checkpoint(cx, store.as_ref(), view).await?;
        let watch = number.map(|number| Watch::new(store.clone(), view.clone(), number));
        if let Some(watch) = &watch {
            let _ = watch.is_lost(cx).await;
            cx.check()?;
        }
        Ok(watch)
    }
}

/// An online read whose versions, columns and stores are settled. Cheap to clone; clones share
/// everything.
#[derive(Clone)]
pub struct OnlineQuery {
    pub(super) prepared: Arc<Prepared>,
}

/// What all calls of a query share.
pub(super) struct Prepared {
    pub(super) selected: String,
    pub(super) resolved: Resolved,
    pub(super) columns: Columns,
    pub(super) labels: Vec<Label>,
    pub(super) with_status: bool,
    pub(super) schema: SchemaRef,
    /// One for each join.
    pub(super) rules: Vec<ViewRules>,
    pub(super) stores: Vec<StoreRead>,
}

/// What is read of one store.
pub(super) struct StoreRead {
    pub(super) reader: Arc<dyn OnlineReader>,
    pub(super) info: ProviderInfo,
    /// The request's keys that the store is given, and their schema.
    pub(super) keys: Vec<usize>,
    pub(super) schema: SchemaRef,
    /// For each view of the plan its join.
    pub(super) joins: Vec<usize>,
    /// For each view of the plan what tells whether rows of it were lost; `None` where nothing can be.
    pub(super) watches: Vec<Option<Watch>>,
}

impl OnlineQuery {
    /// What a call brings, of declared types: the join keys in the order of their first use, then the
    /// request fields of on-demand views. A null key finds nothing.
    pub fn input_schema(&self) -> &SchemaRef {
        &self.prepared.columns.schema
    }

    /// How many columns of [`Self::input_schema`] are join keys; the rest are request fields.
    pub fn n_keys(&self) -> usize {
        self.prepared.columns.n_keys
    }

    /// What a call answers: the join keys, the features in the order of the service or request, and
    /// with `status`, per view, `<view>__status` (PRESENT, NULL_VALUE, OUTSIDE_MAX_AGE, NOT_FOUND or
    /// ERROR) and `<view>__event_timestamp` (us UTC, null where there is no row). An alias takes the
    /// view's place.
    pub fn schema(&self) -> &SchemaRef {
        &self.prepared.schema
    }

    /// The types of the online stores that are asked, such as `local`, each once, in order.
    pub fn stores(&self) -> Vec<&str> {
        let mut schemes: Vec<&str> = Vec::new();
        for store in &self.prepared.stores {
            if !schemes.contains(&store.info.scheme.as_str()) {
                schemes.push(&store.info.scheme);
            }
        }
        schemes
    }

    /// Versions of views whose online store has lost rows that it acknowledged, such as `route_delay@1`, as
    /// far as is known. Keys of these that are not there are answered as rows that cannot be read, until the
    /// view is materialised again and the query prepared anew.
    pub fn lost(&self) -> Vec<String> {
        let watches = self.prepared.stores.iter().flat_map(|store| &store.watches);
        let lost = watches.flatten().filter(|watch| watch.is_known_lost());
        lost.map(Watch::name).collect()
    }

    /// The versions that were chosen, for people: `departure_delay@2`, or the views of a list.
    pub fn selected(&self) -> &str {
        &self.prepared.selected
    }

    /// A call for batches of a schema, whose columns may stand in any order and have any types that
    /// can be read as the declared ones (such as int32 for int64).
    ///
    /// # Errors
    /// `InvalidArgument`: `P402` for a column of [`Self::input_schema`] that is not there, `P406` for one
    /// that is not asked for, `P404` for a name that is there twice, `P403` for a type that does not fit.
    pub fn bind(&self, input: &Schema) -> Result<OnlineCall> {
        let columns = &self.prepared.columns;
        let positions = columns.find(input, &self.prepared.resolved.requests)?;
        Ok(OnlineCall::new(self.prepared.clone(), input, &positions))
    }
}

impl fmt::Debug for OnlineQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnlineQuery")
            .field("selected", &self.prepared.selected)
            .field("input_schema", self.input_schema())
            .field("schema", self.schema())
            .finish_non_exhaustive()
    }
}

fn check_online(resolved: &Resolved) -> Result<()> {
    match resolved.joins.iter().find(|join| !join.view.online) {
        None => Ok(()),
        Some(join) => {
            let name = format!("{}@{}", join.name, join.version);
            Err(Error::new(
                &codes::NOT_ONLINE,
                format!("view {name:?} has `online: false`, so it cannot be read online"),
            )
            .help("set `online: true`, apply and materialise it, or leave its features out")
            .context("view", name))
        }
    }
}
