//! A Task, and what is under way for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_api::status::TaskPhase;
use k8s_openapi::api::core::v1::Pod;

use crate::callbacks::Telling;
use crate::task::batches::BatchId;
use crate::task::memory::Memory;
use crate::task::object::{TaskObject, TaskView};

/// A Task, and what is under way for it.
pub(super) struct Entry {
    pub(super) view: TaskView,
    pub(super) memory: Memory,
    /// A call is under way.
    pub(super) busy: bool,
    /// Batches that wait for the next write of the status.
    pub(super) awaiting: Vec<BatchId>,
    /// Batches that wait for the write that is under way.
    pub(super) writing: Vec<BatchId>,
    /// The UID by which events find it.
    pub(super) pod: Option<String>,
    /// Namespace and name of the pod that is being made, or was with an open end.
    pub(super) making: Option<(String, String)>,
    pub(super) phase: Option<TaskPhase>,
    pub(super) telling: Telling,
}

impl Entry {
    /// A Task that was not seen before.
    pub(super) fn new(task: &TaskObject) -> Entry {
        Entry {
            view: TaskView::read(task, None),
            memory: Memory::new(task.read_status()),
            busy: false,
            awaiting: Vec::new(),
            writing: Vec::new(),
            pod: None,
            making: None,
            phase: None,
            telling: Telling::default(),
        }
    }

    /// Whether an agent of this node may speak of this pod.
    pub(super) fn check(
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
