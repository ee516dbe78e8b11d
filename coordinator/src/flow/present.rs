//! The parts of a flow's status that are for people: words, sentences, counts and conditions.

use baton_api::flow_status::{FlowNodeStatus, JobFlowPhase, JobFlowStatus, MAX_NODE_MESSAGE};
use baton_flow::{FlowPhase, NodePhase};
use baton_protocol::Timestamp;

use super::memory::Memory;
use crate::conditions::set;
use crate::text::cut;

/// Most bytes of the messages of all nodes and their Jobs, as they are written: the whole status has to
/// fit into an object.
const MAX_MESSAGES_BYTES: usize = 128 << 10;

/// Makes the status say what it holds.
///
/// `generation` is that of the spec that it speaks of, `suspended` whether that lets nothing new go.
pub(super) fn present(
    memory: &mut Memory,
    phase: FlowPhase,
    suspended: bool,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = &mut memory.status;
    for node in &mut status.nodes {
        match (node.state, memory.waiting.get(&node.name)) {
            (NodePhase::Waiting | NodePhase::Running, Some((reason, message))) => {
                node.reason.clone_from(reason);
                node.message = cut(message, MAX_NODE_MESSAGE);
            }
            (NodePhase::Waiting, None) => {
                node.reason.clear();
                node.message.clear();
            }
            (NodePhase::Running, None) => node.message.clear(),
            _ => {}
        }
    }
    shorten(&mut status.nodes);
    status.describe(phase, suspended);
    conditions(memory, generation, now);
}

/// Leaves out the messages for which there is no room; the words that they explain stay.
fn shorten(nodes: &mut [FlowNodeStatus]) {
    let written = |text: &str| -> usize {
        let one = |c: char| match c {
            '"' | '\\' => 2,
            c if c.is_control() => 6,
            c => c.len_utf8(),
        };
        text.chars().map(one).sum()
    };
    let mut room = MAX_MESSAGES_BYTES;
    for node in nodes {
        let jobs = node.jobs.iter_mut().map(|job| &mut job.message);
        for text in std::iter::once(&mut node.message).chain(jobs) {
            match room.checked_sub(written(text)) {
                Some(left) => room = left,
                None => text.clear(),
            }
        }
    }
}

fn conditions(memory: &mut Memory, generation: Option<i64>, now: Timestamp) {
    let status = &mut memory.status;
    let value = status.phase.succeeded();
    let at = status.finished_at.unwrap_or(now);
    let said = (value, status.reason.as_str(), status.message.as_str());
    set(&mut status.conditions, "Succeeded", generation, said, at);
    let waits: Vec<String> = memory
        .waiting
        .iter()
        .map(|(name, (_, message))| format!("flow {name:?}: {message}"))
        .collect();
    let waits_for = memory.waiting.values().next().map(|(reason, _)| reason);
    let (value, reason, message) = match (waits_for, status.phase) {
        (_, phase) if phase.is_over() => ("False", "Over", "it is over".to_owned()),
        (Some(reason), _) => ("False", reason.as_str(), waits.join("; ")),
        (None, JobFlowPhase::Suspended) => ("False", "Suspended", "its spec says so".to_owned()),
        (None, _) => ("True", "Running", "nothing keeps it".to_owned()),
    };
    let said = (value, reason, message.as_str());
    set(&mut status.conditions, "Progressing", generation, said, now);
}

/// Says whether the spec, or what was asked for, is taken.
pub(super) fn accepted(
    status: &mut JobFlowStatus,
    generation: Option<i64>,
    refused: Option<(&str, &str)>,
    now: Timestamp,
) {
    let said = match refused {
        Some((reason, message)) => ("False", reason, message),
        None => ("True", "Accepted", "it can be run"),
    };
    set(&mut status.conditions, "Accepted", generation, said, now);
}
