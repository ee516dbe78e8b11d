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

    /// The node of a pod, where it is known.
    fn home<'a>(
        &'a self,
        pod: &baton_events::PodRef,
        pods: Option<&'a BTreeMap<String, Arc<Pod>>>,
    ) -> Option<&'a str> {
        let bound = there(pod, pods).and_then(|p| p.spec.as_ref()?.node_name.as_deref());
        let remembered = self.memory.status.pod.as_ref().map(|p| p.node.as_str());
        bound.or(remembered).filter(|node| !node.is_empty())
    }

    /// Whether a pod is there, and the watch of pods has not told yet that it was bound to a node.
    pub(super) fn is_unbound(
        &self,
        pod: &baton_events::PodRef,
        pods: Option<&BTreeMap<String, Arc<Pod>>>,
    ) -> bool {
        there(pod, pods).is_some() && self.home(pod, pods).is_none()
    }

    /// Whether an agent of this node may speak of this pod.
    pub(super) fn check(
        &self,
        pod: &baton_events::PodRef,
        node: &str,
        pods: Option<&BTreeMap<String, Arc<Pod>>>,
    ) -> Result<(), String> {
        if self.home(pod, pods) != Some(node) {
            return Err(format!("the pod {pod} is not known to be on node {node:?}"));
        }
        if pod.namespace != self.view.namespace {
            return Err(format!("there is no pod {pod} of this UID"));
        }
        Ok(())
    }
}

/// A pod as it was seen last, where it is there.
fn there<'a>(
    pod: &baton_events::PodRef,
    pods: Option<&'a BTreeMap<String, Arc<Pod>>>,
) -> Option<&'a Arc<Pod>> {
    let found = pods.and_then(|p| p.get(&pod.name));
    found.filter(|p| p.metadata.uid.as_deref() == Some(&pod.uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_events::PodRef;
    use serde_json::json;

    #[test]
    fn a_pod_that_is_not_known_to_be_bound_is_no_other_nodes() {
        let task =
            json!({ "metadata": { "name": "t", "namespace": "ns", "uid": "t1" }, "spec": {} });
        let entry = Entry::new(&serde_json::from_value(task).unwrap());
        let pod = PodRef {
            namespace: "ns".to_owned(),
            name: "t-1".to_owned(),
            uid: "p1".to_owned(),
        };
        let there = |node: Option<&str>| {
            let spec = json!({ "nodeName": node, "containers": [] });
            let pod = json!({ "metadata": { "name": "t-1", "uid": "p1" }, "spec": spec });
            BTreeMap::from([(
                "t-1".to_owned(),
                Arc::new(serde_json::from_value(pod).unwrap()),
            )])
        };
        assert!(entry.is_unbound(&pod, Some(&there(None))));
        let bound = there(Some("n"));
        assert!(!entry.is_unbound(&pod, Some(&bound)));
        assert!(entry.check(&pod, "n", Some(&bound)).is_ok());
        assert!(entry.check(&pod, "other", Some(&bound)).is_err());
        // Of one that is not there nothing is known, and nothing will be.
        assert!(!entry.is_unbound(&pod, None) && entry.check(&pod, "n", None).is_err());
    }
}
