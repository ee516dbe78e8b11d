//! What a flow's callbacks are told: what changed from one state to the next.

use baton_api::flow_status::{CauseStatus, FlowNodeStatus, JobFlowPhase, JobFlowStatus};
use baton_callbacks::event::Happening;
use baton_callbacks::{FlowEnd, NodeEnd, TaskOutcome};
use baton_flow::State;
use baton_protocol::Timestamp;

/// The happenings between two states, in order, with their times. `status` is what the later one says.
pub(super) fn happenings(
    before: &State,
    after: &State,
    status: &JobFlowStatus,
    now: Timestamp,
) -> Vec<(Timestamp, Happening)> {
    let mut told = Vec::new();
    if let (Some(at), None) = (after.started_at, before.started_at) {
        told.push((at, Happening::FlowStarted));
    }
    let began = |state: &State, place: usize| {
        let node = state.nodes.get(place);
        node.is_some_and(|n| n.instances.iter().any(|i| i.started_at.is_some()))
    };
    let is_over = |state: &State, place: usize| {
        let node = state.nodes.get(place);
        node.is_some_and(|n| n.phase.is_over())
    };
    let mut starts = Vec::new();
    for (place, node) in status.nodes.iter().enumerate() {
        let name = node.name.clone();
        let starts_now = began(after, place) && !began(before, place);
        let ends_now = is_over(after, place) && !is_over(before, place);
        if starts_now {
            let at = node.started_at.unwrap_or(now);
            let what = Happening::NodeStarted { node: name.clone() };
            match ends_now {
                true => told.push((at, what)),
                false => starts.push((at, what)),
            }
        }
        if ends_now {
            let end = node_end(node, node.finished_at.unwrap_or(now));
            let at = end.finished_at;
            told.push((at, Happening::NodeFinished { node: name, end }));
        }
    }
    // What ended is what let others start.
    told.extend(starts);
    if let (Some(finished_at), None) = (after.finished_at, before.finished_at) {
        let started_at = after.started_at.unwrap_or(finished_at);
        let end = flow_end(status, started_at, finished_at);
        told.push((finished_at, Happening::FlowFinished(end)));
    }
    told
}

fn node_end(node: &FlowNodeStatus, finished_at: Timestamp) -> NodeEnd {
    NodeEnd {
        state: format!("{:?}", node.state),
        reason: node.reason.clone(),
        message: node.message.clone(),
        jobs: node.jobs.iter().map(|j| j.name.clone()).collect(),
        started_at: node.started_at,
        finished_at,
    }
}

fn flow_end(status: &JobFlowStatus, started_at: Timestamp, finished_at: Timestamp) -> FlowEnd {
    let cause = status.cause.as_ref();
    let timed_out = cause.is_some_and(CauseStatus::is_own_deadline);
    let outcome = match status.phase {
        JobFlowPhase::Succeeded => TaskOutcome::Succeeded,
        JobFlowPhase::Cancelled => TaskOutcome::Cancelled,
        JobFlowPhase::Failed if timed_out => TaskOutcome::TimedOut,
        _ => TaskOutcome::Failed,
    };
    FlowEnd {
        outcome,
        reason: status.reason.clone(),
        failed_node: cause
            .map(|c| c.node.clone())
            .filter(|node| !node.is_empty()),
        started_at,
        finished_at,
        message: match outcome {
            TaskOutcome::Succeeded => String::new(),
            _ => status.message.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_deadline_is_not_the_flows() {
        let mut status = JobFlowStatus {
            phase: JobFlowPhase::Failed,
            reason: "DeadlineExceeded".into(),
            cause: Some(CauseStatus {
                node: "a".into(),
                reason: "DeadlineExceeded".into(),
            }),
            finished_at: Some(Timestamp(std::time::UNIX_EPOCH)),
            ..JobFlowStatus::default()
        };
        let at = Timestamp(std::time::UNIX_EPOCH);
        let end = |status: &JobFlowStatus| flow_end(status, at, at);
        let failed = end(&status);
        assert_eq!(failed.outcome, TaskOutcome::Failed);
        assert_eq!(failed.failed_node.as_deref(), Some("a"));
        status.cause.as_mut().unwrap().node.clear();
        let timed_out = end(&status);
        assert_eq!(timed_out.outcome, TaskOutcome::TimedOut);
        assert_eq!(timed_out.failed_node, None);
    }
}
