//! How a task and its steps stand, and how they ended.

use std::fmt;

use baton_protocol::{Reason, Record, Timestamp, exit};
use serde::{Deserialize, Serialize};

use crate::event::Death;

/// The exit code of a task that was cancelled: what a shell gives for a program ended by Ctrl-C.
pub const CANCELLED_EXIT_CODE: i32 = 130;

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Every step let its successor start.
    Succeeded,
    /// A step, `finally` step or awaited sidecar failed.
    Failed,
    /// It was cancelled before its last step was over.
    Cancelled,
    /// Its time was up before its last step was over.
    TimedOut,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The end of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// How it ended.
    pub phase: Phase,
    /// 0 for success; of what failed first its exit code (1 to 255);
    /// [`CANCELLED_EXIT_CODE`]; [`exit::TIMED_OUT`].
    pub exit_code: i32,
    /// What came first between it and success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// When the pod could begin; `None` where it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the last step and sidecar was over.
    pub finished_at: Timestamp,
}

/// What kept a task from success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Cause {
    /// A step or `finally` step failed, as its record tells.
    Step {
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
        /// Why.
        reason: Reason,
        /// Its exit code.
        exit_code: i32,
        /// What its record has to say.
        message: String,
    },
    /// A step or `finally` step ended without a record.
    Died {
        /// Its number; 0 where it is not known which, and the name is empty.
        number: u32,
        /// Its name.
        name: String,
        /// How.
        how: Death,
    },
    /// A sidecar that the first step waited for ended before it was ready.
    NotReady {
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
        /// Its exit code.
        exit_code: i32,
        /// What is known of its end.
        message: String,
    },
    /// The task was cancelled.
    Cancelled {
        /// The step whose turn it was; 0 before the first.
        turn: u32,
    },
    /// The task's time was up.
    TimedOut {
        /// The step whose turn it was; 0 before the first.
        turn: u32,
    },
}

impl Cause {
    /// The phase that this cause leads to.
    pub fn phase(&self) -> Phase {
        match self {
            // A step that a signal told to stop: somebody ends the pod, and the task with it.
            Cause::Step {
                reason: Reason::Cancelled,
                ..
            }
            | Cause::Cancelled { .. } => Phase::Cancelled,
            Cause::TimedOut { .. } => Phase::TimedOut,
            Cause::Step { .. } | Cause::Died { .. } | Cause::NotReady { .. } => Phase::Failed,
        }
    }

    /// The exit code of the task; never 0.
    pub fn exit_code(&self) -> i32 {
        let code = match self {
            _ if self.phase() == Phase::Cancelled => CANCELLED_EXIT_CODE,
            Cause::TimedOut { .. }
            | Cause::Step {
                reason: Reason::TimedOut,
                ..
            } => exit::TIMED_OUT,
            Cause::Died { how, .. } => how.exit_code(),
            Cause::NotReady { exit_code: 0, .. } => exit::FAILED,
            Cause::NotReady { exit_code, .. } | Cause::Step { exit_code, .. } => *exit_code,
            Cause::Cancelled { .. } => CANCELLED_EXIT_CODE,
        };
        // What a tenant's record claims need not fit into an exit code.
        if (1..=255).contains(&code) { code } else { 1 }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Step {
                name,
                reason,
                exit_code,
                message,
                ..
            } => {
                write!(f, "step {name}: {reason}, exit code {exit_code}")?;
                if message.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {message}")
                }
            }
            Cause::Died { number: 0, how, .. } => write!(f, "{how}"),
            Cause::Died { name, how, .. } => write!(f, "step {name}: {how}"),
            Cause::NotReady { name, message, .. } => {
                write!(f, "sidecar {name} ended before it was ready: {message}")
            }
            Cause::Cancelled { .. } => f.write_str("the task was cancelled"),
            Cause::TimedOut { .. } => f.write_str("the task's time was up"),
        }
    }
}

/// How a step or sidecar stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all_fields = "camelCase")]
pub enum StepState {
    /// It waits for its turn; a sidecar: nothing was heard of it.
    Pending,
    /// Its turn has come, and its entrypoint has not said that the command was started.
    Released {
        /// Since when.
        since: Timestamp,
    },
    /// Its command runs, or waits for the next attempt.
    Running {
        /// When the present attempt was started.
        since: Timestamp,
        /// Which attempt it is, from 1.
        attempt: u32,
    },
    /// It is over. A step whose `when` did not hold has the reason [`Reason::Skipped`] here.
    Done {
        /// Its final record.
        record: Record,
    },
    /// It ended without a final record.
    Died {
        /// How.
        #[serde(flatten)]
        how: Death,
        /// When this was found.
        at: Timestamp,
    },
    /// Its turn never came, and no longer will.
    NotRun {
        /// Why.
        why: NotRun,
    },
}

/// Why a step's turn never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "because", rename_all_fields = "camelCase")]
pub enum NotRun {
    /// The step or sidecar of this number failed before.
    Failure {
        /// Which.
        number: u32,
    },
    /// The task was cancelled before.
    Cancelled,
    /// The task's time was up before.
    TimedOut,
}
