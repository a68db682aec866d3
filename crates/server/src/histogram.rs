//! A histogram that many calls count in at once, without a lock among them.
//!
//! Decides how an observation is counted; what is observed, and in which buckets, is `metrics`'s part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Counts of values up to each of some bounds, and their sum. Clones share both.
#[derive(Clone, Debug)]
pub(crate) struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: &'static [f64],
    /// One for each bound, and one for what is beyond the last.
    counts: Vec<AtomicU64>,
    /// The bits of a float.
    sum: AtomicU64,
}

impl Histogram {
    /// `bounds` ascend; each includes the values that equal it.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self(Arc::new(Inner {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0.0_f64.to_bits()),
        }))
    }

    /// Counts one value.
    pub(crate) fn observe(&self, value: f64) {
        let Inner {
            bounds,
            counts,
            sum,
        } = &*self.0;
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let _ = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            Some((f64::from_bits(bits) + value).to_bits())
        });
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let inner = &*self.0;
        let bounds = inner.bounds.iter().copied().chain([f64::MAX]);
        let counts = inner
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // The total is that of the buckets, whatever is counted meanwhile.
        let n = buckets.iter().map(|(_, count)| count).sum();
        let sum = f64::from_bits(inner.sum.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, n, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::histogram::Histogram as Stock;
    use prometheus_client::registry::Registry;

    use super::*;

    const BOUNDS: [f64; 3] = [0.5, 1.0, 8.0];

    fn text(metric: impl EncodeMetric + std::fmt::Debug + Send + Sync + 'static) -> String {
        let mut registry = Registry::default();
        registry.register("a", "b", metric);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn text_is_that_of_the_stock_histogram() {
        let (ours, stock) = (Histogram::new(&BOUNDS), Stock::new(BOUNDS));
        for value in [0.0, 0.5, 0.500_1, 1.0, 7.0, 8.0, 9.0, 1e9] {
            ours.observe(value);
            stock.observe(value);
        }
        assert_eq!(text(ours), text(stock));
    }

    #[test]
    fn nothing_is_lost_among_threads() {
        let histogram = Histogram::new(&BOUNDS);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| histogram.observe(2.0)));
            }
        });
        let text = text(histogram);
        assert!(
            text.contains("a_count 40000\n") && text.contains("a_sum 80000.0\n"),
            "{text}"
        );
    }
}
