//! Registries behind the ABI: plain JSON both ways.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use provender_core::Result;
use provender_core::provider::Registry;

use super::dispatch::{Begun, arguments, caller, unknown};
use super::{Taken, answer};
use crate::abi::method;
use crate::control::{
    AcquireControl, CommitControl, HistoryControl, IntervalControl, LeaseControl, SnapshotControl,
    ViewControl,
};

/// Begins a call to a registry.
pub(super) fn begin(registry: Arc<dyn Registry>, taken: &Taken) -> Result<Begun> {
    let nothing = serde_json::json!({});
    Ok(match taken.method {
        method::CHECK => {
            let cx = caller(taken)?;
            let context = cx.clone();
            let work = async move { answer(&registry.check(&cx).await?) };
            (context, work.boxed())
        }
        method::REGISTRY_REVISION => {
            let cx = caller(taken)?;
            let context = cx.clone();
            let work = async move { answer(&registry.revision(&cx).await?) };
            (context, work.boxed())
        }
        method::REGISTRY_SNAPSHOT => {
            let (cx, SnapshotControl { at }) = arguments(taken)?;
            let context = cx.clone();
            let work = async move { answer(&*registry.snapshot(&cx, at).await?) };
            (context, work.boxed())
        }
        method::REGISTRY_COMMIT => {
            let (cx, control): (_, CommitControl) = arguments(taken)?;
            let context = cx.clone();
            let work = async move {
                let CommitControl { base, changes, by } = control;
                answer(&registry.commit(&cx, base, &changes, &by).await?)
            };
            (context, work.boxed())
        }
        method::REGISTRY_HISTORY => {
            let (cx, HistoryControl { after, limit }) = arguments(taken)?;
            let context = cx.clone();
            let work = async move { answer(&registry.history(&cx, after, limit).await?) };
            (context, work.boxed())
        }
        method::REGISTRY_RECORD_INTERVAL => {
            let (cx, control): (_, IntervalControl) = arguments(taken)?;
            let context = cx.clone();
            let work = async move {
                let IntervalControl { view, interval } = control;
                registry.record_interval(&cx, &view, interval).await?;
                answer(&nothing)
            };
            (context, work.boxed())
        }
        method::REGISTRY_INTERVALS => {
            let (cx, ViewControl { view }) = arguments(taken)?;
            let context = cx.clone();
            let work = async move { answer(&registry.intervals(&cx, &view).await?) };
            (context, work.boxed())
        }
        method::REGISTRY_FORGET_INTERVALS => {
            let (cx, ViewControl { view }) = arguments(taken)?;
            let context = cx.clone();
            let work = async move {
                registry.forget_intervals(&cx, &view).await?;
                answer(&nothing)
            };
            (context, work.boxed())
        }
        method::REGISTRY_ACQUIRE_LEASE => {
            let (cx, control): (_, AcquireControl) = arguments(taken)?;
            let context = cx.clone();
            let work = async move {
                let ttl = Duration::from_micros(control.ttl_us);
                let lease = registry.acquire_lease(&cx, &control.name, &control.holder, ttl);
                answer(&lease.await?)
            };
            (context, work.boxed())
        }
        method::REGISTRY_RENEW_LEASE => {
            let (cx, control): (_, LeaseControl) = arguments(taken)?;
            let context = cx.clone();
            let work = async move {
                let ttl = Duration::from_micros(control.ttl_us);
                answer(&registry.renew_lease(&cx, &control.lease, ttl).await?)
            };
            (context, work.boxed())
        }
        method::REGISTRY_RELEASE_LEASE => {
            let (cx, control): (_, LeaseControl) = arguments(taken)?;
            let context = cx.clone();
            let work = async move {
                registry.release_lease(&cx, &control.lease).await?;
                answer(&nothing)
            };
            (context, work.boxed())
        }
        other => return Err(unknown(other)),
    })
}
