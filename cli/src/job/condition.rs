//! The conditions of a Job, in the words of the native controller.

use std::fmt;

use serde::Serialize;

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ConditionType {
    /// The Job reached its completions.
    Complete,
    /// The Job failed.
    Failed,
    /// The Job may run no pods for now.
    Suspended,
}

/// A condition of a Job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    #[serde(serialize_with = "as_native")]
    pub status: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: &'static str,
}

fn as_native<S: serde::Serializer>(status: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *status { "True" } else { "False" })
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.status { "" } else { "not " };
        write!(
            f,
            "{not}{:?} ({}): {}",
            self.kind, self.reason, self.message
        )
    }
}

impl Condition {
    /// `suspend` was set or taken back.
    pub(super) fn suspended(suspended: bool) -> Condition {
        let (reason, message) = match suspended {
            true => ("JobSuspended", "Job suspended"),
            false => ("JobResumed", "Job resumed"),
        };
        Condition {
            kind: ConditionType::Suspended,
            status: suspended,
            reason,
            message,
        }
    }

    /// The Job did what it was for.
    pub(super) fn complete() -> Condition {
        Condition {
            kind: ConditionType::Complete,
            status: true,
            reason: "CompletionsReached",
            message: "Reached expected number of succeeded pods",
        }
    }

    /// Too much failed.
    pub(super) fn backoff_limit_exceeded() -> Condition {
        Condition {
            kind: ConditionType::Failed,
            status: true,
            reason: "BackoffLimitExceeded",
            message: "Job has reached the specified backoff limit",
        }
    }

    /// It took too long.
    pub(super) fn deadline_exceeded() -> Condition {
        Condition {
            kind: ConditionType::Failed,
            status: true,
            reason: "DeadlineExceeded",
            message: "Job was active longer than specified deadline",
        }
    }
}
