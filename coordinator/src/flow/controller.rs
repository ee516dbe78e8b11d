//! The loop: watches and time in, calls of the API server out.
//!
//! One task owns everything; calls run beside it: of each flow one write of its status at a time, and
//! one call about each child.
//!
//! ```text
//! changes   watches tell: flows, templates and children come, change and go
//! outcomes  calls begin, and what came of them
//! telling   callbacks are told, and tell how far they came
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_api::flow_status::JobFlowPhase;
use baton_protocol::Timestamp;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::Settings;
use super::calls::{Caller, Done, What};
use super::children::{Children, OfFlow};
use super::memory::Memory;
use super::object::{FlowView, Template};
use super::plan::{Busy, Seen, plan};
use super::watches::Scope;
use crate::callbacks::Story;
use crate::clock::{later, now};
use crate::metrics::Metrics;
use crate::queue::{Phases, Queue};

/// Most calls of the API server at once.
const MAX_CALLS: usize = 32;
/// When a full channel is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Most Kubernetes Events that are written at once; they do not keep other calls.
const MAX_EVENTS: usize = 2;

mod changes;
mod outcomes;
mod telling;

/// A flow, and what is under way for it.
struct Entry {
    view: FlowView,
    memory: Memory,
    busy: Busy,
    phase: Option<JobFlowPhase>,
    /// UIDs of children that went while calls were under way: their answers come late.
    gone: HashSet<String>,
    /// Since when the end of a child is known that something may follow from.
    turn: Option<Instant>,
    /// Run, generation and length of the story that was told last.
    told: (u32, Option<i64>, usize),
    /// The story could not be handed over.
    untold: bool,
}

/// Everything that the loop owns.
pub(super) struct Controller {
    caller: Caller,
    metrics: Metrics,
    flows: HashMap<String, Entry>,
    children: Children,
    /// By namespace and name.
    templates: HashMap<(String, String), Template>,
    /// What lists hold that are under way.
    lists: HashMap<Scope, BTreeSet<String>>,
    unsynced: HashSet<Scope>,
    queue: Queue,
    phases: Phases<JobFlowPhase>,
    permits: Arc<Semaphore>,
    event_permits: Arc<Semaphore>,
    stories: mpsc::Sender<Story>,
    pub(super) calls: JoinSet<(String, What, Done)>,
}

impl Controller {
    pub(super) fn new(
        client: Client,
        settings: &Settings,
        metrics: Metrics,
        scopes: Vec<Scope>,
        stories: mpsc::Sender<Story>,
    ) -> Controller {
        let reporter = Reporter {
            controller: "baton-coordinator".to_owned(),
            instance: Some(settings.replica.clone()),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Controller {
            caller: Caller { client, recorder },
            metrics,
            flows: HashMap::new(),
            children: Children::default(),
            templates: HashMap::new(),
            lists: HashMap::new(),
            unsynced: scopes.into_iter().collect(),
            queue: Queue::default(),
            phases: Phases::default(),
            permits: Arc::new(Semaphore::new(MAX_CALLS)),
            event_permits: Arc::new(Semaphore::new(MAX_EVENTS)),
            stories,
            calls: JoinSet::new(),
        }
    }

    /// Whether everything has been read once.
    fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// When something is due without anything happening.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.queue.due()
    }

    /// Has everything looked at again whose time has come.
    pub(super) fn tick(&mut self) {
        self.queue.tick(now());
    }

    /// Does what is to be done for every flow that something changed for.
    pub(super) fn work(&mut self) {
        if !self.is_synced() {
            return;
        }
        // What a look at a flow queues is looked at next time, so that other things have their turn.
        for _ in 0..self.queue.len() {
            let Some(uid) = self.queue.pop() else {
                return;
            };
            let began = Instant::now();
            self.reconcile(&uid);
            self.metrics.flow_reconciles.inc();
            self.metrics
                .flow_reconcile_seconds
                .observe(began.elapsed().as_secs_f64());
        }
    }

    fn reconcile(&mut self, uid: &str) {
        if self.flows.get(uid).is_some_and(|e| e.untold) {
            self.tell(uid);
        }
        let none = OfFlow::new();
        let Some(entry) = self.flows.get_mut(uid) else {
            return;
        };
        let templates = &self.templates;
        let namespace = entry.view.namespace.clone();
        let template = |name: &str| {
            templates
                .get(&(namespace.clone(), name.to_owned()))
                .cloned()
        };
        let seen = Seen {
            flow: &entry.view,
            children: self.children.of(uid).unwrap_or(&none),
            template: &template,
            busy: &entry.busy,
            is_crowded: self.permits.available_permits() == 0,
        };
        let next = plan(&mut entry.memory, &seen, now());
        let again = entry.untold.then(|| later(now(), AGAIN));
        let wake = next.wake.into_iter().chain(again).min();
        self.queue.wake_at(uid, wake);
        self.count(uid);
        for op in next.ops {
            self.start(uid, op);
        }
        if let Some(entry) = self.flows.get_mut(uid) {
            let rests = !entry.busy.flow && entry.busy.children.is_empty();
            // Nothing follows from the end that was seen.
            entry.turn.take_if(|_| rests);
        }
    }

    /// Keeps the number of flows by phase.
    fn count(&mut self, uid: &str) {
        let entry = self.flows.get_mut(uid);
        let Some(entry) = entry.filter(|e| !e.view.is_scheduled) else {
            return;
        };
        let new = Some(entry.memory.status.phase);
        let old = std::mem::replace(&mut entry.phase, new);
        self.moved(old, new);
    }

    fn moved(&mut self, from: Option<JobFlowPhase>, to: Option<JobFlowPhase>) {
        self.phases.moved(from, to, |phase, count| {
            self.metrics.set_flows(&format!("{phase:?}"), count);
        });
    }
}
