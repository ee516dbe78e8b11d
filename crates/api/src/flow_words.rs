//! What the status of a JobFlow says to people: phase, counts and sentences, by what it holds.

use std::time::Duration;

use baton_flow::FlowPhase;
use baton_protocol::time::format_duration;

use crate::flow_status::{CauseStatus, JobFlowPhase, JobFlowStatus};

impl JobFlowPhase {
    /// The phase of a graph in a status; `suspended` is whether nothing new is let go.
    pub fn of(phase: FlowPhase, suspended: bool) -> JobFlowPhase {
        match phase {
            FlowPhase::Succeeded => JobFlowPhase::Succeeded,
            FlowPhase::Failed => JobFlowPhase::Failed,
            FlowPhase::Cancelled => JobFlowPhase::Cancelled,
            FlowPhase::Pending | FlowPhase::Running if suspended => JobFlowPhase::Suspended,
            FlowPhase::Pending => JobFlowPhase::Pending,
            FlowPhase::Running => JobFlowPhase::Running,
        }
    }

    /// The value of the condition `Succeeded`.
    pub fn succeeded(self) -> &'static str {
        match self {
            JobFlowPhase::Succeeded => "True",
            phase if phase.is_over() => "False",
            _ => "Unknown",
        }
    }
}

impl JobFlowStatus {
    /// Has it say what it holds: `phase`, `progress`, `duration`, `reason` and `message`.
    pub fn describe(&mut self, phase: FlowPhase, suspended: bool) {
        self.phase = JobFlowPhase::of(phase, suspended);
        let over = self.nodes.iter().filter(|n| n.state.is_over()).count();
        self.progress = format!("{over}/{}", self.nodes.len());
        self.duration = match (self.started_at, self.finished_at) {
            (Some(start), Some(end)) => whole_seconds(end.since(start)),
            _ => String::new(),
        };
        (self.reason, self.message) = words(self);
    }
}

/// Without fractions of a second, where it is a second or more.
fn whole_seconds(time: Duration) -> String {
    match time.as_secs() {
        0 => format_duration(time),
        seconds => format_duration(Duration::from_secs(seconds)),
    }
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
            match node.map(|n| n.message.as_str()).unwrap_or_default() {
                "" => format!("flow {name:?} failed: {reason}"),
                message => format!("flow {name:?} failed: {reason}: {message}"),
            }
        }
    };
    (cause.reason.clone(), message)
}
