//! What is there and what should be -> the next thing to do.
//!
//! One thing at a time: after each the caller asks again, with what came of it. Whatever is decided
//! follows from the Task, its status, its pods and the nodes; what [`Memory`] holds besides is how long
//! something is so already.
//!
//! A Task has at most one pod that may run: the next one is made when all before are gone. A run whose
//! end is durable is over for good; it is the Task's last unless its spec or the re-run that it asks
//! for changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_api::status::{Carrier, PodStatusRef, TaskStatus};
use baton_pod::names::{DRIVER, RUN_LABEL};
use baton_pod::{Ordered, PodFacts, facts, plan_of, pod_name};
use baton_protocol::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::Settings;
use super::cluster::Cluster;
use super::fold;
use super::memory::Memory;
use super::object::TaskView;
use super::present::present;
use super::runs::{self, ORIGIN_ANNOTATION, Origin};
use crate::child::Note;

mod alive;
mod ending;
mod making;
mod misplaced;
mod writing;

/// What is there.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The Task.
    pub task: &'a TaskView,
    /// Its pods, by name: those that it owns.
    pub pods: &'a BTreeMap<String, Arc<Pod>>,
    /// The nodes.
    pub cluster: &'a Cluster,
    /// What the controller was told at its start.
    pub settings: &'a Settings,
}

/// A call of the API server. Each names the UID of what it is about, so that it cannot hit another
/// object of the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Make this pod.
    CreatePod(Box<Pod>),
    /// Delete a pod.
    DeletePod {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// Seconds from SIGTERM to SIGKILL; its own where nothing is said.
        grace: Option<u32>,
    },
    /// Give a pod these annotations.
    Annotate {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// The annotations.
        annotations: BTreeMap<String, String>,
    },
    /// Make this the Task's status.
    WriteStatus(Box<TaskStatus>),
    /// Delete the Task.
    DeleteTask,
    /// Write a Kubernetes Event about the Task.
    Emit(Note),
}

/// What is to be done next.
#[derive(Debug, Default)]
pub struct Next {
    /// The call to make; with its outcome, the caller asks again.
    pub op: Option<Op>,
    /// When to ask again at the latest, without anything having happened.
    pub wake: Option<Timestamp>,
    /// The status must not be written yet: more may be learned of the run's end.
    hold: bool,
}

impl Next {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |known| known.min(at)));
    }
}

/// The next thing to do for a Task.
pub fn plan(memory: &mut Memory, seen: &Seen<'_>, now: Timestamp) -> Next {
    let mut next = Next::default();
    if seen.task.is_deleting {
        // The garbage collector takes the pods.
        return next;
    }
    adopt(memory, seen, now);
    misplaced::take_back(memory, seen);
    let known = absorb(memory, seen, now, &mut next);
    let was_over = memory.status.phase.is_over();
    let op = decide(memory, seen, known.as_ref(), now, &mut next);
    if !was_over && memory.status.phase.is_over() {
        // Whether that is the Task's end is the next question.
        next.hold = true;
        next.wake_at(now);
    }
    present(
        &mut memory.status,
        seen.task,
        &memory.trouble,
        known.as_ref().map(|k| &k.facts),
        now,
    );
    next.op = match op {
        Some(op) => match memory.trouble.wait(now) {
            Some(until) => {
                next.wake_at(until);
                None
            }
            None => Some(op),
        },
        None => None,
    };
    if next.op.is_none() {
        next.op = writing::write(memory, now, &mut next);
    }
    if next.op.is_none() && !memory.notes.is_empty() {
        next.op = Some(Op::Emit(memory.notes.remove(0)));
    }
    next
}

/// The pod of the present run, and what it tells.
struct Known {
    pod: Arc<Pod>,
    facts: PodFacts,
}

/// Takes up a pod that was made for this Task and is not in its status.
fn adopt(memory: &mut Memory, seen: &Seen<'_>, now: Timestamp) {
    let Ok(spec) = &seen.task.spec else {
        return;
    };
    let found = seen.pods.values().filter_map(|pod| {
        let meta = &pod.metadata;
        let run: u32 = meta.labels.as_ref()?.get(RUN_LABEL)?.parse().ok()?;
        let origin = meta.annotations.as_ref()?.get(ORIGIN_ANNOTATION)?;
        let origin: Origin = serde_json::from_str(origin).ok()?;
        let ours = meta.name.as_deref() == Some(&*pod_name(&seen.task.name, run));
        let is_going = meta.deletion_timestamp.is_some() || meta.uid == memory.deleted;
        let wanted = origin.is_wanted(seen.task) && !is_going;
        (ours && wanted && run > 0).then_some((run, origin, pod))
    });
    let Some((run, origin, pod)) = found.max_by_key(|(run, ..)| *run) else {
        return;
    };
    let status = &memory.status;
    if run > status.run {
        runs::begin(memory, run, origin, spec, now);
    } else if run < status.run
        || status.phase.is_over()
        || status.pod.as_ref().is_some_and(|p| !p.uid.is_empty())
        || Origin::of_status(status) != origin
    {
        return;
    }
    set_pod(&mut memory.status, pod);
}

/// The status's reference to a pod that was made for its run.
pub(super) fn set_pod(status: &mut TaskStatus, pod: &Pod) {
    let spec = pod.spec.as_ref();
    let volumes = spec.and_then(|s| s.volumes.as_deref()).unwrap_or_default();
    let has_volume =
        |v: &k8s_openapi::api::core::v1::Volume| v.csi.as_ref().is_some_and(|c| c.driver == DRIVER);
    status.pod = Some(PodStatusRef {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        node: spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        carrier: match volumes.iter().any(has_volume) {
            true => Carrier::Volume,
            false => Carrier::DownwardAPI,
        },
    });
}

