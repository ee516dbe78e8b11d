//! The loop: watches and time in, calls of the API server out.
//!
//! One task owns everything; calls run beside it, one at a time for each template.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use baton_protocol::Timestamp;
use baton_schedule::RunState;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use super::calls::{Caller, Done, Target};
use super::entry::Entry;
use super::object::{Run, Scope, Template, Thing};
use crate::child::{Kind, is_older};
use crate::clock::now;
use crate::metrics::{Metrics, StartOutcome};
use crate::queue::Queue;
use crate::watching::Change;

/// Most calls of the API server at once.
const MAX_CALLS: usize = 16;

/// Everything that the loop owns.
pub(super) struct Controller<K> {
    caller: Caller,
    metrics: Metrics,
    /// By UID.
    templates: HashMap<String, Entry>,
    /// By the UID of their template, and by name.
    runs: HashMap<String, BTreeMap<String, Run>>,
    /// The template and name of each run, by its UID.
    owners: HashMap<String, (String, String)>,
    /// What lists hold that are under way.
    lists: HashMap<Scope, HashSet<String>>,
    unsynced: HashSet<Scope>,
    queue: Queue,
    /// When the clock was looked at last.
    looked: Timestamp,
    permits: Arc<Semaphore>,
    pub(super) calls: JoinSet<(String, Done)>,
    kind: PhantomData<K>,
}

impl<K: Kind> Controller<K> {
    pub(super) fn new(
        client: Client,
        replica: &str,
        metrics: Metrics,
        scopes: Vec<Scope>,
    ) -> Controller<K> {
        let reporter = Reporter {
            controller: "baton-coordinator".to_owned(),
            instance: Some(replica.to_owned()),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Controller {
            caller: Caller { client, recorder },
            metrics,
            templates: HashMap::new(),
            runs: HashMap::new(),
            owners: HashMap::new(),
            lists: HashMap::new(),
            unsynced: scopes.into_iter().collect(),
            queue: Queue::default(),
            looked: now(),
            permits: Arc::new(Semaphore::new(MAX_CALLS)),
            calls: JoinSet::new(),
            kind: PhantomData,
        }
    }

    /// How long nothing is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.queue.due().map(|at| at.since(now()))
    }

    /// Has everything looked at again whose time has come; all of it where the clock was set back.
    pub(super) fn tick(&mut self) {
        let now = now();
        if now < self.looked {
            tracing::warn!("the clock was set back; schedules are looked at again");
            self.templates.keys().for_each(|uid| self.queue.push(uid));
        }
        self.looked = now;
        self.queue.tick(now);
    }

    /// Takes what a watch tells.
    pub(super) fn change(&mut self, scope: &Scope, change: Change<Thing>) {
        match change {
            Change::Put(thing) => {
                if let Some(list) = self.lists.get_mut(scope) {
                    list.insert(thing.uid().to_owned());
                }
                self.put(thing);
            }
            Change::Gone(thing) => {
                if let Thing::Run(run) = &thing
                    && let Some(entry) = self.templates.get_mut(&run.template)
                {
                    entry.lost(&run.uid);
                }
                self.gone(thing.uid());
            }
            Change::ListBegins => {
                self.lists.insert(scope.clone(), HashSet::new());
            }
            Change::ListEnds => {
                let list = self.lists.remove(scope).unwrap_or_default();
                self.keep(scope, &list);
                if self.unsynced.remove(scope) {
                    self.templates.keys().for_each(|uid| self.queue.push(uid));
                }
            }
        }
    }

    fn put(&mut self, thing: Thing) {
        match thing {
            Thing::Template(template) => self.put_template(*template),
            Thing::Run(run) => self.put_run(run),
            Thing::Other(uid) => self.gone(&uid),
        }
    }

    fn put_template(&mut self, template: Template) {
        let uid = template.uid.clone();
        match self.templates.get_mut(&uid) {
            Some(entry) => {
                if is_older(Some(template.version()), entry.template.version()) {
                    return;
                }
                entry.template = template;
            }
            None => {
                self.templates.insert(uid.clone(), Entry::new(template));
            }
        }
        self.queue.push(&uid);
    }

