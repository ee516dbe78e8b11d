//! How the parts of a JobFlow or DaemonJob stand, in marks and words. Pure.

use std::time::Duration;

use baton_api::flow_status::{FlowJobState, FlowNodeStatus};
use baton_flow::daemon::{DaemonNode, DaemonPhase};
use baton_protocol::Timestamp;

use crate::show::style::{FAINT, GREEN, RED, Style, YELLOW, span};

/// A mark and its colour.
pub type Mark = (&'static str, Style);

/// The mark of a Job or Task of a flow's node.
pub fn of_job(state: FlowJobState) -> Mark {
    match state {
        FlowJobState::Waiting => ("·", FAINT),
        FlowJobState::Starting | FlowJobState::Running => ("▶", FAINT),
        FlowJobState::Succeeded => ("✔", GREEN),
        FlowJobState::Failed => ("✘", RED),
        FlowJobState::Cancelled => ("✘", YELLOW),
    }
}

/// The mark of a DaemonJob's node.
pub fn of_daemon(state: DaemonPhase) -> Mark {
    match state {
        DaemonPhase::Waiting => ("·", FAINT),
        DaemonPhase::Starting | DaemonPhase::Running => ("▶", FAINT),
        DaemonPhase::Succeeded => ("✔", GREEN),
        DaemonPhase::Failed => ("✘", RED),
        DaemonPhase::Cancelled => ("✘", YELLOW),
        DaemonPhase::Removed => ("○", YELLOW),
    }
}

/// How long something ran, or has run.
pub fn ran(start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> String {
    match (start, end) {
        (Some(start), Some(end)) => span(end.since(start)),
        (Some(start), None) => span(Duration::from_secs(now.since(start).as_secs())),
        (None, _) => String::new(),
    }
}

/// How long a flow's node ran, or has run.
pub fn node_ran(node: &FlowNodeStatus, now: Timestamp) -> String {
    let over = node.state.is_over();
    let end = node.finished_at.or(node.started_at.filter(|_| over));
    ran(node.started_at, end, now)
}

/// How long a DaemonJob's node ran, or has run.
pub fn daemon_ran(node: &DaemonNode, now: Timestamp) -> String {
    ran(node.started_at, node.finished_at, now)
}

/// `2/5` of a node that runs once for each element of a list.
pub fn elements(node: &FlowNodeStatus) -> Option<String> {
    let over = |state| {
        use FlowJobState::{Cancelled, Failed, Succeeded};
        matches!(state, Cancelled | Failed | Succeeded)
    };
    let all = node.jobs.len();
    (all > 1).then(|| {
        let done = node.jobs.iter().filter(|job| over(job.state)).count();
        format!("{done}/{all}")
    })
}