/// What the pod of this run tells goes into the status.
fn absorb(memory: &mut Memory, seen: &Seen<'_>, now: Timestamp, next: &mut Next) -> Option<Known> {
    let reference = memory.status.pod.as_mut().filter(|p| !p.uid.is_empty())?;
    let pod = seen.pods.get(&reference.name)?;
    if pod.metadata.uid.as_deref() != Some(&reference.uid) {
        return None;
    }
    let (plan, _) = plan_of(pod).ok()?;
    let facts = facts(pod, &plan);
    if let Some(node) = &facts.node {
        reference.node.clone_from(node);
    }
    let carrier = reference.carrier;
    fold::refine(&mut memory.status, &facts);
    memory.last = Some(pod.clone());
    if carrier == Carrier::DownwardAPI {
        drive(memory, plan, pod, seen.task.cancel, now, next);
    }
    let pod = pod.clone();
    Some(Known { pod, facts })
}

/// Orders a pod without the agent's volume.
fn drive(
    memory: &mut Memory,
    plan: baton_steps::Plan,
    pod: &Pod,
    cancel: bool,
    now: Timestamp,
    next: &mut Next,
) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let driven = memory.driven.take().filter(|(known, _)| *known == uid);
    let (mut ordered, update) = match driven {
        Some((_, mut ordered)) => {
            let update = ordered.update(pod, now);
            (ordered, update)
        }
        None => Ordered::open(plan, pod, now),
    };
    let mut told = update.told;
    if cancel && ordered.outcome().is_none() {
        told.extend(ordered.cancel(pod, now).told);
    }
    if ordered.wake_at().is_some_and(|at| at <= now) {
        told.extend(ordered.tick(pod, now).told);
    }
    for fact in told {
        fold::fold(&mut memory.status, fact.at, &fact.what);
    }
    if let Some(at) = ordered.wake_at() {
        next.wake_at(at);
    }
    memory.driven = Some((uid, ordered));
}

fn decide(
    memory: &mut Memory,
    seen: &Seen<'_>,
    known: Option<&Known>,
    now: Timestamp,
    next: &mut Next,
) -> Option<Op> {
    match &seen.task.spec {
        Err(mistakes) if memory.status.run == 0 => {
            making::invalid(memory, mistakes, now);
            return ending::expire(memory, seen, now, next);
        }
        Ok(spec)
            if memory.status.run == 0
                || !Origin::of_status(&memory.status).is_wanted(seen.task)
                || is_superseded(memory) =>
        {
            match making::clear(memory, seen, now, next) {
                making::Cleared::Not(op) => {
                    if !memory.is_final() && !is_superseded(memory) {
                        memory.superseded = memory.status.pod.as_ref().map(|p| p.uid.clone());
                    }
                    // How this run ends is nobody's end where the change was taken back.
                    next.hold = Origin::of_status(&memory.status).is_wanted(seen.task);
                    return op;
                }
                making::Cleared::Gone => {}
            }
            let run = memory.status.run.saturating_add(1);
            runs::begin(memory, run, Origin::of_task(seen.task), spec, now);
        }
        _ => {}
    }
    if let Some(op) = known.and_then(|k| order(memory, k)) {
        return Some(op);
    }
    if memory.status.phase.is_over() {
        if memory.is_final() {
            return ending::settle(memory, seen, known, now, next);
        }
        match ending::conclude(memory, seen, known, now, next) {
            ending::Conclusion::Stands => return None,
            ending::Conclusion::Held(op) => {
                next.hold = true;
                return op;
            }
            ending::Conclusion::Repeated => {}
        }
    }
    match &memory.status.pod {
        Some(pod) if !pod.uid.is_empty() => match known {
            Some(known) => alive::alive(memory, seen, known, now, next),
            None => alive::gone(memory, seen, now, next),
        },
        _ => making::make(memory, seen, now, next),
    }
}

/// Whether the pod of this run was told to go for a change of the Task, even if that was taken back meanwhile.
fn is_superseded(memory: &Memory) -> bool {
    let pod = memory.status.pod.as_ref();
    memory.superseded.is_some() && memory.superseded.as_ref() == pod.map(|p| &p.uid)
}

/// Has the order of a pod without the agent's volume written, where the pod does not have it yet.
fn order(memory: &Memory, known: &Known) -> Option<Op> {
    let (uid, ordered) = memory.driven.as_ref()?;
    let meta = &known.pod.metadata;
    if known.facts.phase.is_over() || meta.uid.as_ref() != Some(uid) {
        return None;
    }
    let mut wanted = ordered.annotations();
    if let Some(has) = &meta.annotations {
        wanted.retain(|name, value| has.get(name) != Some(value));
    }
    (!wanted.is_empty()).then(|| annotate(known, wanted))
}

fn annotate(known: &Known, annotations: BTreeMap<String, String>) -> Op {
    let meta = &known.pod.metadata;
    Op::Annotate {
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        annotations,
    }
}

fn delete(memory: &mut Memory, pod: &Pod, grace: Option<u32>) -> Op {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    memory.deleted = Some(uid.clone());
    Op::DeletePod {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid,
        grace,
    }
}

#[cfg(test)]
mod tests;
