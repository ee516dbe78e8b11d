//! The loop: watches, agents' batches and time in, calls of the API server out.
//!
//! One task owns everything; calls run beside it, one at a time for each Task.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_api::status::TaskPhase;
use baton_protocol::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::Settings;
use super::batches::{BatchId, Batches};
use super::calls::{Caller, Done};
use super::cluster::Cluster;
use super::fold;
use super::memory::{Memory, later};
use super::object::{TaskObject, TaskView, now, read_status};
use super::plan::{Op, Seen, plan};
use super::story::story;
use super::watches::{Change, Kind, Scope, Thing, trimmed};
use crate::callbacks::{Progress, Story};
use crate::inbox::Batch;
use crate::metrics::Metrics;

/// Most calls of the API server at once.
const MAX_CALLS: usize = 32;
/// When a full channel is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long ago a run may have ended whose callbacks are told again after a restart that knows nothing
/// of them.
const TOLD_AGAIN: Duration = Duration::from_secs(3600);

/// A Task, and what is under way for it.
struct Entry {
    view: TaskView,
    memory: Memory,
    /// A call is under way.
    busy: bool,
    /// Batches that wait for the next write of the status.
    awaiting: Vec<BatchId>,
    /// Batches that wait for the write that is under way.
    writing: Vec<BatchId>,
    timer: Option<Timestamp>,
    /// The UID by which events find it.
    pod: Option<String>,
    phase: Option<TaskPhase>,
    /// Run, generation and length of the story that was told last.
    told: (u32, Option<i64>, usize),
    /// The story could not be handed over.
    untold: bool,
}

/// Everything that the loop owns.
pub(super) struct Controller {
    settings: Settings,
    metrics: Metrics,
    caller: Caller,
    cluster: Cluster,
    tasks: HashMap<String, Entry>,
    /// Pods by the UID of the Task that owns them, and by name.
    pods: HashMap<String, BTreeMap<String, Arc<Pod>>>,
    /// Tasks by the UID of the pod of their present run.
    by_pod: HashMap<String, String>,
    /// What lists hold that are under way.
    lists: HashMap<Scope, BTreeSet<String>>,
    unsynced: HashSet<Scope>,
    queue: VecDeque<String>,
    queued: HashSet<String>,
    timers: BTreeSet<(Timestamp, String)>,
    batches: Batches,
    phases: HashMap<TaskPhase, usize>,
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
            pods: HashMap::new(),
            by_pod: HashMap::new(),
            lists: HashMap::new(),
            unsynced: scopes.into_iter().collect(),
            queue: VecDeque::new(),
            queued: HashSet::new(),
            timers: BTreeSet::new(),
            batches: Batches::default(),
            phases: HashMap::new(),
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
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes what a watch tells.
    pub(super) fn change(&mut self, scope: Scope, change: Change) {
        match change {
            Change::Put(thing) => {
                let id = self.put(thing);
                if let (Some(list), Some(id)) = (self.lists.get_mut(&scope), id) {
                    list.insert(id);
                }
            }
            Change::Gone(thing) => self.gone(thing),
            Change::ListBegins => {
                self.lists.insert(scope, BTreeSet::new());
            }
            Change::ListEnds => {
                let list = self.lists.remove(&scope).unwrap_or_default();
                self.keep(&scope, &list);
                if self.unsynced.remove(&scope) && self.is_synced() {
                    let all: Vec<_> = self.tasks.keys().cloned().collect();
                    all.into_iter().for_each(|uid| self.enqueue(uid));
                }
            }
        }
    }

    /// Gives the UID, or the name where that is what it is kept by.
    fn put(&mut self, thing: Thing) -> Option<String> {
        match thing {
            Thing::Task(task) => {
                let uid = task.metadata.uid.clone()?;
                self.put_task(&uid, &task);
                Some(uid)
            }
            Thing::Pod(pod) => {
                let uid = pod.metadata.uid.clone();
                self.put_pod(pod);
                uid
            }
            Thing::Node(node) => {
                self.cluster.put_node(&node);
                node.metadata.name
            }
            Thing::Drivers(node) => {
                self.cluster.put_drivers(&node);
                node.metadata.name
            }
        }
    }

