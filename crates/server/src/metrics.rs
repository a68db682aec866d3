//! What the server counts, in the text format of Prometheus.
//!
//! Decides names and labels: latency and size per operation and service, rows, errors by kind, calls at
//! work, and freshness per view. Labels come from definitions and never from a client's free text.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use provender_core::time::now_us;
use provender_core::{Error, ErrorKind, codes};

use crate::histogram::Histogram;
use crate::inflight::InFlight;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, missing_docs)]
pub enum Operation {
    online,
    historical,
    spine,
    read,
    push,
    info,
    action,
    /// A call that ended before its command was known.
    other,
}

/// What is told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: Operation,
    /// The service, or empty for lists of features and for calls without any.
    service: String,
    /// The type of the store, or of the stores, that answered; empty if none was asked.
    store: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    operation: Operation,
    kind: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreErrorLabels {
    /// The plug-in.
    store: String,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViewLabels {
    view: String,
    version: u32,
}

/// The server's counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    latency: Family<CallLabels, Histogram, fn() -> Histogram>,
    size: Family<CallLabels, Histogram, fn() -> Histogram>,
    rows: Family<CallLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    store_errors: Family<StoreErrorLabels, Counter>,
    at_work: Gauge,
    ends: Ends,
}

/// One service's series of one operation, looked up once.
#[derive(Clone, Debug)]
pub struct Series {
    latency: Histogram,
    size: Histogram,
    rows: Counter,
}

impl Series {
    /// Counts one answer.
    pub fn answered(&self, n_rows: usize, n_bytes: usize, took: Duration) {
        self.latency.observe(took.as_secs_f64());
        self.size.observe(n_bytes as f64);
        self.rows.inc_by(n_rows as u64);
    }
}

impl Metrics {
    /// Counters at zero, and the bytes of messages that calls hold.
    pub(crate) fn new(in_flight: &Arc<InFlight>) -> Self {
        let mut registry = Registry::with_prefix("provender");
        let latency =
            Family::<CallLabels, Histogram, fn() -> Histogram>::new_with_constructor(seconds);
        let size = Family::<CallLabels, Histogram, fn() -> Histogram>::new_with_constructor(sizes);
        let rows = Family::default();
        let errors = Family::default();
        let store_errors = Family::default();
        let at_work: Gauge<i64, AtomicI64> = Gauge::default();
        let ends = Ends::default();
        registry.register_with_unit(
            "answer_duration",
            "Time from a request (of a stream: a batch) to its answer",
            Unit::Seconds,
            latency.clone(),
        );
        registry.register_with_unit(
            "answer_size",
            "Size of an answer (of a stream: to a batch), or of rows taken in",
            Unit::Bytes,
            size.clone(),
        );
        registry.register("answered_rows", "Rows answered or taken in", rows.clone());
        registry.register("errors", "Failed calls by kind and code", errors.clone());
        registry.register(
            "store_errors",
            "Failed calls whose error comes from a plug-in",
            store_errors.clone(),
        );
        registry.register("calls_at_work", "Calls at work now", at_work.clone());
        registry.register_collector(Box::new(Holding(in_flight.clone())));
        registry.register_collector(Box::new(ends.clone()));
        Self {
            registry,
            latency,
            size,
            rows,
            errors,
            store_errors,
            at_work,
            ends,
        }
    }

    /// The series of an operation, service and store.
    pub fn series(&self, operation: Operation, service: &str, store: &str) -> Series {
        let labels = CallLabels {
            operation,
            service: service.to_owned(),
            store: store.to_owned(),
        };
        Series {
            size: self.size.get_or_create(&labels).clone(),
            latency: self.latency.get_or_create(&labels).clone(),
            rows: self.rows.get_or_create(&labels).clone(),
        }
    }

    /// Counts a failed call, and a plug-in's part in it.
    pub fn failed(&self, operation: Operation, error: &Error) {
        let labels = ErrorLabels {
            operation,
            kind: kind_name(error.kind()),
            code: error.code().to_owned(),
        };
        self.errors.get_or_create(&labels).inc();
        let mut pairs = error.context_pairs().iter();
        if let Some((_, plugin)) = pairs.find(|(key, _)| key == "plugin") {
            let labels = StoreErrorLabels {
                store: plugin.clone(),
                code: error.code().to_owned(),
            };
            self.store_errors.get_or_create(&labels).inc();
        }
    }

    /// Counts a call as being at work until the guard is dropped.
    pub fn at_work(self: &Arc<Self>) -> AtWork {
        self.at_work.inc();
        AtWork(self.clone())
    }

    /// Says when the last interval of each view that was ever materialised ended, in place of what was
    /// said before: view, version, end (us, UTC).
    pub fn set_ends(&self, ends: Vec<(String, u32, i64)>) {
        *self.ends.0.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    /// All of it as text.
    ///
    /// # Errors
    /// `Internal` if it cannot be written.
    pub fn text(&self) -> provender_core::Result<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|error| {
            Error::new(&codes::INTERNAL, "metrics cannot be written").source(error)
        })?;
        Ok(text)
    }
}

/// A call that is at work.
#[derive(Debug)]
pub struct AtWork(Arc<Metrics>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.dec();
    }
}

/// The bytes that calls hold, asked for when they are read.
#[derive(Debug)]
struct Holding(Arc<InFlight>);

impl Collector for Holding {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let held = ConstGauge::new(i64::try_from(self.0.used()).unwrap_or(i64::MAX));
        let metric = encoder.encode_descriptor(
            "held",
            "Bytes of messages that calls hold",
            Some(&Unit::Bytes),
            held.metric_type(),
        )?;
        held.encode(metric)
    }
}

/// When the last materialised interval of each view ended; its age is told as of when it is asked for.
#[derive(Clone, Debug, Default)]
struct Ends(Arc<Mutex<Vec<(String, u32, i64)>>>);

impl Collector for Ends {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ends = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if ends.is_empty() {
            return Ok(());
        }
        let mut metric = encoder.encode_descriptor(
            "view_freshness",
            "How long ago the last materialised interval of a view ended",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        let now_us = now_us();
        for (view, version, end_us) in ends {
            let labels = ViewLabels { view, version };
            let age = ConstGauge::new(now_us.saturating_sub(end_us) as f64 / 1e6);
            age.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidArgument => "invalid_argument",
        ErrorKind::NotFound => "not_found",
        ErrorKind::FailedPrecondition => "failed_precondition",
        ErrorKind::Conflict => "conflict",
        ErrorKind::ResourceExhausted => "resource_exhausted",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::DeadlineExceeded => "deadline_exceeded",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::DataLoss => "data_loss",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::PermissionDenied => "permission_denied",
        _ => "internal",
    }
}

/// From 50 us, what an online read takes, to minutes, what a training set takes.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
    120.0, 600.0,
];

fn seconds() -> Histogram {
    Histogram::new(&SECONDS)
}

/// From an answer for one key to the largest message that is read.
const SIZES: [f64; 10] = [
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

fn sizes() -> Histogram {
    Histogram::new(&SIZES)
}
