//! When the status is written.

use std::time::Duration;

use baton_api::status::{Carrier, StepStatus, TaskPhase, TaskStatus};
use baton_protocol::Timestamp;

use super::{Memory, Next, Op};
use crate::clock::later;
use crate::task::memory::Waiting;

/// How long the first status of a run may wait for something to happen in it: most runs start sooner,
/// and then it is one write less.
const FIRST_WITHIN: Duration = Duration::from_secs(3);
/// How much longer than others the writes of a run wait whose pod is ordered by patches of its own:
/// short steps then share one.
const FALLBACK_PAUSE: Duration = Duration::from_secs(2);

/// Has the status written, where it says something new and may be written now.
pub(super) fn write(memory: &mut Memory, now: Timestamp, next: &mut Next) -> Option<Op> {
    if memory.status == memory.durable {
        memory.over(Waiting::Dirty);
        return None;
    }
    if next.hold {
        return None;
    }
    let since = memory.since(Waiting::Dirty, now);
    let ends = memory.status.phase.is_over() && !memory.is_final();
    let is_due = ends || memory.is_awaited || memory.is_final();
    if !is_due && !is_news(&memory.status, &memory.durable) {
        return None;
    }
    let pod = memory.status.pod.as_ref();
    let pause = match pod.map(|p| p.carrier) {
        Some(Carrier::DownwardAPI) => FALLBACK_PAUSE,
        _ => Duration::ZERO,
    };
    let mut at = memory.tokens.ready_at(ends);
    if !ends {
        at = later(at, pause);
    }
    if memory.status.phase == TaskPhase::Pending {
        at = at.max(later(since, FIRST_WITHIN));
    }
    if let Some(until) = memory.write_trouble.wait(now) {
        at = at.max(until);
    }
    if at > now {
        next.wake_at(at);
        return None;
    }
    Some(Op::WriteStatus(Box::new(memory.status.clone())))
}

/// Whether people would miss the difference. What is no news goes with the next that is.
fn is_news(status: &TaskStatus, durable: &TaskStatus) -> bool {
    let step = |(a, b): (&StepStatus, &StepStatus)| {
        a.state != b.state
            || a.reason != b.reason
            || a.attempts != b.attempts
            || a.ready != b.ready
            || a.warnings != b.warnings
            || a.finished_at != b.finished_at
    };
    let uid = |s: &TaskStatus| s.pod.as_ref().map(|p| (p.name.clone(), p.uid.clone()));
    status.phase != durable.phase
        || status.reason != durable.reason
        || status.message != durable.message
        || status.run != durable.run
        || status.observed_generation != durable.observed_generation
        || status.callbacks != durable.callbacks
        || status.conditions != durable.conditions
        || uid(status) != uid(durable)
        || status.steps.len() != durable.steps.len()
        || status.steps.iter().zip(&durable.steps).any(step)
}
