//! Once a run is over: what its end is called, whether it is repeated, and what is tidied up.

use std::time::Duration;

use baton_api::status::{StepKind, StepPhase, StepStatus, TaskPhase};
use baton_pod::ContainerState;
use baton_protocol::Timestamp;

use super::alive::{STOP_MARGIN, grace, is_asked};
use super::{Known, Memory, Next, Op, Seen, delete};
use crate::callbacks::{CALLBACKS_WITHIN, has_all};
use crate::clock::later;
use crate::task::fold::{self, ERROR, NODE_LOST};
use crate::task::memory::Waiting;
use crate::task::runs::{self, Origin, POD_DELETED};
use crate::task::story::story;

/// How long the pod's status is waited for to say more of an end.
const REFINED_WITHIN: Duration = Duration::from_secs(5);
/// How long a pod whose run is over may take to end where nothing is wrong with it: a node that is
/// busy is late, and with the pod go its logs.
const SLOW_WITHIN: Duration = Duration::from_secs(600);

/// What becomes of a run that is over.
pub(super) enum Conclusion {
    /// It is the Task's end.
    Stands,
    /// Not yet known; this is to be done first.
    Held(Option<Op>),
    /// Another run was begun.
    Repeated,
}

/// Finds what the end of a run is called, and repeats it where the Task wants that.
pub(super) fn conclude(
    memory: &mut Memory,
    seen: &Seen<'_>,
    known: Option<&Known>,
    now: Timestamp,
    next: &mut Next,
) -> Conclusion {
    if blame(memory, seen, known) == Blame::Unclear {
        let at = later(memory.since(Waiting::Refinement, now), REFINED_WITHIN);
        if at > now {
            next.wake_at(at);
            return Conclusion::Held(None);
        }
    }
    let wanted = Origin::of_status(&memory.status).is_wanted(seen.task) && !seen.task.cancel;
    let spec = seen.task.spec.as_ref().ok().filter(|_| wanted).cloned();
    let repeat = spec.and_then(|spec| Some((runs::retry(&memory.status, &spec)?, spec)));
    let Some((why, spec)) = repeat else {
        return Conclusion::Stands;
    };
    // Its pod makes way for the next one's. The end is written before that: agents wait for it.
    let run = memory.status.run.saturating_add(1);
    let origin = runs::repeated(&memory.status, why);
    let message = format!(
        "run {} ended with {}: run {run} follows",
        run - 1,
        memory.status.reason
    );
    memory.note(true, "Retrying", &message);
    runs::begin(memory, run, origin, &spec, now);
    Conclusion::Repeated
}

#[derive(PartialEq)]
enum Blame {
    Clear,
    Unclear,
}

/// Puts down to the infrastructure what only looks like the steps' or a person's doing.
fn blame(memory: &mut Memory, seen: &Seen<'_>, known: Option<&Known>) -> Blame {
    let status = &memory.status;
    let has_pod = status.pod.as_ref().is_some_and(|p| !p.uid.is_empty());
    let asked = seen.task.cancel
        || memory.last.as_ref().is_some_and(|pod| is_asked(pod))
        || known.is_some_and(|k| is_asked(&k.pod));
    let died = first_failure(&status.steps).filter(|s| s.record.is_none());
    let looks_lost = has_pod
        && match status.phase {
            TaskPhase::Cancelled => !asked,
            TaskPhase::Failed => died.is_some() && status.reason == ERROR,
            _ => false,
        };
    if !looks_lost {
        return Blame::Clear;
    }
    if let Some((reason, message)) = loss(memory, seen, known) {
        let at = memory.status.finished_at;
        let now = at.unwrap_or(Timestamp(std::time::SystemTime::UNIX_EPOCH));
        fold::lose(&mut memory.status, &reason, &message, now);
        return Blame::Clear;
    }
    let container = died.and_then(|s| known?.facts.container(s.number));
    match container.map(|c| &c.state) {
        Some(ContainerState::Terminated(_)) => Blame::Clear,
        _ => Blame::Unclear,
    }
}

