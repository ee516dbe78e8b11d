//! The loop: watches, agents' batches and time in, calls of the API server out.
//!
//! One task owns everything; calls run beside it, one at a time for each Task.
//!
//! ```text
//! entry     a Task, and what is under way for it
//! changes   watches tell: Tasks, pods and nodes come, change and go
//! intake    agents tell: what happened in pods
//! pods      the pods of Tasks that are there
//! outcomes  calls begin, and what came of them
//! telling   callbacks are told, and tell how far they came
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_api::status::TaskPhase;
use baton_protocol::Timestamp;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::Settings;
use super::batches::Batches;
use super::calls::{Caller, Done};
use super::cluster::Cluster;
use super::plan::{Seen, plan};
use super::watches::Scope;
use crate::callbacks::Story;
use crate::clock::{later, now};
use crate::metrics::Metrics;
use crate::queue::{Phases, Queue};

/// Most calls of the API server at once.
const MAX_CALLS: usize = 32;
/// When a full channel is tried again.
const AGAIN: Duration = Duration::from_secs(1);

mod changes;
mod entry;
mod intake;
mod outcomes;
mod pods;
mod telling;

use entry::Entry;
use pods::Pods;

/// Everything that the loop owns.
pub(super) struct Controller {
    settings: Settings,
    metrics: Metrics,
    caller: Caller,
    cluster: Cluster,
    tasks: HashMap<String, Entry>,
    pods: Pods,
    /// Tasks by the UID of the pod of their present run.
    by_pod: HashMap<String, String>,
    /// Namespaces and names of the pods that are being made, or were and it is not known whether they
    /// are there.
    making: HashSet<(String, String)>,
    /// What lists hold that are under way.
    lists: HashMap<Scope, BTreeSet<String>>,
    unsynced: HashSet<Scope>,
    queue: Queue,
    batches: Batches,
    phases: Phases<TaskPhase>,
    permits: Arc<Semaphore>,
    pub(super) calls: JoinSet<(String, Done)>,
    stories: mpsc::Sender<Story>,
}

impl Controller {
    pub(super) fn new(
        client: Client,
        settings: Settings,
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
            settings,
            metrics,
            caller: Caller { client, recorder },
            cluster: Cluster::default(),
            tasks: HashMap::new(),
            pods: Pods::default(),
            by_pod: HashMap::new(),
            making: HashSet::new(),
            lists: HashMap::new(),
            unsynced: scopes.into_iter().collect(),
            queue: Queue::default(),
            batches: Batches::default(),
            phases: Phases::default(),
            permits: Arc::new(Semaphore::new(MAX_CALLS)),
            calls: JoinSet::new(),
            stories,
        }
    }

    /// Whether everything has been read once.
    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Whether a batch can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.is_synced() && !self.batches.is_full()
    }

    /// When something is due without anything happening.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.queue.due()
    }

    /// Has everything looked at again whose time has come.
    pub(super) fn tick(&mut self) {
        self.queue.tick(now());
    }

    /// Does what is to be done for every Task that something changed for.
    pub(super) fn work(&mut self) {
        if !self.is_synced() {
            return;
        }
        // What a look at a Task queues is looked at next time, so that other things have their turn.
        for _ in 0..self.queue.len() {
            let Some(uid) = self.queue.pop() else {
                return;
            };
            let began = Instant::now();
            self.reconcile(&uid);
            self.metrics.reconciles.inc();
            self.metrics
                .reconcile_seconds
                .observe(began.elapsed().as_secs_f64());
        }
    }

    fn reconcile(&mut self, uid: &str) {
        let none = BTreeMap::new();
        let Some(entry) = self.tasks.get_mut(uid).filter(|e| !e.busy) else {
            return;
        };
        entry.memory.is_awaited = !entry.awaiting.is_empty();
        let now = now();
        let seen = Seen {
            task: &entry.view,
            pods: self.pods.of(uid).unwrap_or(&none),
            cluster: &self.cluster,
            settings: &self.settings,
        };
        let next = plan(&mut entry.memory, &seen, now);
        // A time that is over already: at once, but after everything else.
        let wake = match entry.untold {
            true => Some(
                next.wake
                    .map_or(later(now, AGAIN), |w| w.min(later(now, AGAIN))),
            ),
            false => next.wake,
        };
        self.queue.wake_at(uid, wake);
        match next.op {
            Some(op) => self.start(uid, op),
            None if entry.memory.status == entry.memory.durable => {
                let ids = std::mem::take(&mut entry.awaiting);
                self.batches.release(ids);
            }
            None => {}
        }
        self.index(uid);
        if self.tasks.get(uid).is_some_and(|e| e.untold) {
            self.tell(uid);
        }
    }

    /// Keeps what is found by a Task's pod and phase up to date.
    fn index(&mut self, uid: &str) {
        let Some(entry) = self.tasks.get_mut(uid) else {
            return;
        };
        let status = &entry.memory.status;
        let pod = status
            .pod
            .as_ref()
            .map(|p| &p.uid)
            .filter(|u| !u.is_empty());
        if pod != entry.pod.as_ref() {
            let pod = pod.cloned();
            if let Some(new) = &pod {
                self.by_pod.insert(new.clone(), uid.to_owned());
            }
            if let Some(old) = std::mem::replace(&mut entry.pod, pod) {
                self.by_pod.remove(&old);
            }
        }
        let is_settled = entry.pod.is_some() || status.phase.is_over();
        if let Some(pod) = entry.making.take_if(|_| is_settled && !entry.busy) {
            self.making.remove(&pod);
        }
        let (old, new) = (entry.phase, entry.memory.status.phase);
        entry.phase = Some(new);
        self.count(old, Some(new));
    }

    fn count(&mut self, from: Option<TaskPhase>, to: Option<TaskPhase>) {
        self.phases.moved(from, to, |phase, count| {
            self.metrics.set_tasks(&format!("{phase:?}"), count);
        });
    }
}
