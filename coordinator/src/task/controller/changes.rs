//! What watches tell: Tasks, pods and nodes come, change and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Controller;
use super::entry::Entry;
use super::pods::owner;
use crate::child::is_older;
use crate::control::Known;
use crate::schedule::is_template;
use crate::task::object::{TaskObject, TaskView};
use crate::task::watches::{Kind, Thing, trimmed};
use crate::watching::Scope;

impl Known for Controller {
    type Kind = Kind;
    type Thing = Thing;

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

    fn gone(&mut self, thing: Thing) {
        match thing {
            Thing::Task(task) => {
                if let Some(uid) = &task.metadata.uid {
                    self.drop_task(uid);
                }
            }
            Thing::Pod(pod) => {
                self.lost_pod(&pod);
                self.saw_last(pod);
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

    fn keep(&mut self, scope: &Scope<Kind>, list: &BTreeSet<String>) {
        match scope.kind {
            Kind::Node => self.cluster.keep_nodes(list),
            Kind::Drivers => self.cluster.keep_drivers(list),
            Kind::Task => {
                let gone: Vec<_> = self
                    .tasks
                    .iter()
                    .filter(|(uid, e)| scope.covers(&e.view.namespace) && !list.contains(*uid))
                    .map(|(uid, _)| uid.clone())
                    .collect();
                gone.iter().for_each(|uid| self.drop_task(uid));
            }
            Kind::Pod => {
                for pod in self.pods.missing_from(list, |n| scope.covers(n)) {
                    self.lost_pod(&pod);
                }
            }
        }
    }
}

impl Controller {
    pub(super) fn put_task(&mut self, uid: &str, task: &TaskObject) {
        if is_template(&task.spec) {
            // Its runs are Tasks of their own.
            return self.drop_task(uid);
        }
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
                self.tasks.insert(uid.to_owned(), Entry::new(task));
                self.index(uid);
                self.tell_again(uid);
            }
        }
        self.shell.queue.push(uid);
    }

    pub(super) fn put_pod(&mut self, pod: Arc<Pod>) {
        if let Some(owner) = self.pods.put(pod) {
            self.shell.queue.push(&owner);
        }
    }

    /// Takes a pod as an answer shows it; not one whose end the watch told in between.
    pub(super) fn renew_pod(&mut self, pod: Pod) {
        if self.pods.has(&pod) {
            self.put_pod(trimmed(pod));
        }
    }

    pub(super) fn drop_pod(&mut self, owner: &str, name: &str, uid: Option<&str>) {
        if self.pods.remove(owner, name, uid) {
            self.shell.queue.push(owner);
        }
    }

    fn lost_pod(&mut self, pod: &Pod) {
        if let (Some(owner), Some(name)) = (owner(pod), &pod.metadata.name) {
            self.drop_pod(&owner, name, pod.metadata.uid.as_deref());
        }
    }

    /// Its owner's run may go on or not, by what the pod was in the end.
    fn saw_last(&mut self, pod: Arc<Pod>) {
        if let Some(owner) = owner(&pod)
            && let Some(entry) = self.tasks.get_mut(&owner)
        {
            entry.memory.saw_last(pod);
            self.shell.queue.push(&owner);
        }
    }

    fn drop_task(&mut self, uid: &str) {
        let Some(entry) = self.tasks.remove(uid) else {
            return;
        };
        // What is told of it is of nobody's concern any more.
        self.batches.release(entry.awaiting);
        self.batches.release(entry.writing);
        self.shell.queue.wake_at(uid, None);
        if let Some(pod) = entry.pod {
            self.by_pod.remove(&pod);
        }
        if let Some(pod) = entry.making {
            self.making.remove(&pod);
        }
        self.metrics.tasks.moved(entry.phase, None);
    }
}
