//! What an agent tells the coordinator of a step pod: one fact each, with a stable id. No I/O.
//!
//! The agent folds what happens in a pod ([`baton_steps::Run`]) and tells what came of it. An event
//! that is told again has the same [`id`](Told::id): whoever rebuilds it after a restart makes it from
//! the pod and from what happened alone. So delivery at least once is enough, and a receiver that
//! merges each event into what it knows needs no memory of ids.

use std::fmt;

use baton_protocol::{Reason, Timestamp};
use baton_steps::{Outcome, StepState, StopReason};
use serde::{Deserialize, Serialize};

mod batch;

pub use batch::{
    BatchError, CONTENT_TYPE, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, read_batch, write_batch,
};

/// Most bytes of the results of one Task that are told, names and values together.
pub const MAX_TASK_RESULTS_BYTES: usize = 256 << 10;

/// A pod, as events name it. On an agent all of it comes from the kubelet, never from the pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A fact about a step pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Of which pod.
    pub pod: PodRef,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
}

/// What happened. Numbers are those of the order: steps, `finally` steps, sidecars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum What {
    /// The pod may begin: the first step's turn is near.
    TaskStarted,
    /// A command was started.
    StepStarted {
        /// Its number.
        number: u32,
        /// Which attempt it is, from 1.
        attempt: u32,
    },
    /// An attempt failed, and another follows.
    StepRetrying {
        /// The step's number.
        number: u32,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// How it failed.
        reason: Reason,
        /// Its exit code.
        exit_code: i32,
        /// Time until the next attempt, in milliseconds.
        delay_ms: u64,
    },
    /// A sidecar is ready.
    SidecarReady {
        /// Its number.
        number: u32,
    },
    /// A step or sidecar is over.
    StepFinished {
        /// Its number.
        number: u32,
        /// How it ended: [`StepState::Done`] or [`StepState::Died`].
        state: StepState,
        /// Its results, by name, as far as they fit ([`MAX_TASK_RESULTS_BYTES`]).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        results: Vec<StepResult>,
        /// Results that are not given, with the reason.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        missing: Vec<MissingResult>,
    },
    /// The task is told to stop.
    TaskStopping {
        /// Why.
        why: StopReason,
    },
    /// The task is over: no more is told of this pod but late ends of sidecars.
    TaskFinished {
        /// How.
        outcome: Outcome,
    },
    /// Something a person should know, which changes nothing: a bad file, a container that cannot
    /// start yet.
    Warning {
        /// The step or sidecar that it concerns; 0 for the pod.
        number: u32,
        /// What sets this warning apart from others of the same pod: a short word.
        about: String,
        /// The sentence.
        message: String,
    },
}

/// A result of a step. What is not UTF-8 is missing, and said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    /// Its name.
    pub name: String,
    /// Its content.
    pub value: String,
}

/// A result that is not given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingResult {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

impl Told {
    /// Unique to what happened, and the same each time it is told.
    pub fn id(&self) -> String {
        format!("{}-{}", self.pod.uid, self.what.key())
    }

    /// Whether it belongs to what must be kept when there is no room for all: the ends of steps and
    /// of tasks.
    pub fn is_lifecycle_end(&self) -> bool {
        matches!(
            self.what,
            What::StepFinished { .. } | What::TaskFinished { .. }
        )
    }
}

impl What {
    /// What sets it apart from anything else in the same pod.
    pub fn key(&self) -> String {
        match self {
            What::TaskStarted => "task-started".into(),
            What::StepStarted { number, attempt } => format!("step-{number}-started-{attempt}"),
            What::StepRetrying {
                number, attempt, ..
            } => format!("step-{number}-retrying-{attempt}"),
            What::SidecarReady { number } => format!("step-{number}-ready"),
            What::StepFinished { number, .. } => format!("step-{number}-finished"),
            What::TaskStopping { .. } => "task-stopping".into(),
            What::TaskFinished { .. } => "task-finished".into(),
            What::Warning { number, about, .. } => format!("step-{number}-warning-{about}"),
        }
    }

    /// What a notice of the state machine tells, and when it happened. The results of a step are for
    /// the caller to add.
    pub fn of_notice(notice: &baton_steps::Notice, now: Timestamp) -> (Timestamp, What) {
        use baton_steps::Notice;
        match notice.clone() {
            Notice::TaskStarted { at } => (at, What::TaskStarted),
            Notice::StepStarted {
                number,
                attempt,
                at,
                ..
            } => (at, What::StepStarted { number, attempt }),
            Notice::StepRetrying {
                number,
                attempt,
                reason,
                exit_code,
                delay_ms,
                at,
                ..
            } => {
                let what = What::StepRetrying {
                    number,
                    attempt,
                    reason,
                    exit_code,
                    delay_ms,
                };
                (at, what)
            }
            Notice::SidecarReady { number, at } => (at, What::SidecarReady { number }),
            Notice::StepFinished { number, state, .. } => {
                let at = match &state {
                    StepState::Done { record } => record.finished_at.min(now),
                    StepState::Died { at, .. } => *at,
                    _ => now,
                };
                let what = What::StepFinished {
                    number,
                    state,
                    results: Vec::new(),
                    missing: Vec::new(),
                };
                (at, what)
            }
            Notice::TaskStopping { why, at } => (at, What::TaskStopping { why }),
            Notice::TaskFinished { outcome } => {
                (outcome.finished_at, What::TaskFinished { outcome })
            }
        }
    }

    /// The step or sidecar that it concerns.
    pub fn number(&self) -> Option<u32> {
        match *self {
            What::StepStarted { number, .. }
            | What::StepRetrying { number, .. }
            | What::SidecarReady { number }
            | What::StepFinished { number, .. }
            | What::Warning { number, .. } => Some(number),
            What::TaskStarted | What::TaskStopping { .. } | What::TaskFinished { .. } => None,
        }
    }
}
