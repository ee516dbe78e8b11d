//! What agents tell.

use std::collections::BTreeSet;

use baton_events::PodRef;

use super::Controller;
use super::entry::Entry;
use crate::inbox::Batch;
use crate::task::fold;

impl Controller {
    /// Takes a batch of an agent.
    pub(in crate::task) fn batch(&mut self, batch: Batch) {
        let mut refused = Vec::new();
        let mut waits = BTreeSet::new();
        for told in &batch.events {
            let Some(uid) = self.by_pod.get(&told.pod.uid) else {
                if self.is_coming(&told.pod) {
                    // Its pod is not in the status yet: dropped, and so told again.
                    return;
                }
                continue;
            };
            let Some(entry) = self.tasks.get_mut(uid) else {
                continue;
            };
            let pods = self.pods.of(uid);
            if entry.is_unbound(&told.pod, pods) {
                // Whose word this is shows once the watch of pods has caught up: dropped, and so told again.
                return;
            }
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
        waits.iter().for_each(|uid| self.shell.queue.push(uid));
    }

    /// Whether a pod is a Task's that has not taken it up yet.
    fn is_coming(&self, pod: &PodRef) -> bool {
        // One of an earlier run is going, and nothing of it is news.
        let run = self.pods.run_of(&pod.uid);
        let is_unknown = |entry: &Entry| {
            let status = &entry.memory.status;
            let known = status.pod.as_ref();
            known.is_none_or(|p| p.uid.is_empty()) && run.is_none_or(|run| run >= status.run)
        };
        let owner = self.pods.owner_of(&pod.uid);
        owner.is_some_and(|task| self.tasks.get(task).is_some_and(is_unknown))
            || self
                .making
                .contains(&(pod.namespace.clone(), pod.name.clone()))
    }
}
