//! What is known of one step or sidecar.

use std::fmt;

use baton_protocol::{Record, Timestamp};

use crate::event::{Death, Event};
use crate::outcome::{Cause, StepState};

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Track {
    /// When its turn came.
    pub(super) released: Option<Timestamp>,
    /// Its latest attempt, and when that was started.
    pub(super) started: Option<(Timestamp, u32)>,
    /// The latest attempt that is known to be followed by another.
    retried: u32,
    pub(super) ready: bool,
    pub(super) end: Option<End>,
    /// When it was asked to be killed.
    pub(super) killed: Option<Timestamp>,
}

impl Track {
    /// Notes an attempt; false where it is not news.
    pub(super) fn started(&mut self, attempt: u32, at: Timestamp) -> bool {
        let news = self.started.is_none_or(|(_, latest)| attempt > latest) && attempt > 0;
        if news {
            self.started = Some((at, attempt));
        }
        news
    }

    /// Whether a command of it was started.
    pub(super) fn has_begun(&self) -> bool {
        self.started.is_some() || self.retried > 0
    }

    /// Notes a failed attempt; false where it is not news.
    pub(super) fn retrying(&mut self, attempt: u32) -> bool {
        let news = attempt > self.retried;
        self.retried = self.retried.max(attempt);
        news
    }
}

/// How a step or sidecar ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    Record(Record),
    Died { how: Death, at: Timestamp },
}

impl End {
    pub(super) fn died(how: Death, at: Timestamp) -> End {
        End::Died { how, at }
    }

    pub(super) fn event(&self, number: u32) -> Event {
        match self {
            End::Record(record) => Event::Finished {
                number,
                record: record.clone(),
            },
            End::Died { how, .. } => Event::Died {
                number,
                how: how.clone(),
            },
        }
    }

    pub(super) fn state(&self) -> StepState {
        match self {
            End::Record(record) => StepState::Done {
                record: record.clone(),
            },
            End::Died { how, at } => StepState::Died {
                how: how.clone(),
                at: *at,
            },
        }
    }

    /// Whether its container cannot be started: that counts, and is told, before its turn.
    pub(super) fn is_never_started(&self) -> bool {
        matches!(
            self,
            End::Died {
                how: Death::NeverStarted(_),
                ..
            }
        )
    }

    pub(super) fn exit_code(&self) -> i32 {
        match self {
            End::Record(record) => record.exit_code,
            End::Died { how, .. } => how.exit_code(),
        }
    }

    /// What a step's end blames the task's failure on; `None` where the next one may start.
    pub(super) fn failure(&self, number: u32, name: &str) -> Option<Cause> {
        let name = name.to_owned();
        match self {
            End::Record(record) if record.lets_next_start() => None,
            End::Record(record) => Some(Cause::Step {
                number,
                name,
                reason: record.reason,
                exit_code: record.exit_code,
                message: record.message.clone(),
            }),
            End::Died { how, .. } => Some(Cause::Died {
                number,
                name,
                how: how.clone(),
            }),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Record(record) => {
                write!(f, "{:?}, exit code {}", record.reason, record.exit_code)?;
                if record.message.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {}", record.message)
                }
            }
            End::Died { how, .. } => how.fmt(f),
        }
    }
}
