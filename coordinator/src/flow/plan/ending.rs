//! What is done when something is over: children that nobody waits for, and what is kept no longer.

use std::sync::Arc;

use baton_api::flow_status::{FlowJobState, JobFlowStatus};
use baton_flow::Seen as End;
use baton_protocol::Timestamp;

use super::acting::stop_child;
use super::{Memory, Next, Op, Seen, deletes, due};
use crate::callbacks::{CALLBACKS_WITHIN, has_all};
use crate::clock::later;
use crate::flow::children::Child;
use crate::flow::object::FlowSpec;
use crate::flow::story::story;

/// What a flow that is over and durable leaves.
pub(super) fn settle(
    memory: &Memory,
    seen: &Seen<'_>,
    spec: &FlowSpec,
    now: Timestamp,
    next: &mut Next,
) {
    let Some(finished_at) = memory.durable.finished_at else {
        return;
    };
    if deletes(spec, &memory.durable) {
        for child in seen.children.values() {
            delete(memory, seen, child, now, next);
        }
    }
    if let Some(ttl) = spec.spec.ttl_seconds_after_finished {
        let mut at = due(finished_at, ttl);
        if at <= now && !is_told(memory, seen, spec) {
            at = later(at, CALLBACKS_WITHIN);
        }
        match memory.write_trouble.wait(now) {
            _ if at > now => next.wake_at(at),
            Some(until) => next.wake_at(until),
            None if seen.busy.flow => {}
            None => next.ops.push(Op::DeleteFlow),
        }
    }
}

/// Whether every receiver that is known of has all that there is to tell.
fn is_told(memory: &Memory, seen: &Seen<'_>, spec: &FlowSpec) -> bool {
    let callbacks = &memory.status.callbacks;
    if callbacks.is_empty() {
        return spec.spec.callbacks.is_empty();
    }
    let events = story(&seen.flow.uid, &seen.flow.name, &memory.durable);
    has_all(callbacks, events.len())
}

/// Children that run although their end is recorded, or nothing of them is: what a controller made that
/// died, after another one had decided otherwise.
pub(super) fn strays(memory: &Memory, seen: &Seen<'_>, now: Timestamp, next: &mut Next) {
    if memory.durable.run == 0 {
        return;
    }
    for child in seen.children.values().filter(|c| c.seen == End::Live) {
        let wanted = match recorded(&memory.durable, child) {
            Record::Open => true,
            Record::Over | Record::None => false,
            // The status is behind; it is written before anything is made by it.
            Record::Ahead => true,
        };
        if !wanted && matches!(recorded(&memory.status, child), Record::Over | Record::None) {
            stop_child(memory, seen, child, now, next);
        }
    }
}

/// Deletes children whose end is recorded and whose time is up.
pub(super) fn expire_children(memory: &Memory, seen: &Seen<'_>, now: Timestamp, next: &mut Next) {
    for child in seen.children.values() {
        let (Some(ttl), Some(finished_at)) = (child.ttl_seconds, child.finished_at) else {
            continue;
        };
        if child.seen == End::Live || recorded(&memory.durable, child) == Record::Open {
            continue;
        }
        let at = due(finished_at, ttl);
        match at > now {
            true => next.wake_at(at),
            false => delete(memory, seen, child, now, next),
        }
    }
}

fn delete(memory: &Memory, seen: &Seen<'_>, child: &Arc<Child>, now: Timestamp, next: &mut Next) {
    let is_going = child.is_deleting || memory.deleted.contains(&child.uid);
    let key = child.key();
    let op = Op::Delete(child.clone());
    if is_going || seen.busy.children.contains(&key) || next.ops.contains(&op) {
        return;
    }
    match memory.troubles.get(&key).and_then(|t| t.wait(now)) {
        Some(until) => next.wake_at(until),
        None => next.ops.push(op),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    /// Nothing of it.
    None,
    /// It is to run, or runs.
    Open,
    /// Its end.
    Over,
    /// Of an attempt before it.
    Ahead,
}

/// What a status says of a child.
fn recorded(status: &JobFlowStatus, child: &Child) -> Record {
    let job = status
        .node(&child.node)
        .and_then(|n| n.jobs.get(child.index));
    match job {
        None => Record::None,
        Some(job) if job.attempts > child.attempt => Record::Over,
        Some(job) if job.attempts < child.attempt => Record::Ahead,
        Some(job) => match job.state {
            FlowJobState::Starting | FlowJobState::Running => Record::Open,
            // The attempt failed, and the next one waits; or it is over.
            _ => Record::Over,
        },
    }
}
