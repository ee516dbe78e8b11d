//! The facts that a run is folded from.

use std::fmt;

use baton_protocol::{Reason, Record, Timestamp, exit};
use serde::{Deserialize, Serialize};

/// A fact about a step pod. Any may be repeated; those of different steps may come in any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Event {
    /// The pod may begin.
    Begin,
    /// A command was started.
    Started {
        /// Of which step or sidecar.
        number: u32,
        /// Which attempt it is, from 1.
        attempt: u32,
        /// When, by its entrypoint.
        at: Timestamp,
    },
    /// An attempt failed, and another follows.
    Retrying {
        /// Of which step or sidecar.
        number: u32,
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
    /// A sidecar answered its readiness probe.
    Ready {
        /// Which.
        number: u32,
    },
    /// A step or sidecar is over. The first end of a step is its end.
    Finished {
        /// Which.
        number: u32,
        /// Its final record.
        record: Record,
    },
    /// An entrypoint is gone and left no final record.
    Died {
        /// Of which step or sidecar.
        number: u32,
        /// How.
        how: Death,
    },
    /// The task is to stop: the running step gets its grace, `finally` steps run.
    Cancel,
    /// The task was stopped while it was this step's turn. A run asks to remember this in place of
    /// [`Cancel`](Event::Cancel) and of the tick that found its time up.
    Stopped {
        /// Why.
        why: StopReason,
        /// The step whose turn it was; 0 before the first.
        turn: u32,
    },
    /// The task is to be over now: no grace, no `finally` steps.
    Kill,
    /// Everything was told to end at once while it was this step's turn. A run asks to remember this
    /// in place of [`Kill`](Event::Kill).
    Killed {
        /// The step whose turn it was; 0 where it was nobody's.
        turn: u32,
    },
    /// Nothing but that time went on.
    Tick,
}

/// Why a task is stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopReason {
    /// It was cancelled.
    Cancelled,
    /// Its time was up.
    TimedOut,
    /// The container of a step that is still to have its turn can never start: the
    /// [`Death::NeverStarted`] that was told before says whose, and why.
    NeverStarted,
}

/// How a step ended that left no final record of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", content = "value")]
pub enum Death {
    /// Its entrypoint was ended by this signal.
    Signal(i32),
    /// Its entrypoint exited with this code, and recorded nothing.
    Exited(i32),
    /// Its entrypoint is gone; nobody saw how.
    Gone,
    /// It left a final record that cannot be read, for this cause.
    BadRecord(String),
    /// Nothing was heard of it after it was killed.
    Unresponsive,
    /// The order was past it when this program started, and its record is no longer there.
    RecordLost,
    /// The pod's folder was lost after the task began, and with it all that was known of its steps.
    FolderLost,
    /// Its container was never started and cannot be, for this cause, such as
    /// `ImagePullBackOff: no such image`. Told of a step it fails the task at once, also before the
    /// step's turn; of a `finally` step, at its turn. It means nothing once a command was started.
    NeverStarted(String),
}

impl Death {
    /// The exit code that stands for it; never 0.
    pub fn exit_code(&self) -> i32 {
        match *self {
            Death::Signal(signal) if (1..=127).contains(&signal) => exit::of_signal(signal),
            Death::Exited(code) if (1..=255).contains(&code) => code,
            Death::Unresponsive => exit::of_signal(9),
            _ => exit::FAILED,
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Death::Signal(signal) => {
                write!(f, "its entrypoint was killed by signal {signal}")
            }
            Death::Exited(code) => {
                write!(
                    f,
                    "its entrypoint exited with {code} and left no final record"
                )
            }
            Death::Gone => f.write_str("its entrypoint died without a final record"),
            Death::BadRecord(cause) => write!(f, "its final record cannot be read: {cause}"),
            Death::Unresponsive => f.write_str("it was killed, and nothing was heard of it since"),
            Death::FolderLost => f.write_str(
                "the pod's folder was lost after the task began, as when its node is started anew",
            ),
            Death::RecordLost => {
                f.write_str("its turn is over, and its final record is no longer there")
            }
            Death::NeverStarted(cause) => write!(f, "its container cannot be started: {cause}"),
        }
    }
}
