//! What watches tell: DaemonJobs, Jobs and nodes come, change and go.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::batch::v1::Job;

use super::{Controller, Entry};
use crate::child::is_older;
use crate::control::Known;
use crate::daemon::jobs::JobView;
use crate::daemon::object::{DaemonObject, DaemonView};
use crate::daemon::watches::{Thing, Watched};
use crate::trouble::Trouble;
use crate::watching::Scope;

impl Known for Controller {
    type Kind = Watched;
    type Thing = Thing;

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

    fn keep(&mut self, scope: &Scope<Watched>, list: &BTreeSet<String>) {
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
                    scope.covers(namespace.unwrap_or_default()) && !list.contains(*uid)
                };
                let gone: Vec<_> = self.daemons.iter().filter(is_gone).collect();
                let gone: Vec<_> = gone.into_iter().map(|(uid, _)| uid.clone()).collect();
                gone.iter().for_each(|uid| self.drop_daemon(uid));
            }
            Watched::Jobs => {
                for job in self.jobs.missing_from(list, |n| scope.covers(n)) {
                    self.drop_job(&job);
                }
            }
        }
    }
}

impl Controller {
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
            self.metrics.daemons.moved(from, to);
        }
        self.shell.queue.push(uid);
    }

    fn put_job(&mut self, job: JobView) {
        let owner = job.owner.clone();
        if self.jobs.put(job) {
            self.shell.queue.push(&owner);
        }
    }

    /// Takes a Job as an answer shows it: a list that was begun before may not have it.
    pub(super) fn take_job(&mut self, job: &Job) {
        let Some(job) = JobView::read(job) else {
            return;
        };
        self.shell.lists.answered(&Watched::Jobs, &job.uid);
        self.put_job(job);
    }

    fn drop_daemon(&mut self, uid: &str) {
        let Some(entry) = self.daemons.remove(uid) else {
            return;
        };
        self.metrics.daemons.moved(entry.phase, None);
        self.shell.queue.wake_at(uid, None);
    }

    fn drop_job(&mut self, job: &JobView) {
        if self.jobs.remove(job) {
            self.shell.queue.push(&job.owner);
        }
    }
}