fn first_failure(steps: &[StepStatus]) -> Option<&StepStatus> {
    let failed = |s: &&StepStatus| s.state == StepPhase::Failed && s.kind != StepKind::Sidecar;
    steps.iter().find(failed)
}

/// Why the pod of this run was lost, where it was: one word and a sentence.
pub(super) fn loss(
    memory: &Memory,
    seen: &Seen<'_>,
    known: Option<&Known>,
) -> Option<(String, String)> {
    let reference = memory.status.pod.as_ref()?;
    if let Some(loss) = known.and_then(|k| k.facts.loss.as_ref()) {
        return Some((loss.reason().to_owned(), loss.message().to_owned()));
    }
    let is_going = known.is_none_or(|k| k.facts.deleting.is_some());
    let lost_track = |k: &Known| k.facts.containers.iter().any(|c| c.is_lost());
    if !is_going && known.is_some_and(lost_track) {
        let node = &reference.node;
        let message =
            format!("node {node} lost track of the pod's containers, as one that is started anew");
        return Some((NODE_LOST.to_owned(), message));
    }
    if !is_going || memory.deleted.as_ref() == Some(&reference.uid) {
        return None;
    }
    if !reference.node.is_empty() && !seen.cluster.is_alive(&reference.node) {
        let message = format!("node {} is gone, or not heard of", reference.node);
        return Some((NODE_LOST.to_owned(), message));
    }
    let message = format!("somebody deleted the pod {}", reference.name);
    Some((POD_DELETED.to_owned(), message))
}

/// Tidies up after a run whose end is durable.
pub(super) fn settle(
    memory: &mut Memory,
    seen: &Seen<'_>,
    known: Option<&Known>,
    now: Timestamp,
    next: &mut Next,
) -> Option<Op> {
    if let Some(known) = known.filter(|k| !k.facts.phase.is_over() && k.facts.deleting.is_none()) {
        let stuck = memory
            .status
            .steps
            .iter()
            .any(|s| s.reason == "Unresponsive");
        let ended = memory.status.finished_at.unwrap_or(now);
        let mut containers = known.facts.tools.iter().chain(&known.facts.containers);
        let margin = match containers.any(|c| c.trouble().is_some()) {
            true => STOP_MARGIN,
            false => SLOW_WITHIN,
        };
        let at = later(ended, grace(&known.pod).saturating_add(margin));
        // What does not end by itself would keep its place on the node for ever.
        if stuck || known.facts.node.is_none() || at <= now {
            return Some(delete(memory, &known.pod, None));
        }
        next.wake_at(at);
    }
    expire(memory, seen, now, next)
}

/// Deletes a finished Task whose time is over.
pub(super) fn expire(
    memory: &Memory,
    seen: &Seen<'_>,
    now: Timestamp,
    next: &mut Next,
) -> Option<Op> {
    if !memory.is_final() {
        return None;
    }
    let spec = seen.task.spec.as_ref().ok();
    let ttl = spec.and_then(|s| s.spec().ttl_seconds_after_finished)?;
    let ended = memory.durable.finished_at?;
    let at = later(ended, Duration::from_secs(ttl.into()));
    if at > now {
        next.wake_at(at);
        return None;
    }
    let has_callbacks = spec.is_some_and(|s| !s.spec().callbacks.is_empty());
    let told = memory.callbacks_known || !memory.status.callbacks.is_empty() || !has_callbacks;
    let events = story(&seen.task.name, &memory.durable).len();
    if !told || !has_all(&memory.status.callbacks, events) {
        let latest = later(at, CALLBACKS_WITHIN);
        if latest > now {
            next.wake_at(latest);
            return None;
        }
    }
    if let Some(until) = memory.write_trouble.wait(now) {
        next.wake_at(until);
        return None;
    }
    Some(Op::DeleteTask)
}
