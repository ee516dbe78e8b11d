//! Calls that fail.

use std::time::Duration;

use baton_protocol::Timestamp;

use crate::clock::later;

/// Calls that failed, and when to try again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trouble {
    failures: u32,
    until: Option<Timestamp>,
    /// One word for what failed.
    pub reason: String,
    /// What was attempted, and the server's answer.
    pub message: String,
}

impl Trouble {
    /// A call failed: the next attempt comes after a time that doubles from 1 s to 1 min.
    pub fn add(&mut self, reason: &str, message: String, now: Timestamp) {
        let seconds = 1_u64 << self.failures.min(6);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(later(now, Duration::from_secs(seconds.min(60))));
        self.reason = reason.to_owned();
        self.message = message;
    }

    /// When the next attempt is due, where that is not yet.
    pub fn wait(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| *until > now)
    }

    /// Whether the last call failed.
    pub fn is_some(&self) -> bool {
        self.failures > 0
    }
}
