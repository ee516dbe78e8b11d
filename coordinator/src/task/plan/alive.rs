//! While a run has its pod, and when that is gone before the run was over.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::status::{Carrier, StepKind, StepPhase, TaskStatus};
use baton_pod::names::CANCEL_ANNOTATION;
use baton_pod::{Ordered, PodLoss, plan_of};
use baton_protocol::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::ending::loss;
use super::making::{self, LOST_AFTER};
use super::{Known, Memory, Next, Op, Seen, annotate, delete, misplaced};
use crate::clock::later;
use crate::task::fold;
use crate::task::memory::Waiting;
use crate::task::runs;

/// How long the agent has to tell the end of a pod that is over.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// How long the agent has to tell the end of a pod that is gone.
const TOLD_GONE_WITHIN: Duration = Duration::from_secs(5);
/// How long past the grace period what should stop is waited for.
pub(super) const STOP_MARGIN: Duration = Duration::from_secs(30);

/// What the pod of a run that is not over needs.
pub(super) fn alive(
    memory: &mut Memory,
    seen: &Seen<'_>,
    known: &Known,
    now: Timestamp,
    next: &mut Next,
) -> Option<Op> {
    let facts = &known.facts;
    // What a kubelet calls the end of a pod that did not start is none.
    if facts.phase.is_over() && !misplaced::waits(memory, known) {
        over(memory, known, now, next);
        return None;
    }
    if let Some(deleting) = facts.deleting {
        let lost = facts
            .node
            .as_ref()
            .is_some_and(|n| !seen.cluster.is_alive(n));
        let at = later(deleting, LOST_AFTER);
        if lost && at <= now {
            let (reason, message) = loss(memory, seen, Some(known)).unwrap_or_default();
            fold::lose(&mut memory.status, &reason, &message, now);
        } else if at > now {
            next.wake_at(at);
        }
        return misplaced::stuck(memory, known, deleting, now, next);
    }
    if seen.task.cancel
        && let Some(op) = cancel(memory, known, now, next)
    {
        return Some(op);
    }
    if memory.status.phase.is_over() {
        return None;
    }
    misplaced::end(memory, seen, known, now, next)
}

/// The pod is over: its agent tells the end, or else the pod's status does.
fn over(memory: &mut Memory, known: &Known, now: Timestamp, next: &mut Next) {
    let at = later(memory.since(Waiting::PodOver, now), TOLD_WITHIN);
    let refused = matches!(known.facts.loss, Some(PodLoss::Rejected(_)));
    if at > now && !refused {
        next.wake_at(at);
        return;
    }
    if !refused && let Ok((plan, _)) = plan_of(&known.pod) {
        let (_, update) = Ordered::open(plan, &known.pod, now);
        for told in update.told {
            fold::fold(&mut memory.status, told.at, &told.what);
        }
    }
    if !memory.status.phase.is_over() {
        let (reason, message) = match &known.facts.loss {
            Some(loss) => (loss.reason(), loss.message()),
            None => (fold::ERROR, "the pod is over, and nothing tells how"),
        };
        fold::lose(&mut memory.status, reason, message, now);
    }
}

/// Has a pod cancelled: by its agent, or by deleting it where nothing of it can have run.
fn cancel(memory: &mut Memory, known: &Known, now: Timestamp, next: &mut Next) -> Option<Op> {
    if known.facts.node.is_none() {
        runs::cancel(&mut memory.status, now);
        return Some(delete(memory, &known.pod, Some(0)));
    }
    let carrier = memory.status.pod.as_ref().map(|p| p.carrier);
    if carrier != Some(Carrier::Volume) {
        // Its order was set already.
        return None;
    }
    if !is_asked(&known.pod) {
        let asked = BTreeMap::from([(CANCEL_ANNOTATION.to_owned(), "true".to_owned())]);
        return Some(annotate(known, asked));
    }
    memory.cancel_asked.clone_from(&known.pod.metadata.uid);
    let answered = is_stopping(&memory.status);
    let grace = grace(&known.pod).saturating_add(STOP_MARGIN);
    let at = later(memory.since(Waiting::Cancel, now), grace);
    if answered {
        return None;
    }
    if at > now {
        next.wake_at(at);
        return None;
    }
    runs::cancel(&mut memory.status, now);
    memory.status.message = "the node's agent did not answer, and the pod was deleted".to_owned();
    Some(delete(memory, &known.pod, None))
}

/// Whether the run is stopping, or at its `finally` steps: a cancel changes nothing any more, and no agent answers it.
fn is_stopping(status: &TaskStatus) -> bool {
    let mut steps = status.steps.iter().filter(|s| s.kind == StepKind::Step);
    ["Cancelling", "TimingOut", "Stopping"].contains(&status.reason.as_str())
        || steps.clone().all(|s| s.finished_at.is_some())
        || steps.any(|s| s.state == StepPhase::Failed && s.finished_at.is_some())
}

/// Whether a pod has the annotation that asks for its run to be cancelled.
pub(super) fn is_asked(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|a| a.get(CANCEL_ANNOTATION))
        .map(String::as_str)
        == Some("true")
}

/// Time from SIGTERM to SIGKILL of a pod.
pub(super) fn grace(pod: &Pod) -> Duration {
    let seconds = pod
        .spec
        .as_ref()
        .and_then(|s| s.termination_grace_period_seconds);
    Duration::from_secs(seconds.and_then(|s| s.try_into().ok()).unwrap_or(30))
}

/// The pod is gone, and the run was not over.
pub(super) fn gone(
    memory: &mut Memory,
    seen: &Seen<'_>,
    now: Timestamp,
    next: &mut Next,
) -> Option<Op> {
    if !seen.task.cancel && misplaced::replace(memory) {
        return making::make(memory, seen, now, next);
    }
    let last = memory.last.clone();
    if let Some((_, mut ordered)) = memory.driven.take()
        && let Some(last) = &last
    {
        for told in ordered.gone(last, now).told {
            fold::fold(&mut memory.status, told.at, &told.what);
        }
    } else {
        let at = later(memory.since(Waiting::PodGone, now), TOLD_GONE_WITHIN);
        if at > now {
            next.wake_at(at);
            return None;
        }
    }
    if seen.task.cancel {
        runs::cancel(&mut memory.status, now);
        memory.status.message = "the pod was deleted while the task was cancelled".to_owned();
    } else if !memory.status.phase.is_over() {
        let lost = loss(memory, seen, None).or_else(|| misplaced::loss(memory));
        let (reason, message) = lost.unwrap_or_default();
        fold::lose(&mut memory.status, &reason, &message, now);
    }
    None
}
