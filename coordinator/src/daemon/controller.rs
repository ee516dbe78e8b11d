//! The loop: watches and time in, calls of the API server out.
//!
//! One task owns everything; calls run beside it: for each DaemonJob one write of its status, and one
//! call for each of its Jobs.
//!
//! ```text
//! changes   watches tell: DaemonJobs, Jobs and nodes come, change and go
//! outcomes  calls begin, and what came of them
//! ```

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use baton_api::daemon_status::DaemonJobStatus;
use baton_api::flow_status::JobFlowPhase;
use baton_flow::daemon::{DaemonAction, JobSeen, Members};
use baton_protocol::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Client;

use super::calls::{Caller, Done, Op};
use super::fit::member;
use super::jobs::{JobKey, Jobs};
use super::object::DaemonView;
use super::plan::{Known, Next, plan};
use super::watches::Watched;
use crate::child::recorder;
use crate::clock::{later, now};
use crate::control::{Control, Settings, Shell};
use crate::metrics::Metrics;
use crate::trouble::Trouble;
use crate::watching::Lists;

/// Most calls of the API server at once.
const MAX_CALLS: usize = 16;
/// Shortest time between two writes of a status that nothing waits for.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

mod changes;
mod outcomes;

/// Which call this is: the UID of the DaemonJob, and the Job that it is about, if any.
pub(super) type CallOf = (String, Option<JobKey>);

/// A DaemonJob, and what is under way for it.
struct Entry {
    view: DaemonView,
    /// Its status as the API server has it.
    durable: DaemonJobStatus,
    /// A write of its status, or its deletion, is under way.
    writing: bool,
    /// Jobs that a call is under way for; whether that makes them.
    calls: HashMap<JobKey, bool>,
    /// Jobs that something happened to which the API server does not show.
    odd: HashMap<JobKey, Odd>,
    /// Calls that failed which concern the whole.
    trouble: Trouble,
    written_at: Option<Timestamp>,
    /// As what it is counted.
    phase: Option<JobFlowPhase>,
}

impl Entry {
    /// What a call failed for, one for all.
    fn complaint(&self) -> Option<&str> {
        let mut of_jobs = self.odd.values().filter_map(|odd| match odd {
            Odd::Failed(trouble) => Some(trouble.message.as_str()),
            _ => None,
        });
        match self.trouble.is_some() {
            true => Some(&self.trouble.message),
            false => of_jobs.next(),
        }
    }
}

/// What happened to a Job.
enum Odd {
    /// Its name belonged to something else; it is asked again later.
    Taken(Trouble),
    /// It cannot be made as it is.
    Refused,
    /// A call for it failed; it is tried again later.
    Failed(Trouble),
}

/// Everything that the loop owns.
pub(super) struct Controller {
    shell: Shell<Watched, (CallOf, Done)>,
    metrics: Metrics,
    caller: Caller,
    daemons: HashMap<String, Entry>,
    jobs: Jobs,
    nodes: BTreeMap<String, Node>,
}

impl Controller {
    pub(super) fn new(
        client: Client,
        settings: &Settings,
        metrics: Metrics,
        lists: Lists<Watched>,
    ) -> Controller {
        let work = metrics.daemon_work.clone();
        let recorder = recorder(&client, &settings.replica);
        Controller {
            shell: Shell::new(lists, MAX_CALLS, work, metrics.queue("DaemonJob")),
            metrics,
            caller: Caller { client, recorder },
            daemons: HashMap::new(),
            jobs: Jobs::default(),
            nodes: BTreeMap::new(),
        }
    }

    /// Nodes changed: that concerns those that are not over.
    fn nodes_changed(&mut self) {
        let open = self.daemons.iter();
        let open = open.filter(|(_, entry)| entry.durable.finished_at.is_none());
        open.for_each(|(uid, _)| self.shell.queue.push(uid));
    }

    /// The write that is to be made now.
    fn write(
        &self,
        uid: &str,
        next: &Next,
        now: Timestamp,
        wakes: &mut Vec<Timestamp>,
    ) -> Option<Op> {
        let entry = self.daemons.get(uid).filter(|e| !e.writing)?;
        if let Some(at) = entry.trouble.wait(now) {
            wakes.push(at);
            return None;
        }
        if next.status == entry.durable {
            return next.is_expired.then_some(Op::DeleteSelf);
        }
        let soonest = entry.written_at.map(|at| later(at, WRITE_INTERVAL));
        match soonest.filter(|at| *at > now && !next.is_urgent) {
            Some(at) => {
                wakes.push(at);
                None
            }
            None => {
                let (from, to) = (entry.durable.clone(), next.status.clone());
                Some(Op::WriteStatus(Box::new(from), Box::new(to)))
            }
        }
    }

