//! The words of a flow's status that is over, as the coordinator has them.

use baton_api::flow_status::{JobFlowPhase, JobFlowStatus};
use baton_api::status::Condition;
use baton_flow::FlowPhase;
use baton_protocol::Timestamp;

/// Makes a status say what it holds. `suspended` is whether nothing new is let go.
pub(super) fn present(
    status: &mut JobFlowStatus,
    phase: FlowPhase,
    suspended: bool,
    now: Timestamp,
) {
    status.run = 1;
    status.describe(phase, suspended);
    let value = status.phase.succeeded();
    let at = status.finished_at.unwrap_or(now);
    let (progresses, why, said) = match status.phase {
        phase if phase.is_over() => ("False", "Over", "it is over"),
        JobFlowPhase::Suspended => ("False", "Suspended", "its spec says so"),
        _ => ("True", "Running", "nothing keeps it"),
    };
    status.conditions = vec![
        condition("Accepted", "True", "Accepted", "it can be run", at),
        condition("Succeeded", value, &status.reason, &status.message, at),
        condition("Progressing", progresses, why, said, at),
    ];
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
