//! Deadlines as poll takes them.

use std::time::Instant;

use nix::poll::PollTimeout;

/// The poll time until a deadline, rounded up so that the deadline is past when poll returns.
pub fn poll_timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else {
        return PollTimeout::NONE;
    };
    let left = until.saturating_duration_since(Instant::now());
    let millis = left.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}
