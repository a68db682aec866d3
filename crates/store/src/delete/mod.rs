//! Deletes of keys: erasure everywhere, or tombstones in order.
//!
//! Decides what "everywhere" is: the rows of the source's table, and then the online rows of every
//! version of every view that are known to belong to the same keys. What cannot be erased that way is
//! named to the caller, never passed over.

mod keys;
mod related;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use async_stream::try_stream;
use futures::StreamExt;
use provender_core::model::FeatureView;
use provender_core::provider::{OfflineStore, OnlineStore, ViewVersion, unsupported};
use provender_core::request::{SourceRef, ViewLayout};
use provender_core::time::instant_type;
use provender_core::{BatchStream, Context, Error, Result, codes};
use serde::Serialize;

use crate::FeatureStore;
use crate::cast::cast_key;
use crate::plan::source_schema;
use crate::push::{PushTarget, check_no_windows, check_online, named_view, table_of};
use crate::request::source::bind;
use crate::spine::defect;
use crate::stores::Role;
use crate::training::first_problem;
use keys::{Keys, check_comparable};
use related::{Related, Relations};

/// Keys to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The view: `route_delay` (its newest version) or `route_delay@2`.
    pub view: String,
    /// Which stores they leave.
    pub from: PushTarget,
}

/// What a delete did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeleteSummary {
    /// Keys brought; one that nothing was held of counts too.
    pub n_keys: u64,
    /// Versions of views whose online rows of these keys are gone.
    pub online: Vec<ViewVersion>,
    /// The table whose rows of these keys are gone.
    pub offline: Option<String>,
    /// Where rows of these keys may still be, as sentences.
    pub notes: Vec<String>,
}

impl FeatureStore {
    /// Deletes keys of a view, for erasure requests. From the offline store: all rows of the keys in
    /// the table of the view's source. From online: the rows held of the keys, of every version of
    /// the view and of every other view over the same table whose join keys are the same columns.
    ///
    /// The rows brought have the join keys by name, in any order. With the source's `timestamp`
    /// as a further column the delete is one in order: online alone, for all versions of the view,
    /// and rows that are newer than their key's event time stay.
    ///
    /// # Errors
    /// Nothing is deleted: `P401` for the view, `InvalidArgument` `P406` for the columns, `P409` for
    /// a null or misfit; `FailedPrecondition` `P509` for a source that is no table at its newest
    /// state, `P601` if the view has no online rows to delete, `P607` for a delete in order of a view
    /// with aggregations; `Unsupported` (`P801`) for a store that does not delete. Otherwise what the
    /// stores say; the same delete can be made again.
    pub async fn delete(
        &self,
        cx: &Context,
        delete: &Delete,
        keys: BatchStream,
    ) -> Result<DeleteSummary> {
        let catalog = self.applied_catalog(cx).await?;
        let (version, view) = named_view(&catalog, &delete.view)?;
        let offline = match delete.from.is_offline() {
            true => Some(OfflinePart::prepare(self, cx, &view).await?),
            false => None,
        };
        let columns = offline.as_ref().map(|offline| offline.columns.as_slice());
        let relations = Relations::find(&catalog, self.project(), &view, columns);
        let mut summary = DeleteSummary {
            n_keys: 0,
            online: Vec::new(),
            offline: None,
            notes: Vec::new(),
        };
        let online = match delete.from.is_online() {
            true => {
                let online = Held::find(self, cx, &relations).await?;
                if offline.is_none() && online.erased.is_empty() {
                    check_online(&catalog, &view)?;
                }
                Some(online)
            }
            false => None,
        };

        let keys = Keys::read(self, cx, &view, keys).await?;
        summary.n_keys = keys.n_rows();
        if keys.in_order {
            if delete.from != PushTarget::Online {
                return Err(in_order_online_only(&view));
            }
            check_no_windows(&view)?;
            check_online(&catalog, &view)?;
            summary.online = self.bury(cx, version, &view, &relations, &keys).await?;
            return Ok(summary);
        }
        if let Some(offline) = offline {
            let table = offline.table.clone();
            offline.delete(cx, &keys).await?;
            summary.notes = offline_notes(&relations, &offline, online.as_ref());
            summary.offline = Some(table);
        }
        if let Some(online) = online {
            online.delete(cx, &keys).await?;
            summary.online = online.versions();
            summary.notes.extend(online.notes);
        }
        Ok(summary)
    }

