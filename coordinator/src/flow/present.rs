//! The parts of a flow's status that are for people: words, sentences, counts and conditions.

use std::time::Duration;

use baton_api::flow_status::{CauseStatus, JobFlowPhase, JobFlowStatus};
use baton_flow::{FlowPhase, NodePhase};
use baton_protocol::Timestamp;
use baton_protocol::time::format_duration;

use super::memory::{Memory, why};
use crate::conditions::set;

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
    status.phase = match phase {
        FlowPhase::Succeeded => JobFlowPhase::Succeeded,
        FlowPhase::Failed => JobFlowPhase::Failed,
        FlowPhase::Cancelled => JobFlowPhase::Cancelled,
        FlowPhase::Pending | FlowPhase::Running if suspended => JobFlowPhase::Suspended,
        FlowPhase::Pending => JobFlowPhase::Pending,
        FlowPhase::Running => JobFlowPhase::Running,
    };
    for node in &mut status.nodes {
        match (node.state, memory.waiting.get(&node.name)) {
            (NodePhase::Waiting | NodePhase::Running, Some((reason, message))) => {
                node.reason.clone_from(reason);
                node.message.clone_from(message);
            }
            (NodePhase::Waiting, None) => {
                node.reason.clear();
                node.message.clear();
            }
            (NodePhase::Running, None) => node.message.clear(),
            _ => {}
        }
    }
    let over = status.nodes.iter().filter(|n| n.state.is_over()).count();
    status.progress = format!("{over}/{}", status.nodes.len());
    status.duration.clear();
    if let (Some(start), Some(end)) = (status.started_at, status.finished_at) {
        let time = end.since(start);
        status.duration = match time.as_secs() {
            0 => format_duration(time),
            seconds => format_duration(Duration::from_secs(seconds)),
        };
    }
    (status.reason, status.message) = words(status);
    conditions(memory, generation, now);
}

fn words(status: &JobFlowStatus) -> (String, String) {
    let failure = status.cause.as_ref().map(|cause| failure(status, cause));
    let pair = |reason: &str, message: String| (reason.to_owned(), message);
    match status.phase {
        JobFlowPhase::Pending | JobFlowPhase::Scheduled => {
            pair("Pending", "nothing of it runs yet".to_owned())
        }
        JobFlowPhase::Suspended => pair("Suspended", "nothing new is let go".to_owned()),
        JobFlowPhase::Succeeded => {
            let message = format!("{} flows are over, and none failed", status.nodes.len());
            pair("Completed", message)
        }
        JobFlowPhase::Running => match (failure, &status.stopped) {
            (Some((reason, message)), Some(_)) => (reason, format!("{message}; the rest stops")),
            (Some((reason, message)), None) => (
                reason,
                format!("{message}; what does not depend on it goes on"),
            ),
            (None, _) => pair("Running", "it runs".to_owned()),
        },
        JobFlowPhase::Failed | JobFlowPhase::Cancelled => {
            failure.unwrap_or_else(|| pair("Failed", String::new()))
        }
    }
}

fn failure(status: &JobFlowStatus, cause: &CauseStatus) -> (String, String) {
    let message = match (cause.node.as_str(), cause.reason.as_str()) {
        ("", "DeadlineExceeded") => "its time was up".to_owned(),
        ("", "Cancelled") => "it was cancelled".to_owned(),
        ("", reason) => reason.to_owned(),
        (name, reason) => {
            let node = status.node(name);
            let message = node.map(|n| n.message.as_str()).unwrap_or_default();
            format!("flow {name:?} failed: {}", why(reason, message))
        }
    };
    (cause.reason.clone(), message)
}

fn conditions(memory: &mut Memory, generation: Option<i64>, now: Timestamp) {
    let status = &mut memory.status;
    let value = match status.phase {
        JobFlowPhase::Succeeded => "True",
        JobFlowPhase::Failed | JobFlowPhase::Cancelled => "False",
        _ => "Unknown",
    };
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
