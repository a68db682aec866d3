//! What all calls share.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use provender_core::{Context, Error, Result, codes};
use provender_store::{FeatureStore, HistoricalRequest};
use rand::Rng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::codegen::http::HeaderMap;

use crate::auth::{Caller, Guard, Role};
use crate::background::Background;
use crate::inflight::{Held, InFlight};
use crate::meaning::service_label;
use crate::metrics::{AtWork, Metrics, Operation, Series};
use crate::online::PreparedQueries;
use crate::options::Limits;
use crate::spines::Spines;
use crate::stop::Stop;
use crate::turns::{Turn, Turns};

/// The server's parts.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: FeatureStore,
    pub(crate) limits: Limits,
    pub(crate) guard: Guard,
    pub(crate) prepared: PreparedQueries,
    pub(crate) background: Background,
    pub(crate) spines: Spines,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) stop: Stop,
    calls: Arc<Semaphore>,
}

/// One call that was let in. Held until its answer has ended; dropping it cancels its work.
#[derive(Debug)]
pub(crate) struct Call {
    /// With the client's deadline, name and trace id.
    pub(crate) cx: Context,
    /// What it does, once that is known.
    pub(crate) operation: OnceLock<Operation>,
    /// Bytes that it sent and that are not worked on yet.
    pub(crate) received: Held,
    pub(crate) started: Instant,
    pub(crate) turn: Turn,
    caller: Option<Caller>,
    _place: OwnedSemaphorePermit,
    _at_work: AtWork,
}

impl Call {
    /// Fails unless the call's token allows what needs `role`.
    ///
    /// # Errors
    /// `PermissionDenied` (`P706`).
    pub(crate) fn may(&self, role: Role) -> Result<()> {
        self.caller
            .as_ref()
            .map_or(Ok(()), |caller| caller.may(role))
    }

    /// Says what the call does, for metrics and logs.
    pub(crate) fn does(&self, operation: Operation) {
        let _ = self.operation.set(operation);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.cx.cancel();
    }
}

impl State {
    pub(crate) fn new(store: FeatureStore, limits: Limits, guard: Guard) -> Result<Self> {
        let in_flight = Arc::new(InFlight::new(limits.max_bytes));
        let metrics = Arc::new(Metrics::new(&in_flight));
        Ok(Self {
            background: Background::start(
                limits.background_threads,
                limits.max_background_calls,
                store.config().limits.memory_limit_bytes,
            )?,
            spines: Spines::default(),
            prepared: PreparedQueries::new(&metrics),
            metrics,
            calls: Arc::new(Semaphore::new(limits.max_calls)),
            stop: Stop::default(),
            in_flight,
            store,
            limits,
            guard,
        })
    }

    /// What training sets of a request are counted under.
    ///
    /// # Errors
    /// What the store says of the request.
    pub(crate) async fn historical_series(
        &self,
        cx: &Context,
        request: &HistoricalRequest,
    ) -> Result<Series> {
        let service = service_label(&request.selection);
        let stores = self.store.offline_types(cx, &request.selection).await?;
        let operation = Operation::historical;
        Ok(self.metrics.series(operation, &service, &stores.join(",")))
    }

    /// Lets a call in: its token is known, there is a place for it, and its deadline is read. `turns` are those of
    /// its connection.
    ///
    /// # Errors
    /// `P705`, `P701`.
    pub(crate) fn admit(&self, headers: &HeaderMap, turns: &Arc<Turns>) -> Result<Call> {
        let caller = self.guard.admit(headers)?;
        let place = self.calls.clone().try_acquire_owned().map_err(|_| {
            Error::new(
                &codes::CALL_LIMIT,
                format!(
                    "the server works on {} calls, its limit (server.max_calls)",
                    self.limits.max_calls
                ),
            )
            .help("try again a little later")
        })?;
        let mut cx = Context::new(self.store.project()).with_trace_id(trace_id(headers));
        if let Some(caller) = &caller {
            cx = cx.with_identity(caller.name.as_str());
        }
        if let Some(timeout) = timeout(headers) {
            cx = cx.with_timeout(timeout);
        }
        Ok(Call {
            cx,
            operation: OnceLock::new(),
            received: Held::none(&self.in_flight),
            started: Instant::now(),
            turn: turns.begin(),
            caller,
            _place: place,
            _at_work: self.metrics.at_work(),
        })
    }
}

/// The trace id of a W3C `traceparent`, else a new one.
fn trace_id(headers: &HeaderMap) -> String {
    headers
        .get("traceparent")
        .and_then(|parent| parent.to_str().ok())
        .and_then(|parent| parent.split('-').nth(1))
        .filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map_or_else(
            || format!("{:032x}", rand::rng().random::<u128>()),
            str::to_owned,
        )
}

/// The deadline that gRPC clients send: a whole number and one of H, M, S, m, u, n.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n.checked_mul(3_600)?),
        "M" => Duration::from_secs(n.checked_mul(60)?),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn deadlines_of_clients_are_read() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            timeout(&headers)
        };
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        for wrong in ["", "S", "10", "-1S", "99999999999999999999H"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn trace_ids_are_taken_from_traceparent_or_made() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", text.parse().unwrap());
            trace_id(&headers)
        };
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(read(given), "4bf92f3577b34da6a3ce929d0e0e4736");
        for wrong in [
            "",
            "00-xyz-1-1",
            "x",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-1-01",
        ] {
            let made = read(wrong);
            assert_eq!(made.len(), 32);
            assert_ne!(made, read(wrong));
        }
    }
}
