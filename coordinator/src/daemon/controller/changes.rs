//! What watches tell: DaemonJobs, Jobs and nodes come, change and go.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::batch::v1::Job;

use super::{Controller, Entry};
use crate::child::is_older;
use crate::daemon::jobs::JobView;
use crate::daemon::object::{DaemonObject, DaemonView};
use crate::daemon::watches::{Scope, Thing, Watched};
use crate::trouble::Trouble;
use crate::watching::Change;

impl Controller {
    /// Takes what a watch tells.
    pub(in crate::daemon) fn change(&mut self, scope: Scope, change: Change<Thing>) {
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
                if self.unsynced.remove(&scope) && self.unsynced.is_empty() {
                    self.enqueue_all();
                }
            }
        }
    }

    /// Gives the UID, or the name where that is what it is kept by.
    fn put(&mut self, thing: Thing) -> Option<String> {
        match thing {
            Thing::Daemon(object) => {
                let uid = object.metadata.uid.clone()?;
                self.put_daemon(&uid, &object);
                Some(uid)
            }
            Thing::Job(job) => {
                let job = *job?;
                let uid = job.uid.clone();
                self.put_job(job);
                Some(uid)
            }
            Thing::Node(node) => {
                let name = node.metadata.name.clone()?;
                if self.nodes.get(&name) != Some(&*node) {
                    self.nodes.insert(name.clone(), *node);
                    self.nodes_changed();
                }
                Some(name)
            }
        }
    }

    pub(super) fn put_daemon(&mut self, uid: &str, object: &DaemonObject) {
        let version = object.metadata.resource_version.as_deref();
        match self.daemons.get_mut(uid) {
            Some(entry) => {
                let known = entry.view.meta.resource_version.as_deref();
                if is_older(version, known.unwrap_or_default()) {
                    return;
                }
                entry.view = DaemonView::read(object, Some(&entry.view));
                entry.durable = object.read_status();
            }
            None => {
                let entry = Entry {
                    view: DaemonView::read(object, None),
                    durable: object.read_status(),
                    writing: false,
                    calls: HashMap::new(),
                    odd: HashMap::new(),
                    trouble: Trouble::default(),
                    written_at: None,
                    phase: None,
                };
                self.daemons.insert(uid.to_owned(), entry);
            }
        }
        if let Some(entry) = self.daemons.get_mut(uid) {
            let to = Some(entry.durable.phase);
            let from = std::mem::replace(&mut entry.phase, to);
            self.count(from, to);
        }
        self.queue.push(uid);
    }

    fn put_job(&mut self, job: JobView) {
        let owner = job.owner.clone();
        if self.jobs.put(job) {
            self.queue.push(&owner);
        }
    }

    /// Takes a Job as an answer shows it: a list that was begun before may not have it.
    pub(super) fn take_job(&mut self, job: &Job) {
        let Some(job) = JobView::read(job) else {
            return;
        };
        for (scope, list) in &mut self.lists {
            if scope.kind == Watched::Jobs {
                list.insert(job.uid.clone());
            }
        }
        self.put_job(job);
    }

    fn gone(&mut self, thing: Thing) {
        match thing {
            Thing::Daemon(object) => {
                if let Some(uid) = &object.metadata.uid {
                    self.drop_daemon(uid);
                }
            }
            Thing::Job(job) => {
                if let Some(job) = job {
                    self.drop_job(&job);
                }
            }
            Thing::Node(node) => {
                if self
                    .nodes
                    .remove(&node.metadata.name.unwrap_or_default())
                    .is_some()
                {
                    self.nodes_changed();
                }
            }
        }
    }

    fn drop_daemon(&mut self, uid: &str) {
        let Some(entry) = self.daemons.remove(uid) else {
            return;
        };
        self.count(entry.phase, None);
        self.queue.wake_at(uid, None);
    }

    fn drop_job(&mut self, job: &JobView) {
        if self.jobs.remove(job) {
            self.queue.push(&job.owner);
        }
    }

    /// What a new list does not have is gone.
    fn keep(&mut self, scope: &Scope, list: &BTreeSet<String>) {
        let here = |namespace: &str| scope.namespace.as_deref().is_none_or(|n| n == namespace);
        match scope.kind {
            Watched::Nodes => {
                let before = self.nodes.len();
                self.nodes.retain(|name, _| list.contains(name));
                if self.nodes.len() != before {
                    self.nodes_changed();
                }
            }
            Watched::DaemonJobs => {
                let is_gone = |(uid, entry): &(&String, &Entry)| {
                    let namespace = entry.view.meta.namespace.as_deref();
                    here(namespace.unwrap_or_default()) && !list.contains(*uid)
                };
                let gone: Vec<_> = self.daemons.iter().filter(is_gone).collect();
                let gone: Vec<_> = gone.into_iter().map(|(uid, _)| uid.clone()).collect();
                gone.iter().for_each(|uid| self.drop_daemon(uid));
            }
            Watched::Jobs => {
                for job in self.jobs.missing_from(list, here) {
                    self.drop_job(&job);
                }
            }
        }
    }
}
