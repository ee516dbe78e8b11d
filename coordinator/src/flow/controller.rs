//! The loop: watches and time in, calls of the API server out.
//!
//! One task owns everything; calls run beside it: of each flow one write of its status at a time, and
//! one call about each child.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use baton_api::flow_status::JobFlowPhase;
use baton_flow::Seen as End;
use baton_protocol::Timestamp;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Settings;
use super::calls::{Caller, Done, What};
use super::children::{Child, ChildKey, ChildKind, Children, OfFlow};
use super::memory::Memory;
use super::object::{FlowView, JobFlowObject, Template};
use super::plan::{Busy, Op, Seen, plan};
use super::watches::{Change, Kind, Scope, Thing};
use crate::child::is_older;
use crate::metrics::Metrics;
use crate::task::object::now;

/// Most calls of the API server at once.
const MAX_CALLS: usize = 32;
/// Most Kubernetes Events that are written at once; they do not keep other calls.
const MAX_EVENTS: usize = 2;

/// A flow, and what is under way for it.
struct Entry {
    view: FlowView,
    memory: Memory,
    busy: Busy,
    timer: Option<Timestamp>,
    phase: Option<JobFlowPhase>,
    /// UIDs of children that went while calls were under way: their answers come late.
    gone: HashSet<String>,
    /// Since when the end of a child is known that something may follow from.
    turn: Option<Instant>,
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
    queue: VecDeque<String>,
    queued: HashSet<String>,
    timers: BTreeSet<(Timestamp, String)>,
    phases: HashMap<JobFlowPhase, usize>,
    permits: Arc<Semaphore>,
    event_permits: Arc<Semaphore>,
    pub(super) calls: JoinSet<(String, What, Done)>,
}

