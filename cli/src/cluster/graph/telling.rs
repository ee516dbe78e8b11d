//! What happened between two statuses of a JobFlow or DaemonJob: each start and each end once. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::daemon_status::{DaemonJobStatus, NodeStatus};
use baton_api::flow_status::{FlowJobState, FlowJobStatus, FlowNodeStatus, JobFlowStatus};
use baton_flow::NodePhase;
use baton_flow::daemon::DaemonPhase;
use baton_protocol::Timestamp;

use crate::flow::screen::why;

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has not begun.
    Waiting,
    /// It has a Job or Task, or is about to.
    Running,
    /// It succeeded.
    Succeeded,
    /// It failed for good.
    Failed,
    /// It was told to stop.
    Cancelled,
    /// It will not run.
    Skipped,
}

impl State {
    fn is_over(self) -> bool {
        !matches!(self, State::Waiting | State::Running)
    }
}

/// A part of a JobFlow or DaemonJob: what has one Job or Task at a time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// What people know it by: a flow's name, with the element's place where it has a list; or a node's.
    pub(super) label: String,
    /// Its Job or Task, the last one; empty where there was none.
    pub(super) child: String,
    /// How it stands.
    pub(super) state: State,
    /// Why, in a sentence; empty where that is as it should be.
    pub(super) why: String,
    /// Which attempt the last one is, from 1.
    pub(super) attempt: u32,
    /// How long it ran; none where it did not, or is not over.
    pub(super) ran: Option<Duration>,
}

/// The parts of a JobFlow.
pub(super) fn of_flow(status: &JobFlowStatus) -> Vec<Part> {
    status.nodes.iter().flat_map(of_node).collect()
}

fn of_node(node: &FlowNodeStatus) -> Vec<Part> {
    let whole = || Part {
        label: node.name.clone(),
        child: node.job().map(|job| job.name.clone()).unwrap_or_default(),
        state: match node.state {
            NodePhase::Waiting => State::Waiting,
            NodePhase::Running => State::Running,
            NodePhase::Succeeded => State::Succeeded,
            NodePhase::Failed => State::Failed,
            NodePhase::Skipped => State::Skipped,
            NodePhase::Cancelled => State::Cancelled,
        },
        why: match node.state {
            NodePhase::Waiting | NodePhase::Running => String::new(),
            _ => why(node),
        },
        attempt: node.job().map_or(0, |job| job.attempts),
        ran: span(node.started_at, node.finished_at),
    };
    if node.jobs.len() < 2 {
        return vec![whole()];
    }
    let element = |(index, job): (usize, &FlowJobStatus)| Part {
        label: format!("{}[{index}]", node.name),
        child: job.name.clone(),
        state: match job.state {
            FlowJobState::Waiting => State::Waiting,
            FlowJobState::Starting | FlowJobState::Running => State::Running,
            FlowJobState::Succeeded => State::Succeeded,
            FlowJobState::Failed => State::Failed,
            FlowJobState::Cancelled => State::Cancelled,
        },
        why: match (job.reason.as_str(), job.message.as_str()) {
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        },
        attempt: job.attempts,
        ran: span(job.started_at, job.finished_at),
    };
    node.jobs.iter().enumerate().map(element).collect()
}

/// The parts of a DaemonJob.
pub(super) fn of_daemon(status: &DaemonJobStatus) -> Vec<Part> {
    let part = |NodeStatus { node, job }: &NodeStatus| Part {
        label: node.name.clone(),
        child: job.clone(),
        state: match node.state {
            DaemonPhase::Waiting => State::Waiting,
            DaemonPhase::Starting | DaemonPhase::Running => State::Running,
            DaemonPhase::Succeeded => State::Succeeded,
            DaemonPhase::Failed => State::Failed,
            DaemonPhase::Cancelled => State::Cancelled,
            DaemonPhase::Removed => State::Skipped,
        },
        why: node.reason.clone(),
        attempt: node.attempts,
        ran: span(node.started_at, node.finished_at),
    };
    status.nodes.iter().map(part).collect()
}

