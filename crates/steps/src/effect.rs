//! What a run wants done, and what it has to tell.

use baton_protocol::{Order, Reason, Timestamp};

use crate::event::{Event, StopReason};
use crate::outcome::{Outcome, StepState};
use crate::plan::Kind;

/// What is to be done, in the order of the list that it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Keep this fact, with the time at which it was applied, where no tenant can write: it is to be
    /// given to [`Run::resume`](crate::Run::resume) after a restart. What must be kept before the
    /// order changes stands before [`WriteOrder`](Effect::WriteOrder) in the list.
    Remember(Event),
    /// Make this the content of the order file.
    WriteOrder(Order),
    /// Kill the entrypoint of this step or sidecar and all that it started, and tell that it died.
    Kill(u32),
    /// Apply [`Event::Tick`] at this time, or soon after. It replaces the time asked for before.
    WakeAt(Timestamp),
    /// Tell people and callbacks.
    Notify(Notice),
    /// The run is over: no effect but late notices will follow.
    Ended(Outcome),
}

/// What people and callbacks are told, each once in the life of a [`Run`](crate::Run). One that was
/// resumed tells everything again: number and attempt tell a receiver what it knows already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The pod began.
    TaskStarted {
        /// When.
        at: Timestamp,
    },
    /// A command was started.
    StepStarted {
        /// Its number.
        number: u32,
        /// What the number stands for.
        kind: Kind,
        /// Which attempt it is, from 1.
        attempt: u32,
        /// When, by its entrypoint.
        at: Timestamp,
    },
    /// An attempt failed, and another follows.
    StepRetrying {
        /// The step's number.
        number: u32,
        /// What the number stands for.
        kind: Kind,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// How it failed.
        reason: Reason,
        /// Its exit code.
        exit_code: i32,
        /// How long the entrypoint waits before the next attempt, in milliseconds.
        delay_ms: u64,
        /// When, by its entrypoint.
        at: Timestamp,
    },
    /// A sidecar is ready.
    SidecarReady {
        /// Its number.
        number: u32,
        /// When this was found.
        at: Timestamp,
    },
    /// A step or sidecar is over; steps whose turn never came are not told of.
    StepFinished {
        /// Its number.
        number: u32,
        /// What the number stands for.
        kind: Kind,
        /// How it ended: [`StepState::Done`] or [`StepState::Died`].
        state: StepState,
    },
    /// The task is told to stop.
    TaskStopping {
        /// Why.
        why: StopReason,
        /// When.
        at: Timestamp,
    },
    /// The task is over.
    TaskFinished {
        /// How.
        outcome: Outcome,
    },
}

impl Notice {
    /// Where the notice stands among those of a resumed run.
    pub(crate) fn place(&self) -> (u8, u32, u32) {
        match *self {
            Notice::TaskStarted { .. } => (0, 0, 0),
            Notice::SidecarReady { number, .. } => (1, number, 0),
            Notice::StepStarted {
                number, attempt, ..
            } => (2, number, attempt.saturating_mul(2)),
            Notice::StepRetrying {
                number, attempt, ..
            } => (2, number, attempt.saturating_mul(2).saturating_add(1)),
            Notice::StepFinished { number, .. } => (2, number, u32::MAX),
            Notice::TaskStopping { .. } => (3, 0, 0),
            Notice::TaskFinished { .. } => (4, 0, 0),
        }
    }
}
