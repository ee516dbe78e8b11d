//! What callbacks are told of a Task, and how far they came.

use super::{AGAIN, Controller};
use crate::callbacks::{Progress, Story, is_settled};
use crate::clock::{later, now};
use crate::task::story::story;

impl Controller {
    /// Takes how far callbacks came.
    pub(in crate::task) fn progress(&mut self, progress: Progress) {
        if let Some(entry) = self.tasks.get_mut(&progress.task) {
            entry.memory.take_progress(progress.run, progress.callbacks);
            self.shell.queue.push(&progress.task);
        }
    }

    /// Tells the callbacks of a Task that was not seen before what they may not know yet.
    pub(super) fn tell_again(&mut self, uid: &str) {
        let Some(entry) = self.tasks.get(uid) else {
            return;
        };
        let status = &entry.memory.durable;
        let is_over = status.phase.is_over();
        let events = story(&entry.view.name, status).len();
        if !is_over || !is_settled(&status.callbacks, events, status.finished_at, now()) {
            self.tell(uid);
        }
    }

    /// Hands the story over, where it is longer than it was or is for others.
    pub(super) fn tell(&mut self, uid: &str) {
        let Some(entry) = self.tasks.get_mut(uid) else {
            return;
        };
        let status = &entry.memory.durable;
        let spec = entry.view.spec.as_ref().ok();
        let story = Story {
            task: uid.to_owned(),
            namespace: entry.view.namespace.clone(),
            name: entry.view.name.clone(),
            run: status.run,
            sinks: spec.map(|s| s.spec().callbacks.clone()).unwrap_or_default(),
            events: story(&entry.view.name, status),
            known: entry.memory.status.callbacks.clone(),
        };
        entry
            .telling
            .tell(story, entry.view.generation, &self.stories);
        if entry.telling.is_late() {
            self.shell.queue.wake_by(uid, later(now(), AGAIN));
        }
    }
}
