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
    status.conditions = vec![Condition {
        kind: "Succeeded".to_owned(),
        status: value.to_owned(),
        reason: reason.clone(),
        message: message.clone(),
        last_transition_time: Some(status.finished_at.unwrap_or(now)),
        observed_generation: None,
    }];
    (status.reason, status.message) = (reason, message);
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
