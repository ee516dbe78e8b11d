//! What is to be done by a state.

use baton_protocol::Timestamp;

use crate::fold::{Rules, Seen};
use crate::graph::Graph;
use crate::state::{Attempt, InstanceId, State};

/// What is to be done. Each is idempotent: the Job's name follows from the instance and the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make the Job or Task of this attempt.
    Start {
        /// Of which instance.
        id: InstanceId,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Have the Job or Task of this attempt stop, gracefully.
    Stop {
        /// Of which instance.
        id: InstanceId,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Fold again at this time, though nothing was seen.
    WakeAt(Timestamp),
}

/// What is to be done by a state that was persisted.
pub fn actions(
    graph: &Graph,
    rules: &Rules,
    state: &State,
    now: Timestamp,
    seen: &dyn Fn(InstanceId, u32) -> Seen,
) -> Vec<Action> {
    let mut actions = Vec::new();
    if state.finished_at.is_some() {
        return actions;
    }
    // What is past waits for something else: for room, or for the end of a suspension.
    let ahead = |at: &Timestamp| *at > now;
    let mut wake = rules
        .deadline
        .filter(|at| state.stopped.is_none() && ahead(at));
    for (id, instance) in state.instances() {
        let attempt = instance.attempts;
        let stops = state.stopped.is_some() && !graph.is_finally(id.node);
        match (&instance.attempt, stops) {
            (Attempt::Due, false) if seen(id, attempt) == Seen::Absent => {
                actions.push(Action::Start { id, attempt });
            }
            (Attempt::Due | Attempt::Live, true) if seen(id, attempt) == Seen::Live => {
                actions.push(Action::Stop { id, attempt });
            }
            (Attempt::Waiting, false) => {
                wake = wake
                    .into_iter()
                    .chain(instance.retry_at.filter(ahead))
                    .min();
            }
            _ => {}
        }
    }
    actions.extend(wake.map(Action::WakeAt));
    actions
}
