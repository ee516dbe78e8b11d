//! Times: now, and from a time on.

use std::time::{Duration, SystemTime};

use baton_protocol::Timestamp;

/// The time now, to the microsecond that it is written with.
pub fn now() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
}

/// A time later; the same where there is none.
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.0.checked_add(by).map_or(at, Timestamp)
}

/// A time earlier; the same where there is none.
pub fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.0.checked_sub(by).map_or(at, Timestamp)
}
