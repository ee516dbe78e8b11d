//! What the coordinator counts, for Prometheus.

use std::sync::{Arc, Mutex, PoisonError};

use baton_daemon::calls::CountCalls;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A call of the API server.
/// How Tasks stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Phase {
    phase: String,
}

/// Starts of a kind by a schedule, by what became of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Start {
    kind: &'static str,
    outcome: &'static str,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The coordinator's metrics. Cheap to clone: all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    api_calls: CountCalls,
    tasks: Family<Phase, Gauge>,
    flows: Family<Phase, Gauge>,
    daemons: Family<Phase, Gauge>,
    batches: Family<Outcome, Counter>,
    events: Family<Outcome, Counter>,
    admissions: Family<Outcome, Counter>,
    callbacks: Family<Outcome, Counter>,
    schedule_starts: Family<Start, Counter>,
    /// Whether this replica leads: 0 or 1.
    pub leader: Gauge,
    /// Reconciliations of Tasks.
    pub reconciles: Counter,
    /// Time spent in reconciliations, in seconds: planning and applying.
    pub reconcile_seconds: Histogram,
    /// Writes of Tasks' statuses.
    pub status_writes: Counter,
    /// Reconciliations of JobFlows.
    pub flow_reconciles: Counter,
    /// Time of a reconciliation of a JobFlow, in seconds.
    pub flow_reconcile_seconds: Histogram,
    /// Writes of JobFlows' statuses.
    pub flow_status_writes: Counter,
    /// Time from when the end of a JobFlow's Job or Task is seen until the next one is made, in seconds.
    pub flow_turn_seconds: Histogram,
    /// Reconciliations of DaemonJobs.
    pub daemon_reconciles: Counter,
    /// Time of a reconciliation of a DaemonJob, in seconds.
    pub daemon_reconcile_seconds: Histogram,
    /// Writes of DaemonJobs' statuses.
    pub daemon_status_writes: Counter,
    /// Events of callbacks that wait to be sent.
    pub callbacks_waiting: Gauge,
    /// Unix time at which the serving certificate ends, in seconds.
    pub certificate_end: Gauge,
}

/// What became of a batch of an agent's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It is durable.
    Accepted,
    /// There was no room for it.
    Flooded,
    /// Who told it may not.
    Denied,
    /// It could not be read.
    Malformed,
    /// Nobody could take it: this replica does not lead, or the controller did not answer.
    Unavailable,
}

/// What became of a start by a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOutcome {
    /// The run was made.
    Started,
    /// No run begins.
    Missed,
}

/// What became of an event of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackOutcome {
    /// The receiver accepted it.
    Delivered,
    /// It was given up.
    GivenUp,
    /// An attempt failed, and another follows.
    Retried,
}

