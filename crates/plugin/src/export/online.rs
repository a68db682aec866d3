//! Online stores and prepared reads behind the ABI.

use std::sync::Arc;

use futures::FutureExt;
use provender_core::Result;
use provender_core::provider::OnlineStore;
use provender_core::request::ReadPlan;

use super::completion::Reply;
use super::dispatch::{Begun, arguments, caller, one_stream, unknown};
use super::offline::whole;
use super::{Exported, Instance, Reader, Taken, answer};
use crate::abi::method;
use crate::columns::{broken, export_batch, export_schema, import_batch};
use crate::control::{
    CheckpointControl, HoldsControl, LayoutControl, Prepared, ViewControl, write,
};
use crate::reads::{keys_schema, rows_schema, rows_to_batch};

/// Begins a call to an online store.
pub(super) fn begin(
    exported: &'static Exported,
    store: Arc<dyn OnlineStore>,
    mut taken: Taken,
) -> Result<Begun> {
    Ok(match taken.method {
        method::CHECK => {
            let cx = caller(&taken)?;
            let context = cx.clone();
            let work = async move { answer(&store.check(&cx).await?) };
            (context, work.boxed())
        }
        method::ONLINE_PREPARE => {
            let (cx, plan): (_, ReadPlan) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move {
                let (keys, rows) = (keys_schema(&plan), rows_schema(&plan)?);
                let reader = Reader {
                    reader: store.prepare(&cx, Arc::new(plan)).await?,
                    keys,
                    rows,
                };
                let schema = export_schema(&reader.rows)?;
                let instance = exported.keep(Instance::Reader(reader));
                Ok(Reply {
                    control: write(&Prepared { instance })?,
                    schema: Some(schema),
                    ..Reply::default()
                })
            };
            (context, work.boxed())
        }
        method::ONLINE_WRITE => {
            let (cx, control): (_, LayoutControl) = arguments(&taken)?;
            let rows = one_stream(&mut taken)?;
            let context = cx.clone();
            let work = async move { answer(&store.write(&cx, &control.view, rows).await?) };
            (context, work.boxed())
        }
        method::ONLINE_DELETE => {
            let (cx, control): (_, LayoutControl) = arguments(&taken)?;
            let keys = one_stream(&mut taken)?;
            let context = cx.clone();
            let work = async move {
                let keys = whole(keys).await?;
                store.delete(&cx, &control.view, keys).await?;
                answer(&serde_json::json!({}))
            };
            (context, work.boxed())
        }
        method::ONLINE_VIEWS => {
            let cx = caller(&taken)?;
            let context = cx.clone();
            let work = async move { answer(&store.views(&cx).await?) };
            (context, work.boxed())
        }
        method::ONLINE_STATS => {
            let (cx, control): (_, ViewControl) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move { answer(&store.stats(&cx, &control.view).await?) };
            (context, work.boxed())
        }
        method::ONLINE_DROP_VIEW => {
            let (cx, control): (_, ViewControl) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move {
                store.drop_view(&cx, &control.view).await?;
                answer(&serde_json::json!({}))
            };
            (context, work.boxed())
        }
        method::ONLINE_CHECKPOINT => {
            let (cx, control): (_, CheckpointControl) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move {
                let made = store.checkpoint(&cx, &control.view, control.since).await?;
                answer(&made)
            };
            (context, work.boxed())
        }
        method::ONLINE_HOLDS => {
            let (cx, control): (_, HoldsControl) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move {
                let holds = store.holds(&cx, &control.view, control.checkpoint).await?;
                answer(&holds)
            };
            (context, work.boxed())
        }
        other => return Err(unknown(other)),
    })
}

/// Begins a read of a prepared reader. What it has to say beside its rows is seldom anything, so the
/// control bytes of its answer are mostly none.
pub(super) fn read(reader: &Reader, mut taken: Taken) -> Result<Begun> {
    if taken.method != method::ONLINE_READ {
        return Err(unknown(taken.method));
    }
    let cx = caller(&taken)?;
    let keys = taken
        .array
        .take()
        .ok_or_else(|| broken("a read without keys"))?;
    let keys = import_batch(keys, &reader.keys)?;
    let (context, rows_schema) = (cx.clone(), reader.rows.clone());
    let reader = Arc::clone(&reader.reader);
    let work = async move {
        let rows = reader.read(&cx, &keys).await?;
        let (batch, notes) = rows_to_batch(rows, keys.num_rows(), &rows_schema)?;
        Ok(Reply {
            control: if notes.unreadable.is_empty() {
                Vec::new()
            } else {
                write(&notes)?
            },
            array: Some(export_batch(&batch)),
            ..Reply::default()
        })
    };
    Ok((context, work.boxed()))
}
