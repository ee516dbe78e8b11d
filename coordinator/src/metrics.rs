//! What the coordinator counts, for Prometheus.

use std::sync::{Arc, Mutex, PoisonError};

use baton_daemon::calls::CountCalls;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

mod work;

pub use work::{Phases, Work};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A controller's queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    kind: String,
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
    batches: Family<Outcome, Counter>,
    events: Family<Outcome, Counter>,
    admissions: Family<Outcome, Counter>,
    callbacks: Family<Outcome, Counter>,
    schedule_starts: Family<Start, Counter>,
    queues: Family<Queue, Gauge>,
    /// Tasks, by phase.
    pub tasks: Phases,
    /// JobFlows, by phase.
    pub flows: Phases,
    /// DaemonJobs, by phase.
    pub daemons: Phases,
    /// Work on Tasks.
    pub task_work: Work,
    /// Work on JobFlows.
    pub flow_work: Work,
    /// Work on DaemonJobs.
    pub daemon_work: Work,
    /// Work on schedules.
    pub schedule_work: Work,
    /// Whether this replica leads: 0 or 1.
    pub leader: Gauge,
    /// Time from when the end of a JobFlow's Job or Task is seen until the next one is made, in seconds.
    pub flow_turn_seconds: Histogram,
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
            batches: Family::default(),
            events: Family::default(),
            admissions: Family::default(),
            callbacks: Family::default(),
            schedule_starts: Family::default(),
            queues: Family::default(),
            tasks: Phases::default(),
            flows: Phases::default(),
            daemons: Phases::default(),
            task_work: Work::default(),
            flow_work: Work::default(),
            daemon_work: Work::default(),
            schedule_work: Work::default(),
            leader: Gauge::default(),
            flow_turn_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 12)),
            callbacks_waiting: Gauge::default(),
            certificate_end: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = Registry::with_prefix("baton_coordinator");
        self.api_calls.register(&mut registry);
        self.tasks.register(&mut registry, "tasks", "Tasks");
        self.flows.register(&mut registry, "flows", "JobFlows");
        self.daemons
            .register(&mut registry, "daemon_jobs", "DaemonJobs");
        self.task_work.register(&mut registry, "", "Tasks");
        self.flow_work.register(&mut registry, "flow_", "JobFlows");
        self.daemon_work
            .register(&mut registry, "daemon_", "DaemonJobs");
        self.schedule_work
            .register(&mut registry, "schedule_", "schedules");
        registry.register(
            "queue_length",
            "Objects that are to be looked at, by kind",
            self.queues.clone(),
        );
        registry.register(
            "flow_turn_seconds",
            "Time from a seen end of a JobFlow's Job or Task until the next one is made",
            self.flow_turn_seconds.clone(),
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
            "certificate_end_timestamp_seconds",
            "When the serving certificate ends",
            self.certificate_end.clone(),
        );
        *self.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
    }

    /// How many objects of a kind are to be looked at.
    pub(crate) fn queue(&self, kind: impl Into<String>) -> Gauge {
        let kind = kind.into();
        self.queues.get_or_create_owned(&Queue { kind })
    }

    /// Forgets what was counted of objects that are no longer looked after: another replica leads.
    pub(crate) fn leads_no_more(&self) {
        self.leader.set(0);
        self.queues.clear();
        for phases in [&self.tasks, &self.flows, &self.daemons] {
            phases.clear();
        }
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
    use std::time::Duration;

    use baton_api::status::TaskPhase;

    use super::*;

    #[test]
    fn what_happened_is_told() {
        let metrics = Metrics::new();
        metrics.tasks.moved(None, Some(TaskPhase::Running));
        metrics.queue("Task").inc();
        metrics.flow_work.looked(Duration::from_millis(1));
        metrics.count_batch(BatchOutcome::Flooded);
        metrics.count_events(5, 1);
        metrics.count_callbacks(CallbackOutcome::Delivered, 2);
        metrics.leader.set(1);
        let text = metrics.text();
        for line in [
            "baton_coordinator_tasks{phase=\"Running\"} 1",
            "baton_coordinator_queue_length{kind=\"Task\"} 1",
            "baton_coordinator_flow_reconciles_total 1",
            "baton_coordinator_schedule_status_writes_total 0",
            "baton_coordinator_intake_batches_total{outcome=\"flooded\"} 1",
            "baton_coordinator_intake_events_total{outcome=\"refused\"} 1",
            "baton_coordinator_callback_events_total{outcome=\"delivered\"} 2",
            "baton_coordinator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        metrics.leads_no_more();
        let text = metrics.text();
        assert!(text.contains("baton_coordinator_leader 0"));
        for object in ["phase=", "kind="] {
            assert!(!text.contains(object), "{object} is in\n{text}");
        }
    }
}