fn span(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Duration> {
    Some(end?.since(start?))
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum News {
    /// A part has a new Job or Task.
    Started {
        label: String,
        child: String,
        attempt: u32,
    },
    /// A part is over.
    Ended(Part),
}

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Telling {
    parts: BTreeMap<String, Told>,
}

#[derive(Debug, Default)]
struct Told {
    attempt: u32,
    over: bool,
}

impl Telling {
    /// Everything that these parts went through is of the past: it is not told.
    pub(super) fn past(&mut self, parts: &[Part]) {
        for part in parts {
            let told = self.parts.entry(part.label.clone()).or_default();
            told.attempt = part.attempt;
            told.over = part.state.is_over();
        }
    }

    /// What is new.
    pub(super) fn news(&mut self, parts: &[Part]) -> Vec<News> {
        let mut news = Vec::new();
        for part in parts {
            let told = self.parts.entry(part.label.clone()).or_default();
            let over = part.state.is_over();
            if part.attempt > told.attempt && !part.child.is_empty() {
                told.attempt = part.attempt;
                told.over = false;
                news.push(News::Started {
                    label: part.label.clone(),
                    child: part.child.clone(),
                    attempt: part.attempt,
                });
            }
            if over && !told.over {
                news.push(News::Ended(part.clone()));
            }
            told.over = over;
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(label: &str, state: State, attempt: u32) -> Part {
        Part {
            label: label.to_owned(),
            child: match attempt {
                0 => String::new(),
                n => format!("f-{label}-r{n}"),
            },
            state,
            why: String::new(),
            attempt,
            ran: None,
        }
    }

    fn short(news: Vec<News>) -> Vec<String> {
        let short = news.into_iter().map(|n| match n {
            News::Started { label, attempt, .. } => format!("start {label}.{attempt}"),
            News::Ended(part) => format!("end {} {:?}", part.label, part.state),
        });
        short.collect()
    }

    #[test]
    fn each_start_and_end_is_told_once() {
        use State::{Failed, Running, Skipped, Succeeded, Waiting};
        let mut telling = Telling::default();
        let first = [part("a", Running, 1), part("b", Waiting, 0)];
        assert_eq!(short(telling.news(&first)), ["start a.1"]);
        assert!(telling.news(&first).is_empty());
        // Between two statuses a whole attempt may have come and gone.
        let later = [part("a", Failed, 3), part("b", Skipped, 0)];
        assert_eq!(
            short(telling.news(&later)),
            ["start a.3", "end a Failed", "end b Skipped"]
        );
        assert!(telling.news(&later).is_empty());
        // Another run: what is kept is not told again.
        let again = [part("a", Waiting, 3), part("b", Waiting, 0)];
        assert!(telling.news(&again).is_empty());
        let end = [part("a", Succeeded, 4), part("b", Succeeded, 1)];
        assert_eq!(
            short(telling.news(&end)),
            [
                "start a.4",
                "end a Succeeded",
                "start b.1",
                "end b Succeeded"
            ]
        );
    }

    #[test]
    fn the_past_is_not_told() {
        let mut telling = Telling::default();
        let past = [part("a", State::Succeeded, 1), part("b", State::Failed, 2)];
        telling.past(&past);
        assert!(telling.news(&past).is_empty());
        let now = [part("a", State::Succeeded, 1), part("b", State::Running, 3)];
        assert_eq!(short(telling.news(&now)), ["start b.3"]);
    }

    #[test]
    fn elements_are_parts_of_their_own() {
        let node = FlowNodeStatus {
            name: "each".to_owned(),
            state: NodePhase::Failed,
            jobs: vec![
                FlowJobStatus {
                    name: "f-each-0".to_owned(),
                    state: FlowJobState::Failed,
                    reason: "BackoffLimitExceeded".to_owned(),
                    attempts: 1,
                    ..FlowJobStatus::default()
                },
                FlowJobStatus::default(),
            ],
            ..FlowNodeStatus::default()
        };
        let status = JobFlowStatus {
            nodes: vec![node],
            ..JobFlowStatus::default()
        };
        let parts = of_flow(&status);
        assert_eq!(parts[0].label, "each[0]");
        assert_eq!(parts[0].why, "BackoffLimitExceeded");
        assert_eq!(parts[1].state, State::Waiting);
    }
}
