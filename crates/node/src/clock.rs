//! Time as a run is told it.

use std::time::{Duration, SystemTime};

use baton_protocol::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// The wall clock as it was at the start, and what passed since, suspended time included: a clock that
/// is set meanwhile brings no deadline nearer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    wall: SystemTime,
    booted: Duration,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock {
            wall: SystemTime::now(),
            booted: since_boot(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let passed = since_boot().saturating_sub(self.booted);
        Timestamp(self.wall.checked_add(passed).unwrap_or(self.wall))
    }

    /// The time that it is after `time` from now.
    pub(crate) fn after(&self, time: Duration) -> Timestamp {
        let Timestamp(now) = self.now();
        Timestamp(now.checked_add(time).unwrap_or(now))
    }
}

fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}
