//! What callbacks are told of a flow, and how far they came.

use super::Controller;
use crate::callbacks::{Progress, Story, is_settled};
use crate::clock::now;
use crate::flow::story::story;

impl Controller {
    /// Takes how far callbacks came.
    pub(in crate::flow) fn progress(&mut self, progress: Progress) {
        if let Some(entry) = self.flows.get_mut(&progress.task) {
            let status = &mut entry.memory.status;
            if status.run == progress.run {
                status.callbacks = progress.callbacks;
            }
            self.shell.queue.push(&progress.task);
        }
    }

    /// Tells the callbacks of a flow that was not seen before what they may not know yet.
    pub(super) fn tell_again(&mut self, uid: &str) {
        let Some(entry) = self.flows.get(uid) else {
            return;
        };
        let status = &entry.memory.durable;
        let is_over = status.phase.is_over();
        let events = story(uid, &entry.view.name, status).len();
        if !is_over || !is_settled(&status.callbacks, events, status.finished_at, now()) {
            self.tell(uid);
        }
    }

    /// Hands the story over, where it is longer than it was or is for others. Where it cannot be, the
    /// next look at the flow sees to it that it is tried again.
    pub(super) fn tell(&mut self, uid: &str) {
        let Some(entry) = self.flows.get_mut(uid) else {
            return;
        };
        let status = &entry.memory.durable;
        let spec = entry.view.spec.as_ref().ok();
        let story = Story {
            task: uid.to_owned(),
            namespace: entry.view.namespace.clone(),
            name: entry.view.name.clone(),
            run: status.run,
            sinks: spec.map(|s| s.spec.callbacks.clone()).unwrap_or_default(),
            events: story(uid, &entry.view.name, status),
            known: entry.memory.status.callbacks.clone(),
        };
        entry
            .telling
            .tell(story, entry.view.generation, &self.stories);
    }
}
