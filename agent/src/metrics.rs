//! What the agent counts, for Prometheus.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_daemon::calls::CountCalls;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the hand-off's buckets, in seconds.
const HAND_OFF_BUCKETS: [f64; 14] = [
    50e-6, 100e-6, 200e-6, 350e-6, 500e-6, 750e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 0.1, 0.25, 1.0,
];

type Fraction = Gauge<f64, AtomicU64>;

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What keeps the order of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Carrier {
    carrier: &'static str,
}

/// The agent's metrics. Cheap to clone: all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    hand_off_seconds: Histogram,
    pods: Family<Carrier, Gauge>,
    deliveries: Family<Outcome, Counter>,
    events: Family<Outcome, Counter>,
    api_calls: CountCalls,
    spool_events: Gauge,
    spool_bytes: Gauge,
    spool_oldest_seconds: Fraction,
    coordinator_reachable: Gauge,
    registered: Gauge,
}

/// What became of an attempt to deliver a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The coordinator has it.
    Accepted,
    /// It asked to come back later: not the leader, or too busy.
    Deferred,
    /// It refused the batch as a whole.
    Refused,
    /// It answered with an error.
    Failed,
    /// It was not reached.
    Unreachable,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventOutcome {
    /// It was kept in the spool.
    Spooled,
    /// The coordinator has it.
    Delivered,
    /// The coordinator refused it.
    Refused,
    /// It was dropped: the spool was full, or its disk was.
    Dropped,
}

/// What [`Metrics::text`] shows of the moment it is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Now {
    /// Pods with the baton volume.
    pub volume_pods: usize,
    /// Pods that are ordered by their annotation.
    pub annotated_pods: usize,
    /// Events that wait for the coordinator.
    pub spool_events: u64,
    /// Bytes of the spool on disk.
    pub spool_bytes: u64,
    /// Age of the oldest event that waits.
    pub spool_oldest: Duration,
    /// The last delivery succeeded.
    pub coordinator_reachable: bool,
    /// The kubelet knows the CSI driver.
    pub registered: bool,
}

impl Metrics {
    /// New metrics, all zero.
    pub fn new() -> Metrics {
        let metrics = Metrics {
            registry: Arc::default(),
            hand_off_seconds: Histogram::new(HAND_OFF_BUCKETS),
            pods: Family::default(),
            deliveries: Family::default(),
            events: Family::default(),
            api_calls: CountCalls::default(),
            spool_events: Gauge::default(),
            spool_bytes: Gauge::default(),
            spool_oldest_seconds: Gauge::default(),
            coordinator_reachable: Gauge::default(),
            registered: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = Registry::with_prefix("baton_agent");
        registry.register(
            "hand_off_seconds",
            "Time from the wake-up by a step's final record to the order that followed from it",
            self.hand_off_seconds.clone(),
        );
        registry.register(
            "pods",
            "Pods whose order is kept here, by its carrier",
            self.pods.clone(),
        );
        registry.register(
            "deliveries",
            "Attempts to deliver a batch of events to the coordinator, by what came of them",
            self.deliveries.clone(),
        );
        registry.register(
            "events",
            "Events, by what became of them",
            self.events.clone(),
        );
        self.api_calls.register(&mut registry);
        registry.register(
            "spool_events",
            "Events that wait for the coordinator",
            self.spool_events.clone(),
        );
        registry.register(
            "spool_bytes",
            "Size of the spool on disk",
            self.spool_bytes.clone(),
        );
        registry.register(
            "spool_oldest_seconds",
            "Age of the oldest event that waits for the coordinator",
            self.spool_oldest_seconds.clone(),
        );
        registry.register(
            "coordinator_reachable",
            "Whether the last delivery succeeded",
            self.coordinator_reachable.clone(),
        );
        registry.register(
            "registered",
            "Whether the kubelet knows the CSI driver",
            self.registered.clone(),
        );
        *self.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
    }

    /// Takes the time of a hand-off.
    pub fn observe_hand_off(&self, took: Duration) {
        self.hand_off_seconds.observe(took.as_secs_f64());
    }

    /// Counts an attempt to deliver a batch.
    pub fn count_delivery(&self, outcome: DeliveryOutcome) {
        let outcome = match outcome {
            DeliveryOutcome::Accepted => "accepted",
            DeliveryOutcome::Deferred => "deferred",
            DeliveryOutcome::Refused => "refused",
            DeliveryOutcome::Failed => "failed",
            DeliveryOutcome::Unreachable => "unreachable",
        };
        self.deliveries.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts events.
    pub fn count_events(&self, outcome: EventOutcome, count: u64) {
        let outcome = match outcome {
            EventOutcome::Spooled => "spooled",
            EventOutcome::Delivered => "delivered",
            EventOutcome::Refused => "refused",
            EventOutcome::Dropped => "dropped",
        };
        self.events
            .get_or_create(&Outcome { outcome })
            .inc_by(count);
    }

    /// All of it, as Prometheus reads it.
    pub fn text(&self, now: Now) -> String {
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        for (carrier, count) in [
            ("volume", now.volume_pods),
            ("annotation", now.annotated_pods),
        ] {
            self.pods
                .get_or_create(&Carrier { carrier })
                .set(gauge(count as u64));
        }
        self.spool_events.set(gauge(now.spool_events));
        self.spool_bytes.set(gauge(now.spool_bytes));
        self.spool_oldest_seconds
            .set(now.spool_oldest.as_secs_f64());
        self.coordinator_reachable
            .set(i64::from(now.coordinator_reachable));
        self.registered.set(i64::from(now.registered));
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        baton_daemon::metrics::text(&registry)
    }

    /// A layer for a Kubernetes client that counts its calls.
    pub fn layer(&self) -> CountCalls {
        self.api_calls.clone()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_told() {
        let metrics = Metrics::new();
        metrics.observe_hand_off(Duration::from_micros(60));
        metrics.observe_hand_off(Duration::from_millis(3));
        metrics.count_delivery(DeliveryOutcome::Deferred);
        metrics.count_events(EventOutcome::Delivered, 7);
        let text = metrics.text(Now {
            volume_pods: 3,
            spool_events: 5,
            spool_oldest: Duration::from_millis(1500),
            coordinator_reachable: true,
            ..Now::default()
        });
        for line in [
            "baton_agent_hand_off_seconds_bucket{le=\"0.0001\"} 1",
            "baton_agent_hand_off_seconds_bucket{le=\"0.005\"} 2",
            "baton_agent_pods{carrier=\"volume\"} 3",
            "baton_agent_deliveries_total{outcome=\"deferred\"} 1",
            "baton_agent_events_total{outcome=\"delivered\"} 7",
            "baton_agent_spool_events 5",
            "baton_agent_spool_oldest_seconds 1.5",
            "baton_agent_coordinator_reachable 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
