//! A status -> the events that its callbacks tell.
//!
//! The list follows from the status alone, with the same ids each time, and grows at its end as the
//! status does: no time in a status is before one that was written earlier (see [`after`]).

use std::time::Duration;

use crate::clock::later;
use baton_api::flow_status::{CauseStatus, FlowNodeStatus, JobFlowPhase, JobFlowStatus};
use baton_callbacks::event::Happening;
use baton_callbacks::{Event, FlowEnd, NodeEnd, Source, TaskOutcome};
use baton_protocol::Timestamp;

/// What is told of the present run of a flow so far.
pub fn story(uid: &str, flow: &str, status: &JobFlowStatus) -> Vec<Event> {
    let Some(started_at) = status.started_at else {
        return Vec::new();
    };
    let source = Source::of_flow(format!("{uid}-{}", status.run), flow);
    let mut told = Vec::new();
    for node in &status.nodes {
        // What an earlier run did was told then.
        let starts = node.jobs.iter().filter_map(|j| j.started_at);
        if let Some(at) = starts.filter(|at| *at >= started_at).min() {
            let node = node.name.clone();
            told.push((at, 1, Happening::NodeStarted { node }));
        }
        let finished_at = node.finished_at.filter(|at| *at >= started_at);
        if let (Some(at), true) = (finished_at, node.state.is_over()) {
            let end = node_end(node, at);
            let node = node.name.clone();
            told.push((at, 0, Happening::NodeFinished { node, end }));
        }
    }
    let name = |what: &Happening| match what {
        Happening::NodeStarted { node } | Happening::NodeFinished { node, .. } => node.clone(),
        _ => String::new(),
    };
    told.sort_by_cached_key(|(at, order, what)| (*at, *order, name(what)));
    let mut events = vec![source.event(started_at, Happening::FlowStarted)];
    events.extend(told.into_iter().map(|(at, _, what)| source.event(at, what)));
    if let Some(end) = flow_end(status, started_at) {
        events.push(source.event(end.finished_at, Happening::FlowFinished(end)));
    }
    events
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

fn flow_end(status: &JobFlowStatus, started_at: Timestamp) -> Option<FlowEnd> {
    let cause = status.cause.as_ref();
    let timed_out = cause.is_some_and(CauseStatus::is_own_deadline);
    let outcome = match status.phase {
        JobFlowPhase::Succeeded => TaskOutcome::Succeeded,
        JobFlowPhase::Cancelled => TaskOutcome::Cancelled,
        JobFlowPhase::Failed if timed_out => TaskOutcome::TimedOut,
        JobFlowPhase::Failed => TaskOutcome::Failed,
        _ => return None,
    };
    Some(FlowEnd {
        outcome,
        reason: status.reason.clone(),
        failed_node: cause
            .map(|c| c.node.clone())
            .filter(|node| !node.is_empty()),
        started_at,
        finished_at: status.finished_at?,
        message: match outcome {
            TaskOutcome::Succeeded => String::new(),
            _ => status.message.clone(),
        },
    })
}

/// The time now, after everything that a status tells: another machine's clock may be ahead.
pub fn after(status: &JobFlowStatus, now: Timestamp) -> Timestamp {
    let of_nodes = status
        .nodes
        .iter()
        .flat_map(|n| [n.started_at, n.finished_at]);
    let jobs = status.nodes.iter().flat_map(|n| &n.jobs);
    let of_jobs = jobs.flat_map(|j| [j.started_at, j.finished_at]);
    let last = of_nodes
        .chain(of_jobs)
        .chain([status.started_at, status.finished_at])
        .flatten()
        .max();
    last.map_or(now, |last| now.max(later(last, Duration::from_micros(1))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::flow_status::FlowJobStatus;
    use baton_flow::NodePhase;

    #[test]
    fn a_flow_is_told_in_the_order_of_its_times() {
        let at = |s| Timestamp(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(s));
        let node = |name: &str, state, start: Option<u64>, end: Option<u64>| FlowNodeStatus {
            name: name.into(),
            state,
            finished_at: end.map(at),
            jobs: start
                .map(|s| FlowJobStatus {
                    name: format!("f-{name}"),
                    started_at: Some(at(s)),
                    ..FlowJobStatus::default()
                })
                .into_iter()
                .collect(),
            ..FlowNodeStatus::default()
        };
        let mut status = JobFlowStatus {
            run: 2,
            started_at: Some(at(10)),
            nodes: vec![
                node("kept", NodePhase::Succeeded, Some(1), Some(2)),
                node("a", NodePhase::Failed, Some(10), Some(12)),
                node("b", NodePhase::Skipped, None, Some(12)),
                node("c", NodePhase::Running, Some(12), None),
            ],
            ..JobFlowStatus::default()
        };
        let told = |status: &JobFlowStatus| -> Vec<String> {
            let events = story("u", "f", status);
            events.iter().map(|e| e.id.clone()).collect()
        };
        let first = [
            "u-2-f-flow-started",
            "u-2-f-node-a-started",
            "u-2-f-node-a-finished",
            "u-2-f-node-b-finished",
            "u-2-f-node-c-started",
        ];
        assert_eq!(told(&status), first);
        assert_eq!(
            after(&status, at(5)),
            later(at(12), Duration::from_micros(1))
        );
        status.nodes[3] = node("c", NodePhase::Succeeded, Some(12), Some(14));
        status.phase = JobFlowPhase::Failed;
        status.finished_at = Some(at(14));
        status.cause = Some(CauseStatus {
            node: "a".into(),
            reason: "Error".into(),
        });
        let all = told(&status);
        assert_eq!(all[..5], first, "it grows at its end");
        assert_eq!(all[5..], ["u-2-f-node-c-finished", "u-2-f-flow-finished"]);
        let last = story("u", "f", &status).pop().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&last.to_json()).unwrap();
        assert_eq!(json["type"], "dev.baton.flow.finished");
        assert_eq!(json["data"]["flow"], "f");
        assert_eq!(json["data"]["failedNode"], "a");
        assert_eq!(json["source"], "/baton/run/u-2/flows/f");
    }

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
        let end = |status: &JobFlowStatus| flow_end(status, at).unwrap();
        let failed = end(&status);
        assert_eq!(failed.outcome, TaskOutcome::Failed);
        assert_eq!(failed.failed_node.as_deref(), Some("a"));
        status.cause.as_mut().unwrap().node.clear();
        let timed_out = end(&status);
        assert_eq!(timed_out.outcome, TaskOutcome::TimedOut);
        assert_eq!(timed_out.failed_node, None);
    }
}
