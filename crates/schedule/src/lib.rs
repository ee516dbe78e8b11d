//! Schedules: when runs are due, and what becomes of those that are there. Pure: no clock, no I/O.
//!
//! ```text
//! Cron   a cron expression, as a native CronJob takes it
//! Zone   the time zone that its times are of
//! next   both, and a time -> the next time that is due
//! plan   the time, a schedule and its runs -> what to start, to stop and to forget
//! ```
//!
//! A run has its name from the time that it was due at, and that time is known as started once the
//! run is there or the schedule's status says so. So whoever acts twice by the same plan makes one run.

mod cron;
mod next;
mod plan;
#[cfg(test)]
mod tests;
mod zone;

pub use cron::{Cron, CronError, MAX_CRON};
pub use next::next;
pub use plan::{
    Concurrency, MAX_CLOCK_ERROR, MAX_COUNTED, Missed, Plan, Run, RunState, Schedule, Seen,
    minutes, plan,
};
pub use zone::{Zone, ZoneError};