    fn put_run(&mut self, run: Run) {
        let template = run.template.clone();
        let runs = self.runs.entry(template.clone()).or_default();
        let known = runs.get(&run.run.name).filter(|k| k.uid == run.uid);
        if known.is_some_and(|known| is_older(Some(&run.version), &known.version)) {
            return;
        }
        let was_active = known.is_some_and(|known| known.run.state == RunState::Active);
        if was_active
            && run.run.state != RunState::Active
            && let Some(entry) = self.templates.get_mut(&template)
        {
            entry.ended(&run);
        }
        let name = run.run.name.clone();
        self.owners
            .insert(run.uid.clone(), (template.clone(), name.clone()));
        runs.insert(name, run);
        self.queue.push(&template);
    }

    /// Forgets what is gone, whatever it was.
    fn gone(&mut self, uid: &str) {
        if self.templates.remove(uid).is_some() {
            self.queue.wake_at(uid, None);
        }
        let Some((template, name)) = self.owners.remove(uid) else {
            return;
        };
        if let Some(runs) = self.runs.get_mut(&template) {
            if runs.get(&name).is_some_and(|run| run.uid == uid) {
                runs.remove(&name);
            }
            if runs.is_empty() {
                self.runs.remove(&template);
            }
        }
        self.queue.push(&template);
    }

    /// What a new list does not have is gone.
    fn keep(&mut self, scope: &Scope, list: &HashSet<String>) {
        let here = |namespace: &str| scope.as_deref().is_none_or(|n| n == namespace);
        let templates = self
            .templates
            .values()
            .map(|e| (&e.template.uid, &e.template.namespace));
        let runs = self
            .runs
            .values()
            .flat_map(BTreeMap::values)
            .map(|r| (&r.uid, &r.namespace));
        let gone: Vec<String> = templates
            .chain(runs)
            .filter(|(uid, namespace)| here(namespace) && !list.contains(*uid))
            .map(|(uid, _)| uid.clone())
            .collect();
        gone.iter().for_each(|uid| self.gone(uid));
    }

    /// Does what is to be done for every template that something changed for.
    pub(super) fn work(&mut self) {
        if !self.unsynced.is_empty() {
            return;
        }
        // What a look queues is looked at next time, so that other things have their turn.
        for _ in 0..self.queue.len() {
            if let Some(uid) = self.queue.pop() {
                self.reconcile(&uid);
            }
        }
    }

    fn reconcile(&mut self, uid: &str) {
        let Some(entry) = self.templates.get_mut(uid).filter(|e| !e.busy) else {
            return;
        };
        self.queue.wake_at(uid, None);
        if entry.template.is_deleting {
            // The garbage collector takes the runs.
            return;
        }
        let now = now();
        let none = BTreeMap::new();
        let runs = self.runs.get(uid).unwrap_or(&none);
        let (op, wake) = entry.next::<K>(runs, &self.metrics, now);
        self.queue.wake_at(uid, wake);
        let Some(op) = op else { return };
        entry.begin();
        let (uid, template) = (uid.to_owned(), entry.template.clone());
        let (caller, permits) = (self.caller.clone(), self.permits.clone());
        self.calls.spawn(async move {
            let _permit = permits.acquire().await;
            let done = caller.call::<K>(&template, op).await;
            (uid, done)
        });
    }

    /// Takes what came of a call.
    pub(super) fn finished(&mut self, called: Result<(String, Done), JoinError>) {
        let (uid, done) = match called {
            Ok(called) => called,
            Err(e) => {
                tracing::error!(error = %e, "a call about a schedule broke off");
                return;
            }
        };
        self.queue.push(&uid);
        let Some(entry) = self.templates.get_mut(&uid) else {
            // A run that was made meanwhile is the garbage collector's.
            return;
        };
        entry.finish(&done, K::KIND, now());
        match done {
            Done::Started(run, stopped) => {
                self.metrics.count_starts(K::KIND, StartOutcome::Started, 1);
                let is_there = !entry.has_lost(&run.uid);
                for target in stopped {
                    self.going(&uid, &target);
                }
                if is_there {
                    self.put_run(*run);
                }
            }
            Done::Taken { .. } => self.metrics.count_starts(K::KIND, StartOutcome::Missed, 1),
            Done::Template(template) => self.put_template(*template),
            Done::Forgotten(target) => self.going(&uid, &target),
            Done::Gone => self.gone(&uid),
            Done::Nothing | Done::Failed { .. } => {}
        }
    }

    /// A run was told to go: the watch tells when it is gone.
    fn going(&mut self, template: &str, target: &Target) {
        let runs = self.runs.get_mut(template);
        let run = runs.and_then(|runs| runs.get_mut(&target.name));
        if let Some(run) = run.filter(|run| run.uid == target.uid) {
            run.run.is_going = true;
        }
    }
}
