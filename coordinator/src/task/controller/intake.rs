//! What agents tell.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Controller;
use crate::inbox::Batch;
use crate::task::fold;

impl Controller {
    /// Takes a batch of an agent.
    pub(in crate::task) fn batch(&mut self, batch: Batch) {
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
}
