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

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc;

use super::Settings;
use super::batches::Batches;
use super::calls::{Caller, Done};
use super::cluster::Cluster;
use super::plan::{Seen, plan};
use super::watches::Kind;
use crate::callbacks::Story;
use crate::child::recorder;
use crate::clock::{later, now};
use crate::control::{Control, Shell};
use crate::metrics::Metrics;
use crate::watching::Lists;

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
    shell: Shell<Kind, (String, Done)>,
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
    batches: Batches,
    stories: mpsc::Sender<Story>,
}

impl Controller {
    pub(super) fn new(
        client: Client,
        settings: Settings,
        metrics: Metrics,
        lists: Lists<Kind>,
        stories: mpsc::Sender<Story>,
    ) -> Controller {
        let work = metrics.task_work.clone();
        let recorder = recorder(&client, &settings.replica);
        Controller {
            shell: Shell::new(lists, MAX_CALLS, work, metrics.queue("Task")),
            settings,
            metrics,
            caller: Caller { client, recorder },
            cluster: Cluster::default(),
            tasks: HashMap::new(),
            pods: Pods::default(),
            by_pod: HashMap::new(),
            making: HashSet::new(),
            batches: Batches::default(),
            stories,
        }
    }

    /// Whether everything has been read once.
    pub(super) fn is_synced(&self) -> bool {
        self.shell.lists.is_read()
    }

    /// Whether a batch can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.is_synced() && !self.batches.is_full()
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
        self.metrics.tasks.moved(old, Some(new));
    }
}

impl Control for Controller {
    type Called = (String, Done);

    fn shell(&mut self) -> &mut Shell<Kind, (String, Done)> {
        &mut self.shell
    }

    fn uids(&self) -> Vec<String> {
        self.tasks.keys().cloned().collect()
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
        let wake = match entry.telling.is_late() {
            true => Some(
                next.wake
                    .map_or(later(now, AGAIN), |w| w.min(later(now, AGAIN))),
            ),
            false => next.wake,
        };
        self.shell.queue.wake_at(uid, wake);
        match next.op {
            Some(op) => self.start(uid, op),
            // Where it can never be durable the facts stay in memory: an agent tells the events of all its pods in
            // their order, and those of other Tasks are not to wait for this one.
            None if entry.memory.status == entry.memory.durable || entry.memory.is_refused => {
                let ids = std::mem::take(&mut entry.awaiting);
                self.batches.release(ids);
            }
            None => {}
        }
        self.index(uid);
        if self.tasks.get(uid).is_some_and(|e| e.telling.is_late()) {
            self.tell(uid);
        }
    }

    fn called(&mut self, (uid, done): (String, Done)) {
        self.done(&uid, done);
    }
}
