//! What is to be done by a state.

use baton_protocol::Timestamp;

use super::fold::{Look, deadline, lost_at, surplus};
use super::rules::{DaemonRules, JobSeen, Members};
use super::state::{DaemonPhase, DaemonState};

/// What is to be done. Each is idempotent: a Job's name follows from the node's and the attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonAction {
    /// Make the Job of this attempt.
    Start {
        /// The node's name.
        node: String,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Have the Job of this attempt stop, gracefully; what it came to is to be seen.
    Stop {
        /// The node's name.
        node: String,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Delete the Job of this attempt, and its pods: nobody waits for it any more.
    Delete {
        /// The node's name.
        node: String,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Fold again at this time, though nothing was seen.
    WakeAt(Timestamp),
}

/// What is to be done by a state that was persisted; also by one that is over, as the last Jobs of
/// nodes that are gone may not have been deleted.
pub fn daemon_actions(
    rules: &DaemonRules,
    state: &DaemonState,
    members: &Members,
    now: Timestamp,
    seen: Look<'_>,
) -> Vec<DaemonAction> {
    let is_over = state.finished_at.is_some();
    let stops = state.stopped.is_some();
    let surplus = match is_over {
        true => Vec::new(),
        false => surplus(state, members),
    };
    let mut actions = Vec::new();
    let mut wakes: Vec<_> = deadline(rules, state)
        .filter(|_| !stops)
        .into_iter()
        .collect();
    for node in &state.nodes {
        let attempt = node.attempts;
        let name = || node.name.clone();
        let found = match attempt {
            0 => JobSeen::Absent,
            _ => seen(&node.name, attempt),
        };
        match (node.state, &found) {
            (DaemonPhase::Starting, JobSeen::Absent) if !stops => {
                let node = name();
                actions.push(DaemonAction::Start { node, attempt });
            }
            (DaemonPhase::Starting | DaemonPhase::Running, JobSeen::Live) if stops => {
                let node = name();
                actions.push(DaemonAction::Stop { node, attempt });
            }
            (
                DaemonPhase::Waiting
                | DaemonPhase::Failed
                | DaemonPhase::Cancelled
                | DaemonPhase::Removed,
                JobSeen::Live,
            ) => {
                let node = name();
                actions.push(DaemonAction::Delete { node, attempt });
            }
            (_, JobSeen::Succeeded | JobSeen::Failed(_)) if surplus.contains(&node.name) => {
                let node = name();
                actions.push(DaemonAction::Delete { node, attempt });
            }
            _ => {}
        }
        let member = members.get(&node.name).filter(|m| m.uid == node.uid);
        if !node.state.is_over() {
            wakes.extend(member.and_then(|m| lost_at(rules, state, m)));
        }
    }
    // What is past waits for something else: for room, or for the end of a suspension.
    let wake = wakes.into_iter().filter(|at| *at > now).min();
    actions.extend(wake.filter(|_| !is_over).map(DaemonAction::WakeAt));
    actions
}