impl Metrics {
    /// New metrics, all zero.
    pub fn new() -> Metrics {
        let metrics = Metrics {
            registry: Arc::default(),
            api_calls: CountCalls::default(),
            tasks: Family::default(),
            flows: Family::default(),
            daemons: Family::default(),
            batches: Family::default(),
            events: Family::default(),
            admissions: Family::default(),
            callbacks: Family::default(),
            schedule_starts: Family::default(),
            leader: Gauge::default(),
            reconciles: Counter::default(),
            reconcile_seconds: Histogram::new(exponential_buckets(0.0001, 4.0, 9)),
            status_writes: Counter::default(),
            flow_reconciles: Counter::default(),
            flow_reconcile_seconds: Histogram::new(exponential_buckets(0.0001, 4.0, 9)),
            flow_status_writes: Counter::default(),
            flow_turn_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 12)),
            daemon_reconciles: Counter::default(),
            daemon_reconcile_seconds: Histogram::new(exponential_buckets(0.0001, 4.0, 9)),
            daemon_status_writes: Counter::default(),
            callbacks_waiting: Gauge::default(),
            certificate_end: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = Registry::with_prefix("baton_coordinator");
        self.api_calls.register(&mut registry);
        registry.register("tasks", "Tasks, by phase", self.tasks.clone());
        registry.register("flows", "JobFlows, by phase", self.flows.clone());
        registry.register(
            "flow_reconciles",
            "Reconciliations of JobFlows",
            self.flow_reconciles.clone(),
        );
        registry.register(
            "flow_reconcile_seconds",
            "Time of a reconciliation of a JobFlow",
            self.flow_reconcile_seconds.clone(),
        );
        registry.register(
            "flow_status_writes",
            "Writes of JobFlows' statuses",
            self.flow_status_writes.clone(),
        );
        registry.register(
            "flow_turn_seconds",
            "Time from a seen end of a JobFlow's Job or Task until the next one is made",
            self.flow_turn_seconds.clone(),
        );
        let daemons = self.daemons.clone();
        registry.register("daemon_jobs", "DaemonJobs, by phase", daemons);
        registry.register(
            "daemon_reconciles",
            "Reconciliations of DaemonJobs",
            self.daemon_reconciles.clone(),
        );
        registry.register(
            "daemon_reconcile_seconds",
            "Time of a reconciliation of a DaemonJob",
            self.daemon_reconcile_seconds.clone(),
        );
        registry.register(
            "daemon_status_writes",
            "Writes of DaemonJobs' statuses",
            self.daemon_status_writes.clone(),
        );
        registry.register(
            "intake_batches",
            "Batches of agents' events, by what became of them",
            self.batches.clone(),
        );
        registry.register(
            "intake_events",
            "Agents' events, by what became of them",
            self.events.clone(),
        );
        registry.register(
            "admissions",
            "Reviews of objects for the API server, by answer",
            self.admissions.clone(),
        );
        registry.register(
            "callback_events",
            "Events of callbacks, by what became of them",
            self.callbacks.clone(),
        );
        registry.register(
            "callback_events_waiting",
            "Events of callbacks that wait to be sent",
            self.callbacks_waiting.clone(),
        );
        registry.register(
            "schedule_starts",
            "Starts of Tasks and JobFlows by their schedules, by what became of them",
            self.schedule_starts.clone(),
        );
        registry.register("leader", "Whether this replica leads", self.leader.clone());
        registry.register(
            "reconciles",
            "Reconciliations of Tasks",
            self.reconciles.clone(),
        );
        registry.register(
            "reconcile_seconds",
            "Time of a reconciliation",
            self.reconcile_seconds.clone(),
        );
        registry.register(
            "status_writes",
            "Writes of Tasks' statuses",
            self.status_writes.clone(),
        );
        registry.register(
            "certificate_end_timestamp_seconds",
            "When the serving certificate ends",
            self.certificate_end.clone(),
        );
        *self.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
    }

    /// Sets how many Tasks stand in a phase.
    pub fn set_tasks(&self, phase: &str, count: usize) {
        let phase = phase.to_owned();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.tasks.get_or_create(&Phase { phase }).set(count);
    }

    /// Sets how many JobFlows stand in a phase.
    pub fn set_flows(&self, phase: &str, count: usize) {
        let phase = phase.to_owned();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.flows.get_or_create(&Phase { phase }).set(count);
    }

    /// Sets how many DaemonJobs stand in a phase.
    pub fn set_daemons(&self, phase: &str, count: usize) {
        let phase = phase.to_owned();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.daemons.get_or_create(&Phase { phase }).set(count);
    }

    /// Counts a batch of an agent.
    pub fn count_batch(&self, outcome: BatchOutcome) {
        let outcome = match outcome {
            BatchOutcome::Accepted => "accepted",
            BatchOutcome::Flooded => "flooded",
            BatchOutcome::Denied => "denied",
            BatchOutcome::Malformed => "malformed",
            BatchOutcome::Unavailable => "unavailable",
        };
        self.batches.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts events of an agent: those taken and those refused.
    pub fn count_events(&self, accepted: usize, refused: usize) {
        for (outcome, count) in [("accepted", accepted), ("refused", refused)] {
            self.events
                .get_or_create(&Outcome { outcome })
                .inc_by(count as u64);
        }
    }

    /// Counts a review.
    pub fn count_admission(&self, allowed: bool) {
        let outcome = if allowed { "allowed" } else { "denied" };
        self.admissions.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts starts of a kind by a schedule.
    pub fn count_starts(&self, kind: &'static str, outcome: StartOutcome, count: u32) {
        let outcome = match outcome {
            StartOutcome::Started => "started",
            StartOutcome::Missed => "missed",
        };
        self.schedule_starts
            .get_or_create(&Start { kind, outcome })
            .inc_by(count.into());
    }

    /// Counts events of a callback.
    pub fn count_callbacks(&self, outcome: CallbackOutcome, count: usize) {
        let outcome = match outcome {
            CallbackOutcome::Delivered => "delivered",
            CallbackOutcome::GivenUp => "given_up",
            CallbackOutcome::Retried => "retried",
        };
        self.callbacks
            .get_or_create(&Outcome { outcome })
            .inc_by(count as u64);
    }

    /// All of it, as Prometheus reads it.
    pub fn text(&self) -> String {
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
        metrics.set_tasks("Running", 3);
        metrics.count_batch(BatchOutcome::Flooded);
        metrics.count_events(5, 1);
        metrics.count_callbacks(CallbackOutcome::Delivered, 2);
        metrics.leader.set(1);
        let text = metrics.text();
        for line in [
            "baton_coordinator_tasks{phase=\"Running\"} 3",
            "baton_coordinator_intake_batches_total{outcome=\"flooded\"} 1",
            "baton_coordinator_intake_events_total{outcome=\"refused\"} 1",
            "baton_coordinator_callback_events_total{outcome=\"delivered\"} 2",
            "baton_coordinator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
