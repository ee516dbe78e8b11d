//! What is kept of a run for its report: its pods and Tasks as they were seen last, also where they are
//! gone by its end, and what they printed. Pure.

use std::collections::{BTreeMap, HashMap};

use baton_pod::names::TASK_LABEL;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;

use super::super::object::Object;
use super::super::standing::Standing;
use super::pods::child_of;
use crate::run::story::Log;

/// Most pods, most Tasks and most logs that are kept: a report shows no more rows.
const MAX_KEPT: usize = 500;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pods: BTreeMap<String, Pod>,
    tasks: BTreeMap<String, Object>,
    /// By pod and container.
    logs: HashMap<(String, String), Log>,
}

impl Kept {
    /// Something happened to a pod. One of a Task tells nothing that the Task does not.
    pub(super) fn pod(&mut self, event: &Event<Pod>) {
        let (Event::Apply(pod) | Event::InitApply(pod) | Event::Delete(pod)) = event else {
            return;
        };
        let labels = pod.metadata.labels.as_ref();
        let of_task = labels.is_some_and(|l| l.contains_key(TASK_LABEL));
        if let Some(name) = pod.metadata.name.as_ref().filter(|_| !of_task) {
            keep(&mut self.pods, name, pod);
        }
    }

    /// Something happened to a Task.
    pub(super) fn task(&mut self, event: &Event<Object>) {
        if let Event::Apply(task) | Event::InitApply(task) | Event::Delete(task) = event {
            keep(&mut self.tasks, task.name(), task);
        }
    }

    /// A container printed something.
    pub(super) fn printed(&mut self, pod: &str, container: &str, bytes: &[u8]) {
        let is_full = self.logs.len() >= MAX_KEPT;
        let key = (pod.to_owned(), container.to_owned());
        if !is_full || self.logs.contains_key(&key) {
            self.logs.entry(key).or_default().push(bytes);
        }
    }

    /// A Task, where it was seen.
    pub(super) fn task_of(&self, name: &str) -> Option<&Object> {
        self.tasks.get(name)
    }

    /// Whether a Task's end was seen.
    pub(super) fn is_over(&self, task: &str) -> bool {
        let standing = self.task_of(task).and_then(|t| Standing::of(t).ok());
        standing.is_some_and(|s| s.is_over())
    }

    /// The pods of a Job, in the order in which they were made.
    pub(super) fn pods_of(&self, job: &str) -> Vec<&Pod> {
        let own = self.pods.values().filter(|p| child_of(p) == Some(job));
        let mut own: Vec<_> = own.collect();
        own.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|t| t.0));
        own
    }

    /// What a container printed.
    pub(super) fn log(&self, pod: &str, container: &str) -> Log {
        let key = (pod.to_owned(), container.to_owned());
        self.logs.get(&key).cloned().unwrap_or_default()
    }
}

fn keep<T: Clone>(all: &mut BTreeMap<String, T>, name: &str, what: &T) {
    let is_full = all.len() >= MAX_KEPT;
    if !is_full || all.contains_key(name) {
        all.insert(name.to_owned(), what.clone());
    }
}