    fn put_task(&mut self, uid: &str, task: &TaskObject) {
        match self.tasks.get_mut(uid) {
            Some(entry) => {
                if is_older(
                    task.metadata.resource_version.as_deref(),
                    &entry.view.resource_version,
                ) {
                    return;
                }
                entry.view = TaskView::read(task, Some(&entry.view));
            }
            None => {
                let entry = Entry {
                    view: TaskView::read(task, None),
                    memory: Memory::new(read_status(task)),
                    busy: false,
                    awaiting: Vec::new(),
                    writing: Vec::new(),
                    timer: None,
                    pod: None,
                    phase: None,
                    told: (0, None, 0),
                    untold: false,
                };
                self.tasks.insert(uid.to_owned(), entry);
                self.index(uid);
                self.tell_again(uid);
            }
        }
        self.enqueue(uid.to_owned());
    }

    fn put_pod(&mut self, pod: Arc<Pod>) {
        let (Some(owner), Some(name)) = (owner(&pod), pod.metadata.name.clone()) else {
            return;
        };
        let pods = self.pods.entry(owner.clone()).or_default();
        let known = pods.get(&name);
        let version = |p: &Pod| p.metadata.resource_version.clone().unwrap_or_default();
        if known.is_some_and(|k| is_older(Some(&version(&pod)), &version(k))) {
            return;
        }
        pods.insert(name, pod);
        self.enqueue(owner);
    }

    /// Takes a pod as an answer shows it; not one whose end the watch told in between.
    fn renew_pod(&mut self, pod: Pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let known = owner(&pod).and_then(|owner| self.pods.get(&owner)?.get(name));
        if known.is_some_and(|k| k.metadata.uid == pod.metadata.uid) {
            self.put_pod(trimmed(pod));
        }
    }

    fn drop_pod(&mut self, owner: &str, name: &str, uid: Option<&str>) {
        if let Some(pods) = self.pods.get_mut(owner)
            && pods
                .get(name)
                .is_some_and(|p| p.metadata.uid.as_deref() == uid)
        {
            pods.remove(name);
            if pods.is_empty() {
                self.pods.remove(owner);
            }
            self.enqueue(owner.to_owned());
        }
    }

    fn gone(&mut self, thing: Thing) {
        match thing {
            Thing::Task(task) => {
                if let Some(uid) = &task.metadata.uid {
                    self.drop_task(uid);
                }
            }
            Thing::Pod(pod) => {
                if let (Some(owner), Some(name)) = (owner(&pod), &pod.metadata.name) {
                    self.drop_pod(&owner, name, pod.metadata.uid.as_deref());
                }
            }
            Thing::Node(node) => {
                self.cluster
                    .drop_node(&node.metadata.name.unwrap_or_default());
            }
            Thing::Drivers(node) => {
                self.cluster
                    .drop_drivers(&node.metadata.name.unwrap_or_default());
            }
        }
    }

