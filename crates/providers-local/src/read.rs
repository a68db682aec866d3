//! Reading rows: what is prepared once, and what every call does.
//!
//! A call binds its key columns, and looks each key up in one transaction per view, in memory if its rows
//! were copied there; the bytes found stay where they are, or where LMDB mapped them, until the codec has
//! read them. Nothing is waited for unless a view has to be
//! opened.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use async_trait::async_trait;
use provender_codec::{KeyFormat, RowDecoder, RowFormat};
use provender_core::provider::OnlineReader;
use provender_core::request::{OnlineRows, ReadPlan, ViewRead, ViewRows};
use provender_core::{Context, Error, Result, codes};

use crate::blocking;
use crate::copied::Keys;
use crate::names::to_stored_key;
use crate::slot::{Looked, Slot};

/// Look-ups from which on a call leaves the runtime's threads to others.
const MANY_KEYS: usize = 20_000;

/// A prepared read.
pub(crate) struct LocalReader {
    n_key_columns: usize,
    views: Arc<Vec<PreparedView>>,
}

struct PreparedView {
    slot: Arc<Slot>,
    keys: KeyFormat,
    key_columns: Vec<usize>,
    decoder: RowDecoder,
}

impl LocalReader {
    /// Prepares a plan; `slot` finds a view's rows.
    pub(crate) fn new(plan: &ReadPlan, slot: impl Fn(&ViewRead) -> Arc<Slot>) -> Result<Self> {
        let views = plan
            .views
            .iter()
            .map(|read| {
                check_keys(plan, read)?;
                Ok(PreparedView {
                    slot: slot(read),
                    keys: KeyFormat::new(&read.layout.join_keys)?,
                    key_columns: read.key_columns.clone(),
                    decoder: RowFormat::new(&read.layout)?.decoder(&read.features)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            n_key_columns: plan.keys.len(),
            views: Arc::new(views),
        })
    }

    /// Opens the views that hold something, so that no call has to.
    pub(crate) async fn open(&self, cx: &Context) -> Result<()> {
        let views = Arc::clone(&self.views);
        blocking::run(cx, move |_| {
            for view in views.iter() {
                view.slot.open()?;
            }
            Ok(())
        })
        .await
    }
}

fn check_keys(plan: &ReadPlan, read: &ViewRead) -> Result<()> {
    let wrong = |what: String| {
        Error::new(
            &codes::BAD_REQUEST,
            format!("the read of view {:?} {what}", read.layout.view),
        )
        .context("view", read.layout.view.clone())
    };
    if read.key_columns.len() != read.layout.join_keys.len() {
        return Err(wrong(format!(
            "brings {} key columns, and the view has {} join keys",
            read.key_columns.len(),
            read.layout.join_keys.len()
        )));
    }
    for (index, key) in read.key_columns.iter().zip(&read.layout.join_keys) {
        match plan.keys.get(*index) {
            None => {
                return Err(wrong(format!(
                    "names key column {index} of {}",
                    plan.keys.len()
                )));
            }
            Some(column) if column.value_type != key.value_type => {
                return Err(wrong(format!(
                    "takes join key {:?} of type {} from a column of type {}",
                    key.name, key.value_type, column.value_type
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

impl PreparedView {
    /// One view's answer; `None` if the view has to be opened first.
    fn read(&self, keys: &RecordBatch) -> Result<Option<ViewRows>> {
        let n_rows = keys.num_rows();
        let columns: Vec<ArrayRef> = self
            .key_columns
            .iter()
            .map(|index| Arc::clone(keys.column(*index)))
            .collect();
        let bound = self.keys.bind(&columns, n_rows)?;
        let mut stored = Keys::with_capacity(n_rows);
        let mut key = Vec::new();
        for row in 0..n_rows {
            key.clear();
            let is_key = bound.append(row, &mut key);
            if is_key {
                to_stored_key(&mut key);
            }
            stored.push(is_key.then_some(key.as_slice()));
        }
        let mut should_copy = false;
        let looked = self.slot.look(|environment, txn| {
            if let Some(rows) = environment.resident.rows(txn.id()) {
                let found = rows.find(&stored);
                return Ok(match rows.are_sound() {
                    true => self.decoder.decode_sound(&found)?,
                    false => self.decoder.decode(&found)?,
                });
            }
            let found = (stored.iter())
                .map(|key| match key {
                    Some(key) => environment.rows.get(txn, key),
                    None => Ok(None),
                })
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| environment.failure("read", error))?;
            should_copy = environment.resident.searched(txn.id(), n_rows);
            Ok(self.decoder.decode(&found)?)
        })?;
        if should_copy {
            let slot = Arc::clone(&self.slot);
            blocking::beside(move || slot.copy_rows());
        }
        match looked {
            Looked::Answer(rows) => Ok(Some(rows)),
            Looked::Nothing => Ok(Some(self.decoder.decode(&vec![None; n_rows])?)),
            Looked::NotOpen => Ok(None),
        }
    }

    /// As [`Self::read`], opening the view if need be. Blocks.
    fn read_or_open(&self, keys: &RecordBatch) -> Result<ViewRows> {
        // A view that is replaced again and again is given up on by the slot.
        for _ in 0..100 {
            if let Some(rows) = self.read(keys)? {
                return Ok(rows);
            }
            if self.slot.open()?.is_none() {
                return self.decoder.decode(&vec![None; keys.num_rows()]);
            }
        }
        Err(crate::error::restless(&self.slot.folder))
    }
}

#[async_trait]
impl OnlineReader for LocalReader {
    async fn read(&self, cx: &Context, keys: &RecordBatch) -> Result<OnlineRows> {
        cx.check()?;
        if keys.num_columns() != self.n_key_columns {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "a read brings {} key columns, and {} were prepared",
                    keys.num_columns(),
                    self.n_key_columns
                ),
            ));
        }
        let mut views = Vec::with_capacity(self.views.len());
        let many = keys.num_rows().saturating_mul(self.views.len()) >= MANY_KEYS;
        for (index, view) in self.views.iter().enumerate() {
            let rows = if many { None } else { view.read(keys)? };
            views.push(match rows {
                Some(rows) => rows,
                None => {
                    let (all, keys) = (Arc::clone(&self.views), keys.clone());
                    blocking::run(cx, move |_| all[index].read_or_open(&keys)).await?
                }
            });
        }
        Ok(OnlineRows { views })
    }
}