impl Controller {
    pub(super) fn new(
        client: Client,
        settings: &Settings,
        metrics: Metrics,
        scopes: Vec<Scope>,
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
            queue: VecDeque::new(),
            queued: HashSet::new(),
            timers: BTreeSet::new(),
            phases: HashMap::new(),
            permits: Arc::new(Semaphore::new(MAX_CALLS)),
            event_permits: Arc::new(Semaphore::new(MAX_EVENTS)),
            calls: JoinSet::new(),
        }
    }

    /// Whether everything has been read once.
    fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// When something is due without anything happening.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Has everything looked at again whose time has come.
    pub(super) fn tick(&mut self) {
        let now = now();
        while let Some((at, uid)) = self.timers.first().cloned() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            if let Some(entry) = self.flows.get_mut(&uid) {
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

    /// Does what is to be done for every flow that something changed for.
    pub(super) fn work(&mut self) {
        if !self.is_synced() {
            return;
        }
        // What a look at a flow queues is looked at next time, so that other things have their turn.
        for _ in 0..self.queue.len() {
            let Some(uid) = self.queue.pop_front() else {
                return;
            };
            self.queued.remove(&uid);
            let began = Instant::now();
            self.reconcile(&uid);
            self.metrics.flow_reconciles.inc();
            self.metrics
                .flow_reconcile_seconds
                .observe(began.elapsed().as_secs_f64());
        }
    }

    fn reconcile(&mut self, uid: &str) {
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
        };
        let next = plan(&mut entry.memory, &seen, now());
        if let Some(at) = entry.timer.take() {
            self.timers.remove(&(at, uid.to_owned()));
        }
        if let Some(at) = next.wake {
            entry.timer = Some(at);
            self.timers.insert((at, uid.to_owned()));
        }
        self.count(uid);
        for op in next.ops {
            self.start(uid, op);
        }
    }

    /// Keeps the number of flows by phase.
    fn count(&mut self, uid: &str) {
        let entry = self.flows.get_mut(uid);
        let Some(entry) = entry.filter(|e| !e.view.is_scheduled) else {
            return;
        };
        let new = entry.memory.status.phase;
        let old = entry.phase.replace(new);
        if old != Some(new) {
            self.add(new, 1);
            if let Some(old) = old {
                self.add(old, -1);
            }
        }
    }

    fn add(&mut self, phase: JobFlowPhase, by: isize) {
        let count = self.phases.entry(phase).or_default();
        *count = count.saturating_add_signed(by);
        self.metrics.set_flows(&format!("{phase:?}"), *count);
    }

    fn start(&mut self, uid: &str, op: Op) {
        let Some(entry) = self.flows.get_mut(uid) else {
            return;
        };
        let what = What::of(&op);
        match &what {
            What::Creating(key) | What::Ending(key) => {
                entry.busy.children.insert(key.clone());
            }
            What::Flow => entry.busy.flow = true,
            What::Event => entry.busy.event = true,
        }
        if matches!(op, Op::WriteStatus(_)) {
            self.metrics.flow_status_writes.inc();
        }
        let durable = match op {
            Op::WriteStatus(_) => entry.memory.durable.clone(),
            _ => Default::default(),
        };
        let permits = match what {
            What::Event => self.event_permits.clone(),
            _ => self.permits.clone(),
        };
        let (caller, view, uid) = (self.caller.clone(), entry.view.clone(), uid.to_owned());
        self.calls.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire_owned().await.ok();
            let done = caller.call(&view, &durable, op).await;
            (uid, what, done)
        });
    }

    /// Takes what came of a call.
    pub(super) fn done(&mut self, uid: &str, what: &What, done: Done) {
        self.enqueue(uid.to_owned());
        let Some(entry) = self.flows.get_mut(uid) else {
            return;
        };
        match what {
            What::Creating(key) | What::Ending(key) => {
                entry.busy.children.remove(key);
            }
            What::Flow => entry.busy.flow = false,
            What::Event => entry.busy.event = false,
        }
        let memory = &mut entry.memory;
        match done {
            Done::Created(key, child) => {
                memory.troubles.remove(&key);
                if let Some(since) = entry.turn.take() {
                    let time = since.elapsed().as_secs_f64();
                    self.metrics.flow_turn_seconds.observe(time);
                }
                self.answer(child);
            }
            Done::Taken(key) => {
                let (kind, name) = (key.0, key.1.clone());
                let message = format!("a {kind:?} {name:?} is there that is not this flow's");
                memory.failed(key, "NameTaken", &message, now());
            }
            Done::Stopped(key, child) => {
                memory.troubles.remove(&key);
                self.answer(child);
            }
            Done::Deleted(key, child) => {
                memory.troubles.remove(&key);
                memory.deleted.insert(child);
            }
            Done::Wrote(status, flow) => {
                memory.wrote(*status);
                self.put_flow(&flow);
            }
            Done::Conflict(flow) => {
                let status = flow.read_status();
                if status != memory.durable {
                    // Another controller wrote: what it knows counts.
                    *memory = Memory::new(status);
                }
                self.put_flow(&flow);
            }
            Done::Gone | Done::Emitted => {}
            Done::Failed {
                what,
                error,
                is_refused,
            } => self.failed(uid, what, &error, is_refused),
        }
        self.forget_gone(uid);
    }

    fn failed(&mut self, uid: &str, what: What, error: &str, is_refused: bool) {
        let Some(entry) = self.flows.get_mut(uid) else {
            return;
        };
        let (flow, namespace) = (&entry.view.name, &entry.view.namespace);
        tracing::warn!(flow, namespace, ?what, error, "a call failed");
        match what {
            What::Creating(key) if is_refused => entry.memory.refuse(key, error),
            What::Creating(key) => {
                let message = format!("{:?} {:?} cannot be made: {error}", key.0, key.1);
                entry.memory.failed(key, "CreateFailed", &message, now());
            }
            What::Ending(key) => {
                let message = format!("{:?} {:?} cannot be stopped: {error}", key.0, key.1);
                entry.memory.failed(key, "CallFailed", &message, now());
            }
            What::Flow => entry.memory.failed_write(error, now()),
            What::Event => {}
        }
    }

    /// Takes a child as an answer shows it; not one whose end the watch told in between.
    fn answer(&mut self, child: Option<Box<Child>>) {
        let Some(child) = child else { return };
        let entry = self.flows.get(&child.owner);
        if entry.is_some_and(|e| e.gone.contains(&child.uid)) {
            return;
        }
        // A list that is under way may have been made before.
        for (scope, list) in &mut self.lists {
            let kind = match child.kind {
                ChildKind::Job => Kind::Job,
                ChildKind::Task => Kind::Task,
            };
            if scope.kind == kind {
                list.insert(child.uid.clone());
            }
        }
        self.put_child(*child);
    }

    /// No answer comes late any more where no call is under way.
    fn forget_gone(&mut self, uid: &str) {
        if let Some(entry) = self.flows.get_mut(uid)
            && entry.busy.children.is_empty()
        {
            entry.gone.clear();
        }
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
                    let all: Vec<_> = self.flows.keys().cloned().collect();
                    all.into_iter().for_each(|uid| self.enqueue(uid));
                }
            }
        }
    }

    /// Gives the UID; the name of a template.
    fn put(&mut self, thing: Thing) -> Option<String> {
        match thing {
            Thing::Flow(flow) => {
                self.put_flow(&flow);
                flow.metadata.uid
            }
            Thing::Template(object) => {
                let key = (
                    object.metadata.namespace.clone()?,
                    object.metadata.name.clone()?,
                );
                let name = key.1.clone();
                self.templates.insert(key.clone(), Template::read(&object));
                self.enqueue_users(&key);
                Some(name)
            }
            Thing::Child(child) => {
                let uid = child.uid.clone();
                self.put_child(*child);
                Some(uid)
            }
            Thing::Nothing => None,
        }
    }

    /// Flows that are not over and refer to a template.
    fn enqueue_users(&mut self, (namespace, name): &(String, String)) {
        let uses = |entry: &Entry| {
            let spec = entry.view.spec.as_ref();
            entry.view.namespace == *namespace
                && entry.memory.durable.finished_at.is_none()
                && spec.is_ok_and(|s| s.templates.contains(name))
        };
        let users = self.flows.iter().filter(|(_, entry)| uses(entry));
        let users: Vec<_> = users.map(|(uid, _)| uid.clone()).collect();
        users.into_iter().for_each(|uid| self.enqueue(uid));
    }

    fn put_flow(&mut self, flow: &JobFlowObject) {
        let Some(uid) = flow.metadata.uid.clone() else {
            return;
        };
        match self.flows.get_mut(&uid) {
            Some(entry) => {
                let version = flow.metadata.resource_version.as_deref();
                if is_older(version, &entry.view.resource_version) {
                    return;
                }
                entry.view = FlowView::read(flow, Some(&entry.view));
            }
            None => {
                let entry = Entry {
                    view: FlowView::read(flow, None),
                    memory: Memory::new(flow.read_status()),
                    busy: Busy::default(),
                    timer: None,
                    phase: None,
                    gone: HashSet::new(),
                    turn: None,
                };
                self.flows.insert(uid.clone(), entry);
                self.count(&uid);
            }
        }
        self.enqueue(uid);
    }

    fn put_child(&mut self, child: Child) {
        let is_over = child.seen != End::Live;
        let key = child.key();
        let was_live = |known: &OfFlow| known.get(&key).is_some_and(|c| c.seen == End::Live);
        let ends = is_over && self.children.of(&child.owner).is_some_and(was_live);
        if let Some(owner) = self.children.put(child) {
            if let (true, Some(entry)) = (ends, self.flows.get_mut(&owner)) {
                entry.turn.get_or_insert_with(Instant::now);
            }
            self.enqueue(owner);
        }
    }

    fn drop_child(&mut self, owner: &str, key: &ChildKey, uid: &str) {
        if let Some(entry) = self.flows.get_mut(owner) {
            entry.memory.deleted.remove(uid);
            if !entry.busy.children.is_empty() {
                entry.gone.insert(uid.to_owned());
            }
        }
        if self.children.remove(owner, key, uid) {
            self.enqueue(owner.to_owned());
        }
    }

    fn gone(&mut self, thing: Thing) {
        match thing {
            Thing::Flow(flow) => {
                if let Some(uid) = &flow.metadata.uid {
                    self.drop_flow(uid);
                }
            }
            Thing::Template(object) => {
                let meta = object.metadata;
                if let (Some(namespace), Some(name)) = (meta.namespace, meta.name) {
                    self.templates.remove(&(namespace, name));
                }
            }
            Thing::Child(child) => self.drop_child(&child.owner, &child.key(), &child.uid),
            Thing::Nothing => {}
        }
    }

    fn drop_flow(&mut self, uid: &str) {
        let Some(entry) = self.flows.remove(uid) else {
            return;
        };
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, uid.to_owned()));
        }
        if let Some(phase) = entry.phase {
            self.add(phase, -1);
        }
    }

    /// What a new list does not have is gone.
    fn keep(&mut self, scope: &Scope, list: &BTreeSet<String>) {
        let here = |namespace: &str| scope.namespace.as_deref().is_none_or(|n| n == namespace);
        match scope.kind {
            Kind::JobFlow => {
                let flows = self.flows.iter();
                let gone = flows.filter(|(uid, e)| here(&e.view.namespace) && !list.contains(*uid));
                let gone: Vec<_> = gone.map(|(uid, _)| uid.clone()).collect();
                gone.iter().for_each(|uid| self.drop_flow(uid));
            }
            // Names may be the same in several namespaces: what is kept too long is only forgotten
            // later.
            Kind::JobTemplate => self
                .templates
                .retain(|(namespace, name), _| !here(namespace) || list.contains(name)),
            Kind::Job | Kind::Task => {
                let kind = match scope.kind {
                    Kind::Task => ChildKind::Task,
                    _ => ChildKind::Job,
                };
                for child in self.children.missing_from(kind, list, here) {
                    self.drop_child(&child.owner, &child.key(), &child.uid);
                }
            }
        }
    }

    /// Writes what is not durable yet, as a last word.
    pub(super) fn last_words(&mut self) {
        let dirty: Vec<_> = self
            .flows
            .iter()
            .filter(|(_, e)| !e.busy.flow && e.memory.status != e.memory.durable)
            .map(|(uid, e)| (uid.clone(), e.memory.status.clone()))
            .collect();
        for (uid, status) in dirty {
            self.start(&uid, Op::WriteStatus(Box::new(status)));
        }
    }
}
