//! Calls of the API server: their start, and what came of them.

use super::Controller;
use crate::child::Failure;
use crate::clock::now;
use crate::task::calls::Done;
use crate::task::memory::Memory;
use crate::task::plan::Op;
use crate::task::watches::trimmed;

impl Controller {
    pub(super) fn start(&mut self, uid: &str, op: Op) {
        let Some(entry) = self.tasks.get_mut(uid) else {
            return;
        };
        entry.busy = true;
        if matches!(op, Op::WriteStatus(_)) {
            entry.writing = std::mem::take(&mut entry.awaiting);
            entry.memory.take_token(now());
            self.shell.work.writes();
        }
        if let Op::CreatePod(pod) = &op {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let pod = (entry.view.namespace.clone(), name);
            self.making.insert(pod.clone());
            if let Some(old) = entry.making.replace(pod.clone()).filter(|old| *old != pod) {
                self.making.remove(&old);
            }
        }
        let view = entry.view.clone();
        let durable = match op {
            Op::WriteStatus(_) => entry.memory.durable.clone(),
            _ => Default::default(),
        };
        let (caller, uid) = (self.caller.clone(), uid.to_owned());
        self.shell.call(async move {
            let done = caller.call(&view, &durable, op).await;
            (uid, done)
        });
    }

    /// Takes what came of a call.
    pub(super) fn done(&mut self, uid: &str, done: Done) {
        self.shell.queue.push(uid);
        let now = now();
        let Some(entry) = self.tasks.get_mut(uid) else {
            return;
        };
        entry.busy = false;
        // Where nothing was answered, the pod may be there.
        let is_open = matches!(&done, Done::Failed(_, failure) if failure.is_open);
        if let Some(pod) = entry.making.take_if(|_| !is_open) {
            self.making.remove(&pod);
        }
        let memory = &mut entry.memory;
        let writing = std::mem::take(&mut entry.writing);
        match done {
            Done::Created(pod) => {
                memory.made(&pod);
                self.put_pod(trimmed(pod));
                self.index(uid);
            }
            Done::Taken(name) => {
                let message = format!("a pod {name:?} is there that is not this Task's");
                memory.failed(false, "PodNameTaken", &message, now);
            }
            Done::Deleted {
                name,
                uid: pod,
                left,
            } => {
                memory.went_well();
                match left {
                    Some(left) => self.renew_pod(*left),
                    None => self.drop_pod(uid, &name, Some(&pod)),
                }
            }
            Done::Annotated(pod) => {
                memory.went_well();
                self.renew_pod(pod);
            }
            Done::NoPod { name, uid: pod } => self.drop_pod(uid, &name, Some(&pod)),
            Done::Wrote(status, task) => {
                memory.wrote(*status);
                self.batches.release(writing);
                self.put_task(uid, &task);
                self.tell(uid);
            }
            Done::Conflict(task) => {
                let status = task.read_status();
                if status == memory.durable {
                    entry.awaiting.extend(writing);
                } else {
                    // Another controller wrote: what it knows counts.
                    let awaiting = std::mem::take(&mut entry.awaiting);
                    *memory = Memory::new(status);
                    self.batches.forget(writing.into_iter().chain(awaiting));
                    self.index(uid);
                }
                self.put_task(uid, &task);
            }
            // The watch has not told yet: until it does, the same would be answered. And a server that was just started
            // may not know Tasks yet.
            Done::Gone => {
                memory.failed_write("the Task is gone", now);
                entry.awaiting.extend(writing);
            }
            Done::Nothing => entry.awaiting.extend(writing),
            Done::Failed(what, failure) => {
                let Failure {
                    error,
                    is_refused,
                    is_too_large,
                    ..
                } = failure;
                let (task, namespace) = (&entry.view.name, &entry.view.namespace);
                tracing::warn!(
                    task,
                    namespace,
                    what,
                    error,
                    "a call failed; it is tried again"
                );
                entry.awaiting.extend(writing);
                match what {
                    "writing the status" if is_refused => {
                        memory.refused_write(&error, is_too_large, now);
                    }
                    "writing the status" => memory.failed_write(&error, now),
                    "creating the pod" if is_refused => memory.refused(&error, now),
                    "creating the pod" => memory.failed(true, "CreateFailed", &error, now),
                    _ => memory.failed(true, "CallFailed", &format!("{what}: {error}"), now),
                }
            }
        }
    }

    /// Writes what is not durable yet, as a last word.
    pub(in crate::task) fn last_words(&mut self) {
        let dirty: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, e)| !e.busy && e.memory.is_dirty())
            .map(|(uid, e)| (uid.clone(), e.memory.status.clone()))
            .collect();
        for (uid, status) in dirty {
            self.start(&uid, Op::WriteStatus(Box::new(status)));
        }
    }
}
