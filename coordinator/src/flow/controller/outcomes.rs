//! Calls of the API server: their start, and what came of them.

use super::Controller;
use crate::child::Failure;
use crate::clock::now;
use crate::flow::calls::{Done, What};
use crate::flow::children::{Child, ChildKind};
use crate::flow::memory::CALL_FAILED;
use crate::flow::plan::Op;
use crate::flow::watches::Kind;

impl Controller {
    pub(super) fn start(&mut self, uid: &str, op: Op) {
        let Some(entry) = self.flows.get_mut(uid) else {
            return;
        };
        let what = What::of(&op);
        match &what {
            What::Creating(key) | What::Ending(key) => {
                entry.busy.children.insert(key.clone());
            }
            What::Flow => entry.busy.flow = true,
            What::Event => entry.busy.event = true,
        }
        if matches!(op, Op::WriteStatus(_)) {
            self.shell.work.writes();
        }
        let durable = match op {
            Op::WriteStatus(_) => entry.memory.durable.clone(),
            _ => Default::default(),
        };
        let (caller, view, uid) = (self.caller.clone(), entry.view.clone(), uid.to_owned());
        let is_event = what == What::Event;
        let call = async move {
            let done = caller.call(&view, &durable, op).await;
            (uid, what, done)
        };
        match is_event {
            true => self.shell.call_by(self.event_permits.clone(), call),
            false => self.shell.call(call),
        }
    }

    /// Takes what came of a call.
    pub(super) fn done(&mut self, uid: &str, what: &What, done: Done) {
        self.shell.queue.push(uid);
        let Some(entry) = self.flows.get_mut(uid) else {
            return;
        };
        match what {
            What::Creating(key) | What::Ending(key) => {
                entry.busy.children.remove(key);
            }
            What::Flow => entry.busy.flow = false,
            What::Event => entry.busy.event = false,
        }
        let memory = &mut entry.memory;
        match done {
            Done::Created(key, child) => {
                memory.troubles.remove(&key);
                if let Some(since) = entry.turn.take() {
                    let time = since.elapsed().as_secs_f64();
                    self.metrics.flow_turn_seconds.observe(time);
                }
                self.answer(child);
            }
            Done::Taken(key) => {
                let (kind, name) = (key.0, key.1.clone());
                let message = format!("a {kind:?} {name:?} is there that is not this flow's");
                memory.failed(key, "NameTaken", &message, now());
            }
            Done::Stopped(key, child) => {
                memory.troubles.remove(&key);
                self.answer(Some(child));
            }
            Done::Missing(key, child) => {
                memory.troubles.remove(&key);
                self.children.leaves(uid, &key, &child);
            }
            Done::Deleted(key, child) => {
                memory.troubles.remove(&key);
                memory.deleted.insert(child);
            }
            Done::Wrote(status, flow) => {
                memory.wrote(*status);
                self.put_flow(&flow);
                self.tell(uid);
            }
            Done::Conflict(flow) => {
                let status = flow.read_status();
                if status != memory.durable {
                    memory.replace(status);
                }
                self.put_flow(&flow);
            }
            // The watch has not told yet: until it does, the same would be answered.
            Done::Gone => {
                let message = "the flow is gone".to_owned();
                memory.write_trouble.add("Gone", message, now());
            }
            Done::Emitted => {}
            Done::Failed(what, failure) => self.failed(uid, what, &failure),
        }
        self.forget_gone(uid);
    }

    fn failed(&mut self, uid: &str, what: What, failure: &Failure) {
        let Some(entry) = self.flows.get_mut(uid) else {
            return;
        };
        let (flow, namespace) = (&entry.view.name, &entry.view.namespace);
        let error = failure.error.as_str();
        tracing::warn!(flow, namespace, ?what, error, "a call failed");
        match what {
            What::Creating(key) if failure.is_refused => entry.memory.refuse(key, error),
            What::Creating(key) => {
                let message = format!("{:?} {:?} cannot be made: {error}", key.0, key.1);
                entry.memory.failed(key, "CreateFailed", &message, now());
            }
            What::Ending(key) => {
                let message = format!("{:?} {:?} cannot be stopped: {error}", key.0, key.1);
                entry.memory.failed(key, CALL_FAILED, &message, now());
            }
            What::Flow => entry.memory.failed_write(error, now()),
            What::Event => {}
        }
    }

    /// Takes a child as an answer shows it; not one whose end the watch told in between.
    fn answer(&mut self, child: Option<Box<Child>>) {
        let Some(child) = child else { return };
        let entry = self.flows.get(&child.owner);
        if entry.is_some_and(|e| e.gone.contains(&child.uid)) {
            return;
        }
        let kind = match child.kind {
            ChildKind::Job => Kind::Job,
            ChildKind::Task => Kind::Task,
        };
        self.shell.lists.answered(&kind, &child.uid);
        self.put_child(*child);
    }

    /// No answer comes late any more where no call is under way.
    fn forget_gone(&mut self, uid: &str) {
        if let Some(entry) = self.flows.get_mut(uid)
            && entry.busy.children.is_empty()
        {
            entry.gone.clear();
        }
    }

    /// Writes what is not durable yet, as a last word.
    pub(in crate::flow) fn last_words(&mut self) {
        let dirty: Vec<_> = self
            .flows
            .iter()
            .filter(|(_, e)| !e.busy.flow && e.memory.status != e.memory.durable)
            .map(|(uid, e)| (uid.clone(), e.memory.status.clone()))
            .collect();
        for (uid, status) in dirty {
            self.start(&uid, Op::WriteStatus(Box::new(status)));
        }
    }
}
