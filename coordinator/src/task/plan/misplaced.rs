//! A pod with the agent's volume on a node without the agent.
//!
//! It cannot start there; one that this controller orders takes its place. But first it has to be certain that
//! it has not started: an agent that is away now may have made its volume before, and a busy kubelet tells of
//! containers many seconds late. So the pod is ended as any other is, and replaced only if what its kubelet said
//! last, as the pod went, shows that no container of it ever ran.
//!
//! An agent that comes back just then may still make the volume for a pod that is going, let its first step begin, and
//! find it dead as the volume goes again. Of a pod in which nothing ran that is no news: it is taken back.

use std::sync::Arc;
use std::time::Duration;

use baton_api::status::{Carrier, PodStatusRef, StepStatus, TaskPhase, TaskStatus};
use baton_pod::{PodFacts, facts, plan_of};
use baton_protocol::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::alive::is_asked;
use super::{Known, Memory, Next, Op, Seen, delete};
use crate::clock::later;
use crate::task::fold;
use crate::task::memory::Waiting;
use crate::task::runs::POD_DELETED;

/// How long a pod waits on a node that has not had the agent since the pod came.
const NEVER_SERVED: Duration = Duration::from_secs(10);
/// How long it waits on one that had, without a break: agents come back, and the kubelet asks one that did
/// again after up to two minutes.
const SERVED: Duration = Duration::from_secs(300);
/// How long past its time a pod that does not go is waited for: its kubelet may need the agent for it.
const STUCK: Duration = Duration::from_secs(30);

/// Ends a pod that waits in vain.
pub(super) fn end(
    memory: &mut Memory,
    seen: &Seen<'_>,
    known: &Known,
    now: Timestamp,
    next: &mut Next,
) -> Option<Op> {
    let reference = memory.status.pod.as_ref()?;
    let waits = reference.carrier == Carrier::Volume && !has_begun(memory, &known.facts);
    let Some(node) = known.facts.node.as_ref().filter(|_| waits) else {
        memory.over(Waiting::Misplaced);
        return None;
    };
    let (has_driver, arrivals) = (seen.cluster.has_driver(node), seen.cluster.arrivals(node));
    let first = *memory.arrivals.get_or_insert(match has_driver {
        // None equals this one: it was served from the beginning.
        true => u64::MAX,
        false => arrivals,
    });
    if has_driver {
        memory.over(Waiting::Misplaced);
        return None;
    }
    let patience = match first == arrivals {
        true => NEVER_SERVED,
        false => SERVED,
    };
    // The agent was there in between: the kubelet may have asked it.
    if memory.misplaced_at.replace(arrivals) != Some(arrivals) {
        memory.over(Waiting::Misplaced);
    }
    let at = later(memory.since(Waiting::Misplaced, now), patience);
    if at > now {
        next.wake_at(at);
        return None;
    }
    memory.misplaced.clone_from(&known.pod.metadata.uid);
    Some(delete(memory, &known.pod, None))
}

/// Whether a pod was ended by [`end`] and, as far as is known, did not start.
pub(super) fn waits(memory: &Memory, known: &Known) -> bool {
    let ended = memory.misplaced.is_some() && memory.misplaced == known.pod.metadata.uid;
    ended && !has_begun(memory, &known.facts)
}

/// Has a pod go at last that was ended by [`end`], did not start, and is still there.
pub(super) fn stuck(
    memory: &mut Memory,
    known: &Known,
    deleting: Timestamp,
    now: Timestamp,
    next: &mut Next,
) -> Option<Op> {
    if !waits(memory, known) {
        return None;
    }
    let at = later(deleting, STUCK);
    if at > now {
        next.wake_at(at);
        return None;
    }
    Some(delete(memory, &known.pod, Some(0)))
}

/// Takes back what the agent told of a pod that was ended by [`end`], where nothing of it ever ran.
pub(super) fn take_back(memory: &mut Memory, seen: &Seen<'_>) {
    let Some(reference) = &memory.status.pod else {
        return;
    };
    let is_it = |pod: &&Arc<Pod>| pod.metadata.uid.as_ref() == Some(&reference.uid);
    let there = seen.pods.get(&reference.name).filter(is_it);
    let pod = there.or(memory.last.as_ref().filter(is_it));
    let is_told = match memory.status.phase {
        TaskPhase::Running => true,
        TaskPhase::Failed => memory.status.steps.iter().any(|s| s.finished_at.is_some()),
        TaskPhase::Cancelled => !seen.task.cancel && !pod.is_some_and(|pod| is_asked(pod)),
        _ => false,
    };
    let ran = |step: &StepStatus| step.attempts > 0 || step.record.is_some();
    let ended = memory.misplaced.as_ref() == Some(&reference.uid);
    if !ended || !is_told || memory.is_final() || memory.status.steps.iter().any(ran) {
        return;
    }
    let Some((pod, (plan, _))) = pod.and_then(|pod| Some((pod, plan_of(pod).ok()?))) else {
        return;
    };
    if !facts(pod, &plan).has_begun() {
        memory.status = TaskStatus {
            phase: TaskPhase::Pending,
            reason: String::new(),
            message: String::new(),
            exit_code: None,
            started_at: None,
            finished_at: None,
            steps: fold::steps(&plan),
            ..std::mem::take(&mut memory.status)
        };
    }
}

/// Why a run is lost whose pod was ended by [`end`] and had begun all the same.
pub(super) fn loss(memory: &Memory) -> Option<(String, String)> {
    let pod = memory.status.pod.as_ref()?;
    let ended = memory.misplaced.as_ref() == Some(&pod.uid);
    let message = format!(
        "the pod {} began late, on a node without the agent, and was ended",
        pod.name
    );
    ended.then(|| (POD_DELETED.to_owned(), message))
}

/// Makes room for the pod that takes the place of one that is gone, if that did not start.
pub(super) fn replace(memory: &mut Memory) -> bool {
    let (Some(reference), Some(last)) = (&memory.status.pod, &memory.last) else {
        return false;
    };
    let uid = Some(&reference.uid);
    let ended = memory.misplaced.as_ref() == uid
        && memory.gone.as_ref() == uid
        && last.metadata.uid.as_ref() == uid;
    let Some((plan, _)) = plan_of(last).ok().filter(|_| ended) else {
        return false;
    };
    let facts = facts(last, &plan);
    if has_begun(memory, &facts) {
        return false;
    }
    memory.status.pod = Some(PodStatusRef {
        uid: String::new(),
        node: reference.node.clone(),
        carrier: Carrier::DownwardAPI,
        name: reference.name.clone(),
    });
    true
}

/// Whether the pod began, by its kubelet or its agent.
fn has_begun(memory: &Memory, facts: &PodFacts) -> bool {
    facts.has_begun() || memory.status.phase != TaskPhase::Pending
}
