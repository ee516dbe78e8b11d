//! What the status of a DaemonJob says to people: phase, counts and sentences, by what it holds.

use baton_flow::daemon::{DaemonPhase, DaemonState};
use baton_protocol::time::format_duration;

use crate::daemon_status::{DaemonJobStatus, NodeCounts};
use crate::flow_status::JobFlowPhase;

/// Why nothing goes on by itself: a word for programs, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// One word: `Suspended`, `NoEligibleNodes`, `Cordoned`.
    pub reason: String,
    /// The same as a sentence.
    pub message: String,
}

impl Wait {
    /// One of these words.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Wait {
        Wait {
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// What a state waits for where nothing of it goes on by itself; none where something does, or it
    /// is over. `suspended` is whether nothing new is let go.
    pub fn of(state: &DaemonState, suspended: bool) -> Option<Wait> {
        if state.finished_at.is_some() {
            return None;
        }
        if suspended {
            let message = "nothing new is started until it is resumed";
            return Some(Wait::new("Suspended", message));
        }
        if state.nodes.iter().any(|n| n.state.is_let_go()) {
            return None;
        }
        let is_waiting = |state: DaemonPhase| state == DaemonPhase::Waiting;
        let mut waiting = state.nodes.iter().filter(|n| is_waiting(n.state));
        match waiting.next() {
            Some(node) if !node.reason.is_empty() => {
                let more = match waiting.count() {
                    0 => String::new(),
                    more => format!(", and {more} more wait"),
                };
                let (name, why) = (&node.name, explain(&node.reason));
                Some(Wait::new(&node.reason, format!("node {name} {why}{more}")))
            }
            Some(_) => None,
            None if state.nodes.iter().all(|n| n.state == DaemonPhase::Removed) => Some(Wait::new(
                "NoEligibleNodes",
                "no node counts: one is waited for",
            )),
            None => Some(Wait::new(
                "NoNewNodes",
                "every node is over; one that joins is waited for",
            )),
        }
    }
}

fn explain(reason: &str) -> &'static str {
    match reason {
        "Cordoned" => "is cordoned",
        "Pressure" => "is tainted by the cluster for its condition",
        "NotReady" => "is not ready",
        "NameTaken" => "cannot have its Job: something else has the Job's name",
        "EarlierJobEnding" => "has an earlier Job that still ends",
        _ => "waits",
    }
}

impl DaemonJobStatus {
    /// Has it say what it holds since it was [set](DaemonJobStatus::set_state) to a state: `phase`,
    /// `reason`, `message` and `duration`. `suspended` is whether nothing new is let go, `wait` what
    /// keeps it from going on.
    pub fn describe(&mut self, state: &DaemonState, suspended: bool, wait: Option<&Wait>) {
        self.phase = JobFlowPhase::of(state.phase(), suspended);
        self.reason = match (&self.cause, self.phase) {
            (_, JobFlowPhase::Succeeded) => "Completed".to_owned(),
            (Some(cause), phase) if phase.is_over() => cause.reason.clone(),
            _ => wait.map(|w| w.reason.clone()).unwrap_or_default(),
        };
        self.message = match (self.finished_at, wait) {
            (None, Some(wait)) => wait.message.clone(),
            _ => self.summary(),
        };
        self.duration = match (self.started_at, self.finished_at) {
            (Some(from), Some(to)) => format_duration(to.since(from)),
            _ => String::new(),
        };
    }

    /// How many nodes stand how, and what came first between it and success.
    fn summary(&self) -> String {
        let counts = self.counts.to_words();
        match &self.cause {
            Some(cause) if !cause.node.is_empty() => {
                format!("{counts}; first, node {} ({})", cause.node, cause.reason)
            }
            Some(cause) if cause.reason == "DeadlineExceeded" => {
                format!("{counts}; its time was up")
            }
            _ => counts,
        }
    }
}

impl NodeCounts {
    /// `3 nodes: 2 succeeded, 1 failed`.
    pub fn to_words(&self) -> String {
        let parts = [
            (self.succeeded, "succeeded"),
            (self.failed, "failed"),
            (self.cancelled, "cancelled"),
            (self.removed, "removed"),
            (self.running, "running"),
            (self.waiting, "waiting"),
        ];
        let some = parts.into_iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = some
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let nodes = match self.total {
            1 => "1 node".to_owned(),
            total => format!("{total} nodes"),
        };
        match parts.as_slice() {
            [] => nodes,
            some => format!("{nodes}: {}", some.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_flow::Cause;
    use baton_flow::daemon::DaemonNode;
    use baton_protocol::Timestamp;

    fn state(nodes: &[(DaemonPhase, &str)]) -> DaemonState {
        let node = |(i, (state, reason)): (usize, &(DaemonPhase, &str))| DaemonNode {
            name: format!("n{i}"),
            state: *state,
            reason: (*reason).to_owned(),
            ..DaemonNode::default()
        };
        DaemonState {
            nodes: nodes.iter().enumerate().map(node).collect(),
            ..DaemonState::default()
        }
    }

    fn said(state: &DaemonState, suspended: bool) -> (String, String) {
        let mut status = DaemonJobStatus::default();
        status.set_state(state, &|n| n.name.clone());
        status.describe(state, suspended, Wait::of(state, suspended).as_ref());
        (status.reason, status.message)
    }

    #[test]
    fn what_is_waited_for() {
        use DaemonPhase::{Removed, Running, Succeeded, Waiting};
        for (nodes, suspended, reason, message) in [
            (
                &[][..],
                false,
                "NoEligibleNodes",
                "no node counts: one is waited for",
            ),
            (
                &[(Removed, "")],
                false,
                "NoEligibleNodes",
                "no node counts: one is waited for",
            ),
            (
                &[(Succeeded, "")],
                false,
                "NoNewNodes",
                "every node is over; one that joins is waited for",
            ),
            (
                &[(Waiting, "Cordoned"), (Waiting, "NotReady")],
                false,
                "Cordoned",
                "node n0 is cordoned, and 1 more wait",
            ),
            (
                &[(Waiting, "Cordoned"), (Running, "")],
                false,
                "",
                "2 nodes: 1 running, 1 waiting",
            ),
            (&[(Waiting, "")], false, "", "1 node: 1 waiting"),
            (
                &[(Waiting, "")],
                true,
                "Suspended",
                "nothing new is started until it is resumed",
            ),
        ] {
            let want = (reason.to_owned(), message.to_owned());
            assert_eq!(said(&state(nodes), suspended), want, "{nodes:?}");
        }
    }

    #[test]
    fn what_an_end_says() {
        use DaemonPhase::{Failed, Succeeded};
        let mut over = state(&[(Succeeded, ""), (Failed, "Error")]);
        over.finished_at = Some(Timestamp(std::time::UNIX_EPOCH));
        over.cause = Some(Cause::Node {
            name: "n1".to_owned(),
            reason: "Error".to_owned(),
        });
        let message = "2 nodes: 1 succeeded, 1 failed; first, node n1 (Error)";
        assert_eq!(said(&over, true), ("Error".to_owned(), message.to_owned()));
        let mut good = state(&[(Succeeded, "")]);
        good.finished_at = over.finished_at;
        let message = "1 node: 1 succeeded";
        assert_eq!(
            said(&good, false),
            ("Completed".to_owned(), message.to_owned())
        );
    }
}
