//! Offline stores behind the ABI.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::{FutureExt, StreamExt};
use provender_core::provider::OfflineStore;
use provender_core::request::{
    LatestPerKey, Maintenance, OfflineRequest, OfflineWrite, Scan, SourceRef, Spine, SpineRows,
    WindowsAt,
};
use provender_core::{BatchStream, Error, Result, codes};

use super::completion::Reply;
use super::dispatch::{Begun, arguments, caller, one_stream, streams, unknown};
use super::{Exported, Taken, answer};
use crate::abi::method;
use crate::columns::export_schema;
use crate::control::{DeleteControl, JoinControl, SpineControl};

/// Begins a call to an offline store.
pub(super) fn begin(
    exported: &'static Exported,
    store: Arc<dyn OfflineStore>,
    mut taken: Taken,
) -> Result<Begun> {
    Ok(match taken.method {
        method::CHECK => {
            let cx = caller(&taken)?;
            let work = {
                let cx = cx.clone();
                async move { answer(&store.check(&cx).await?) }
            };
            (cx, work.boxed())
        }
        method::OFFLINE_SCHEMA => {
            let (cx, source): (_, SourceRef) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move {
                let schema = store.schema(&cx, &source).await?;
                Ok(Reply {
                    control: b"{}".to_vec(),
                    schema: Some(export_schema(&schema)?),
                    ..Reply::default()
                })
            };
            (context, work.boxed())
        }
        method::OFFLINE_SCAN => {
            let (cx, scan): (_, Scan) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move { Ok(streams(exported, store.scan(&cx, scan).await?)) };
            (context, work.boxed())
        }
        method::OFFLINE_POINT_IN_TIME_JOIN => {
            let (cx, control): (_, JoinControl) = arguments(&taken)?;
            let spine = match control.spine {
                SpineControl::Sql(spine) => Spine::Sql(spine),
                SpineControl::Rows(columns) => Spine::Rows(SpineRows {
                    rows: one_stream(&mut taken)?,
                    timestamp: columns.timestamp,
                    row_number: columns.row_number,
                }),
            };
            let context = cx.clone();
            let work = async move {
                let rows = store.point_in_time_join(&cx, control.join, spine).await?;
                Ok(streams(exported, vec![rows]))
            };
            (context, work.boxed())
        }
        method::OFFLINE_LATEST => {
            let (cx, latest): (_, LatestPerKey) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move { Ok(streams(exported, vec![store.latest(&cx, latest).await?])) };
            (context, work.boxed())
        }
        method::OFFLINE_WINDOWS => {
            let (cx, windows): (_, WindowsAt) = arguments(&taken)?;
            let context = cx.clone();
            let work =
                async move { Ok(streams(exported, vec![store.windows(&cx, windows).await?])) };
            (context, work.boxed())
        }
        method::OFFLINE_WRITE => {
            let (cx, write): (_, OfflineWrite) = arguments(&taken)?;
            let rows = one_stream(&mut taken)?;
            let context = cx.clone();
            let work = async move { answer(&store.write(&cx, write, rows).await?) };
            (context, work.boxed())
        }
        method::OFFLINE_DELETE => {
            let (cx, control): (_, DeleteControl) = arguments(&taken)?;
            let keys = one_stream(&mut taken)?;
            let context = cx.clone();
            let work = async move {
                let keys = whole(keys).await?;
                store.delete(&cx, &control.source, keys).await?;
                answer(&serde_json::json!({}))
            };
            (context, work.boxed())
        }
        method::OFFLINE_EXPLAIN => {
            let (cx, request): (_, OfflineRequest) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move { answer(&store.explain(&cx, &request).await?) };
            (context, work.boxed())
        }
        method::OFFLINE_PIN => {
            let (cx, source): (_, SourceRef) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move { answer(&store.pin(&cx, &source).await?) };
            (context, work.boxed())
        }
        method::OFFLINE_MAINTAIN => {
            let (cx, work): (_, Maintenance) = arguments(&taken)?;
            let context = cx.clone();
            let work = async move { answer(&store.maintain(&cx, work).await?) };
            (context, work.boxed())
        }
        other => return Err(unknown(other)),
    })
}

/// The one batch that a stream of keys holds.
pub(super) async fn whole(stream: BatchStream) -> Result<RecordBatch> {
    let schema: SchemaRef = stream.schema.clone();
    let mut batches = stream.batches;
    let first = match batches.next().await {
        None => return Ok(RecordBatch::new_empty(schema)),
        Some(first) => first?,
    };
    match batches.next().await {
        None => Ok(first),
        Some(_) => Err(Error::new(
            &codes::PROVIDER_CONTRACT,
            "keys to delete came in several batches",
        )),
    }
}