    fn drop_task(&mut self, uid: &str) {
        let Some(entry) = self.tasks.remove(uid) else {
            return;
        };
        // What is told of it is of nobody's concern any more.
        self.batches.release(entry.awaiting);
        self.batches.release(entry.writing);
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, uid.to_owned()));
        }
        if let Some(pod) = entry.pod {
            self.by_pod.remove(&pod);
        }
        if let Some(phase) = entry.phase {
            self.count(phase, false);
        }
    }

    /// What a new list does not have is gone.
    fn keep(&mut self, scope: &Scope, list: &BTreeSet<String>) {
        let here = |namespace: &str| scope.namespace.as_deref().is_none_or(|n| n == namespace);
        match scope.kind {
            Kind::Node => self.cluster.keep_nodes(list),
            Kind::Drivers => self.cluster.keep_drivers(list),
            Kind::Task => {
                let gone: Vec<_> = self
                    .tasks
                    .iter()
                    .filter(|(uid, e)| here(&e.view.namespace) && !list.contains(*uid))
                    .map(|(uid, _)| uid.clone())
                    .collect();
                gone.iter().for_each(|uid| self.drop_task(uid));
            }
            Kind::Pod => {
                let of = |pod: &Pod| pod.metadata.namespace.clone().unwrap_or_default();
                let gone: Vec<_> = self
                    .pods
                    .iter()
                    .flat_map(|(owner, pods)| {
                        pods.iter().map(move |(name, pod)| (owner, name, pod))
                    })
                    .filter(|(_, _, pod)| here(&of(pod)))
                    .filter(|(_, _, pod)| {
                        pod.metadata
                            .uid
                            .as_ref()
                            .is_none_or(|uid| !list.contains(uid))
                    })
                    .map(|(owner, name, pod)| {
                        (owner.clone(), name.clone(), pod.metadata.uid.clone())
                    })
                    .collect();
                for (owner, name, uid) in gone {
                    self.drop_pod(&owner, &name, uid.as_deref());
                }
            }
        }
    }

    /// Takes a batch of an agent.
    pub(super) fn batch(&mut self, batch: Batch) {
        let mut refused = Vec::new();
        let mut waits = BTreeSet::new();
        for told in &batch.events {
            let Some(uid) = self.by_pod.get(&told.pod.uid) else {
                if self.is_coming(&told.pod.uid) {
                    // Its pod is not in the status yet: dropped, and so told again.
                    return;
                }
                continue;
            };
            let Some(entry) = self.tasks.get_mut(uid) else {
                continue;
            };
            let pods = self.pods.get(uid);
            if let Err(why) = entry.check(&told.pod, &batch.node, pods) {
                refused.push((told.id(), why));
                continue;
            }
            fold::fold(&mut entry.memory.status, told.at, &told.what);
            waits.insert(uid.clone());
        }
        let id = self.batches.next_id();
        for uid in &waits {
            if let Some(entry) = self.tasks.get_mut(uid) {
                entry.awaiting.push(id);
            }
        }
        self.batches.add(batch.answer, refused, waits.len());
        waits.into_iter().for_each(|uid| self.enqueue(uid));
    }

    /// Whether a pod is a Task's that has not taken it up yet.
    fn is_coming(&self, pod: &str) -> bool {
        let is_it = |p: &Arc<Pod>| p.metadata.uid.as_deref() == Some(pod);
        self.tasks.iter().any(|(uid, entry)| {
            let unknown = entry
                .memory
                .status
                .pod
                .as_ref()
                .is_none_or(|p| p.uid.is_empty());
            unknown && (entry.busy || self.pods.get(uid).is_some_and(|p| p.values().any(is_it)))
        })
    }

    /// Takes how far callbacks came.
    pub(super) fn progress(&mut self, progress: Progress) {
        if let Some(entry) = self.tasks.get_mut(&progress.task) {
            entry.memory.take_progress(progress.run, progress.callbacks);
            self.enqueue(progress.task);
        }
    }

    /// Has everything looked at again whose time has come.
    pub(super) fn tick(&mut self) {
        let now = now();
        while let Some((at, uid)) = self.timers.first().cloned() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            if let Some(entry) = self.tasks.get_mut(&uid) {
                entry.timer = None;
            }
            self.enqueue(uid);
        }
    }

    fn enqueue(&mut self, uid: String) {
        if self.queued.insert(uid.clone()) {
            self.queue.push_back(uid);
        }
    }

    /// Does what is to be done for every Task that something changed for.
    pub(super) fn work(&mut self) {
        if !self.is_synced() {
            return;
        }
        // What a look at a Task queues is looked at next time, so that other things have their turn.
        for _ in 0..self.queue.len() {
            let Some(uid) = self.queue.pop_front() else {
                return;
            };
            self.queued.remove(&uid);
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
            pods: self.pods.get(uid).unwrap_or(&none),
            cluster: &self.cluster,
            settings: &self.settings,
        };
        let next = plan(&mut entry.memory, &seen, now);
        if let Some(at) = entry.timer.take() {
            self.timers.remove(&(at, uid.to_owned()));
        }
        // A time that is over already: at once, but after everything else.
        let wake = match entry.untold {
            true => Some(
                next.wake
                    .map_or(later(now, AGAIN), |w| w.min(later(now, AGAIN))),
            ),
            false => next.wake,
        };
        if let Some(at) = wake {
            entry.timer = Some(at);
            self.timers.insert((at, uid.to_owned()));
        }
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
        let (old, new) = (entry.phase, entry.memory.status.phase);
        if old != Some(new) {
            entry.phase = Some(new);
            self.count(new, true);
            if let Some(old) = old {
                self.count(old, false);
            }
        }
    }

    fn count(&mut self, phase: TaskPhase, more: bool) {
        let count = self.phases.entry(phase).or_default();
        *count = match more {
            true => count.saturating_add(1),
            false => count.saturating_sub(1),
        };
        self.metrics.set_tasks(&format!("{phase:?}"), *count);
    }

    fn start(&mut self, uid: &str, op: Op) {
        let Some(entry) = self.tasks.get_mut(uid) else {
            return;
        };
        entry.busy = true;
        if matches!(op, Op::WriteStatus(_)) {
            entry.writing = std::mem::take(&mut entry.awaiting);
            entry.memory.take_token(now());
            self.metrics.status_writes.inc();
        }
        let view = entry.view.clone();
        let durable = match op {
            Op::WriteStatus(_) => entry.memory.durable.clone(),
            _ => Default::default(),
        };
        let (caller, permits, uid) = (self.caller.clone(), self.permits.clone(), uid.to_owned());
        self.calls.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire_owned().await.ok();
            let done = caller.call(&view, &durable, op).await;
            (uid, done)
        });
    }

    /// Takes what came of a call.
    pub(super) fn done(&mut self, uid: &str, done: Done) {
        self.enqueue(uid.to_owned());
        let now = now();
        let Some(entry) = self.tasks.get_mut(uid) else {
            return;
        };
        entry.busy = false;
        let memory = &mut entry.memory;
        let writing = std::mem::take(&mut entry.writing);
        match done {
            Done::Created(pod) => {
                memory.made(&pod);
                self.put_pod(trimmed(pod));
                self.index(uid);
            }
            Done::Taken(name) => {
                let message = format!("a pod {name:?} is there that is not this Task's");
                memory.failed(false, "PodNameTaken", &message, now);
            }
            Done::Deleted {
                name,
                uid: pod,
                left,
            } => {
                memory.went_well();
                match left {
                    Some(left) => self.renew_pod(*left),
                    None => self.drop_pod(uid, &name, Some(&pod)),
                }
            }
            Done::Annotated(pod) => {
                memory.went_well();
                self.renew_pod(pod);
            }
            Done::NoPod { name, uid: pod } => self.drop_pod(uid, &name, Some(&pod)),
            Done::Wrote(status, task) => {
                memory.wrote(*status);
                self.batches.release(writing);
                self.put_task(uid, &task);
                self.tell(uid);
            }
            Done::Conflict(task) => {
                let status = read_status(&task);
                if status == memory.durable {
                    entry.awaiting.extend(writing);
                } else {
                    // Another controller wrote: what it knows counts.
                    let awaiting = std::mem::take(&mut entry.awaiting);
                    *memory = Memory::new(status);
                    self.batches.forget(writing.into_iter().chain(awaiting));
                    self.index(uid);
                }
                self.put_task(uid, &task);
            }
            Done::Nothing => entry.awaiting.extend(writing),
            Done::Failed {
                what,
                error,
                is_refused,
            } => {
                let (task, namespace) = (&entry.view.name, &entry.view.namespace);
                tracing::warn!(
                    task,
                    namespace,
                    what,
                    error,
                    "a call failed; it is tried again"
                );
                entry.awaiting.extend(writing);
                match what {
                    "writing the status" => memory.failed_write(&error, now),
                    "creating the pod" if is_refused => memory.refused(&error, now),
                    "creating the pod" => memory.failed(true, "CreateFailed", &error, now),
                    _ => memory.failed(true, "CallFailed", &format!("{what}: {error}"), now),
                }
            }
        }
    }

    /// Tells the callbacks of a Task that was not seen before what they may not know yet.
    fn tell_again(&mut self, uid: &str) {
        let Some(entry) = self.tasks.get(uid) else {
            return;
        };
        let status = &entry.memory.durable;
        let recent = |at: Timestamp| now().since(at) < TOLD_AGAIN;
        let is_settled = status.phase.is_over()
            && match status.callbacks.as_slice() {
                [] => !status.finished_at.is_some_and(recent),
                some => some.iter().all(|c| c.waiting == 0),
            };
        if !is_settled {
            self.tell(uid);
        }
    }

    /// Hands the story over, where it is longer than it was or is for others.
    fn tell(&mut self, uid: &str) {
        let Some(entry) = self.tasks.get_mut(uid) else {
            return;
        };
        let status = &entry.memory.durable;
        let events = story(&entry.view.name, status);
        let told = (status.run, entry.view.generation, events.len());
        if events.is_empty() || told == entry.told {
            entry.untold = false;
            return;
        }
        let spec = entry.view.spec.as_ref().ok();
        let story = Story {
            task: uid.to_owned(),
            namespace: entry.view.namespace.clone(),
            name: entry.view.name.clone(),
            run: status.run,
            sinks: spec.map(|s| s.spec().callbacks.clone()).unwrap_or_default(),
            events,
            known: entry.memory.status.callbacks.clone(),
        };
        entry.untold = self.stories.try_send(story).is_err();
        if entry.untold {
            self.enqueue_later(uid);
        } else {
            entry.told = told;
        }
    }

    fn enqueue_later(&mut self, uid: &str) {
        let Some(entry) = self.tasks.get_mut(uid) else {
            return;
        };
        let at = later(now(), AGAIN);
        if entry.timer.is_none_or(|known| known > at) {
            if let Some(known) = entry.timer.replace(at) {
                self.timers.remove(&(known, uid.to_owned()));
            }
            self.timers.insert((at, uid.to_owned()));
        }
    }

    /// Writes what is not durable yet, as a last word.
    pub(super) fn last_words(&mut self) {
        let dirty: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, e)| !e.busy && e.memory.is_dirty())
            .map(|(uid, e)| (uid.clone(), e.memory.status.clone()))
            .collect();
        for (uid, status) in dirty {
            self.start(&uid, Op::WriteStatus(Box::new(status)));
        }
    }
}

