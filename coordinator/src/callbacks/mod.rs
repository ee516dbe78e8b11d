//! Callbacks out: what follows from Tasks' statuses, told to their receivers.
//!
//! The controller owns the status and derives from it the list of events of a run, in one order that
//! only grows. This part sends what was not settled yet and tells the controller how far it came,
//! which goes into the status again. So a restart goes on where the status says.

pub mod guard;

mod engine;
mod lane;
mod runs;
mod secrets;
mod target;
mod telling;

pub use engine::{Settings, run};
pub(crate) use telling::Telling;

use std::time::Duration;

use baton_api::status::CallbackStatus;
use baton_api::task::Callback;
use baton_callbacks::Event;
use baton_protocol::Timestamp;

/// How long ago a run may have ended whose callbacks are told again after a restart that knows nothing
/// of them.
const TOLD_AGAIN: Duration = Duration::from_secs(3600);

/// How long past its time to live what is over is kept for receivers that have not heard all of it.
pub const CALLBACKS_WITHIN: Duration = Duration::from_secs(3600);

/// Whether every receiver has all of a story of so many events: that nothing waits may have been said
/// before its end was told.
pub fn has_all(callbacks: &[CallbackStatus], events: usize) -> bool {
    let settled = |c: &CallbackStatus| usize::try_from(c.settled).is_ok_and(|n| n >= events);
    callbacks.iter().all(settled)
}

/// Whether a run that is over, with so many events, has nothing more to tell: every receiver has all of
/// them, or none is known and its end is long ago.
pub fn is_settled(
    callbacks: &[CallbackStatus],
    events: usize,
    finished_at: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    match callbacks {
        [] => finished_at.is_none_or(|at| now.since(at) >= TOLD_AGAIN),
        some => has_all(some, events),
    }
}

/// What the receivers of one run of a Task are to be told. Handed over anew whenever it changed.
#[derive(Debug, Clone)]
pub struct Story {
    /// The Task's UID.
    pub task: String,
    /// The Task's namespace, which Secret references are read in.
    pub namespace: String,
    /// The Task's name.
    pub name: String,
    /// Which run of the Task.
    pub run: u32,
    /// The Task's own receivers; those of the whole cluster are known here.
    pub sinks: Vec<Callback>,
    /// Every event of the run so far, in their order.
    pub events: Vec<Event>,
    /// Where the status says to go on, by receiver (see [`CallbackStatus::sink`]).
    pub known: Vec<CallbackStatus>,
}

/// How far the callbacks of a run came.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The Task's UID.
    pub task: String,
    /// Which run of the Task.
    pub run: u32,
    /// The state of every receiver.
    pub callbacks: Vec<CallbackStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn what_is_settled_is_not_told_again() {
        let at = |seconds| Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let settled = |settled| CallbackStatus {
            settled,
            ..CallbackStatus::default()
        };
        let end = Some(at(1000));
        assert!(!is_settled(&[], 2, end, at(4599)));
        assert!(is_settled(&[], 2, end, at(4600)));
        assert!(is_settled(&[], 0, None, at(1000)));
        assert!(is_settled(&[settled(2), settled(2)], 2, end, at(1000)));
        // Nothing waits by its own account, which is from before the end.
        assert!(!is_settled(&[settled(2), settled(1)], 2, end, at(9000)));
    }
}