    /// The columns that [`Self::delete`] takes for a view: its join keys under their types; what
    /// readers of CSV and JSON read keys as.
    ///
    /// # Errors
    /// `P401`.
    pub async fn delete_schema(&self, cx: &Context, view: &str) -> Result<SchemaRef> {
        let catalog = self.applied_catalog(cx).await?;
        let (_, view) = named_view(&catalog, view)?;
        let keys = view.join_keys();
        let fields: Vec<Field> = keys
            .iter()
            .map(|key| key.value_type.to_field(&key.name))
            .collect();
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Writes a tombstone for each key: into the version that was named, whether or not anything is
    /// held of it, since an older row may still come; and into the others that hold rows.
    async fn bury(
        &self,
        cx: &Context,
        version: u32,
        view: &FeatureView,
        relations: &Relations,
        keys: &Keys,
    ) -> Result<Vec<ViewVersion>> {
        let held = Held::find(self, cx, relations).await?;
        let mut buried = Vec::new();
        let mut writes = Vec::new();
        for related in &relations.erased {
            let is_named = related.version.version == version;
            let takes_rows = related.view.aggregations.is_empty();
            if related.version.view != view.name
                || !takes_rows
                || !(is_named || held.holds(&related.version))
            {
                continue;
            }
            let at = related.version.version;
            let layout = self.pushed_layout(cx, at, &related.view).await?;
            let name = related.view.online_store.as_deref();
            writes.push((related, layout, self.stores().online(cx, name).await?));
        }
        for (related, layout, store) in writes {
            if keys.n_rows() > 0 {
                let rows = tombstones(cx, keys, related, &layout);
                store
                    .write(cx, &layout, rows)
                    .await
                    .map_err(|error| error.context("view", related.version.view.clone()))?;
            }
            buried.push(related.version.clone());
        }
        Ok(buried)
    }
}

fn in_order_online_only(view: &FeatureView) -> Error {
    let event = &view.source.timestamp;
    Error::new(
        &codes::BAD_REQUEST,
        format!(
            "the keys of view {:?} carry {event}, which makes a delete in order, and only the online store has an order to keep",
            view.name
        ),
    )
    .help(format!(
        "delete from online alone, or leave {event} out to erase the keys everywhere"
    ))
    .context("view", view.name.clone())
}

/// Rows that delete keys as of their event times.
fn tombstones(cx: &Context, keys: &Keys, related: &Related, layout: &ViewLayout) -> BatchStream {
    let schema = Arc::new(layout.write_schema());
    let (related, layout, mut chunks) = (related.clone(), layout.clone(), keys.chunks(cx));
    BatchStream::new(
        schema.clone(),
        try_stream! {
            while let Some(chunk) = chunks.batches.next().await {
                let chunk = chunk?;
                let n_rows = chunk.num_rows();
                let mut arrays = related_keys(&chunk, &related)?;
                arrays.push(chunk.column(chunk.num_columns() - 1).clone());
                arrays.push(new_null_array(&instant_type(), n_rows));
                arrays.push(Arc::new(BooleanArray::from(vec![true; n_rows])));
                let rest = schema.fields().iter().skip(arrays.len());
                let rest: Vec<ArrayRef> = rest
                    .map(|field| new_null_array(field.data_type(), n_rows))
                    .collect();
                arrays.extend(rest);
                let all = batch(schema.clone(), arrays, n_rows)?;
                yield without_null_keys(all, layout.join_keys.len())?;
            }
        },
    )
}

/// Keys of another version's narrower type may be null after the cast: no row has them.
fn without_null_keys(rows: RecordBatch, n_keys: usize) -> Result<RecordBatch> {
    let has_null = rows.columns()[..n_keys]
        .iter()
        .any(|key| key.null_count() > 0);
    if !has_null {
        return Ok(rows);
    }
    let kept: BooleanArray = (0..rows.num_rows())
        .map(|row| Some(rows.columns()[..n_keys].iter().all(|key| key.is_valid(row))))
        .collect();
    arrow_select::filter::filter_record_batch(&rows, &kept)
        .map_err(|error| defect("tombstones cannot be filtered", error))
}

/// A chunk's keys in the order, and under the types, of another version.
fn related_keys(chunk: &RecordBatch, related: &Related) -> Result<Vec<ArrayRef>> {
    let keys = related.view.join_keys();
    keys.iter()
        .zip(&related.keys)
        .map(|(key, &at)| cast_key(chunk.column(at), &key.name, &key.value_type))
        .collect()
}

fn batch(schema: SchemaRef, arrays: Vec<ArrayRef>, n_rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    RecordBatch::try_new_with_options(schema, arrays, &options)
        .map_err(|error| defect("keys do not fit a view's layout", error))
}

/// The table that keys leave.
struct OfflinePart {
    store: Arc<dyn OfflineStore>,
    table: String,
    /// All columns of the table.
    columns: Vec<String>,
    /// Those of the keys.
    keys: Vec<Field>,
}

impl OfflinePart {
    async fn prepare(store: &FeatureStore, cx: &Context, view: &FeatureView) -> Result<Self> {
        let table = table_of(view, "keys cannot be deleted from")?;
        if view.join_keys().is_empty() {
            return Err(Error::new(
                &codes::SOURCE_READ_ONLY,
                format!("view {:?} has no join keys by which rows of table {table:?} could be found", view.name),
            )
            .help("delete the rows in the table with the store's own tools, and use the online part alone")
            .context("view", view.name.clone()));
        }
        let name = view.source.store.as_deref();
        let offline = store.stores().offline(cx, name).await?;
        if !offline.capabilities().delete {
            return Err(unsupported(&offline.info(), "deleting keys")
                .help("delete the rows in the table with the store's own tools, and use the online part alone"));
        }
        // A filter of the source hides rows from the view; erasing takes them too.
        let schema = source_schema(store, cx, name, &SourceRef::table(&table)).await?;
        let keys = bind(view, &schema, &[]).map_err(first_problem)?.keys;
        let keys: Vec<Field> = keys
            .iter()
            .filter_map(|key| schema.field_with_name(key).ok())
            .map(|field| Field::new(field.name(), field.data_type().clone(), true))
            .collect();
        check_comparable(view, &keys)?;
        let names = schema.fields().iter().map(|field| field.name().clone());
        Ok(Self {
            store: offline,
            table,
            columns: names.collect(),
            keys,
        })
    }

