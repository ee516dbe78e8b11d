//! The words of a flow's status that is over, as the coordinator has them.

use baton_api::flow_status::{CauseStatus, JobFlowPhase, JobFlowStatus};
use baton_api::status::Condition;
use baton_flow::FlowPhase;
use baton_protocol::Timestamp;
use baton_protocol::time::format_duration;

/// Makes a status say what it holds. `suspended` is whether nothing new is let go.
pub(super) fn present(
    status: &mut JobFlowStatus,
    phase: FlowPhase,
    suspended: bool,
    now: Timestamp,
) {
    status.run = 1;
    status.phase = match phase {
        FlowPhase::Succeeded => JobFlowPhase::Succeeded,
        FlowPhase::Failed => JobFlowPhase::Failed,
        FlowPhase::Cancelled => JobFlowPhase::Cancelled,
        FlowPhase::Pending | FlowPhase::Running if suspended => JobFlowPhase::Suspended,
        FlowPhase::Pending => JobFlowPhase::Pending,
        FlowPhase::Running => JobFlowPhase::Running,
    };
    let over = status.nodes.iter().filter(|n| n.state.is_over()).count();
    status.progress = format!("{over}/{}", status.nodes.len());
    if let (Some(start), Some(end)) = (status.started_at, status.finished_at) {
        status.duration = format_duration(end.since(start));
    }
    let (reason, message) = words(status);
    let value = match status.phase {
        JobFlowPhase::Succeeded => "True",
        phase if phase.is_over() => "False",
        _ => "Unknown",
    };
    let at = status.finished_at.unwrap_or(now);
    let (progresses, why, said) = match status.phase {
        phase if phase.is_over() => ("False", "Over", "it is over"),
        JobFlowPhase::Suspended => ("False", "Suspended", "its spec says so"),
        _ => ("True", "Running", "nothing keeps it"),
    };
    status.conditions = vec![
        condition("Accepted", "True", "Accepted", "it can be run", at),
        condition("Succeeded", value, &reason, &message, at),
        condition("Progressing", progresses, why, said, at),
    ];
    (status.reason, status.message) = (reason, message);
}

/// A condition as a cluster would have it.
pub(super) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    at: Timestamp,
) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Some(at),
        observed_generation: None,
    }
}

fn words(status: &JobFlowStatus) -> (String, String) {
    let pair = |reason: &str, message: String| (reason.to_owned(), message);
    match (&status.cause, status.phase) {
        (_, JobFlowPhase::Succeeded) => {
            let message = format!("{} flows are over, and none failed", status.nodes.len());
            pair("Completed", message)
        }
        (_, JobFlowPhase::Suspended) => pair("Suspended", "nothing new is let go".to_owned()),
        (Some(cause), phase) if phase.is_over() => (cause.reason.clone(), failure(status, cause)),
        (_, phase) => pair(&format!("{phase:?}"), String::new()),
    }
}

fn failure(status: &JobFlowStatus, cause: &CauseStatus) -> String {
    match (cause.node.as_str(), cause.reason.as_str()) {
        ("", "DeadlineExceeded") => "its time was up".to_owned(),
        ("", "Cancelled") => "it was cancelled".to_owned(),
        ("", reason) => reason.to_owned(),
        (name, reason) => {
            let node = status.node(name);
            match node.map(|n| n.message.as_str()).unwrap_or_default() {
                "" => format!("flow {name:?} failed: {reason}"),
                message => format!("flow {name:?} failed: {reason}: {message}"),
            }
        }
    }
}