impl Entry {
    /// Whether an agent of this node may speak of this pod.
    fn check(
        &self,
        pod: &baton_events::PodRef,
        node: &str,
        pods: Option<&BTreeMap<String, Arc<Pod>>>,
    ) -> Result<(), String> {
        let there = pods
            .and_then(|p| p.get(&pod.name))
            .filter(|p| p.metadata.uid.as_deref() == Some(&pod.uid));
        let bound = there.and_then(|p| p.spec.as_ref()?.node_name.as_deref());
        let remembered = self.memory.status.pod.as_ref().map(|p| p.node.as_str());
        let home = bound.or(remembered).unwrap_or_default();
        if home != node {
            return Err(format!("the pod {pod} is not known to be on node {node:?}"));
        }
        if pod.namespace != self.view.namespace {
            return Err(format!("there is no pod {pod} of this UID"));
        }
        Ok(())
    }
}

/// The UID of the Task that owns a pod.
fn owner(pod: &Pod) -> Option<String> {
    let owners = pod.metadata.owner_references.as_deref()?;
    let owner = owners.iter().find(|o| {
        o.controller == Some(true) && o.kind == "Task" && o.api_version.starts_with("baton.dev/")
    })?;
    Some(owner.uid.clone())
}

/// Whether a version is older than one that is known. Versions that are no numbers are as new.
fn is_older(version: Option<&str>, known: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    match (version.and_then(number), number(known)) {
        (Some(version), Some(known)) => version < known,
        _ => false,
    }
}
