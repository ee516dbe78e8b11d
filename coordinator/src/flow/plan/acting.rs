//! What follows from a state that is durable: children that are made, and children that stop.

use std::sync::Arc;

use baton_api::flow_status::{FlowJobState, JobFlowStatus};
use baton_flow::{Action, InstanceId, Seen as End, State, actions};
use baton_protocol::Timestamp;

use super::{Memory, Next, Op, Seen, look};
use crate::flow::children::{Child, ChildKey, ChildKind};
use crate::flow::make::{Maker, Why, child_key, result_of};
use crate::flow::memory::CALL_FAILED;
use crate::flow::object::FlowSpec;

/// Does what follows from the state, as far as it is durable.
pub(super) fn act(
    memory: &mut Memory,
    seen: &Seen<'_>,
    spec: &FlowSpec,
    state: &State,
    now: Timestamp,
    next: &mut Next,
) {
    let rules = spec.spec.rules(state.started_at);
    let todo = {
        let look = |id, attempt| look(memory, seen, spec, id, attempt);
        actions(&spec.graph, &rules, state, now, &look)
    };
    for action in todo {
        match action {
            Action::WakeAt(at) => next.wake_at(at),
            Action::Stop { id, attempt } => {
                let key = child_key(&memory.status, &seen.flow.name, spec, id, attempt);
                stop(memory, seen, &key, now, next);
            }
            Action::Start { id, attempt } => {
                let name = spec.graph.nodes().get(id.node).map(|n| n.name.as_str());
                if !is_durable(&memory.durable, name.unwrap_or_default(), id.index, attempt) {
                    continue;
                }
                start(memory, seen, spec, (id, attempt), now, next);
            }
        }
    }
}

/// Whether it is written that this attempt is to be made.
fn is_durable(durable: &JobFlowStatus, node: &str, index: usize, attempt: u32) -> bool {
    let job = durable.node(node).and_then(|n| n.jobs.get(index));
    job.is_some_and(|j| {
        let live = matches!(j.state, FlowJobState::Starting | FlowJobState::Running);
        live && j.attempts == attempt
    })
}

fn start(
    memory: &mut Memory,
    seen: &Seen<'_>,
    spec: &FlowSpec,
    (id, attempt): (InstanceId, u32),
    now: Timestamp,
    next: &mut Next,
) {
    let key = child_key(&memory.status, &seen.flow.name, spec, id, attempt);
    let node = spec.graph.nodes().get(id.node);
    let node = node.map(|n| n.name.clone()).unwrap_or_default();
    if let Some(trouble) = memory.troubles.get(&key) {
        let why = (trouble.reason.clone(), trouble.message.clone());
        let until = trouble.wait(now);
        memory.waiting.insert(node.clone(), why);
        if let Some(until) = until {
            return next.wake_at(until);
        }
    }
    let made = {
        let results =
            |node: &str, step: &str, name: &str| result_of(&memory.status, node, step, name);
        let maker = Maker {
            view: seen.flow,
            flow: spec,
            template: seen.template,
            results: &results,
        };
        maker.make(id, attempt, &key.1)
    };
    match made {
        Ok((object, _)) => next.ops.push(Op::Create(key, object)),
        Err(Why::Waits(reason, message)) => {
            memory.waiting.insert(node, (reason.to_owned(), message));
        }
        Err(Why::Invalid(why)) => {
            memory.refuse(key, &why);
            next.wake_at(now);
        }
    }
}

pub(super) fn stop(
    memory: &Memory,
    seen: &Seen<'_>,
    key: &ChildKey,
    now: Timestamp,
    next: &mut Next,
) {
    if memory.durable.stopped.is_none() {
        return;
    }
    if let Some(child) = seen.children.get(key) {
        stop_child(memory, seen, child, now, next);
    }
}

/// Has a child stop, once. A Job that waits in a queue has nothing to stop, and goes.
pub(super) fn stop_child(
    memory: &Memory,
    seen: &Seen<'_>,
    child: &Arc<Child>,
    now: Timestamp,
    next: &mut Next,
) {
    let key = child.key();
    let is_going = child.is_deleting || memory.deleted.contains(&child.uid);
    if is_going || child.seen != End::Live || seen.busy.children.contains(&key) {
        return;
    }
    let op = match child.kind == ChildKind::Job && child.is_suspended {
        true => Op::Delete(child.clone()),
        false if child.is_stopping => return,
        false => Op::Stop(child.clone()),
    };
    // What failed in making it does not keep it from being stopped.
    let trouble = memory.troubles.get(&key);
    let trouble = trouble.filter(|t| t.reason == CALL_FAILED);
    match trouble.and_then(|t| t.wait(now)) {
        Some(until) => next.wake_at(until),
        None => next.ops.push(op),
    }
}