    /// What an action has to be done for, where it is not under way or to be tried later.
    fn op(
        &self,
        uid: &str,
        action: &DaemonAction,
        now: Timestamp,
        wakes: &mut Vec<Timestamp>,
    ) -> Option<Op> {
        let entry = self.daemons.get(uid)?;
        let (node, attempt) = match action {
            DaemonAction::Start { node, attempt }
            | DaemonAction::Stop { node, attempt }
            | DaemonAction::Delete { node, attempt } => (node, *attempt),
            DaemonAction::WakeAt(_) => return None,
        };
        let key = (node.clone(), attempt);
        if entry.calls.contains_key(&key) {
            return None;
        }
        if let Some(Odd::Failed(trouble)) = entry.odd.get(&key)
            && let Some(at) = trouble.wait(now)
        {
            wakes.push(at);
            return None;
        }
        let job = self.jobs.get(uid, &key);
        match action {
            DaemonAction::Start { .. } => {
                let spec = entry.view.spec.as_ref().ok()?;
                // What was read once can be made for every node.
                let job = entry.view.job(spec, node, attempt).ok()?;
                Some(Op::Create(key, Box::new(job)))
            }
            // One that waits for a queue never began: nothing is there to be told to end.
            DaemonAction::Stop { .. } => {
                job.filter(|j| !j.is_stopping && !j.is_deleting)
                    .map(|job| match job.is_suspended {
                        true => Op::Delete(job.clone()),
                        false => Op::Stop(job.clone()),
                    })
            }
            DaemonAction::Delete { .. } => job
                .filter(|j| !j.is_deleting)
                .map(|job| Op::Delete(job.clone())),
            DaemonAction::WakeAt(_) => None,
        }
    }
}

impl Control for Controller {
    type Called = (CallOf, Done);

    fn shell(&mut self) -> &mut Shell<Watched, (CallOf, Done)> {
        &mut self.shell
    }

    fn uids(&self) -> Vec<String> {
        self.daemons.keys().cloned().collect()
    }

    fn reconcile(&mut self, uid: &str) {
        let now = now();
        let Some(entry) = self.daemons.get(uid).filter(|e| !e.view.is_deleting()) else {
            return;
        };
        // What is over has nothing more to do with nodes.
        let is_over = entry.durable.finished_at.is_some();
        let is_settled = is_over && entry.view.rerun == entry.durable.rerun;
        let members = match &entry.view.spec {
            Ok(spec) if !is_settled => self
                .nodes
                .iter()
                .map(|(name, node)| (name.clone(), member(node, &spec.pod, &spec.excluded)))
                .collect(),
            _ => Members::new(),
        };
        let next = plan(&Known {
            view: &entry.view,
            durable: &entry.durable,
            members: &members,
            seen: &|node, attempt| seen(&self.jobs, uid, entry, node, attempt, now),
            trouble: entry.complaint(),
            now,
        });
        let mut wakes: Vec<_> = next.wake.into_iter().collect();
        if let Some(op) = self.write(uid, &next, now, &mut wakes) {
            self.start(uid, op);
        }
        for action in &next.actions {
            if let Some(op) = self.op(uid, action, now, &mut wakes) {
                self.start(uid, op);
            }
        }
        let Some(entry) = self.daemons.get_mut(uid) else {
            return;
        };
        let all = entry.odd.values().filter_map(|odd| match odd {
            Odd::Taken(trouble) => trouble.wait(now),
            _ => None,
        });
        wakes.extend(all);
        self.shell.queue.wake_at(uid, wakes.into_iter().min());
    }

    fn called(&mut self, (of, done): (CallOf, Done)) {
        self.done(of, done);
    }
}

/// What is seen of a Job.
fn seen(
    jobs: &Jobs,
    uid: &str,
    entry: &Entry,
    node: &str,
    attempt: u32,
    now: Timestamp,
) -> JobSeen {
    let key = (node.to_owned(), attempt);
    if let Some(job) = jobs.get(uid, &key) {
        return job.seen.clone();
    }
    if entry.calls.get(&key) == Some(&true) {
        return JobSeen::Unknown;
    }
    match entry.odd.get(&key) {
        Some(Odd::Refused) => JobSeen::Failed("JobRefused".to_owned()),
        Some(Odd::Taken(trouble)) if trouble.wait(now).is_some() => JobSeen::Taken,
        _ => JobSeen::Absent,
    }
}

#[cfg(test)]
mod tests;
