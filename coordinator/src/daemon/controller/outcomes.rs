//! Calls of the API server: their start, and what came of them.

use super::{CallOf, Controller, Odd};
use crate::child::{Failure, Note, reference};
use crate::clock::now;
use crate::daemon::calls::{Done, Op};
use crate::daemon::jobs::JobKey;
use crate::daemon::object::DaemonObject;
use crate::daemon::present::notes;
use crate::trouble::Trouble;

impl Controller {
    pub(super) fn start(&mut self, uid: &str, op: Op) {
        let Some(entry) = self.daemons.get_mut(uid) else {
            return;
        };
        let key = op.key().cloned();
        match &key {
            Some(key) => {
                let makes = matches!(op, Op::Create(..));
                entry.calls.insert(key.clone(), makes);
            }
            None => entry.writing = true,
        }
        if matches!(op, Op::WriteStatus(..)) {
            entry.written_at = Some(now());
            self.shell.work.writes();
        }
        let of = reference::<DaemonObject>(&entry.view.meta);
        let (caller, uid) = (self.caller.clone(), uid.to_owned());
        self.shell.call(async move {
            let done = caller.call(&of, op).await;
            ((uid, key), done)
        });
    }

    /// Takes what came of a call.
    pub(super) fn done(&mut self, (uid, key): CallOf, done: Done) {
        self.shell.queue.push(&uid);
        match (&done, &key) {
            (Done::Job(job), _) => self.take_job(job),
            (Done::JobGoes(job), Some(key)) => self.jobs.leaves(&uid, key, job),
            _ => {}
        }
        let Some(entry) = self.daemons.get_mut(&uid) else {
            return;
        };
        match &key {
            Some(key) => {
                entry.calls.remove(key);
            }
            None => entry.writing = false,
        }
        match (done, key) {
            (Done::Job(_) | Done::JobGoes(_), Some(key)) => {
                entry.odd.remove(&key);
                entry.trouble = Trouble::default();
            }
            (Done::Taken, Some(key)) => entry.take_name(key),
            (Done::Wrote { from, to, object }, None) => {
                entry.trouble = Trouble::default();
                let overruled = entry.view.spec.as_ref().map(|s| s.overruled.as_slice());
                // The watch may have told of it before.
                let notes = notes(&from, &to, overruled.unwrap_or_default());
                entry.durable = *to;
                // What is over, or begins anew, is asked of the API server again.
                let durable = &entry.durable;
                entry.odd.retain(|(node, attempt), _| {
                    let node = durable.node(node).map(|n| &n.node);
                    node.is_some_and(|n| !n.state.is_over() && *attempt >= n.attempts)
                });
                self.tell(&uid, notes);
                self.put_daemon(&uid, &object);
            }
            (Done::Conflict(object), None) => self.put_daemon(&uid, &object),
            // The watch has not told yet: until it does, the same would be answered.
            (Done::Gone, None) => {
                let message = "the DaemonJob is gone".to_owned();
                entry.trouble.add("CallFailed", message, now());
            }
            (Done::Failed(what, failure), key) => self.failed(&uid, what, &failure, key),
            _ => {}
        }
    }

    fn failed(&mut self, uid: &str, what: &'static str, failure: &Failure, key: Option<JobKey>) {
        let Some(entry) = self.daemons.get_mut(uid) else {
            return;
        };
        let now = now();
        let (name, namespace) = (entry.view.name(), &entry.view.meta.namespace);
        let error = failure.error.as_str();
        tracing::warn!(daemonjob = name, ?namespace, what, error, "a call failed");
        let message = format!("{what}: {error}");
        let Some(key) = key else {
            return entry.trouble.add("CallFailed", message, now);
        };
        let makes = what == "creating a Job";
        if makes && failure.is_refused {
            entry.odd.insert(key, Odd::Refused);
            let note = Note {
                is_warning: true,
                reason: "JobRefused".to_owned(),
                message,
            };
            return self.tell(uid, vec![note]);
        }
        let mut trouble = match entry.odd.remove(&key) {
            Some(Odd::Failed(trouble)) => trouble,
            _ => Trouble::default(),
        };
        trouble.add("CallFailed", message, now);
        entry.odd.insert(key, Odd::Failed(trouble));
    }

    /// Writes Kubernetes Events, beside everything else.
    fn tell(&self, uid: &str, notes: Vec<Note>) {
        let Some(entry) = self.daemons.get(uid).filter(|_| !notes.is_empty()) else {
            return;
        };
        let of = reference::<DaemonObject>(&entry.view.meta);
        let caller = self.caller.clone();
        tokio::spawn(async move { caller.emit(&of, notes).await });
    }
}

impl super::Entry {
    fn take_name(&mut self, key: JobKey) {
        let mut trouble = match self.odd.remove(&key) {
            Some(Odd::Taken(trouble)) => trouble,
            _ => Trouble::default(),
        };
        let name = self.view.job_name(&key.0, key.1);
        let message = format!("{name:?} is there and is not this DaemonJob's");
        trouble.add("NameTaken", message, now());
        self.odd.insert(key, Odd::Taken(trouble));
    }
}
