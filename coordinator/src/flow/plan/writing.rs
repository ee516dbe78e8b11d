//! When a status and events are written.

use std::time::Duration;

use baton_api::flow_status::{FlowJobState, FlowNodeStatus, JobFlowStatus};
use baton_protocol::Timestamp;

use super::{Memory, Next, Op, Seen};
use crate::clock::later;

/// How long what nothing waits for may be behind.
const CALM: Duration = Duration::from_secs(1);

/// Has what is not durable written: what something waits for at once, the rest a second later, so that
/// it goes with the next that is urgent; or later yet, while other flows' calls wait.
pub(super) fn write(memory: &mut Memory, seen: &Seen<'_>, now: Timestamp, next: &mut Next) {
    if !seen.busy.event && !memory.notes.is_empty() && !seen.busy.flow {
        next.ops.push(Op::Emit(memory.notes.remove(0)));
    }
    if memory.status == memory.durable {
        memory.dirty_since = None;
        return;
    }
    if seen.busy.flow || next.ops.contains(&Op::DeleteFlow) {
        return;
    }
    let since = *memory.dirty_since.get_or_insert(now);
    let mut at = match is_urgent(&memory.status, &memory.durable) {
        true => now,
        false if seen.is_crowded => later(now, CALM),
        false => later(since, CALM),
    };
    if let Some(until) = memory.write_trouble.wait(now) {
        at = at.max(until);
    }
    match at > now {
        true => next.wake_at(at),
        false => next
            .ops
            .push(Op::WriteStatus(Box::new(memory.status.clone()))),
    }
}

/// Whether anything follows from the difference, or people wait for it.
fn is_urgent(status: &JobFlowStatus, durable: &JobFlowStatus) -> bool {
    let node = |(a, b): (&FlowNodeStatus, &FlowNodeStatus)| {
        a.state != b.state || a.jobs.len() != b.jobs.len() || {
            let mut jobs = a.jobs.iter().zip(&b.jobs);
            jobs.any(|(a, b)| a.attempts != b.attempts || plain(a.state) != plain(b.state))
        }
    };
    status.phase != durable.phase
        || status.run != durable.run
        || status.rerun != durable.rerun
        || status.stopped != durable.stopped
        || status.finished_at != durable.finished_at
        || status.observed_generation != durable.observed_generation
        || status.nodes.len() != durable.nodes.len()
        || status.nodes.iter().zip(&durable.nodes).any(node)
}

/// That a child is there follows from the child itself.
fn plain(state: FlowJobState) -> FlowJobState {
    match state {
        FlowJobState::Starting => FlowJobState::Running,
        other => other,
    }
}