    async fn delete(&self, cx: &Context, keys: &Keys) -> Result<()> {
        let source = SourceRef::table(&self.table);
        let mut chunks = keys.chunks(cx);
        while let Some(chunk) = chunks.batches.next().await {
            let keys = keys.in_table(&chunk?, &self.keys)?;
            if keys.num_rows() > 0 {
                let deleted = self.store.delete(cx, &source, keys).await;
                deleted.map_err(|error| error.context("table", self.table.clone()))?;
            }
        }
        Ok(())
    }
}

fn offline_notes(
    relations: &Relations,
    offline: &OfflinePart,
    online: Option<&Held>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if offline.store.capabilities().versions {
        notes.push(format!(
            "older versions of table {:?} hold the rows until they are vacuumed",
            offline.table
        ));
    }
    for table in &relations.other_tables {
        notes.push(format!(
            "another version of the view reads {table}, whose rows were not deleted"
        ));
    }
    for view in &relations.queries {
        notes.push(format!(
            "view {view} reads a query over {:?}; delete its online rows by its own keys",
            offline.table
        ));
    }
    for (version, view) in &relations.derived {
        let is_held = online.is_none_or(|online| online.holds(version));
        if is_held && view.online {
            notes.push(format!(
                "view {}@{} derives from the deleted rows; materialise it again",
                version.view, version.version
            ));
        }
    }
    notes
}

/// The online rows that keys leave: only of versions that anything is held of.
struct Held {
    erased: Vec<(Related, ViewLayout, Arc<dyn OnlineStore>)>,
    held: Vec<ViewVersion>,
    notes: Vec<String>,
}

/// An online store, and what it holds.
type Opened = (Arc<dyn OnlineStore>, Vec<ViewVersion>);

impl Held {
    async fn find(store: &FeatureStore, cx: &Context, relations: &Relations) -> Result<Self> {
        let mut found = Self {
            erased: Vec::new(),
            held: Vec::new(),
            notes: Vec::new(),
        };
        let mut opened: BTreeMap<Option<&str>, Opened> = BTreeMap::new();
        let derived = relations.derived.iter().map(|(_, view)| view);
        let all = relations.erased.iter().map(|related| &related.view);
        for view in all.chain(derived) {
            let name = view.online_store.as_deref();
            if opened.contains_key(&name) {
                continue;
            }
            // An older version may name a store that was since taken out of the configuration.
            if let (Some(name), Err(_)) = (name, store.stores().block(Role::Online, name)) {
                let note = format!(
                    "online store {name:?} is not configured any more; what it held of view {} was not looked at",
                    view.name
                );
                if !found.notes.contains(&note) {
                    found.notes.push(note);
                }
                continue;
            }
            let online = store.stores().online(cx, name).await?;
            let held = online.views(cx).await?;
            opened.insert(name, (online, held));
        }
        for related in &relations.erased {
            let Some((online, held)) = opened.get(&related.view.online_store.as_deref()) else {
                continue;
            };
            if let (true, Some(layout)) = (held.contains(&related.version), related.layout()) {
                found.held.push(related.version.clone());
                found.erased.push((related.clone(), layout, online.clone()));
            }
        }
        for (version, view) in &relations.derived {
            let held = opened.get(&view.online_store.as_deref());
            if held.is_some_and(|(_, held)| held.contains(version)) {
                found.held.push(version.clone());
            }
        }
        // Versions that are no longer applied have no definition to find keys by.
        let names: Vec<&str> = relations
            .erased
            .iter()
            .map(|r| r.version.view.as_str())
            .collect();
        for (_, held) in opened.values() {
            for version in held {
                let is_known = relations.erased.iter().any(|r| r.version == *version)
                    || relations.derived.iter().any(|(known, _)| known == version);
                if names.contains(&version.view.as_str()) && !is_known {
                    found.notes.push(format!(
                        "online rows of {}@{} are held, which is no longer applied; run `provender apply` to clean up",
                        version.view, version.version
                    ));
                }
            }
        }
        Ok(found)
    }

    fn holds(&self, version: &ViewVersion) -> bool {
        self.held.contains(version)
    }

    fn versions(&self) -> Vec<ViewVersion> {
        let versions = self.erased.iter();
        versions
            .map(|(related, _, _)| related.version.clone())
            .collect()
    }

    async fn delete(&self, cx: &Context, keys: &Keys) -> Result<()> {
        let mut chunks = keys.chunks(cx);
        while let Some(chunk) = chunks.batches.next().await {
            let chunk = chunk?;
            for (related, layout, store) in &self.erased {
                let arrays = related_keys(&chunk, related)?;
                let schema = Arc::new(layout.key_schema());
                let keys = batch(schema, arrays, chunk.num_rows())?;
                let deleted = store.delete(cx, layout, keys).await;
                deleted.map_err(|error| error.context("view", related.version.view.clone()))?;
            }
        }
        Ok(())
    }
}
